//! Commands in the sandbox.

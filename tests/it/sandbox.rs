//! Commands in the sandbox.

mod bench;
mod close;
mod debian;
mod support;
mod whole;

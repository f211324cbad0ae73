//! Commands in the sandbox.

mod bounds;
mod close;
mod debian;
mod scripts;
mod support;
mod whole;

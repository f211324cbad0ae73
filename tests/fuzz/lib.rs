//! The bodies of the fuzz targets; see `bodies/mod.rs`.

#[path = "../../src/init/logic/mod.rs"]
#[allow(dead_code, reason = "PID 1 uses the rest of it")]
mod logic;

#[path = "../it/packages/keys.rs"]
#[allow(dead_code, reason = "the tests of signatures use the rest of it")]
mod keys;

#[path = "bodies/mod.rs"]
mod bodies;

pub use bodies::TARGETS;

/// Runs the body of a target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of the list");
    (target.run)(bytes);
}

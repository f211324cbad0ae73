//! The bodies of the fuzz targets, for the binaries under `targets/`; see `bodies/mod.rs`.

#[path = "../../src/init/logic/mod.rs"]
#[allow(dead_code, reason = "PID 1 uses the rest of it")]
mod logic;

#[path = "../it/packages/keys.rs"]
#[allow(dead_code, reason = "the tests of signatures use the rest of it")]
mod keys;

#[path = "../it/elf/make.rs"]
mod make;

#[path = "bodies/mod.rs"]
mod bodies;

use std::path::Path;

pub use bodies::{TARGETS, Target};

/// Writes the seeds of a target into its corpus, where `cargo fuzz` begins.
pub fn plant(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    std::fs::create_dir_all(&folder).expect("a folder for the seeds");
    for (number, seed) in (target(name).seeds)().iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), seed).expect("a seed");
    }
}

/// Runs the body of a target.
pub fn run(name: &str, bytes: &[u8]) {
    (target(name).run)(bytes);
}

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("a target of the list")
}

//! mkimage as a rule of a Makefile: dependency files, job tokens, exit codes, events, builds that are done twice.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::adversary::Site;
use crate::tool::tool;

mod codes;
mod depfile;
mod events;
mod example;
mod jobs;
mod paranoid;

/// Prepares a call of GNU make in the folder of a site, with mkimage by name.
fn make(site: &Site, arguments: &[&str]) -> Command {
    let mut command = tool("make", arguments);
    settle(&mut command, site.folder.path());
    command.env("MKIMAGE_STORE", site.path("store")).env("MKIMAGE_INIT", site.path("init"));
    command
}

/// Takes from a command what the caller's make and settings say.
fn settle(command: &mut Command, folder: &Path) {
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MKIMAGE_JOBS", "MKIMAGE_MIRROR", "SOURCE_DATE_EPOCH"] {
        command.env_remove(name);
    }
    command.env("MKIMAGE", env!("CARGO_BIN_EXE_mkimage")).current_dir(folder);
}

/// Moves what depends on time some seconds into the past, so that what is written next is newer.
fn age(paths: &[PathBuf], seconds: i64) {
    let at = format!("@{}", 1_700_000_000 - seconds);
    crate::tool::succeed(tool("touch", ["-h", "-d", &at]).args(paths));
}

/// Returns the lines of an event file.
fn events(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let parsed = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parsed).collect()
}

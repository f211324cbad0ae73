//! Commands that run on a tree: unprivileged, without network, with the same result every time.
//!
//! In: a tree and where its contents are, commands, read-only inputs, limits. Out: the tree as the commands
//! left it, normalised; which paths changed; what was said.
//!
//! ```text
//! caller ──starts──▶ stage: leaves the namespaces, makes a file system in memory, hands it back
//!   │ lays the tree out in it (workers, in parallel)
//!   │                  └──forks──▶ PID 1: mounts, pivots, drops, filters, runs the commands
//!   │                  supervisor ◀──system calls that one user's file system can't hold──┘
//!   └─ reads the changed files back when all processes are gone
//! ```
//!
//! On disk: nothing, where the tree fits into a quarter of the free memory: 222 MB in 8,500 entries take an
//! eighth of the time there that they take on ext4, and not even a kill leaves them behind. Else a folder in
//! `scratch`.
//!
//! Always true
//! - The commands see the tree, the inputs, six harmless devices and their own processes: no network, no
//!   file, process, name or kernel version of the machine. Root's sandboxes run as nobody.
//! - Owners, device nodes, capabilities and access lists are recorded by inode and shown again by `stat`;
//!   the file system holds none of them. So root and an ordinary user get the same tree.
//! - When a run ends, well, badly, by its time limit or by a stop, no process and no mount of it is left.
//! - The tree is read back after the last process is gone, name by name, following no link.
//!
//! Not here: when to run, what to remember, where outputs may lie (the pipeline decides).
//!
//! Read first: [`Request`], `run.rs`, `inside.rs`, `supervisor.rs`.
#![deny(unsafe_code)]

mod attributes;
mod error;
mod filter;
mod gather;
mod inside;
mod lay;
mod log;
mod normalise;
mod outcome;
mod records;
mod remove;
mod run;
mod scripts;
mod show;
mod stage;
mod supervisor;
mod sys;
mod tracee;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::ImagePath;
use crate::tree::{ContentSource, Directory};

pub use error::SandboxError;
pub use outcome::Outcome;
pub use run::{STAGE_VERB, run};
pub use scripts::{MaintainerPackage, Scripts, run_scripts, scripts_commands};
pub use stage::stage;

/// Names what a result depends on beside its inputs: part of every key under which one is remembered.
/// Any change of what commands see, or of what is normalised, must change it.
pub const VERSION: &str = "sandbox 1";

/// What is to be run on what.
pub struct Request<'a> {
    pub tree: &'a Directory,
    /// Where the contents of the tree and of the inputs are.
    pub source: &'a dyn ContentSource,
    /// Run in order; the first that fails ends the run. A program is looked for as a shell would; words of
    /// the form `NAME=value` before it are variables for it alone.
    pub commands: Vec<Vec<String>>,
    /// Variables beside the fixed ones, which they may replace.
    pub environment: BTreeMap<String, String>,
    pub working_directory: ImagePath,
    /// Trees that are laid in read-only while the commands run. They are not part of the result.
    pub inputs: Vec<(ImagePath, &'a Directory)>,
    /// The time stamp of every file of the tree, and `SOURCE_DATE_EPOCH`: seconds since 1970.
    pub epoch: u64,
    pub limits: Limits,
    /// A folder of the host that may be used for a large tree. It holds nothing afterwards.
    pub scratch: &'a Path,
    /// Names the run in messages.
    pub label: String,
    /// The program whose hidden verb is [`stage`]; none: the one that runs.
    pub program: Option<PathBuf>,
}

/// Bounds of a run.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long all commands together may take.
    pub time: Duration,
    /// How much is kept of what the commands say, in bytes: half from the beginning, half from the end.
    pub log_bytes: u64,
    /// How large the tree may get, and each of its files.
    pub tree_bytes: u64,
    /// How many files and directories the tree may get.
    pub inodes: u64,
    pub processes: u64,
    pub open_files: u64,
    /// How much address space each process may have; none: as much as the machine allows.
    pub address_space_bytes: Option<u64>,
    pub lies: Lies,
}

/// Where the tree lies while the commands run. It makes no difference to the result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lies {
    /// In memory where a quarter of what is free suffices, else in the folder.
    WhereItFits,
    InMemory,
    InFolder,
}

impl Default for Limits {
    /// Half an hour, 1 MiB of log, 16 GiB of tree, a million files, 1024 processes.
    fn default() -> Self {
        Limits {
            time: Duration::from_secs(1800),
            log_bytes: 1 << 20,
            tree_bytes: 16 << 30,
            inodes: 1_000_000,
            processes: 1024,
            open_files: 4096,
            address_space_bytes: None,
            lies: Lies::WhereItFits,
        }
    }
}

//! The same set of packages on another host, and without a network.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::reference::{ours, recipe, verb};
use crate::tool::{init, kept, mkimage, root, succeed, tool};

/// A folder that holds what a second builder gets: recipe, lock and packages.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        ours();
        let folder = tempfile::tempdir().expect("a folder");
        let bench = Bench { folder };
        for extension in ["hcl", "lock"] {
            let from = recipe().with_extension(extension);
            std::fs::copy(&from, bench.recipe().with_extension(extension)).expect("a copy");
        }
        bench
    }

    fn recipe(&self) -> PathBuf {
        self.folder.path().join("s147.hcl")
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("a store with spaces")
    }

    /// Gathers the packages of the lock from the tests' own store.
    fn vendor(&self) -> PathBuf {
        let vendor = self.folder.path().join("vendor");
        let mut command = mkimage(["vendor".as_ref(), self.recipe().as_os_str()]);
        succeed(command.arg("--output").arg(&vendor));
        vendor
    }

    /// Prepares the composition with a store of its own and nothing of the caller's environment, in a network
    /// namespace that has no interface but its own loopback.
    fn compose_offline(&self, vendor: &Path, jobs: &str) -> Command {
        let mut command = tool("unshare", ["--map-root-user", "--net", "sh", "-c"]);
        command.args(["umask 077; exec \"$@\"", "sh"]).arg(env!("CARGO_BIN_EXE_mkimage"));
        command.arg("compose").arg(self.recipe()).arg("--vendor").arg(vendor);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("MKIMAGE_INIT", init());
        command.env("MKIMAGE_STORE", self.store()).env("MKIMAGE_JOBS", jobs).env("HOME", "/nonexistent");
        command.env("TZ", "Pacific/Kiritimati").env("LC_ALL", "tr_TR.UTF-8").current_dir("/");
        command
    }
}

#[test]
fn another_host_without_a_network_composes_the_same_commit() {
    let first = succeed(&mut verb("compose", &recipe_of_ours(), &[]));
    let bench = Bench::new();
    let vendor = bench.vendor();
    let second = succeed(&mut bench.compose_offline(&vendor, "3"));
    assert_eq!(first, second, "the same lock made another commit on another host");
}

fn recipe_of_ours() -> PathBuf {
    ours();
    recipe()
}

#[test]
fn a_composition_with_lock_and_packages_at_hand_opens_no_socket() {
    let bench = Bench::new();
    let log = bench.folder.path().join("sockets");
    let mut command = tool("strace", ["-f", "-qq", "-e", "trace=socket,connect", "-o"]);
    command.arg(&log).arg(env!("CARGO_BIN_EXE_mkimage")).arg("compose").arg(bench.recipe());
    // The tests' store has the packages; the lock says which; a commit that is there already is made again.
    command.env("MKIMAGE_STORE", kept("store")).env("MKIMAGE_INIT", init()).current_dir(root());
    succeed(&mut command);
    let sockets = std::fs::read_to_string(&log).expect("a log");
    let reaching: Vec<&str> = sockets.lines().filter(|line| line.contains("AF_INET")).collect();
    assert!(reaching.is_empty(), "{reaching:#?}");
}

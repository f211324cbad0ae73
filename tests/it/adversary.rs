//! The program before an adversary and before a new user: full disks, faults of single system calls, signals,
//! hostile input, odd outputs, closed streams. No network, no root.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use mkimage::base::Stopwatch;
use rustix::process::Signal;

use crate::tool::{self, mkimage, run, succeed, tool};

mod archives;
mod faults;
mod images;
mod inputs;
mod signals;
mod streams;

/// A folder with a project and a store of its own.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
}

/// The id of a user with no rights of their own.
const NOBODY: &str = "65534";

impl Site {
    /// Makes a project without a kernel: `small.hcl`.
    pub(crate) fn new() -> Site {
        let site = Site { folder: tempfile::tempdir().expect("a folder") };
        site.write("app", b"#!/bin/sh\necho hello\n");
        set_mode(&site.path("app"), 0o755);
        let text = "image \"small\" {\n  version = \"1\"\n  init    = \"/app\"\n}\n\n\
            file \"/app\" {\n  source = \"app\"\n  mode   = \"0755\"\n}\n\n\
            file \"/etc/motd\" {\n  content = \"welcome\\n\"\n}\n";
        site.write("small.hcl", text.as_bytes());
        site
    }

    /// Makes a project with a kernel, a loader and a PID 1 that are none, but look it: `disk.hcl`.
    pub(crate) fn bootable() -> Site {
        let site = Site::new();
        for name in ["kernel", "loader", "stub"] {
            site.write(name, &uefi_program());
        }
        site.write("init", b"\x7fELF but no more");
        let text = "image \"disk\" {\n  version = \"1\"\n}\n\napp \"app\" {\n  source = \"app\"\n  ports = [80]\n}\n\n\
            kernel \"file\" {\n  image = \"kernel\"\n}\n\n\
            boot {\n  loader_file = \"loader\"\n  stub_file   = \"stub\"\n}\n\n\
            disk {\n  slot_size = \"1MiB\"\n  data_size = \"8MiB\"\n}\n";
        site.write("disk.hcl", text.as_bytes());
        site
    }

    /// Makes a project whose tree `t` is the file or folder `source`: `tree.hcl`.
    pub(crate) fn with_tree(source: &str) -> Site {
        let site = Site::new();
        let text = std::fs::read_to_string(site.path("small.hcl")).expect("the recipe");
        let text = format!("{text}\ntree \"t\" {{\n  source = \"{source}\"\n}}\n");
        site.write("tree.hcl", text.as_bytes());
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    /// Prepares a call of mkimage in the folder, with its store and PID 1.
    pub(crate) fn mkimage(&self, arguments: &[&str]) -> Command {
        let mut command = mkimage(arguments);
        self.settle(&mut command);
        command
    }

    /// Prepares a call of another program with mkimage and its arguments behind it.
    pub(crate) fn through(&self, program: &str, before: &[&str], arguments: &[&str]) -> Command {
        let mut command = tool(program, before);
        command.arg(env!("CARGO_BIN_EXE_mkimage")).args(arguments);
        command.env_remove("SOURCE_DATE_EPOCH").env_remove("MAKEFLAGS");
        self.settle(&mut command);
        command
    }

    fn settle(&self, command: &mut Command) {
        command.env("MKIMAGE_STORE", self.path("store")).env("MKIMAGE_INIT", self.path("init"));
        command.env("MKIMAGE_JOBS", "1").env_remove("MKIMAGE_MIRROR").current_dir(self.folder.path());
    }

    /// Runs mkimage and sends it a signal when `is_time` says so. Where it had done its work by then, its outputs and
    /// its store are removed, and it is run again.
    pub(crate) fn interrupted(
        &self,
        arguments: &[&str],
        outputs: &[&str],
        signal: Signal,
        is_time: impl Fn() -> bool,
    ) -> Output {
        let patience = Duration::from_secs(120);
        for _ in 0..5 {
            let mut child = self.mkimage(arguments).stderr(Stdio::piped()).spawn().expect("mkimage");
            let watch = Stopwatch::start();
            let has_ended = |child: &mut Child| child.try_wait().expect("a state").is_some();
            while !has_ended(&mut child) && !is_time() && watch.elapsed() < patience {
                std::thread::sleep(Duration::from_millis(1));
            }
            let in_time = watch.elapsed() < patience;
            if !has_ended(&mut child) {
                tool::signal(&child, signal);
            }
            tool::ends(&mut child, patience);
            let output = child.wait_with_output().expect("its end");
            assert!(in_time, "{arguments:?} never came to where it gets {signal:?}: {output:?}");
            if !output.status.success() {
                return output;
            }
            let _ = std::fs::remove_dir_all(self.path("store"));
            for name in outputs {
                let _ = std::fs::remove_file(self.path(name));
            }
        }
        panic!("{arguments:?} was done each time before it got {signal:?}");
    }

    pub(crate) fn compose(&self, recipe: &str) -> String {
        succeed(&mut self.mkimage(&["compose", recipe])).trim().to_owned()
    }

    /// Lists a folder below this one.
    pub(crate) fn names(&self, below: &str) -> Vec<String> {
        let listed = succeed(&mut tool("ls", ["-A".as_ref(), self.path(below).as_os_str()]));
        listed.lines().map(str::to_owned).collect()
    }

    /// Fails where a temporary file stands beside the outputs, or a dead transaction in the store.
    pub(crate) fn assert_tidy(&self) {
        let names = self.names(".");
        assert!(!names.iter().any(|name| name.ends_with(".tmp")), "left behind: {names:?}");
        if self.path("store/tmp").exists() {
            let names = self.names("store/tmp");
            assert!(names.iter().all(|name| name == ".lock"), "left in the store: {names:?}");
        }
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(path, mode).expect("a mode");
}

/// Makes the smallest PE32+ image that has a section.
pub fn uefi_program() -> Vec<u8> {
    let mut image = vec![0; 0x600];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664u16.to_le_bytes());
    put(0x46, &1u16.to_le_bytes());
    put(0x54, &240u16.to_le_bytes());
    let optional = 0x58;
    put(optional, &0x20bu16.to_le_bytes());
    for (at, value) in [(32, 0x1000u32), (36, 0x200), (56, 0x2000), (60, 0x400), (108, 16)] {
        put(optional + at, &value.to_le_bytes());
    }
    let section = optional + 240;
    put(section, b".text");
    for (at, value) in [(8, 0x200u32), (12, 0x1000), (16, 0x200), (20, 0x400), (36, 0x6000_0020)] {
        put(section + at, &value.to_le_bytes());
    }
    image
}

fn is_root() -> bool {
    String::from_utf8_lossy(&run(&mut tool("id", ["-u"])).stdout).trim() == "0"
}

pub(crate) fn digest(path: &Path) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path).expect("a file")).expect("read");
    hasher.finalize()
}

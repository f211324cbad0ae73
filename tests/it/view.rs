//! Tests of the room `view` and of the verbs that look into commits, images and partitions.

mod asking;
mod confined;
mod hostile;
mod mounting;
mod same;
mod testing;

use std::path::PathBuf;
use std::process::Command;

use crate::tool::{fail_with, mkimage, run, succeed};

/// A folder with recipes, a store and what is made of them.
pub struct Project(tempfile::TempDir);

impl Project {
    pub fn new() -> Self {
        let project = Project(tempfile::tempdir().expect("a folder"));
        std::fs::write(project.path("app"), b"#!/bin/sh\necho hello\n").expect("a file");
        std::fs::write(project.path("large"), large()).expect("a file");
        project
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    pub fn call(&self, arguments: &[&str]) -> Command {
        let mut command = mkimage(arguments);
        command.env("MKIMAGE_STORE", self.path("store")).current_dir(self.0.path());
        command
    }

    pub fn done(&self, arguments: &[&str]) -> String {
        succeed(&mut self.call(arguments))
    }

    pub fn refused(&self, code: i32, arguments: &[&str]) -> String {
        fail_with(code, &mut self.call(arguments))
    }

    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = self.done(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Runs `diff`, which must find a difference.
    pub fn differs(&self, arguments: &[&str]) -> String {
        let output = run(&mut self.call(&[&["diff"], arguments].concat()));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Runs `diff`, which must find a difference, and returns the lines.
    pub fn done_lines(&self, arguments: &[&str]) -> Vec<String> {
        assert_eq!(arguments[0], "diff");
        self.differs(&arguments[1..]).lines().map(str::to_owned).collect()
    }

    /// Writes a recipe of a tree with everything that a tree can have. It needs no package and boots nothing.
    pub fn recipe(&self, version: u32, more: &str) {
        let text = format!("{}{more}", TREE.replace("VERSION", &version.to_string()));
        std::fs::write(self.path("all.hcl"), text).expect("a recipe");
    }

    /// Composes a version of it; returns the commit.
    pub fn compose(&self, version: u32) -> String {
        self.recipe(version, "");
        self.done(&["compose", "all.hcl"]).trim().to_owned()
    }

    /// Writes the root filesystem of the tree that a ref leads to as a file of its own, in other hands: `mkfs.ext4`.
    pub fn filesystem(&self, reference: &str, name: &str) -> String {
        let folder = self.text(&format!("{name}.tree"));
        self.done(&["checkout", reference, &folder]);
        let file = self.text(name);
        let options = [
            "-q",
            "-t",
            "ext4",
            "-b",
            "4096",
            "-I",
            "256",
            "-d",
            &folder,
            "-E",
            "root_owner=0:0",
            &file,
            "16M",
        ];
        succeed(&mut crate::tool::tool("mke2fs", options));
        file
    }
}

/// A file of several pieces with holes.
fn large() -> Vec<u8> {
    let mut bytes = vec![0; (3 << 20) + 17];
    for at in (0..bytes.len()).step_by(5000) {
        bytes[at] = (at % 251) as u8;
    }
    bytes
}

const TREE: &str = r#"image "all" {
  version = "VERSION"
  init    = "/app/app"
}

file "/app/app" {
  source = "app"
  mode   = "0755"
}

file "/srv/large" {
  source = "large"
  owner  = 7
  group  = 8
  xattrs = { "user.note" = "of version VERSION" }
}

hard_link "/srv/again" {
  target = "/srv/large"
}

file "/etc/motd" {
  content = "welcome to VERSION\n"
  mode    = "0640"
}

file "/usr/bin/lend" {
  content = "x"
  mode    = "4755"
}

file "/etc/only-VERSION" {
  content = ""
}

symlink "/etc/link" {
  target = "../srv/large"
}

symlink "/etc/out" {
  target = "/../../../../etc/passwd"
}

directory "/var/spool" {
  mode  = "1777"
  owner = 9
}

device "/dev/null" {
  kind  = "character"
  major = 1
  minor = 3
  mode  = "0666"
}

device "/run/pipe" {
  kind = "fifo"
}
"#;

#[test]
fn the_recipe_of_these_tests_is_formatted() {
    let project = Project::new();
    project.recipe(1, "");
    project.done(&["fmt", "--check", "all.hcl"]);
}

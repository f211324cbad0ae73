//! The project in recipes/make, as a user would have it.

use std::path::Path;
use std::process::Command;

use super::settle;
use crate::adversary::Site;
use crate::tool::{fail_with, init, kept, mkimage, root, run, succeed, tool};

const NAMES: [&str; 4] = ["gate", "lamp", "pump", "siren"];

/// A copy of the project.
struct Project(tempfile::TempDir);

impl Project {
    /// With a kernel and a loader that are none, so that nothing is fetched and an image is small.
    fn with_stand_ins() -> Project {
        let project = Project::copy();
        let site = Site::bootable();
        for name in ["kernel", "loader", "stub"] {
            std::fs::copy(site.path(name), project.path(name)).expect("a copy");
        }
        let text = std::fs::read_to_string(project.path("common.hcl")).expect("the recipe");
        let (before, rest) = text.split_once("kernel \"debian\" {").expect("a kernel");
        let (_, after) = rest.split_once("\n}\n").expect("its end");
        let stand_ins = "kernel \"file\" {\n  image = \"kernel\"\n}\n\nboot {\n  loader_file = \"loader\"\n  stub_file   = \"stub\"\n}\n";
        std::fs::write(project.path("common.hcl"), format!("{before}{stand_ins}{after}")).expect("written");
        project
    }

    fn new() -> Project {
        let project = Project::copy();
        project.lock();
        project
    }

    fn copy() -> Project {
        let project = Project(tempfile::tempdir().expect("a folder"));
        let from = root().join("recipes/make");
        let files = ["Makefile", "common.hcl", "device.c", "settings"].map(str::to_owned);
        for name in files.into_iter().chain(NAMES.map(|name| format!("{name}.hcl"))) {
            let to = project.0.path().to_owned();
            succeed(&mut tool("cp", ["-r".as_ref(), from.join(name).as_os_str(), to.as_os_str()]));
        }
        project
    }

    /// Locks all four: they want the same of the same suite.
    fn lock(&self) {
        let at = |name: &str| self.0.path().join(name);
        std::fs::create_dir(at("build")).expect("a folder");
        std::fs::write(at("build/device"), "to be made").expect("a file");
        succeed(mkimage(["lock", "--update"]).arg(at("gate.hcl")));
        std::fs::remove_dir_all(at("build")).expect("removed");
        NAMES[1..].iter().for_each(|name| {
            std::fs::copy(at("gate.lock"), at(&format!("{name}.lock"))).map(drop).expect("a copy")
        });
    }

    fn make(&self, arguments: &[&str]) -> Command {
        let mut command = tool("make", arguments);
        settle(&mut command, self.0.path());
        let store = if self.path("kernel").exists() { self.path("store") } else { kept("store") };
        command.env("MKIMAGE_STORE", store).env("MKIMAGE_INIT", init());
        command
    }

    /// Makes all, and returns the recipes of which mkimage was called, and the images that changed.
    fn made(&self, arguments: &[&str]) -> (Vec<&'static str>, Vec<&'static str>) {
        let before = NAMES.map(|name| self.stamp(name));
        let output = run(&mut self.make(arguments));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let called = NAMES.into_iter().filter(|name| said.contains(&format!(" {name}.hcl "))).collect();
        let after = NAMES.map(|name| self.stamp(name));
        let changed = (0..4).filter(|index| before[*index] != after[*index]).map(|index| NAMES[index]);
        (called, changed.collect())
    }

    fn stamp(&self, name: &str) -> Option<(std::time::SystemTime, u64)> {
        use std::os::unix::fs::MetadataExt;
        let metadata = self.path(&format!("build/{name}.img")).metadata().ok()?;
        Some((metadata.modified().expect("a time"), metadata.ino()))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// Has the next change come later than what was made, on file systems of whole ticks too.
    fn pause(&self) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn append(path: &Path, text: &str) {
    let before = std::fs::read_to_string(path).unwrap_or_default();
    std::fs::write(path, before + text).expect("written");
}

#[test]
fn the_recipes_are_right_and_formatted() {
    for name in NAMES.iter().chain(&["common"]) {
        let path = root().join(format!("recipes/make/{name}.hcl"));
        succeed(mkimage(["fmt", "--check"]).arg(&path));
        if *name != "common" {
            succeed(mkimage(["check"]).arg(&path));
        }
    }
}

#[test]
fn what_changed_is_made_and_nothing_else() {
    let project = Project::with_stand_ins();
    let nothing: Vec<&str> = Vec::new();
    assert_eq!(project.made(&["-j2"]), (NAMES.to_vec(), NAMES.to_vec()));
    assert_eq!(project.made(&["-j2"]), (nothing.clone(), nothing.clone()), "nothing changed");

    project.pause();
    append(&project.path("settings/lamp.conf"), "lumen = 800\n");
    assert_eq!(project.made(&["-j2"]), (vec!["lamp"], vec!["lamp"]), "one file changed");
    assert_eq!(project.made(&[]), (nothing.clone(), nothing.clone()));

    project.pause();
    append(&project.path("common.hcl"), "# A remark.\n");
    let (called, _) = project.made(&["-j4"]);
    assert_eq!(called, NAMES, "what all include changed");

    project.pause();
    succeed(&mut tool("touch", [project.path("settings/pump.conf")]));
    assert_eq!(project.made(&[]), (vec!["pump"], nothing.clone()), "its bytes are the same");

    // A change of the program reaches all images by way of make's own rule.
    project.pause();
    let source = std::fs::read_to_string(project.path("device.c")).expect("the source");
    std::fs::write(project.path("device.c"), source.replace("htons(8080)", "htons(8081)")).expect("written");
    assert_eq!(project.made(&["-j4"]), (NAMES.to_vec(), NAMES.to_vec()));

    // An input that is gone is mkimage's affair, and the other images are none the worse.
    std::fs::remove_file(project.path("settings/siren.conf")).expect("removed");
    let said = fail_with(2, &mut project.make(&["-k", "-j2"]));
    assert!(said.contains("settings/siren.conf") && said.contains("siren.hcl:7"), "{said}");
    assert!(!said.contains("No rule to make target"), "{said}");
    std::fs::write(project.path("settings/siren.conf"), "sounds = thrice\n").expect("written");
    assert_eq!(project.made(&[]), (vec!["siren"], vec!["siren"]));

    succeed(&mut project.make(&["clean"]));
    assert_eq!(project.made(&["-j2"]).1, NAMES);
}

#[test]
fn the_project_builds_as_it_stands() {
    let project = Project::new();
    succeed(&mut project.make(&["build/gate.img"]));
    succeed(mkimage(["inspect", "--verify"]).arg(project.path("build/gate.img")));
}

mod nightly {
    #[test]
    #[ignore = "builds each image twice over: `make nightly` runs it"]
    fn every_image_is_the_same_under_another_host() {
        crate::tool::succeed(&mut super::Project::new().make(&["-j2", "check"]));
    }
}

//! `mkimage gc`, `repack` and `store`: what they print, what they leave, and builds beside them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{files_of, noise};
use crate::tool::{fail_with, mkimage, succeed};

/// A project whose one file differs in each version, and a store of its own.
struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        let project = Project { folder: tempfile::tempdir().expect("a folder") };
        let text = "image \"small\" {\n  version = \"1\"\n  init    = \"/app\"\n}\n\n\
            file \"/app\" {\n  source = \"app\"\n  mode   = \"0755\"\n}\n";
        std::fs::write(project.root().join("small.hcl"), text).expect("a recipe");
        project.version(1);
        project
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn mkimage(&self, arguments: &[&str]) -> Command {
        let mut command = mkimage(arguments);
        command.env("MKIMAGE_STORE", self.root().join("store")).current_dir(self.root());
        command
    }

    fn version(&self, version: u64) {
        std::fs::write(self.root().join("app"), noise(version, 60_000)).expect("written");
    }

    fn compose(&self, version: u64) {
        self.version(version);
        succeed(&mut self.mkimage(&["compose", "small.hcl"]));
    }

    fn files(&self) -> Vec<(PathBuf, u64)> {
        let length = |path: PathBuf| (path.clone(), std::fs::metadata(&path).expect("there").len());
        // Locks are files without bytes: a plan takes one.
        let files = files_of(&self.root().join("store")).into_iter().map(length);
        files.filter(|(_, length)| *length > 0).collect()
    }

    fn packs(&self) -> usize {
        files_of(&self.root().join("store/packs")).len() / 2
    }
}

/// Nothing is young, nothing is remembered.
const NOW: [&str; 7] = ["gc", "--grace", "0s", "--reflog", "0s", "--memo", "0s"];

#[test]
fn a_dry_run_tells_what_a_run_does_and_changes_nothing() {
    let project = Project::new();
    (1..4).for_each(|version| project.compose(version));
    let before = project.files();
    let dry: serde_json::Value =
        serde_json::from_str(&succeed(&mut project.mkimage(&[&NOW[..], &["--dry-run", "--json"]].concat())))
            .expect("JSON");
    assert_eq!(project.files(), before);
    let run: serde_json::Value =
        serde_json::from_str(&succeed(&mut project.mkimage(&[&NOW[..], &["--json"]].concat())))
            .expect("JSON");
    assert_eq!(run["plan"], dry["plan"]);
    assert_eq!(run["done"]["objects_trashed"], dry["plan"]["objects_trashed"]);
    assert!(run["done"]["objects_trashed"].as_u64().expect("a number") >= 6, "{run}");
    let freed: serde_json::Value = serde_json::from_str(&succeed(
        &mut project.mkimage(&[&NOW[..], &["--trash", "0s", "--json"]].concat()),
    ))
    .expect("JSON");
    assert!(freed["done"]["bytes_emptied"].as_u64().expect("a number") > 120_000, "{freed}");
    assert!(succeed(&mut project.mkimage(&["fsck"])).contains("sound"));
    let read = project.mkimage(&["cat", "small", "/app"]).output().expect("run");
    assert_eq!(read.stdout, noise(3, 60_000));
    assert!(succeed(&mut project.mkimage(&NOW)).contains("0 objects went to the trash"));
}

#[test]
fn with_the_rules_that_hold_unless_told_nothing_young_goes() {
    let project = Project::new();
    (1..3).for_each(|version| project.compose(version));
    assert!(succeed(&mut project.mkimage(&["gc"])).contains("0 objects went to the trash"));
    succeed(&mut project.mkimage(&["undo"]));
    let read = project.mkimage(&["cat", "small", "/app"]).output().expect("run");
    assert_eq!(read.stdout, noise(1, 60_000));
}

#[test]
fn builds_beside_collections_succeed() {
    let project = Project::new();
    project.compose(0);
    let folder = project.root().join("store");
    std::thread::scope(|scope| {
        let collecting = scope.spawn(|| {
            for _ in 0..12 {
                let arguments = [&NOW[..], &["--trash", "0s"]].concat();
                let output = project.mkimage(&arguments).output().expect("run");
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success() || said.contains("collect"), "{said}");
            }
        });
        let mut version = 100;
        while !collecting.is_finished() {
            project.compose(version);
            // The same version once more: what it had found may have gone meanwhile.
            project.compose(version);
            version += 1;
        }
        collecting.join().expect("collected");
    });
    assert!(succeed(mkimage(["fsck"]).env("MKIMAGE_STORE", &folder)).contains("sound"));
}

#[test]
fn repack_says_what_it_did_and_a_second_one_has_nothing_to_do() {
    let project = Project::new();
    (1..6).for_each(|version| project.compose(version));
    let before = project.packs();
    let said = succeed(&mut project.mkimage(&["repack"]));
    assert!(said.contains(&format!("{before} packs")), "{said}");
    assert!(project.packs() <= before);
    assert!(succeed(&mut project.mkimage(&["repack"])).contains("nothing to do"));
    for (moves, version) in [("small", 5), ("small~1", 4), ("small~4", 1)] {
        let read = project.mkimage(&["cat", moves, "/app"]).output().expect("run");
        assert_eq!(read.stdout, noise(version, 60_000), "{moves}");
    }
}

#[test]
fn a_store_is_made_once_and_durations_need_a_unit() {
    let project = Project::new();
    succeed(&mut project.mkimage(&["store", "init", "--shared"]));
    let format = std::fs::read_to_string(project.root().join("store/format")).expect("a format");
    assert!(format.contains("shared"), "{format}");
    project.compose(1);
    succeed(&mut project.mkimage(&NOW));
    let said = fail_with(2, &mut project.mkimage(&["gc", "--grace", "7"]));
    assert!(said.contains("24h"), "{said}");
}

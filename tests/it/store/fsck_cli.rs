//! `mkimage fsck`: what it prints, its exit codes, and the ways back.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{files_of, noise};
use crate::tool::{fail_with, mkimage, run, succeed};

/// A project with a folder and a file, composed into a store of its own, and a copy of that store.
struct Project {
    folder: tempfile::TempDir,
    commit: String,
}

impl Project {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        std::fs::create_dir_all(root.join("inputs/deep")).expect("made");
        std::fs::write(root.join("inputs/deep/data"), noise(5, 9000)).expect("written");
        std::fs::write(root.join("inputs/other"), noise(6, 3000)).expect("written");
        std::fs::write(root.join("app"), b"#!/bin/sh\necho hello\n").expect("written");
        let text = "image \"small\" {\n  version = \"1\"\n  init    = \"/app/app\"\n}\n\n\
            file \"/app/app\" {\n  source = \"app\"\n  mode   = \"0755\"\n}\n\n\
            tree \"data\" {\n  source = \"inputs\"\n  path   = \"/data\"\n}\n";
        std::fs::write(root.join("small.hcl"), text).expect("a recipe");
        let mut project = Project { folder, commit: String::new() };
        project.commit = succeed(&mut project.mkimage(&["compose", "small.hcl"])).trim().to_owned();
        succeed(Command::new("cp").args(["-r", "store", "good"]).current_dir(project.root()));
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

    /// Flips a bit in the file of the folder that doesn't compress.
    fn damage(&self) -> PathBuf {
        let packs = files_of(&self.root().join("store/packs"));
        let wanted = noise(5, 32);
        let found = packs.iter().find_map(|path| {
            let bytes = std::fs::read(path).expect("read");
            Some((path.clone(), bytes.windows(32).position(|window| window == wanted)?, bytes))
        });
        let (path, at, mut bytes) = found.expect("a pack with the file");
        bytes[at + 9] ^= 0x20;
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn fsck(&self, code: i32, more: &[&str]) -> String {
        let output = run(&mut self.mkimage(&[&["fsck"], more].concat()));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let talk = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {said}{talk}");
        said
    }

    fn expect_whole(&self) {
        assert!(self.fsck(0, &[]).contains("sound"));
        let read = run(&mut self.mkimage(&["cat", "small", "/data/deep/data"]));
        assert!(read.status.success() && read.stdout == noise(5, 9000));
        let refs = succeed(&mut self.mkimage(&["refs"]));
        assert!(refs.contains(&self.commit[..12]), "{refs}");
    }
}

#[test]
fn a_sound_store_is_said_to_be_sound_and_no_store_is_not_found() {
    let project = Project::new();
    for way in [&[][..], &["--quick"], &["--repair"]] {
        assert!(project.fsck(0, way).contains("sound"));
    }
    let said = fail_with(5, project.mkimage(&["fsck"]).env("MKIMAGE_STORE", project.root().join("none")));
    assert!(said.contains("there is no store") && said.contains("--store"), "{said}");
    assert!(!project.root().join("none").exists());
    fail_with(2, &mut project.mkimage(&["fsck", "--from", "good"]));
    fail_with(2, &mut project.mkimage(&["fsck", "--quick", "--repair"]));
}

#[test]
fn damage_is_told_with_ref_path_pack_and_what_to_do_next() {
    let project = Project::new();
    let pack = project.damage();
    let said = project.fsck(6, &[]);
    let name = pack.file_stem().expect("a name").to_string_lossy().into_owned();
    for part in [
        "/data/deep/data",
        "refs small",
        &name,
        "offset",
        &project.commit[..12],
        "1 fault",
        "--repair --from",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let json: serde_json::Value = serde_json::from_str(&project.fsck(6, &["--json"])).expect("JSON");
    assert_eq!(json["state"], "damaged");
    let fault = &json["check"]["faults"][0];
    assert_eq!(fault["damage"], "object");
    assert_eq!(fault["reached"]["refs"][0], "small");
    assert_eq!(fault["reached"]["spots"][0][1], "/data/deep/data");
    // Whoever reads it is told the same way.
    let said = fail_with(6, &mut project.mkimage(&["cat", "small", "/data/deep/data"]));
    assert!(said.contains(&name) && said.contains("mkimage fsck --repair"), "{said}");
}

#[test]
fn a_store_is_healed_from_another_one_from_files_and_from_its_recipe() {
    for way in [["--from", "good"], ["--from", "inputs"], ["--from-recipe", "small.hcl"]] {
        let project = Project::new();
        project.damage();
        let said = project.fsck(9, &["--repair", way[0], way[1]]);
        assert!(said.contains("all healed") && said.contains("to quarantine"), "{said}");
        project.expect_whole();
        let again = succeed(&mut project.mkimage(&["compose", "small.hcl"]));
        assert_eq!(again.trim(), project.commit);
    }
}

#[test]
fn without_a_source_the_loss_is_told_and_the_next_build_heals_it() {
    let project = Project::new();
    project.damage();
    let said = project.fsck(6, &["--repair"]);
    assert!(
        said.contains("lost") && said.contains("/data/deep/data") && said.contains("--from STORE"),
        "{said}"
    );
    assert_eq!(succeed(&mut project.mkimage(&["cat", "small", "/app/app"])), "#!/bin/sh\necho hello\n");
    assert_eq!(succeed(&mut project.mkimage(&["compose", "small.hcl"])).trim(), project.commit);
    project.expect_whole();
}

#[test]
fn a_build_after_a_reader_met_damage_heals_it_without_any_repair() {
    let project = Project::new();
    project.damage();
    fail_with(6, &mut project.mkimage(&["cat", "small", "/data/deep/data"]));
    assert_eq!(succeed(&mut project.mkimage(&["compose", "small.hcl"])).trim(), project.commit);
    let read = run(&mut project.mkimage(&["cat", "small", "/data/deep/data"]));
    assert!(read.status.success() && read.stdout == noise(5, 9000));
    // What is left is a damaged copy beside the sound one.
    assert!(project.fsck(6, &[]).contains("nothing is lost"));
    project.fsck(9, &["--repair"]);
    project.expect_whole();
}

#[test]
fn a_store_whose_format_is_gone_opens_for_fsck_alone() {
    let project = Project::new();
    let format = project.root().join("store/format");
    std::fs::remove_file(&format).expect("removed");
    std::fs::write(&format, "???").expect("written");
    fail_with(1, &mut project.mkimage(&["refs"]));
    assert!(project.fsck(6, &[]).contains("file \"format\""));
    assert!(project.fsck(9, &["--repair"]).contains("wrote the file \"format\" anew"));
    project.expect_whole();
}

//! The git-like verbs, as a person types them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::tool::{fail_with, mkimage, run, succeed, tool};

/// A folder with a store and a recipe that needs no network.
struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        let project = Project { folder: tempfile::tempdir().expect("a folder") };
        std::fs::write(project.path("app"), b"#!/bin/sh\necho hello\n").expect("a file");
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn call(&self, arguments: &[&str]) -> Command {
        let mut command = mkimage(arguments);
        command.env("MKIMAGE_STORE", self.path("store")).current_dir(self.folder.path());
        command
    }

    fn done(&self, arguments: &[&str]) -> String {
        succeed(&mut self.call(arguments))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.done(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn refused(&self, code: i32, arguments: &[&str]) -> String {
        fail_with(code, &mut self.call(arguments))
    }

    /// Says what `diff` printed; it must have ended with 1.
    fn differs(&self, arguments: &[&str]) -> String {
        let output = run(&mut self.call(&[&["diff"], arguments].concat()));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Composes a version of the recipe; returns the commit.
    fn compose(&self, version: u32, more: &[&str]) -> String {
        let text = format!(
            "image \"web\" {{\n  version = \"{version}\"\n  init    = \"/app/app\"\n}}\n\n\
            file \"/app/app\" {{\n  source = \"app\"\n  mode   = \"0755\"\n}}\n\n\
            file \"/etc/motd\" {{\n  content = \"welcome to {version}\\n\"\n}}\n\n\
            file \"/etc/only-{version}\" {{\n  content = \"x\"\n}}\n"
        );
        std::fs::write(self.path("web.hcl"), text).expect("a recipe");
        self.done(&[&["compose", "web.hcl"], more].concat()).trim().to_owned()
    }
}

#[test]
fn a_commit_goes_from_test_to_production_and_back() {
    let project = Project::new();
    let ids: Vec<String> = (1..=3).map(|version| project.compose(version, &[])).collect();
    let first = project.done(&["promote", "web~2", "env/prod"]);
    assert!(first.contains("env/prod: new") && first.contains(&ids[0][..12]), "{first}");
    let shown = project.done(&["promote", "web", "env/prod", "--dry-run"]);
    assert!(
        shown.contains("version: 1 → 3") && shown.contains("files: 1 added, 1 changed, 1 removed"),
        "{shown}"
    );
    assert_eq!(project.json(&["show", "env/prod"])["commit"], ids[0], "a dry run moved something");
    project.done(&["promote", "web", "env/prod", "--expect", &ids[0]]);
    assert_eq!(project.json(&["show", "env/prod"])["commit"], ids[2]);
    let said = project.refused(1, &["promote", "web~1", "env/prod", "--expect", "web~2"]);
    assert!(said.contains("env/prod was moved") && said.contains(&ids[2]), "{said}");
    project.refused(1, &["promote", "web", "env/prod", "--expect", "-"]);
    project.done(&["promote", "web", "env/new", "--expect", "-"]);
    project.done(&["undo", "2"]);
    assert_eq!(project.json(&["show", "env/prod"])["commit"], ids[0]);
    project.refused(5, &["show", "env/new"]);
    project.done(&["redo"]);
    assert_eq!(project.json(&["show", "env/prod"])["commit"], ids[2]);
}

#[test]
fn several_promotions_are_one_move() {
    let project = Project::new();
    let ids: Vec<String> = (1..=2).map(|version| project.compose(version, &[])).collect();
    project.done(&["promote", "web~1", "a", "web~1", "b"]);
    let log = project.json(&["log", "--all"]);
    assert_eq!(log[0]["refs"].as_array().map(Vec::len), Some(2), "{log}");
    let said =
        project.refused(1, &["promote", "web", "a", "web", "b", "--expect", "web~1", "--expect", "web"]);
    assert!(said.contains("ref b was moved"), "{said}");
    assert_eq!(project.json(&["show", "a"])["commit"], ids[0]);
    project.refused(2, &["promote", "web", "a", "web"]);
    project.refused(2, &["promote", "web", "a", "--expect", "-", "--expect", "-"]);
}

#[test]
fn tags_stay_where_they_are() {
    let project = Project::new();
    let first = project.compose(1, &[]);
    project.done(&["tag", "v1", "web"]);
    project.compose(2, &[]);
    let said = project.refused(1, &["tag", "v1", "web"]);
    assert!(said.contains("tags never move") && said.contains("refs --delete tag/v1"), "{said}");
    let again = run(&mut project.call(&["tag", "v1", "web~1"]));
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.success() && said.contains(&format!("tag/v1 leads to {first} already")), "{said}");
    let listed = project.done(&["refs", "tag"]);
    assert!(
        listed.contains("tag/v1") && !listed.contains("web") && listed.contains(&first[..12]),
        "{listed}"
    );
    project.done(&["refs", "--delete", "tag/v1"]);
    project.refused(5, &["refs", "--delete", "tag/v1"]);
    project.done(&["tag", "v1", "web"]);
}

#[test]
fn what_is_no_store_is_said_before_any_work_and_no_store_has_no_refs() {
    let project = Project::new();
    let at = |store: &str, arguments: &[&str]| {
        let mut command = project.call(arguments);
        command.env("MKIMAGE_STORE", project.path(store));
        command
    };
    std::fs::create_dir(project.path("letters")).expect("made");
    std::fs::write(project.path("letters/to-mum"), b"mine").expect("written");
    for verb in [&["refs"][..], &["gc"], &["log", "--all"], &["show", "web"], &["tag", "v1", "web"]] {
        let said = fail_with(1, &mut at("letters", verb));
        assert!(said.contains("to-mum") && said.contains("--store DIR"), "{verb:?}: {said}");
    }
    let nothing = run(&mut at("none", &["refs"]));
    assert!(nothing.status.success() && nothing.stdout.is_empty(), "{nothing:?}");
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("there is no store in"), "{nothing:?}");
    assert_eq!(succeed(&mut at("none", &["refs", "--json"])).trim(), "[]");
    assert!(!project.path("none").exists(), "a query made a store");
    let said = fail_with(1, &mut at("app/store", &["fsck"]));
    assert!(said.contains("Not a directory"), "what can't be looked at is not said to be missing: {said}");
}

#[test]
fn a_ref_that_is_named_twice_is_said_so() {
    let project = Project::new();
    (1..=2).for_each(|version| drop(project.compose(version, &[])));
    let said = project.refused(2, &["promote", "web", "prod/web", "web~1", "prod/web"]);
    assert!(said.contains("ref prod/web is named twice"), "{said}");
    let said = project.refused(1, &["promote", "web", "web/prod"]);
    assert!(said.contains("can't stand beside web") && said.contains("prod/web"), "{said}");
}

#[test]
fn refs_are_removed_together_and_come_back_together() {
    let project = Project::new();
    project.compose(1, &[]);
    project.done(&["promote", "web", "a", "web", "b"]);
    let said = project.refused(5, &["refs", "--delete", "a", "--delete", "wbe"]);
    assert!(said.contains("did you mean \"web\""), "{said}");
    assert!(project.done(&["refs"]).contains("a "), "half of a set was removed");
    project.done(&["refs", "--delete", "a", "--delete", "b"]);
    let said = project.refused(5, &["show", "a"]);
    assert!(said.contains("was removed") && said.contains("a~1") && said.contains("undo"), "{said}");
    assert!(project.done(&["log", "a", "--oneline"]).contains("removed"));
    project.done(&["undo"]);
    assert_eq!(project.done(&["refs"]).lines().count(), 3);
}

#[test]
fn the_log_says_what_changed_at_each_move() {
    let project = Project::new();
    let ids: Vec<String> = (1..=3).map(|version| project.compose(version, &[])).collect();
    let log = project.done(&["log", "web"]);
    assert_eq!(log.matches("files: 1 added, 1 changed, 1 removed").count(), 2, "{log}");
    assert!(log.contains("version: 2 → 3"), "{log}");
    let short = project.done(&["log", "web", "-n", "1", "--stat"]);
    assert!(short.contains("A /etc/only-3") && short.contains("D /etc/only-2"), "{short}");
    assert!(!short.contains(&ids[1][..12]) || short.matches("compose").count() == 1, "{short}");
    let older = project.json(&["log", "web~1"]);
    assert_eq!(older.as_array().map(Vec::len), Some(2));
    assert_eq!(older[0]["commit"], ids[1]);
    assert_eq!(older[0]["changes"]["counts"]["changed"], 1);
    project.refused(5, &["log", "web~3"]);
    let said = project.refused(5, &["log", "wen"]);
    assert!(said.contains("did you mean \"web\""), "{said}");
}

#[test]
fn diff_tells_files_modes_settings_and_ends_like_diff() {
    let project = Project::new();
    project.compose(1, &[]);
    let same = run(&mut project.call(&["diff", "web", "web"]));
    assert_eq!((same.status.code(), same.stdout.len()), (Some(0), 0));
    project.compose(2, &["--annotate", "ticket=42"]);
    let text = project.differs(&["web"]);
    for line in [
        "version: 1 → 2",
        "annotation ticket: none → 42",
        "A /etc/only-2  1 bytes",
        "D /etc/only-1  1 bytes",
        "M /etc/motd  content, 13 bytes",
        "recipe web.hcl: changed",
        "files: 1 added, 1 changed, 1 removed",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let patch = project.differs(&["web~1", "web", "--patch"]);
    assert!(patch.contains("-welcome to 1\n+welcome to 2\n"), "{patch}");
    let names = project.differs(&["web~1", "web", "--name-only"]);
    assert_eq!(names, "/etc/motd\n/etc/only-1\n/etc/only-2\n");
    assert!(!project.differs(&["web~1", "web", "--stat"]).contains("/etc/motd"));
    assert!(project.differs(&["web~1", "web", "/etc/motd"]).starts_with("M /etc/motd"));
    assert_eq!(run(&mut project.call(&["diff", "web~1", "web", "/app"])).status.code(), Some(0));
    assert!(project.differs(&["web~1:/etc/motd", "web:/etc/motd"]).contains("content"));
    assert_eq!(run(&mut project.call(&["diff", "web:/app", "web~1:app"])).status.code(), Some(0));
    let said = project.refused(5, &["diff", "web~1", "web", "/etc/mtod"]);
    assert!(said.contains("/etc/mtod: nothing stands there"), "{said}");
    let json = run(&mut project.call(&["diff", "web~1", "web", "--json"]));
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let motd = json["files"].as_array().expect("files").iter().find(|row| row["path"] == "/etc/motd");
    assert_eq!(motd.expect("the file")["aspects"], serde_json::json!(["content"]));
}

#[test]
fn annotations_make_another_commit_of_the_same_image() {
    let project = Project::new();
    let plain = project.compose(1, &[]);
    let noted = project.compose(1, &["--annotate", "built-by=farm 7", "--annotate", "ticket=42"]);
    assert_ne!(plain, noted);
    let again = project.compose(1, &["--annotate", "ticket=42", "--annotate", "built-by=farm 7"]);
    assert_eq!(noted, again, "the order of notes is no note");
    let [before, after] = ["web~1", "web"].map(|at| project.json(&["show", at]));
    assert_eq!(before["identity"], after["identity"], "a note reached the image");
    assert_eq!(after["annotations"]["built-by"], "farm 7");
    assert_eq!(
        after["parents"],
        serde_json::json!([]),
        "builds have no parents: the same inputs, the same commit"
    );
    for wrong in ["ticket", "=1", "a b=1", "a=1\n2"] {
        project.refused(2, &["compose", "web.hcl", "--annotate", wrong]);
    }
    project.refused(2, &["compose", "web.hcl", "--annotate", "a=1", "--annotate", "a=2"]);
}

#[test]
fn show_prints_the_recipe_that_made_a_commit() {
    let project = Project::new();
    project.compose(1, &[]);
    let recipe = std::fs::read_to_string(project.path("web.hcl")).expect("the recipe");
    project.compose(2, &[]);
    assert_eq!(project.done(&["show", "web~1", "--recipe"]), recipe);
    let said = project.refused(5, &["show", "web", "--lock"]);
    assert!(said.contains("no packages"), "{said}");
    let shown = project.done(&["show", "web:/etc/motd"]);
    assert!(shown.starts_with("- 0644") && shown.contains("/etc/motd"), "{shown}");
}

#[test]
fn paths_and_ids_of_trees_and_files_are_revisions_too() {
    let project = Project::new();
    project.compose(1, &[]);
    project.compose(2, &[]);
    assert_eq!(project.done(&["cat", "web~1:etc/motd"]), "welcome to 1\n");
    assert!(project.done(&["ls", "web:/etc"]).contains("only-2"));
    let id = project.json(&["ls", "web:/etc/motd"])[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(project.done(&["cat", &id[..16]]), "welcome to 2\n");
    let tree = project.json(&["show", "web~1"])["tree"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(project.done(&["cat", &tree[..16], "/etc/motd"]), "welcome to 1\n");
    project.done(&["checkout", "web:/etc", "out"]);
    assert_eq!(std::fs::read_to_string(project.path("out/motd")).expect("checked out"), "welcome to 2\n");
    project.refused(2, &["cat", "web:/etc", "/motd"]);
    let said = project.refused(5, &["cat", "web^", "/etc/motd"]);
    assert!(said.contains("0 parents") && said.contains("REF~N"), "{said}");
    let said = project.refused(2, &["tag", "x", &tree[..16]]);
    assert!(said.contains("names tree") && said.contains("a commit is asked for"), "{said}");
}

#[test]
fn bisect_finds_the_move_that_broke_it() {
    let project = Project::new();
    let ids: Vec<String> = (1..=9).map(|version| project.compose(version, &[])).collect();
    // Broken since 6; 5 can't be told.
    let script = format!(
        "v=$({} show $MKIMAGE_COMMIT --json | sed -n 's/.*\"version\": \"\\(.*\\)\",/\\1/p'); echo tried $v; \
        test $v = 5 && exit 125; test $v -lt 6",
        env!("CARGO_BIN_EXE_mkimage")
    );
    let output = run(&mut project.call(&["bisect", "web~8", "web", "--", "sh", "-c", &script]));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.matches("tried").count() <= 5, "{said}");
    assert!(
        output.status.code() == Some(1) && said.contains(&ids[4][..12]) && said.contains(&ids[5][..12]),
        "{said}{text}"
    );
    let script = script.replace("exit 125", "true");
    let text = project.done(&["bisect", &ids[0], "web", "--", "sh", "-c", &script]);
    assert!(text.starts_with(&format!("first bad: {}", ids[5])) && text.contains("A /etc/only-6"), "{text}");
    project.refused(2, &["bisect", "web", "web~3", "--", "true"]);
    let said = project.refused(1, &["bisect", "web~8", "web", "--", "sh", "-c", "no-such-program"]);
    assert!(said.contains("tells nothing"), "{said}");
    project.refused(5, &["bisect", "web~8", "web", "--", "./no-such-program"]);
}

/// Completes a command line in a real bash, as readline would; returns the replies.
fn bash(project: &Project, line: &str) -> Vec<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_mkimage")).parent().expect("a folder");
    let script = "PATH=\"$PROGRAMS:$PATH\"; source <(mkimage completion bash); COMP_LINE=\"$LINE\"; \
        COMP_POINT=${#LINE}; _mkimage; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut command = tool("bash", ["-c", script]);
    command.env("PROGRAMS", program).env("LINE", line).env("MKIMAGE_STORE", project.path("store"));
    succeed(&mut command).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_verbs_options_refs_and_paths() {
    let project = Project::new();
    project.compose(1, &[]);
    project.done(&["promote", "web", "env/prod", "web", "env/test"]);
    assert_eq!(bash(&project, "mkimage prom"), ["promote"]);
    assert_eq!(bash(&project, "mkimage show env/"), ["env/prod", "env/test"]);
    assert_eq!(bash(&project, "mkimage --json promote web env/p"), ["env/prod"]);
    assert_eq!(bash(&project, "mkimage refs --delete env/t"), ["env/test"]);
    assert_eq!(bash(&project, "mkimage refs --delete=env/t"), ["env/test"]);
    assert_eq!(bash(&project, "mkimage diff web env/t"), ["env/test"]);
    assert_eq!(bash(&project, "mkimage log --on"), ["--oneline"]);
    assert_eq!(bash(&project, "mkimage completion z"), ["zsh"]);
    assert_eq!(
        bash(&project, "mkimage --color a"),
        ["always", "auto"].map(str::to_owned).into_iter().rev().collect::<Vec<_>>()
    );
    // Readline replaces what stands behind the colon.
    assert_eq!(bash(&project, "mkimage cat web:/etc/mo"), ["/etc/motd"]);
    assert_eq!(bash(&project, "mkimage cat web /et"), ["/etc/"]);
    assert_eq!(bash(&project, "mkimage cat web /etc/m"), ["/etc/motd"]);
    assert!(bash(&project, "mkimage build web").is_empty(), "files are left to the shell");
    let elsewhere = format!("mkimage --store {} show ", project.path("none").display());
    assert!(bash(&project, &elsewhere).is_empty(), "another store has other refs");
    assert!(!bash(&project, "mkimage ").contains(&"complete".to_owned()), "the hidden verb is hidden");
}

#[test]
fn what_is_damaged_is_named_with_what_to_do_next() {
    let project = Project::new();
    let ids: Vec<String> = (1..=2).map(|version| project.compose(version, &[])).collect();
    project.done(&["promote", "web", "env/prod"]);
    let file = project.path("store/refs/env/prod");
    let mut line = std::fs::read(&file).expect("read");
    line[5] ^= 1;
    std::fs::remove_file(&file).expect("removed");
    std::fs::write(&file, line).expect("written");
    for arguments in [&["show", "env/prod"][..], &["log", "env/prod"], &["promote", "web", "env/prod"]] {
        let said = project.refused(6, arguments);
        assert!(said.contains("refs/env/prod") && said.contains("fsck"), "{arguments:?}: {said}");
    }
    assert_eq!(project.json(&["show", "web"])["commit"], ids[1], "another ref is not touched by it");
    std::fs::remove_file(&file).expect("removed");
    std::fs::remove_dir_all(project.path("store/packs")).expect("removed");
    std::fs::create_dir(project.path("store/packs")).expect("made");
    let log = project.done(&["log", "web"]);
    assert!(log.contains("compose") && log.contains("what changed can't be told: commit"), "{log}");
    let said = project.refused(5, &["diff", "web"]);
    assert!(
        said.contains(&ids[0]) && said.contains("is not in the store") && said.contains("fsck"),
        "{said}"
    );
    let said = project.refused(5, &["promote", "web~1", "env/new"]);
    assert!(said.contains("is not in the store"), "{said}");
}

#[test]
fn rebuilding_nothing_new_moves_nothing_also_when_the_steps_are_forgotten() {
    let project = Project::new();
    let first = project.compose(1, &[]);
    std::fs::remove_dir_all(project.path("store/memo")).expect("removed");
    assert_eq!(project.compose(1, &[]), first, "a build took its ref's commit into its own");
    assert_eq!(project.json(&["log", "web"]).as_array().map(Vec::len), Some(1));
}

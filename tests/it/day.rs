//! The verbs of a day, as a Makefile and a person use them.

use std::path::{Path, PathBuf};

use crate::tool::{fail_with, mkimage, run, succeed};

/// Makes a project without a kernel: compose needs no network.
fn small(folder: &Path) -> PathBuf {
    std::fs::write(folder.join("app"), b"#!/bin/sh\necho hello\n").expect("a file");
    let recipe = folder.join("small.hcl");
    let text = "image \"small\" {\n  version = \"1\"\n  init    = \"/app/app\"\n}\n\n\
        file \"/app/app\" {\n  source = \"app\"\n  mode   = \"0755\"\n}\n\n\
        file \"/etc/motd\" {\n  content = \"welcome\\n\"\n}\n";
    std::fs::write(&recipe, text).expect("a recipe");
    recipe
}

fn with_store(folder: &Path, arguments: &[&str]) -> std::process::Command {
    let mut command = mkimage(arguments);
    command.env("MKIMAGE_STORE", folder.join("store")).current_dir(folder);
    command
}

#[test]
fn compose_prints_the_commit_and_the_store_knows_it() {
    let folder = tempfile::tempdir().expect("a folder");
    small(folder.path());
    let id = succeed(&mut with_store(folder.path(), &["compose", "small.hcl"])).trim().to_owned();
    assert_eq!(id.len(), 64, "{id}");
    let again = succeed(&mut with_store(folder.path(), &["compose", "small.hcl"]));
    assert_eq!(again.trim(), id, "the same recipe made another commit");
    assert!(succeed(&mut with_store(folder.path(), &["refs"])).contains(&format!("small {}", &id[..12])));
    let shown = succeed(&mut with_store(folder.path(), &["show", &id[..8], "--json"]));
    assert!(shown.contains(&id), "{shown}");
    assert_eq!(succeed(&mut with_store(folder.path(), &["cat", "small", "/etc/motd"])), "welcome\n");
    let listed = succeed(&mut with_store(folder.path(), &["ls", "small", "/etc"]));
    assert!(listed.contains("motd"), "{listed}");
    succeed(&mut with_store(folder.path(), &["checkout", "small", "out"]));
    assert_eq!(std::fs::read(folder.path().join("out/etc/motd")).expect("checked out"), b"welcome\n");
    assert_eq!(succeed(&mut with_store(folder.path(), &["log", "small"])).matches(&id[..12]).count(), 1);
}

#[test]
fn a_change_moves_the_ref_and_the_log_tells() {
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = small(folder.path());
    let first = succeed(&mut with_store(folder.path(), &["compose", "small.hcl"]));
    let text = std::fs::read_to_string(&recipe).expect("the recipe").replace("welcome", "good evening");
    std::fs::write(&recipe, text).expect("the recipe");
    let second = succeed(&mut with_store(folder.path(), &["compose", "small.hcl"]));
    assert_ne!(first, second);
    let log = succeed(&mut with_store(folder.path(), &["log", "small"]));
    let at = |id: &str| log.find(&id[..12]).unwrap_or_else(|| panic!("{id} is not in {log}"));
    assert!(at(&second) < at(&first), "the newest move stands first: {log}");
}

#[test]
fn exit_codes_say_which_kind() {
    let folder = tempfile::tempdir().expect("a folder");
    small(folder.path());
    fail_with(2, &mut with_store(folder.path(), &["no-such-verb"]));
    fail_with(5, &mut with_store(folder.path(), &["compose", "missing.hcl"]));
    succeed(&mut with_store(folder.path(), &["compose", "small.hcl"]));
    fail_with(5, &mut with_store(folder.path(), &["show", "nothing"]));
    fail_with(5, &mut with_store(folder.path(), &["cat", "small", "/etc/nothing"]));
    std::fs::write(folder.path().join("wrong.hcl"), "image \"x\" {\n  vresion = \"1\"\n}\n")
        .expect("a recipe");
    let said = fail_with(3, &mut with_store(folder.path(), &["check", "wrong.hcl"]));
    assert!(said.contains("wrong.hcl:2") && said.contains("version"), "{said}");
    std::fs::remove_file(folder.path().join("app")).expect("removed");
    let said = fail_with(4, &mut with_store(folder.path(), &["compose", "small.hcl"]));
    assert!(said.contains("/app") && said.contains("small.hcl:6"), "{said}");
}

#[test]
fn a_failed_build_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    small(folder.path());
    // Without a kernel there is nothing to boot: the build says so before it writes.
    let said = fail_with(3, &mut with_store(folder.path(), &["build", "small.hcl", "-o", "disk.img"]));
    assert!(said.contains("kernel"), "{said}");
    let left = run(&mut crate::tool::tool("ls", ["-A".as_ref(), folder.path().as_os_str()]));
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    assert!(!left.contains("disk.img"), "{left}");
}

#[test]
fn a_read_only_store_is_readable_and_says_why_it_takes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    small(folder.path());
    std::fs::write(folder.path().join("store"), b"not a directory").expect("a file");
    let said = fail_with(1, &mut with_store(folder.path(), &["compose", "small.hcl"]));
    assert!(said.contains("store"), "{said}");
}

#[test]
fn fmt_checks_and_formats() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ugly.hcl");
    std::fs::write(&path, "image \"x\" {\nversion=\"1\" # one\n  init = \"/i\"\n}\n").expect("a recipe");
    fail_with(1, &mut with_store(folder.path(), &["fmt", "--check", "ugly.hcl"]));
    succeed(&mut with_store(folder.path(), &["fmt", "ugly.hcl"]));
    let text = std::fs::read_to_string(&path).expect("formatted");
    assert!(text.contains("  version = \"1\" # one\n"), "{text}");
    succeed(&mut with_store(folder.path(), &["fmt", "--check", "ugly.hcl"]));
}

#[test]
fn events_are_json_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    small(folder.path());
    succeed(&mut with_store(folder.path(), &["compose", "small.hcl", "--events", "events.jsonl", "--quiet"]));
    let text = std::fs::read_to_string(folder.path().join("events.jsonl")).expect("events");
    assert!(!text.is_empty());
    for line in text.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
        assert!(event["event"].is_string(), "{line}");
    }
}

#[test]
fn the_recipe_of_the_readme_is_right_and_formatted() {
    let folder = tempfile::tempdir().expect("a folder");
    let readme = std::fs::read_to_string(crate::tool::root().join("README.md")).expect("the README");
    let text = readme.split("```hcl\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a recipe");
    std::fs::write(folder.path().join("greeter.hcl"), text).expect("a file");
    succeed(&mut with_store(folder.path(), &["check", "greeter.hcl"]));
    succeed(&mut with_store(folder.path(), &["fmt", "--check", "greeter.hcl"]));
    let demo = crate::tool::root().join("recipes/hello/hello.hcl");
    succeed(mkimage(["fmt", "--check"]).arg(demo));
}

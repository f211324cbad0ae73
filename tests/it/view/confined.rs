//! Whatever looks into an image does it in a child that can do nothing else.

use std::path::Path;
use std::process::Command;

use super::Project;
use crate::tool::{hello_image, run, tool};

/// Runs a verb under strace; returns its exit code, what it said on both outputs, and the calls.
fn traced(project: &Project, trace: &[&str], arguments: &[&str]) -> (Option<i32>, String, String) {
    let log = project.path("calls");
    let mut command = tool("strace", ["-f", "-y", "-qq", "-o"]);
    command.arg(&log).args(trace).arg(env!("CARGO_BIN_EXE_mkimage")).args(arguments);
    command
        .env("MKIMAGE_STORE", project.path("store"))
        .env_remove("MAKEFLAGS")
        .current_dir(project.path("."));
    let output = run(&mut command);
    let said = [output.stdout, output.stderr].concat();
    let log = std::fs::read_to_string(&log).expect("what strace saw: is the package strace there?");
    (output.status.code(), String::from_utf8_lossy(&said).into_owned(), log)
}

const CALLS: &str = "trace=landlock_restrict_self,seccomp,prlimit64,openat,execve,socket,pread64,read";

fn process(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

/// Nobody but children that have locked themselves in reads the image, but for its first 2 KiB that tell its kind; and
/// these children open nothing.
fn is_confined(log: &str, image: &Path, name: &str) {
    let lines: Vec<&str> = log.lines().collect();
    let image = format!("<{}>", image.display());
    let parent = process(lines[0]);
    let locked: Vec<(usize, &str)> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.contains("_MODE_FILTER"))
        .map(|(at, line)| (at, process(line)))
        .collect();
    assert!(!locked.is_empty(), "{name}: {log}");
    for (at, child) in &locked {
        let before =
            |what: &str| lines[..*at].iter().any(|line| process(line) == *child && line.contains(what));
        assert!(before("RLIMIT_AS") && before("landlock_restrict_self"), "{name}: {log}");
        let after = lines[*at..].iter().filter(|line| process(line) == *child);
        let mut opened = after.filter(|line| {
            ["openat(", "execve(", "socket("].iter().any(|call| line.contains(call))
                && !line.contains("EACCES")
        });
        assert_eq!(opened.next(), None, "{name}");
    }
    let first_lock = locked[0].0;
    let mut read_inside = 0;
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(&image)) {
        let is_read = line.contains(" pread64(") || line.contains(" read(");
        if process(line) == parent {
            let bytes: u64 = line.rsplit("= ").next().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            assert!(!is_read || bytes <= 2048, "{name}: {line}");
        } else if is_read {
            assert!(at > first_lock, "{name}: {line}");
            read_inside += 1;
        }
    }
    assert!(read_inside > 0, "{name}: {log}");
}

#[test]
fn every_verb_reads_an_image_in_a_child_that_can_open_nothing() {
    let project = Project::new();
    let image = hello_image();
    let place = image.to_string_lossy();
    let at = |path: &str| format!("{place}:{path}");
    for arguments in [
        &["ls", "-R", &place][..],
        &["cat", &at("/app/hello")],
        &["cp", &at("/app"), "out"],
        &["checkout", &place, "out"],
        &["tree", &at("esp")],
        &["du", &place],
        &["diff", &place, &place],
        &["why", &place, "/app/hello"],
        &["inspect", &place],
        &["inspect", "--dump", &place],
        &["status", &place],
        &["status", "--verify", "--json", &place],
        &["sbom", &place],
        &["report", &place, "-o", "page.html"],
    ] {
        let _ = std::fs::remove_dir_all(project.path("out"));
        let (code, said, log) = traced(&project, &["-e", CALLS], arguments);
        // The store does not know the commit of this image: bills and reports of it end there.
        let expected = if matches!(arguments[0], "sbom" | "report") { 5 } else { 0 };
        assert_eq!(code, Some(expected), "{arguments:?}: {said}");
        is_confined(&log, &image, arguments[0]);
    }
}

#[test]
fn a_child_that_dies_ends_the_verb_with_its_reason() {
    let project = Project::new();
    let place = hello_image().to_string_lossy().into_owned();
    for (inject, code, message) in [
        ("inject=landlock_restrict_self:signal=KILL", 6, "the confined reader of the image was stopped"),
        ("inject=landlock_create_ruleset:error=ENOSYS", 0, "goes on without Landlock"),
    ] {
        for verb in ["ls", "inspect"] {
            let (found, said, _) = traced(&project, &["-e", inject], &[verb, &place]);
            assert_eq!(found, Some(code), "{verb}: {said}");
            assert!(said.contains(message), "{verb}: {said}");
            assert!(code == 0 || said.contains(&place), "{verb} names the image: {said}");
        }
    }
}

#[test]
fn memory_is_bounded_for_whoever_looks() {
    let project = Project::new();
    // One file of 8 TiB of nothing in a filesystem that is sound.
    let file = project.text("huge.ext4");
    std::fs::create_dir(project.path("tree")).expect("a folder");
    std::fs::File::create(project.path("tree/huge")).and_then(|file| file.set_len(8 << 40)).expect("a file");
    let options = ["-q", "-t", "ext4", "-b", "4096", "-d", &project.text("tree"), &file, "16M"];
    crate::tool::succeed(&mut tool("mke2fs", options));
    for arguments in [&["ls", "-l", &file][..], &["du", &file], &["tree", &file]] {
        let mut limited = Command::new("prlimit");
        // Far less than the file says that it has; as an address space for parent and child.
        limited.arg("--as=6000000000").arg(env!("CARGO_BIN_EXE_mkimage")).args(arguments);
        let output = run(limited.env("MKIMAGE_STORE", project.path("store")));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    }
}

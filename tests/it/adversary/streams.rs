//! Standard output and error that are full or closed, JSON, events, colours.

use std::fs::{File, OpenOptions};
use std::process::{Command, Stdio};

use super::Site;
use crate::tool::{fail_with, run, succeed};

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").expect("/dev/full")
}

/// Returns the writing end of a pipe that nobody reads.
fn nobody() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn code(command: &mut Command) -> Option<i32> {
    command.status().expect("mkimage").code()
}

#[test]
fn data_that_did_not_reach_its_reader_is_an_error() {
    let site = Site::new();
    site.compose("small.hcl");
    let verbs: [&[&str]; 7] = [
        &["cat", "small", "/etc/motd"],
        &["refs"],
        &["show", "small", "--json"],
        &["reference"],
        &["compose", "small.hcl"],
        &["fmt", "-"],
        &["log", "small"],
    ];
    for verb in verbs {
        let input = || File::open(site.path("small.hcl")).expect("a recipe");
        let child = site.mkimage(verb).stdin(input()).stdout(full()).stderr(Stdio::piped()).spawn();
        let output = child.expect("mkimage").wait_with_output().expect("its end");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(8), "{verb:?}: {said}");
        assert!(said.contains("standard output"), "{verb:?}: {said}");
        // A reader that has seen enough is no error.
        assert_eq!(code(site.mkimage(verb).stdin(input()).stdout(nobody())), Some(0), "{verb:?}");
    }
}

#[test]
fn nobody_need_listen_to_what_is_said() {
    let site = Site::new();
    assert_eq!(code(site.mkimage(&["compose", "nothing.hcl"]).stderr(full())), Some(5));
    assert_eq!(code(site.mkimage(&["compose", "nothing.hcl"]).stderr(nobody())), Some(5));
    assert_eq!(code(site.mkimage(&["no-such-verb"]).stderr(full())), Some(2));
    assert_eq!(code(site.mkimage(&["check", "small.hcl"]).stderr(full())), Some(0));
    assert_eq!(code(site.mkimage(&["check", "small.hcl", "--json"]).stdout(nobody())), Some(0));
}

fn parsed(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn every_query_answers_in_json_and_nothing_else_is_on_its_output() {
    let site = Site::bootable();
    succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "disk.img"]));
    let verbs: [&[&str]; 15] = [
        &["refs"],
        &["log", "disk"],
        &["show", "disk"],
        &["ls", "disk"],
        &["ls", "disk", "/etc", "--recursive"],
        &["ls", "disk", "/app/app"],
        &["check", "disk.hcl"],
        &["compose", "disk.hcl"],
        &["build", "disk.hcl", "-o", "disk.img"],
        &["build", "disk.hcl", "-o", "new.img"],
        &["inspect", "disk.img"],
        &["inspect", "disk.img", "--verify"],
        &["inspect", "disk.img", "--dump"],
        &["checkout", "disk", "out"],
        &["reference"],
    ];
    for verb in verbs {
        let output = run(site.mkimage(verb).arg("--json"));
        assert!(output.status.success(), "{verb:?}");
        parsed(&String::from_utf8_lossy(&output.stdout));
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            parsed(line);
        }
    }
}

#[test]
fn every_error_is_one_line_of_json_where_json_was_asked_for() {
    let site = Site::new();
    site.write("wrong.hcl", b"image \"x\" {\n  vresion = \"1\"\n}\n");
    let cases: [(&[&str], i32, &str); 8] = [
        (&["no-such-verb"], 2, "usage"),
        (&["build", "small.hcl"], 2, "usage"),
        (&["refs", "-j", "x"], 2, "usage"),
        (&["check", "wrong.hcl"], 3, "recipe"),
        (&["compose", "nothing.hcl"], 5, "not_found"),
        (&["show", "nothing"], 5, "not_found"),
        (&["inspect", "small.hcl"], 6, "damaged"),
        (&["fmt", "--check", "wrong.hcl", "nothing.hcl"], 5, "not_found"),
    ];
    for (verb, code, kind) in cases {
        let said = fail_with(code, site.mkimage(verb).arg("--json"));
        assert_eq!(said.lines().count(), 1, "{said}");
        let value = parsed(&said);
        assert_eq!(value["kind"], kind, "{said}");
        assert!(!value["error"].as_str().expect("a message").is_empty());
    }
    let details = parsed(&fail_with(3, &mut site.mkimage(&["check", "wrong.hcl", "--json"])));
    assert!(!details["details"].as_array().expect("diagnostics").is_empty());
}

#[test]
fn fmt_reads_standard_input_and_keeps_the_mode_of_files() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let ugly = "image \"x\" {\nversion=\"1\" # one\n}\n";
    site.write("ugly.hcl", ugly.as_bytes());
    let input = || File::open(site.path("ugly.hcl")).expect("a recipe");
    let formatted = succeed(site.mkimage(&["fmt", "-"]).stdin(input()));
    assert_eq!(formatted, "image \"x\" {\n  version = \"1\" # one\n}\n");
    fail_with(1, site.mkimage(&["fmt", "--check", "-"]).stdin(input()));
    fail_with(3, site.mkimage(&["fmt", "-"]).stdin(File::open(site.path("app")).expect("a script")));
    super::set_mode(&site.path("ugly.hcl"), 0o640);
    std::os::unix::fs::symlink("ugly.hcl", site.path("link.hcl")).expect("a link");
    succeed(&mut site.mkimage(&["fmt", "link.hcl"]));
    assert!(site.path("link.hcl").is_symlink());
    assert_eq!(std::fs::read_to_string(site.path("ugly.hcl")).expect("formatted"), formatted);
    let mode = site.path("ugly.hcl").metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn events_go_to_a_descriptor_behind_what_stands_there() {
    let site = Site::new();
    site.write("log", b"before\n");
    let line = "exec 3>>log; \"$@\" --events 3 && echo after >&3";
    succeed(&mut site.through("bash", &["-c", line, "bash"], &["compose", "small.hcl"]));
    let text = std::fs::read_to_string(site.path("log")).expect("the log");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines[lines.len() - 1]), ("before", "after"));
    assert!(lines.len() > 4, "{text}");
    for line in &lines[1..lines.len() - 1] {
        assert!(parsed(line)["event"].is_string());
    }
    // A pipe that is closed early ends the events, not the work.
    let line = "exec 3> >(head -c 1 >/dev/null); \"$@\" --events 3";
    succeed(&mut site.through("bash", &["-c", line, "bash"], &["compose", "small.hcl"]));
}

#[test]
fn colours_are_for_terminals_without_no_color() {
    let site = Site::new();
    let program = env!("CARGO_BIN_EXE_mkimage");
    let on_terminal = |name: &str| {
        let line = format!("{program} check nothing.hcl");
        let mut command = crate::tool::tool("script", ["-qec", &line, "/dev/null"]);
        site.settle(&mut command);
        String::from_utf8_lossy(&run(command.env(name, "1").stdin(Stdio::null())).stdout).into_owned()
    };
    assert!(on_terminal("UNRELATED").contains("\x1b[1;31merror:\x1b[0m"));
    assert!(!on_terminal("NO_COLOR").contains('\x1b'));
    assert!(!fail_with(5, &mut site.mkimage(&["check", "nothing.hcl"])).contains('\x1b'));
    let always = fail_with(5, &mut site.mkimage(&["check", "nothing.hcl", "--color", "always"]));
    assert!(always.contains('\x1b'));
}

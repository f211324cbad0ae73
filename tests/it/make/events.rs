//! The event stream, held against its published schema by another program.

use std::path::Path;

use super::events;
use crate::adversary::Site;
use crate::tool::{fail_with, python, root, succeed};

/// Validates each line of event files.
const VALIDATE: &str = r#"
import json, sys
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for name in sys.argv[2:]:
    for number, line in enumerate(open(name), 1):
        errors = list(validator.iter_errors(json.loads(line)))
        if errors:
            sys.exit(f"{name}:{number}: {line}{errors[0].message}\n{[e.message for e in errors[0].context]}")
print("valid")
"#;

fn validate(files: &[&Path]) {
    let schema = root().join("recipes/events.schema.json");
    assert_eq!(succeed(python().args(["-c", VALIDATE]).arg(schema).args(files)), "valid\n");
}

/// Holds a stream against what the schema can't say.
fn check(file: &Path) -> Vec<serde_json::Value> {
    let lines = events(file);
    let name = |line: &serde_json::Value| line["event"].as_str().expect("a name").to_owned();
    assert_eq!(name(&lines[0]), "begin");
    assert_eq!(name(lines.last().expect("a line")), "end");
    let times: Vec<u64> =
        lines.iter().map(|line| line["at_microseconds"].as_u64().expect("a time")).collect();
    assert!(times.is_sorted(), "{times:?}");
    let mut open = std::collections::BTreeMap::new();
    for line in &lines {
        match name(line).as_str() {
            "started" => assert!(open.insert(line["id"].to_string(), line["step"].clone()).is_none()),
            "advanced" => assert_eq!(open.get(&line["id"].to_string()), Some(&line["step"])),
            "finished" => assert_eq!(open.remove(&line["id"].to_string()), Some(line["step"].clone())),
            _ => {}
        }
    }
    assert!(open.is_empty(), "never finished: {open:?}");
    lines
}

fn of<'a>(lines: &'a [serde_json::Value], event: &str) -> Vec<&'a serde_json::Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

#[test]
fn every_line_is_as_the_schema_says_and_the_stream_tells_the_whole_story() {
    let site = Site::bootable();
    let build = |events: &str, more: &[&str]| {
        let mut command = site.mkimage(&["build", "disk.hcl", "-o", "disk.img", "--events", events]);
        command.args(more);
        command
    };
    succeed(&mut build("first", &[]));
    succeed(&mut build("second", &["--quiet"]));
    std::fs::remove_file(site.path("disk.img")).expect("removed");
    succeed(&mut build("third", &["--json"]));
    site.write("app", b"#!/bin/sh\necho changed\n");
    succeed(&mut build("fourth", &[]));
    site.write("wrong.hcl", b"image \"x\" {\n  vresion = \"1\"\n}\n");
    fail_with(3, &mut site.mkimage(&["compose", "wrong.hcl", "--events", "fifth"]));
    std::fs::remove_file(site.path("app")).expect("removed");
    fail_with(4, &mut build("sixth", &[]));
    let files = ["first", "second", "third", "fourth", "fifth", "sixth"].map(|name| site.path(name));
    validate(&files.each_ref().map(|path| path.as_path()));

    let first = check(&files[0]);
    assert_eq!(
        (&first[0]["verb"], &first[0]["schema"], &first[0]["jobserver"]),
        (&"build".into(), &1.into(), &false.into())
    );
    let read = of(&first, "finished").into_iter().find(|line| line["step"] == "read app").expect("the app");
    assert_eq!((&read["done"], &read["unit"], &read["cached"]), (&21.into(), &"bytes".into(), &false.into()));
    let result = &of(&first, "result")[0]["value"];
    assert_eq!((&result["changed"], &result["output"]), (&true.into(), &"disk.img".into()));
    assert_eq!(of(&first, "end")[0]["exit_code"], 0);

    let second = check(&files[1]);
    let cached = |lines: &[serde_json::Value]| -> Vec<String> {
        let hits = of(lines, "finished").into_iter().filter(|line| line["cached"] == true);
        hits.map(|line| line["step"].as_str().expect("a name").to_owned()).collect()
    };
    assert!(cached(&first).is_empty(), "{:?}", cached(&first));
    assert_eq!(cached(&second), ["compose", "write disk.img"]);
    assert_eq!(of(&second, "result")[0]["value"]["changed"], false);
    assert_eq!(cached(&check(&files[2])), ["compose"]);
    assert!(!cached(&check(&files[3])).contains(&"compose".to_owned()));

    let fifth = check(&files[4]);
    assert_eq!(
        (&of(&fifth, "error")[0]["kind"], &of(&fifth, "end")[0]["exit_code"]),
        (&"recipe".into(), &3.into())
    );
    assert_eq!(of(&check(&files[5]), "end")[0]["exit_code"], 4);
}

#[test]
fn a_stopped_build_ends_its_stream_and_leaves_nothing_else() {
    let site = Site::bootable();
    let mut bytes = vec![0; 32 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    std::fs::create_dir(site.path("data")).expect("a folder");
    site.write("data/noise", &bytes);
    let text = std::fs::read_to_string(site.path("disk.hcl")).expect("the recipe");
    let text = text.replace("  slot_size = \"1MiB\"\n", "");
    let tree = "tree \"data\" {\n  source = \"data\"\n  path = \"/srv\"\n}\n";
    site.write("disk.hcl", format!("{text}\n{tree}").as_bytes());
    let arguments = ["build", "disk.hcl", "-o", "disk.img", "--events", "events", "--depfile", "disk.d"];
    let has_begun =
        || std::fs::read_to_string(site.path("events")).is_ok_and(|text| text.contains("started"));
    let outputs = ["disk.img", "disk.d", "events"];
    let output = site.interrupted(&arguments, &outputs, rustix::process::Signal::INT, has_begun);
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let lines = check(&site.path("events"));
    assert_eq!(of(&lines, "error")[0]["kind"], "interrupted");
    assert_eq!(of(&lines, "end")[0]["exit_code"], 130);
    validate(&[&site.path("events")]);
    let mut names = site.names(".");
    names.retain(|name| {
        !["events", "store", "data", "app", "kernel", "loader", "stub", "init"].contains(&name.as_str())
    });
    assert_eq!(names, ["disk.hcl", "small.hcl"]);
    site.assert_tidy();
}

#[test]
fn the_program_prints_the_schema_that_is_published() {
    let site = Site::new();
    let printed = succeed(&mut site.mkimage(&["events", "--schema"]));
    let published = std::fs::read_to_string(root().join("recipes/events.schema.json")).expect("the schema");
    assert_eq!(printed, published);
    fail_with(2, &mut site.mkimage(&["events"]));
    // The validator can say no.
    site.write("bad", b"{\"at_microseconds\":1,\"thread\":0,\"event\":\"finished\",\"id\":1}\n");
    let schema = root().join("recipes/events.schema.json");
    fail_with(1, python().args(["-c", VALIDATE]).arg(schema).arg(site.path("bad")));
}

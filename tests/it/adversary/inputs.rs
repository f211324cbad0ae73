//! Inputs that are not what a recipe says, recipes that mean harm, settings that make no sense.

use std::path::Path;

use mkimage::packages::{LockedRequest, Request, Root, SourceRequest};

use super::Site;
use crate::tool::{fail_with, succeed, tool};

fn fifo(path: &Path) {
    succeed(&mut tool("mkfifo", [path]));
}

#[test]
fn what_is_no_file_is_refused_unopened() {
    let site = Site::with_tree("odd");
    let _socket = std::os::unix::net::UnixListener::bind(site.path("socket")).expect("a socket");
    fifo(&site.path("fifo"));
    for (source, kind) in [("fifo", "fifo"), ("socket", "socket"), ("/dev/zero", "device")] {
        for block in ["tree \"t\"", "file \"/odd\""] {
            let text = std::fs::read_to_string(site.path("small.hcl")).expect("the recipe");
            let text = format!("{text}\n{block} {{\n  source = \"{source}\"\n}}\n");
            site.write("odd.hcl", text.as_bytes());
            let said = fail_with(4, &mut site.mkimage(&["compose", "odd.hcl"]));
            assert!(said.contains(&format!("{block} (odd.hcl:15): cannot take")), "{said}");
            assert!(said.contains(&format!("{source} is a {kind}")), "{said}");
        }
    }
    std::fs::create_dir(site.path("odd")).expect("a folder");
    fifo(&site.path("odd/fifo"));
    let said = fail_with(4, &mut site.mkimage(&["compose", "tree.hcl"]));
    assert!(said.contains("odd/fifo is a fifo"), "{said}");
}

#[test]
fn missing_inputs_are_all_named_with_their_reasons() {
    let site = Site::with_tree("nothing");
    std::fs::remove_file(site.path("app")).expect("removed");
    let said = fail_with(4, &mut site.mkimage(&["compose", "tree.hcl"]));
    for (origin, path) in [("file \"/app\" (tree.hcl:6)", "app"), ("tree \"t\" (tree.hcl:15)", "nothing")] {
        assert!(said.contains(&format!("{origin}: cannot take")), "{said}");
        assert!(said.contains(&format!("cannot look at {path}: No such file")) || path == "app", "{said}");
    }
    let json = fail_with(4, &mut site.mkimage(&["compose", "tree.hcl", "--json"]));
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(value["details"].as_array().expect("a list").len(), 2, "{json}");
}

#[test]
fn boot_files_that_are_none_are_named_with_their_block() {
    let site = Site::bootable();
    fifo(&site.path("fifo"));
    let text = std::fs::read_to_string(site.path("disk.hcl")).expect("the recipe");
    let cases = [
        ("kernel\"\n", "app\"\n", "kernel \"file\" (bad.hcl:10)", "\"MZ\""),
        ("\"loader\"", "\"app\"", "boot (bad.hcl:14)", "\"MZ\""),
        ("\"stub\"", "\"fifo\"", "boot (bad.hcl:14)", "it is not a file"),
        ("\"stub\"", "\"/dev/zero\"", "boot (bad.hcl:14)", "it is not a file"),
        ("\"loader\"", "\"nothing\"", "boot (bad.hcl:14)", "No such file"),
    ];
    for (from, to, origin, reason) in cases {
        site.write("bad.hcl", text.replace(from, to).as_bytes());
        let said = fail_with(4, &mut site.mkimage(&["build", "bad.hcl", "-o", "bad.img"]));
        assert!(said.contains(origin) && said.contains(reason), "{to}: {said}");
    }
    site.assert_tidy();
}

#[test]
fn a_pid_1_that_is_none_is_named() {
    let site = Site::bootable();
    fifo(&site.path("fifo"));
    let cases = [
        ("nothing", 5, "is not there"),
        (".", 1, "it is not a file"),
        ("fifo", 1, "it is not a file"),
        ("app", 4, "it is no Linux program"),
        ("/dev/null", 1, "it is not a file"),
    ];
    for (init, code, reason) in cases {
        let arguments = ["build", "disk.hcl", "-o", "out.img", "--init", init];
        let said = fail_with(code, &mut site.mkimage(&arguments));
        assert!(said.contains(init) && said.contains(reason), "{init}: {said}");
    }
}

#[test]
fn settings_that_make_no_sense_are_wrong_usage() {
    let site = Site::new();
    for epoch in ["abc", "-1", "1.5", "4354819200", "99999999999999999999", " 1"] {
        let said = fail_with(2, site.mkimage(&["compose", "small.hcl"]).env("SOURCE_DATE_EPOCH", epoch));
        assert!(said.contains("SOURCE_DATE_EPOCH") && said.contains("4354819199"), "{said}");
        assert!(said.contains(epoch), "{said}");
    }
    succeed(site.mkimage(&["compose", "small.hcl"]).env("SOURCE_DATE_EPOCH", ""));
    for arguments in [
        &["refs", "-j", "1000000"][..],
        &["refs", "-j", "-1"],
        &["refs", "--events", ""],
        &["compose", "small.hcl", "--set", "novalue"],
        &["run", "small.hcl", "--memory", "many", "--port", "1"],
        &["build", "small.hcl"],
    ] {
        fail_with(2, &mut site.mkimage(arguments));
    }
    fail_with(1, &mut site.mkimage(&["refs", "--events", "nowhere/events"]));
    assert!(fail_with(1, &mut site.mkimage(&["refs", "--events", "77"])).contains("file descriptor 77"));
}

#[test]
fn the_date_of_the_environment_goes_before_the_recipes_and_that_before_the_first_of_fat() {
    let site = Site::new();
    let text = std::fs::read_to_string(site.path("small.hcl")).expect("the recipe");
    let dated = text.replace("  version = \"1\"\n", "  version = \"1\"\n  epoch = 1600000000\n");
    assert_ne!(text, dated);
    site.write("dated.hcl", dated.as_bytes());
    for (recipe, environment, expected) in [
        ("small.hcl", "", 315_532_800),
        ("small.hcl", "1700000000", 1_700_000_000),
        ("dated.hcl", "", 1_600_000_000),
        ("dated.hcl", "1700000000", 1_700_000_000_u64),
    ] {
        let commit = succeed(site.mkimage(&["compose", recipe]).env("SOURCE_DATE_EPOCH", environment));
        let shown = succeed(&mut site.mkimage(&["show", "--json", commit.trim()]));
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(shown["epoch"], expected, "{recipe} {environment:?}: {shown}");
        let noted = shown.to_string().contains("env.SOURCE_DATE_EPOCH");
        assert_eq!(noted, !environment.is_empty(), "{recipe} {environment:?}: {shown}");
    }
}

#[test]
fn hostile_recipes_end_soon_with_a_place() {
    let site = Site::new();
    let deep = format!("image \"x\" {{}}\na = {}", "[".repeat(200_000));
    let blocks = "b {".repeat(100_000);
    let huge = format!("image \"x\" {{}}\n#{}", "x".repeat(5 << 20));
    let doubling: String =
        (0..40).map(|n| format!("variable \"v{n}\" {{ default = \"${{var.v{}}}\" }}\n", n + 1)).collect();
    let many: String = (0..20_000).map(|n| format!("b{n} \"x\" {{}}\n")).collect();
    let loops = "image \"x\" {}\ninclude \"hostile.hcl\" {}\ninclude \"/dev/zero\" {}\n".to_owned();
    for text in [deep, blocks, huge, doubling, many, loops, "\0".repeat(1000), "image \"x".to_owned()] {
        site.write("hostile.hcl", text.as_bytes());
        let line = "ulimit -v 1500000; ulimit -t 10; exec \"$@\"";
        let command = &mut site.through("bash", &["-c", line, "bash"], &["check", "hostile.hcl"]);
        let said = fail_with(3, command);
        assert!(said.contains("hostile.hcl:"), "{}", &said[..said.len().min(500)]);
        assert!(said.len() < 200_000, "{} bytes of message", said.len());
    }
    site.write("latin.hcl", b"image \"caf\xe9\" {}\n");
    assert!(fail_with(3, &mut site.mkimage(&["check", "latin.hcl"])).contains("latin.hcl"));
}

/// Returns the lock of two packages for the recipe below.
fn lock() -> String {
    let request = Request {
        distribution: "debian".into(),
        architecture: "amd64".into(),
        sources: vec![SourceRequest::of_suite("bookworm", &["main"])],
        roots: ["base-files", "libc6"].map(|name| Root::parse(name).expect("a root")).into(),
        ..Request::default()
    };
    let digest = LockedRequest::of(&request).digest;
    format!(
        "mkimage-lock 2\nrequest debian amd64 {digest}\n\
         source debian bookworm bookworm 2026-07-11T10:16:37Z {digest}\n\
         package debian base-files amd64 12.4 bookworm 70000 {digest} pool/main/b/base-files_12.4_amd64.deb asked\n\
         package debian libc6 amd64 2.36-9 bookworm 80000 \
         8f2b81bdcfafc466882a0cae460272dbf10d8d97c6a3c1c6ea33038c155a2f5e pool/main/g/libc6_2.36-9_amd64.deb asked\n"
    )
}

#[test]
fn packages_that_can_not_be_had_are_named_and_exit_with_7() {
    let site = Site::new();
    let text = std::fs::read_to_string(site.path("small.hcl")).expect("the recipe");
    let text = format!(
        "{text}\npackages \"debian\" {{\n  suite = \"bookworm\"\n  names = [\"base-files\", \"libc6\"]\n  dependencies = false\n}}\n"
    );
    site.write("packages.hcl", text.as_bytes());
    std::fs::create_dir(site.path("empty")).expect("a folder");
    let empty = format!("file:{}", site.path("empty").display());
    for arguments in [
        &["lock", "packages.hcl", "--mirror", &empty][..],
        &["lock", "packages.hcl", "--mirror", "file:/nonexistent"],
        &["compose", "packages.hcl", "--offline", "--mirror", "http://mirror.invalid/debian"],
    ] {
        let said = fail_with(7, &mut site.mkimage(arguments));
        assert!(said.contains("dists/bookworm/InRelease") && said.contains("hint: "), "{said}");
        assert!(!site.path("packages.lock").exists());
    }
    fail_with(2, &mut site.mkimage(&["lock", "packages.hcl", "--mirror", "ftp://mirror.invalid"]));
    let lock = lock();
    site.write("packages.lock", lock.as_bytes());
    let said = fail_with(7, &mut site.mkimage(&["compose", "packages.hcl", "--offline"]));
    for name in ["base-files 12.4", "libc6 2.36-9"] {
        assert!(said.contains(&format!("\n  {name} is not in the store")), "{said}");
    }
    assert!(said.contains("--offline") && said.contains("--mirror file:/path"), "{said}");
    let said = fail_with(7, &mut site.mkimage(&["compose", "packages.hcl", "--mirror", &empty]));
    assert!(said.contains("no longer has it") && said.contains("mkimage lock --update"), "{said}");
    for torn in [&lock.as_bytes()[..lock.len() - 20], b"", b"garbage\n", b"\xff\xfe"] {
        site.write("packages.lock", torn);
        let said = fail_with(4, &mut site.mkimage(&["compose", "packages.hcl", "--offline"]));
        assert!(said.contains("packages.lock") && said.contains("mkimage lock --update"), "{said}");
    }
    site.assert_tidy();
}

//! Images built again from what they say of themselves: elsewhere, by somebody else, with nothing but the inputs.

use super::Site;
use crate::tool::{fail_with, hello_image, install, mkimage, root, run, succeed, tool};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

const NOBODY: &str = "65534";

fn is_root() -> bool {
    String::from_utf8_lossy(&run(&mut tool("id", ["-u"])).stdout).trim() == "0"
}

/// Prepares a call of mkimage as another user, where this one may become one, in another folder.
fn elsewhere(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = match is_root() {
        true => {
            let mut command = tool("setpriv", ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
            command.arg(folder.join("mkimage"));
            command
        }
        false => Command::new(folder.join("mkimage")),
    };
    command.args(arguments).current_dir(folder).env_clear();
    command.env("HOME", folder).env("TMPDIR", folder).env("MKIMAGE_INIT", folder.join("init"));
    command
}

/// A folder that everybody may use, with mkimage in it.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/tmp").expect("a folder");
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(folder.path(), mode(0o777)).expect("a mode");
    install(env!("CARGO_BIN_EXE_mkimage").as_ref(), &folder.path().join("mkimage"));
    folder
}

fn change(image: &Path, at: u64, bytes: &[u8]) {
    let file = std::fs::File::options().write(true).open(image).expect("an image");
    file.write_all_at(bytes, at).expect("written");
}

#[test]
fn an_image_is_reproduced_by_somebody_else_and_a_changed_byte_is_named() {
    let (site, folder) = (Site::new(), open_folder());
    succeed(&mut site.mkimage(&[
        "build",
        "disk.hcl",
        "--set",
        "greeting=good \"evening\"",
        "-o",
        "disk.img",
    ]));
    for name in ["disk.img", "init", "kernel", "loader", "stub", "app"] {
        std::fs::copy(site.path(name), folder.path().join(name)).expect("copied");
    }
    succeed(tool("cp", ["-r"]).arg(site.path("data")).arg(folder.path().join("data")));
    let rebuild = |image: &str| elsewhere(folder.path(), &["rebuild", image, "--inputs", ".", "--offline"]);
    let said = succeed(&mut rebuild("disk.img"));
    assert!(said.starts_with("reproduced: "), "{said}");

    let whole = super::Image::read(&site.path("disk.img"));
    let find = |text: &[u8]| {
        let hit = |(page, bytes): (&u64, &[u8])| {
            bytes.windows(text.len()).position(|window| window == text).map(|at| page * 4096 + at as u64)
        };
        whole
            .pages
            .iter()
            .map(|(page, bytes)| (page, &**bytes))
            .find_map(hit)
            .expect("the text is in the image")
    };
    let slot =
        crate::tool::inspect_with(&[], &site.path("disk.img"))["partitions"][1]["start_bytes"].as_u64();
    let slot = slot.expect("a number");
    for (at, bytes, expected) in [
        (find(b"welcome\n"), &b"W"[..], "slot-a → ext4 file (/etc/motd) → byte 0"),
        (slot + 1024 + 0x3c, &[2], "slot-a → ext4 superblock → errors: 2 and 1"),
        (
            find(b"panic=-1 oops"),
            b"P",
            "UKI of slot-a: .cmdline → word \"Panic\": \"Panic=-1\" and \"panic=-1\"",
        ),
    ] {
        let changed = folder.path().join("changed.img");
        std::fs::copy(site.path("disk.img"), &changed).expect("copied");
        change(&changed, at, bytes);
        let output = run(&mut rebuild("changed.img"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(6), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected) && said.contains("NOT reproduced"), "{expected}: {said}{stderr}");
        let line = said.lines().find(|line| line.contains(expected)).expect("the line");
        let is_file = expected.contains("/etc/motd");
        assert!(!is_file || line.ends_with(" → file \"/etc/motd\" (disk.hcl:16)"), "{line}");
    }
}

#[test]
fn an_image_with_stable_places_is_verified_and_reproduced() {
    let site = Site::new();
    let recipe =
        super::RECIPE.replace("  data_size = \"8MiB\"", "  data_size = \"8MiB\"\n  placement = \"stable\"");
    site.write("disk.hcl", recipe.as_bytes());
    let path = site.build("disk.img");
    let said = succeed(mkimage(["verify"]).arg(&path));
    assert!(!said.contains("wrong"), "{said}");
    let said = succeed(&mut site.mkimage(&["rebuild", "disk.img", "--inputs", ".", "--offline"]));
    assert!(said.starts_with("reproduced: "), "{said}");
    let start = crate::tool::inspect_with(&[], &path)["partitions"][1]["start_bytes"].as_u64();
    change(&path, start.expect("a number") + 1024 + 0x3c, &[2]);
    let output = run(mkimage(["verify"]).arg(&path));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(6), "{said}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("slot-a: ext4") && said.contains("superblock"), "{said}{stderr}");
}

#[test]
fn inputs_are_found_by_their_digests_and_a_missing_one_is_named() {
    let site = Site::new();
    let path = site.build("disk.img");
    let path = path.to_str().expect("text");
    let other = tempfile::tempdir().expect("a folder");
    let rebuild = |more: &[&str]| {
        let mut command = mkimage(["rebuild", path, "--offline"]);
        command
            .args(more)
            .env("MKIMAGE_STORE", other.path().join("none"))
            .env("MKIMAGE_INIT", site.path("init"));
        command
    };
    let said = fail_with(5, &mut rebuild(&[]));
    assert!(said.contains("inputs are missing") && said.contains("\n  app ("), "{said}");
    for name in ["app", "data", "kernel", "loader", "stub"] {
        let renamed = other.path().join(format!("another-name-of-{name}"));
        succeed(tool("cp", ["-r"]).arg(site.path(name)).arg(&renamed));
    }
    let all: Vec<String> = ["app", "data", "kernel", "loader", "stub"]
        .iter()
        .flat_map(|name| ["--input".to_owned(), format!("{}/another-name-of-{name}", other.path().display())])
        .collect();
    let said = succeed(&mut rebuild(&all.iter().map(String::as_str).collect::<Vec<_>>()));
    assert!(said.starts_with("reproduced: "), "{said}");
    // Another PID 1 makes another image, and the input that is to blame is named.
    site.write("init", b"\x7fELF of another kind");
    let output = run(&mut rebuild(&all.iter().map(String::as_str).collect::<Vec<_>>()));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the commits differ in input mkimage-init: "), "{said}");
}

#[test]
fn statements_are_signed_counted_and_enough_to_build_from() {
    let site = Site::new();
    site.build("disk.img");
    for name in ["a", "b", "c"] {
        succeed(&mut site.mkimage(&["key", "generate", name]));
    }
    for name in ["a", "b"] {
        let statement = format!("{name}.json");
        let state = ["rebuild", "disk.img", "--inputs", ".", "--key", name, "--statement", &statement];
        succeed(&mut site.mkimage(&state));
    }
    let policy = |needed: &str, keys: &[&str], statements: &[&str]| {
        let mut command = site.mkimage(&["verify", "disk.img", "--policy", needed]);
        for key in keys {
            command.args(["--key", key]);
        }
        for statement in statements {
            command.args(["--statement", statement]);
        }
        command
    };
    let keys = ["a.pub", "b.pub", "c.pub"];
    let said = succeed(&mut policy("2", &keys, &["a.json", "b.json"]));
    assert!(said.contains("2 of 2 keys"), "{said}");
    let said = fail_with(6, &mut policy("2", &keys, &["a.json", "a.json"]));
    assert!(said.contains("1 of 2 trusted keys"), "{said}");
    fail_with(6, &mut policy("1", &["c.pub"], &["a.json", "b.json"]));
    fail_with(2, &mut policy("3", &["a.pub", "b.pub"], &["a.json", "b.json"]));

    // The statement of how it was built is all that a rebuild takes beside the inputs.
    let state =
        ["rebuild", "disk.img", "--inputs", ".", "--statement", "how.json", "--predicate", "provenance"];
    succeed(&mut site.mkimage(&state));
    let how = std::fs::read_to_string(site.path("how.json")).expect("a statement");
    let how: serde_json::Value = serde_json::from_str(&how).expect("JSON");
    assert_eq!(how["predicateType"], "https://slsa.dev/provenance/v1");
    let names: Vec<&str> = how["predicate"]["buildDefinition"]["resolvedDependencies"]
        .as_array()
        .expect("inputs")
        .iter()
        .filter_map(|input| input["name"].as_str())
        .collect();
    assert!(names.contains(&"mkimage-init") && names.contains(&"app"), "{names:?}");
    let again = ["rebuild", "how.json", "--inputs", ".", "-o", "again.img"];
    assert!(succeed(&mut site.mkimage(&again)).starts_with("reproduced: "));
    assert_eq!(
        std::fs::read(site.path("again.img")).expect("an image"),
        std::fs::read(site.path("disk.img")).expect("one")
    );
    // What does not reproduce is not stated.
    change(&site.path("disk.img"), 3 << 20, b"X");
    let state = ["rebuild", "disk.img", "--inputs", ".", "--statement", "no.json"];
    fail_with(1, &mut site.mkimage(&state));
    assert!(!site.path("no.json").exists());
}

#[test]
fn a_commit_of_the_store_is_built_again_elsewhere() {
    let site = Site::new();
    site.build("disk.img");
    let said = succeed(&mut site.mkimage(&["rebuild", "disk", "--inputs", ".", "-o", "again.img"]));
    assert!(said.starts_with("reproduced: "), "{said}");
    let said = succeed(&mut site.mkimage(&["verify", "disk.img", "--against", "again.img"]));
    assert!(said.ends_with("the same\n"), "{said}");
    succeed(&mut site.mkimage(&["verify", "disk.img", "--against", "disk"]));
}

#[test]
fn the_hello_image_is_reproduced_from_its_own_provenance_by_another_user() {
    let (image, folder) = (hello_image(), open_folder());
    let recipe = root().join("recipes/hello/hello.hcl");
    let vendored = folder.path().join("packages");
    succeed(&mut mkimage(["vendor".as_ref(), recipe.as_os_str(), "-o".as_ref(), vendored.as_os_str()]));
    std::fs::copy(&image, folder.path().join("hello.img")).expect("copied");
    std::fs::copy(crate::tool::init(), folder.path().join("init")).expect("copied");
    std::fs::copy(crate::tool::hello_app(), folder.path().join("the-app")).expect("copied");
    let arguments = ["rebuild", "hello.img", "--input", "the-app", "--vendor", "packages", "--offline"];
    let said = succeed(&mut elsewhere(folder.path(), &arguments));
    assert!(said.starts_with("reproduced: "), "{said}");
}

//! Dependency files, read by GNU make and by ninja.

use std::process::Command;

use super::{age, make};
use crate::adversary::Site;
use crate::tool::{fail_with, run, succeed, tool};

/// A project that reads all kinds of files, under names that need quoting.
fn project() -> Site {
    let site = Site::bootable();
    std::fs::create_dir_all(site.path("assets/a folder")).expect("folders");
    std::fs::create_dir(site.path("inputs")).expect("a folder");
    for name in ODD {
        site.write(&format!("assets/a folder/{name}"), name.as_bytes());
    }
    std::os::unix::fs::symlink("nowhere", site.path("assets/dangling")).expect("a link");
    site.write("motd", b"welcome\n");
    site.write("inputs/one", b"one\n");
    site.write("values.vars", b"greeting = \"hello\"\n");
    site.write("common.hcl", b"variable \"greeting\" {\n  type = string\n}\n");
    let text = std::fs::read_to_string(site.path("disk.hcl")).expect("the recipe");
    let more = "include \"common.hcl\" {}\n\ntree \"assets\" {\n  source = \"assets\"\n  path = \"/srv\"\n}\n\n\
        file \"/etc/motd\" {\n  source = \"motd\"\n}\n\nfile \"/etc/greeting\" {\n  content = var.greeting\n}\n";
    site.write("disk.hcl", format!("{text}\n{more}").as_bytes());
    let rule = "disk.img: disk.hcl\n\t+$(MKIMAGE) build --quiet --vars values.vars $< -o $@ --depfile disk.d\n\t@echo called\n-include disk.d\n";
    site.write("Makefile", rule.as_bytes());
    site
}

/// Names that make reads only where they are spelled right.
const ODD: [&str; 12] = [
    "plain",
    "two words",
    "#1",
    "cost$",
    "a:b",
    "50%",
    "k=v",
    "it's",
    "[id].js",
    "back\\slash",
    "x(1)y",
    "ünï",
];

fn depfile(site: &Site) -> String {
    std::fs::read_to_string(site.path("disk.d")).expect("a dependency file")
}

/// Makes everything look as if it had been made long ago, inputs before outputs.
fn settle(site: &Site) {
    let all = succeed(tool("find", [".", "-not", "-path", "./store*"]).current_dir(site.folder.path()));
    let all: Vec<_> = all.lines().map(|path| site.path(path)).collect();
    age(&all, 1000);
    age(&["disk.d", "disk.img"].map(|name| site.path(name)), 10);
}

/// Tells whether make would call mkimage now: a program that does nothing takes its place.
fn would_be_called(site: &Site) -> bool {
    succeed(make(site, &["disk.img"]).arg("MKIMAGE=true")).contains("called")
}

fn was_called(site: &Site) -> bool {
    let output = run(&mut make(site, &["disk.img"]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
    String::from_utf8_lossy(&output.stdout).contains("called")
}

#[test]
fn make_calls_mkimage_for_each_input_that_changes_and_for_nothing_else() {
    let site = project();
    assert!(was_called(&site), "there is no image yet");
    settle(&site);
    assert!(!was_called(&site), "nothing changed:\n{}", depfile(&site));
    let read = ["disk.hcl", "common.hcl", "values.vars", "app", "kernel", "loader", "stub", "init", "motd"];
    let read = read.iter().map(|name| (*name).to_owned());
    let odd = ODD.iter().map(|name| format!("assets/a folder/{name}"));
    let folders = ["assets", "assets/a folder"].iter().map(|name| (*name).to_owned());
    for name in read.chain(odd).chain(folders) {
        settle(&site);
        assert!(!would_be_called(&site), "nothing is newer:\n{}", depfile(&site));
        succeed(&mut tool("touch", [&site.path(&name)]));
        assert!(would_be_called(&site), "{name} is newer:\n{}", depfile(&site));
    }
    for name in ["disk.hcl", "values.vars", "assets/a folder/two words"] {
        settle(&site);
        succeed(&mut tool("touch", [&site.path(name)]));
        assert!(was_called(&site), "{name} is newer:\n{}", depfile(&site));
        // Its bytes are the same, and so is the image: what depends on it is not made again.
        let made = site.path("disk.img").metadata().expect("an image").modified().expect("a time");
        let touched = site.path(name).metadata().expect("there").modified().expect("a time");
        assert!(made < touched, "{name}: the image was touched");
    }
    settle(&site);
    site.write("unrelated", b"x");
    site.write("inputs/one", b"two\n");
    assert!(!was_called(&site), "what was not read changed");
}

#[test]
fn a_new_file_in_a_folder_and_a_removed_one_are_seen() {
    let site = project();
    assert!(was_called(&site));
    settle(&site);
    site.write("assets/a folder/new one", b"new");
    assert!(was_called(&site));
    assert!(depfile(&site).contains("assets/a\\ folder/new\\ one"), "{}", depfile(&site));
    // Make has a name for what is gone; one with "=" it can only have while it is there.
    for name in ODD.iter().filter(|name| !name.contains('=')) {
        settle(&site);
        let path = site.path(&format!("assets/a folder/{name}"));
        std::fs::remove_file(&path).expect("removed");
        assert!(was_called(&site), "{name} is gone");
        assert!(!was_called(&site), "{name} is gone, and that is known:\n{}", depfile(&site));
    }
}

#[test]
fn what_a_recipe_needs_and_is_gone_is_named_by_mkimage_and_not_by_make() {
    let site = project();
    assert!(was_called(&site));
    settle(&site);
    std::fs::remove_file(site.path("motd")).expect("removed");
    let said = fail_with(2, &mut make(&site, &["disk.img"]));
    assert!(said.contains("motd") && said.contains("disk.hcl"), "{said}");
    assert!(!said.contains("No rule to make target"), "{said}");
    std::fs::remove_file(site.path("common.hcl")).expect("removed");
    let said = fail_with(2, &mut make(&site, &["disk.img"]));
    assert!(said.contains("common.hcl") && !said.contains("No rule"), "{said}");
    site.write("motd", b"welcome\n");
    site.write("common.hcl", b"variable \"greeting\" {\n  type = string\n}\n");
    assert!(was_called(&site));
}

fn ninja(site: &Site) -> String {
    let mut command = Command::new("ninja");
    super::settle(&mut command, site.folder.path());
    command.env("MKIMAGE_STORE", site.path("store")).env("MKIMAGE_INIT", site.path("init"));
    succeed(command.args(["-d", "explain"]))
}

#[test]
fn ninja_reads_the_same_file() {
    let site = project();
    // Names that ninja has no spelling for make it call too often, never too seldom.
    std::fs::remove_file(site.path("assets/a folder/it's")).expect("removed");
    let rules = "rule image\n  command = $$MKIMAGE build --quiet --vars values.vars $in -o $out --depfile $out.d\n  \
        depfile = $out.d\n  restat = 1\nbuild disk.img: image disk.hcl\n";
    site.write("build.ninja", rules.as_bytes());
    assert!(ninja(&site).contains("[1/1]"));
    assert!(ninja(&site).contains("no work to do"), "{}", ninja(&site));
    for name in ODD.iter().filter(|name| **name != "it's") {
        let name = format!("assets/a folder/{name}");
        site.write(&name, b"changed");
        assert!(ninja(&site).contains("[1/1]"), "{name} changed");
        assert!(ninja(&site).contains("no work to do"), "{name}");
        std::fs::remove_file(site.path(&name)).expect("removed");
        assert!(ninja(&site).contains("[1/1]"), "{name} is gone");
        let said = ninja(&site);
        assert!(said.contains("no work to do"), "{name}: {said}");
    }
}

#[test]
fn a_dependency_file_is_left_alone_where_it_says_the_same_and_written_where_nothing_is_built() {
    use std::os::unix::fs::MetadataExt;
    let site = project();
    assert!(was_called(&site));
    let before = site.path("disk.d").metadata().expect("there");
    let build = ["build", "--vars", "values.vars", "disk.hcl", "-o", "disk.img", "--depfile", "disk.d"];
    succeed(&mut site.mkimage(&build));
    let after = site.path("disk.d").metadata().expect("there");
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
    let text = depfile(&site);
    std::fs::remove_file(site.path("disk.d")).expect("removed");
    assert!(succeed(site.mkimage(&build).arg("--json")).contains("\"changed\": false"));
    assert_eq!(depfile(&site), text);
    assert!(text.starts_with("disk.img: \\\n  disk.hcl \\\n"), "{text}");
    assert!(!text.contains("dangling"), "a link is read with its folder:\n{text}");
}

#[test]
fn verbs_without_an_output_ask_what_depends_on_their_inputs() {
    let site = Site::new();
    let said = fail_with(2, &mut site.mkimage(&["compose", "small.hcl", "--depfile", "d"]));
    assert!(said.contains("--depfile-target"), "{said}");
    succeed(&mut site.mkimage(&["compose", "small.hcl", "--depfile", "d", "--depfile-target", "tree stamp"]));
    let text = std::fs::read_to_string(site.path("d")).expect("a dependency file");
    assert!(text.starts_with("tree\\ stamp: \\\n  small.hcl \\\n  app\n"), "{text}");
    fail_with(2, &mut site.mkimage(&["compose", "small.hcl", "--depfile-target", "x"]));
    succeed(&mut site.mkimage(&["lock", "small.hcl", "--depfile", "l"]));
    let text = std::fs::read_to_string(site.path("l")).expect("a dependency file");
    assert_eq!(text, "small.lock: \\\n  small.hcl\n\nsmall.hcl:\n");
}

#[test]
fn names_that_make_has_no_spelling_for_are_refused_before_an_image_has_its_name() {
    let site = project();
    for name in ["line\nbreak", "semi;colon", "end ", "lib(member)"] {
        let path = format!("assets/{name}");
        site.write(&path, b"x");
        let build = ["build", "--vars", "values.vars", "disk.hcl", "-o", "disk.img"];
        let said = fail_with(4, site.mkimage(&build).args(["--depfile", "disk.d"]));
        assert!(
            said.contains("dependency file disk.d") && said.contains("because") | said.contains("it "),
            "{said}"
        );
        assert!(!site.path("disk.img").exists() && !site.path("disk.d").exists());
        site.assert_tidy();
        std::fs::remove_file(site.path(&path)).expect("removed");
    }
    let build = ["build", "--vars", "values.vars", "disk.hcl", "-o", "a=b.img", "--depfile", "disk.d"];
    fail_with(4, &mut site.mkimage(&build));
}

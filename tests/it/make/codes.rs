//! Exit codes by kind, and a program that needs no terminal.

use std::fs::OpenOptions;
use std::process::Command;

use crate::adversary::{Site, digest};
use crate::tool::{fail_with, mkimage, root, run, succeed};

/// Returns the numbers of the table of exit codes in a text.
fn codes(text: &str) -> Vec<u8> {
    let words = text.split(|character: char| !character.is_ascii_digit());
    let mut codes: Vec<u8> = words.filter_map(|word| word.parse().ok()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

#[test]
fn help_and_readme_list_the_same_codes() {
    let help = succeed(&mut mkimage(["--help"]));
    let help = help.split("Exit codes:").nth(1).expect("a table").to_owned();
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let table =
        readme.split("| code | meaning |").last().expect("a table").split("\n\n").next().expect("its rows");
    assert_eq!(codes(&help), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 130]);
    assert_eq!(codes(table), codes(&help));
}

#[test]
fn each_code_has_its_cause() {
    let site = Site::bootable();
    succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "disk.img"]));
    site.write("ugly.hcl", b"image \"x\" {\nversion=\"1\"\n}\n");
    fail_with(1, &mut site.mkimage(&["fmt", "--check", "ugly.hcl"]));
    fail_with(2, &mut site.mkimage(&["build", "disk.hcl"]));
    site.write("wrong.hcl", b"image \"x\" {\n  vresion = \"1\"\n}\n");
    fail_with(3, &mut site.mkimage(&["build", "wrong.hcl", "-o", "x.img"]));
    let missing = Site::bootable();
    std::fs::remove_file(missing.path("app")).expect("removed");
    fail_with(4, &mut missing.mkimage(&["build", "disk.hcl", "-o", "x.img"]));
    fail_with(5, &mut site.mkimage(&["build", "nothing.hcl", "-o", "x.img"]));
    fail_with(6, &mut site.mkimage(&["inspect", "disk.hcl"]));
    let text = std::fs::read_to_string(site.path("small.hcl")).expect("the recipe");
    let packages = "packages \"debian\" {\n  suite = \"bookworm\"\n  names = [\"hello\"]\n}\n";
    site.write("packages.hcl", format!("{text}\n{packages}").as_bytes());
    let mirror = ["compose", "packages.hcl", "--mirror", "http://127.0.0.1:1/"];
    fail_with(7, &mut site.mkimage(&mirror));
    let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let status = site.mkimage(&["refs"]).stdout(full).status().expect("mkimage");
    assert_eq!(status.code(), Some(8));
    // 130 is provoked in `events`, and in `adversary::signals`.
    let pack = succeed(
        crate::tool::tool("find", ["store", "-name", "*.pack", "-size", "+1"])
            .current_dir(site.folder.path()),
    );
    let pack = site.path(pack.lines().next().expect("a pack"));
    let whole = Site::bootable();
    succeed(&mut whole.mkimage(&["build", "disk.hcl", "-o", "disk.img"]));
    crate::adversary::set_mode(&pack, 0o644);
    let mut bytes = std::fs::read(&pack).expect("a pack");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).expect("damaged");
    fail_with(6, &mut site.mkimage(&["fsck"]));
    let from = whole.path("store").display().to_string();
    fail_with(9, &mut site.mkimage(&["fsck", "--repair", "--from", &from]));
    succeed(&mut site.mkimage(&["fsck"]));
}

#[test]
fn neither_a_terminal_nor_open_streams_are_needed() {
    let site = Site::bootable();
    succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "right.img"]));
    for (number, (line, environment)) in [
        ("exec \"$@\" <&-", ("TERM", "")),
        ("exec \"$@\" >&-", ("TERM", "no-such-terminal")),
        ("exec \"$@\" <&- >&- 2>&-", ("COLUMNS", "0")),
        ("unset TERM HOME PATH; exec \"$@\" </dev/null | :", ("LC_ALL", "no_SUCH")),
    ]
    .into_iter()
    .enumerate()
    {
        let image = format!("{number}.img");
        let build = ["build", "disk.hcl", "-o", &image, "--store", "other"];
        let mut command = site.through("bash", &["-c", line, "bash"], &build);
        let output = run(command.env(environment.0, environment.1));
        assert!(output.status.success(), "{line}: {output:?}");
        assert_eq!(digest(&site.path(&image)), digest(&site.path("right.img")), "{line}");
    }
}

#[test]
fn quiet_says_nothing_where_nothing_is_wrong() {
    let site = Site::bootable();
    for _ in 0..2 {
        let output = run(&mut site.mkimage(&["build", "--quiet", "disk.hcl", "-o", "disk.img"]));
        assert!(
            output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
            "{output:?}"
        );
    }
    let said = fail_with(5, &mut site.mkimage(&["build", "--quiet", "nothing.hcl", "-o", "x.img"]));
    assert!(said.starts_with("error: "), "{said}");
}

/// Prepares a build of a recipe with a time stamp from outside.
fn dated(site: &Site, recipe: &str, image: &str, epoch: &str) -> Command {
    let mut command = site.mkimage(&["build", recipe, "-o", image]);
    command.env("SOURCE_DATE_EPOCH", epoch);
    command
}

#[test]
fn a_time_stamp_from_outside_goes_before_the_recipe_s_and_is_noted() {
    let site = Site::bootable();
    let text = std::fs::read_to_string(site.path("disk.hcl")).expect("the recipe");
    let with = text.replace("  version = \"1\"\n", "  version = \"1\"\n  epoch   = 1600000000\n");
    assert_ne!(text, with);
    site.write("dated.hcl", with.as_bytes());
    let commit = || {
        let text = succeed(&mut site.mkimage(&["show", "disk", "--json"]));
        serde_json::from_str::<serde_json::Value>(&text).expect("a commit").to_string()
    };
    for recipe in ["disk", "dated"] {
        succeed(&mut dated(&site, &format!("{recipe}.hcl"), &format!("{recipe}.img"), "1700000000"));
        let noted = commit();
        assert!(noted.contains("env.SOURCE_DATE_EPOCH") && noted.contains("1700000000"), "{noted}");
    }
    succeed(&mut dated(&site, "dated.hcl", "recipe.img", ""));
    let noted = commit();
    assert!(noted.contains("1600000000") && !noted.contains("SOURCE_DATE_EPOCH"), "{noted}");
    assert_ne!(digest(&site.path("dated.img")), digest(&site.path("recipe.img")));
    for wrong in ["-1", "soon", "4354819200", "1.5"] {
        for recipe in ["disk.hcl", "dated.hcl"] {
            let said = fail_with(2, &mut dated(&site, recipe, "wrong.img", wrong));
            assert!(said.contains("SOURCE_DATE_EPOCH") && said.contains(wrong), "{said}");
        }
    }
}

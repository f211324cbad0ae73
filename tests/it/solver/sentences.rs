//! What is said at dead ends.

use super::worlds::{dead_end, problem, sources, universe};

/// Checks the sentences of a dead end, with a small universe and the names that are asked for.
fn says(lines: &str, roots: &str, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let found = dead_end(&universe(lines), &problem(roots)).to_string();
    let found: Vec<&str> = found.lines().map(str::trim).collect();
    assert_eq!(found, expected);
}

#[test]
fn two_roots_that_conflict_are_both_named() {
    says(
        "sysv 1 all; Depends: init-core
         init-core 2 all; Conflicts: systemd
         server 3 all; Depends: systemd (>= 1)
         systemd 252 all",
        "sysv server",
        "sysv and server can't be installed:
         sysv 1 (asked for) needs init-core.
         server 3 (asked for) needs systemd (>= 1).
         init-core 2 conflicts with systemd.
         Leave out sysv or server.",
    );
}

#[test]
fn what_is_missing_is_named_with_what_there_is() {
    says(
        "app 1 all; Depends: lib (>= 3)
         lib 1 amd64
         lib 2 amd64",
        "app",
        "app can't be installed:
         app 1 (asked for) needs lib (>= 3), but there is only lib 2 and lib 1.
         Add a source that has lib (>= 3).",
    );
    says(
        "app 1 all; Depends: middle
         middle 1 all; Depends: ghost | phantom",
        "app",
        "app can't be installed:
         app 1 (asked for) needs middle.
         middle 1 needs ghost | phantom, which no source has.
         Add a source that has ghost | phantom.",
    );
}

#[test]
fn unknown_roots_are_all_named_with_what_may_have_been_meant() {
    says(
        "nginx 1 all",
        "ngimx zzzz",
        "ngimx can't be installed:
         there is no package ngimx for amd64 or i386; did you mean nginx?
         zzzz can't be installed:
         there is no package zzzz for amd64 or i386.",
    );
}

#[test]
fn independent_dead_ends_are_all_reported() {
    says(
        "one 1 all; Depends: ghost
         two 1 all; Conflicts: three
         three 1 all
         fine 1 all",
        "one two fine three",
        "one can't be installed:
         one 1 (asked for) needs ghost, which no source has.
         Add a source that has ghost.
         two and three can't be installed:
         two 1 (asked for) conflicts with three.
         Leave out two or three.",
    );
}

#[test]
fn rules_of_the_recipe_are_named_with_the_way_out() {
    let world = universe(
        "app 1 all; Depends: lib (>= 2)
         lib 1 all
         lib 2 all",
    );
    let mut excluded = problem("app");
    excluded.rules.exclude = vec!["lib".to_owned()];
    assert_eq!(
        dead_end(&world, &excluded).to_string(),
        "app can't be installed:\n  app 1 (asked for) needs lib (>= 2), but lib 2 is excluded by the recipe.\n  Take lib \
         out of `exclude`."
    );
    let mut pinned = problem("app");
    pinned.rules.pins = [("lib".to_owned(), "1*".to_owned())].into();
    assert_eq!(
        dead_end(&world, &pinned).to_string(),
        "app can't be installed:\n  app 1 (asked for) needs lib (>= 2), but lib 2 is not the pinned version 1*.\n  \
         Loosen the pin of lib."
    );
    assert_eq!(
        dead_end(&world, &problem("lib=7*")).to_string(),
        "lib can't be installed:\n  lib is asked for, but lib 1 is not the version 7* that the recipe asks for.\n  lib is \
         asked for, but lib 2 is not the version 7* that the recipe asks for.\n  Ask for another version of lib."
    );
    let other = sources(&[("stable", 500, "app 1 all"), ("testing", 500, "lib 1 all")]);
    assert_eq!(
        dead_end(&other, &problem("app/testing")).to_string(),
        "app can't be installed:\n  app is asked for, but app 1 is not from testing, as the recipe asks.\n  Ask for app \
         without its suite."
    );
    let mut bare = problem("lib=7* app");
    bare.rules.dependencies = false;
    assert!(dead_end(&other, &bare).to_string().contains("not the version 7*"));
}

#[test]
fn malformed_packages_are_named_with_their_field() {
    says(
        "app 1 all; Depends: lib (>= )",
        "app",
        "app can't be installed:
         app 1 has a malformed field Depends: expected a version in \"lib (>= )\".",
    );
    let text = "Package: app\nVersion: 1\nArchitecture: all\nFilename: ../x\nSize: 1\nSHA256: x\n";
    let mut world = universe("other 1 all");
    world.add(1, 500, text.to_owned()).expect("an index");
    assert_eq!(
        dead_end(&world, &problem("app")).to_string(),
        "app can't be installed:\n  there is no package app for amd64 or i386.\n  package app: field Filename is \
         missing or malformed: \"../x\"."
    );
}

#[test]
fn programs_of_two_architectures_can_t_share_a_place() {
    says(
        "tool 1 amd64
         tool 1 i386",
        "tool tool:i386",
        "tool and tool:i386 can't be installed:
         tool 1 and tool:i386 1 can't be installed side by side.
         Leave out tool or tool:i386.",
    );
}

#[test]
fn two_versions_of_one_package_can_t_share_a_place() {
    says(
        "one 1 all; Depends: lib (= 1)
         two 1 all; Depends: lib (= 2)
         lib 1 all
         lib 2 all",
        "one two",
        "one and two can't be installed:
         one 1 (asked for) needs lib (= 1).
         two 1 (asked for) needs lib (= 2).
         lib 1 and lib 2 can't be installed side by side.
         Leave out one or two.",
    );
}

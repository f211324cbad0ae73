//! The names of refs at the far end: tags that stay, names that can't stand beside each other, and their removal.

use super::site::index;
use super::*;
use crate::tool::{fail_with, mkimage, run, succeed};
use mkimage::store::StoreError;

fn forced() -> Rules {
    Rules { force: true, ..Rules::default() }
}

fn removing(names: &[&str]) -> Rules {
    Rules { remove: names.iter().map(|at| name(at)).collect(), ..Rules::default() }
}

#[test]
fn a_tag_of_a_site_never_moves_whoever_pushes() {
    let farm = Farm::new();
    let here = farm.store("here");
    let (first, second) = (publish_small(&here, "hello", 1), publish_small(&here, "hello", 2));
    // The pusher knows where the tag leads: any other ref would follow.
    let address = farm.site().settings.address.to_string();
    let mut out = farm.named(&here, "origin", &address);
    farm.push(&here, &mut out, &[("tag/v1", first)]);
    for rules in [Rules::default(), forced(), Rules { expect: Some(Some(first)), ..Rules::default() }] {
        match farm.try_push(&here, &mut out, &[("tag/v1", second)], &rules) {
            Err(RemoteError::TagMoves { commit, .. }) => assert_eq!(commit, first),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(index(&farm).refs["tag/v1"].commit, first);
    farm.push(&here, &mut out, &[("tag/v1", first)]);
    assert_eq!(index(&farm).version, 1, "the same tag again is no move");
}

#[test]
fn what_nobody_could_pull_together_is_not_published_together() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let id = publish_small(&here, "hello", 1);
    let mut out = farm.site();
    farm.push(&here, &mut out, &[("web", id), ("env/prod/web", id), ("web-2", id)]);
    let refused: [&[(&str, CommitId)]; 5] = [
        &[("web/test", id)],
        &[("env", id)],
        &[("env/prod", id)],
        &[("new", id), ("new/x", id)],
        &[("new/x", id), ("new", id)],
    ];
    for refs in refused {
        match farm.try_push(&here, &mut out, refs, &forced()) {
            Err(RemoteError::InTheWay { .. }) => {}
            other => panic!("{refs:?}: {other:?}"),
        }
    }
    assert_eq!(index(&farm).version, 1);
    remote::pull(&there, &mut farm.site(), &Wants::All, &Rules::default(), &line()).expect("all of them");
    assert_eq!(there.refs().expect("refs").len(), 3);
}

#[test]
fn refs_of_the_far_end_go_in_one_move_with_what_is_pushed() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let (first, second) = (publish_small(&here, "hello", 1), publish_small(&here, "hello", 2));
    std::fs::create_dir_all(farm.path("there")).expect("a folder");
    let far: Remote = Remote::at(farm.path("there").to_str().expect("text").parse().expect("an address"));
    for mut out in [farm.site(), far] {
        farm.push(&here, &mut out, &[("hello", first), ("old", first), ("tag/v1", first)]);
        let rules = removing(&["old", "tag/v1"]);
        let done = farm.try_push(&here, &mut out, &[("hello", second)], &rules).expect("pushed");
        let moves: Vec<_> =
            done.refs.iter().map(|moved| (moved.name.as_str(), moved.old, moved.new)).collect();
        let expected =
            [("old", Some(first), None), ("tag/v1", Some(first), None), ("hello", Some(first), Some(second))];
        assert_eq!(moves, expected);
        let again = farm.try_push(&here, &mut out, &[("hello", first)], &rules);
        assert!(matches!(again, Err(RemoteError::Missing { .. })), "{again:?}");
    }
    assert_eq!(index(&farm).refs.keys().collect::<Vec<_>>(), ["hello"]);
    assert_eq!(there.refs().expect("refs").into_keys().collect::<Vec<_>>(), [name("hello")]);
    assert_eq!(led(&there, "hello"), Some(second));
}

#[test]
fn a_removal_needs_to_know_what_it_removes() {
    let farm = Farm::new();
    let (here, other) = (farm.store("here"), farm.store("other"));
    let id = publish_small(&here, "hello", 1);
    let foreign = publish_small(&other, "hello", 2);
    farm.push(&other, &mut farm.site(), &[("hello", foreign)]);
    let mut out = farm.site();
    let refused = farm.try_push(&here, &mut out, &[], &removing(&["hello"]));
    assert!(matches!(refused, Err(RemoteError::Moved { found: Some(_), .. })), "{refused:?}");
    let wrong = Rules { expect: Some(Some(id)), ..removing(&["hello"]) };
    assert!(farm.try_push(&here, &mut out, &[], &wrong).is_err());
    let right = Rules { expect: Some(Some(foreign)), ..removing(&["hello"]) };
    farm.try_push(&here, &mut out, &[], &right).expect("as expected");
    assert_eq!(index(&farm).refs.len(), 0);
}

#[test]
fn one_ref_is_told_one_thing() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let (first, second) = (publish_small(&here, "hello", 1), publish_small(&here, "hello", 2));
    let mut out = farm.site();
    let twice = farm.try_push(&here, &mut out, &[("hello", first), ("hello", second)], &forced());
    assert!(matches!(twice, Err(RemoteError::Store(StoreError::RefTwice { .. }))), "{twice:?}");
    farm.push(&here, &mut out, &[("hello", first)]);
    let both = farm.try_push(&here, &mut out, &[("hello", first)], &removing(&["hello"]));
    assert!(matches!(both, Err(RemoteError::Store(StoreError::RefTwice { .. }))), "{both:?}");
    // To ask twice for the same is no contradiction.
    pull(&there, &mut out, &["hello", "hello"]).expect("pulled");
    assert_eq!(led(&there, "hello"), Some(first));
}

/// Calls the program in the folder of a farm, with the store `here`.
fn call(farm: &Farm, arguments: &[&str]) -> std::process::Command {
    let mut command = mkimage(arguments);
    command.env("MKIMAGE_STORE", farm.path("here")).current_dir(farm.folder.path());
    command
}

#[test]
fn a_remote_whose_settings_are_damaged_can_be_forgotten_and_hides_no_other() {
    let farm = Farm::new();
    publish_small(&farm.store("here"), "hello", 1);
    for remote in ["good", "origin"] {
        succeed(&mut call(&farm, &["remote", "add", remote, "dir:site"]));
    }
    std::fs::write(farm.path("here/remotes/origin"), "garbage\n").expect("written");
    let listed = run(&mut call(&farm, &["remote", "list"]));
    assert!(listed.status.success());
    assert!(String::from_utf8_lossy(&listed.stdout).starts_with("good dir:/"), "{listed:?}");
    assert!(String::from_utf8_lossy(&listed.stderr).contains("warning: remotes/origin: "), "{listed:?}");
    for refused in [&["pull", "origin"][..], &["remote", "add", "origin", "dir:site"]] {
        let said = fail_with(6, &mut call(&farm, refused));
        assert!(said.contains("`mkimage remote remove` forgets it"), "{said}");
    }
    succeed(&mut call(&farm, &["remote", "remove", "origin"]));
    fail_with(5, &mut call(&farm, &["remote", "remove", "origin"]));
    succeed(&mut call(&farm, &["remote", "add", "origin", "dir:site"]));
}

#[test]
fn push_removes_refs_there_and_says_how_tags_go() {
    let farm = Farm::new();
    let here = farm.store("here");
    publish_small(&here, "hello", 1);
    succeed(&mut call(&farm, &["key", "generate", "site.key"]));
    let push = |more: &[&str]| call(&farm, &[&["push", "dir:site", "--key", "site.key"], more].concat());
    succeed(&mut push(&["hello", "hello:tag/v1", "hello:old"]));
    publish_small(&here, "hello", 2);
    let said = fail_with(1, &mut push(&["hello:tag/v1", "--force"]));
    assert!(said.contains("tags never move") && said.contains("push REMOTE --delete"), "{said}");
    let said = fail_with(1, &mut push(&["hello:old/x", "--force"]));
    assert!(said.contains("can't stand beside old at dir:site"), "{said}");
    fail_with(2, &mut push(&["hello:old", "--delete", "old"]));
    let done = succeed(&mut push(&["hello", "--delete", "old", "--delete", "tag/v1", "--force"]));
    assert!(done.contains("(removed)") && done.contains("old "), "{done}");
    fail_with(5, &mut push(&["--delete", "old"]));
    succeed(&mut push(&["hello:tag/v1"]));
    let refs = succeed(&mut call(&farm, &["remote", "refs", "dir:site", "--key", "site.key.pub"]));
    assert_eq!(refs.lines().count(), 2, "{refs}");
    // To sign the index anew moves nothing, and prints nothing.
    assert_eq!(succeed(&mut push(&[])), "");
}

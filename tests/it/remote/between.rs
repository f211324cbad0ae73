//! From store to store in directories.

use super::*;
use crate::tool;

fn remote_at(farm: &Farm, name: &str) -> Remote {
    Remote::at(farm.path(name).to_str().expect("text").parse().expect("an address"))
}

#[test]
fn a_commit_arrives_with_all_that_it_leads_to_and_only_what_is_missing_travels() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let first = publish_big(&there, "hello", 1, &[]);
    let mut remote = remote_at(&farm, "there");
    let outcome = pull(&here, &mut remote, &["hello"]).expect("pulled");
    assert_eq!(led(&here, "hello"), Some(first));
    assert!(outcome.traffic.received_bytes > 2_400_000, "{outcome:?}");
    expect_whole(&here, &first);
    let again = pull(&here, &mut remote, &["hello"]).expect("pulled");
    assert_eq!((again.objects, again.traffic.received_bytes, again.refs[0].moved()), (0, 0, false));
    let second = publish_big(&there, "hello", 2, &[]);
    let next = pull(&here, &mut remote, &["hello"]).expect("pulled");
    assert!(next.traffic.received_bytes < 1_000_000, "a large file and a small one: {next:?}");
    assert_eq!(led(&here, "hello"), Some(second));
    expect_whole(&here, &second);
    // The same objects, stored in the same frames.
    let frames = |store: &Store| store.check(&job()).expect("checked").objects;
    assert_eq!(frames(&here), frames(&there));
}

#[test]
fn a_push_moves_a_ref_only_from_where_its_pusher_knew_it() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let first = publish_small(&here, "hello", 1);
    let mut remote = remote_at(&farm, "there");
    std::fs::create_dir_all(farm.path("there")).expect("a folder");
    farm.push(&here, &mut remote, &[("hello", first)]);
    let second = publish_small(&here, "hello", 2);
    // The log of the local ref knows where it led before.
    farm.push(&here, &mut remote, &[("hello", second)]);
    assert_eq!(led(&there, "hello"), Some(second));
    expect_whole(&there, &second);
    let foreign = publish_small(&there, "hello", 9);
    let third = publish_small(&here, "hello", 3);
    let refused = farm.try_push(&here, &mut remote, &[("hello", third)], &Rules::default());
    match refused {
        Err(RemoteError::Moved { found, .. }) => assert_eq!(found, Some(foreign)),
        other => panic!("{other:?}"),
    }
    assert_eq!(led(&there, "hello"), Some(foreign));
    let wrong = Rules { expect: Some(Some(second)), ..Rules::default() };
    assert!(farm.try_push(&here, &mut remote, &[("hello", third)], &wrong).is_err());
    let none = Rules { expect: Some(None), ..Rules::default() };
    assert!(farm.try_push(&here, &mut remote, &[("hello", third)], &none).is_err());
    let right = Rules { expect: Some(Some(foreign)), ..Rules::default() };
    farm.try_push(&here, &mut remote, &[("hello", third)], &right).expect("as expected");
    let foreign = publish_small(&there, "hello", 10);
    assert_eq!(led(&there, "hello"), Some(foreign));
    let force = Rules { force: true, ..Rules::default() };
    farm.try_push(&here, &mut remote, &[("hello", third)], &force).expect("forced");
    assert_eq!(led(&there, "hello"), Some(third));
}

#[test]
fn several_refs_are_pushed_all_or_none() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let (a, b) = (publish_small(&here, "a", 1), publish_small(&here, "b", 2));
    publish_small(&there, "b", 9);
    let mut remote = remote_at(&farm, "there");
    assert!(farm.try_push(&here, &mut remote, &[("a", a), ("b", b)], &Rules::default()).is_err());
    assert_eq!(led(&there, "a"), None);
}

#[test]
fn a_local_ref_that_somebody_moved_stays_where_it_is() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let address = farm.path("there").display().to_string();
    publish_small(&there, "hello", 1);
    let mut remote = farm.named(&here, "origin", &address);
    pull(&here, &mut remote, &["hello"]).expect("pulled");
    let second = publish_small(&there, "hello", 2);
    pull(&here, &mut remote, &["hello"]).expect("it stands where the remote was");
    assert_eq!(led(&here, "hello"), Some(second));
    let own = publish_small(&here, "hello", 7);
    publish_small(&there, "hello", 3);
    let before = state(&farm.path("here").join("refs"));
    let refused = pull(&here, &mut remote, &["hello"]);
    assert!(matches!(refused, Err(RemoteError::Diverged { .. })), "{refused:?}");
    assert_eq!((led(&here, "hello"), state(&farm.path("here").join("refs"))), (Some(own), before));
    let wants = Wants::These(vec![Want::Ref(name("hello"))]);
    let force = Rules { force: true, ..Rules::default() };
    remote::pull(&here, &mut remote, &wants, &force, &line()).expect("forced");
    assert_ne!(led(&here, "hello"), Some(own));
}

#[test]
fn a_child_of_what_is_here_may_follow_it() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let own = publish_big(&here, "hello", 1, &[]);
    let child = publish_big(&there, "hello", 2, &[own]);
    let mut remote = remote_at(&farm, "there");
    pull(&here, &mut remote, &["hello"]).expect("it follows");
    assert_eq!(led(&here, "hello"), Some(child));
}

#[test]
fn what_is_damaged_there_never_gets_here() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    publish_big(&there, "hello", 1, &[]);
    let packs = farm.path("there").join("packs");
    let pack = crate::store::list(&packs).into_iter().find(|name| name.to_string_lossy().ends_with(".pack"));
    let pack = packs.join(pack.expect("a pack"));
    let mut bytes = std::fs::read(&pack).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&pack).expect("removed");
    std::fs::write(&pack, bytes).expect("written");
    let mut remote = remote_at(&farm, "there");
    let error = pull(&here, &mut remote, &["hello"]).expect_err("damaged");
    assert!(told(&error).contains("damaged"), "{}", told(&error));
    assert_eq!(led(&here, "hello"), None);
    assert!(crate::store::list(farm.path("here").join("packs")).is_empty());
}

#[test]
fn a_directory_that_is_no_store_is_refused_and_left_as_it_is() {
    let farm = Farm::new();
    let here = farm.store("here");
    let id = publish_small(&here, "hello", 1);
    let mut remote = remote_at(&farm, "nowhere");
    assert!(matches!(pull(&here, &mut remote, &["hello"]), Err(RemoteError::NotThere { .. })));
    let pushed = farm.try_push(&here, &mut remote, &[("hello", id)], &Rules::default());
    assert!(matches!(pushed, Err(RemoteError::NotThere { .. })), "a disk that is not mounted: {pushed:?}");
    assert!(!farm.path("nowhere").exists());
    std::fs::create_dir(farm.path("other")).expect("a folder");
    std::fs::write(farm.path("other/letter"), "dear").expect("written");
    let mut remote = remote_at(&farm, "other");
    assert!(farm.try_push(&here, &mut remote, &[("hello", id)], &Rules::default()).is_err());
    assert_eq!(crate::store::list(farm.path("other")), ["letter"]);
}

#[test]
fn the_command_line_clones_mirrors_and_prunes() {
    let farm = Farm::new();
    let there = farm.store("there");
    let (first, _) = (publish_small(&there, "env/prod", 1), publish_small(&there, "old", 2));
    let (from, to) = (farm.path("there"), farm.path("copy"));
    let mkimage = |arguments: &[&str]| {
        let mut command = tool::mkimage(arguments);
        command.env("MKIMAGE_STORE", farm.path("copy"));
        command
    };
    let text =
        tool::succeed(&mut mkimage(&["clone", from.to_str().expect("text"), to.to_str().expect("text")]));
    assert!(text.contains("env/prod") && text.contains("(new)"), "{text}");
    let again = tool::fail_with(2, &mut mkimage(&["clone", from.to_str().expect("text")]));
    assert!(again.contains("has refs already"), "{again}");
    there.remove_refs(&job(), &[(name("old"), mkimage::store::Expected::Any)], "gone").expect("removed");
    let second = publish_small(&there, "env/prod", 3);
    let json = tool::succeed(&mut mkimage(&["--json", "mirror", "origin", "--prune"]));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["refs"][0]["name"], "env/prod");
    assert_eq!(json["refs"][0]["old"], first.to_string());
    assert_eq!(json["refs"][0]["new"], second.to_string());
    assert_eq!(json["refs"][1]["new"], serde_json::Value::Null);
    let copy = farm.store("copy");
    assert_eq!((led(&copy, "env/prod"), led(&copy, "old")), (Some(second), None));
    expect_whole(&copy, &second);
    let refs = tool::succeed(&mut mkimage(&["remote", "refs", "origin"]));
    assert!(refs.contains(&second.to_string()), "{refs}");
    let show = tool::succeed(&mut mkimage(&["remote", "show", "origin"]));
    assert!(show.contains(from.to_str().expect("text")), "{show}");
    tool::succeed(&mut mkimage(&["remote", "remove", "origin"]));
    let unknown = tool::fail_with(5, &mut mkimage(&["pull", "origin"]));
    assert!(unknown.contains("no remote is called") && unknown.contains("hint:"), "{unknown}");
}

//! What we read: commits of our own that come back, and commits that OSTree's own tool made.

use mkimage::store::Objects;

use super::kit::{Place, dump_host, everything, is_root, unlinked};
use crate::tool::{fail_with, succeed};

fn import(place: &Place, store: &str, more: &[&str]) -> serde_json::Value {
    let mut command = place.mkimage(["ostree", "import", "--json"]);
    command.args(more).env("MKIMAGE_STORE", place.path(store));
    serde_json::from_str(&succeed(&mut command)).expect("JSON")
}

#[test]
fn a_commit_that_goes_out_and_comes_in_is_the_same_commit() {
    let place = Place::new();
    let commit = place.commit("1.0", everything);
    succeed(&mut place.mkimage(["ostree", "export", "nasty", "--repo", "repo"]));
    let back = import(&place, "other-store", &["nasty", "--repo", "repo"]);
    assert_eq!((back["commit"].as_str(), &back["restored"]), (Some(&*commit.to_string()), &true.into()));
    assert_eq!(back["reference"], "nasty");
    let other = mkimage::store::Store::open(place.path("other-store")).expect("opened");
    let report = other.check(&place.job).expect("checked");
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    let found = other.read_commit(&commit).expect("the commit");
    assert!(found.boot.is_some_and(|boot| other.read_tree(&place.job, &boot).is_ok()));
    let again = import(&place, "other-store", &["nasty", "--repo", "repo"]);
    assert_eq!((&again["objects"], &again["moved"]), (&0.into(), &false.into()));
    let named = import(&place, "third-store", &[back["checksum"].as_str().expect("text"), "--repo", "repo"]);
    assert_eq!(named["commit"], back["commit"], "a checksum is as good as a branch");
}

#[test]
fn without_its_companion_a_tree_comes_in_and_says_what_is_missing() {
    let place = Place::new();
    let commit = place.commit("1.0", everything);
    succeed(&mut place.mkimage(["ostree", "export", "nasty", "--repo", "repo"]));
    succeed(&mut place.ostree("half", ["init", "--mode=archive"]));
    succeed(&mut place.ostree("half", ["pull-local", "repo", "nasty"]));
    let half = import(&place, "other-store", &["nasty", "--repo", "half"]);
    assert_eq!(half["restored"], false);
    assert!(half["note"].as_str().is_some_and(|note| note.contains("mkimage/")), "{half}");
    let tree = place.store().read_commit(&commit).expect("a commit").tree;
    assert_eq!(half["tree"]["id"].as_str(), Some(&*tree.id.to_string()), "the tree is the same");
    succeed(&mut place.ostree("half", ["pull-local", "repo", "nasty", "mkimage/nasty"]));
    let whole = import(&place, "other-store", &["nasty", "--repo", "half"]);
    assert_eq!(whole["commit"].as_str(), Some(&*commit.to_string()));
    // Without the companion but into the store that has the rest.
    succeed(&mut place.mkimage(["ostree", "export", "nasty", "--repo", "bare-tree", "--tree-only"]));
    let here = import(&place, "store", &["nasty", "--repo", "bare-tree"]);
    assert_eq!(here["commit"].as_str(), Some(&*commit.to_string()));
}

#[test]
fn a_commit_of_ostrees_own_tool_has_the_same_content_here() {
    let place = Place::new();
    let commit = place.commit("1.0", everything);
    succeed(&mut place.mkimage(["checkout", "nasty", "tree"]));
    let host = dump_host(&place.path("tree"));
    if is_root() {
        assert_eq!(host, unlinked(&place.dump(&commit)));
    }
    let modes: &[&str] =
        if is_root() { &["archive", "bare-user", "bare"] } else { &["archive", "bare-user"] };
    for mode in modes {
        let made = format!("made-{mode}");
        succeed(&mut place.ostree(&made, ["init", &format!("--mode={mode}")]));
        let subject = ["--subject=by hand", "--add-metadata-string=version=7", "--timestamp=@1234567890"];
        let commit = ["commit", "--branch=Some/Branch", "--tree=dir=tree"];
        let checksum = succeed(place.ostree(&made, commit).args(subject));
        let back = import(&place, &format!("store-{mode}"), &["Some/Branch", "--repo", &made]);
        assert_eq!((back["checksum"].as_str(), &back["reference"]), (Some(checksum.trim()), &"some".into()));
        let store = mkimage::store::Store::open(place.path(&format!("store-{mode}"))).expect("opened");
        let id = back["commit"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        let commit = store.read_commit(&id).expect("a commit");
        assert_eq!((commit.epoch, commit.version.as_deref()), (1_234_567_890, Some("7")));
        assert_eq!(commit.annotations.get("ostree.subject").map(String::as_str), Some("by hand"));
        let tree = store.read_tree(&place.job, &commit.tree).expect("a tree");
        assert_eq!(mkimage::tree::dump::dump(&tree), host, "{mode}");
    }
}

#[test]
fn what_is_not_there_is_said_by_name() {
    let place = Place::new();
    place.commit("1.0", everything);
    succeed(&mut place.mkimage(["ostree", "export", "nasty", "--repo", "repo"]));
    let import =
        |name: &str, repository: &str| ["ostree", "import", name, "--repo", repository].map(str::to_owned);
    let said = fail_with(5, &mut place.mkimage(import("nobody", "repo")));
    assert!(said.contains("nobody") && said.contains("ostree refs"), "{said}");
    let said = fail_with(5, &mut place.mkimage(import("nasty", "nowhere")));
    assert!(said.contains("nowhere is not there"), "{said}");
    std::fs::create_dir(place.path("folder")).expect("made");
    let said = fail_with(1, &mut place.mkimage(import("nasty", "folder")));
    assert!(said.contains("folder"), "{said}");
    let said = fail_with(6, &mut place.mkimage(import(&"0".repeat(64), "repo")));
    assert!(said.contains(&format!("{}.commit", "0".repeat(64))), "{said}");
    let said = fail_with(2, place.mkimage(import("nasty", "repo")).args(["--name", "Not A Ref"]));
    assert!(said.contains("Not A Ref"), "{said}");
}

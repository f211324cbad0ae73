//! What makes the store git-like: names that people type, removals, tags, undo and redo.

use std::sync::{Arc, Mutex};

use super::*;
use mkimage::store::{JointMove, LogEntry, MoveId, Named, Objects, RefMove, StoreError};

fn remove(store: &Store, names: &[&str]) {
    let refs: Vec<_> = names.iter().map(|at| (name(at), Expected::Any)).collect();
    store.remove_refs(&job(), &refs, "removed").expect("removed");
}

fn leads(store: &Store, at: &str) -> Option<CommitId> {
    store.read_ref(&name(at)).expect("read").map(|value| value.commit)
}

fn undo(store: &Store, count: usize) {
    let plan = store.plan_undo(count).expect("a plan");
    store.undo(&job(), &plan).expect("undone");
}

fn redo(store: &Store) {
    let plan = store.plan_redo().expect("a plan");
    store.undo(&job(), &plan).expect("done again");
}

#[test]
fn a_removed_ref_is_gone_its_log_stays_and_its_generations_go_on() {
    let folder = folder();
    let store = open(folder.path());
    let one = publish(&store, "team/main", 1);
    let two = publish(&store, "team/main", 2);
    remove(&store, &["team/main"]);
    assert_eq!(leads(&store, "team/main"), None);
    assert!(store.refs().expect("read").is_empty());
    assert_eq!(store.logged_refs().expect("read"), [name("team/main")]);
    let log = store.log(&name("team/main")).expect("read");
    let seen: Vec<_> = log.iter().map(|it| (it.value.generation, it.value.commit, it.removed)).collect();
    assert_eq!(seen, [(3, two, true), (2, two, false), (1, one, false)]);
    assert!(matches!(store.resolve("team/main"), Err(StoreError::Removed { .. })));
    assert_eq!(store.resolve("team/main~1").expect("before"), two);
    publish(&store, "team/main", 1);
    let value = store.read_ref(&name("team/main")).expect("read").expect("there");
    assert_eq!((value.generation, value.commit, value.previous), (4, one, None));
    let gone = Expected::Value(2, two);
    let stale = RefMove { name: name("team/main"), expected: gone, new: Some(two) };
    let refused = store.begin(&job()).commit_moves(&[stale], "");
    assert!(
        matches!(refused, Err(StoreError::Moved { .. })),
        "a value of before the removal is no expectation"
    );
}

#[test]
fn a_name_that_was_a_ref_may_become_a_folder_of_refs_and_back() {
    let folder = folder();
    let store = open(folder.path());
    let one = publish(&store, "a", 1);
    remove(&store, &["a"]);
    publish(&store, "a/b/c", 2);
    assert!(store.begin(&job()).commit(&[update("a", one)], "").is_err(), "a/b/c is in the way");
    remove(&store, &["a/b/c"]);
    publish(&store, "a", 3);
    assert_eq!(store.refs().expect("read").into_keys().collect::<Vec<_>>(), [name("a")]);
    let generations = |at: &str| store.log(&name(at)).expect("read").len();
    assert_eq!((generations("a"), generations("a/b/c")), (3, 2));
    assert_eq!(store.logged_refs().expect("read"), [name("a"), name("a/b/c")]);
}

#[test]
fn removals_and_moves_are_all_or_nothing() {
    let folder = folder();
    let store = open(folder.path());
    let one = publish(&store, "a", 1);
    let two = publish(&store, "b", 2);
    let go = |at: &str, expected| RefMove { name: name(at), expected, new: None };
    let moves = [go("a", Expected::Any), RefMove::from(&update("c", one)), go("b", Expected::Value(1, one))];
    let refused = store.begin(&job()).commit_moves(&moves, "");
    assert!(matches!(refused, Err(StoreError::Moved { .. })));
    let refused = store.begin(&job()).commit_moves(&[go("a", Expected::Any), go("none", Expected::Any)], "");
    assert!(matches!(refused, Err(StoreError::Unknown { .. })));
    assert_eq!([leads(&store, "a"), leads(&store, "b"), leads(&store, "c")], [Some(one), Some(two), None]);
    let moves = [go("a", Expected::Any), RefMove::from(&update("c", one)), go("b", Expected::Value(1, two))];
    let done = store.begin(&job()).commit_moves(&moves, "at once").expect("moved");
    assert_eq!(done.refs.iter().map(|it| it.removed).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(store.refs().expect("read").into_keys().collect::<Vec<_>>(), [name("c")]);
    let joint = store.joint_moves().expect("read").swap_remove(0);
    let names: Vec<_> = joint.refs.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!((names.join(" "), &*joint.message), ("a b c".to_owned(), "at once"));
}

#[test]
fn tags_are_made_and_removed_and_never_move() {
    let folder = folder();
    let store = open(folder.path());
    let one = publish(&store, "tag/v1", 1);
    let two = publish(&store, "main", 2);
    for expected in [Expected::Any, Expected::Value(1, one)] {
        let wanted = RefUpdate { name: name("tag/v1"), expected, new: two };
        let refused = store.begin(&job()).commit(&[update("main", one), wanted], "");
        assert!(matches!(refused, Err(StoreError::TagMoves { commit, .. }) if commit == one));
    }
    assert_eq!([leads(&store, "main"), leads(&store, "tag/v1")], [Some(two), Some(one)]);
    publish(&store, "tag/v1", 1);
    assert_eq!(store.log(&name("tag/v1")).expect("read").len(), 1, "the same again is no move");
    remove(&store, &["tag/v1"]);
    assert_eq!(publish(&store, "tag/v1", 2), two);
    // Undoing both at once leads the tag back to where it was, which is no move of the tag's own.
    undo(&store, 2);
    assert_eq!(leads(&store, "tag/v1"), Some(one));
}

#[test]
fn undo_takes_moves_back_that_were_made_together_and_redo_makes_them_again() {
    let folder = folder();
    let store = open(folder.path());
    let one = publish(&store, "test", 1);
    let transaction = store.begin(&job());
    let two = put_version(&transaction, 2);
    transaction.commit(&[update("test", two), update("prod", two)], "both").expect("committed");
    publish(&store, "other", 3);
    undo(&store, 1);
    assert_eq!(leads(&store, "other"), None);
    undo(&store, 1);
    assert_eq!([leads(&store, "test"), leads(&store, "prod")], [Some(one), None]);
    redo(&store);
    assert_eq!(
        [leads(&store, "test"), leads(&store, "prod"), leads(&store, "other")],
        [Some(two), Some(two), None]
    );
    redo(&store);
    assert!(leads(&store, "other").is_some());
    assert!(matches!(store.plan_redo(), Err(StoreError::NothingToRedo)));
    undo(&store, 3);
    assert!(store.refs().expect("read").is_empty(), "all moves were taken back");
    assert!(matches!(store.plan_undo(1), Err(StoreError::NothingToUndo { asked: 1, there: 0 })));
    redo(&store);
    assert_eq!(store.refs().expect("read").len(), 3);
    let log = store.log(&name("test")).expect("read");
    assert!(log[0].message.starts_with("redo: undo of 3"), "{:?}", log[0]);
    assert!(log[0].undoes.is_some());
}

#[test]
fn undo_brings_a_removed_ref_back() {
    let folder = folder();
    let store = open(folder.path());
    let one = publish(&store, "env/prod", 1);
    let two = publish(&store, "env/test", 2);
    remove(&store, &["env/prod", "env/test"]);
    undo(&store, 1);
    assert_eq!([leads(&store, "env/prod"), leads(&store, "env/test")], [Some(one), Some(two)]);
}

#[test]
fn an_undo_whose_refs_have_moved_since_is_refused_and_names_them() {
    let folder = folder();
    let store = open(folder.path());
    let transaction = store.begin(&job());
    let one = put_version(&transaction, 1);
    transaction.commit(&[update("a", one), update("b", one), update("c", one)], "three").expect("committed");
    let plan = store.plan_undo(1).expect("a plan");
    publish(&store, "a", 2);
    publish(&store, "c", 2);
    let before = store.refs().expect("read");
    match store.undo(&job(), &plan) {
        Err(StoreError::MovedSince { names }) => assert_eq!(names, [name("a"), name("c")]),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.refs().expect("read"), before);
    // Back where it was, but not by the same moves: that is another state too.
    undo(&store, 2);
    assert!(matches!(store.undo(&job(), &plan), Err(StoreError::MovedSince { .. })));
}

#[test]
fn moves_of_an_older_program_can_be_read_and_undone() {
    let folder = folder();
    let store = open(folder.path());
    let one = publish(&store, "main", 1);
    let two = publish(&store, "main", 2);
    let file = folder.path().join("reflog/main@");
    let lines: Vec<String> =
        store.log(&name("main")).expect("read").iter().rev().map(line_of_version_1).collect();
    std::fs::remove_file(&file).expect("removed");
    std::fs::write(folder.path().join("reflog/main"), lines.concat()).expect("written");
    let store = open(folder.path());
    let log = store.log(&name("main")).expect("read");
    assert_eq!(log.iter().map(|it| &*it.message).collect::<Vec<_>>(), ["old 2", "old 1"]);
    undo(&store, 1);
    assert_eq!(leads(&store, "main"), Some(one));
    assert!(file.is_file() && !folder.path().join("reflog/main").exists(), "the log goes on in one file");
    assert_eq!(store.log(&name("main")).expect("read")[1].value.commit, two);
}

/// A line as mkimage 0.1 wrote it before moves had names.
fn line_of_version_1(entry: &LogEntry) -> String {
    let value = &entry.value;
    let previous = value.previous.map_or("-".to_owned(), |previous| previous.to_string());
    let generation = value.generation;
    let body = format!("1 {generation} {} {previous} {} old {generation} ", value.commit, value.seconds);
    let check = mkimage::base::Digest::derive("mkimage 2026 ref v1", body.as_bytes());
    format!("{body}{check}\n")
}

#[test]
fn names_of_moves_part_them_and_ascend() {
    let folder = folder();
    let store = open(folder.path());
    for version in 0..20 {
        publish(&store, ["a", "b"][version as usize % 2], version);
    }
    let moves: Vec<JointMove> = store.joint_moves().expect("read");
    assert_eq!(moves.len(), 20);
    assert!(moves.windows(2).all(|pair| pair[0].id > pair[1].id));
    let name: MoveId = moves[0].id.to_string().parse().expect("a name");
    assert_eq!(name, moves[0].id);
}

#[test]
fn short_ids_name_objects_of_every_kind_where_one_is_meant() {
    let folder = folder();
    let store = open(folder.path());
    let id = publish(&store, "main", 1);
    let commit = store.read_commit(&id).expect("read");
    let tree = commit.tree.id.to_string();
    assert_eq!(store.resolve_any(&tree[..10]).expect("found"), (Named::Tree(commit.tree), None));
    assert_eq!(store.resolve_any(&tree).expect("found"), (Named::Tree(commit.tree), None));
    assert_eq!(store.resolve_any("main").expect("found"), (Named::Commit(id), None));
    let (commit_id, at) = store.resolve_path("main:etc/version").expect("found");
    assert_eq!((commit_id, at), (id, Some(path("/etc/version"))));
    let refused = store.resolve(&tree[..10]).expect_err("a tree is no commit");
    assert!(matches!(&refused, StoreError::OtherKind { found, .. } if found.contains(&tree)), "{refused}");
}

#[test]
fn an_ambiguous_id_lists_what_it_may_mean() {
    let folder = folder();
    let store = open(folder.path());
    // Four digits: among a few hundred small objects some pair shares them.
    let transaction = store.begin(&job());
    let ids: Vec<String> = (0..1500u32)
        .map(|number| transaction.put(&number.to_le_bytes()).expect("put").id.to_string())
        .collect();
    let commit = put_version(&transaction, 1);
    transaction.commit(&[update("main", commit)], "").expect("committed");
    let mut sorted: Vec<&String> = ids.iter().collect();
    sorted.sort();
    let pair = sorted.windows(2).find(|pair| pair[0][..4] == pair[1][..4]).expect("two of 1500 in 65536");
    match store.resolve_any(&pair[0][..4]) {
        Err(StoreError::Ambiguous { found, .. }) => {
            assert!(found.iter().any(|line| line.contains(pair[0])), "{found:?}");
            assert!(found.iter().any(|line| line.contains(pair[1])), "{found:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_slip_of_the_fingers_is_told_what_may_be_meant() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "env/prod", 1);
    for (wrong, right) in [("env/prdo", Some("env/prod")), ("prod", Some("env/prod")), ("zebra", None)] {
        match store.resolve(wrong) {
            Err(StoreError::Unknown { near, .. }) => assert_eq!(near.as_deref(), right, "{wrong}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn parents_are_named_by_their_number() {
    let folder = folder();
    let store = open(folder.path());
    let one = publish(&store, "one", 1);
    let two = publish(&store, "two", 2);
    let transaction = store.begin(&job());
    let tree = store.read_commit(&one).expect("read").tree;
    let child = Commit { parents: vec![one, two], ..commit_of(tree) };
    let child = transaction.put_commit(&child).expect("put");
    transaction.commit(&[update("child", child)], "").expect("committed");
    assert_eq!(store.resolve("child^").expect("the first"), one);
    assert_eq!(store.resolve("child^2").expect("the second"), two);
    let no_third = store.resolve("child^3");
    assert!(matches!(no_third, Err(StoreError::NoSuchParent { parents: 2, asked: 3, .. })));
    assert!(matches!(store.resolve("child^^"), Err(StoreError::NoSuchParent { parents: 0, .. })));
}

#[test]
fn undo_among_writers_takes_back_whole_moves_or_is_refused() {
    let folder = folder();
    let store = open(folder.path());
    let commits: Vec<CommitId> =
        (0..4).map(|version| publish(&store, &format!("seed/{version}"), version)).collect();
    let writers = Job::quiet(4);
    writers.workers.map((0..4usize).collect(), |writer| {
        let store = open(folder.path());
        for round in 0..15 {
            let new = commits[(writer + round) % 4];
            if writer == 3 {
                match store.plan_undo(1).and_then(|plan| store.undo(&job(), &plan)) {
                    Ok(_) | Err(StoreError::NothingToUndo { .. }) => {}
                    Err(StoreError::MovedSince { names }) => assert!(!names.is_empty()),
                    Err(error) => panic!("{error}"),
                }
            } else {
                let both = [update("pair/a", new), update("pair/b", new)];
                store.begin(&job()).commit(&both, "both").expect("moved");
            }
        }
    });
    let [a, b] = ["pair/a", "pair/b"].map(|at| store.log(&name(at)).expect("read"));
    let story = |log: &[LogEntry]| {
        log.iter().map(|it| (it.transaction, it.removed, it.value.commit)).collect::<Vec<_>>()
    };
    assert_eq!(story(&a), story(&b), "half of a pair was taken back");
    for pair in a.windows(2) {
        assert_eq!(pair[0].value.generation, pair[1].value.generation + 1);
        assert!(pair[0].transaction > pair[1].transaction);
    }
    assert_eq!(leads(&store, "pair/a"), leads(&store, "pair/b"));
}

#[test]
fn an_undo_to_what_is_gone_from_the_store_is_refused_and_moves_nothing() {
    let folder = folder();
    let store = open(folder.path());
    let one = publish(&store, "main", 1);
    publish(&store, "main", 2);
    let plan = store.plan_undo(1).expect("a plan");
    std::fs::remove_dir_all(folder.path().join("packs")).expect("removed");
    std::fs::create_dir(folder.path().join("packs")).expect("made");
    let store = open(folder.path());
    match store.undo(&job(), &plan) {
        Err(StoreError::Missing { id, .. }) => assert_eq!(id, one.0),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.log(&name("main")).expect("read").len(), 2);
}

/// Copies the store before every change that is made to it: each copy is what a kill at that point leaves.
struct Copies {
    from: std::path::PathBuf,
    to: std::path::PathBuf,
    count: Mutex<usize>,
}

impl Watcher for Copies {
    fn before(&self, _: &Change<'_>) -> io::Result<()> {
        let mut count = self.count.lock().expect("unpoisoned");
        copy(&self.from, &self.to.join(count.to_string()));
        *count += 1;
        Ok(())
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("created");
    for name in list(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("copied");
        }
    }
}

#[test]
fn a_kill_at_any_point_of_a_removal_or_an_undo_leaves_all_of_it_or_nothing() {
    let (folder, copies) = (folder(), folder());
    let store = open(folder.path());
    let transaction = store.begin(&job());
    let one = put_version(&transaction, 1);
    transaction.commit(&[update("x/a", one), update("b", one)], "made").expect("committed");
    let mut total = 0;
    for (round, (before, after)) in [(2, 0), (0, 2)].into_iter().enumerate() {
        let to = copies.path().join(round.to_string());
        let watcher =
            Arc::new(Copies { from: folder.path().to_owned(), to: to.clone(), count: Mutex::new(0) });
        let store = Store::watched(folder.path(), watcher.clone()).expect("opened");
        if round == 0 {
            remove(&store, &["x/a", "b"])
        } else {
            undo(&store, 1)
        }
        let count = *watcher.count.lock().expect("unpoisoned");
        total += count;
        for index in 0..count {
            let left = open(&to.join(index.to_string()));
            let refs = left.refs().expect("read").len();
            assert!(refs == before || refs == after, "round {round}, change {index}: {refs} refs");
            // Whoever comes next can go on.
            publish(&left, "c", 3);
            let log = left.log(&name("x/a")).expect("read");
            let told = log.first().map(|newest| !newest.removed);
            assert_eq!(told, Some(leads(&left, "x/a").is_some()), "round {round}, change {index}");
            assert_eq!(left.refs().expect("read").len(), refs + 1);
        }
    }
    assert!(total > 20, "{total} changes were seen");
}

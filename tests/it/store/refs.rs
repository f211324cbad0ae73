//! Refs: who moves them, and what is left of it.

use std::sync::Arc;

use super::*;
use mkimage::store::{LogEntry, StoreError};

#[test]
fn no_update_is_lost_among_eight_writers() {
    let folder = folder();
    let store = open(folder.path());
    let commits: Vec<CommitId> =
        (0..8).map(|version| publish(&store, &format!("seed/{version}"), version)).collect();
    let writers = Job::quiet(8);
    let moved = writers.workers.map((0..8usize).collect(), |writer| {
        let store = open(folder.path());
        let mut moved = 0;
        for round in 0..25 {
            // Each round takes another commit than the writer's last, so that every success is a move.
            let new = commits[(writer + round) % 8];
            // Every attempt that fails is a move of another writer.
            for _ in attempts(8 * 25) {
                let found = store.read_ref(&name("main")).expect("read");
                if found.is_some_and(|found| found.commit == new) {
                    break;
                }
                let update = RefUpdate { name: name("main"), expected: Expected::of(found.as_ref()), new };
                match store.begin(&job()).commit(&[update], "raced") {
                    Ok(done) => {
                        moved += u64::from(done.refs[0].moved);
                        break;
                    }
                    Err(StoreError::Moved { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        moved
    });
    let value = store.read_ref(&name("main")).expect("read").expect("there");
    assert_eq!(value.generation, moved.iter().sum::<u64>());
    let log = store.log(&name("main")).expect("read");
    assert_eq!(log.len() as u64, value.generation);
    for pair in log.windows(2) {
        assert_eq!(pair[0].value.previous, Some(pair[1].value.commit), "a move was lost");
        assert_eq!(pair[0].value.generation, pair[1].value.generation + 1);
    }
}

#[test]
fn an_expectation_that_fails_moves_nothing() {
    let folder = folder();
    let store = open(folder.path());
    let one = publish(&store, "main", 1);
    let two = publish(&store, "other", 2);
    let value = store.read_ref(&name("main")).expect("read").expect("there");
    for expected in [Expected::Missing, Expected::Value(1, two), Expected::Value(2, one)] {
        let wrong = RefUpdate { name: name("main"), expected, new: two };
        let refused = store.begin(&job()).commit(&[update("third", one), wrong], "");
        assert!(matches!(refused, Err(StoreError::Moved { .. })), "{expected}");
        assert_eq!(store.read_ref(&name("main")).expect("read"), Some(value));
        assert_eq!(store.read_ref(&name("third")).expect("read"), None, "half of a set was moved");
    }
}

#[test]
fn moves_are_logged_newest_first_and_named_by_distance() {
    let folder = folder();
    let store = open(folder.path());
    let commits: Vec<CommitId> = (1..=3).map(|version| publish(&store, "team/main", version)).collect();
    publish(&store, "team/main", 3);
    let log = store.log(&name("team/main")).expect("read");
    let seen: Vec<_> = log.iter().map(|entry| (entry.value.generation, entry.value.commit)).collect();
    assert_eq!(seen, [(3, commits[2]), (2, commits[1]), (1, commits[0])]);
    assert_eq!(log[0].message, "a test");
    for (text, commit) in [("team/main", 2), ("team/main~0", 2), ("team/main~1", 1), ("team/main~2", 0)] {
        assert_eq!(store.resolve(text).expect(text), commits[commit]);
    }
    for text in ["team/main~3", "team/main~x", "none", "none~1", "team", "abc", "0000"] {
        assert!(store.resolve(text).is_err(), "{text}");
    }
    let id = commits[0].to_string();
    assert_eq!(store.resolve(&id).expect("whole"), commits[0]);
    assert_eq!(store.resolve(&id[..12]).expect("prefix"), commits[0]);
    assert!(store.resolve(&id[..3]).is_err());
    assert!(store.resolve(&id.to_uppercase()).is_err());
}

#[test]
fn a_torn_line_of_the_reflog_is_written_again_before_the_next() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    publish(&store, "main", 2);
    let file = folder.path().join("reflog/main@");
    let text = std::fs::read(&file).expect("read");
    std::fs::write(&file, &text[..text.len() - 20]).expect("torn");
    let log = store.log(&name("main")).expect("read");
    let generations = |log: &[LogEntry]| log.iter().map(|entry| entry.value.generation).collect::<Vec<_>>();
    assert_eq!(generations(&log), [2, 1]);
    publish(&store, "main", 3);
    // The move that was torn is told by the ref, and the next writer logs it again.
    assert_eq!(generations(&store.log(&name("main")).expect("read")), [3, 2, 1]);
}

#[test]
fn one_name_is_never_a_directory_of_another() {
    let folder = folder();
    let store = open(folder.path());
    let commit = publish(&store, "a/b", 1);
    for wrong in ["a", "a/b/c"] {
        let refused = store.begin(&job()).commit(&[update(wrong, commit)], "");
        assert!(matches!(refused, Err(StoreError::RefInTheWay { .. })), "{wrong}");
    }
    let refused = store.begin(&job()).commit(&[update("x", commit), update("x/y", commit)], "");
    assert!(matches!(refused, Err(StoreError::RefInTheWay { .. })));
    assert_eq!(store.refs().expect("read").into_keys().collect::<Vec<_>>(), [name("a/b")]);
}

#[test]
fn a_damaged_ref_is_named_not_guessed() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    let file = folder.path().join("refs/main");
    let whole = std::fs::read(&file).expect("read");
    for index in 0..whole.len() {
        let mut changed = whole.clone();
        changed[index] ^= 1;
        std::fs::remove_file(&file).expect("removed");
        std::fs::write(&file, changed).expect("written");
        assert!(matches!(store.read_ref(&name("main")), Err(StoreError::DamagedRef { .. })), "byte {index}");
    }
}

#[test]
fn messages_stay_on_one_line() {
    let folder = folder();
    let store = open(folder.path());
    let transaction = store.begin(&job());
    let commit = put_version(&transaction, 1);
    transaction
        .commit(&[update("a", commit), update("b", commit)], "two\nlines\u{1b}[0m")
        .expect("committed");
    for at in ["a", "b"] {
        assert_eq!(store.log(&name(at)).expect("read")[0].message, "two\\nlines\\x1b[0m");
    }
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let folder = folder();
    std::fs::write(folder.path().join("letters.txt"), b"mine").expect("written");
    let store = open(folder.path());
    let refused = store.begin(&job()).put(b"bytes").expect_err("refused");
    let source = std::error::Error::source(&refused).map(ToString::to_string).unwrap_or_default();
    assert!(source.contains("letters.txt"), "{refused}: {source}");
    assert_eq!(list(folder.path()).len(), 1);
}

#[test]
fn a_store_of_tomorrow_is_read_and_not_written() {
    let folder = folder();
    let commit = publish(&open(folder.path()), "main", 1);
    let file = folder.path().join("format");
    let text = std::fs::read_to_string(&file).expect("read");
    let set = |text: &str| {
        std::fs::remove_file(&file).expect("removed");
        std::fs::write(&file, text).expect("written");
    };
    for tomorrow in [
        text.replace("gc-protocol 2", "gc-protocol 3"),
        text.replace("packs-1", "packs-1 encrypted-1"),
        format!("{text}surprise\n"),
    ] {
        set(&tomorrow);
        let store = open(folder.path());
        assert_eq!(store.resolve("main").expect("read"), commit);
        assert!(store.begin(&job()).put(b"new").is_err(), "{tomorrow}");
        let moved = store.begin(&job()).commit(&[update("other", commit)], "");
        assert!(matches!(moved, Err(StoreError::Foreign { .. })), "{tomorrow}");
    }
    set(&format!("{text}feature hints-1\n"));
    assert!(open(folder.path()).begin(&job()).put(b"new").is_ok());
    for other in
        [text.replace("mkimage-store 1", "mkimage-store 2"), text.replace("blake3", "sha256"), String::new()]
    {
        set(&other);
        assert!(matches!(Store::open(folder.path()), Err(StoreError::Format { .. })), "{other}");
    }
}

struct ReadOnly;

impl Watcher for ReadOnly {
    fn before(&self, _: &Change<'_>) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(30))
    }
}

#[test]
fn a_read_only_store_is_read_and_says_so_when_written() {
    let folder = folder();
    let commit = publish(&open(folder.path()), "main", 1);
    let store = Store::watched(folder.path(), Arc::new(ReadOnly)).expect("opened");
    assert_eq!(store.resolve("main").expect("read"), commit);
    let refused = store.begin(&job()).commit(&[update("other", commit)], "").expect_err("refused");
    assert!(refused.is_read_only(), "{refused}");
    let refused = store.begin(&job()).put(b"new").expect_err("refused");
    assert!(StoreError::from(refused).is_read_only());
}

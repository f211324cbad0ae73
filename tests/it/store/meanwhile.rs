//! What others do to a store while this process works on it: collect, publish, share it, or die at it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::gc::{collect, expect_sound, read_closure, strict};
use super::*;
use mkimage::store::{GcRules, Hold, Objects, StoreError};
use mkimage::tree::{Content, ContentSource};

/// Calls something before each change, which may refuse it.
struct Before<F>(F);

impl<F: Fn(&Change<'_>) -> io::Result<()> + Send + Sync> Watcher for Before<F> {
    fn before(&self, change: &Change<'_>) -> io::Result<()> {
        (self.0)(change)
    }
}

fn watched(folder: &Path, before: impl Fn(&Change<'_>) -> io::Result<()> + Send + Sync + 'static) -> Store {
    Store::watched(folder, Arc::new(Before(before))).expect("opened")
}

/// Returns the number of the generation that a change is about to publish.
fn generation_in(change: &Change<'_>) -> Option<u64> {
    let Change::Rename { from, to } = change else { return None };
    let text = to.ends_with("gc-generation").then(|| std::fs::read_to_string(from).expect("a generation"))?;
    text.split(' ').nth(1)?.parse().ok()
}

/// Relies on the commit `old` alone, and puts its tree once that was collected.
fn put_tree_of(old: CommitId, folder: &Path, store: &Store, has_lease: bool) -> Result<(), StoreError> {
    let transaction = store.begin(&job());
    assert!(transaction.has(&old.0));
    if has_lease {
        transaction.put(b"what makes the transaction take a lease").expect("put");
    }
    let commit = store.read_commit(&old).expect("read");
    let root = transaction.read_directory(&commit.tree).expect("read");
    let tree = store.read_tree(&job(), &commit.tree).expect("read").seal().expect("sealed");
    for _ in 0..2 {
        collect(&open(folder), &GcRules::strict()).expect("collected");
    }
    // Whoever uses the same store and misses something has the packs listed anew.
    store.read_all(&Content::of(b"nowhere")).expect_err("nowhere");
    assert_eq!(transaction.put_directory(&root)?, commit.tree);
    assert_eq!(transaction.put_tree(&job(), &tree)?, commit.tree);
    transaction.put_commit(&commit)?;
    transaction.commit(&[update("main", old)], "").map(drop)
}

#[test]
fn what_a_relied_on_commit_leads_to_is_taken_out_of_the_trash_or_the_work_begins_again() {
    for has_lease in [true, false] {
        let folder = folder();
        let store = open(folder.path());
        let old = publish(&store, "main", 1);
        publish(&store, "main", 2);
        let done = put_tree_of(old, folder.path(), &store, has_lease);
        match (has_lease, done) {
            (true, Ok(())) => read_closure(&open(folder.path()), &old).expect("whole"),
            (false, Err(StoreError::Expired)) => {}
            (_, done) => panic!("with a lease: {has_lease}: {done:?}"),
        }
        expect_sound(folder.path(), "at the end");
    }
}

#[test]
fn what_was_never_there_is_missing_also_after_a_collection() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    publish(&store, "main", 2);
    collect(&store, &GcRules::strict()).expect("collected");
    let transaction = store.begin(&job());
    let mut root = Directory::default();
    let content = Content::of(b"nobody put this");
    root.insert(&path("/file"), Node::File(File { metadata: Metadata::root(0o644), content })).expect("new");
    let refused = transaction.put_tree(&job(), &root.seal().expect("sealed"));
    assert!(matches!(refused, Err(StoreError::Incomplete { .. })), "{refused:?}");
}

#[test]
fn a_commit_that_came_after_the_packs_were_listed_is_found() {
    let folder = folder();
    let (one, other) = (open(folder.path()), open(folder.path()));
    let first = publish(&other, "main", 1);
    let transaction = one.begin(&job());
    assert!(transaction.has(&first.0), "the packs are listed");
    let second = publish(&other, "main", 2);
    assert!(!one.has(&second.0), "by an old list");
    transaction.commit(&[update("copy", second)], "").expect("it is there by now");
    assert_eq!(one.resolve("copy").expect("there"), second);
    let third = publish(&other, "main", 3);
    assert!(!one.has(&third.0) && one.has_by_now(&third.0));
}

#[test]
fn a_store_that_becomes_shared_is_so_for_those_who_have_it_open() {
    let folder = folder();
    let links = Arc::new(AtomicU64::default());
    let seen = links.clone();
    let store = watched(folder.path(), move |change| {
        let claims = matches!(change, Change::Link { to, .. } if to.ends_with("refs/.lockfile"));
        seen.fetch_add(u64::from(claims), Ordering::Relaxed);
        Ok(())
    });
    publish(&store, "main", 1);
    let begun = store.begin(&job());
    let commit = put_version(&begun, 2);
    assert_eq!(links.load(Ordering::Relaxed), 0);
    assert!(open(folder.path()).initialise(true).expect("made shared"));
    begun.commit(&[update("main", commit)], "").expect("committed");
    assert_eq!(links.load(Ordering::Relaxed), 1, "the lock of the refs is claimed by name");
    // What a living client of another machine has in the making stays, as its lease does.
    let client = "0".repeat(32);
    std::fs::create_dir(folder.path().join("tmp").join(&client)).expect("made");
    std::fs::write(folder.path().join("leases").join(&client), b"").expect("written");
    publish(&store, "main", 3);
    assert!(folder.path().join("tmp").join(&client).is_dir());
}

#[test]
fn a_store_that_becomes_shared_while_its_lock_is_waited_for_is_locked_by_name() {
    let folder = folder();
    publish(&open(folder.path()), "main", 1);
    // So that making it anew tells when the lock is taken.
    std::fs::remove_file(folder.path().join("refs/.lock")).expect("removed");
    let at = folder.path().to_owned();
    let (shared, links) = (AtomicBool::default(), Arc::new(AtomicU64::default()));
    let seen = links.clone();
    let store = watched(folder.path(), move |change| {
        let is_lock = matches!(change, Change::CreateFile(path) if path.ends_with("refs/.lock"));
        if is_lock && !shared.swap(true, Ordering::Relaxed) {
            open(&at).initialise(true).map_err(io::Error::other)?;
        }
        let claims = matches!(change, Change::Link { to, .. } if to.ends_with("refs/.lockfile"));
        seen.fetch_add(u64::from(claims), Ordering::Relaxed);
        Ok(())
    });
    publish(&store, "main", 2);
    assert_eq!(links.load(Ordering::Relaxed), 1);
}

#[test]
fn a_hold_on_what_lies_in_the_trash_is_no_doubt_and_keeps_it_there() {
    let folder = folder();
    let store = open(folder.path());
    let one = publish(&store, "main", 1);
    publish(&store, "main", 2);
    collect(&store, &strict()).expect("collected");
    let plan = store.plan_gc(&GcRules::strict(), &job()).expect("planned");
    assert!(plan.summary().bytes_emptied > 0);
    let hold = store.hold(&[one]).expect("held");
    assert_eq!(store.run_gc(plan, &job()).expect("collected").bytes_emptied, 0);
    read_closure(&open(folder.path()), &one).expect("still in the trash");
    collect(&store, &GcRules::strict()).expect("collected");
    assert!(open(folder.path()).has(&one.0), "the next plan brings it back");
    drop(hold);
    expect_sound(folder.path(), "at the end");
}

#[test]
fn a_hold_that_comes_after_the_last_look_keeps_the_trash() {
    let folder = folder();
    let store = open(folder.path());
    let one = publish(&store, "main", 1);
    publish(&store, "main", 2);
    collect(&store, &strict()).expect("collected");
    publish(&store, "main", 3);
    let (at, holds) = (folder.path().to_owned(), Arc::new(Mutex::new(Vec::<Hold>::new())));
    let held = holds.clone();
    let collector = watched(folder.path(), move |change| {
        if generation_in(change).is_some_and(|number| number.is_multiple_of(2)) {
            held.lock().expect("no panic").push(open(&at).hold(&[one]).expect("held"));
        }
        Ok(())
    });
    let done = collect(&collector, &GcRules::strict()).expect("collected");
    assert_eq!((holds.lock().expect("no panic").len(), done.bytes_emptied), (1, 0));
    read_closure(&open(folder.path()), &one).expect("still in the trash");
    holds.lock().expect("no panic").clear();
    assert!(collect(&store, &GcRules::strict()).expect("collected").bytes_emptied > 0);
    expect_sound(folder.path(), "at the end");
}

/// Collects, and dies at the first change after the odd generation was published.
fn collect_and_die(folder: &Path) {
    let is_odd = AtomicBool::default();
    let collector = watched(folder, move |change| match is_odd.load(Ordering::Relaxed) {
        true if !matches!(change, Change::SyncDirectory(_)) => Err(io::Error::other("killed")),
        _ => {
            is_odd.fetch_or(generation_in(change).is_some_and(|number| number % 2 == 1), Ordering::Relaxed);
            Ok(())
        }
    });
    collect(&collector, &GcRules::strict()).expect_err("killed");
}

#[test]
fn after_a_collector_died_nobody_copies_packs_for_nothing_and_the_next_collection_ends_it() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    publish(&store, "main", 2);
    collect_and_die(folder.path());
    let cut = store.collections();
    assert!(!cut.is_multiple_of(2), "{cut}");
    let packs = Arc::new(AtomicU64::default());
    let seen = packs.clone();
    let writer = watched(folder.path(), move |change| {
        let is_pack = matches!(change, Change::CreateFile(path) if path.ends_with("pack"));
        seen.fetch_add(u64::from(is_pack), Ordering::Relaxed);
        Ok(())
    });
    for version in 3..13 {
        publish(&writer, "main", version);
    }
    assert_eq!(packs.load(Ordering::Relaxed), 10, "a pack was made that is no commit's");
    let refused = writer.repack(&job());
    assert!(matches!(refused, Err(StoreError::CutShort { .. })), "{refused:?}");
    assert_eq!(packs.load(Ordering::Relaxed), 10);
    // Nothing is dead: the generation is brought to its end all the same.
    let patient = GcRules { grace_seconds: 1000, ..strict() };
    let plan = store.plan_gc(&patient, &job()).expect("planned");
    assert!(!plan.is_empty() && plan.describe().iter().any(|line| line.contains("cut short")));
    assert_eq!(store.run_gc(plan, &job()).expect("collected").packs_trashed, 0);
    assert!(store.collections() > cut && store.collections().is_multiple_of(2));
    assert!(store.plan_gc(&patient, &job()).expect("planned").is_empty());
    store.repack(&job()).expect("put together");
    expect_sound(folder.path(), "at the end");
}

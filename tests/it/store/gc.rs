//! Collecting garbage: what goes, what stays, what makes it stop.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use mkimage::base::{Digest, StepKey};
use mkimage::store::{GcOutcome, GcRules, GcSummary, Objects, StoreError};
use mkimage::tree::{Content, ContentSource};

/// Keeps nothing that refs don't lead to, and leaves the trash for an hour.
pub fn strict() -> GcRules {
    GcRules { trash_seconds: 3600, ..GcRules::strict() }
}

pub fn collect(store: &Store, rules: &GcRules) -> Result<GcOutcome, StoreError> {
    store.run_gc(store.plan_gc(rules, &job())?, &job())
}

fn plan(store: &Store, rules: &GcRules) -> GcSummary {
    store.plan_gc(rules, &job()).expect("planned").summary()
}

/// Lists every file of a store with its length.
fn files(folder: &Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for name in list(&folder) {
            let path = folder.join(name);
            let metadata = std::fs::symlink_metadata(&path).expect("there");
            match metadata.is_dir() {
                true => waiting.push(path),
                false => found.push((path, metadata.len())),
            }
        }
    }
    found.sort();
    found
}

/// Reads all that a commit leads to.
pub fn read_closure(store: &Store, id: &CommitId) -> Result<(), StoreError> {
    let commit = store.read_commit(id)?;
    let tree = store.read_tree(&job(), &commit.tree)?;
    for (_, node) in tree.paths() {
        if let Node::File(file) = node {
            store.read_all(&file.content)?;
        }
    }
    Ok(())
}

/// Holds that every ref leads to something whole, and that the rest is sound as well.
pub fn expect_sound(folder: &Path, when: &str) {
    let store = open(folder);
    for (name, value) in store.refs().expect("refs") {
        read_closure(&store, &value.commit).unwrap_or_else(|error| panic!("{when}: {name}: {error}"));
        assert!(store.has(&value.commit.0), "{when}: {name} leads into the trash");
    }
    assert_eq!(store.check(&job()).expect("checked").faults, [], "{when}");
}

/// Sets the time of everything in a directory back.
fn age(folder: &Path, seconds: u64) {
    for (path, _) in files(folder) {
        let file = std::fs::File::open(&path).expect("opened");
        let modified = file.metadata().expect("there").modified().expect("a time");
        file.set_modified(modified - std::time::Duration::from_secs(seconds)).expect("set");
    }
    for name in list(folder) {
        let file = std::fs::File::open(folder.join(name)).expect("opened");
        let modified = file.metadata().expect("there").modified().expect("a time");
        file.set_modified(modified - std::time::Duration::from_secs(seconds)).expect("set");
    }
}

#[test]
fn what_nothing_leads_to_goes_to_the_trash_and_a_later_run_empties_it() {
    let folder = folder();
    let store = open(folder.path());
    let old = publish(&store, "main", 1);
    let new = publish(&store, "main", 2);
    let planned = plan(&store, &strict());
    assert!(
        planned.objects_trashed >= 4 && planned.packs_trashed + planned.packs_replaced > 0,
        "{planned:?}"
    );
    let done = collect(&store, &strict()).expect("collected");
    assert_eq!(done.objects_trashed, planned.objects_trashed);
    assert_eq!(done.packs_trashed, planned.packs_trashed + planned.packs_replaced);
    expect_sound(folder.path(), "after the first run");
    assert!(store.has(&new.0) && !store.has(&old.0));
    read_closure(&store, &old).expect("a reader still finds it in the trash");
    assert_eq!(list(folder.path().join("trash")), ["1"]);

    assert_eq!(collect(&store, &strict()).expect("collected").bytes_emptied, 0, "an hour has not gone by");
    age(&folder.path().join("trash"), 3601);
    let planned = plan(&store, &strict());
    let done = collect(&store, &strict()).expect("collected");
    assert!(done.bytes_emptied > 0 && done.bytes_emptied == planned.bytes_emptied);
    assert_eq!(list(folder.path().join("trash")).len(), 0);
    assert!(read_closure(&store, &old).is_err());
    expect_sound(folder.path(), "after the second run");
    let nothing = store.plan_gc(&strict(), &job()).expect("planned");
    assert!(nothing.is_empty(), "{:?}", nothing.describe());
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_a_run_does() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    publish(&store, "main", 2);
    drop(store.plan_gc(&strict(), &job()).expect("planned"));
    let before = files(folder.path());
    let planned = store.plan_gc(&strict(), &job()).expect("planned");
    let text = planned.describe().join("\n");
    assert_eq!(files(folder.path()), before);
    assert!(
        text.contains("to the trash") && text.contains(&planned.summary().objects_trashed.to_string()),
        "{text}"
    );
    drop(planned);
    assert_eq!(files(folder.path()), before);
}

#[test]
fn an_absent_store_has_no_garbage_and_none_is_made() {
    let folder = folder();
    let store = open(&folder.path().join("none"));
    assert_eq!(collect(&store, &strict()).expect("collected"), GcOutcome::default());
    assert!(!folder.path().join("none").exists());
}

#[test]
fn one_collects_at_a_time() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    let plan = store.plan_gc(&strict(), &job()).expect("planned");
    let other = open(folder.path());
    assert!(matches!(other.plan_gc(&strict(), &job()), Err(StoreError::Collecting { .. })));
    assert!(matches!(other.repack(&job()), Err(StoreError::Collecting { .. })));
    drop(plan);
    assert!(other.plan_gc(&strict(), &job()).is_ok());
}

#[test]
fn grace_moves_of_late_and_holds_keep_what_they_lead_to() {
    let folder = folder();
    let store = open(folder.path());
    let old = publish(&store, "main", 1);
    publish(&store, "main", 2);
    let young = GcRules { grace_seconds: 1000, ..strict() };
    assert_eq!(plan(&store, &young).objects_trashed, 0);
    let moves = GcRules { reflog_seconds: 1000, ..strict() };
    assert_eq!(plan(&store, &moves).objects_trashed, 0);
    let hold = store.hold(&[old]).expect("held");
    assert!(hold.is_there());
    assert_eq!(plan(&store, &strict()).objects_trashed, 0);
    drop(hold);
    assert!(plan(&store, &strict()).objects_trashed > 0);
    assert_eq!(list(folder.path().join("leases")).len(), 0);
}

#[test]
fn moves_whose_commits_were_collected_are_no_doubt_later() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    publish(&store, "main", 2);
    collect(&store, &GcRules::strict()).expect("collected");
    collect(&store, &GcRules::strict()).expect("collected");
    collect(&store, &GcRules::default()).expect("the log names what is gone, and that is known");
    expect_sound(folder.path(), "at the end");
}

#[test]
fn a_mostly_live_pack_is_thinned_and_shares_its_bytes() {
    use std::os::unix::fs::MetadataExt;
    let folder = folder();
    let store = open(folder.path());
    let transaction = store.begin(&job());
    let dead = transaction.put(&noise(99, 100_000)).expect("put");
    let mut root = Directory::default();
    add_file(&transaction, &mut root, "/large", &noise(1, 3 << 20));
    let tree = transaction.put_tree(&job(), &root.seal().expect("sealed")).expect("put");
    let commit = transaction.put_commit(&commit_of(tree)).expect("put");
    transaction.commit(&[update("main", commit)], "").expect("committed");
    let pack = |folder: &Path| {
        let names = list(folder);
        let pack = names.iter().find(|name| name.to_string_lossy().ends_with(".pack")).expect("a pack");
        std::fs::metadata(folder.join(pack)).expect("there")
    };
    let before = pack(&folder.path().join("packs"));
    let done = collect(&store, &strict()).expect("collected");
    assert_eq!((done.packs_replaced, done.objects_trashed), (1, 1));
    let after = pack(&folder.path().join("packs"));
    assert_eq!((after.ino(), after.nlink()), (before.ino(), 2), "the bytes have a second name");
    assert!(!store.has(&dead.id.0) && store.has(&commit.0));
    assert_eq!(store.read_all(&dead).expect("from the trash"), noise(99, 100_000));
    expect_sound(folder.path(), "thinned");
    collect(&store, &GcRules::strict()).expect("emptied");
    expect_sound(folder.path(), "emptied");
    assert!(store.read_all(&dead).is_err());
}

#[test]
fn a_mostly_dead_pack_gives_its_room_back() {
    let folder = folder();
    let store = open(folder.path());
    let transaction = store.begin(&job());
    for seed in 0..20 {
        transaction.put(&noise(seed, 200_000)).expect("put");
    }
    let commit = put_version(&transaction, 1);
    transaction.commit(&[update("main", commit)], "").expect("committed");
    collect(&store, &GcRules::strict()).expect("collected");
    collect(&store, &GcRules::strict()).expect("emptied");
    let bytes: u64 = files(folder.path()).iter().map(|(_, length)| length).sum();
    assert!(bytes < 50_000, "{bytes} bytes left");
    expect_sound(folder.path(), "emptied");
}

#[test]
fn what_a_memo_of_late_names_stays_and_an_old_memo_goes() {
    let folder = folder();
    let store = open(folder.path());
    let transaction = store.begin(&job());
    let tree = small_tree(&transaction, 7);
    let tree = transaction.put_tree(&job(), &tree).expect("put");
    transaction.commit(&[], "").expect("committed");
    let key = StepKey(Digest::of(b"a step"));
    let record = [&tree.id.as_bytes()[..], &tree.size.to_le_bytes()].concat();
    store.memo_put(&key, &record).expect("remembered");
    store.memo_put(&StepKey(Digest::of(b"numbers")), &[7; 56]).expect("remembered");
    let rules = GcRules { memo_seconds: 1000, ..strict() };
    assert_eq!(collect(&store, &rules).expect("collected").objects_trashed, 0);
    assert!(store.read_tree(&job(), &tree).is_ok() && store.memo_get(&key).is_some());
    age(&folder.path().join("memo"), 1001);
    let done = collect(&store, &rules).expect("collected");
    assert!(done.objects_trashed > 3 && done.memos_dropped == 2, "{done:?}");
    assert!(store.memo_get(&key).is_none() && !store.has(&tree.id.0));
}

#[test]
fn parents_stay_as_many_generations_as_asked() {
    let folder = folder();
    let store = open(folder.path());
    let mut commits: Vec<CommitId> = Vec::new();
    for version in 0..4 {
        let transaction = store.begin(&job());
        let tree = small_tree(&transaction, version);
        let tree = transaction.put_tree(&job(), &tree).expect("put");
        let commit = Commit { parents: commits.last().copied().into_iter().collect(), ..commit_of(tree) };
        let commit = transaction.put_commit(&commit).expect("put");
        transaction.commit(&[update("main", commit)], "").expect("committed");
        commits.push(commit);
    }
    collect(&store, &GcRules { parents: 2, ..strict() }).expect("collected");
    let there: Vec<bool> = commits.iter().map(|commit| store.has(&commit.0)).collect();
    assert_eq!(there, [false, true, true, true]);
    for commit in &commits[1..] {
        read_closure(&store, commit).expect("whole");
    }
    collect(&store, &GcRules { parents: 9, ..strict() }).expect("parents that are gone are no doubt");
}

#[test]
fn doubt_names_its_reason_and_nothing_is_collected() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    publish(&store, "main", 2);
    drop(store.plan_gc(&strict(), &job()).expect("planned"));
    let before = files(folder.path());
    for strange in ["refs/Main", "refs/main.lock", "leases/pin", "packs/notes", "trash/today", "refs/.hidden"]
    {
        let path = folder.path().join(strange);
        std::fs::write(&path, b"?").expect("written");
        let error = store.plan_gc(&strict(), &job()).err().unwrap_or_else(|| panic!("{strange} is no doubt"));
        assert!(matches!(error, StoreError::GcDoubt { .. }), "{strange}: {error}");
        assert!(error.to_string().contains(strange), "{error}");
        std::fs::remove_file(&path).expect("removed");
    }
    let reference = folder.path().join("refs/main");
    let line = std::fs::read(&reference).expect("read");
    std::fs::remove_file(&reference).expect("removed");
    std::fs::write(&reference, &line[..line.len() - 9]).expect("written");
    let error = store.plan_gc(&strict(), &job()).err().expect("a torn ref");
    assert!(error.to_string().contains("refs/main"), "{error}");
    std::fs::write(&reference, &line).expect("written");
    assert_eq!(files(folder.path()), before);
    assert!(store.plan_gc(&strict(), &job()).is_ok());
}

#[test]
fn a_missing_or_damaged_object_ends_a_collection() {
    for damage in ["missing", "damaged", "index"] {
        let folder = folder();
        let store = open(folder.path());
        publish(&store, "other", 3);
        publish(&store, "main", 1);
        publish(&store, "main", 2);
        drop(store);
        let packs = folder.path().join("packs");
        // The newest pack holds version 2, which main leads to.
        let named = |suffix: &str| {
            let mut names: Vec<_> = list(&packs).into_iter().map(|name| packs.join(name)).collect();
            names.retain(|name| name.to_string_lossy().ends_with(suffix));
            names.sort_by_key(|name| std::fs::metadata(name).expect("there").modified().expect("a time"));
            names.pop().expect("a pack")
        };
        match damage {
            "missing" => std::fs::remove_file(named(".idx")).expect("removed"),
            _ => {
                let path = named(if damage == "index" { ".idx" } else { ".pack" });
                let mut bytes = std::fs::read(&path).expect("read");
                let from = if damage == "index" { 100 } else { 8 };
                bytes[from..].iter_mut().for_each(|byte| *byte ^= 1);
                std::fs::remove_file(&path).expect("removed");
                std::fs::write(&path, bytes).expect("written");
            }
        }
        let store = open(folder.path());
        let before = files(&packs);
        let error = store.plan_gc(&strict(), &job()).err().unwrap_or_else(|| panic!("{damage} is no doubt"));
        assert!(matches!(&error, StoreError::GcDoubt { .. }), "{damage}: {error}");
        assert!(damage == "index" || error.to_string().contains("ref main"), "{damage}: {error}");
        assert_eq!(files(&packs), before);
    }
}

/// A transaction that relies on what is collected before it commits.
fn relying(store: &Store) -> (Transaction<'_>, CommitId, Content) {
    let transaction = store.begin(&job());
    let mut root = Directory::default();
    // Only this is new: all else is found in the store, and noted.
    add_file(&transaction, &mut root, "/new", b"new bytes that nobody had");
    let tree = small_tree(&transaction, 1);
    for (path, node) in tree.paths() {
        if let Node::File(file) = node {
            root.insert(&path, Node::File(file.clone())).expect("inserted");
        }
    }
    let tree = transaction.put_tree(&job(), &root.seal().expect("sealed")).expect("put");
    let commit = transaction.put_commit(&commit_of(tree)).expect("put");
    (transaction, commit, Content::of(b"new bytes that nobody had"))
}

#[test]
fn what_a_writer_relied_on_is_taken_back_out_of_the_trash() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    publish(&store, "main", 2);
    let (transaction, commit, _) = relying(&store);
    let done = collect(&open(folder.path()), &GcRules::strict()).expect("collected");
    assert!(done.objects_trashed > 0);
    // Its lease is older than the trash: that stays, however often and late a collector comes.
    age(&folder.path().join("trash"), 10_000);
    assert_eq!(collect(&open(folder.path()), &GcRules::strict()).expect("collected").bytes_emptied, 0);
    let committed = transaction.commit(&[update("main", commit)], "").expect("committed");
    assert!(committed.objects > 3, "what came back is part of it");
    expect_sound(folder.path(), "taken back");
    collect(&store, &GcRules::strict()).expect("collected");
    collect(&store, &GcRules::strict()).expect("collected");
    expect_sound(folder.path(), "collected after");
}

#[test]
fn what_was_collected_while_a_tree_is_put_counts_as_there_until_the_end() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    publish(&store, "main", 2);
    let transaction = store.begin(&job());
    let mut root = Directory::default();
    add_file(&transaction, &mut root, "/new", b"what makes the transaction take a lease");
    let tree = small_tree(&transaction, 1);
    assert!(collect(&open(folder.path()), &GcRules::strict()).expect("collected").objects_trashed > 0);
    // Whoever uses the same store and misses something has the packs listed anew.
    store.read_all(&Content::of(b"nowhere")).expect_err("nowhere");
    let tree = transaction.put_tree(&job(), &tree).expect("its files were found");
    let commit = transaction.put_commit(&commit_of(tree)).expect("put");
    transaction.commit(&[update("main", commit)], "").expect("taken out of the trash");
    expect_sound(folder.path(), "taken back");

    let transaction = store.begin(&job());
    let tree = small_tree(&transaction, 2);
    for when in ["collected", "emptied"] {
        collect(&open(folder.path()), &GcRules::strict()).expect(when);
    }
    store.read_all(&Content::of(b"nowhere")).expect_err("nowhere");
    let tree = transaction.put_tree(&job(), &tree).expect("its files were found");
    let commit = transaction.put_commit(&commit_of(tree)).expect("put");
    let error = transaction.commit(&[update("main", commit)], "").expect_err("gone");
    assert!(matches!(error, StoreError::Expired), "{error}");
    expect_sound(folder.path(), "refused");
}

#[test]
fn a_writer_whose_lease_was_taken_away_begins_again() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    publish(&store, "main", 2);
    let (transaction, commit, new) = relying(&store);
    for lease in list(folder.path().join("leases")) {
        std::fs::remove_file(folder.path().join("leases").join(lease)).expect("removed");
    }
    collect(&open(folder.path()), &GcRules::strict()).expect("collected");
    collect(&open(folder.path()), &GcRules::strict()).expect("emptied");
    let error = transaction.commit(&[update("main", commit)], "").expect_err("refused");
    assert!(matches!(error, StoreError::Expired), "{error}");
    assert!(!store.has(&new.id.0), "nothing was published");
    expect_sound(folder.path(), "refused");
    let (transaction, commit, _) = relying(&store);
    transaction.commit(&[update("main", commit)], "").expect("the same work again");
    expect_sound(folder.path(), "again");
}

#[test]
fn a_writer_without_anything_new_relies_on_nothing_that_is_gone() {
    let folder = folder();
    let store = open(folder.path());
    let old = publish(&store, "main", 1);
    publish(&store, "main", 2);
    let transaction = store.begin(&job());
    assert!(transaction.has(&old.0));
    collect(&open(folder.path()), &GcRules::strict()).expect("collected");
    let kept = transaction.commit(&[update("back", old)], "").expect("taken out of the trash");
    assert!(kept.objects > 0);
    expect_sound(folder.path(), "taken back");

    let transaction = store.begin(&job());
    store.begin(&job()).commit(&[update("back", store.resolve("main").expect("there"))], "").expect("moved");
    assert!(transaction.has(&old.0));
    collect(&open(folder.path()), &GcRules::strict()).expect("collected");
    collect(&open(folder.path()), &GcRules::strict()).expect("emptied");
    let error = transaction.commit(&[update("back", old)], "").expect_err("gone");
    assert!(matches!(error, StoreError::Expired), "{error}");
    expect_sound(folder.path(), "refused");
}

#[test]
fn an_old_list_of_packs_is_not_relied_on() {
    let folder = folder();
    let store = open(folder.path());
    let old = publish(&store, "main", 1);
    publish(&store, "main", 2);
    assert!(store.has(&old.0), "the list is read");
    collect(&open(folder.path()), &GcRules::strict()).expect("collected");
    collect(&open(folder.path()), &GcRules::strict()).expect("emptied");
    let refused = store.begin(&job()).commit(&[update("back", old)], "");
    assert!(matches!(refused, Err(StoreError::Missing { .. })), "{refused:?}");
    expect_sound(folder.path(), "refused");
}

/// Stops everything after so many changes, as `kill -9` does.
struct Killer {
    left: std::sync::Mutex<u64>,
    killed: AtomicBool,
}

impl Watcher for Killer {
    fn before(&self, _: &Change<'_>) -> io::Result<()> {
        let mut left = self.left.lock().expect("unpoisoned");
        if *left == 0 {
            self.killed.store(true, Ordering::Relaxed);
            return Err(io::Error::other("killed"));
        }
        *left -= 1;
        Ok(())
    }
}

#[test]
fn a_collector_killed_anywhere_leaves_a_sound_store_and_the_next_one_ends_its_work() {
    for changes in 0.. {
        let folder = folder();
        let store = open(folder.path());
        publish(&store, "other", 5);
        for version in 1..4 {
            publish(&store, "main", version);
        }
        collect(&store, &strict()).expect("collected");
        publish(&store, "main", 4);
        let (writer, commit, _) = relying(&store);
        let killer = Arc::new(Killer { left: std::sync::Mutex::new(changes), killed: AtomicBool::default() });
        let watched = Store::watched(folder.path(), killer.clone()).expect("opened");
        let result = collect(&watched, &GcRules::strict());
        drop(watched);
        let when = format!("killed after {changes} changes");
        expect_sound(folder.path(), &when);
        match writer.commit(&[update("written", commit)], "") {
            Ok(_) | Err(StoreError::Expired) => {}
            Err(error) => panic!("{when}: {error}"),
        }
        expect_sound(folder.path(), &when);
        let store = open(folder.path());
        for _ in 0..3 {
            collect(&store, &GcRules::strict()).unwrap_or_else(|error| panic!("{when}: {error}"));
            expect_sound(folder.path(), &when);
        }
        assert_eq!(list(folder.path().join("trash")).len(), 0, "{when}");
        assert!(store.plan_gc(&GcRules::strict(), &job()).expect("planned").is_empty(), "{when}");
        if !killer.killed.load(Ordering::Relaxed) {
            result.expect("collected");
            assert!(changes > 20, "{changes} changes");
            return;
        }
    }
}

//! Putting packs together, under the eyes of readers, writers and collectors.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::gc::{collect, expect_sound, read_closure, strict};
use super::*;
use mkimage::base::Stopwatch;
use mkimage::store::{GcRules, StoreError};

fn packs(folder: &Path) -> usize {
    list(folder.join("packs")).iter().filter(|name| name.to_string_lossy().ends_with(".idx")).count()
}

#[test]
fn commits_leave_few_packs_and_every_object_stays() {
    let folder = folder();
    let store = open(folder.path());
    let reader = open(folder.path());
    let mut commits = Vec::new();
    for version in 0..60 {
        commits.push(publish(&store, "main", version));
        read_closure(&reader, &commits[0]).expect("by an old list");
    }
    assert!(packs(folder.path()) < 16, "{} packs", packs(folder.path()));
    for store in [&store, &reader, &open(folder.path())] {
        for commit in &commits {
            read_closure(store, commit).expect("whole");
        }
    }
    expect_sound(folder.path(), "after 60 commits");
}

#[test]
fn repacking_by_hand_leaves_a_geometric_row_and_changes_no_object() {
    let folder = folder();
    let store = open(folder.path());
    let commits: Vec<CommitId> = (0..7).map(|version| publish(&store, "main", version)).collect();
    let before = store.check(&job()).expect("checked");
    let done = store.repack(&job()).expect("repacked");
    assert_eq!((done.packs_before, done.packs_after, packs(folder.path())), (7, 1, 1));
    let after = store.check(&job()).expect("checked");
    assert_eq!((after.objects, after.bytes), (before.objects, before.bytes));
    let again = store.repack(&job()).expect("repacked");
    assert_eq!((again.packs_after, again.bytes_copied), (1, 0), "there is nothing to do");
    commits.iter().for_each(|commit| read_closure(&open(folder.path()), commit).expect("whole"));
}

#[test]
fn a_pack_keeps_its_age_so_that_grace_ends() {
    let folder = folder();
    let store = open(folder.path());
    for version in 0..3 {
        publish(&store, "main", version);
    }
    for name in list(folder.path().join("packs")) {
        let file = std::fs::File::open(folder.path().join("packs").join(name)).expect("opened");
        file.set_modified(seconds_ago(1000)).expect("set");
    }
    store.repack(&job()).expect("repacked");
    let rules = GcRules { grace_seconds: 900, ..strict() };
    assert!(store.plan_gc(&rules, &job()).expect("planned").summary().objects_trashed > 0);
}

#[test]
fn damage_does_not_spread_and_stops_no_commit() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "first", 0);
    let packs_folder = folder.path().join("packs");
    let pack = list(&packs_folder).into_iter().find(|name| name.to_string_lossy().ends_with(".pack"));
    let pack = packs_folder.join(pack.expect("a pack"));
    let mut bytes = std::fs::read(&pack).expect("read");
    // The first frame begins behind the magic.
    bytes[8] ^= 1;
    std::fs::remove_file(&pack).expect("removed");
    std::fs::write(&pack, &bytes).expect("written");
    let store = open(folder.path());
    for version in 1..12 {
        publish(&store, "main", version);
    }
    assert!(pack.exists(), "a damaged pack is left to those who can repair it");
    assert!(store.repack(&job()).is_err());
    assert_eq!(std::fs::read(&pack).expect("read"), bytes);
    read_closure(&store, &store.resolve("main").expect("there")).expect("the rest is whole");
    assert_eq!(list(folder.path().join("tmp")), [".lock"]);
}

/// Stops everything after so many changes, as `kill -9` does.
struct Killer(AtomicU64, AtomicBool);

impl Watcher for Killer {
    fn before(&self, _: &Change<'_>) -> io::Result<()> {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| {
            self.1.store(true, Ordering::Relaxed);
            io::Error::other("killed")
        })
    }
}

#[test]
fn a_repacker_killed_anywhere_leaves_every_object() {
    for changes in 0.. {
        let folder = folder();
        let store = open(folder.path());
        let commits: Vec<CommitId> = (0..4).map(|version| publish(&store, "main", version)).collect();
        let killer = Arc::new(Killer(changes.into(), AtomicBool::default()));
        let result = Store::watched(folder.path(), killer.clone()).expect("opened").repack(&job());
        let when = format!("killed after {changes} changes");
        let store = open(folder.path());
        for commit in &commits {
            read_closure(&store, commit).unwrap_or_else(|error| panic!("{when}: {error}"));
        }
        expect_sound(folder.path(), &when);
        store.repack(&job()).unwrap_or_else(|error| panic!("{when}: {error}"));
        expect_sound(folder.path(), &when);
        if !killer.1.load(Ordering::Relaxed) {
            result.expect("repacked");
            assert!(changes > 15, "{changes} changes");
            return;
        }
    }
}

/// Publishes versions over and over, so that objects come to be needed that are dead, or in the trash, or gone.
/// Every third is like none before, so that there is always something that nobody needs any more.
fn write_on(store: &Store, at: &str, seed: u32, until: &AtomicBool) {
    let _end = SetAtEnd(until);
    for round in 0.. {
        if until.load(Ordering::Relaxed) {
            break;
        }
        let version = if round % 3 == 0 { 1000 * (round + 1) + seed } else { (round * 7 + seed) % 5 };
        for _ in attempts(1000) {
            let transaction = store.begin(&job());
            let commit = put_version(&transaction, version);
            match transaction.commit(&[update(at, commit)], "a race") {
                Ok(_) => break,
                // Between two looks of one attempt a collector may have come: the attempt is over.
                Err(StoreError::Expired | StoreError::Missing { .. }) => {}
                Err(error) => panic!("{at}: {error}"),
            }
        }
    }
}

fn collect_on(store: &Store, until: &AtomicBool, runs: &AtomicU64) {
    let _end = SetAtEnd(until);
    while !until.load(Ordering::Relaxed) {
        match collect(store, &GcRules::strict()) {
            Ok(done) => drop(runs.fetch_add(u64::from(done.packs_trashed > 0), Ordering::Relaxed)),
            Err(StoreError::Collecting { .. }) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("collecting: {error}"),
        }
        match store.repack(&job()) {
            Ok(_) | Err(StoreError::Collecting { .. } | StoreError::Expired) => {}
            Err(error) => panic!("repacking: {error}"),
        }
    }
}

/// How long writers and collectors may take to meet.
const PATIENCE: Duration = Duration::from_secs(240);

#[test]
fn writers_and_collectors_in_a_loop_lose_nothing() {
    let folder = folder();
    publish(&open(folder.path()), "start", 9);
    let (until, runs) = (AtomicBool::default(), AtomicU64::default());
    let shared = open(folder.path());
    std::thread::scope(|scope| {
        let _end = SetAtEnd(&until);
        for number in 0..3 {
            let (until, path) = (&until, folder.path());
            scope.spawn(move || write_on(&open(path), &format!("own/{number}"), number, until));
        }
        scope.spawn(|| write_on(&shared, "shared/0", 3, &until));
        for _ in 0..2 {
            let (until, runs, path) = (&until, &runs, folder.path());
            scope.spawn(move || collect_on(&open(path), until, runs));
        }
        let watch = Stopwatch::start();
        // On a disk that others keep busy a run takes seconds: what counts is that some met writers.
        let enough = || watch.elapsed() > Duration::from_secs(2) && runs.load(Ordering::Relaxed) > 1;
        while !enough() && !until.load(Ordering::Relaxed) && watch.elapsed() < PATIENCE {
            for value in shared.refs().expect("refs").values() {
                // What a ref leads to is there; it may move on and be collected while it is read.
                if let Err(error) = read_closure(&shared, &value.commit) {
                    let now = shared.refs().expect("refs");
                    assert!(!now.values().any(|now| now == value), "{}: {error}", value.commit);
                }
            }
        }
    });
    assert!(runs.load(Ordering::Relaxed) > 1, "{runs:?} runs found garbage");
    expect_sound(folder.path(), "after the races");
}

/// Runs as a process of its own.
#[test]
#[ignore = "a child of other tests"]
fn racer() {
    let Some(folder) = std::env::var_os("MKIMAGE_TEST_STORE") else { return };
    let number: u32 = std::env::var("MKIMAGE_TEST_NUMBER").expect("a number").parse().expect("a number");
    let store = open(Path::new(&folder));
    let (until, runs) = (AtomicBool::default(), AtomicU64::default());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let watch = Stopwatch::start();
            let enough = || watch.elapsed() > Duration::from_secs(3) && store.collections() > 1;
            while !enough() && watch.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(100));
            }
            until.store(true, Ordering::Relaxed);
        });
        match number {
            0 | 1 => collect_on(&store, &until, &runs),
            _ => write_on(&store, &format!("own/{number}"), number, &until),
        }
    });
}

#[test]
fn processes_that_write_and_collect_in_a_loop_lose_nothing() {
    let folder = folder();
    publish(&open(folder.path()), "start", 9);
    let children: Vec<_> = (0..6)
        .map(|number| {
            std::process::Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", "store::repack::racer", "--ignored", "--test-threads=1"])
                .env("MKIMAGE_TEST_STORE", folder.path())
                .env("MKIMAGE_TEST_NUMBER", number.to_string())
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .expect("started")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("ended");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("1 passed"), "{text}");
    }
    expect_sound(folder.path(), "after the races");
    let steps = open(folder.path()).collections();
    assert!(steps > 1, "nothing was collected meanwhile: {steps}");
}

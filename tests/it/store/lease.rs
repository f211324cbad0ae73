//! Leases: who holds one, how long it counts, and what becomes of those who lose theirs.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::gc::{collect, expect_sound};
use super::*;
use crate::tool::signal;
use mkimage::store::{GcRules, StoreError};
use rustix::process::Signal;

/// The lease of who is silent for too long.
const LEASE: Duration = Duration::from_millis(300);
/// The lease of who never is.
const LONG_LEASE: Duration = Duration::from_secs(600);

fn leases(folder: &Path) -> Vec<std::ffi::OsString> {
    list(folder.join("leases"))
}

#[test]
fn a_transaction_takes_its_lease_with_its_first_new_object_and_gives_it_back() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    let transaction = store.begin(&job());
    put_version(&transaction, 1);
    assert_eq!(leases(folder.path()).len(), 0, "nothing is new");
    transaction.put(b"something new").expect("put");
    assert_eq!(leases(folder.path()).len(), 1);
    let name = leases(folder.path()).remove(0);
    assert!(folder.path().join("tmp").join(name).is_dir(), "lease and directory have one name");
    transaction.commit(&[], "").expect("committed");
    assert_eq!(leases(folder.path()).len(), 0);
    let dropped = store.begin(&job());
    dropped.put(b"something else").expect("put");
    drop(dropped);
    assert_eq!(leases(folder.path()).len(), 0);
}

#[test]
fn a_holder_that_lives_keeps_its_lease_fresh_and_a_silent_one_loses_it() {
    let folder = folder();
    // Long enough for a machine that does not let the holder run for a moment.
    let ttl = Duration::from_secs(4);
    let store = open(folder.path()).with_leases_of(ttl);
    let commit = publish(&store, "main", 1);
    let hold = store.hold(&[commit]).expect("held");
    let path = folder.path().join("leases").join(leases(folder.path()).remove(0));
    let modified = || std::fs::metadata(&path).expect("there").modified().expect("a time");
    let before = modified();
    std::thread::sleep(ttl * 3 / 2);
    assert!(modified() > before + ttl / 2, "no heartbeat");
    let collector = open(folder.path());
    assert_eq!(collect(&collector, &GcRules::strict()).expect("collected").leases_expired, 0);
    drop(hold);

    // A lease again, of a holder that says nothing.
    let hold = open(folder.path()).with_leases_of(LEASE).hold(&[commit]).expect("held");
    let path = folder.path().join("leases").join(leases(folder.path()).remove(0));
    let text = std::fs::read(&path).expect("read");
    drop(hold);
    std::fs::write(&path, text).expect("written");
    std::thread::sleep(LEASE * 2);
    assert_eq!(collect(&collector, &GcRules::strict()).expect("collected").leases_expired, 1);
    assert_eq!(leases(folder.path()).len(), 0);
}

#[test]
fn a_torn_lease_is_no_doubt_and_keeps_the_trash() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    publish(&store, "main", 2);
    let torn = folder.path().join("leases").join("0".repeat(32));
    std::fs::write(&torn, b"").expect("written");
    assert!(collect(&store, &GcRules::strict()).expect("collected").packs_trashed > 0);
    assert_eq!(collect(&store, &GcRules::strict()).expect("collected").bytes_emptied, 0);
    let file = std::fs::File::open(&torn).expect("opened");
    file.set_modified(seconds_ago(3700)).expect("set");
    let done = collect(&store, &GcRules::strict()).expect("collected");
    assert!(done.leases_expired == 1 && done.bytes_emptied > 0, "{done:?}");
}

/// Runs as a process of its own: see [`Writer`].
#[test]
#[ignore = "a child of other tests"]
fn writer() {
    let Some(folder) = std::env::var_os("MKIMAGE_TEST_STORE") else { return };
    let lease = std::env::var("MKIMAGE_TEST_LEASE").expect("a lease").parse().expect("milliseconds");
    let store = open(Path::new(&folder)).with_leases_of(Duration::from_millis(lease));
    let mut lines = std::io::stdin().lines();
    for attempt in attempts(1000) {
        let transaction = store.begin(&job());
        transaction.put(b"what nobody had").expect("put");
        let commit = put_version(&transaction, 1);
        if attempt == 1 {
            tell("\nready");
            lines.next();
        }
        match transaction.commit(&[update("written", commit)], "") {
            Ok(_) => return tell(&format!("\ncommitted at attempt {attempt}")),
            Err(StoreError::Expired) => {}
            Err(error) => return tell(&format!("\nfailed: {error}")),
        }
    }
}

/// A writer in a process of its own, which relies on version 1 and waits before it commits.
struct Writer {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Writer {
    fn start(folder: &Path, lease: Duration) -> Writer {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "store::lease::writer", "--ignored", "--nocapture", "--test-threads=1"])
            .env("MKIMAGE_TEST_STORE", folder)
            .env("MKIMAGE_TEST_LEASE", lease.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut writer = Writer { child, lines };
        writer.wait_for("ready");
        writer
    }

    fn wait_for(&mut self, start: &str) -> String {
        let mut lines = self.lines.by_ref().map(|line| line.expect("read"));
        let line = lines.find(|line| line.starts_with(start) || line.starts_with("failed"));
        line.filter(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("the child never said {start:?}"))
    }

    fn finish(mut self) -> String {
        self.child.stdin.take().expect("its input").write_all(b"go\n").expect("written");
        self.wait_for("committed")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_writer_that_is_stopped_past_its_lease_while_gc_runs_twice_begins_again_and_misses_nothing() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    publish(&store, "main", 2);
    let writer = Writer::start(folder.path(), LEASE);
    signal(&writer.child, Signal::STOP);
    std::thread::sleep(LEASE * 3);
    let first = collect(&store, &GcRules::strict()).expect("collected");
    assert!(first.leases_expired == 1 && first.objects_trashed > 0, "{first:?}");
    let second = collect(&store, &GcRules::strict()).expect("collected");
    assert!(second.bytes_emptied > 0, "{second:?}");
    signal(&writer.child, Signal::CONT);
    assert_eq!(writer.finish(), "committed at attempt 2");
    expect_sound(folder.path(), "at the end");
    assert!(store.read_ref(&name("written")).expect("read").is_some());
}

#[test]
fn a_writer_that_is_stopped_for_less_keeps_what_it_relied_on() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    publish(&store, "main", 2);
    let writer = Writer::start(folder.path(), LONG_LEASE);
    for _ in 0..3 {
        collect(&store, &GcRules::strict()).expect("collected");
    }
    assert_eq!(writer.finish(), "committed at attempt 1");
    expect_sound(folder.path(), "at the end");
}

#[test]
fn the_lease_of_a_killed_writer_ends_at_once() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    publish(&store, "main", 2);
    let mut writer = Writer::start(folder.path(), LONG_LEASE);
    writer.child.kill().expect("killed");
    writer.child.wait().expect("ended");
    assert_eq!(leases(folder.path()).len(), 1);
    assert_eq!(collect(&store, &GcRules::strict()).expect("collected").leases_expired, 1);
    assert_eq!(leases(folder.path()).len(), 0);
}

#[test]
fn a_build_with_nothing_new_writes_and_syncs_nothing_after_a_collection_too() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    publish(&store, "main", 2);
    collect(&store, &GcRules::strict()).expect("collected");
    let counter = Arc::new(Counter::default());
    let store = Store::watched(folder.path(), counter.clone()).expect("opened");
    let transaction = store.begin(&job());
    let commit = put_version(&transaction, 2);
    transaction.commit(&[update("main", commit)], "").expect("committed");
    assert_eq!(counter.changes.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn a_store_of_the_first_protocol_is_read_as_it_is_and_raised_at_its_first_write() {
    let folder = folder();
    let commit = publish(&open(folder.path()), "main", 1);
    let file = folder.path().join("format");
    let old = std::fs::read_to_string(&file).expect("read").replace("gc-protocol 2", "gc-protocol 1");
    std::fs::remove_file(&file).expect("removed");
    std::fs::write(&file, &old).expect("written");
    for gone in ["leases", "trash"] {
        std::fs::remove_dir(folder.path().join(gone)).expect("removed");
    }
    let store = open(folder.path());
    assert_eq!(store.resolve("main").expect("read"), commit);
    assert_eq!(std::fs::read_to_string(&file).expect("read"), old, "reading raises nothing");
    publish(&store, "main", 2);
    assert!(std::fs::read_to_string(&file).expect("read").contains("gc-protocol 2\n"));
    collect(&store, &GcRules::strict()).expect("collected");
    expect_sound(folder.path(), "raised");
}

#[test]
fn writers_of_a_shared_store_claim_its_locks_by_name() {
    struct Links(std::sync::atomic::AtomicU64);
    impl Watcher for Links {
        fn before(&self, change: &Change<'_>) -> io::Result<()> {
            if matches!(change, Change::Link { to, .. } if to.ends_with("refs/.lockfile")) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            Ok(())
        }
    }
    let folder = folder();
    assert!(open(folder.path()).initialise(true).expect("made"));
    assert!(!open(folder.path()).initialise(false).expect("made"), "it stays shared");
    let links = Arc::new(Links(0.into()));
    let store = Store::watched(folder.path(), links.clone()).expect("opened");
    publish(&store, "main", 1);
    assert_eq!(links.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(list(folder.path().join("refs")), [".lock", "main"], "claims are given back");
    collect(&store, &GcRules::strict()).expect("collected");

    // A claim of a process of this machine that is gone is broken; one of another machine is waited for.
    let claim = folder.path().join("refs/.lockfile");
    let mut process = mkimage::base::ProcessName::this();
    let mut child = Command::new("true").spawn().expect("started");
    process.pid = child.id();
    child.wait().expect("ended");
    let write = |process: &mkimage::base::ProcessName| {
        let body = format!("1 {process} ");
        let check = mkimage::base::Digest::derive("mkimage 2026 claim v1", body.as_bytes());
        std::fs::write(&claim, format!("{body}{check}\n")).expect("written");
    };
    write(&process);
    publish(&store, "main", 2);
    assert!(!claim.exists());
    process.host = "elsewhere".to_owned();
    write(&process);
    let cancelled = Arc::new(std::sync::atomic::AtomicBool::default());
    let workers = mkimage::base::parallel::Workers::new(1);
    let patient = Job::new(workers, Arc::new(mkimage::base::job::Silent), cancelled.clone());
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let transaction = store.begin(&patient);
            let commit = put_version(&transaction, 3);
            transaction.commit(&[update("main", commit)], "")
        });
        {
            let _end = SetAtEnd(&cancelled);
            std::thread::sleep(Duration::from_millis(300));
            assert!(!waiting.is_finished(), "a claim of another machine was broken");
        }
        waiting.join().expect("no panic")
    });
    assert!(matches!(waiting, Err(StoreError::Cancelled(_))), "{waiting:?}");
    assert!(claim.exists());
    assert_eq!(store.unlock("another").expect("looked"), [""; 0]);
    assert_eq!(store.unlock("elsewhere").expect("broken").len(), 1);
    publish(&store, "main", 3);
    expect_sound(folder.path(), "at the end");
}

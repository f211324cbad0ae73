//! Processes that write to one store at the same time, and one that is stopped for too long.
//!
//! A test starts itself again for each process: what the environment says then is what the process does.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;
use crate::tool::signal;
use mkimage::base::CommitId;
use mkimage::store::{GcRules, Objects, StoreError};
use mkimage::tree::ContentSource;
use rustix::process::Signal;

const STORE: &str = "MKIMAGE_RACE_STORE";
const NUMBER: &str = "MKIMAGE_RACE_NUMBER";

const PROCESSES: u64 = 8;
const MOVES: u64 = 1000;

/// Returns the store and the number of a process that a test started.
fn part() -> Option<(PathBuf, u64)> {
    let store = std::env::var_os(STORE)?;
    let number = std::env::var(NUMBER).expect("a number").parse().expect("a number");
    Some((store.into(), number))
}

/// A process with a part in a test. It ends with the test, also where that is stopped itself.
struct Process(Option<Child>);

impl Process {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it was not waited for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a test of this module once more, as a process with a part in it.
fn start(test: &str, store: &Path, number: u64) -> Process {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", &format!("store::races::{test}"), "--nocapture", "--test-threads=1"]);
    command.env(STORE, store).env(NUMBER, number.to_string());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    Process(Some(child))
}

fn finish(mut process: Process, what: &str) -> String {
    let child = process.0.take().expect("it was not waited for");
    let output = child.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{what}: {said}");
    said
}

/// The two commits between which a process moves the ref to and fro.
fn commits_of(store: &Store, number: u64) -> [CommitId; 2] {
    [0, 1].map(|which| {
        store.read_ref(&name(&format!("pool/{number}-{which}"))).expect("read").expect("there").commit
    })
}

fn move_to_and_fro(folder: &Path, number: u64) {
    let store = open(folder);
    let mine = commits_of(&store, number);
    let job = Job::quiet(1);
    for count in 0..MOVES {
        // Every attempt that fails is a move of another process.
        for _ in attempts(PROCESSES * MOVES) {
            let found = store.read_ref(&name("counter")).expect("read");
            let expected = Expected::of(found.as_ref());
            let update = RefUpdate { name: name("counter"), expected, new: mine[(count % 2) as usize] };
            match store.begin(&job).commit(&[update], &format!("{number} {count}")) {
                Ok(done) if done.refs[0].moved => break,
                Err(StoreError::Moved { .. }) => {}
                other => panic!("process {number}, move {count}: {other:?}"),
            }
        }
    }
}

#[test]
fn eight_processes_lose_no_update() {
    if let Some((store, number)) = part() {
        return move_to_and_fro(&store, number);
    }
    let folder = folder();
    let store = open(folder.path());
    for number in 0..PROCESSES {
        for which in 0..2 {
            publish(&store, &format!("pool/{number}-{which}"), (number * 2 + which) as u32 + 2);
        }
    }
    publish(&store, "counter", 1);
    let mut processes: Vec<Process> =
        (0..PROCESSES).map(|number| start("eight_processes_lose_no_update", folder.path(), number)).collect();
    // Readers never wait, and never see the ref go back.
    let (mut last, watch) = (0, mkimage::base::Stopwatch::start());
    while processes.iter_mut().any(|process| process.child().try_wait().expect("asked").is_none()) {
        assert!(watch.elapsed() < Duration::from_secs(600), "after {last} moves");
        let generation = store.read_ref(&name("counter")).expect("read").expect("there").generation;
        assert!(generation >= last, "from move {last} to {generation}");
        last = generation;
        std::thread::sleep(Duration::from_millis(5));
    }
    for (number, process) in processes.into_iter().enumerate() {
        finish(process, &format!("process {number}"));
    }
    expect_every_move(&store);
    assert_eq!(store.check(&job()).expect("checked").faults, []);
}

/// Every move of every process is there once: in the ref's count and in the reflog.
fn expect_every_move(store: &Store) {
    let value = store.read_ref(&name("counter")).expect("read").expect("there");
    assert_eq!(value.generation, 1 + PROCESSES * MOVES);
    let mut log = store.log(&name("counter")).expect("read");
    log.reverse();
    let generations: Vec<u64> = log.iter().map(|entry| entry.value.generation).collect();
    assert_eq!(generations, (1..=1 + PROCESSES * MOVES).collect::<Vec<_>>());
    for pair in log.windows(2) {
        assert_eq!(pair[1].value.previous, Some(pair[0].value.commit), "a move from where the ref was not");
    }
    let made: std::collections::BTreeSet<&str> = log[1..].iter().map(|entry| &*entry.message).collect();
    assert_eq!(made.len() as u64, PROCESSES * MOVES);
}

/// The lease of the writer that is stopped.
const LEASE: Duration = Duration::from_millis(400);
/// The lease of the writer that lives: long enough for a machine that does not let it run for a moment.
const LIVING_LEASE: Duration = Duration::from_secs(4);

/// Builds on content that nothing leads to, stops until it is told to go on, and then publishes. Does all of
/// it again where that was too late. Says how often.
fn write_with_a_pause(folder: &Path, lease: Duration) {
    let store = open(folder).with_leases_of(lease);
    for attempt in attempts(1000) {
        let transaction = store.begin(&job());
        let mut root = Directory::default();
        add_file(&transaction, &mut root, "/left", &noise(1, 5000));
        add_file(&transaction, &mut root, "/new", &noise(99, 5000));
        let tree = transaction.put_tree(&job(), &root.seal().expect("sealed")).expect("put");
        let commit = transaction.put_commit(&commit_of(tree)).expect("put");
        if attempt == 1 {
            std::fs::write(folder.with_extension("ready"), b"").expect("written");
            wait_for("the word to go on", || folder.with_extension("go").exists());
        }
        match transaction.commit(&[update("late", commit)], "late") {
            Err(StoreError::Expired) => {}
            other => {
                other.expect("committed");
                return tell(&format!("attempts: {attempt}"));
            }
        }
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} did not happen");
}

/// Collects as strictly as can be, so that trash goes in the next run.
fn collect(store: &Store) {
    let plan = store.plan_gc(&GcRules::strict(), &job()).expect("planned");
    store.run_gc(plan, &job()).expect("collected");
}

#[test]
fn a_writer_that_was_stopped_past_its_lease_begins_again_and_misses_nothing() {
    if let Some((store, _)) = part() {
        return write_with_a_pause(&store, LEASE);
    }
    let above = folder();
    let folder = above.path().join("store");
    let store = open(&folder);
    // What the writer will find: the content of a version that nothing leads to any more.
    publish(&store, "main", 1);
    publish(&store, "main", 2);
    std::thread::sleep(Duration::from_millis(1100));
    let left = mkimage::tree::Content::of(&noise(1, 5000));
    assert!(store.has(&left.id.0));
    let test = "a_writer_that_was_stopped_past_its_lease_begins_again_and_misses_nothing";
    let mut process = start(test, &folder, 0);
    wait_for("the writer's work", || folder.with_extension("ready").exists());
    signal(process.child(), Signal::STOP);
    std::thread::sleep(LEASE * 3);
    (0..3).for_each(|_| collect(&store));
    assert!(open(&folder).read_all(&left).is_err(), "the collector left what the stopped writer relied on");
    std::fs::write(folder.with_extension("go"), b"").expect("written");
    signal(process.child(), Signal::CONT);
    let said = finish(process, "the stopped writer");
    assert!(said.contains("attempts: 2"), "{said}");
    let store = open(&folder);
    let late = store.read_ref(&name("late")).expect("read").expect("there");
    super::workloads::closure(&store, &late.commit).expect("all that it leads to");
    assert_eq!(store.check(&job()).expect("checked").faults, []);
}

/// The same writer when nobody stops it: what it relies on stays, and it needs one attempt.
#[test]
fn what_a_living_writer_relies_on_is_there_when_it_publishes() {
    if let Some((store, _)) = part() {
        return write_with_a_pause(&store, LIVING_LEASE);
    }
    let above = folder();
    let folder = above.path().join("store");
    let store = open(&folder);
    publish(&store, "main", 1);
    publish(&store, "main", 2);
    std::thread::sleep(Duration::from_millis(1100));
    let process = start("what_a_living_writer_relies_on_is_there_when_it_publishes", &folder, 0);
    wait_for("the writer's work", || folder.with_extension("ready").exists());
    std::thread::sleep(LIVING_LEASE * 3 / 2);
    (0..3).for_each(|_| collect(&store));
    std::fs::write(folder.with_extension("go"), b"").expect("written");
    let said = finish(process, "the writer");
    assert!(said.contains("attempts: 1"), "{said}");
    let late = open(&folder).read_ref(&name("late")).expect("read").expect("there");
    super::workloads::closure(&open(&folder), &late.commit).expect("all that it leads to");
}

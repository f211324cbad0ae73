//! Power cuts, kills and full disks at every change that a writer makes.
//!
//! The power cut is modelled more harshly than any file system is: what was not synced may be there, in
//! part, or not at all, file by file and entry by entry; only a synced file has its bytes, only a synced
//! directory its entries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use super::*;
use mkimage::base::Digest;
use mkimage::store::{Objects, StoreError};
use mkimage::tree::ContentSource;

/// The work of a writer: two builds, of which the second moves two refs together, then one with nothing
/// new. Calls `acknowledged` after each. Doing it again must succeed from wherever it was stopped.
fn work(store: &Store, acknowledged: &mut dyn FnMut(usize)) -> Result<[CommitId; 2], StoreError> {
    let first = build(store, 1, &["main"])?;
    acknowledged(1);
    let second = build(store, 2, &["main", "channel/stable"])?;
    acknowledged(2);
    build(store, 2, &["main", "channel/stable"])?;
    Ok([first, second])
}

fn build(store: &Store, version: u32, refs: &[&str]) -> Result<CommitId, StoreError> {
    let transaction = store.begin(&job());
    let mut root = Directory::default();
    for index in 0..3u64 {
        let content = transaction.put(&noise(u64::from(version) * 2 + index, 600))?;
        let file = File { metadata: Metadata::root(0o644), content };
        root.insert(&path(&format!("/d{index}/file")), Node::File(file)).expect("inserted");
    }
    let tree = transaction.put_tree(&job(), &root.seal().expect("sealed"))?;
    let commit = transaction.put_commit(&commit_of(tree))?;
    store.memo_put(&mkimage::base::StepKey(Digest::of(&version.to_le_bytes())), b"a result")?;
    let updates: Vec<RefUpdate> = refs.iter().map(|at| update(at, commit)).collect();
    transaction.commit(&updates, "built")?;
    Ok(commit)
}

/// Reads all that a commit leads to.
fn read_closure(store: &Store, commit: &CommitId) {
    let commit = store.read_commit(commit).expect("a ref leads to a commit that is there");
    let tree = store.read_tree(&job(), &commit.tree).expect("its tree is there");
    for (path, node) in tree.paths() {
        if let Node::File(file) = node {
            store.read_all(&file.content).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
    }
}

/// What must hold of a store however it was stopped. `acknowledged` builds had returned.
fn expect_sound(folder: &Path, commits: &[CommitId; 2], acknowledged: usize, when: &str) {
    let store = open(folder);
    let refs = store.refs().unwrap_or_else(|error| panic!("{when}: {error}"));
    let main = refs.get(&name("main")).map(|value| value.commit);
    let stable = refs.get(&name("channel/stable")).map(|value| value.commit);
    let state = match (main, stable) {
        (None, None) => 0,
        (Some(main), None) if main == commits[0] => 1,
        (Some(main), Some(stable)) if main == commits[1] && stable == main => 2,
        other => panic!("{when}: half-moved refs: {other:?}"),
    };
    assert!(state >= acknowledged, "{when}: build {acknowledged} was acknowledged, found {state}");
    for value in refs.values() {
        read_closure(&store, &value.commit);
    }
    assert_eq!(store.check(&job()).expect("checked").faults, [], "{when}");
}

/// The same work once more, on what is left: it must succeed, and leave no traces of the first.
fn expect_rerun(folder: &Path, commits: &[CommitId; 2], when: &str) {
    let store = open(folder);
    // From state 2 the first build moves main back: everything else as on a fresh store.
    let again = work(&store, &mut |_| {}).unwrap_or_else(|error| panic!("{when}: the re-run: {error}"));
    assert_eq!(&again, commits, "{when}");
    // Something new, so that a writer begins and clears away what the first one left.
    // A process that another test starts at this moment holds copies of our locks until it runs its program,
    // and what is locked stays: then the next writer clears it away.
    for number in 3..23 {
        build(&store, number, &["third"]).unwrap_or_else(|error| panic!("{when}: a new build: {error}"));
        if list(folder.join("tmp")) == [".lock"] {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    expect_sound(folder, commits, 2, when);
    assert_eq!(list(folder.join("tmp")), [".lock"], "{when}");
    assert_eq!(list(folder.join("refs")), [".lock", "channel", "main", "third"], "{when}");
    let expected = ["format", "journal", "leases", "memo", "packs", "reflog", "refs", "tmp", "trash"];
    let mut found = list(folder);
    // The reserve: whoever collects makes it, where it is gone.
    found.retain(|name| name != "gc.lock");
    assert_eq!(found, expected, "{when}");
    assert_eq!(list(folder.join("journal")).len(), 0, "{when}");
}

/// The commits that the work makes: the same everywhere.
fn commits() -> [CommitId; 2] {
    let folder = folder();
    work(&open(folder.path()), &mut |_| {}).expect("worked")
}

/// Lets so many changes pass, then refuses.
struct Stopper {
    left: Mutex<u64>,
    stop: Stop,
    stopped: AtomicBool,
}

#[derive(Clone, Copy, PartialEq)]
enum Stop {
    /// Nothing happens any more, as after `kill -9`.
    Killed,
    /// No room for new bytes, files or directories; the rest works.
    Full,
    /// One change fails and those after it succeed: a disk that was full for a moment, an I/O error.
    Once(i32),
}

impl Watcher for Stopper {
    fn before(&self, change: &Change<'_>) -> io::Result<()> {
        let mut left = self.left.lock().expect("unpoisoned");
        if *left > 0 {
            *left -= 1;
            return Ok(());
        }
        let first = !self.stopped.swap(true, Ordering::Relaxed);
        let makes = matches!(
            change,
            Change::CreateDirectory(_) | Change::CreateFile(_) | Change::Write { .. } | Change::Sync(_)
        );
        match self.stop {
            Stop::Killed => Err(io::Error::other("killed")),
            Stop::Full if makes => Err(io::Error::from_raw_os_error(28)),
            Stop::Once(error) if first => Err(io::Error::from_raw_os_error(error)),
            _ => Ok(()),
        }
    }
}

fn stop_everywhere(stop: Stop, check: impl Fn(&StoreError, &str)) {
    let commits = commits();
    for changes in 0.. {
        let folder = folder();
        let stopper = Arc::new(Stopper { left: Mutex::new(changes), stop, stopped: AtomicBool::new(false) });
        let mut acknowledged = 0;
        let opened = Store::watched(folder.path().join("store"), stopper.clone());
        let result = work(&opened.expect("opened"), &mut |build| acknowledged = build);
        let when = format!("stopped after {changes} changes");
        if let Err(error) = &result {
            check(error, &when);
        }
        expect_sound(&folder.path().join("store"), &commits, acknowledged, &when);
        expect_rerun(&folder.path().join("store"), &commits, &when);
        if !stopper.stopped.load(Ordering::Relaxed) {
            assert!(result.is_ok() && changes > 40, "{changes} changes");
            return;
        }
    }
}

#[test]
fn a_kill_at_any_change_leaves_a_sound_store() {
    stop_everywhere(Stop::Killed, |_, _| {});
}

#[test]
fn a_full_disk_at_any_change_is_said_and_leaves_a_sound_store() {
    stop_everywhere(Stop::Full, |error, when| {
        assert!(error.is_full(), "{when}: {error}");
        assert!(error.to_string().contains('/'), "{when}: no path in {error}");
    });
}

#[test]
fn one_failing_change_leaves_a_sound_store() {
    stop_everywhere(Stop::Once(28), |_, _| {});
    stop_everywhere(Stop::Once(5), |_, _| {});
}

#[derive(Clone, Debug)]
enum Step {
    CreateDirectory(PathBuf),
    CreateFile(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    Sync(PathBuf),
    SyncDirectory(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Default)]
struct Recorder {
    steps: Mutex<Vec<Step>>,
}

impl Watcher for Recorder {
    fn before(&self, change: &Change<'_>) -> io::Result<()> {
        let step = match *change {
            Change::CreateDirectory(path) => Step::CreateDirectory(path.to_owned()),
            Change::CreateFile(path) => Step::CreateFile(path.to_owned()),
            Change::Write { path, offset, bytes } => Step::Write(path.to_owned(), offset, bytes.to_vec()),
            Change::Discard { .. } | Change::Touch(_) => return Ok(()),
            Change::Link { .. } => panic!("nothing in this work links"),
            Change::Sync(path) => Step::Sync(path.to_owned()),
            Change::SyncDirectory(path) => Step::SyncDirectory(path.to_owned()),
            Change::Rename { from, to } => Step::Rename(from.to_owned(), to.to_owned()),
            Change::Remove(path) | Change::RemoveDirectory(path) => Step::Remove(path.to_owned()),
        };
        self.steps.lock().expect("unpoisoned").push(step);
        Ok(())
    }
}

/// What stands under a name: a directory, or a file by its number.
#[derive(Clone, Copy, PartialEq)]
enum Entry {
    Directory,
    File(usize),
}

/// A change of names that no sync of its directory has made durable yet.
#[derive(Clone)]
struct Pending {
    put: Option<(PathBuf, Entry)>,
    gone: Option<PathBuf>,
}

#[derive(Clone, Default)]
struct FileState {
    synced: Vec<u8>,
    current: Vec<u8>,
}

/// A disk: what is durable, and what is only in memory.
#[derive(Clone, Default)]
struct Disk {
    files: Vec<FileState>,
    current: BTreeMap<PathBuf, Entry>,
    durable: BTreeMap<PathBuf, Entry>,
    pending: Vec<Pending>,
}

impl Disk {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::CreateDirectory(path) => self.name(Some((path.clone(), Entry::Directory)), None),
            Step::CreateFile(path) => {
                self.files.push(FileState::default());
                self.name(Some((path.clone(), Entry::File(self.files.len() - 1))), None);
            }
            Step::Rename(from, to) => {
                // A rename without replacement that found its target was refused: then nothing moved.
                if let Some(entry) = self.current.get(from).copied() {
                    self.name(Some((to.clone(), entry)), Some(from.clone()));
                }
            }
            Step::Remove(path) => {
                if self.current.contains_key(path) {
                    self.name(None, Some(path.clone()));
                }
            }
            Step::Write(path, offset, bytes) => {
                let Some(Entry::File(file)) = self.current.get(path) else { panic!("{path:?} is no file") };
                let current = &mut self.files[*file].current;
                let end = *offset as usize + bytes.len();
                current.resize(current.len().max(end), 0);
                current[*offset as usize..end].copy_from_slice(bytes);
            }
            Step::Sync(path) => {
                let Some(Entry::File(file)) = self.current.get(path) else { panic!("{path:?} is no file") };
                self.files[*file].synced = self.files[*file].current.clone();
            }
            Step::SyncDirectory(directory) => {
                let inside = |path: &Path| path.parent() == Some(directory);
                let (now, later) =
                    std::mem::take(&mut self.pending).into_iter().partition(|pending: &Pending| {
                        pending.put.as_ref().is_some_and(|put| inside(&put.0))
                            || pending.gone.as_ref().is_some_and(|gone| inside(gone))
                    });
                self.pending = later;
                let now: Vec<Pending> = now;
                now.iter().for_each(|pending| self.make_durable(pending));
            }
        }
    }

    fn name(&mut self, put: Option<(PathBuf, Entry)>, gone: Option<PathBuf>) {
        let pending = Pending { put, gone };
        change_names(&mut self.current, &pending);
        self.pending.push(pending);
    }

    fn make_durable(&mut self, pending: &Pending) {
        change_names(&mut self.durable, pending);
    }

    /// Writes what is left after a power cut below `to`. Of what was not synced, `keep` says what is kept.
    fn cut(&self, base: &Path, to: &Path, keep: &mut dyn FnMut() -> u64) {
        let mut left = self.clone();
        for pending in std::mem::take(&mut left.pending) {
            if keep() % 2 == 1 {
                left.make_durable(&pending);
            }
        }
        for (path, entry) in &left.durable {
            let parents = path.ancestors().skip(1).take_while(|above| *above != base);
            if parents.into_iter().any(|above| left.durable.get(above) != Some(&Entry::Directory)) {
                continue;
            }
            let place = to.join(path.strip_prefix(base).expect("below the base"));
            match entry {
                Entry::Directory => std::fs::create_dir_all(place).expect("created"),
                Entry::File(file) => {
                    std::fs::write(place, left.files[*file].remains(keep())).expect("written");
                }
            }
        }
    }
}

impl FileState {
    /// What is left of a file: its synced bytes, or any of what file systems make of unsynced ones.
    fn remains(&self, choice: u64) -> Vec<u8> {
        if self.current == self.synced {
            return self.synced.clone();
        }
        match choice % 5 {
            0 => self.synced.clone(),
            1 => self.current.clone(),
            2 => [&self.synced[..], &vec![0; self.current.len() - self.synced.len()]].concat(),
            3 => self.current[..self.synced.len() + (self.current.len() - self.synced.len()) / 2].to_vec(),
            _ => self.current.iter().map(|byte| byte ^ 0x55).collect(),
        }
    }
}

fn change_names(names: &mut BTreeMap<PathBuf, Entry>, pending: &Pending) {
    if let Some(gone) = &pending.gone {
        names.remove(gone);
    }
    if let Some((path, entry)) = &pending.put {
        names.insert(path.clone(), *entry);
    }
}

/// A choice that is always the same, or one that looks random.
fn choices(mode: u64, seed: u64) -> impl FnMut() -> u64 {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(mode);
    move || match mode {
        0 => 0,
        1 => 1,
        _ => {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state >> 20
        }
    }
}

#[test]
fn a_power_cut_at_any_change_leaves_the_old_state_or_the_new_one() {
    let commits = commits();
    let original = folder();
    let recorder = Arc::new(Recorder::default());
    let mut acknowledged_at = Vec::new();
    let store = Store::watched(original.path().join("store"), recorder.clone()).expect("opened");
    work(&store, &mut |_| acknowledged_at.push(recorder.steps.lock().expect("unpoisoned").len()))
        .expect("worked");
    let steps = recorder.steps.lock().expect("unpoisoned").clone();
    assert!(steps.len() > 60, "{} steps", steps.len());
    let mut disk = Disk::default();
    for position in 0..=steps.len() {
        // Every other kind of cut before each step, the others before the next; `simulation` leaves none out.
        for mode in (position as u64 % 2..6).step_by(2) {
            let left = folder();
            disk.cut(original.path(), left.path(), &mut choices(mode, position as u64));
            let acknowledged = acknowledged_at.iter().filter(|at| **at <= position).count();
            let next = steps.get(position).map(|step| match step {
                Step::Write(path, ..) => format!("Write({path:?})"),
                other => format!("{other:?}"),
            });
            let when = format!("power cut {mode} before step {position} ({next:?})");
            let store = left.path().join("store");
            expect_sound(&store, &commits, acknowledged, &when);
            expect_rerun(&store, &commits, &when);
        }
        if let Some(step) = steps.get(position) {
            disk.apply(step);
        }
    }
}

impl Step {
    /// Moves the paths from one folder to another.
    fn moved(&self, from: &Path, to: &Path) -> Step {
        let moved = |path: &PathBuf| to.join(path.strip_prefix(from).expect("below the folder"));
        match self {
            Step::CreateDirectory(path) => Step::CreateDirectory(moved(path)),
            Step::CreateFile(path) => Step::CreateFile(moved(path)),
            Step::Write(path, offset, bytes) => Step::Write(moved(path), *offset, bytes.clone()),
            Step::Sync(path) => Step::Sync(moved(path)),
            Step::SyncDirectory(path) => Step::SyncDirectory(moved(path)),
            Step::Rename(old, new) => Step::Rename(moved(old), moved(new)),
            Step::Remove(path) => Step::Remove(moved(path)),
        }
    }
}

/// The first run is killed, so that what it did is there but not durable; the second finds it done. What the
/// second acknowledges must survive all the same.
#[test]
fn a_rerun_after_a_kill_acknowledges_nothing_that_a_power_cut_can_take() {
    let commits = commits();
    let original = folder();
    let recorder = Arc::new(Recorder::default());
    let store = Store::watched(original.path().join("store"), recorder.clone()).expect("opened");
    work(&store, &mut |_| {}).expect("worked");
    let steps = recorder.steps.lock().expect("unpoisoned").clone();
    let mut killed = Disk::default();
    for position in 0..=steps.len() {
        let second = folder();
        let mut everything = killed.clone();
        everything.files.iter_mut().for_each(|file| file.synced = file.current.clone());
        everything.cut(original.path(), second.path(), &mut choices(1, 0));
        let recorder = Arc::new(Recorder::default());
        let store = Store::watched(second.path().join("store"), recorder.clone()).expect("opened");
        let mut acknowledged = Vec::new();
        let count = || recorder.steps.lock().expect("unpoisoned").len();
        work(&store, &mut |build| acknowledged.push((build, count()))).expect("worked");
        let again = recorder.steps.lock().expect("unpoisoned").clone();
        for (build, at) in acknowledged {
            let mut disk = killed.clone();
            again[..at].iter().for_each(|step| disk.apply(&step.moved(second.path(), original.path())));
            let left = folder();
            disk.cut(original.path(), left.path(), &mut choices(0, 0));
            let when = format!(
                "killed before step {position}, power cut after build {build} was acknowledged again"
            );
            expect_acknowledged(&left.path().join("store"), &commits, build, &when);
        }
        if let Some(step) = steps.get(position) {
            killed.apply(step);
        }
    }
}

/// What a build acknowledged is there, whatever an earlier run had moved further.
fn expect_acknowledged(folder: &Path, commits: &[CommitId; 2], build: usize, when: &str) {
    let refs = open(folder).refs().unwrap_or_else(|error| panic!("{when}: {error}"));
    let main = refs.get(&name("main")).map(|value| value.commit);
    assert_eq!(main, Some(commits[build - 1]), "{when}");
    if build == 2 {
        assert_eq!(refs.get(&name("channel/stable")).map(|value| value.commit), main, "{when}");
    }
    refs.values().for_each(|value| read_closure(&open(folder), &value.commit));
}

/// The model is worth nothing if it forgives: without its syncs the same work must lose something.
#[test]
fn the_model_of_the_power_cut_catches_a_missing_sync() {
    let commits = commits();
    let original = folder();
    let recorder = Arc::new(Recorder::default());
    let mut acknowledged_at = 0;
    let store = Store::watched(original.path().join("store"), recorder.clone()).expect("opened");
    work(&store, &mut |_| acknowledged_at = recorder.steps.lock().expect("unpoisoned").len())
        .expect("worked");
    let steps = recorder.steps.lock().expect("unpoisoned")[..acknowledged_at].to_vec();
    let packs = original.path().join("store/packs");
    let syncs = |step: &&Step| match step {
        Step::Sync(path) => {
            path.ends_with("pack") || path.ends_with("idx") || path.to_string_lossy().contains("/refs/")
        }
        Step::SyncDirectory(path) => *path == packs,
        _ => false,
    };
    for forgotten in
        [|step: &Step| matches!(step, Step::Sync(_)), |step: &Step| matches!(step, Step::SyncDirectory(_))]
    {
        let mut disk = Disk::default();
        for step in steps.iter().filter(|step| !(syncs(step) && forgotten(step))) {
            disk.apply(step);
        }
        let lost = (0..20u64).any(|seed| {
            let left = folder();
            disk.cut(original.path(), left.path(), &mut choices(if seed == 0 { 0 } else { 2 }, seed));
            let sound =
                std::panic::catch_unwind(|| expect_sound(&left.path().join("store"), &commits, 2, ""));
            sound.is_err()
        });
        assert!(lost, "a forgotten sync went unseen");
    }
}

#[test]
fn a_dead_writer_s_directory_goes_and_a_living_one_s_stays() {
    let folder = folder();
    let store = open(folder.path());
    let alive = store.begin(&job());
    let content = alive.put(b"staged by someone who lives").expect("put");
    let dead = folder.path().join("tmp/0123456789abcdef");
    std::fs::create_dir(&dead).expect("created");
    std::fs::write(dead.join("pack"), b"left behind").expect("written");
    std::fs::write(dead.join("lock"), b"").expect("written");
    publish(&open(folder.path()), "main", 1);
    assert!(!dead.exists());
    alive.commit(&[], "").expect("committed");
    assert_eq!(store.read_all(&content).expect("read"), b"staged by someone who lives");
}

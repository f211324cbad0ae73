//! What a run did to its directory: the changes in their order, and what it acknowledged after which.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use mkimage::store::{Change, Watcher};

use super::disk::Disk;
use crate::store::workloads::{Log, Place, Seen, Workload};

/// One change, as the store asked for it.
#[derive(Clone, Debug)]
pub enum Step {
    CreateDirectory(PathBuf),
    CreateFile(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    Sync(PathBuf),
    SyncDirectory(PathBuf),
    Link(PathBuf, PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Step {
    fn of(change: &Change<'_>) -> Option<Step> {
        Some(match *change {
            Change::CreateDirectory(path) => Step::CreateDirectory(path.to_owned()),
            Change::CreateFile(path) => Step::CreateFile(path.to_owned()),
            Change::Write { path, offset, bytes } => Step::Write(path.to_owned(), offset, bytes.to_vec()),
            // Bytes that nobody reads: they may stay.
            Change::Discard { .. } => return None,
            // Times are for collectors that look at living leases, and no process lives through a power cut.
            Change::Touch(_) => return None,
            Change::Link { from, to } if to.exists() => {
                debug_assert!(from.exists());
                return None;
            }
            Change::Link { from, to } => Step::Link(from.to_owned(), to.to_owned()),
            Change::Sync(path) => Step::Sync(path.to_owned()),
            Change::SyncDirectory(path) => Step::SyncDirectory(path.to_owned()),
            // Names are digests there: what stands in the way is the same, and nothing moves.
            Change::Rename { from, to } if is_named_by_content(to) && to.exists() => {
                debug_assert!(from.exists());
                return None;
            }
            Change::Rename { from, to } => Step::Rename(from.to_owned(), to.to_owned()),
            Change::Remove(path) | Change::RemoveDirectory(path) => Step::Remove(path.to_owned()),
        })
    }

    /// Says what kind of sync it is: names that differ from run to run stand as what they are.
    pub fn label(&self, base: &Path) -> String {
        let (doing, path) = match self {
            Step::Sync(path) => ("sync", path),
            Step::SyncDirectory(path) => ("sync directory", path),
            Step::CreateDirectory(path) => ("create directory", path),
            Step::CreateFile(path) => ("create", path),
            Step::Write(path, ..) => ("write", path),
            Step::Rename(_, path) => ("rename to", path),
            Step::Link(_, path) => ("link to", path),
            Step::Remove(path) => ("remove", path),
        };
        let inside = path.strip_prefix(base).unwrap_or(path);
        let shown: Vec<String> = inside.iter().map(|part| shown(&part.to_string_lossy())).collect();
        format!("{doing} {}", if shown.is_empty() { ".".to_owned() } else { shown.join("/") })
    }
}

fn is_named_by_content(path: &Path) -> bool {
    path.parent().is_some_and(|parent| parent.ends_with("packs"))
}

/// Replaces what is random or a digest in a name.
fn shown(name: &str) -> String {
    let mut out = String::new();
    for part in name.split_inclusive(['.', '-']) {
        let (word, end) = part.split_at(part.trim_end_matches(['.', '-']).len());
        let digits = word.len() >= 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        out.push_str(match (digits, word.len()) {
            (true, 64) => "ID",
            (true, _) => "UNIQUE",
            (false, _) => word,
        });
        out.push_str(end);
    }
    out
}

/// Notes each change, and refuses those behind the last one that it lets through, as after `kill -9`.
struct Recorder {
    steps: Mutex<Vec<Step>>,
    last: usize,
}

impl Recorder {
    fn new(last: usize) -> Arc<Recorder> {
        Arc::new(Recorder { steps: Mutex::default(), last })
    }

    fn steps(&self) -> Vec<Step> {
        self.steps.lock().expect("unpoisoned").clone()
    }

    fn count(&self) -> usize {
        self.steps.lock().expect("unpoisoned").len()
    }
}

impl Watcher for Recorder {
    fn before(&self, change: &Change<'_>) -> io::Result<()> {
        let mut steps = self.steps.lock().expect("unpoisoned");
        if steps.len() >= self.last {
            return Err(io::Error::other("killed"));
        }
        steps.extend(Step::of(change));
        Ok(())
    }
}

/// A run that nobody disturbed.
pub struct Recording {
    pub folder: tempfile::TempDir,
    /// The disk before the first step.
    pub before: Disk,
    pub steps: Vec<Step>,
    /// After so many steps an operation was acknowledged.
    pub acknowledged_at: Vec<usize>,
    /// What a reader sees before the run, and after each operation.
    pub seen: Vec<Seen>,
    pub log: Log,
}

impl Recording {
    /// Runs a workload and records it. What the record says and what is in the directory must agree:
    /// a change that went past the watcher would be one that no test sees.
    pub fn of(workload: &Workload) -> Recording {
        Self::after_kill(workload, 0)
    }

    /// Runs a workload, kills it after so many steps, and records the run after that. What the first run did
    /// is there when the second begins, but not durable.
    pub fn after_kill(workload: &Workload, position: usize) -> Recording {
        let folder = super::super::folder();
        let base = folder.path();
        (workload.prepare)(&Place::plain(base));
        let mut before = Disk::of(base);
        // Before anybody is killed: to look is to finish what was decided.
        let mut seen = vec![Seen::of(base, workload)];
        if position > 0 {
            let killed = Recorder::new(position);
            let _ = (workload.run)(&Place::watched(base, killed.clone()), &mut || {});
            killed.steps().iter().for_each(|step| before.apply(step));
        }
        let recorder = Recorder::new(usize::MAX);
        let mut acknowledged_at = Vec::new();
        let done = (workload.run)(&Place::watched(base, recorder.clone()), &mut || {
            acknowledged_at.push(recorder.count());
            seen.push(Seen::of(base, workload));
        });
        done.unwrap_or_else(|error| panic!("{}: {error}", workload.name));
        let steps = recorder.steps();
        let mut after = before.clone();
        steps.iter().for_each(|step| after.apply(step));
        let told = after.seen();
        let there = Disk::of(base).seen();
        let differ = |path: &&PathBuf| told.get(*path) != there.get(*path);
        let differing: Vec<&PathBuf> = told.keys().chain(there.keys()).filter(differ).collect();
        assert!(differing.is_empty(), "{}: the record misses changes of {differing:?}", workload.name);
        let log = if position > 0 { Log::Any } else { Log::Whole };
        Recording { folder, before, steps, acknowledged_at, seen, log }
    }

    pub fn label(&self, step: &Step) -> String {
        step.label(self.folder.path())
    }

    /// Returns how many operations were acknowledged before a step.
    pub fn acknowledged(&self, position: usize) -> usize {
        self.acknowledged_at.iter().filter(|at| **at <= position).count()
    }
}

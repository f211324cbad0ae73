//! What was tried on this machine, when, and what became of it.
//!
//! ```text
//! history = lines of JSON, the oldest first: {"at":SECONDS,"what":WORD,"commit":ID,…}
//! ```
//!
//! At most [`ENTRIES_MAX`] lines, replaced whole and durably. A line that can't be read is left out: history is
//! for people, and a machine whose history is torn must still update.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::Result;
use crate::base::{CommitId, fs, publish};

/// Lines that are kept.
const ENTRIES_MAX: usize = 200;
const HISTORY_BYTES_MAX: u64 = 1 << 20;
const DETAIL_BYTES_MAX: usize = 1000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since 1970.
    pub at: u64,
    pub what: What,
    /// The commit that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// Bytes that came over the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulled_bytes: Option<u64>,
    /// Bytes of the slot that were written because they differed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The ref leads to a commit that it did not lead to before.
    Found,
    /// It was fetched, and the other slot is being written.
    Writing,
    /// The other slot holds the commit, and is tried at the next boot.
    Staged,
    /// It was tried and found healthy.
    Confirmed,
    /// It was tried and given up; the machine runs what ran before.
    FellBack,
    /// It could not be fetched or written.
    Failed,
    /// Somebody sent the machine back to the other slot.
    RolledBack,
}

/// The history of a machine.
pub struct History {
    path: PathBuf,
    entries: Vec<Entry>,
}

impl Entry {
    /// Says that something happened now, to be filled in.
    pub fn new(at: u64, what: What, commit: Option<CommitId>) -> Entry {
        Entry {
            at,
            what,
            commit: commit.map(|commit| commit.to_string()),
            version: None,
            slot: None,
            pulled_bytes: None,
            written_bytes: None,
            detail: String::new(),
        }
    }

    fn is_of(&self, commit: &CommitId) -> bool {
        self.commit.as_deref() == Some(commit.to_string().as_str())
    }
}

impl History {
    /// Reads the history of a folder; none is there at first.
    pub fn open(folder: &Path) -> Result<History> {
        let path = folder.join("history");
        let bytes = match fs::read_at_most(&path, HISTORY_BYTES_MAX) {
            Err(error) if error.is_missing() => Vec::new(),
            bytes => bytes?,
        };
        let entries = bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        Ok(History { path, entries: entries.collect() })
    }

    /// Returns what happened, the oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds an entry, durably.
    pub fn add(&mut self, mut entry: Entry) -> Result<()> {
        if entry.detail.len() > DETAIL_BYTES_MAX {
            entry.detail = entry.detail.chars().take(DETAIL_BYTES_MAX / 4).collect();
        }
        self.entries.push(entry);
        let spare = self.entries.len().saturating_sub(ENTRIES_MAX);
        self.entries.drain(..spare);
        let line = |entry: &Entry| {
            let line = serde_json::to_string(entry).expect("because it has string keys only");
            line + "\n"
        };
        let text: String = self.entries.iter().map(line).collect();
        Ok(publish::publish_bytes(&self.path, text.as_bytes())?)
    }

    /// Tells whether the last trial of a commit fell back, or somebody went back from it.
    pub fn fell_back(&self, commit: &CommitId) -> bool {
        let ends = [What::FellBack, What::RolledBack, What::Confirmed, What::Staged];
        let last = self.entries.iter().rev().find(|entry| entry.is_of(commit) && ends.contains(&entry.what));
        last.is_some_and(|entry| matches!(entry.what, What::FellBack | What::RolledBack))
    }

    /// Returns when the ref was first seen to lead to a commit, since it led elsewhere.
    pub fn first_seen(&self, commit: &CommitId) -> Option<u64> {
        let found = self.entries.iter().rev().find(|entry| entry.what == What::Found)?;
        found.is_of(commit).then_some(found.at)
    }

    /// Returns the trial of which nobody knows yet how it ended.
    pub fn open_trial(&self) -> Option<&Entry> {
        let tells = |entry: &&Entry| !matches!(entry.what, What::Found | What::Failed);
        let last = self.entries.iter().rev().find(tells)?;
        let of_it = |entry: &Entry| entry.what == What::Failed && entry.commit == last.commit;
        let failed = self.entries.iter().rev().take_while(|entry| *entry != last).any(of_it);
        (matches!(last.what, What::Writing | What::Staged) && !failed).then_some(last)
    }

    /// Tells whether the last entry says the same: what fails every ten minutes is told once.
    pub fn is_repeated(&self, entry: &Entry) -> bool {
        self.entries.last().is_some_and(|last| {
            last.what == entry.what && last.commit == entry.commit && last.detail == entry.detail
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;

    fn id(n: u8) -> CommitId {
        CommitId(Digest::of(&[n]))
    }

    #[test]
    fn history_comes_back_is_bounded_and_a_torn_line_costs_itself_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut history = History::open(folder.path()).expect("none yet");
        for at in 0..250 {
            history.add(Entry::new(at, What::Found, Some(id(1)))).expect("added");
        }
        let again = History::open(folder.path()).expect("read");
        assert_eq!(again.entries(), history.entries());
        assert_eq!((again.entries().len(), again.entries()[0].at), (200, 50));
        let path = folder.path().join("history");
        let mut bytes = std::fs::read(&path).expect("read");
        bytes[3] = b'!';
        bytes.truncate(bytes.len() - 7);
        std::fs::write(&path, bytes).expect("written");
        assert_eq!(History::open(folder.path()).expect("read").entries().len(), 198);
    }

    #[test]
    fn a_commit_that_fell_back_is_remembered_until_it_is_staged_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut history = History::open(folder.path()).expect("none yet");
        let mut say = |what, n| {
            history.add(Entry::new(7, what, Some(id(n)))).expect("added");
            (history.fell_back(&id(1)), history.open_trial().is_some())
        };
        assert_eq!(say(What::Found, 1), (false, false));
        assert_eq!(say(What::Staged, 1), (false, true));
        assert_eq!(say(What::FellBack, 1), (true, false));
        assert_eq!(say(What::Found, 2), (true, false));
        assert_eq!(say(What::Staged, 2), (true, true));
        assert_eq!(say(What::Confirmed, 2), (true, false));
        assert_eq!(say(What::Staged, 1), (false, true), "somebody said that it may be tried again");
        assert_eq!(say(What::Confirmed, 1), (false, false));
    }

    #[test]
    fn a_commit_is_first_seen_when_the_ref_comes_back_to_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut history = History::open(folder.path()).expect("none yet");
        for (at, n) in [(1, 1), (2, 2), (3, 1)] {
            history.add(Entry::new(at, What::Found, Some(id(n)))).expect("added");
        }
        assert_eq!((history.first_seen(&id(1)), history.first_seen(&id(2))), (Some(3), None));
    }
}

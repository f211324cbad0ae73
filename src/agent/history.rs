//! What was tried on this machine, when, and what became of it.
//!
//! ```text
//! history = lines of JSON, the oldest first: {"at":SECONDS,"what":WORD,"commit":ID,…}
//! ```
//!
//! At most [`ENTRIES_MAX`] lines, replaced whole and durably: of too many, what failed or was begun goes first, and how
//! a commit ended last. A line that can't be read is left out: history is
//! for people, and a machine whose history is torn must still update.

use std::collections::HashSet;
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

/// What says how it stands with a commit.
const ENDS: [What; 4] = [What::FellBack, What::RolledBack, What::Confirmed, What::Staged];

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
        entry.detail = shortened(entry.detail);
        self.entries.push(entry);
        while self.entries.len() > ENTRIES_MAX {
            self.entries.remove(self.least());
        }
        let line = |entry: &Entry| {
            let line = serde_json::to_string(entry).expect("because it has string keys only");
            line + "\n"
        };
        let text: String = self.entries.iter().map(line).collect();
        Ok(publish::publish_bytes(&self.path, text.as_bytes())?)
    }

    /// Returns the place of the entry that is missed least: the oldest one that nothing is decided by, else the oldest
    /// that a later one took the place of, else the oldest. Never that which was added last.
    fn least(&self) -> usize {
        let open = self.open_trial();
        let (mut later, mut ranks) = (HashSet::new(), Vec::new());
        for entry in self.entries.iter().rev() {
            let about = if entry.what == What::Found { None } else { Some(&entry.commit) };
            let decides = ENDS.contains(&entry.what) || entry.what == What::Found;
            let rank = match decides {
                _ if open == Some(entry) => 2,
                false => 0,
                true if later.insert(about) => 2,
                true => 1,
            };
            ranks.push(rank);
        }
        let older = ranks.iter().rev().enumerate().take(ranks.len() - 1);
        older.min_by_key(|(place, rank)| (**rank, *place)).map_or(0, |(place, _)| place)
    }

    /// Tells whether the last trial of a commit fell back, or somebody went back from it.
    pub fn fell_back(&self, commit: &CommitId) -> bool {
        let last = self.entries.iter().rev().find(|entry| entry.is_of(commit) && ENDS.contains(&entry.what));
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

    /// Tells whether one of the last entries, which are all of its kind, says the same but for its numbers: what fails
    /// every ten minutes is told once.
    pub fn is_repeated(&self, entry: &Entry) -> bool {
        let says =
            |detail: &str| shortened(detail.to_owned()).replace(|letter: char| letter.is_ascii_digit(), "");
        let said = says(&entry.detail);
        let mut alike = self.entries.iter().rev().take_while(|last| last.what == entry.what);
        alike.any(|last| last.commit == entry.commit && says(&last.detail) == said)
    }
}

fn shortened(detail: String) -> String {
    if detail.len() <= DETAIL_BYTES_MAX {
        detail
    } else {
        detail.chars().take(DETAIL_BYTES_MAX / 4).collect()
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
    fn noise_pushes_nothing_out_that_is_decided_by() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut history = History::open(folder.path()).expect("none yet");
        for (at, what, n) in
            [(1, What::Found, 1), (2, What::RolledBack, 1), (3, What::Found, 2), (4, What::Writing, 2)]
        {
            history.add(Entry::new(at, what, Some(id(n)))).expect("added");
        }
        for at in 0..250 {
            let mut failed = Entry::new(100 + at, What::Failed, (at % 2 == 0).then(|| id(3)));
            failed.detail = ["away", "full", "torn"][at as usize % 3].to_owned();
            history.add(failed).expect("added");
        }
        let again = History::open(folder.path()).expect("read");
        assert_eq!(again.entries().len(), ENTRIES_MAX);
        assert!(again.fell_back(&id(1)), "the machine does not take it again");
        assert_eq!(again.first_seen(&id(2)), Some(3), "its ring counts from then");
        assert_eq!(again.open_trial().map(|trial| trial.at), Some(4), "and its end is still to be told");
        assert_eq!(again.entries().last().map(|last| last.at), Some(349));
        for n in 0..=255 {
            history.add(Entry::new(400, What::Confirmed, Some(id(n)))).expect("added");
        }
        assert_eq!(history.entries().len(), ENTRIES_MAX, "even what decides is bounded");
        assert!(std::fs::metadata(folder.path().join("history")).expect("there").len() < HISTORY_BYTES_MAX);
    }

    #[test]
    fn what_fails_again_is_told_once_whatever_else_fails_and_whatever_it_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut history = History::open(folder.path()).expect("none yet");
        let failed = |detail: &str, n: u8| {
            let mut entry = Entry::new(7, What::Failed, Some(id(n)));
            entry.detail = detail.to_owned();
            entry
        };
        let long = "x1".repeat(DETAIL_BYTES_MAX);
        for detail in ["no answer after 31 s", "12 bytes are missing", &long] {
            assert!(!history.is_repeated(&failed(detail, 1)), "{detail}");
            history.add(failed(detail, 1)).expect("added");
        }
        for detail in ["no answer after 7 s", "4096 bytes are missing", &long] {
            assert!(history.is_repeated(&failed(detail, 1)), "{detail}");
            assert!(!history.is_repeated(&failed(detail, 2)), "it is of another commit: {detail}");
        }
        history.add(Entry::new(8, What::Found, Some(id(1)))).expect("added");
        assert!(!history.is_repeated(&failed("no answer after 7 s", 1)), "something else happened since");
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

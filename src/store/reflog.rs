//! The reflog: one line for each move of a ref, oldest first. It stays when the ref goes.
//!
//! ```text
//! reflog/NAME@ = line*
//! line         = "2 GENERATION COMMIT PREVIOUS SECONDS MOVE UNDOES MESSAGE CHECK\n"
//!              | "1 GENERATION COMMIT PREVIOUS SECONDS MESSAGE CHECK\n"      written before moves had names
//! ```
//!
//! Fields as in `refs`; COMMIT is `-` where the ref was removed. MOVE is the same for all refs that moved
//! together, see `move_id`. UNDOES is `-`, or the oldest move that this one took back: after it, refs lead
//! where they led before that one.
//!
//! A power cut can tear the last line. Readers pass over lines whose check is wrong; the next move begins
//! a line of its own. Stores of before had `reflog/NAME`: it is read, and renamed at the next move.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::Result;
use super::format::REFLOG_SUFFIX;
use super::move_id::MoveId;
use super::refs::{RefName, RefState, RefValue, checked, optional, with_check};
use super::store::Store;
use crate::base::FileError;

const REFLOG_BYTES_MAX: u64 = 1 << 30;
const TAIL_BYTES: u64 = 16 << 10;

/// One move of a ref.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LogEntry {
    /// Of a removal: `commit` is where the ref led before.
    #[serde(flatten)]
    pub value: RefValue,
    /// The ref went.
    pub removed: bool,
    /// What the writer said of it, on one line.
    pub message: String,
    /// The same for all refs that moved together.
    pub transaction: MoveId,
    /// The oldest move that this one took back.
    pub undoes: Option<MoveId>,
}

impl LogEntry {
    /// Makes an entry for a move whose own was lost, or has no name; `after` is the ref's move before.
    pub(super) fn unnamed(value: RefValue, message: &str, after: Option<MoveId>) -> Self {
        let transaction = MoveId::of(&value, after);
        LogEntry { value, removed: false, message: message.to_owned(), transaction, undoes: None }
    }

    pub(super) fn state(&self) -> RefState {
        RefState { value: self.value, removed: self.removed }
    }

    fn encode(&self) -> String {
        let (fields, undoes) = (self.state().fields(), optional(self.undoes.as_ref()));
        with_check(format!("2 {fields} {} {undoes} {} ", self.transaction, self.message))
    }

    /// Reads a line; `after` is the ref's move before.
    pub(super) fn decode(line: &str, after: Option<MoveId>) -> Option<Self> {
        let body = checked(line).ok()?.strip_suffix(' ')?;
        let (version, rest) = body.split_once(' ')?;
        let mut fields = rest.splitn(if version == "1" { 5 } else { 7 }, ' ');
        let mut field = || fields.next();
        let RefState { value, removed } = RefState::of_fields([field()?, field()?, field()?, field()?])?;
        match version {
            "1" if !removed => Some(LogEntry::unnamed(value, field()?, after)),
            "2" => {
                let transaction = field()?.parse().ok()?;
                let undoes = match field()? {
                    "-" => None,
                    undoes => Some(undoes.parse().ok()?),
                };
                Some(LogEntry { value, removed, message: field()?.to_owned(), transaction, undoes })
            }
            _ => None,
        }
    }
}

impl Store {
    /// Lists the moves of a ref, newest first; empty where there never was such a ref. A move whose line a
    /// power cut took is listed without its message where the ref itself tells of it.
    pub fn log(&self, name: &RefName) -> Result<Vec<LogEntry>> {
        let decided = self.decided()?.remove(name);
        let mut entries = self.read_reflog(name)?;
        entries.reverse();
        let last = entries.first().map(|newest| newest.transaction);
        let mut add = |entry: LogEntry| {
            if entries.first().is_none_or(|newest| newest.value.generation < entry.value.generation) {
                entries.insert(0, entry);
            }
        };
        if let Some(value) = self.read_ref_file(name)? {
            add(LogEntry::unnamed(value, "", last));
        }
        decided.into_iter().for_each(add);
        Ok(entries)
    }

    /// Lists all names that have a log, also those of refs that were removed.
    pub fn logged_refs(&self) -> Result<Vec<RefName>> {
        let mut names = Vec::new();
        let mut waiting = vec![String::new()];
        while let Some(prefix) = waiting.pop() {
            let listed = match crate::base::fs::list(&self.layout.reflogs().join(&prefix)) {
                Err(error) if error.is_missing() => continue,
                listed => listed?,
            };
            for name in listed.iter().filter_map(|name| name.to_str()) {
                let whole = format!("{prefix}{name}");
                let is_log = name.ends_with(REFLOG_SUFFIX);
                let Ok(name) = RefName::new(whole.trim_end_matches(REFLOG_SUFFIX)) else { continue };
                if !is_log && self.layout.old_reflog(&name).is_dir() {
                    waiting.push(format!("{whole}/"));
                } else {
                    names.push(name);
                }
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Reads a log as it is; empty where there is none.
    pub(super) fn reflog_bytes(&self, name: &RefName) -> Result<Vec<u8>> {
        let Some(path) = self.find_reflog(name) else { return Ok(Vec::new()) };
        match crate::base::fs::read_at_most(&path, REFLOG_BYTES_MAX) {
            Err(error) if error.is_missing() => Ok(Vec::new()),
            bytes => Ok(bytes?),
        }
    }

    fn read_reflog(&self, name: &RefName) -> Result<Vec<LogEntry>> {
        let bytes = self.reflog_bytes(name)?;
        let lines = bytes.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        let mut entries: Vec<LogEntry> = Vec::new();
        for line in lines {
            let after = entries.last().map(|before| before.transaction);
            entries.extend(LogEntry::decode(line, after));
        }
        Ok(entries)
    }

    /// Returns where the log of a ref lies now. Looked for twice: it may be renamed just then.
    pub(super) fn find_reflog(&self, name: &RefName) -> Option<PathBuf> {
        let now = self.layout.reflog(name);
        self.look_afresh(&now);
        let old = self.layout.old_reflog(name);
        [&now, &old, &now].into_iter().find(|path| path.is_file()).cloned()
    }

    /// Returns the newest whole line; `None` where none is among the last bytes. Costs the same however long
    /// the log is.
    pub(super) fn last_logged(&self, name: &RefName) -> Result<Option<LogEntry>> {
        let Some(path) = self.find_reflog(name) else { return Ok(None) };
        let file = match crate::base::fs::open(&path) {
            Err(error) if error.is_missing() => return Ok(None),
            file => file?,
        };
        let end = file.metadata().map_err(FileError::at("read the length of", &path))?.len();
        let length = end.min(TAIL_BYTES);
        let mut tail = vec![0; length as usize];
        file.read_exact_at(&mut tail, end - length).map_err(FileError::at("read", &path))?;
        let mut lines = tail.rsplit(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        Ok(lines.find_map(|line| LogEntry::decode(line, None)))
    }

    /// Returns how far the log counts; 0 where there is none.
    pub(super) fn last_generation(&self, name: &RefName) -> Result<u64> {
        Ok(self.last_logged(name)?.map_or(0, |entry| entry.value.generation))
    }

    /// Adds a line, durably. The caller holds the lock of the refs; the message is on one line.
    pub(super) fn append_reflog(&self, name: &RefName, entry: &LogEntry) -> Result<()> {
        let path = self.layout.reflog(name);
        self.look_afresh(&path);
        self.create_parents(&self.layout.reflogs(), &path)?;
        let old = self.layout.old_reflog(name);
        if !path.exists() && old.is_file() {
            self.media.rename(&old, &path)?;
            self.sync_way_to_log(&path)?;
        }
        let file = self.media.open_or_create(&path)?;
        let end = file.metadata().map_err(FileError::at("read the length of", &path))?.len();
        let mut line = entry.encode();
        if end == 0 {
            // Before the first line, so that a log with lines has its name durably, whoever died in between.
            self.sync_way_to_log(&path)?;
        } else {
            let mut last = [0];
            file.read_exact_at(&mut last, end - 1).map_err(FileError::at("read", &path))?;
            if last != *b"\n" {
                line.insert(0, '\n');
            }
        }
        self.media.write_at(&file, &path, end, line.as_bytes())?;
        Ok(self.media.sync(&file, &path)?)
    }

    /// Makes lines durable that a writer who died may have written only.
    pub(super) fn sync_reflog(&self, name: &RefName) -> Result<()> {
        let path = self.layout.reflog(name);
        if path.is_file() {
            let file = self.media.open_or_create(&path)?;
            self.media.sync(&file, &path)?;
        }
        Ok(())
    }

    fn sync_way_to_log(&self, path: &Path) -> Result<()> {
        let mut way = path.ancestors().skip(1).take_while(|above| above.starts_with(self.layout.reflogs()));
        Ok(way.try_for_each(|above| self.media.sync_directory(above))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{CommitId, Digest};

    fn entry(message: &str) -> LogEntry {
        let commit = CommitId(Digest::of(b"c"));
        LogEntry::unnamed(RefValue { generation: 1, commit, previous: None, seconds: 5 }, message, None)
    }

    #[test]
    fn a_line_comes_back_and_a_torn_one_does_not() {
        let gone = RefValue { previous: Some(entry("").value.commit), ..entry("").value };
        for message in ["built by hand: 2 parts", "", " "] {
            let undoes = Some(MoveId::of(&gone, None));
            let removal = LogEntry { value: gone, removed: true, undoes, ..entry(message) };
            for entry in [entry(message), removal] {
                let line = entry.encode();
                let line = line.trim_end_matches('\n');
                assert_eq!(LogEntry::decode(line, None), Some(entry));
                assert_eq!(LogEntry::decode(&line[..line.len() - 1], None), None);
            }
        }
    }

    #[test]
    fn lines_of_before_moves_had_names_are_read() {
        let entry = entry("made in another age");
        let line = with_check(format!("1 {} {} ", entry.state().fields(), entry.message));
        assert_eq!(LogEntry::decode(line.trim_end(), None), Some(entry));
        for wrong in ["0", "3", ""] {
            let line = with_check(format!("{wrong} {} x - y ", entry_fields()));
            assert_eq!(LogEntry::decode(line.trim_end(), None), None);
        }
    }

    fn entry_fields() -> String {
        entry("").state().fields()
    }
}

//! The reflog: one line for each move of a ref, oldest first.
//!
//! ```text
//! reflog/NAME = ("1 GENERATION COMMIT PREVIOUS SECONDS MESSAGE CHECK\n")*     fields as in `refs`
//! ```
//!
//! A power cut can tear the last line. Readers pass over lines whose check is wrong; the next move begins
//! a line of its own.

use std::os::unix::fs::FileExt;

use super::error::Result;
use super::refs::{RefName, RefValue, checked, with_check};
use super::store::Store;
use crate::base::FileError;

const REFLOG_BYTES_MAX: u64 = 1 << 30;
const TAIL_BYTES: u64 = 16 << 10;

/// One move of a ref.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LogEntry {
    #[serde(flatten)]
    pub value: RefValue,
    /// What the writer said of it, on one line.
    pub message: String,
}

impl LogEntry {
    fn encode(&self) -> String {
        let value = &self.value;
        let previous = value.previous.map_or("-".to_owned(), |previous| previous.to_string());
        let message = &self.message;
        with_check(format!("1 {} {} {previous} {} {message} ", value.generation, value.commit, value.seconds))
    }

    fn decode(line: &str) -> Option<Self> {
        let body = checked(line).ok()?.strip_suffix(' ')?;
        let mut fields = body.splitn(6, ' ');
        let mut field = || fields.next();
        field().filter(|version| *version == "1")?;
        let generation = field()?.parse().ok()?;
        let commit = field()?.parse().ok()?;
        let previous = match field()? {
            "-" => None,
            previous => Some(previous.parse().ok()?),
        };
        let value = RefValue { generation, commit, previous, seconds: field()?.parse().ok()? };
        Some(LogEntry { value, message: field()?.to_owned() })
    }
}

impl Store {
    /// Lists the moves of a ref, newest first; empty where there is no such ref. A move whose line a power
    /// cut took is listed without its message where the ref itself tells of it.
    pub fn log(&self, name: &RefName) -> Result<Vec<LogEntry>> {
        let mut entries = self.read_reflog(name)?;
        entries.reverse();
        if let Some(value) = self.read_ref(name)?
            && entries.first().is_none_or(|newest| newest.value.generation < value.generation)
        {
            entries.insert(0, LogEntry { value, message: String::new() });
        }
        Ok(entries)
    }

    fn read_reflog(&self, name: &RefName) -> Result<Vec<LogEntry>> {
        let bytes = match crate::base::fs::read_at_most(&self.layout.reflog(name), REFLOG_BYTES_MAX) {
            Err(error) if error.is_missing() => return Ok(Vec::new()),
            Err(error) if error.source.kind() == std::io::ErrorKind::NotADirectory => return Ok(Vec::new()),
            bytes => bytes?,
        };
        let lines = bytes.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        Ok(lines.filter_map(LogEntry::decode).collect())
    }

    /// Returns the generation of the newest whole line; 0 where none is among the last bytes. Costs the same
    /// however long the log is.
    pub(super) fn last_logged(&self, name: &RefName) -> Result<u64> {
        let path = self.layout.reflog(name);
        let file = match crate::base::fs::open(&path) {
            Err(error) if error.is_missing() => return Ok(0),
            file => file?,
        };
        let end = file.metadata().map_err(FileError::at("read the length of", &path))?.len();
        let length = end.min(TAIL_BYTES);
        let mut tail = vec![0; length as usize];
        file.read_exact_at(&mut tail, end - length).map_err(FileError::at("read", &path))?;
        let mut lines = tail.rsplit(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        Ok(lines.find_map(LogEntry::decode).map_or(0, |entry| entry.value.generation))
    }

    /// Adds a line, durably. The caller holds the lock of the refs; the message is on one line.
    pub(super) fn append_reflog(&self, name: &RefName, value: &RefValue, message: &str) -> Result<()> {
        let path = self.layout.reflog(name);
        self.create_parents(&self.layout.reflogs(), &path)?;
        let file = self.media.open_or_create(&path)?;
        let end = file.metadata().map_err(FileError::at("read the length of", &path))?.len();
        if end == 0 {
            // Before the first line, so that a log with lines has its name durably, whoever died in between.
            let way = path.ancestors().skip(1).take_while(|above| above.starts_with(self.layout.reflogs()));
            way.map(|above| self.media.sync_directory(above)).collect::<std::result::Result<(), _>>()?;
        }
        let mut line = LogEntry { value: *value, message: message.to_owned() }.encode();
        if end > 0 {
            let mut last = [0];
            file.read_exact_at(&mut last, end - 1).map_err(FileError::at("read", &path))?;
            if last != *b"\n" {
                line.insert(0, '\n');
            }
        }
        self.media.write_at(&file, &path, end, line.as_bytes())?;
        Ok(self.media.sync(&file, &path)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{CommitId, Digest};

    #[test]
    fn a_line_comes_back_and_a_torn_one_does_not() {
        let value =
            RefValue { generation: 1, commit: CommitId(Digest::of(b"c")), previous: None, seconds: 5 };
        for message in ["built by hand: 2 parts", "", " "] {
            let entry = LogEntry { value, message: message.to_owned() };
            let line = entry.encode();
            let line = line.trim_end_matches('\n');
            assert_eq!(LogEntry::decode(line), Some(entry));
            assert_eq!(LogEntry::decode(&line[..line.len() - 1]), None);
        }
    }
}

//! Results of steps, by step key: a cache that may vanish or rot at any time.
//!
//! ```text
//! memo/XX/KEY = "MKIMEMO" 01, record, check[32]: BLAKE3 in derive-key mode over key and record,
//!               context `mkimage 2026 memo v1`
//! ```
//!
//! Records are not synced: a power cut may leave an empty or torn one, which counts as none.
//!
//! A record that names an object begins with its id, 32 bytes. Garbage collection keeps what it names, with all
//! that leads to, while the record's file was used of late: reading one sets its time anew once a day. What else
//! a record may begin with is no id of an object, other than by a collision of BLAKE3.

use std::path::Path;
use std::time::UNIX_EPOCH;

use super::error::Result;
use super::store::Store;
use crate::base::{Digest, StepKey, clock};

const MAGIC: &[u8; 8] = b"MKIMEMO\x01";
const CONTEXT: &str = "mkimage 2026 memo v1";
/// A record's time is set anew when it is used and was not for a day.
const USED_SECONDS: u64 = 86_400;
/// Longest record, in bytes: a result names objects, it doesn't hold them.
pub const MEMO_BYTES_MAX: usize = 4 << 20;
/// Longest file of a record, in bytes.
const LIMIT: u64 = (MEMO_BYTES_MAX + MAGIC.len() + 32) as u64;

impl Store {
    /// Returns the record of a step. `None` where there is none or where it is torn. What it names may be
    /// gone: ask [`super::Objects::has`] before relying on it.
    pub fn memo_get(&self, key: &StepKey) -> Option<Vec<u8>> {
        let record = self.memo_peek(key)?;
        self.memo_used(&self.layout.memo(key));
        Some(record)
    }

    /// Returns the record of a step without counting that as use: for who only asks what a build would do.
    pub fn memo_look(&self, key: &StepKey) -> Option<Vec<u8>> {
        self.memo_peek(key)
    }

    /// Returns the record of a step without counting that as use.
    pub(super) fn memo_peek(&self, key: &StepKey) -> Option<Vec<u8>> {
        let bytes = crate::base::fs::read_at_most(&self.layout.memo(key), LIMIT).ok()?;
        record_in(key, &bytes)
    }

    /// Returns the record of a step that this user made himself: for what is believed and can't be checked. `None` where
    /// another user made it or could have changed it, and where other machines write, whose word on who owns a file is
    /// nobody's.
    pub(super) fn memo_own(&self, key: &StepKey) -> Option<Vec<u8>> {
        if self.is_shared() {
            return None;
        }
        let path = self.layout.memo(key);
        let record = record_in(key, &crate::base::fs::read_own_at_most(&path, LIMIT).ok()??)?;
        self.memo_used(&path);
        Some(record)
    }

    /// Says that a record was used, at most once a day, so that garbage collection lets it be. A store that may
    /// not be written is no worse for it.
    fn memo_used(&self, path: &Path) {
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
        let seconds = modified.ok().and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
        if seconds.is_some_and(|since| since.as_secs() + USED_SECONDS < clock::unix_seconds()) {
            let _ = self.media.touch(path);
        }
    }

    /// Remembers the record of a step. One that is there already stays if it is the same.
    pub fn memo_put(&self, key: &StepKey, record: &[u8]) -> Result<()> {
        if self.memo_get(key).is_some_and(|there| there == record) || record.len() > MEMO_BYTES_MAX {
            return Ok(());
        }
        self.prepare()?;
        let path = self.layout.memo(key);
        let parent = path.parent().expect("because the path lies in the store");
        self.media.create_directory(parent)?;
        // One name a key, so that no killed run leaves more than one file. Of two writers one gives way, or
        // they mix, which the check finds: it is a cache.
        let temporary = parent.join(format!(".{key}"));
        self.media.remove_file(&temporary)?;
        let bytes = [MAGIC, record, check(key, record).as_bytes()].concat();
        let file = match self.media.create_file(&temporary, 0o444) {
            Err(error) if error.source.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
            file => file?,
        };
        let done = self
            .media
            .write_at(&file, &temporary, 0, &bytes)
            .and_then(|()| self.media.rename(&temporary, &path));
        if done.is_err() {
            let _ = self.media.remove_file(&temporary);
        }
        match done {
            Err(error) if error.is_missing() => Ok(()),
            done => Ok(done?),
        }
    }
}

/// Returns the record in the bytes of its file; `None` where it is torn.
fn record_in(key: &StepKey, bytes: &[u8]) -> Option<Vec<u8>> {
    let (record, sum) = bytes.strip_prefix(MAGIC)?.split_last_chunk::<32>()?;
    (check(key, record).0 == *sum).then(|| record.to_vec())
}

fn check(key: &StepKey, record: &[u8]) -> Digest {
    Digest::derive(CONTEXT, &[&key.as_bytes()[..], record].concat())
}

//! Results of steps, by step key: a cache that may vanish or rot at any time.
//!
//! ```text
//! memo/XX/KEY = "MKIMEMO" 01, record, check[32]: BLAKE3 in derive-key mode over key and record,
//!               context `mkimage 2026 memo v1`
//! ```
//!
//! Records are not synced: a power cut may leave an empty or torn one, which counts as none.

use super::error::Result;
use super::store::Store;
use crate::base::{Digest, StepKey};

const MAGIC: &[u8; 8] = b"MKIMEMO\x01";
const CONTEXT: &str = "mkimage 2026 memo v1";
/// Longest record, in bytes: a result names objects, it doesn't hold them.
pub const MEMO_BYTES_MAX: usize = 4 << 20;

impl Store {
    /// Returns the record of a step. `None` where there is none or where it is torn. What it names may be
    /// gone: ask [`super::Objects::has`] before relying on it.
    pub fn memo_get(&self, key: &StepKey) -> Option<Vec<u8>> {
        let limit = (MEMO_BYTES_MAX + MAGIC.len() + 32) as u64;
        let bytes = crate::base::fs::read_at_most(&self.layout.memo(key), limit).ok()?;
        let (record, sum) = bytes.strip_prefix(MAGIC)?.split_last_chunk::<32>()?;
        (check(key, record).0 == *sum).then(|| record.to_vec())
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

fn check(key: &StepKey, record: &[u8]) -> Digest {
    Digest::derive(CONTEXT, &[&key.as_bytes()[..], record].concat())
}

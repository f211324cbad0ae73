//! What came of a transfer that was cut: bytes that the next try need not fetch again.
//!
//! ```text
//! remotes/.partial/ID = "MKPART" 00 01   (start u64, length u32, bytes)*
//! ```
//!
//! ID names the file that is fetched, START a place in it; integers are little-endian. It is never synced and has
//! no checks of its own: nothing here is believed, it is held against the same digests as what comes over the
//! wire, and what a power cut tore is fetched again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::Result;
use super::lock::Lock;
use super::media::Media;
use super::store::Store;
use crate::base::{Digest, FileError, Job, clock};

const MAGIC: &[u8; 8] = b"MKPART\x00\x01";
const HEAD_BYTES: usize = 8 + 4;
/// Longest run of bytes in one record.
const RECORD_BYTES_MAX: u32 = 64 << 20;
/// What nobody took up again for so long goes.
const KEEP_SECONDS: u64 = 7 * 24 * 3600;

/// The kept bytes of one transfer. Held by one process at a time; used by any number of threads.
pub struct Partial {
    media: Media,
    path: PathBuf,
    file: File,
    held: Vec<Held>,
    end: AtomicU64,
    _lock: Lock,
}

/// Bytes that were kept: where they lie in the file that is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub start: u64,
    pub length: u32,
    at: u64,
}

impl Store {
    /// Opens what was kept of the file `id`, made where there is nothing yet. `None` where another process is
    /// fetching the same file: it keeps, and this one does without.
    pub fn partial(&self, id: &Digest, job: &Job) -> Result<Option<Partial>> {
        self.prepare()?;
        self.create_remotes()?;
        let folder = self.layout.remotes().join(".partial");
        self.media.create_directory(&folder)?;
        // Whoever makes and removes files here holds this lock, so that none is taken from under its owner.
        let _alone = Lock::wait(&self.media, &folder.join(".lock"), false, job)?;
        let path = folder.join(id.to_string());
        self.clear_partials(&folder, &path)?;
        let Some(lock) = Lock::attempt(&self.media, &path, false)? else { return Ok(None) };
        let file = self.media.open_or_create(&path)?;
        let (held, end) = survey(&file).map_err(FileError::at("read", &path))?;
        let mut partial =
            Partial { media: self.media.clone(), path, file, held, end: AtomicU64::new(end), _lock: lock };
        if end == 0 {
            partial.begin()?;
        }
        Ok(Some(partial))
    }

    /// Removes what nobody took up again. What can't be removed stays.
    fn clear_partials(&self, folder: &std::path::Path, but: &std::path::Path) -> Result<()> {
        let now = clock::unix_seconds();
        for name in crate::base::fs::list(folder)? {
            let path = folder.join(&name);
            let is_old = || {
                use std::os::unix::fs::MetadataExt;
                let age = path.metadata().ok().map(|found| now.saturating_sub(found.mtime().max(0) as u64));
                age.is_some_and(|age| age > KEEP_SECONDS)
            };
            if name == ".lock" || path == but || !is_old() {
                continue;
            }
            if let Ok(Some(_lock)) = Lock::attempt(&self.media, &path, false) {
                let _ = self.media.remove_file(&path);
            }
        }
        Ok(())
    }
}

impl Partial {
    fn begin(&mut self) -> std::result::Result<(), FileError> {
        self.media.write_at(&self.file, &self.path, 0, MAGIC)?;
        self.end = AtomicU64::new(MAGIC.len() as u64);
        Ok(())
    }

    /// Returns what was there when this was opened, in the order in which it came.
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// Reads kept bytes.
    pub fn read(&self, held: &Held) -> Result<Vec<u8>> {
        let mut bytes = vec![0; held.length as usize];
        self.file.read_exact_at(&mut bytes, held.at).map_err(FileError::at("read", &self.path))?;
        Ok(bytes)
    }

    /// Keeps bytes. They are in the system's hands when this returns, and on the disk when it likes.
    pub fn keep(&self, start: u64, bytes: &[u8]) -> Result<()> {
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= RECORD_BYTES_MAX);
        let Some(length) = length.filter(|length| *length > 0) else { return Ok(()) };
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&start.to_le_bytes());
        head[8..].copy_from_slice(&length.to_le_bytes());
        let at = self.end.fetch_add(HEAD_BYTES as u64 + u64::from(length), Ordering::Relaxed);
        // The head last: without it, there is no record.
        self.media.write_at(&self.file, &self.path, at + HEAD_BYTES as u64, bytes)?;
        Ok(self.media.write_at(&self.file, &self.path, at, &head)?)
    }

    /// Removes all of it: the transfer came to its end, or what was kept is of no use.
    pub fn remove(self) -> Result<()> {
        Ok(self.media.remove_file(&self.path)?)
    }
}

/// Finds the whole records of a file, and where the next one goes; 0 where not even the beginning is right.
fn survey(file: &File) -> std::io::Result<(Vec<Held>, u64)> {
    let length = file.metadata()?.len();
    let mut magic = [0; MAGIC.len()];
    if length < magic.len() as u64 || file.read_exact_at(&mut magic, 0).is_err() || magic != *MAGIC {
        return Ok((Vec::new(), 0));
    }
    let (mut held, mut end) = (Vec::new(), magic.len() as u64);
    while let Some(record) = survey_record(file, end, length)? {
        end = record.at + u64::from(record.length);
        held.push(record);
    }
    Ok((held, end))
}

fn survey_record(file: &File, at: u64, end: u64) -> std::io::Result<Option<Held>> {
    let mut head = [0; HEAD_BYTES];
    if end - at < HEAD_BYTES as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut head, at)?;
    let start = u64::from_le_bytes(head[..8].try_into().expect("because 8 bytes were taken"));
    let length = u32::from_le_bytes(head[8..].try_into().expect("because 4 bytes were taken"));
    let bytes_at = at + HEAD_BYTES as u64;
    let fits = length > 0 && length <= RECORD_BYTES_MAX && u64::from(length) <= end - bytes_at;
    Ok(fits.then_some(Held { start, length, at: bytes_at }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_there_again_and_what_was_torn_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path().join("store")).expect("a store");
        let (job, id) = (Job::quiet(1), Digest::of(b"bundle"));
        let partial = store.partial(&id, &job).expect("opened").expect("free");
        partial.keep(100, b"first").expect("kept");
        partial.keep(700, &[7; 5000]).expect("kept");
        assert!(store.partial(&id, &job).expect("opened").is_none(), "one process at a time");
        let path = partial.path.clone();
        drop(partial);
        for cut in [5020, 5000, 24, 3] {
            let file = std::fs::OpenOptions::new().write(true).open(&path).expect("opened");
            file.set_len(cut.min(file.metadata().expect("there").len())).expect("cut");
            let partial = store.partial(&id, &job).expect("opened").expect("free");
            let held: Vec<_> = partial.held().iter().map(|held| (held.start, held.length)).collect();
            match cut {
                25.. => {
                    assert_eq!(held, [(100, 5)]);
                    assert_eq!(partial.read(&partial.held()[0]).expect("read"), b"first");
                }
                _ => assert_eq!(held, []),
            }
        }
        let partial = store.partial(&id, &job).expect("opened").expect("free");
        partial.keep(9, b"again").expect("kept");
        drop(partial);
        let partial = store.partial(&id, &job).expect("opened").expect("free");
        assert_eq!(partial.held().iter().map(|held| held.start).collect::<Vec<_>>(), [9]);
        partial.remove().expect("removed");
        assert!(!path.exists());
    }
}

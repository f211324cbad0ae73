//! Whether a server keeps two writers apart: tried out, first one after the other, then in a race.
//!
//! Servers were found that ignore the conditions, and others that honour them for one writer and lose writes of
//! two, because they look first and write later. Both would lose publications without a word.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use object_store::ObjectStoreExt as _;

use super::super::error::{RemoteError, Result};
use super::super::transport::{Transport as _, Versioned};
use super::{BucketSite, Put, condition, run};
use crate::base::parallel::Workers;
use crate::base::publish::unique;

/// Writers in the race.
const WRITERS: usize = 8;
/// Files that all of them try to create.
const FILES: usize = 4;
/// Replacements that each of them makes of one file.
const MOVES: u64 = 6;
/// Tries for one replacement: each round one of the writers gets on.
const MOVE_TRIES: u32 = 400;
const PROBE_BYTES_MAX: u64 = 4096;

/// Fails unless conditional writes hold, with the reason. Leaves nothing behind where it may remove files.
pub(super) fn prove(bucket: &BucketSite) -> Result<()> {
    let probe = Probe { bucket, folder: format!("probe/{}", unique()) };
    let proven = probe.one_by_one().and_then(|()| probe.creates()).and_then(|()| probe.replaces());
    probe.clear();
    proven
}

struct Probe<'a> {
    bucket: &'a BucketSite,
    folder: String,
}

impl Probe<'_> {
    fn one_by_one(&self) -> Result<()> {
        const NAMELESS: &str = "it gives its versions no names (ETag)";
        let path = self.file("first");
        match self.put(&path, None, b"one") {
            Ok(Put::Done(_)) => {}
            Ok(_) => return Err(self.refused("it refuses to create a file that is not there")),
            Err(error) if misses_etag(&error) => return Err(self.refused(NAMELESS)),
            Err(error) => return Err(error),
        }
        let Some(Versioned { bytes, version: Some(first) }) = self.bucket.read(&path, PROBE_BYTES_MAX)?
        else {
            return Err(self.refused(NAMELESS));
        };
        if bytes != b"one" {
            return Err(self.refused("it gives back other bytes than it took"));
        }
        if matches!(self.put(&path, None, b"two")?, Put::Done(_)) {
            return Err(self.refused("it creates a file over one that is there (it ignores If-None-Match)"));
        }
        if !matches!(self.put(&path, Some(&first), b"three")?, Put::Done(_)) {
            return Err(self.refused("it refuses to replace the version that it has itself named (If-Match)"));
        }
        if matches!(self.put(&path, Some(&first), b"four")?, Put::Done(_)) {
            return Err(self.refused("it replaces a version that is no longer there (it ignores If-Match)"));
        }
        match self.bucket.read(&path, PROBE_BYTES_MAX)? {
            Some(found) if found.bytes == b"three" => Ok(()),
            _ => Err(self.refused("it does not show the last write (it is not consistent)")),
        }
    }

    /// All writers create the same files at once: of each, one must win, and its bytes must be there.
    fn creates(&self) -> Result<()> {
        for file in 0..FILES {
            let path = self.file(&format!("create-{file}"));
            let ready = AtomicUsize::new(0);
            let won = self.race(|writer| {
                meet(&ready);
                let put = self.put(&path, None, writer.to_string().as_bytes())?;
                Ok(matches!(put, Put::Done(_)).then_some(writer))
            })?;
            let winners: Vec<usize> = won.into_iter().flatten().collect();
            let found = self.bucket.read(&path, PROBE_BYTES_MAX)?.map(|found| found.bytes);
            match winners[..] {
                [winner] if found.as_deref() == Some(winner.to_string().as_bytes()) => {}
                [_] => {
                    return Err(
                        self.refused("the bytes of a writer that it refused took the place of the winner's")
                    );
                }
                [] => {
                    return Err(
                        self.refused("of several writers that create one file at once, none succeeds")
                    );
                }
                _ => {
                    let problem = format!(
                        "{} of {WRITERS} writers that created one file at once were told that they did \
                         (it looks first and writes later)",
                        winners.len()
                    );
                    return Err(self.refused(problem));
                }
            }
        }
        Ok(())
    }

    /// All writers count up one number: as many moves as were acknowledged must be there.
    fn replaces(&self) -> Result<()> {
        let path = self.file("count");
        if !matches!(self.put(&path, None, b"0")?, Put::Done(_)) {
            return Err(self.refused("it refuses to create a file that is not there"));
        }
        let (ready, acknowledged) = (AtomicUsize::new(0), AtomicU64::new(0));
        self.race(|_| {
            meet(&ready);
            (0..MOVES).try_for_each(|_| self.count_up(&path, &acknowledged))
        })?;
        let (found, told) = (self.count(&path)?.0, acknowledged.into_inner());
        // More than was told is no harm: an answer was lost, and the write was tried again.
        if found < told {
            let problem = format!(
                "{} of {told} replacements of one file were acknowledged and lost (it looks first and writes later)",
                told - found
            );
            return Err(self.refused(problem));
        }
        Ok(())
    }

    fn count_up(&self, path: &str, acknowledged: &AtomicU64) -> Result<()> {
        for _ in 0..MOVE_TRIES {
            let (count, version) = self.count(path)?;
            if let Put::Done(_) = self.put(path, Some(&version), (count + 1).to_string().as_bytes())? {
                acknowledged.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
        }
        Err(self.refused("a writer among others never gets its turn"))
    }

    fn count(&self, path: &str) -> Result<(u64, String)> {
        let torn = || self.refused("a reader sees a file while it is written");
        let Some(Versioned { bytes, version: Some(version) }) = self.bucket.read(path, PROBE_BYTES_MAX)?
        else {
            return Err(torn());
        };
        let count = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
        Ok((count.ok_or_else(torn)?, version))
    }

    fn race<T: Send>(&self, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
        let results = std::sync::Mutex::new(Vec::new());
        Workers::new(WRITERS).for_each(0..WRITERS, |writer| {
            let result = work(writer)?;
            results.lock().expect("because pushing does not panic").push(result);
            Ok::<(), RemoteError>(())
        })?;
        Ok(results.into_inner().expect("because pushing does not panic"))
    }

    fn put(&self, path: &str, expected: Option<&str>, bytes: &[u8]) -> Result<Put> {
        self.bucket.put(path, condition(expected), bytes.to_vec())
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    fn refused(&self, problem: impl Into<String>) -> RemoteError {
        RemoteError::Unconditional { remote: self.bucket.address.clone(), problem: problem.into() }
    }

    /// Removes what the probe wrote. Publishers need not be allowed to remove files: then a few bytes stay.
    fn clear(&self) {
        let creates = (0..FILES).map(|file| format!("create-{file}"));
        for name in creates.chain(["first".to_owned(), "count".to_owned()]) {
            let _ = run(self.bucket.store.delete(&self.bucket.path(&self.file(&name))));
        }
    }
}

/// Tells whether the library misses the name of a version in an answer.
fn misses_etag(error: &RemoteError) -> bool {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        if error.to_string().to_ascii_lowercase().contains("etag") {
            return true;
        }
        next = error.source();
    }
    false
}

/// Waits a moment for the other writers, so that all begin at once; goes on without one that is late.
fn meet(ready: &AtomicUsize) {
    ready.fetch_add(1, Ordering::SeqCst);
    let watch = crate::base::Stopwatch::start();
    while ready.load(Ordering::SeqCst) < WRITERS && watch.elapsed().as_millis() < 200 {
        std::thread::yield_now();
    }
}

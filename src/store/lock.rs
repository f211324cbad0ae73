//! Kernel locks: they die with their process, so that nobody ever has to remove a stale one.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::Result;
use super::media::Media;
use crate::base::{FileError, Job};

/// Holds an exclusive lock on a file, until it is dropped or the process dies.
pub(super) struct Lock {
    _file: File,
}

/// Time between two looks at a lock that someone else holds: as long as a ref update on a fast disk.
const WAIT: Duration = Duration::from_millis(1);

impl Lock {
    /// Waits for the lock, as long as the job is not stopped.
    pub fn wait(media: &Media, path: &Path, job: &Job) -> Result<Lock> {
        let file = media.open_or_create(path)?;
        while !try_lock(&file, path)? {
            job.check()?;
            std::thread::sleep(WAIT);
        }
        Ok(Lock { _file: file })
    }

    /// Takes the lock if nobody holds it.
    pub fn attempt(media: &Media, path: &Path) -> Result<Option<Lock>> {
        let file = media.open_or_create(path)?;
        Ok(try_lock(&file, path)?.then_some(Lock { _file: file }))
    }
}

fn try_lock(file: &File, path: &Path) -> Result<bool> {
    match rustix::io::retry_on_intr(|| flock(file, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(FileError::at("lock", path)(error.into()).into()),
    }
}

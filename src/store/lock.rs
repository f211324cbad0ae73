//! Locks that nobody ever has to remove by hand.
//!
//! On a file system of one machine a lock is the kernel's: it dies with its process. On a network file
//! system such a lock may count on one machine only (mounted with `nolock`, or taken on the server beside its
//! clients), so that it is taken and then, besides, a name is claimed:
//!
//! ```text
//! NAMEfile           a hard link of the claim of whoever holds the lock NAME, such as refs/.lockfile
//! .claim-UNIQUE      "1 PROCESS CHECK\n", beside it; CHECK as in `line`, context `mkimage 2026 claim v1`
//! ```
//!
//! link() succeeds for one of many everywhere; an answer that got lost is seen by the claim's two links. A
//! claim is broken only when its process is certainly gone: it ran on this machine in this boot and does
//! not live, or in an earlier boot. Whoever breaks it holds the kernel's lock on this machine, so that no two
//! break the same one. A claim of another machine is waited for until that machine is back.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::Result;
use super::line;
use super::media::Media;
use crate::base::{FileError, Job, ProcessName, publish};

const CONTEXT: &str = "mkimage 2026 claim v1";
const CLAIM_BYTES_MAX: u64 = 4096;
pub(super) const CLAIM: &str = ".claim-";

/// Holds an exclusive lock on a file, until it is dropped or the process dies.
pub(super) struct Lock {
    // In this order: the claim goes before the kernel's lock.
    claim: Option<Claim>,
    _file: Held,
}

/// A file with the kernel's lock. It is unlocked, not only closed: a process that another thread is just starting
/// has a copy of the open file until it runs its program, and would keep the lock as long.
struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Time between two looks at a lock that someone else holds: as long as a ref update on a fast disk.
const WAIT: Duration = Duration::from_millis(1);
/// The same on a network file system.
const WAIT_SHARED: Duration = Duration::from_millis(20);
/// After so many looks, the user hears what is waited for: ten seconds.
const WARN_AFTER: u32 = 500;

impl Lock {
    /// Waits for the lock, as long as the job is not stopped.
    pub fn wait(media: &Media, path: &Path, shared: bool, job: &Job) -> Result<Lock> {
        let file = media.open_or_create(path)?;
        while !try_lock(&file, path)? {
            job.check()?;
            std::thread::sleep(WAIT);
        }
        let mut lock = Lock { claim: None, _file: Held(file) };
        let mut waited = 0u32;
        while shared && lock.claim.is_none() {
            lock.claim = Claim::attempt(media, path)?;
            if lock.claim.is_none() {
                job.check()?;
                std::thread::sleep(WAIT_SHARED);
                waited += 1;
                if waited == WARN_AFTER {
                    let holder = holder(&claimed(path)).map_or("somebody".to_owned(), |name| name.host);
                    job.warn(format!("waiting for {}, which a process on {holder} holds", path.display()));
                }
            }
        }
        Ok(lock)
    }

    /// Takes the lock if nobody holds it.
    pub fn attempt(media: &Media, path: &Path, shared: bool) -> Result<Option<Lock>> {
        let file = media.open_or_create(path)?;
        if !try_lock(&file, path)? {
            return Ok(None);
        }
        let file = Held(file);
        if !shared {
            return Ok(Some(Lock { claim: None, _file: file }));
        }
        let claim = Claim::attempt(media, path)?;
        Ok(claim.map(|claim| Lock { claim: Some(claim), _file: file }))
    }
}

fn try_lock(file: &File, path: &Path) -> Result<bool> {
    match rustix::io::retry_on_intr(|| flock(file, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(FileError::at("lock", path)(error.into()).into()),
    }
}

/// A name that one of many processes on many machines has.
struct Claim {
    media: Media,
    name: PathBuf,
    own: PathBuf,
}

impl Claim {
    /// Claims the name beside a lock's file; the caller holds the kernel's lock on it.
    fn attempt(media: &Media, lock: &Path) -> Result<Option<Claim>> {
        let name = claimed(lock);
        let own = lock.with_file_name(format!("{CLAIM}{}", publish::unique()));
        let file = media.create_file(&own, 0o644)?;
        // From here on, dropping the claim clears away.
        let mut claim = Claim { media: media.clone(), name: PathBuf::new(), own };
        let text = line::seal(CONTEXT, format!("1 {} ", ProcessName::this()));
        media.write_at(&file, &claim.own, 0, text.as_bytes())?;
        for _ in 0..2 {
            let linked = media.link(&claim.own, &name);
            let links = file.metadata().map_err(FileError::at("look at", &claim.own))?.nlink();
            if matches!(linked, Ok(true)) || links == 2 {
                claim.name = name;
                return Ok(Some(claim));
            }
            linked?;
            if !break_dead(media, &name, &file)? {
                break;
            }
        }
        Ok(None)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.name.as_os_str().is_empty() {
            let _ = self.media.remove_file(&self.name);
        }
        let _ = self.media.remove_file(&self.own);
    }
}

/// Returns the name that is claimed beside a lock's file.
fn claimed(lock: &Path) -> PathBuf {
    let mut name = lock.as_os_str().to_owned();
    name.push("file");
    PathBuf::from(name)
}

/// Reads whose a claim is.
fn holder(name: &Path) -> Option<ProcessName> {
    decode(&crate::base::fs::read_at_most(name, CLAIM_BYTES_MAX).ok()?)
}

/// Breaks the claim on a lock where a process of this host has it, whether it lives or not. Returns the process.
pub(super) fn break_claim(media: &Media, lock: &Path, host: &str) -> Result<Option<ProcessName>> {
    let name = claimed(lock);
    let held = holder(&name).filter(|process| process.host.split('/').next() == Some(host));
    if held.is_some() {
        media.remove_file(&name)?;
    }
    Ok(held)
}

/// Removes a claim whose process is gone; returns whether the name may be free now. `ours` was made just
/// now: its time is that of the file server.
fn break_dead(media: &Media, name: &Path, ours: &File) -> Result<bool> {
    let bytes = match crate::base::fs::read_at_most(name, CLAIM_BYTES_MAX) {
        Err(error) if error.is_missing() => return Ok(true),
        bytes => bytes?,
    };
    let Some(process) = decode(&bytes) else { return Ok(false) };
    let time = |metadata: std::fs::Metadata| metadata.mtime();
    let now = ours.metadata().map(time).map_err(FileError::at("look at", name))?;
    let made = std::fs::metadata(name).map(time).unwrap_or(now);
    let gone = process.is_gone() || process.is_of_earlier_boot(u64::try_from(now - made).unwrap_or(0));
    if gone {
        media.remove_file(name)?;
    }
    Ok(gone)
}

fn decode(bytes: &[u8]) -> Option<ProcessName> {
    let body = line::of_file(CONTEXT, bytes).ok()?;
    body.strip_prefix("1 ")?.strip_suffix(' ')?.parse().ok()
}

/// Removes claims beside a lock whose processes are gone: they died between making and linking them.
pub(super) fn clear_claims(media: &Media, folder: &Path) -> Result<()> {
    for name in crate::base::fs::list(folder)? {
        if name.as_encoded_bytes().starts_with(CLAIM.as_bytes()) {
            let path = folder.join(name);
            let bytes = crate::base::fs::read_at_most(&path, CLAIM_BYTES_MAX).unwrap_or_default();
            if decode(&bytes).is_some_and(|process| process.is_gone()) {
                media.remove_file(&path)?;
            }
        }
    }
    Ok(())
}

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
//! link() succeeds for one of many everywhere; after an answer that got lost both names lead to one file. A
//! claim is broken only when its process is certainly gone: it ran on this machine in this boot and does
//! not live, or in an earlier boot, or it is this process, which would know. Whoever breaks it holds the kernel's
//! lock on this machine, so that no two break the same one. A claim of another machine is waited for until that
//! machine is back or somebody says that it never will be ([`break_claim`]); who lost a claim takes no other's away.

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
        let mut patience = Patience { path, shared, job, looks: 0 };
        while !try_lock(&file, path)? {
            patience.wait()?;
        }
        let mut lock = Lock { claim: None, _file: Held(file) };
        while shared && lock.claim.is_none() {
            lock.claim = Claim::attempt(media, path)?;
            if lock.claim.is_none() {
                patience.wait()?;
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

/// Between two looks at a lock that someone else holds: the kernel's of another machine may be, too.
struct Patience<'a> {
    path: &'a Path,
    shared: bool,
    job: &'a Job,
    looks: u32,
}

impl Patience<'_> {
    fn wait(&mut self) -> Result<()> {
        self.job.check()?;
        std::thread::sleep(if self.shared { WAIT_SHARED } else { WAIT });
        self.looks += 1;
        if self.shared && self.looks == WARN_AFTER {
            let told = match holder_of(self.path) {
                Some(held) => format!(
                    "{held} holds; if that machine never comes back, `mkimage store unlock {}` breaks it",
                    held.machine()
                ),
                None => "somebody holds".to_owned(),
            };
            self.job.warn(format!("waiting for {}, which {told}", self.path.display()));
        }
        Ok(())
    }
}

/// Who holds a lock by a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(ProcessName);

impl Holder {
    /// Returns the name of the machine.
    pub fn machine(&self) -> &str {
        self.0.host.split('/').next().unwrap_or_default()
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", self.0.pid, self.machine())
    }
}

/// Returns who holds a lock of a shared store by its claim.
pub(super) fn holder_of(lock: &Path) -> Option<Holder> {
    holder(&claimed(lock)).map(Holder)
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
    /// Empty until it is ours.
    name: PathBuf,
    own: PathBuf,
    inode: Inode,
}

/// Device and number of a file's inode.
type Inode = (u64, u64);

impl Claim {
    /// Claims the name beside a lock's file; the caller holds the kernel's lock on it.
    fn attempt(media: &Media, lock: &Path) -> Result<Option<Claim>> {
        let name = claimed(lock);
        let own = lock.with_file_name(format!("{CLAIM}{}", publish::unique()));
        let claim = Claim { media: media.clone(), name: PathBuf::new(), own, inode: (0, 0) };
        // From here on, dropping the claim clears away.
        let (mut claim, made) = claim.write()?;
        for _ in 0..2 {
            let linked = media.link(&claim.own, &name);
            if matches!(linked, Ok(true)) || inode(&name) == Some(claim.inode) {
                claim.name = name;
                return Ok(Some(claim));
            }
            linked?;
            if !break_dead(media, &name, made)? {
                break;
            }
        }
        Ok(None)
    }

    /// Writes the claim's file, and returns the time of the file server at which that was. The file is closed
    /// again: NFS keeps what is removed while it is open.
    fn write(mut self) -> Result<(Claim, i64)> {
        let file = self.media.create_file(&self.own, 0o644)?;
        let text = line::seal(CONTEXT, format!("1 {} ", ProcessName::this()));
        let written = self.media.write_at(&file, &self.own, 0, text.as_bytes());
        let metadata = written.and_then(|()| file.metadata().map_err(FileError::at("look at", &self.own)));
        drop(file);
        let metadata = metadata?;
        self.inode = (metadata.dev(), metadata.ino());
        Ok((self, metadata.mtime()))
    }
}

fn inode(path: &Path) -> Option<Inode> {
    let metadata = path.symlink_metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.name.as_os_str().is_empty() {
            look_afresh(&self.name);
            // It may have been broken, and be another's by now.
            if inode(&self.name).is_none_or(|inode| inode == self.inode) {
                let _ = self.media.remove_file(&self.name);
            }
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
    look_afresh(name);
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

/// Has a directory's entries looked up at the file server again: an NFS client answers from memory for up to a
/// minute, until the directory is opened.
pub(super) fn look_afresh(path: &Path) {
    if let Some(directory) = path.parent() {
        drop(crate::base::fs::open(directory));
    }
}

/// Removes a claim whose process is gone; returns whether the name may be free now. `now` is the time of the file
/// server.
fn break_dead(media: &Media, name: &Path, now: i64) -> Result<bool> {
    look_afresh(name);
    let bytes = match crate::base::fs::read_at_most(name, CLAIM_BYTES_MAX) {
        Err(error) if error.is_missing() => return Ok(true),
        bytes => bytes?,
    };
    let Some(process) = decode(&bytes) else { return Ok(false) };
    // Nobody else of this process holds it: we have the kernel's lock. A lost answer left it.
    let gone = process == ProcessName::this() || is_dead(&process, name, now);
    if gone {
        media.remove_file(name)?;
    }
    Ok(gone)
}

/// Tells whether the process of a claim is certainly gone.
fn is_dead(process: &ProcessName, claim: &Path, now: i64) -> bool {
    let made = std::fs::metadata(claim).map_or(now, |metadata| metadata.mtime());
    process.is_gone() || process.is_of_earlier_boot(u64::try_from(now - made).unwrap_or(0))
}

fn decode(bytes: &[u8]) -> Option<ProcessName> {
    let body = line::of_file(CONTEXT, bytes).ok()?;
    body.strip_prefix("1 ")?.strip_suffix(' ')?.parse().ok()
}

/// Removes claims in the directory of a lock whose processes are gone: they died between making and linking them,
/// or somebody broke them. The caller holds the lock.
pub(super) fn clear_claims(media: &Media, lock: &Path) -> Result<()> {
    let folder = lock.parent().expect("because a lock lies in the store");
    let now = std::fs::metadata(claimed(lock)).map_or(0, |metadata| metadata.mtime());
    for name in crate::base::fs::list(folder)? {
        if name.as_encoded_bytes().starts_with(CLAIM.as_bytes()) {
            let path = folder.join(name);
            let bytes = crate::base::fs::read_at_most(&path, CLAIM_BYTES_MAX).unwrap_or_default();
            if decode(&bytes).is_some_and(|process| is_dead(&process, &path, now)) {
                media.remove_file(&path)?;
            }
        }
    }
    Ok(())
}

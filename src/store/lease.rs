//! Leases: who is at work in a store, and since when.
//!
//! ```text
//! leases/UNIQUE = "1 GENERATION TTL PROCESS SECONDS ROOTS PURPOSE CHECK\n"
//! ```
//!
//! UNIQUE is also the name of the transaction's directory in `tmp/`. GENERATION is the one that its holder
//! noted before it first relied on an object. TTL is in milliseconds. PROCESS is five words, see
//! [`ProcessName`]. SECONDS since 1970 tell people when it began. ROOTS are commits that its holder reads,
//! parted by commas, or `-`. PURPOSE is one escaped word. CHECK as in `line`, context `mkimage 2026 lease v1`.
//!
//! # Rules
//!
//! 1. A transaction takes its lease before it stages its first object, a [`Hold`] at once. The file is made as
//!    `leases/.tmp-UNIQUE` and renamed. One with roots is synced first; others need not be: a power cut takes
//!    the process along, and a lease that is lost costs its holder a retry and never an object (rule 4).
//! 2. While it lives, its holder sets the file's time anew every TTL/4. The file's time is that of the file
//!    server, and it is compared with that server's time only: no two clocks meet.
//! 3. It ends when its holder removes it. A collector removes it, under the lock of the refs, when its process
//!    is certainly gone (same host, boot and namespace, no such process) or its time is older than TTL. A
//!    holder never makes it again.
//! 4. Under the lock of the refs, before packs get their names and refs move, a writer looks for its own lease:
//!    if it is gone, the transaction ends with [`StoreError::Expired`] and publishes nothing.
//! 5. Trash of generation G is not emptied while a living lease has a generation of G or less: what its
//!    holder saw before it went to the trash can still be copied from there.
//! 6. Roots are kept with all that they lead to, as refs are, as far as it is there.
//!
//! A lease that can't be read (a power cut tore it) counts as one of generation 0 without roots: with roots
//! it would have been synced. Leases make retries rare; safety stands on generation and fence alone.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::error::{Result, StoreError};
use super::format::is_noise;
use super::line;
use super::lock::look_afresh;
use super::media::Media;
use super::store::Store;
use crate::base::path::escaped;
use crate::base::{CommitId, FileError, Heartbeat, ProcessName, clock, publish};

const CONTEXT: &str = "mkimage 2026 lease v1";
const LEASE_BYTES_MAX: u64 = 64 << 20;
/// What lease files begin with until they have their name.
pub(super) const TEMPORARY: &str = ".tmp-";

/// How long a lease counts without a sign of life from its holder.
pub(super) const TTL: Duration = Duration::from_secs(3600);

/// What a lease file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaseText {
    pub generation: u64,
    pub ttl: Duration,
    pub process: ProcessName,
    pub seconds: u64,
    pub roots: Vec<CommitId>,
    pub purpose: String,
}

/// A lease of this process. It ends when this is dropped.
pub(super) struct Lease {
    media: Media,
    /// Names the lease and the transaction's directory.
    pub name: String,
    path: PathBuf,
    _heartbeat: Heartbeat,
}

/// Keeps commits, and all that they lead to, from being collected for good until it is dropped: for long
/// readers, and for writers that span several transactions.
#[must_use = "what is held is let go when this is dropped"]
pub struct Hold {
    lease: Lease,
}

/// Somebody's lease, as a collector sees it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub name: String,
    pub path: PathBuf,
    /// `None` where it can't be read.
    pub text: Option<LeaseText>,
    pub expired: bool,
}

impl Store {
    /// Takes a lease on commits: what they lead to stays in the store, or at least in the trash, from where
    /// it is read, as long as the returned value lives. The commits need not be there yet.
    pub fn hold(&self, roots: &[CommitId]) -> Result<Hold> {
        self.prepare()?;
        let generation = self.freshen();
        Ok(Hold { lease: self.take_lease(generation, roots, "hold")? })
    }

    /// Takes a lease like [`Store::hold`] where the store may be written and has room. Who only reads does without: a
    /// collector leaves what refs led to of late in the trash, where it is still read.
    pub fn try_hold(&self, roots: &[CommitId]) -> Result<Option<Hold>> {
        match self.hold(roots) {
            Err(error) if error.is_read_only() || error.is_full() => Ok(None),
            Err(StoreError::Foreign { .. }) => Ok(None),
            hold => hold.map(Some),
        }
    }

    /// Takes a lease for this process, in a store that was prepared.
    pub(super) fn take_lease(&self, generation: u64, roots: &[CommitId], purpose: &str) -> Result<Lease> {
        let name = publish::unique();
        let path = self.layout.leases().join(&name);
        let text = LeaseText {
            generation,
            ttl: self.ttl,
            process: ProcessName::this(),
            seconds: clock::unix_seconds(),
            roots: roots.to_vec(),
            purpose: escaped(purpose.as_bytes()).replace(' ', "_"),
        };
        self.write_lease(&path, &name, &text)?;
        let (media, beating) = (self.media.clone(), path.clone());
        let heartbeat = Heartbeat::start(self.ttl / 4, move || !is_missing(&media.touch(&beating)));
        Ok(Lease { media: self.media.clone(), name, path, _heartbeat: heartbeat })
    }

    fn write_lease(&self, path: &std::path::Path, name: &str, text: &LeaseText) -> Result<()> {
        let temporary = self.layout.leases().join(format!("{TEMPORARY}{name}"));
        let file = self.media.create_file(&temporary, 0o644)?;
        let done = self
            .media
            .write_at(&file, &temporary, 0, text.encode().as_bytes())
            .and_then(|()| if text.roots.is_empty() { Ok(()) } else { self.media.sync(&file, &temporary) })
            .and_then(|()| self.media.rename(&temporary, path));
        if done.is_err() {
            let _ = self.media.remove_file(&temporary);
        }
        Ok(done?)
    }

    /// Lists all leases, and says which of them have expired at a time of the file server.
    pub(super) fn leases(&self, now: SystemTime) -> Result<Vec<Seen>> {
        let folder = self.layout.leases();
        let names = match crate::base::fs::list(&folder) {
            Err(error) if error.is_missing() => return Ok(Vec::new()),
            names => names?,
        };
        let mut seen = Vec::new();
        for name in names.into_iter().filter(|name| !is_noise(name)) {
            let path = folder.join(&name);
            let name = name.to_string_lossy().into_owned();
            let known = name.strip_prefix(TEMPORARY).unwrap_or(&name);
            if !is_unique(known) {
                return Err(StoreError::doubt(path.display(), "it is no lease"));
            }
            seen.extend(look(name, path, now)?);
        }
        Ok(seen)
    }

    /// Lets the leases of this store last for another time than an hour: for tests.
    #[doc(hidden)]
    pub fn with_leases_of(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }
}

/// Looks at a lease; `None` where it ended in the meantime.
fn look(name: String, path: PathBuf, now: SystemTime) -> Result<Option<Seen>> {
    let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified());
    let modified = match modified.map_err(FileError::at("look at", &path)) {
        Err(error) if error.is_missing() => return Ok(None),
        modified => modified?,
    };
    let bytes = match crate::base::fs::read_at_most(&path, LEASE_BYTES_MAX) {
        Err(error) if error.is_missing() => return Ok(None),
        bytes => bytes?,
    };
    let text = LeaseText::decode(&bytes).ok();
    let ttl = text.as_ref().map_or(TTL, |text| text.ttl);
    let age = now.duration_since(modified).unwrap_or_default();
    let gone = text.as_ref().is_some_and(|text| text.process.is_gone());
    Ok(Some(Seen { name, path, expired: gone || age > ttl, text }))
}

impl Lease {
    /// Tells whether the lease is still there.
    pub fn is_there(&self) -> bool {
        look_afresh(&self.path);
        self.path.exists()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = self.media.remove_file(&self.path);
    }
}

impl Hold {
    /// Tells whether it still counts: a process that slept for longer than an hour may have lost it.
    pub fn is_there(&self) -> bool {
        self.lease.is_there()
    }
}

impl Seen {
    /// Returns the generation that its holder may have seen.
    pub fn generation(&self) -> u64 {
        self.text.as_ref().map_or(0, |text| text.generation)
    }

    /// Tells whether it counts and keeps commits.
    pub fn holds(&self) -> bool {
        !self.expired && self.text.as_ref().is_some_and(|text| !text.roots.is_empty())
    }

    /// Says whose it is.
    pub fn holder(&self) -> String {
        match &self.text {
            Some(text) => format!("process {} on {}", text.process.pid, text.process.host),
            None => "a process unknown".to_owned(),
        }
    }
}

impl LeaseText {
    fn encode(&self) -> String {
        let roots: Vec<String> = self.roots.iter().map(CommitId::to_string).collect();
        let roots = if roots.is_empty() { "-".to_owned() } else { roots.join(",") };
        let LeaseText { generation, ttl, process, seconds, purpose, .. } = self;
        let ttl = ttl.as_millis();
        line::seal(CONTEXT, format!("1 {generation} {ttl} {process} {seconds} {roots} {purpose} "))
    }

    pub fn decode(bytes: &[u8]) -> std::result::Result<Self, String> {
        let body = line::of_file(CONTEXT, bytes)?;
        let fields: Vec<&str> = body.split(' ').collect();
        let text = || {
            let ["1", generation, ttl, host, boot, namespace, pid, started, seconds, roots, purpose, ""] =
                fields[..]
            else {
                return None;
            };
            let roots = match roots {
                "-" => Vec::new(),
                roots => roots.split(',').map(|root| root.parse().ok()).collect::<Option<_>>()?,
            };
            Some(LeaseText {
                generation: generation.parse().ok()?,
                ttl: Duration::from_millis(ttl.parse().ok()?),
                process: [host, boot, namespace, pid, started].join(" ").parse().ok()?,
                seconds: seconds.parse().ok()?,
                roots,
                purpose: purpose.to_owned(),
            })
        };
        text().ok_or_else(|| format!("{body:?} is no lease"))
    }
}

/// Tells whether a name is one that [`publish::unique`] makes.
pub(super) fn is_unique(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_missing(result: &std::result::Result<(), FileError>) -> bool {
    result.as_ref().is_err_and(FileError::is_missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;

    #[test]
    fn a_lease_comes_back_and_a_changed_one_does_not() {
        for roots in [Vec::new(), vec![CommitId(Digest::of(b"a")), CommitId(Digest::of(b"b"))]] {
            let text = LeaseText {
                generation: 4,
                ttl: TTL,
                process: ProcessName::this(),
                seconds: 5,
                roots,
                purpose: "a_test".to_owned(),
            };
            let bytes = text.encode().into_bytes();
            assert_eq!(LeaseText::decode(&bytes), Ok(text));
            for index in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[index] ^= 1;
                assert!(LeaseText::decode(&changed).is_err(), "byte {index}");
                assert!(LeaseText::decode(&bytes[..index]).is_err(), "cut to {index}");
            }
        }
    }
}

//! Where things lie in a store's directory, and the file `format` that says which rules they follow.
//!
//! ```text
//! format            the text below; written last when a store is made: without it there is no store
//! packs/ID.pack     frames of objects, see `pack`           ID: the digest that ends ID.idx
//! packs/ID.idx      index of ID.pack; published after it: a pack without an index is not there
//! refs/NAME         one line, see `refs`; refs/.lock serialises all moves
//! reflog/NAME@      one line a move, see `reflog`; stays when the ref goes
//! journal/UNIQUE    refs that move together, while they move
//! memo/XX/KEY       results of steps, see `memo`: may vanish or rot at any time
//! remotes/NAME      other stores and sites, see `remotes`; remotes/.partial/ID: what came of a cut pull
//! tmp/UNIQUE/       a transaction in the making; its `lock` is held while its process lives
//! state/damaged/    marks of objects that did not verify, see `state`: may vanish at any time
//! quarantine/       files that a repair took away because they are damaged; nobody reads them
//! leases/UNIQUE     who is at work, see `lease`
//! gc-generation     counts collections, see `generation`
//! gc.lock           held by the one collector or repacker; takes up room, see `reserve`
//! trash/NUMBER/     packs that were collected, see `gc`
//! ```
//!
//! The lines of `format`: `mkimage-store 1`, `hash blake3`, then in any order `gc-protocol 2`, `critical` with
//! what a writer must know, and `feature` with what it may use. `feature shared` says that processes of
//! several machines write: they claim locks by name, see `lock`. The first writer on a network file system
//! says so. A store of protocol 1, which knew no
//! collector, becomes one of protocol 2 at its first write: older programs only read it from then on.
//!
//! Directories have mode 0755; packs, indexes and refs 0444: nothing that was published is ever changed.

use std::path::{Path, PathBuf};

use super::error::{Result, StoreError};
use super::media::Media;
use super::refs::RefName;
use crate::base::{Digest, FileError, Job, StepKey, publish};

/// Version of the directory's rules. A reader of another version must not touch the store.
const VERSION: &str = "1";
const HASH: &str = "blake3";
/// Version of the rules by which writers and garbage collectors of one store live together. Tools with
/// another one must not write: a collector with other rules deletes what a writer relies on.
const GC_PROTOCOL: u32 = 2;
/// What processes of several machines make of a store.
const SHARED: &str = "shared";
/// What a writer must know to keep the store sound.
const CRITICAL: [&str; 1] = ["packs-1"];

const FORMAT_BYTES_MAX: u64 = 4096;
const DIRECTORIES: [&str; 8] = ["packs", "refs", "reflog", "journal", "memo", "tmp", "leases", "trash"];
/// No name of a ref has it: the log of `a` never stands in the way of the log of `a/b`.
pub(super) const REFLOG_SUFFIX: char = '@';
const TEMPORARY_FORMAT: &str = ".format.";
const RESERVED: [&str; 5] = ["gc-generation", "gc.lock", "quarantine", "remotes", "state"];

/// Knows where things lie.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub root: PathBuf,
}

impl Layout {
    pub fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    pub fn packs(&self) -> PathBuf {
        self.root.join("packs")
    }

    pub fn pack(&self, id: &Digest) -> PathBuf {
        self.packs().join(format!("{id}.pack"))
    }

    pub fn index(&self, id: &Digest) -> PathBuf {
        self.packs().join(format!("{id}.idx"))
    }

    pub fn refs(&self) -> PathBuf {
        self.root.join("refs")
    }

    pub fn refs_lock(&self) -> PathBuf {
        self.refs().join(".lock")
    }

    pub fn reference(&self, name: &RefName) -> PathBuf {
        self.refs().join(name.as_str())
    }

    pub fn reflogs(&self) -> PathBuf {
        self.root.join("reflog")
    }

    pub fn reflog(&self, name: &RefName) -> PathBuf {
        self.reflogs().join(format!("{name}{REFLOG_SUFFIX}"))
    }

    /// Returns where the log of a ref lay before removed refs kept theirs.
    pub fn old_reflog(&self, name: &RefName) -> PathBuf {
        self.reflogs().join(name.as_str())
    }

    pub fn journals(&self) -> PathBuf {
        self.root.join("journal")
    }

    pub fn memo(&self, key: &StepKey) -> PathBuf {
        let name = key.to_string();
        self.memos().join(&name[..2]).join(&name)
    }

    pub fn memos(&self) -> PathBuf {
        self.root.join("memo")
    }

    pub fn remotes(&self) -> PathBuf {
        self.root.join("remotes")
    }

    pub fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub fn damaged(&self) -> PathBuf {
        self.root.join("state").join("damaged")
    }

    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    pub fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    pub fn generation(&self) -> PathBuf {
        self.root.join("gc-generation")
    }

    pub fn gc_lock(&self) -> PathBuf {
        self.root.join("gc.lock")
    }
}

/// What a store that may be written asks of its writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub protocol: u32,
    pub shared: bool,
}

impl Rules {
    /// Tells whether the store is still one of an older protocol.
    pub fn is_old(self) -> bool {
        self.protocol < GC_PROTOCOL
    }
}

/// What the file `format` allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// There is no store yet: reading finds nothing, the first write makes it.
    Absent,
    Full(Rules),
    /// Reading is safe. Holds what its writers must know and we don't.
    ReadOnly(String),
}

pub(super) fn text(shared: bool) -> String {
    let critical = CRITICAL.join(" ");
    let feature = if shared { format!("feature {SHARED}\n") } else { String::new() };
    format!("mkimage-store {VERSION}\nhash {HASH}\ngc-protocol {GC_PROTOCOL}\ncritical {critical}\n{feature}")
}

/// Reads what the file `format` allows.
pub(super) fn access(layout: &Layout) -> Result<Access> {
    let path = layout.format();
    let bytes = match crate::base::fs::read_at_most(&path, FORMAT_BYTES_MAX) {
        Err(error) if error.is_missing() => return Ok(Access::Absent),
        result => result?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut unknown = None;
    let mut rules = Rules { protocol: 0, shared: false };
    let mut lines = text.lines();
    let expect = |found: Option<&str>, known: String| match found {
        Some(line) if line == known => Ok(()),
        found => {
            let found = found.unwrap_or("").to_owned();
            Err(StoreError::Format { path: path.clone(), found, known })
        }
    };
    expect(lines.next(), format!("mkimage-store {VERSION}"))?;
    expect(lines.next(), format!("hash {HASH}"))?;
    for line in lines {
        let known = match line.split_once(' ') {
            Some(("gc-protocol", version)) => {
                rules.protocol = version.parse().unwrap_or(0);
                (1..=GC_PROTOCOL).contains(&rules.protocol)
            }
            Some(("critical", features)) => features.split(' ').all(|feature| CRITICAL.contains(&feature)),
            Some(("feature", features)) => {
                rules.shared |= features.split(' ').any(|feature| feature == SHARED);
                true
            }
            _ => false,
        };
        if !known {
            unknown.get_or_insert_with(|| line.to_owned());
        }
    }
    Ok(unknown.map_or(Access::Full(rules), Access::ReadOnly))
}

/// Tells whether a file is a format file of some version, known or not: then nobody may replace it.
pub(super) fn is_well_formed(bytes: &[u8]) -> bool {
    let Some(text) = std::str::from_utf8(bytes).ok().and_then(|text| text.strip_suffix('\n')) else {
        return false;
    };
    let mut lines = text.split('\n').map(|line| line.split_once(' '));
    let is_word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || b"0123456789-".contains(&byte))
    };
    let first = lines.next().flatten();
    first.is_some_and(|(name, version)| name == "mkimage-store" && version.parse::<u32>().is_ok())
        && lines.next().flatten().is_some_and(|(name, hash)| name == "hash" && is_word(hash))
        && lines.all(|line| line.is_some_and(|(name, words)| is_word(name) && words.split(' ').all(is_word)))
}

/// Makes the store if there is none, and directories that a power cut took from one that was just made.
/// `format` comes last, so that a store that was half made is made to the end by the next writer.
pub(super) fn create(media: &Media, layout: &Layout, access: &Access, shared: bool) -> Result<()> {
    if *access == Access::Absent {
        refuse_foreign(&layout.root)?;
        create_durably(media, &layout.root)?;
    }
    let mut created = false;
    for name in DIRECTORIES {
        created |= media.create_directory(&layout.root.join(name))?;
    }
    if *access == Access::Absent {
        created |= create_format(media, layout, shared)?;
    }
    if created {
        media.sync_directory(&layout.root)?;
    }
    Ok(())
}

fn create_format(media: &Media, layout: &Layout, shared: bool) -> Result<bool> {
    let done = write_format(media, layout, shared, |temporary| media.rename_new(temporary, &layout.format()));
    match done {
        // Another process made the store in the meantime and cleared away what it had no use for.
        Err(error) if error.is_missing() && layout.format().exists() => Ok(true),
        done => Ok(done.map(|_| true)?),
    }
}

/// Puts the rules of today in place of older ones, durably. The caller holds the lock of the refs.
pub(super) fn upgrade(media: &Media, layout: &Layout, shared: bool) -> Result<()> {
    write_format(media, layout, shared, |temporary| {
        media.rename(temporary, &layout.format()).map(|()| true)
    })?;
    Ok(media.sync_directory(&layout.root)?)
}

/// Writes the file and has `name` give it its name; what did not get one goes.
fn write_format(
    media: &Media,
    layout: &Layout,
    shared: bool,
    name: impl FnOnce(&Path) -> std::result::Result<bool, FileError>,
) -> std::result::Result<bool, FileError> {
    let temporary = layout.root.join(format!("{TEMPORARY_FORMAT}{}", publish::unique()));
    let file = media.create_file(&temporary, 0o444)?;
    let done = media
        .write_at(&file, &temporary, 0, text(shared).as_bytes())
        .and_then(|()| media.sync(&file, &temporary))
        .and_then(|()| name(&temporary));
    if !matches!(done, Ok(true)) {
        let _ = media.remove_file(&temporary);
    }
    done
}

/// Tells whether a name is one that an NFS client gives to what was removed while it was open: it goes by
/// itself.
pub(super) fn is_noise(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".nfs")
}

/// Returns the part of a path that is there.
pub(super) fn existing(path: &Path) -> &Path {
    let mut above = path.ancestors().filter(|above| !above.as_os_str().is_empty());
    above.find(|above| above.exists()).unwrap_or(Path::new("."))
}

/// Tells whether a directory lies on a file system that several machines may have mounted.
pub(super) fn is_network(path: &Path) -> bool {
    /// NFS, SMB 1, SMB 2 and 3, FUSE (sshfs and kin), Ceph, 9P.
    const MAGICS: [u32; 6] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x00c3_6400, 0x0102_1997];
    rustix::fs::statfs(path).is_ok_and(|found| MAGICS.contains(&(found.f_type as u32)))
}

/// Refuses to make a store of a directory that holds something else.
pub(super) fn refuse_foreign(root: &Path) -> Result<()> {
    let names = match crate::base::fs::list(root) {
        Err(error) if error.is_missing() => return Ok(()),
        result => result?,
    };
    let ours = |name: &str| {
        name == "format"
            || name.starts_with(TEMPORARY_FORMAT)
            || DIRECTORIES.contains(&name)
            || RESERVED.contains(&name)
    };
    match names.iter().find(|name| !name.to_str().is_some_and(ours)) {
        None => Ok(()),
        Some(name) => {
            Err(StoreError::NotAStore { path: root.to_owned(), found: name.to_string_lossy().into_owned() })
        }
    }
}

/// Creates a directory and those above it, and makes each new entry durable.
fn create_durably(media: &Media, path: &Path) -> Result<()> {
    let above = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
    let mut missing: Vec<&Path> = above.take_while(|above| !above.is_dir()).collect();
    missing.reverse();
    for path in missing.into_iter().chain([path]) {
        if media.create_directory(path)? {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            media.sync_directory(parent.unwrap_or(Path::new(".")))?;
        }
    }
    Ok(())
}

/// Removes what transactions left whose process died. A directory whose lock is held is let alone, and on a
/// shared store one whose lease is there; what can't be removed stays for the next writer.
pub(super) fn clean(media: &Media, layout: &Layout, shared: bool) -> Result<()> {
    for name in crate::base::fs::list(&layout.root)? {
        if name.as_encoded_bytes().starts_with(TEMPORARY_FORMAT.as_bytes()) {
            let _ = media.remove_file(&layout.root.join(name));
        }
    }
    for name in crate::base::fs::list(&layout.temporary())? {
        let path = layout.temporary().join(&name);
        if !path.is_dir() || shared && layout.leases().join(&name).exists() {
            continue;
        }
        if let Ok(Some(lock)) = super::lock::Lock::attempt(media, &path.join("lock"), false) {
            let _ = remove_files(media, &path);
            // What is open when it is removed keeps a name on NFS, until it is closed.
            drop(lock);
            let _ = media.remove_directory(&path);
        }
    }
    Ok(())
}

/// Removes the files of a transaction's directory.
pub(super) fn remove_files(media: &Media, path: &Path) -> std::result::Result<(), FileError> {
    let mut first = Ok(());
    for name in crate::base::fs::list(path)? {
        let removed = media.remove_file(&path.join(name));
        first = first.and(removed);
    }
    first
}

/// Serialises the making and cleaning of transactions' directories, so that none is taken for a dead one
/// before its lock is held.
pub(super) fn lock_temporary(media: &Media, layout: &Layout, job: &Job) -> Result<super::lock::Lock> {
    super::lock::Lock::wait(media, &layout.temporary().join(".lock"), false, job)
}

//! Where things lie in a store's directory, and the file `format` that says which rules they follow.
//!
//! ```text
//! format            the text below; written last when a store is made: without it there is no store
//! packs/ID.pack     frames of objects, see `pack`           ID: the digest that ends ID.idx
//! packs/ID.idx      index of ID.pack; published after it: a pack without an index is not there
//! refs/NAME         one line, see `refs`; refs/.lock serialises all moves
//! reflog/NAME       one line a move
//! journal/UNIQUE    refs that move together, while they move
//! memo/XX/KEY       results of steps, see `memo`: may vanish or rot at any time
//! tmp/UNIQUE/       a transaction in the making; its `lock` is held while its process lives
//! state/damaged/    marks of objects that did not verify, see `state`: may vanish at any time
//! quarantine/       files that a repair took away because they are damaged; nobody reads them
//! ```
//!
//! Directories have mode 0755; packs, indexes and refs 0444: nothing that was published is ever changed.
//! The names `leases`, `trash` are kept for garbage collection.

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
const GC_PROTOCOL: &str = "1";
/// What a writer must know to keep the store sound.
const CRITICAL: [&str; 1] = ["packs-1"];

const FORMAT_BYTES_MAX: u64 = 4096;
const DIRECTORIES: [&str; 6] = ["packs", "refs", "reflog", "journal", "memo", "tmp"];
const TEMPORARY_FORMAT: &str = ".format.";
const RESERVED: [&str; 4] = ["leases", "trash", "state", "quarantine"];

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
        self.reflogs().join(name.as_str())
    }

    pub fn journals(&self) -> PathBuf {
        self.root.join("journal")
    }

    pub fn memo(&self, key: &StepKey) -> PathBuf {
        let name = key.to_string();
        self.root.join("memo").join(&name[..2]).join(&name)
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
}

/// What the file `format` allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// There is no store yet: reading finds nothing, the first write makes it.
    Absent,
    Full,
    /// Reading is safe. Holds what its writers must know and we don't.
    ReadOnly(String),
}

pub(super) fn text() -> String {
    format!(
        "mkimage-store {VERSION}\nhash {HASH}\ngc-protocol {GC_PROTOCOL}\ncritical {}\n",
        CRITICAL.join(" ")
    )
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
            Some(("gc-protocol", version)) => version == GC_PROTOCOL,
            Some(("critical", features)) => features.split(' ').all(|feature| CRITICAL.contains(&feature)),
            Some(("feature", _)) => true,
            _ => false,
        };
        if !known {
            unknown.get_or_insert_with(|| line.to_owned());
        }
    }
    Ok(unknown.map_or(Access::Full, Access::ReadOnly))
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
pub(super) fn create(media: &Media, layout: &Layout, access: &Access) -> Result<()> {
    if *access == Access::Absent {
        refuse_foreign(&layout.root)?;
        create_durably(media, &layout.root)?;
    }
    let mut created = false;
    for name in DIRECTORIES {
        created |= media.create_directory(&layout.root.join(name))?;
    }
    if *access == Access::Absent {
        created |= create_format(media, layout)?;
    }
    if created {
        media.sync_directory(&layout.root)?;
    }
    Ok(())
}

fn create_format(media: &Media, layout: &Layout) -> Result<bool> {
    let temporary = layout.root.join(format!("{TEMPORARY_FORMAT}{}", publish::unique()));
    let file = media.create_file(&temporary, 0o444)?;
    let done = media
        .write_at(&file, &temporary, 0, text().as_bytes())
        .and_then(|()| media.sync(&file, &temporary))
        .and_then(|()| media.rename_new(&temporary, &layout.format()));
    if !matches!(done, Ok(true)) {
        let _ = media.remove_file(&temporary);
    }
    match done {
        // Another process made the store in the meantime and cleared away what it had no use for.
        Err(error) if error.is_missing() && layout.format().exists() => Ok(true),
        done => Ok(done.map(|_| true)?),
    }
}

/// Refuses to make a store of a directory that holds something else.
fn refuse_foreign(root: &Path) -> Result<()> {
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

/// Removes what transactions left whose process died. A directory whose lock is held is let alone; what
/// can't be removed stays for the next writer.
pub(super) fn clean(media: &Media, layout: &Layout) -> Result<()> {
    for name in crate::base::fs::list(&layout.root)? {
        if name.as_encoded_bytes().starts_with(TEMPORARY_FORMAT.as_bytes()) {
            let _ = media.remove_file(&layout.root.join(name));
        }
    }
    for name in crate::base::fs::list(&layout.temporary())? {
        let path = layout.temporary().join(&name);
        if !path.is_dir() {
            continue;
        }
        if let Ok(Some(_lock)) = super::lock::Lock::attempt(media, &path.join("lock")) {
            let _ = remove_directory(media, &path);
        }
    }
    Ok(())
}

/// Removes a transaction's directory with its files.
pub(super) fn remove_directory(media: &Media, path: &Path) -> std::result::Result<(), FileError> {
    let mut first = Ok(());
    for name in crate::base::fs::list(path)? {
        let removed = media.remove_file(&path.join(name));
        first = first.and(removed);
    }
    first.and_then(|()| media.remove_directory(path))
}

/// Serialises the making and cleaning of transactions' directories, so that none is taken for a dead one
/// before its lock is held.
pub(super) fn lock_temporary(media: &Media, layout: &Layout, job: &Job) -> Result<super::lock::Lock> {
    super::lock::Lock::wait(media, &layout.temporary().join(".lock"), job)
}

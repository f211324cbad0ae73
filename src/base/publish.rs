//! Publishing a file whole or not at all: write beside it, sync, rename, sync the directory.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::fs::{self, FileError, Result};

/// Holds a file that is being written beside its final name. Dropped without [`Publication::publish`],
/// it removes what it wrote and leaves the final name as it was.
#[must_use = "a publication that is dropped removes what was written"]
pub struct Publication {
    file: Option<File>,
    temporary: PathBuf,
    path: PathBuf,
}

impl Publication {
    /// Creates the temporary file for reading and writing, with the mode of the file that it will replace,
    /// else 0644 less the umask. It lies in the same directory, hidden, with a random name: two builds of
    /// one output never meet. It is locked: what a killed process left is known by its free lock, and goes.
    /// A symbolic link stays one: the file that it leads to is replaced. Anything that is no file is refused.
    pub fn create(path: &Path) -> Result<Self> {
        let (path, mode) = target(path)?;
        let name = path.file_name().ok_or_else(|| refused(&path, "it is not the name of a file"))?;
        clear_away(&path, name);
        let (file, temporary) = loop {
            let temporary = path.with_file_name(temporary_name(name));
            if let Some(file) =
                create_locked(&temporary).map_err(FileError::at("create a file beside", &path))?
            {
                break (file, temporary);
            }
        };
        let publication = Publication { file: Some(file), temporary, path };
        if let Some(mode) = mode {
            let set = publication.file().set_permissions(mode);
            set.map_err(FileError::at("set the mode of", &publication.temporary))?;
        }
        Ok(publication)
    }

    /// Returns the file that is being written.
    pub fn file(&self) -> &File {
        self.file.as_ref().expect("because publish and drop alone take the file")
    }

    /// Returns where the file lies until it is published.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Makes the bytes durable and gives them their final name, in one rename.
    pub fn publish(mut self) -> Result<()> {
        let file = self.file.take().expect("because publish takes the publication");
        let done = fs::sync(&file, &self.path).and_then(|()| fs::rename(&self.temporary, &self.path));
        if done.is_err() {
            self.file = Some(file);
            return done;
        }
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => fs::sync_directory(parent),
            _ => fs::sync_directory(Path::new(".")),
        }
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Returns the file that a path leads to, and its mode where it is there.
fn target(path: &Path) -> Result<(PathBuf, Option<Permissions>)> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(refused(path, "it is a directory")),
        Ok(metadata) if !metadata.is_file() => Err(refused(path, "it is not a file")),
        Ok(metadata) => {
            let real = if path.is_symlink() { path.canonicalize() } else { Ok(path.to_owned()) };
            Ok((real.map_err(FileError::at("follow the link", path))?, Some(metadata.permissions())))
        }
        Err(_) if path.is_symlink() => Err(refused(path, "it is a symbolic link that leads nowhere")),
        Err(_) => Ok((path.to_owned(), None)),
    }
}

fn refused(path: &Path, problem: &'static str) -> FileError {
    let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, problem);
    FileError { doing: "write", path: path.to_owned(), source }
}

/// Longest part of a name that goes into that of its temporary file, so that the two fit into 255 bytes.
const NAME_PART_BYTES: usize = 255 - 38;

fn temporary_prefix(name: &OsStr) -> OsString {
    let bytes = &name.as_bytes()[..name.len().min(NAME_PART_BYTES)];
    OsString::from_vec([b".", bytes, b"."].concat())
}

fn temporary_name(name: &OsStr) -> OsString {
    let mut temporary = temporary_prefix(name);
    temporary.push(format!("{}.tmp", unique()));
    temporary
}

/// Creates a file and locks it; `None` where someone who clears away took it for a dead one's in between.
fn create_locked(path: &Path) -> std::io::Result<Option<File>> {
    use std::os::unix::fs::MetadataExt;
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(path)?;
    // Any other error: a file system without locks can't say who lives, and nothing is cleared away there.
    if let Err(rustix::io::Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        return Ok(None);
    }
    let is_there = file.metadata()?.nlink() > 0;
    Ok(is_there.then_some(file))
}

/// Removes what processes left that were killed while they wrote this file. What can't be looked at stays.
fn clear_away(path: &Path, name: &OsStr) {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let prefix = temporary_prefix(name);
    let is_ours = |other: &OsString| {
        let middle = other.as_bytes().strip_prefix(prefix.as_bytes());
        let middle = middle.and_then(|rest| rest.strip_suffix(b".tmp"));
        middle.is_some_and(|middle| middle.len() == 32 && middle.iter().all(u8::is_ascii_hexdigit))
    };
    for other in fs::list(folder).unwrap_or_default().into_iter().filter(is_ours) {
        let other = folder.join(other);
        if let Ok(file) = File::open(&other)
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = fs::remove_file(&other);
        }
    }
}

/// Publishes bytes under a name.
pub fn publish_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    let publication = Publication::create(path)?;
    publication.file().write_all(bytes).map_err(FileError::at("write", path))?;
    publication.publish()
}

/// Returns 32 random hexadecimal digits from the system, for names that must not meet. They never
/// reach an image.
pub fn unique() -> String {
    use std::hash::{BuildHasher, Hasher};
    let half = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    let mut seed = [0u8; 32];
    seed[..8].copy_from_slice(&half().to_le_bytes());
    seed[8..16].copy_from_slice(&half().to_le_bytes());
    seed[16..24].copy_from_slice(&u64::from(std::process::id()).to_le_bytes());
    seed[24..].copy_from_slice(&super::clock::unix_seconds().to_le_bytes());
    super::id::hex(&blake3::hash(&seed).as_bytes()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_published_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        publish_bytes(&path, b"old").expect("published");
        let publication = Publication::create(&path).expect("created");
        publication.file().write_all(b"new").expect("written");
        drop(publication);
        assert_eq!(fs::read(&path).expect("read"), b"old");
        assert_eq!(fs::list(folder.path()).expect("listed"), ["out"]);
    }

    #[test]
    fn what_a_dead_writer_left_goes_and_what_a_living_one_writes_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        let living = Publication::create(&path).expect("created");
        let dead = folder.path().join(temporary_name(OsStr::new("out")));
        let others = [".out.tmp", ".out2.00000000000000000000000000000000.tmp"];
        std::fs::write(&dead, b"torn").expect("written");
        others
            .iter()
            .for_each(|other| std::fs::write(folder.path().join(other), b"not ours").expect("written"));
        publish_bytes(&path, b"new").expect("published");
        assert!(!dead.exists() && living.temporary().exists());
        drop(living);
        assert_eq!(fs::list(folder.path()).expect("listed"), [others[0], others[1], "out"]);
    }

    #[test]
    fn a_link_stays_a_link_a_mode_stays_and_a_device_stays_a_device() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let [path, link] = ["out", "link"].map(|name| folder.path().join(name));
        publish_bytes(&path, b"old").expect("published");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a mode");
        std::os::unix::fs::symlink("out", &link).expect("a link");
        publish_bytes(&link, b"new").expect("published");
        assert!(link.is_symlink());
        assert_eq!(fs::read(&path).expect("read"), b"new");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        let error = publish_bytes(Path::new("/dev/null"), b"x").expect_err("a device");
        assert_eq!(error.to_string(), "cannot write /dev/null");
        assert!(publish_bytes(folder.path(), b"x").is_err());
        let long = folder.path().join("n".repeat(255));
        publish_bytes(&long, b"x").expect("the longest name there is");
    }
}

//! Publishing a file whole or not at all: write beside it, sync, rename, sync the directory.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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
    /// Creates the temporary file, mode 0644 less the umask, for reading and writing. It lies in the
    /// same directory as `path`, hidden, with a random name: two builds of one output never meet.
    pub fn create(path: &Path) -> Result<Self> {
        let name = path.file_name().ok_or_else(|| {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "not the name of a file");
            FileError { doing: "write", path: path.to_owned(), source }
        })?;
        let mut temporary_name = std::ffi::OsString::from(".");
        temporary_name.push(name);
        temporary_name.push(format!(".{}.tmp", unique()));
        let temporary = path.with_file_name(temporary_name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&temporary)
            .map_err(FileError::at("create a file beside", path))?;
        Ok(Publication { file: Some(file), temporary, path: path.to_owned() })
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
}

//! Host files, with errors that say what was being done to which path.
#![allow(clippy::disallowed_methods, reason = "the one file that may list directories and rename")]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Says what was being done to which host path when the system refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
pub struct FileError {
    pub doing: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl FileError {
    /// Makes a closure for `map_err`.
    pub fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
        move |source| FileError { doing, path: path.to_owned(), source }
    }

    /// Tells whether the path does not exist.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Tells whether the file system is full or over quota.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

pub type Result<T> = std::result::Result<T, FileError>;

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(FileError::at("open", path))
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(FileError::at("read", path))
}

/// How often a file is opened that was replaced each time before it was read.
const REPLACED_MAX: usize = 32;

/// Reads a whole file of at most `limit` bytes. A larger one is an error before it is in memory. What a file
/// server forgot because it was replaced (ESTALE) is opened again.
pub fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>> {
    for _ in 1..REPLACED_MAX {
        match read_once(path, limit) {
            Err(error) if error.source.kind() == io::ErrorKind::StaleNetworkFileHandle => {}
            bytes => return bytes,
        }
    }
    read_once(path, limit)
}

/// Reads a whole file of at most `limit` bytes that nobody else can have written: it belongs to who runs this process, or
/// to the superuser, and no one else may write it. `None` where that is not so.
pub fn read_own_at_most(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    use std::os::unix::fs::MetadataExt;
    let file = open(path)?;
    let metadata = file.metadata().map_err(FileError::at("read", path))?;
    match is_own(metadata.uid(), metadata.mode(), rustix::process::geteuid().as_raw()) {
        true => read_opened(file, path, limit).map(Some),
        false => Ok(None),
    }
}

fn is_own(owner: u32, mode: u32, me: u32) -> bool {
    (owner == me || owner == 0) && mode & 0o022 == 0
}

fn read_once(path: &Path, limit: u64) -> Result<Vec<u8>> {
    read_opened(open(path)?, path, limit)
}

fn read_opened(file: File, path: &Path, limit: u64) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(FileError::at("read", path))?;
    if bytes.len() as u64 > limit {
        let source = io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {limit} bytes"));
        return Err(FileError { doing: "read", path: path.to_owned(), source });
    }
    Ok(bytes)
}

/// Creates a directory and those above it.
pub fn create_directories(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(FileError::at("create the directory", path))
}

static IS_TURNED_AROUND: AtomicBool = AtomicBool::new(false);

/// Has listings come from the host in the opposite order from now on, and files go out in the opposite order:
/// nothing that is made may show it.
pub fn turn_listings_around() {
    IS_TURNED_AROUND.store(true, Ordering::Relaxed);
}

/// Puts items in the order in which this process works through those of no order.
pub fn in_host_order<T>(mut items: Vec<T>) -> Vec<T> {
    if IS_TURNED_AROUND.load(Ordering::Relaxed) {
        items.reverse();
    }
    items
}

/// Returns the names in a directory, sorted by bytes: the host's order never gets further.
pub fn list(path: &Path) -> Result<Vec<std::ffi::OsString>> {
    let listing = std::fs::read_dir(path).map_err(FileError::at("list", path))?;
    let mut names = Vec::new();
    for entry in listing {
        names.push(entry.map_err(FileError::at("list", path))?.file_name());
    }
    let mut names = in_host_order(names);
    names.sort();
    Ok(names)
}

/// Renames within one file system. The caller makes it durable with [`sync_directory`].
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(FileError::at("rename to", to))
}

/// Removes a file; one that is not there is no error.
pub fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a directory with all that is in it; one that is not there is no error.
pub fn remove_tree(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Makes a file's bytes and size durable. A failure is final: after it the kernel may have dropped the
/// pages, so that trying again could only succeed falsely.
pub fn sync(file: &File, path: &Path) -> Result<()> {
    file.sync_all().map_err(FileError::at("sync", path))
}

/// Makes a directory's entries durable.
pub fn sync_directory(path: &Path) -> Result<()> {
    let directory = open(path)?;
    directory.sync_all().map_err(FileError::at("sync the directory", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_ones_own_where_nobody_else_could_write_it() {
        assert!(is_own(1000, 0o100_444, 1000) && is_own(1000, 0o100_600, 1000));
        assert!(is_own(0, 0o100_444, 1000), "the superuser writes what he likes anyway");
        assert!(!is_own(1001, 0o100_444, 1000) && !is_own(1001, 0o100_444, 0));
        assert!(!is_own(1000, 0o100_464, 1000) && !is_own(1000, 0o100_446, 1000));
    }
}

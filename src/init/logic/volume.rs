//! Small volumes that clouds attach: which label they have, and files of them. FAT and ISO 9660, read as
//! far as that needs, without the kernel's modules, from bytes that anyone may have written.

use std::io;

use super::{fat, iso};

/// Reads bytes at an offset of a device.
pub type Read<'a> = dyn Fn(u64, &mut [u8]) -> io::Result<()> + 'a;

/// Longest directory that is read, in bytes.
pub const DIRECTORY_MAX_BYTES: usize = 256 << 10;

/// A volume of a kind that we read.
pub enum Volume {
    Fat(fat::Fat),
    Iso(iso::Iso),
}

impl Volume {
    /// Looks at the beginning of a device. `None`: it is neither FAT nor ISO 9660, or can't be read.
    pub fn open(read: &Read<'_>) -> Option<Volume> {
        let iso = iso::Iso::open(read).map(Volume::Iso);
        iso.or_else(|| fat::Fat::open(read).map(Volume::Fat))
    }

    /// Returns the label without blanks at its end.
    pub fn label(&self) -> &str {
        match self {
            Volume::Fat(fat) => &fat.label,
            Volume::Iso(iso) => &iso.label,
        }
    }

    /// Reads a file of at most `limit` bytes; letters of its path are compared without their case. `None`: it
    /// is not there.
    pub fn file(&self, read: &Read<'_>, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        match self {
            Volume::Fat(fat) => fat.file(read, path, limit),
            Volume::Iso(iso) => iso.file(read, path, limit),
        }
    }
}

/// One entry of a directory.
pub struct Entry<P> {
    pub name: String,
    pub is_directory: bool,
    pub place: P,
    pub size_bytes: u64,
}

/// Walks down a path of `/` between names.
pub fn walk<P>(
    path: &str,
    root: P,
    list: impl Fn(&P) -> io::Result<Vec<Entry<P>>>,
) -> io::Result<Option<Entry<P>>> {
    let mut at = Entry { name: String::new(), is_directory: true, place: root, size_bytes: 0 };
    for name in path.split('/') {
        if !at.is_directory {
            return Ok(None);
        }
        let entries = list(&at.place)?;
        match entries.into_iter().find(|entry| entry.name.eq_ignore_ascii_case(name)) {
            Some(entry) => at = entry,
            None => return Ok(None),
        }
    }
    Ok(Some(at).filter(|found| !found.is_directory))
}

pub fn damaged(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

pub fn too_long() -> io::Error {
    damaged("the file is too long")
}

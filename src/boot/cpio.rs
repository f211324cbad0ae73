//! The archive that the kernel unpacks as its first root: cpio, "new ASCII" form without checksums
//! (Linux `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::collections::BTreeSet;

use super::error::BootError;
use crate::base::ImagePath;
use crate::tree::DeviceKind;

const MAGIC: &[u8; 6] = b"070701";
const TYPE_CHARACTER: u32 = 0o020_000;
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_BLOCK: u32 = 0o060_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_SYMLINK: u32 = 0o120_000;

/// Writes an archive, entry by entry. Everything is root's; inode numbers count up from 1; every time
/// stamp is the epoch. The same calls make the same bytes.
pub struct CpioWriter {
    bytes: Vec<u8>,
    modified: u32,
    inode: u32,
    paths: BTreeSet<ImagePath>,
    directories: BTreeSet<ImagePath>,
}

impl CpioWriter {
    /// Begins an archive. `epoch` is in seconds since 1970; the form's last second (in 2106) stands for
    /// later ones.
    pub fn new(epoch: u64) -> Self {
        CpioWriter {
            bytes: Vec::new(),
            modified: u32::try_from(epoch).unwrap_or(u32::MAX),
            inode: 0,
            paths: BTreeSet::new(),
            directories: BTreeSet::from([ImagePath::root()]),
        }
    }

    /// Adds a directory with permission bits. Parents come first: the kernel makes none by itself.
    pub fn directory(&mut self, path: &ImagePath, mode: u16) -> Result<(), BootError> {
        self.entry(path, TYPE_DIRECTORY | u32::from(mode), 2, (0, 0), &[])?;
        self.directories.insert(path.clone());
        Ok(())
    }

    /// Adds a regular file. Less than 4 GiB.
    pub fn file(&mut self, path: &ImagePath, mode: u16, contents: &[u8]) -> Result<(), BootError> {
        self.entry(path, TYPE_FILE | u32::from(mode), 1, (0, 0), contents)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &ImagePath, target: &[u8]) -> Result<(), BootError> {
        if target.is_empty() || target.contains(&0) || target.len() > crate::tree::node::SYMLINK_BYTES_MAX {
            return Err(refuse(path, "a symlink's target has 1 to 4095 bytes and no NUL"));
        }
        self.entry(path, TYPE_SYMLINK | 0o777, 1, (0, 0), target)
    }

    /// Adds a device node.
    pub fn device(
        &mut self,
        path: &ImagePath,
        mode: u16,
        kind: DeviceKind,
        major: u32,
        minor: u32,
    ) -> Result<(), BootError> {
        let kind = match kind {
            DeviceKind::Character => TYPE_CHARACTER,
            DeviceKind::Block => TYPE_BLOCK,
        };
        self.entry(path, kind | u32::from(mode), 1, (major, minor), &[])
    }

    /// Ends the archive and returns it.
    pub fn finish(mut self) -> Vec<u8> {
        // The end mark has no inode and no time; all that a reader looks at is its name.
        self.record(b"TRAILER!!!", [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 11, 0], &[]);
        self.bytes
    }

    fn entry(
        &mut self,
        path: &ImagePath,
        mode: u32,
        links: u32,
        device: (u32, u32),
        contents: &[u8],
    ) -> Result<(), BootError> {
        let parent = path.parent().ok_or_else(|| refuse(path, "the root itself is no entry"))?;
        if !self.directories.contains(&parent) {
            return Err(refuse(path, format!("no directory {parent} stands before it")));
        }
        let size = u32::try_from(contents.len()).map_err(|_| refuse(path, "it has 4 GiB or more"))?;
        if !self.paths.insert(path.clone()) {
            return Err(refuse(path, "it is there already"));
        }
        self.inode += 1;
        let name = &path.as_bytes()[1..];
        let name_size = name.len() as u32 + 1;
        let (major, minor) = device;
        let fields = [self.inode, mode, 0, 0, links, self.modified, size, 0, 0, major, minor, name_size, 0];
        self.record(name, fields, contents);
        Ok(())
    }

    /// Writes header, name and contents, name and contents each padded to 4 bytes. Fields: inode, mode,
    /// uid, gid, links, time, size, device of the file system (2), device of the node (2), length of the
    /// name with its NUL, check.
    fn record(&mut self, name: &[u8], fields: [u32; 13], contents: &[u8]) {
        self.bytes.extend_from_slice(MAGIC);
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn refuse(path: &ImagePath, problem: impl Into<String>) -> BootError {
    BootError::Entry { path: path.clone(), problem: problem.into() }
}

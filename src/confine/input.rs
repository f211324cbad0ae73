//! Images on their way into the child: open files, and nothing else of the machine.

use std::fs::File;
use std::io::Seek;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::Handed;
use super::error::{ConfineError, Result};
use crate::base::FileError;

/// An image to be read by the child.
pub struct Input {
    image: File,
    pub(super) scratch: Option<File>,
}

impl Input {
    /// Opens a file or a block device; anything else is refused, unopened.
    pub fn open(path: &Path) -> Result<Self> {
        let kind = std::fs::metadata(path).map_err(FileError::at("open", path))?.file_type();
        // Looked at before it is opened: opening a fifo would wait.
        if !kind.is_file() && !kind.is_block_device() {
            return Err(ConfineError::NotAFile { path: path.to_owned() });
        }
        Ok(Input { image: crate::base::fs::open(path)?, scratch: None })
    }

    /// Reads the first bytes, without moving.
    pub fn start(&self) -> std::io::Result<[u8; 8]> {
        let mut start = [0; 8];
        let read = std::os::unix::fs::FileExt::read_at(&self.image, &mut start, 0)?;
        start[read..].fill(0);
        Ok(start)
    }

    /// Gives the child a file without a name, in a folder, that it may write.
    pub fn with_scratch(mut self, folder: &Path) -> Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let opened = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR);
        let opened = opened.map_err(|error| FileError::at("make a scratch file in", folder)(error.into()))?;
        self.scratch = Some(opened.into());
        Ok(self)
    }

    /// Makes descriptors that the child inherits; they are closed here once it runs.
    pub(super) fn hand(&self, kept: &mut Vec<OwnedFd>) -> std::io::Result<Handed> {
        let mut hand = |file: &File| -> std::io::Result<i32> {
            let inherited = rustix::io::dup(file)?;
            let number = inherited.as_raw_fd();
            kept.push(inherited);
            Ok(number)
        };
        Ok(Handed { image: hand(&self.image)?, scratch: self.scratch.as_ref().map(hand).transpose()? })
    }

    /// Returns what the image takes on the disk, in bytes; of a device its length.
    pub(super) fn allocated(&self) -> u64 {
        match self.image.metadata() {
            Ok(metadata) if metadata.is_file() => (metadata.blocks() * 512).max(metadata.len() / 64),
            _ => {
                self.image.try_clone().and_then(|mut file| file.seek(std::io::SeekFrom::End(0))).unwrap_or(0)
            }
        }
    }
}

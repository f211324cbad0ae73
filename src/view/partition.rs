//! A range of a file, which owns what it needs.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{BlockDevice, FileDevice};

/// A partition of an image, or a file that is one.
#[derive(Clone)]
pub(super) struct Partition {
    pub file: PathBuf,
    /// Its name, for messages.
    pub name: String,
    device: Arc<FileDevice>,
    start: u64,
    size: u64,
}

impl Partition {
    /// Takes a range of a device, cut at the end of the device.
    pub fn new(file: PathBuf, name: String, device: Arc<FileDevice>, start: u64, size: u64) -> Self {
        let start = start.min(device.size());
        let size = size.min(device.size() - start);
        Partition { file, name, device, start, size }
    }
}

impl BlockDevice for Partition {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match offset.checked_add(buffer.len() as u64) {
            Some(end) if end <= self.size => self.device.read_at(self.start + offset, buffer),
            _ => {
                let (length, size) = (buffer.len(), self.size);
                let problem = format!("{length} bytes at {offset} pass the end of {size} bytes");
                Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
            }
        }
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem))
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

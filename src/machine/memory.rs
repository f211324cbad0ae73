//! Files that lie in memory alone: what may be a secret goes to the emulator in one, since its command line can be
//! read by every user of the host, and a file on a disk outlives the machine.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

/// A file without a name. Processes that are started while it is there inherit it.
#[derive(Debug)]
pub struct MemoryFile(File);

impl MemoryFile {
    /// Makes an empty file.
    pub fn create() -> io::Result<Self> {
        let descriptor = memfd_create("mkimage", MemfdFlags::empty())?;
        Ok(MemoryFile(descriptor.into()))
    }

    /// Makes a file with this content.
    pub fn with(bytes: &[u8]) -> io::Result<Self> {
        let mut file = MemoryFile::create()?;
        file.0.write_all(bytes)?;
        Ok(file)
    }

    pub fn file(&self) -> &File {
        &self.0
    }

    /// Returns the name under which we and what we start can open it, from its beginning.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

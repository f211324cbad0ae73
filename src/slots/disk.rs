//! The disk as this machine has it: a file or a block device, opened so that only one changes it at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{Result, SlotsError};
use super::running::{Machine, Marks};
use super::whole::Fresh;
use crate::base::{FileError, Stopwatch};
use crate::boot::slots::Slot;
use crate::disk::FileDevice;
use crate::image::OpenImage;

/// How long a lock of somebody else's is waited for, and how often it is looked at.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_NAP: Duration = Duration::from_millis(20);

/// An image file or a block device.
pub struct Disk {
    device: FileDevice,
    path: PathBuf,
    /// Number of a block device, as major and minor.
    block: Option<(u32, u32)>,
}

impl Disk {
    /// Opens a disk to be read.
    pub fn read(path: &Path) -> Result<Disk> {
        Self::open(path, false)
    }

    /// Opens a disk to be changed, and locks it (`flock`) until the value is dropped or the process dies. Fails
    /// where someone else holds the lock for longer than a second, and where a virtual machine has the file open.
    pub fn change(path: &Path) -> Result<Disk> {
        Self::open(path, true)
    }

    fn open(path: &Path, change: bool) -> Result<Disk> {
        // Looked at before it is opened: opening a fifo would wait.
        let metadata = std::fs::metadata(path).map_err(FileError::at("open", path))?;
        let kind = metadata.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            let problem = "it is neither a file nor a block device";
            return Err(SlotsError::NotADisk { path: path.to_owned(), problem });
        }
        let opened = OpenOptions::new().read(true).write(change).open(path);
        let mut file = opened.map_err(FileError::at("open", path))?;
        if change {
            lock(&file, path)?;
            if kind.is_file() && is_open_in_machine(&metadata) {
                return Err(SlotsError::OpenInMachine { path: path.to_owned() });
            }
        }
        let size = file.seek(SeekFrom::End(0)).map_err(FileError::at("read", path))?;
        let number = metadata.rdev();
        let block = kind.is_block_device().then(|| (rustix::fs::major(number), rustix::fs::minor(number)));
        Ok(Disk { device: FileDevice::new(file, size), path: path.to_owned(), block })
    }

    pub fn device(&self) -> &FileDevice {
        &self.device
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finds the slot that this machine runs from; `None` where it runs from none of this disk. With `named`
    /// the caller knows better, but what is in use here is still refused as a target.
    pub fn running(&self, named: Option<Slot>) -> Result<Option<Slot>> {
        self.running_on(&Machine::this(), named)
    }

    /// Does what [`Disk::running`] does, for a machine whose kernel tells these things elsewhere.
    pub fn running_on(&self, machine: &Machine, named: Option<Slot>) -> Result<Option<Slot>> {
        let Some(number) = self.block else { return Ok(named) };
        let fresh = Fresh(&self.device);
        machine.running(number, &OpenImage::open(&fresh)?, named)
    }

    /// Does what [`Disk::running`] does, of a disk that somebody else has read: reads none of it.
    pub fn running_of(&self, marks: &Marks) -> Result<Option<Slot>> {
        let Some(number) = self.block else { return Ok(None) };
        Machine::this().running(number, marks, None)
    }
}

/// Locks a disk. Whoever looks at block devices for the system (udev) holds them for a moment after each change.
fn lock(file: &File, path: &Path) -> Result<()> {
    let watch = Stopwatch::start();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if watch.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_NAP),
            Err(TryLockError::WouldBlock) => return Err(SlotsError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(FileError::at("lock", path)(error).into()),
        }
    }
}

/// Tells whether QEMU has the file open: it holds locks on bytes from 100 on of what it may write (block layer,
/// `RAW_LOCK_PERM_BASE`). Where the kernel doesn't tell, nobody has.
fn is_open_in_machine(metadata: &std::fs::Metadata) -> bool {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    let place = format!("{major:02x}:{minor:02x}:{}", metadata.ino());
    locks.lines().any(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let start = fields.get(6).and_then(|start| start.parse::<u64>().ok());
        fields.get(1) == Some(&"OFDLCK")
            && fields.get(5) == Some(&place.as_str())
            && start.is_some_and(|start| (100..300).contains(&start))
    })
}

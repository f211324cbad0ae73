//! Where the agent finds what: the disk that the machine runs from, the running slot on it, its own folder.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::confine::Reach;
use super::error::{AgentError, Result};
use super::running::Part;
use super::settings::Settings;
use crate::base::{FileError, fs, publish};
use crate::boot::command_line::VERITY_BLOCK_BYTES;
use crate::boot::slots::Slot;
use crate::disk::FileDevice;
use crate::disk::verity::Verified;
use crate::image::{OpenImage, open, verity_in};
use crate::remote::Address;
use crate::slots::Disk;

/// The machine's own id, below the data partition's mount: PID 1 keeps it there for images that show one.
const MACHINE_ID: &str = ".mkimage/machine-id";
/// What PID 1 says of a trial that it gave up, below the data partition's mount.
const GAVE_UP: &str = ".mkimage/gave-up";
const TEXT_BYTES_MAX: u64 = 4096;

/// Everything on this machine that the agent reads and writes.
#[derive(Clone, Debug)]
pub struct Place {
    /// The whole disk: a block device, or an image file.
    pub disk: PathBuf,
    /// The slot that runs, where the kernel can't tell.
    pub running: Option<Slot>,
    /// The agent's folder.
    pub state: PathBuf,
    /// Where the data partition is mounted.
    pub data: PathBuf,
}

impl Place {
    /// Finds all of it on the machine that this program runs on: the root is a verified device, below which is a
    /// partition, of a disk.
    pub fn find(settings: &Settings) -> Result<Place> {
        let no_image = |problem: String| AgentError::NotAnImage { problem };
        let number = std::fs::metadata("/").map_err(FileError::at("look at", Path::new("/")))?.dev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let root = device_of(&Path::new("/sys/dev/block").join(format!("{major}:{minor}")))
            .ok_or_else(|| no_image(format!("/ is on device {major}:{minor}, which is no disk")))?;
        let below = fs::list(&root.join("slaves")).unwrap_or_default();
        let [slot] = below.as_slice() else {
            return Err(no_image(format!("/ is on {}, which nothing verifies", name(&root))));
        };
        let slot = device_of(&Path::new("/sys/class/block").join(slot));
        let disk = slot.as_deref().and_then(Path::parent).map(name);
        let disk = disk.ok_or_else(|| no_image("its slot is no partition of a disk".to_owned()))?;
        Ok(Place {
            disk: Path::new("/dev").join(disk),
            running: None,
            state: settings.state_folder(),
            data: PathBuf::from(&settings.data_path),
        })
    }

    /// Finds the slot that runs.
    pub fn running(&self, disk: &Disk) -> Result<Slot> {
        let none = || AgentError::NotAnImage { problem: format!("none of {} runs", self.disk.display()) };
        disk.running(self.running)?.ok_or_else(none)
    }

    /// Opens the running root, of which every block that is read is verified, by the kernel image of its slot. It is read
    /// from the disk itself: the device that the root is mounted from panics the machine at a damaged block.
    pub fn verified_root(&self, slot: Slot, uki: &[u8]) -> Result<Verified<Part<FileDevice>>> {
        let device: FileDevice = open(&self.disk)?;
        let root = verity_in(uki)?;
        let image = OpenImage::open(&device)?;
        let partition = image.table().named(&image.map().slots[slot.index()].partition);
        let (start, size) = partition.map_or((0, 0), |found| (found.offset(), found.size().0));
        let part = Part { device, start, size };
        let offset = root.hash_start_block.saturating_mul(VERITY_BLOCK_BYTES as u64);
        Ok(Verified::open(part, root.data_blocks, offset, &root.salt, &root.root_hash)?)
    }

    /// Returns a name of this machine that stays the same: the kept machine id, else one of the agent's own.
    pub fn machine(&self) -> Result<String> {
        let own = self.state.join("machine");
        for path in [&self.data.join(MACHINE_ID), &own] {
            if let Some(id) = text(path).filter(|id| id.len() == 32) {
                return Ok(id);
            }
        }
        let id = publish::unique();
        publish::publish_bytes(&own, format!("{id}\n").as_bytes())?;
        Ok(id)
    }

    /// Returns why PID 1 gave the trial up that booted a root hash.
    pub fn gave_up(&self, root_hash: &str) -> Option<String> {
        let said = text(&self.data.join(GAVE_UP))?;
        Some(said.strip_prefix(root_hash)?.trim().to_owned())
    }

    /// Takes the agent's folder for one agent, until the value is dropped or the process dies (`flock`).
    pub fn alone(&self) -> Result<File> {
        let folder = File::open(&self.state).map_err(FileError::at("open", &self.state))?;
        match folder.try_lock() {
            Ok(()) => Ok(folder),
            Err(TryLockError::WouldBlock) => Err(AgentError::NotAlone { path: self.state.clone() }),
            Err(TryLockError::Error(error)) => Err(FileError::at("lock", &self.state)(error).into()),
        }
    }

    /// Opens the disk to change it; nobody else can meanwhile.
    pub fn change(&self) -> Result<Disk> {
        Ok(Disk::change(&self.disk)?)
    }

    /// Opens the disk to look at it.
    pub fn look(&self) -> Result<Disk> {
        Ok(Disk::read(&self.disk)?)
    }

    /// Returns all that an agent reaches that stays, besides `read`, which it was given.
    pub fn reach(&self, settings: &Settings, socket: &Path, read: &[&Path]) -> Reach {
        let mut reach = Reach {
            own_folders: vec![self.state.clone()],
            written: vec![self.disk.clone()],
            read: read.iter().map(|path| path.to_path_buf()).collect(),
            signals: false,
        };
        reach.own_folders.extend(socket.parent().map(Path::to_owned));
        reach.read.extend(self.data.join(GAVE_UP).parent().map(Path::to_owned));
        reach.read.extend(settings.certificates.clone());
        if let Ok(Address::Directory(site)) = settings.from.parse() {
            reach.read.push(site);
        }
        reach
    }

    /// Makes the agent's folder, where it is missing.
    pub fn prepare(&self) -> Result<()> {
        fs::create_directories(&self.state)?;
        File::open(&self.state).map_err(FileError::at("open", &self.state))?;
        Ok(())
    }
}

/// Returns the folder of a device in `/sys/devices`: its last component is the device's name.
fn device_of(link: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(link).ok()
}

fn name(device: &Path) -> String {
    device.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn text(path: &Path) -> Option<String> {
    let bytes = fs::read_at_most(path, TEXT_BYTES_MAX).ok()?;
    Some(String::from_utf8(bytes).ok()?.trim().to_owned())
}

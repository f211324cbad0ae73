//! Which slot of a disk this machine runs from, by what its kernel says.

use std::path::{Path, PathBuf};

use super::error::{Result, SlotsError};
use crate::base::fs;
use crate::boot::command_line::{self, VerityRoot};
use crate::boot::slots::Slot;
use crate::disk::BlockDevice;
use crate::image::OpenImage;

/// What tells the slots of a disk apart, for whoever asks a kernel which of them it uses.
pub trait Sides {
    /// Returns the number of a slot's partition.
    fn number_of(&self, slot: Slot) -> Option<u32>;
    /// Returns what a slot's kernel image says of its root.
    fn root_of(&self, slot: Slot) -> Option<VerityRoot>;
}

impl Sides for OpenImage<'_> {
    fn number_of(&self, slot: Slot) -> Option<u32> {
        Some(self.table().named(&self.map().slots[slot.index()].partition)?.number)
    }

    fn root_of(&self, slot: Slot) -> Option<VerityRoot> {
        self.verity(slot).ok()
    }
}

/// The sides of a disk that somebody else has read.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Marks {
    partitions: [Option<u32>; 2],
    /// As the command line has them.
    verity: [Option<String>; 2],
}

impl Marks {
    /// Reads them from a disk, with both kernel images.
    pub fn of(device: &dyn BlockDevice) -> Result<Marks> {
        let disk = OpenImage::salvage(device)?;
        Ok(Marks {
            partitions: Slot::BOTH.map(|slot| disk.number_of(slot)),
            verity: Slot::BOTH.map(|slot| Some(disk.root_of(slot)?.to_string())),
        })
    }
}

impl Sides for Marks {
    fn number_of(&self, slot: Slot) -> Option<u32> {
        self.partitions[slot.index()]
    }

    fn root_of(&self, slot: Slot) -> Option<VerityRoot> {
        self.verity[slot.index()].as_ref()?.parse().ok()
    }
}

/// Where a kernel tells what it uses.
pub struct Machine {
    /// `/sys/dev/block`: a folder for each block device, by its number.
    pub block_devices: PathBuf,
    /// What is mounted: `/proc/self/mountinfo`.
    pub mounts: PathBuf,
    /// What was booted: `/proc/cmdline`.
    pub command_line: PathBuf,
}

impl Machine {
    /// Returns the machine that this program runs on.
    pub fn this() -> Machine {
        Machine {
            block_devices: "/sys/dev/block".into(),
            mounts: "/proc/self/mountinfo".into(),
            command_line: "/proc/cmdline".into(),
        }
    }

    /// Finds the slot of a block device that this machine runs from: the one whose partition is in use, else the
    /// one whose root hash was booted.
    pub fn running(&self, device: (u32, u32), disk: &dyn Sides, named: Option<Slot>) -> Result<Option<Slot>> {
        let held = Slot::BOTH.map(|slot| self.is_held(device, disk, slot));
        let running = match (named, held) {
            (Some(slot), _) => Some(slot),
            (None, [true, false]) => Some(Slot::A),
            (None, [false, true]) => Some(Slot::B),
            (None, _) => self.booted(disk),
        };
        match running.map(Slot::other).filter(|target| held[target.index()]) {
            Some(slot) => Err(SlotsError::Held { slot }),
            None if running.is_none() && held == [true, true] => Err(SlotsError::Held { slot: Slot::A }),
            None => Ok(running),
        }
    }

    /// Returns the slot whose root hash is on the kernel's command line, where it is only one.
    fn booted(&self, disk: &dyn Sides) -> Option<Slot> {
        let line = std::fs::read_to_string(&self.command_line).ok()?;
        let booted = command_line::parse(&line).ok()?.verity;
        let same = Slot::BOTH.map(|slot| disk.root_of(slot).is_some_and(|verity| verity == booted));
        match same {
            [true, false] => Some(Slot::A),
            [false, true] => Some(Slot::B),
            _ => None,
        }
    }

    /// Tells whether a slot's partition is mounted, or has a device-mapper device above it.
    fn is_held(&self, (major, minor): (u32, u32), disk: &dyn Sides, slot: Slot) -> bool {
        let Some(number) = disk.number_of(slot) else { return false };
        let folder = self.block_devices.join(format!("{major}:{minor}"));
        let Some(partition) = partition_folder(&folder, number) else { return false };
        let holders = fs::list(&partition.join("holders")).is_ok_and(|holders| !holders.is_empty());
        holders || attribute(&partition, "dev").is_some_and(|dev| self.is_mounted(&dev))
    }

    fn is_mounted(&self, dev: &str) -> bool {
        let mounts = std::fs::read_to_string(&self.mounts).unwrap_or_default();
        mounts.lines().any(|line| line.split(' ').nth(2) == Some(dev))
    }
}

/// Finds the folder of a disk's partition: the one below it that has this number.
fn partition_folder(disk: &Path, number: u32) -> Option<PathBuf> {
    let below = fs::list(disk).ok()?.into_iter().map(|name| disk.join(name));
    below
        .into_iter()
        .find(|folder| attribute(folder, "partition").is_some_and(|text| text == number.to_string()))
}

fn attribute(folder: &Path, name: &str) -> Option<String> {
    Some(std::fs::read_to_string(folder.join(name)).ok()?.trim().to_owned())
}

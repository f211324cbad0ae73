//! Which slot of a disk this machine runs from, by what its kernel says.

use std::path::{Path, PathBuf};

use super::error::{Result, SlotsError};
use crate::base::fs;
use crate::boot::command_line;
use crate::boot::slots::Slot;
use crate::image::OpenImage;

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
    pub fn running(
        &self,
        device: (u32, u32),
        disk: &OpenImage<'_>,
        named: Option<Slot>,
    ) -> Result<Option<Slot>> {
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
    fn booted(&self, disk: &OpenImage<'_>) -> Option<Slot> {
        let line = std::fs::read_to_string(&self.command_line).ok()?;
        let booted = command_line::parse(&line).ok()?.verity;
        let same = Slot::BOTH.map(|slot| disk.verity(slot).is_ok_and(|verity| verity == booted));
        match same {
            [true, false] => Some(Slot::A),
            [false, true] => Some(Slot::B),
            _ => None,
        }
    }

    /// Tells whether a slot's partition is mounted, or has a device-mapper device above it.
    fn is_held(&self, (major, minor): (u32, u32), disk: &OpenImage<'_>, slot: Slot) -> bool {
        let name = &disk.map().slots[slot.index()].partition;
        let Some(number) = disk.table().named(name).map(|partition| partition.number) else { return false };
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

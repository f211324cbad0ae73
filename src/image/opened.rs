//! A disk whose partition table, ESP map and slot table were read.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::error::{ImageError, Result};
use crate::base::{FileError, fs};
use crate::boot::command_line::{self, VerityRoot};
use crate::boot::slots::{Choice, Slot, SlotError, SlotMap, SlotState, SlotTable, map_offset};
use crate::boot::uki;
use crate::disk::gpt::{self, PartitionTable};
use crate::disk::{BlockDevice, FileDevice, Window};
use crate::store::Commit;

/// Opens an image or a disk for reading; anything else is refused.
pub fn open(path: &Path) -> Result<FileDevice> {
    use std::io::{Seek, SeekFrom};
    // Looked at before it is opened: opening a fifo would wait.
    let kind = std::fs::metadata(path).map_err(FileError::at("open", path))?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        let problem = "it is neither a file nor a block device".to_owned();
        return Err(ImageError::NotAnImage { path: path.to_owned(), problem });
    }
    let mut file = fs::open(path)?;
    let size = file.seek(SeekFrom::End(0)).map_err(FileError::at("read", path))?;
    Ok(FileDevice::new(file, size))
}

/// An image by its parts. Nothing is taken over from it that was not held against the size of what holds it.
pub struct OpenImage<'a> {
    device: &'a dyn BlockDevice,
    table: PartitionTable,
    map: SlotMap,
    slots: SlotTable,
    lost: Option<SlotError>,
}

impl<'a> OpenImage<'a> {
    /// Reads partition table, map and slot table: some kilobytes.
    pub fn open(device: &'a dyn BlockDevice) -> Result<Self> {
        let image = Self::salvage(device)?;
        match image.lost {
            Some(lost) => Err(lost.into()),
            None => Ok(image),
        }
    }

    /// Reads what [`OpenImage::open`] reads. Where both slot records are lost, the slots are what the loader takes
    /// them for then, and [`OpenImage::lost`] tells of it.
    pub fn salvage(device: &'a dyn BlockDevice) -> Result<Self> {
        let table = gpt::read(device)?;
        let esp = partition(device, &table, "esp")?;
        let map = read_map(&esp)?;
        let (slots, lost) = SlotTable::read_or_recover(&map, |offset| -> Result<[u8; 512]> {
            let mut sector = [0; 512];
            read(&esp, offset, &mut sector)?;
            Ok(sector)
        })?;
        Ok(OpenImage { device, table, map, slots, lost })
    }

    pub fn device(&self) -> &'a dyn BlockDevice {
        self.device
    }

    pub fn table(&self) -> &PartitionTable {
        &self.table
    }

    pub fn map(&self) -> &SlotMap {
        &self.map
    }

    /// Returns the state of both slots.
    pub fn slots(&self) -> &SlotTable {
        &self.slots
    }

    /// Returns why the state of the slots is lost, where it is: what [`OpenImage::slots`] says comes from the seals of
    /// the UKIs then.
    pub fn lost(&self) -> Option<&SlotError> {
        self.lost.as_ref()
    }

    /// Returns what boots next, and why; `None` where nothing would. The loader goes on with the other slot where it
    /// refuses the kernel image of the first.
    pub fn next(&self, refused: [bool; 2]) -> Option<(Choice, String)> {
        let choice = self.slots.choose()?;
        if refused[choice.slot.index()] {
            let slot = choice.slot.other();
            let is_trial = matches!(self.slots.state(slot), SlotState::Trial { .. });
            let why =
                format!("{} comes first, but its kernel image is not what its record says", choice.slot);
            return (!refused[slot.index()]).then_some((Choice { slot, is_trial, ..choice }, why));
        }
        let why = match &self.lost {
            Some(_) => {
                "nobody knows any more which slot is healthy, and it is the first that the loader tries"
                    .to_owned()
            }
            None => choice.reason.to_string(),
        };
        Some((choice, why))
    }

    /// Returns a partition by its name: `esp`, `slot-a`, `slot-b`, `data`.
    pub fn partition(&self, name: &str) -> Result<Window<'a>> {
        partition(self.device, &self.table, name)
    }

    /// Returns the partition of a slot.
    pub fn root(&self, slot: Slot) -> Result<Window<'a>> {
        self.partition(&self.map.slots[slot.index()].partition)
    }

    /// Reads the UKI of a slot, whose size must lie inside the ESP before anything is allocated for it.
    pub fn uki(&self, slot: Slot) -> Result<Vec<u8>> {
        let esp = self.partition("esp")?;
        let size = self.slots.state(slot).size_bytes();
        let offset = self.map.uki_offset(slot);
        let failed = |source| ImageError::Device { doing: "read the UKI of a slot", source };
        Window::new(&esp, offset, u64::from(size)).map_err(failed)?;
        let mut image = vec![0; size as usize];
        read(&esp, offset, &mut image)?;
        Ok(image)
    }

    /// Returns the commit that a slot's UKI carries.
    pub fn commit(&self, slot: Slot) -> Result<Commit> {
        commit_in(&self.uki(slot)?)
    }

    /// Returns the root hash that a slot's UKI names, and where its verity tree is.
    pub fn verity(&self, slot: Slot) -> Result<VerityRoot> {
        verity_in(&self.uki(slot)?)
    }
}

/// Returns the commit that a UKI carries.
pub fn commit_in(uki: &[u8]) -> Result<Commit> {
    Ok(Commit::decode(uki::read(uki)?.commit)?)
}

/// Returns the root hash that a UKI names, and where its verity tree is.
pub fn verity_in(uki: &[u8]) -> Result<VerityRoot> {
    Ok(command_line::parse(uki::read(uki)?.command_line)?.verity)
}

pub(super) fn partition<'a>(
    device: &'a dyn BlockDevice,
    table: &PartitionTable,
    name: &str,
) -> Result<Window<'a>> {
    let partition = table.named(name).ok_or_else(|| ImageError::NoPartition { name: name.to_owned() })?;
    let failed = |source| ImageError::Device { doing: "open a partition", source };
    Window::new(device, partition.offset(), partition.size().0).map_err(failed)
}

fn read(device: &dyn BlockDevice, offset: u64, buffer: &mut [u8]) -> Result<()> {
    device.read_at(offset, buffer).map_err(|source| ImageError::Device { doing: "read the disk", source })
}

pub(super) fn read_map(esp: &dyn BlockDevice) -> Result<SlotMap> {
    let mut sector = [0; 512];
    read(esp, 0, &mut sector)?;
    let offset = map_offset(&sector)?;
    read(esp, offset, &mut sector)?;
    Ok(SlotMap::parse(&sector)?)
}

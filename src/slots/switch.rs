//! The switch between the slots, as one value: read from its places on the ESP, written back in one sector.

use super::error::{Result, SlotsError};
use crate::boot::slots::{SlotMap, SlotTable, map_offset};
use crate::disk::{BlockDevice, Window};
use crate::image::{ImageError, OpenImage};

/// What the ESP says of the slots, and where. Written as a whole: it lands or it doesn't.
pub struct Switch<'a> {
    esp: &'a dyn BlockDevice,
    state: SlotTable,
    /// Both records are lost: the state is what the loader would make of the seals.
    is_lost: bool,
}

impl<'a> Switch<'a> {
    /// Reads the switch of an ESP past the cache: someone else may have written it through another device node.
    pub fn read(esp: &'a dyn BlockDevice) -> Result<Switch<'a>> {
        let map = SlotMap::parse(&sector(esp, map_offset(&sector(esp, 0)?)?)?)?;
        let (state, lost) = SlotTable::read_or_recover(&map, |offset| sector(esp, offset))?;
        Ok(Switch { esp, state, is_lost: lost.is_some() })
    }

    /// Returns what it says.
    pub fn state(&self) -> &SlotTable {
        &self.state
    }

    /// Tells whether what it said is lost, and the next writing puts it right.
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Writes what it is to say now, flushes, and reads it back. It is flushed even where it says that already:
    /// whoever wrote it may have been stopped before he did. Where both records were lost, both are written.
    pub fn write(&mut self, state: SlotTable) -> Result<()> {
        self.put(state)?;
        if std::mem::take(&mut self.is_lost) { self.put(self.state.repeated()) } else { Ok(()) }
    }

    fn put(&mut self, state: SlotTable) -> Result<()> {
        let (offset, bytes) = state.encode();
        if sector(self.esp, offset)? != bytes {
            self.esp.write_at(offset, &bytes).map_err(SlotsError::device("write", PLACE))?;
        }
        self.esp.flush().map_err(SlotsError::device("flush", PLACE))?;
        if sector(self.esp, offset)? != bytes {
            return Err(SlotsError::ReadBack { place: PLACE.to_owned(), offset });
        }
        self.state = state;
        Ok(())
    }
}

/// Returns a partition of a disk, to be written.
pub fn partition<'a>(device: &'a dyn BlockDevice, disk: &OpenImage<'_>, name: &str) -> Result<Window<'a>> {
    let missing = || ImageError::NoPartition { name: name.to_owned() };
    let partition = disk.table().named(name).ok_or_else(missing)?;
    Window::new(device, partition.offset(), partition.size().0)
        .map_err(SlotsError::device("open the partition", name))
}

/// Returns the ESP of a disk, to be written.
pub fn esp<'a>(device: &'a dyn BlockDevice, disk: &OpenImage<'_>) -> Result<Window<'a>> {
    partition(device, disk, "esp")
}

const PLACE: &str = "the slot sector";

fn sector(esp: &dyn BlockDevice, offset: u64) -> Result<[u8; 512]> {
    let mut bytes = [0; 512];
    esp.read_back_at(offset, &mut bytes).map_err(SlotsError::device("read", "the EFI system partition"))?;
    Ok(bytes)
}

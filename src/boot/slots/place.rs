//! Writes a UKI where its slot's loader finds it.

use super::{Measured, Slot, SlotTable};
use crate::disk::BlockDevice;
use crate::disk::esp::EspMap;
use crate::disk::fat::FatError;

/// Writes all that a UKI takes on the ESP but the switch itself: its bytes, its chain in both FATs, and in
/// layout 2 its directory entry and its seal.
///
/// The slot must not be selectable meanwhile, and the caller flushes before he makes it so. Bytes that are
/// there already are written again: give it a device that compares first where that matters.
pub fn write_uki(esp: &dyn BlockDevice, table: &SlotTable, slot: Slot, uki: &[u8]) -> Result<(), FatError> {
    EspMap::read(esp)?.write_uki(esp, slot.index(), uki)?;
    match table.seal(slot, Measured::of(uki)) {
        Some((offset, seal)) => {
            esp.write_at(offset, &seal).map_err(|source| FatError::Device { doing: "write", source })
        }
        None => Ok(()),
    }
}

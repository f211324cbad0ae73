//! The map of the ESP, `EFI/mkimage/layout`: where the slot sector and the slots' extents are.

use serde::Deserialize;

use super::record::{RECORD_SECTORS, SECTOR_BYTES};
use super::{Slot, SlotError};

/// Bytes of a cluster and a sector.
const CLUSTER_BYTES: u64 = 512;
/// The cluster that holds the map, in every ESP. Changing it is a format break.
const MAP_CLUSTER: u64 = 130;

/// Says where things are on an ESP. Written once, when the image is made (`disk::esp::EspMap`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotMap {
    /// The layout version: 1 with systemd-boot, 2 with our own loader.
    pub layout: u32,
    /// Where cluster 2 begins in the partition, in bytes.
    pub data_offset: u64,
    /// Where the slot sector is in the partition, in bytes.
    pub directory_offset: u64,
    /// The clusters that "." and ".." name.
    pub directory_cluster: u32,
    pub parent_cluster: u32,
    /// FAT date and time of the entries that are written.
    pub date: u16,
    pub time: u16,
    /// The extents of slot A and slot B.
    pub slots: [SlotExtent; 2],
    /// Where the slot records are in the partition, in bytes. Layout 1 has none.
    #[serde(default)]
    pub records: Option<[u64; 2]>,
}

/// The clusters that a slot's UKI may fill, and the partition that it boots.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotExtent {
    pub partition: String,
    pub start_cluster: u32,
    pub clusters: u32,
}

/// Returns where the map is in the ESP, in bytes; it is one sector long. `boot` is the ESP's sector 0.
pub fn map_offset(boot: &[u8; 512]) -> Result<u64, SlotError> {
    let sixteen = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
    let fat_sectors = sixteen(36) | sixteen(38) << 16;
    let ours = boot[510..] == [0x55, 0xaa]
        && sixteen(11) == CLUSTER_BYTES
        && boot[13] == 1
        && boot[16] == 2
        && sixteen(22) == 0
        && fat_sectors > 0;
    if !ours {
        let problem = "the partition does not begin with the boot sector of an ESP of ours".to_owned();
        return Err(SlotError::Map { problem });
    }
    Ok((sixteen(14) + 2 * fat_sectors + MAP_CLUSTER - 2) * CLUSTER_BYTES)
}

impl SlotMap {
    /// Reads the map's sector: JSON, spaces, a newline.
    pub fn parse(text: &[u8]) -> Result<SlotMap, SlotError> {
        let map: SlotMap =
            serde_json::from_slice(text).map_err(|error| SlotError::Map { problem: error.to_string() })?;
        match map.problem() {
            Some(problem) => Err(SlotError::Map { problem }),
            None => Ok(map),
        }
    }

    fn problem(&self) -> Option<String> {
        let [a, b] = &self.slots;
        let end = |extent: &SlotExtent| extent.start_cluster.checked_add(extent.clusters);
        let directory = u64::from(self.directory_cluster.saturating_sub(2));
        let bytes_to = |cluster: u32| self.data_offset.checked_add(u64::from(cluster) * CLUSTER_BYTES);
        let records = match self.layout {
            1 => None,
            2 => Some(RECORD_SECTORS.map(|sector| sector * SECTOR_BYTES as u64)),
            layout => return Some(format!("it is of layout {layout}, neither 1 nor 2")),
        };
        if self.records != records {
            Some(format!("the slot records of layout {} are not where it says", self.layout))
        } else if end(a).is_none_or(|end| end > b.start_cluster) || end(b).and_then(bytes_to).is_none() {
            Some("the extents of the slots overlap, or pass the end of every disk".to_owned())
        } else if u64::from(a.start_cluster) <= MAP_CLUSTER || a.clusters == 0 || b.clusters == 0 {
            Some("an extent has no place".to_owned())
        } else if self.directory_cluster < 2
            || self.data_offset.checked_add(directory * CLUSTER_BYTES) != Some(self.directory_offset)
        {
            Some(format!("cluster {} is not at byte {}", self.directory_cluster, self.directory_offset))
        } else {
            None
        }
    }

    /// Returns how many bytes a slot's UKI may have.
    pub fn room(&self, slot: Slot) -> u64 {
        u64::from(self.slots[slot.index()].clusters) * CLUSTER_BYTES
    }

    /// Returns where a slot's UKI is in the partition, in bytes.
    pub fn uki_offset(&self, slot: Slot) -> u64 {
        self.data_offset + u64::from(self.slots[slot.index()].start_cluster - 2) * CLUSTER_BYTES
    }

    pub(super) fn check_size(&self, slot: Slot, size_bytes: u64) -> Result<u32, SlotError> {
        let room = self.room(slot);
        match u32::try_from(size_bytes) {
            Ok(size) if size > 0 && size_bytes <= room => Ok(size),
            _ => Err(SlotError::Size { slot, size_bytes, room }),
        }
    }
}

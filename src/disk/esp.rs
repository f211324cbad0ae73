//! The EFI system partition: loader, map, and two UKI extents behind the sectors that switch between them.
//!
//! In: sizes, then loader, UKI and the sectors of the slots' state. On disk, FAT32 with 512-byte clusters:
//!
//! ```text
//! sector 8, 32   layout 2: the seals of slot 0 and slot 1
//! sector 16, 24  layout 2: the slot records
//! cluster 2 …    directories: /, EFI, EFI/BOOT, EFI/Linux, EFI/mkimage; layout 1: loader
//! cluster 130    EFI/mkimage/layout: the map, one sector of JSON
//!                layout 1: loader/loader.conf
//!                EFI/BOOT/BOOTX64.EFI
//! then           slot 0's extent, slot 1's extent: whole FAT sectors (128 clusters) each
//! ```
//!
//! Always true
//! - Layout 1: `EFI/Linux` is one cluster of one sector, and writing that sector is the switch between
//!   slots. EDK2 writes 64 KiB from cluster 2 on when it renames there, so files keep behind cluster 130.
//! - Layout 2: the switch is a record sector, in front of the FATs. `EFI/Linux` names what stands in the
//!   extents, `slot-a.efi` and `slot-b.efi`, for FAT's sake and people's; the loader reads none of it.
//! - No FAT sector serves two slots. The chain of a slot is as long as its UKI needs; what lies behind
//!   it in the extent is free for FAT, and ours by layout.
//! - Finished states are clean for `fsck.fat -n`. Nobody mounts this volume read-write.
//!
//! Not here: what the slot sector, the records and the seals say (`boot/slots`).

use serde::{Deserialize, Serialize};

use super::fat::{
    self, CLUSTERS_PER_FAT_SECTOR, Extent, FatError, Geometry, Item, Stamp, Tree, Volume, count_free,
};
use super::layout::{Architecture, SLOT_NAMES, VERSION, VERSION_RECORDS};
use super::sparse::write_fresh;
use crate::base::units::SECTOR_BYTES;
use crate::base::{Bytes, Digest};
use crate::disk::BlockDevice;

/// First cluster of file data, and the map's place. A format constant: PID 1 looks there.
pub const FIRST_FILE_CLUSTER: u32 = 130;
/// Path of the map.
pub const MAP_PATH: &str = "EFI/mkimage/layout";
/// Path of the directory whose sector is the switch.
pub const SLOT_DIRECTORY: &str = "EFI/Linux";
/// Bytes of the map: one cluster.
const MAP_BYTES: usize = 512;
/// Where the slot records of layout 2 are in the partition, in bytes: between the boot sector's copy and the
/// first FAT, each in 4096 bytes of its own. Format constants, the loader's too (`boot/slots/record.rs`).
const RECORD_OFFSETS: [u64; 2] = [16 * SECTOR_BYTES, 24 * SECTOR_BYTES];
/// Short names of the UKIs of layout 2.
const UKI_NAMES: [[u8; 11]; 2] = [*b"SLOT-A  EFI", *b"SLOT-B  EFI"];
const LOADER_CONFIGURATION: &str = "timeout 0\neditor no\n";
const LABEL: [u8; 11] = *b"MKIMAGE ESP";

/// Asks for an ESP.
#[derive(Clone, Debug)]
pub struct EspRequest {
    /// The layout version: 1 for systemd-boot, 2 for our own loader.
    pub version: u32,
    pub architecture: Architecture,
    /// Bytes of the loader.
    pub loader_size: u64,
    /// Room for each slot's UKI; rounded up to 64 KiB.
    pub uki_room: Bytes,
    pub epoch_seconds: u64,
    /// What the volume id derives from.
    pub seed: Digest,
    /// Where the partition begins on its disk.
    pub first_sector: u32,
    /// The size is a multiple of this.
    pub alignment: Bytes,
}

/// Holds an ESP that was placed and not yet written.
#[derive(Clone, Debug)]
pub struct EspLayout {
    volume: Volume,
    map: EspMap,
    map_text: [u8; MAP_BYTES],
}

/// Says where the slots are on an ESP: the content of `EFI/mkimage/layout`, which never changes after
/// the image was made. Adding a field is a format break: readers refuse what they don't know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EspMap {
    /// The layout version: 1 with systemd-boot, 2 with our own loader.
    pub layout: u32,
    /// Where cluster 2 begins in the partition, in bytes; clusters have 512 bytes.
    pub data_offset: u64,
    /// Where the slot sector is in the partition, in bytes.
    pub directory_offset: u64,
    /// Clusters of `EFI/Linux` and of `EFI`: what "." and ".." name.
    pub directory_cluster: u32,
    pub parent_cluster: u32,
    /// FAT date and time of the image's epoch.
    pub date: u16,
    pub time: u16,
    pub slots: [EspSlot; 2],
    /// Where the slot records are in the partition, in bytes. Layout 1 has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<[u64; 2]>,
}

/// The extent of one slot's UKI, and the partition that the slot boots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EspSlot {
    pub partition: String,
    pub start_cluster: u32,
    pub clusters: u32,
}

impl EspSlot {
    pub fn extent(&self) -> Extent {
        Extent { start_cluster: self.start_cluster, clusters: self.clusters }
    }

    /// Returns how many bytes a UKI may have here.
    pub fn room(&self) -> Bytes {
        Bytes(u64::from(self.clusters) * SECTOR_BYTES)
    }
}

impl EspRequest {
    /// Decides where everything goes. Writes nothing.
    pub fn place(&self) -> Result<EspLayout, FatError> {
        let stamp = Stamp::from_epoch(self.epoch_seconds)?;
        let tree = Tree::place(&self.items(), FIRST_FILE_CLUSTER)?;
        let alignment = CLUSTERS_PER_FAT_SECTOR;
        let room = self.uki_room.sectors().0.max(1).next_multiple_of(u64::from(alignment));
        let first = tree.end().next_multiple_of(alignment);
        let end = room.checked_mul(2).and_then(|both| both.checked_add(u64::from(first)));
        let clusters = end.unwrap_or(u64::MAX);
        let geometry = Geometry::for_clusters(clusters, self.alignment.sectors().0.max(1))?;
        let volume = Volume {
            geometry,
            tree,
            id: volume_id(&self.seed),
            label: LABEL,
            stamp,
            hidden_sectors: self.first_sector,
        };
        let map = map(self.version, &volume, first, room as u32);
        let map_text = map.text();
        Ok(EspLayout { volume, map, map_text })
    }

    fn items(&self) -> Vec<Item> {
        let directory = |path: &str| Item::Directory { path: path.to_owned() };
        let file = |path: String, size_bytes: u64| Item::File { path, size_bytes };
        let mut items = vec![
            directory("EFI"),
            directory("EFI/BOOT"),
            Item::OwnDirectory { path: SLOT_DIRECTORY.to_owned() },
            directory("EFI/mkimage"),
        ];
        let map = file(MAP_PATH.to_owned(), MAP_BYTES as u64);
        match self.version {
            VERSION => items.extend([
                directory("loader"),
                map,
                file("loader/loader.conf".to_owned(), LOADER_CONFIGURATION.len() as u64),
            ]),
            _ => items.push(map),
        }
        items.push(file(format!("EFI/BOOT/{}", self.architecture.loader_name()), self.loader_size));
        items
    }
}

fn volume_id(seed: &Digest) -> u32 {
    let uuid = seed.uuid("esp volume id");
    u32::from_be_bytes([uuid[0], uuid[1], uuid[2], uuid[3]])
}

fn map(layout: u32, volume: &Volume, first: u32, room: u32) -> EspMap {
    let (directory, parent) =
        volume.tree.directory(SLOT_DIRECTORY).expect("because the items have this directory");
    let slot = |index: u32| EspSlot {
        partition: SLOT_NAMES[index as usize].to_owned(),
        start_cluster: first + index * room,
        clusters: room,
    };
    EspMap {
        layout,
        data_offset: volume.geometry.cluster_offset(fat::FIRST_CLUSTER),
        directory_offset: volume.geometry.cluster_offset(directory.start_cluster),
        directory_cluster: directory.start_cluster,
        parent_cluster: parent.start_cluster,
        date: volume.stamp.date,
        time: volume.stamp.time,
        slots: [slot(0), slot(1)],
        records: records(layout),
    }
}

fn records(layout: u32) -> Option<[u64; 2]> {
    (layout != VERSION).then_some(RECORD_OFFSETS)
}

impl EspLayout {
    /// Returns the size of the partition.
    pub fn size(&self) -> Bytes {
        Bytes(self.volume.geometry.size_bytes())
    }

    /// Returns where the slots are.
    pub fn map(&self) -> &EspMap {
        &self.map
    }

    /// Returns the bytes of `EFI/mkimage/layout`, from which the slot sector's codec takes its places.
    pub fn map_text(&self) -> &[u8; MAP_BYTES] {
        &self.map_text
    }

    /// Writes the ESP with a UKI in slot 0 to a device that reads as zero. `state` are the sectors that say
    /// so, each with its place in bytes (`boot::slots::SlotTable::encode_new`). Fails before the first byte
    /// where a length isn't the one that was placed.
    pub fn write(
        &self,
        device: &dyn BlockDevice,
        loader: &[u8],
        uki: &[u8],
        state: &[(u64, [u8; 512])],
    ) -> Result<(), FatError> {
        let clusters = self.map.check_room(0, uki.len() as u64)?;
        let configuration = LOADER_CONFIGURATION.as_bytes();
        match self.map.layout {
            VERSION => self.volume.write(device, &[&self.map_text, configuration, loader])?,
            _ => self.volume.write(device, &[&self.map_text, loader])?,
        }
        let geometry = &self.volume.geometry;
        let extent = self.map.slots[0].extent();
        let at = geometry.cluster_offset(extent.start_cluster);
        write_fresh(device, at, uki).map_err(FatError::device("write"))?;
        fat::write_chain(device, geometry, extent, clusters)?;
        self.map.write_entry(device, 0, uki.len() as u32)?;
        for (offset, sector) in state {
            device.write_at(*offset, sector).map_err(FatError::device("write"))?;
        }
        count_free(device, geometry).map(|_| ())
    }

    /// Writes a UKI to a slot in place: see [`EspMap::write_uki`].
    pub fn write_uki(&self, device: &dyn BlockDevice, slot: usize, uki: &[u8]) -> Result<(), FatError> {
        self.map.write_uki(device, slot, uki)
    }
}

impl EspMap {
    /// Writes the map as the sector that holds it: JSON, spaces, a newline.
    fn text(&self) -> [u8; MAP_BYTES] {
        let json = serde_json::to_vec(self).expect("because the map has only numbers and names");
        assert!(json.len() < MAP_BYTES, "because names and numbers leave room in a sector");
        let mut text = [b' '; MAP_BYTES];
        text[..json.len()].copy_from_slice(&json);
        text[MAP_BYTES - 1] = b'\n';
        text
    }

    /// Reads the map of an ESP. The volume around it is not checked: [`fat::read`] does that.
    pub fn read(device: &dyn BlockDevice) -> Result<EspMap, FatError> {
        let mut boot = [0; 512];
        device.read_at(0, &mut boot).map_err(FatError::device("read"))?;
        let geometry = Geometry::parse(&boot)?;
        let mut text = [0; MAP_BYTES];
        let at = geometry.cluster_offset(FIRST_FILE_CLUSTER);
        device.read_at(at, &mut text).map_err(FatError::device("read"))?;
        let map: EspMap = serde_json::from_slice(&text).map_err(|error| FatError::Damaged {
            problem: format!("{MAP_PATH} is no map of slots: {error}"),
        })?;
        map.check(&geometry)?;
        Ok(map)
    }

    fn check(&self, geometry: &Geometry) -> Result<(), FatError> {
        let damaged = |problem: String| Err(FatError::Damaged { problem });
        if ![VERSION, VERSION_RECORDS].contains(&self.layout) || self.records != records(self.layout) {
            return damaged(format!("{MAP_PATH} is of layout {}, which is not known so", self.layout));
        }
        let clusters = fat::FIRST_CLUSTER..geometry.cluster_end();
        if !clusters.contains(&self.directory_cluster) || !clusters.contains(&self.parent_cluster) {
            return damaged(format!("{MAP_PATH} names directories outside of the volume"));
        }
        if self.data_offset != geometry.cluster_offset(fat::FIRST_CLUSTER)
            || self.directory_offset != geometry.cluster_offset(self.directory_cluster)
        {
            return damaged(format!("{MAP_PATH} was made for another volume"));
        }
        let [first, second] = &self.slots;
        let inside = |slot: &EspSlot| {
            slot.start_cluster > FIRST_FILE_CLUSTER && slot.extent().end() <= geometry.cluster_end()
        };
        let apart = first.extent().end() <= second.start_cluster;
        if !inside(first) || !inside(second) || !apart {
            return damaged(format!("{MAP_PATH} names extents that overlap or leave the volume"));
        }
        Ok(())
    }

    /// Returns how many clusters a UKI of that size takes.
    fn check_room(&self, slot: usize, size: u64) -> Result<u32, FatError> {
        let Extent { start_cluster: start, clusters } = self.slots[slot].extent();
        let need = size.div_ceil(SECTOR_BYTES);
        match u32::try_from(need) {
            Ok(need) if (1..=clusters).contains(&need) => Ok(need),
            _ => Err(FatError::Extent { start, clusters, need }),
        }
    }

    /// Overwrites the UKI of a slot: its bytes, then its chain in both FATs and the free count; in layout 2
    /// its directory entry too.
    ///
    /// The slot must not be selectable meanwhile, and the caller flushes before he makes it so: the sectors
    /// that say so are not touched here. `boot::slots::write_uki` writes the seal of layout 2 as well.
    pub fn write_uki(&self, device: &dyn BlockDevice, slot: usize, uki: &[u8]) -> Result<(), FatError> {
        let clusters = self.check_room(slot, uki.len() as u64)?;
        let mut boot = [0; 512];
        device.read_at(0, &mut boot).map_err(FatError::device("read"))?;
        let geometry = Geometry::parse(&boot)?;
        self.check(&geometry)?;
        let extent = self.slots[slot].extent();
        let at = geometry.cluster_offset(extent.start_cluster);
        write_padded(device, at, uki).map_err(FatError::device("write"))?;
        fat::write_chain(device, &geometry, extent, clusters)?;
        self.write_entry(device, slot, uki.len() as u32)?;
        count_free(device, &geometry).map(|_| ())
    }

    /// Writes the directory entry of a slot's UKI. In layout 1 the entries are the switch: not ours here.
    fn write_entry(&self, device: &dyn BlockDevice, slot: usize, size_bytes: u32) -> Result<(), FatError> {
        if self.layout == VERSION {
            return Ok(());
        }
        let mut sector = [0; SECTOR_BYTES as usize];
        device.read_at(self.directory_offset, &mut sector).map_err(FatError::device("read"))?;
        let stamp = Stamp { date: self.date, time: self.time };
        let dots = fat::dot_entries(self.directory_cluster, self.parent_cluster, stamp);
        let start = self.slots[slot].start_cluster;
        let entry = fat::file_entry(&UKI_NAMES[slot], start, size_bytes, stamp);
        sector[..dots.len()].copy_from_slice(&dots);
        sector[dots.len() + slot * entry.len()..][..entry.len()].copy_from_slice(&entry);
        device.write_at(self.directory_offset, &sector).map_err(FatError::device("write"))
    }
}

/// Writes bytes, and zeros to the end of their last sector.
fn write_padded(device: &dyn BlockDevice, at: u64, bytes: &[u8]) -> std::io::Result<()> {
    let whole = bytes.len() - bytes.len() % SECTOR_BYTES as usize;
    device.write_at(at, &bytes[..whole])?;
    if whole == bytes.len() {
        return Ok(());
    }
    let mut last = [0; SECTOR_BYTES as usize];
    last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
    device.write_at(at + whole as u64, &last)
}

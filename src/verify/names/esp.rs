//! Names on the EFI system partition: boot sectors, FATs, directory entries, files, UKIs.

use super::Place;
use super::pe::PeNames;
use crate::boot::slots::record::SEAL_SECTORS;
use crate::boot::slots::{Slot, SlotError, SlotMap, SlotTable, map_offset};
use crate::disk::BlockDevice;
use crate::disk::esp::SLOT_DIRECTORY;
use crate::disk::fat::{self, Geometry, Listing};
use crate::disk::field::{Field, Form, field_at};

const SECTOR: u64 = 512;
/// Largest UKI that is read for its names.
const UKI_BYTES_MAX: u32 = 1 << 30;

/// A run of bytes of the partition and what it is.
struct Run {
    start: u64,
    end: u64,
    path: String,
    is_directory: bool,
    /// Where the run begins in the file.
    at: u64,
}

/// A slot's room for its UKI.
struct Uki {
    slot: Slot,
    start: u64,
    end: u64,
    names: Option<PeNames>,
}

/// The names of one ESP.
pub struct EspNames {
    geometry: Geometry,
    runs: Vec<Run>,
    ukis: Vec<Uki>,
    /// Sectors of the slot table that lie outside of the volume's files, and of the seals.
    records: Vec<(u64, &'static str)>,
}

impl EspNames {
    /// Reads the volume, as far as it can be; `None` where it has no boot sector.
    pub fn read(device: &dyn BlockDevice) -> Option<Self> {
        let mut boot = [0; 512];
        device.read_at(0, &mut boot).ok()?;
        let geometry = Geometry::parse(&boot).ok()?;
        let runs = fat::read(device).map_or_else(|_| Vec::new(), |listing| runs(&listing));
        let (ukis, records) = ukis(device, &boot).unwrap_or_default();
        Some(EspNames { geometry, runs, ukis, records })
    }

    /// Names an offset of the partition.
    pub fn name(&self, offset: u64) -> Place {
        let (sector, inside) = (offset / SECTOR, (offset % SECTOR) as usize);
        let start = sector * SECTOR;
        let geometry = &self.geometry;
        let backup = u64::from(geometry.backup_sector);
        if sector == 0 || sector == backup {
            let what = if sector == 0 { "FAT boot sector" } else { "FAT backup boot sector" };
            return Place::new(what, offset, 1).with(field_at(BOOT, inside), start);
        }
        let info = u64::from(geometry.fs_info_sector);
        if sector == info || sector == backup + info {
            return Place::new("FAT FSInfo", offset, 1).with(field_at(INFO, inside), start);
        }
        if let Some(what) = self.records.iter().find(|(at, _)| *at == start).map(|(_, what)| *what) {
            return Place::new(what, start, SECTOR);
        }
        if sector < u64::from(geometry.reserved_sectors) {
            return Place::new("FAT reserved sectors", start, SECTOR);
        }
        if offset < geometry.cluster_offset(fat::FIRST_CLUSTER) {
            return self.in_fat(offset);
        }
        if let Some(uki) = self.ukis.iter().find(|uki| (uki.start..uki.end).contains(&offset)) {
            return uki.name(offset);
        }
        match self.runs.iter().find(|run| (run.start..run.end).contains(&offset)) {
            Some(run) => run.name(offset),
            None => Place::new("FAT free clusters", start, SECTOR),
        }
    }

    fn in_fat(&self, offset: u64) -> Place {
        let bytes = u64::from(self.geometry.fat_sectors) * SECTOR;
        let at = offset - self.geometry.fat_offset(0);
        let (copy, entry) = (at / bytes, at % bytes / 4);
        let start = self.geometry.fat_offset(copy as u8) + entry * 4;
        let cluster = Field { offset: 0, bytes: 4, name: "next cluster", form: Form::Number, derived: false };
        let path =
            u32::try_from(entry).ok().filter(|&entry| entry >= fat::FIRST_CLUSTER).and_then(|cluster| {
                let at = self.geometry.cluster_offset(cluster);
                let run = self.runs.iter().find(|run| (run.start..run.end).contains(&at))?;
                Some(run.path.clone())
            });
        let place = Place::new(format!("FAT {copy}"), start, 4).with(Some(cluster), start);
        Place { field: Some(format!("entry of cluster {entry}")), path, ..place }
    }
}

fn runs(listing: &Listing) -> Vec<Run> {
    let geometry = &listing.geometry;
    let root = geometry.cluster_offset(geometry.root_cluster);
    let root = Run { start: root, end: root + SECTOR, path: "/".to_owned(), is_directory: true, at: 0 };
    let of = |entry: &fat::Listed| {
        let mut at = 0;
        let runs: Vec<Run> = entry
            .extents
            .iter()
            .map(|extent| {
                let start = geometry.cluster_offset(extent.start_cluster);
                let bytes = u64::from(extent.clusters) * geometry.cluster_bytes();
                let path = format!("/{}", entry.path);
                at += bytes;
                Run { start, end: start + bytes, path, is_directory: entry.is_directory, at: at - bytes }
            })
            .collect();
        runs
    };
    std::iter::once(root).chain(listing.entries.iter().flat_map(of)).collect()
}

/// What the map leads to: the UKIs, and the sectors of the slot table that no file holds.
type Mapped = (Vec<Uki>, Vec<(u64, &'static str)>);

fn ukis(device: &dyn BlockDevice, boot: &[u8; 512]) -> Option<Mapped> {
    let mut sector = [0; 512];
    device.read_at(map_offset(boot).ok()?, &mut sector).ok()?;
    let map = SlotMap::parse(&sector).ok()?;
    let read = |at| {
        let mut sector = [0; 512];
        let read = device.read_at(at, &mut sector);
        read.map(|()| sector).map_err(|error| SlotError::Records { problem: error.to_string() })
    };
    let slots = SlotTable::read(&map, read).ok();
    let uki = |slot: Slot| {
        let start = map.uki_offset(slot);
        let size = slots.as_ref().map_or(0, |slots| slots.state(slot).size_bytes());
        let names =
            (size > 0 && size <= UKI_BYTES_MAX && start + u64::from(size) <= device.size()).then(|| {
                let mut bytes = vec![0; size as usize];
                device.read_at(start, &mut bytes).ok()?;
                PeNames::read(&bytes)
            });
        Uki { slot, start, end: start + map.room(slot), names: names.flatten() }
    };
    let records = match map.layout {
        1 => Vec::new(),
        _ => {
            let seals = SEAL_SECTORS.map(|sector| (sector * SECTOR, "seal of a UKI"));
            let places = SlotTable::places(&map).into_iter().map(|at| (at, "slot record"));
            places.chain(seals).collect()
        }
    };
    Some((Slot::BOTH.map(uki).into(), records))
}

impl Uki {
    fn name(&self, offset: u64) -> Place {
        let place = match &self.names {
            Some(names) => names.name(offset - self.start),
            None => Place::new("bytes", offset - self.start, 1),
        };
        let what = format!("UKI of {}: {}", self.slot, place.what);
        Place { what, offset: place.offset + self.start, ..place }
    }
}

impl Run {
    fn name(&self, offset: u64) -> Place {
        let path = Some(self.path.clone());
        if !self.is_directory {
            let at = self.at + offset - self.start;
            return Place { path, field: Some(format!("byte {at}")), ..Place::new("FAT file", offset, 1) };
        }
        let what = match self.path.trim_start_matches('/') == SLOT_DIRECTORY {
            true => "slot sector",
            false => "FAT directory",
        };
        let entry = (offset - self.start) / 32;
        let start = self.start + entry * 32;
        let place = Place::new(what, offset, 1).with(field_at(ENTRY, (offset - start) as usize), start);
        let field = place.field.as_ref().map_or_else(String::new, |field| format!(", {field}"));
        Place { path, field: Some(format!("entry {entry}{field}")), ..place }
    }
}

const fn field(offset: usize, bytes: usize, name: &'static str, form: Form) -> Field {
    Field { offset, bytes, name, form, derived: false }
}

/// Microsoft's "FAT: General Overview of On-Disk Format", §3.
const BOOT: &[Field] = &[
    field(0, 3, "BS_jmpBoot", Form::Hex),
    field(3, 8, "BS_OEMName", Form::Text),
    field(11, 2, "BPB_BytsPerSec", Form::Number),
    field(13, 1, "BPB_SecPerClus", Form::Number),
    field(14, 2, "BPB_RsvdSecCnt", Form::Number),
    field(16, 1, "BPB_NumFATs", Form::Number),
    field(17, 2, "BPB_RootEntCnt", Form::Number),
    field(19, 2, "BPB_TotSec16", Form::Number),
    field(21, 1, "BPB_Media", Form::Hex),
    field(22, 2, "BPB_FATSz16", Form::Number),
    field(24, 2, "BPB_SecPerTrk", Form::Number),
    field(26, 2, "BPB_NumHeads", Form::Number),
    field(28, 4, "BPB_HiddSec", Form::Number),
    field(32, 4, "BPB_TotSec32", Form::Number),
    field(36, 4, "BPB_FATSz32", Form::Number),
    field(40, 2, "BPB_ExtFlags", Form::Hex),
    field(42, 2, "BPB_FSVer", Form::Hex),
    field(44, 4, "BPB_RootClus", Form::Number),
    field(48, 2, "BPB_FSInfo", Form::Number),
    field(50, 2, "BPB_BkBootSec", Form::Number),
    field(52, 12, "BPB_Reserved", Form::Hex),
    field(64, 1, "BS_DrvNum", Form::Hex),
    field(65, 1, "BS_Reserved1", Form::Hex),
    field(66, 1, "BS_BootSig", Form::Hex),
    field(67, 4, "BS_VolID", Form::Hex),
    field(71, 11, "BS_VolLab", Form::Text),
    field(82, 8, "BS_FilSysType", Form::Text),
    field(90, 420, "boot code", Form::Hex),
    field(510, 2, "signature", Form::Hex),
];

/// The same, §5.
const INFO: &[Field] = &[
    field(0, 4, "FSI_LeadSig", Form::Hex),
    field(4, 480, "FSI_Reserved1", Form::Hex),
    field(484, 4, "FSI_StrucSig", Form::Hex),
    field(488, 4, "FSI_Free_Count", Form::Number),
    field(492, 4, "FSI_Nxt_Free", Form::Number),
    field(496, 12, "FSI_Reserved2", Form::Hex),
    field(508, 4, "FSI_TrailSig", Form::Hex),
];

/// The same, §6; long names have other fields in the same places.
const ENTRY: &[Field] = &[
    field(0, 11, "DIR_Name", Form::Text),
    field(11, 1, "DIR_Attr", Form::Hex),
    field(12, 1, "DIR_NTRes", Form::Hex),
    field(13, 1, "DIR_CrtTimeTenth", Form::Number),
    field(14, 2, "DIR_CrtTime", Form::Hex),
    field(16, 2, "DIR_CrtDate", Form::Hex),
    field(18, 2, "DIR_LstAccDate", Form::Hex),
    field(20, 2, "DIR_FstClusHI", Form::Number),
    field(22, 2, "DIR_WrtTime", Form::Hex),
    field(24, 2, "DIR_WrtDate", Form::Hex),
    field(26, 2, "DIR_FstClusLO", Form::Number),
    field(28, 4, "DIR_FileSize", Form::Number),
];

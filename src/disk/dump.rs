//! Writes an image as lines `offset structure.field = value`, for people and for golden tests.
//!
//! Offsets are bytes from the beginning of the disk, in hexadecimal.

use super::esp::{EspMap, FIRST_FILE_CLUSTER, MAP_PATH};
use super::fat::{self, ENTRY_BYTES, FatError, Geometry, dump_boot_sector, dump_entry};
use super::gpt::{self, GptError, Partition, PartitionTable};
use super::layout::Role;
use crate::base::units::SECTOR_BYTES;
use crate::disk::{BlockDevice, Window};

/// Says why an image can't be dumped.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error("reading the partition table")]
    Table(#[from] GptError),
    #[error("reading the EFI system partition")]
    Esp(#[from] FatError),
    #[error("the disk has no partition {name}")]
    NoPartition { name: &'static str },
}

/// Dumps a disk: its partition table, what is on its ESP, and the slot sector entry by entry.
pub fn disk(device: &dyn BlockDevice) -> Result<String, DumpError> {
    let mut text = Text::default();
    let table = gpt::read(device)?;
    dump_table(&table, &mut text);
    let name = Role::Esp.name();
    let partition = table.named(name).ok_or(DumpError::NoPartition { name })?;
    let window = Window::new(device, partition.offset(), partition.size().0);
    let window = window.map_err(FatError::device("open"))?;
    dump_esp(&window, partition.offset(), &mut text)?;
    Ok(text.0)
}

/// Gathers lines.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, offset: u64, field: &str, value: impl std::fmt::Display) {
        use std::fmt::Write;
        writeln!(self.0, "{offset:#011x} {field} = {value}").expect("because a String takes every line");
    }
}

fn dump_table(table: &PartitionTable, text: &mut Text) {
    text.line(SECTOR_BYTES + 24, "gpt.primary", 1);
    text.line(SECTOR_BYTES + 32, "gpt.backup", table.disk_sectors - 1);
    text.line(SECTOR_BYTES + 56, "gpt.disk_guid", table.disk);
    for partition in &table.partitions {
        dump_partition(partition, text);
    }
}

fn dump_partition(partition: &Partition, text: &mut Text) {
    let base = 2 * SECTOR_BYTES + u64::from(partition.number - 1) * 128;
    let mut line = |at: u64, field: &str, value: String| {
        text.line(base + at, &format!("partition{}.{field}", partition.number), value);
    };
    line(0, "type", partition.kind.to_string());
    line(16, "guid", partition.id.to_string());
    line(32, "first_sector", partition.first_sector.to_string());
    line(40, "sectors", partition.sectors.to_string());
    line(48, "attributes", format!("{:#018x}", partition.attributes));
    line(56, "name", format!("{:?}", partition.name));
}

fn dump_esp(esp: &Window<'_>, base: u64, text: &mut Text) -> Result<(), DumpError> {
    let mut boot = [0; 512];
    esp.read_at(0, &mut boot).map_err(FatError::device("read"))?;
    dump_boot_sector(base, &boot, &mut |offset, field, value| text.line(offset, field, value));
    let listing = fat::read(esp)?;
    let geometry = &listing.geometry;
    let free = listing.free_clusters.map_or("unknown".to_owned(), |free| free.to_string());
    text.line(base + SECTOR_BYTES + 488, "fs_info.free_clusters", free);
    for entry in &listing.entries {
        let at =
            entry.extents.first().map_or(0, |extent| base + geometry.cluster_offset(extent.start_cluster));
        let runs: Vec<String> =
            entry.extents.iter().map(|run| format!("{}+{}", run.start_cluster, run.clusters)).collect();
        let kind = if entry.is_directory { "directory" } else { "file" };
        let value = format!("{} bytes, clusters [{}], {}", entry.size_bytes, runs.join(" "), entry.modified);
        text.line(at, &format!("{kind} {}", entry.path), value);
    }
    dump_slots(esp, base, geometry, text)
}

fn dump_slots(esp: &Window<'_>, base: u64, geometry: &Geometry, text: &mut Text) -> Result<(), DumpError> {
    let map = EspMap::read(esp)?;
    let at = base + geometry.cluster_offset(FIRST_FILE_CLUSTER);
    for (slot, index) in map.slots.iter().zip(0..) {
        let value =
            format!("{} at cluster {}, {} clusters", slot.partition, slot.start_cluster, slot.clusters);
        text.line(at, &format!("{MAP_PATH} slot{index}"), value);
    }
    let mut sector = [0; SECTOR_BYTES as usize];
    esp.read_at(map.directory_offset, &mut sector).map_err(FatError::device("read"))?;
    for (entry, index) in sector.chunks_exact(ENTRY_BYTES).zip(0u64..) {
        let offset = base + map.directory_offset + index * ENTRY_BYTES as u64;
        dump_entry(offset, entry, &mut |offset, field, value| {
            text.line(offset, &format!("slots[{index}].{field}"), value);
        });
    }
    Ok(())
}

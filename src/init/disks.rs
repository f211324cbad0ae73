//! Partitions that the kernel sees, and their table.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mkimage::base::fs;

use crate::logic::gpt::{self, SECTOR_BYTES, Table};

const BLOCK_CLASS: &str = "/sys/class/block";

/// A partition that the kernel sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Kernel name: `vda2`.
    pub name: String,
    /// Kernel name of its disk: `vda`.
    pub disk: String,
    pub number: u32,
    /// `MAJOR:MINOR`.
    pub device_number: String,
    pub sectors: u64,
}

/// Returns all partitions, sorted by disk and number.
pub fn partitions() -> Vec<Partition> {
    let names = fs::list(Path::new(BLOCK_CLASS)).unwrap_or_default();
    let mut found: Vec<Partition> = names.iter().filter_map(|name| partition(name.to_str()?)).collect();
    found.sort_by(|one, other| (&one.disk, one.number).cmp(&(&other.disk, other.number)));
    found
}

/// A block device, whole or a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    /// Kernel name of the whole: its own, where it is one.
    pub disk: String,
}

/// Returns all block devices, sorted by name.
pub fn devices() -> Vec<Device> {
    let names = fs::list(Path::new(BLOCK_CLASS)).unwrap_or_default();
    let device = |name: &str| {
        let disk = partition(name).map_or_else(|| name.to_owned(), |partition| partition.disk);
        Device { name: name.to_owned(), disk }
    };
    names.iter().filter_map(|name| name.to_str()).map(device).collect()
}

/// Finds a partition of a disk by its number.
pub fn find(disk: &str, number: u32) -> Option<Partition> {
    partitions().into_iter().find(|partition| partition.disk == disk && partition.number == number)
}

/// Returns the path of a block device's node.
pub fn node(name: &str) -> String {
    format!("/dev/{}", name.replace('!', "/"))
}

/// Returns a disk's length in sectors.
pub fn disk_sectors(disk: &str) -> Option<u64> {
    attribute(disk, "size")?.parse().ok()
}

/// Reads a disk's partition table. `None`: it has none that is sound, or its sectors have another size.
pub fn table(disk: &str) -> io::Result<Option<Table>> {
    let sectors = disk_sectors(disk).unwrap_or(0);
    if attribute(disk, "queue/logical_block_size").as_deref() != Some("512") {
        return Ok(None);
    }
    let file = File::open(node(disk))?;
    gpt::read(sectors, |sector, buffer| file.read_exact_at(buffer, sector * SECTOR_BYTES))
}

fn partition(name: &str) -> Option<Partition> {
    let number = attribute(name, "partition")?.parse().ok()?;
    let place = std::fs::canonicalize(Path::new(BLOCK_CLASS).join(name)).ok()?;
    Some(Partition {
        name: name.to_owned(),
        disk: place.parent()?.file_name()?.to_str()?.to_owned(),
        number,
        device_number: attribute(name, "dev")?,
        sectors: attribute(name, "size")?.parse().ok()?,
    })
}

fn attribute(device: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new(BLOCK_CLASS).join(device).join(name)).ok()?;
    Some(text.trim().to_owned())
}

//! Partition tables, as the tool reads them and as PID 1 does.

use std::io;
use std::sync::LazyLock;

use mkimage::disk::MemoryDevice;
use mkimage::disk::gpt::{self, Guid, Partition, PartitionTable};

use super::super::logic;
use super::device::{apply, device, patch, patch_seeds, patches};
use super::take;

const SECTORS: u64 = 6144;
const GROWN: u64 = 8192 + 5;
/// Protective MBR, primary header and entries, backup entries and header.
const PLACES: [u64; 5] = [0, 512, 1024, (SECTORS - 33) * 512, (SECTORS - 1) * 512];

static BASE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let partition = |number: u32, first_sector: u64, sectors: u64| Partition {
        number,
        kind: Guid([number as u8 + 9; 16]),
        id: Guid([number as u8; 16]),
        first_sector,
        sectors,
        attributes: gpt::GROW_FILE_SYSTEM,
        name: format!("part-{number}"),
    };
    let partitions = vec![partition(1, 64, 1000), partition(2, 2048, 1024), partition(3, 4096, 1024)];
    let table = PartitionTable { disk: Guid([7; 16]), disk_sectors: SECTORS, partitions };
    let device = MemoryDevice::new(SECTORS * 512);
    gpt::write(&device, &table).expect("a sound table");
    device.into_bytes()
});

/// Reads a patched table on its own disk or on a larger one, and grows each partition. What the tool accepts
/// can be written and read again; what PID 1 plans gives a table that both accept.
pub fn run(mut bytes: &[u8]) {
    let flags = take(&mut bytes, 1);
    let mut disk = BASE.clone();
    apply(&mut disk, &patches(bytes, &PLACES));
    if flags & 1 != 0 {
        let entries = disk[1024..1024 + 32 * 512].to_vec();
        disk[PLACES[3] as usize..][..entries.len()].copy_from_slice(&entries);
    }
    if flags & 2 != 0 {
        repair(&mut disk, 512, 1024);
        repair(&mut disk, PLACES[4] as usize, PLACES[3] as usize);
    }
    if flags & 4 != 0 {
        disk.resize(GROWN as usize * 512, 0);
    }
    let is_sound = write_again(&disk);
    let sectors = disk.len() as u64 / 512;
    let Some(table) = read(&disk) else { return };
    for partition in table.partitions() {
        let Some(growth) = table.grow(sectors, partition.number) else { continue };
        let mut grown = disk.clone();
        for (sector, bytes) in growth.steps.iter().flatten() {
            let at = *sector as usize * 512;
            grown[at..at + bytes.len()].copy_from_slice(bytes);
        }
        let again = read(&grown).expect("what was grown is a table");
        assert!(again.partitions().contains(&growth.partition));
        assert!(!is_sound || gpt::read(&device(&grown)).is_ok(), "growing keeps a sound table sound");
    }
}

/// Puts the checksums of a header right.
fn repair(disk: &mut [u8], header: usize, entries: usize) {
    let entries = crc32fast::hash(&disk[entries..entries + 128 * 128]);
    let header = &mut disk[header..header + 512];
    let length = u32::from_le_bytes([header[12], header[13], header[14], header[15]]).clamp(92, 512);
    header[88..92].copy_from_slice(&entries.to_le_bytes());
    header[16..20].fill(0);
    let sum = crc32fast::hash(&header[..length as usize]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
}

fn write_again(disk: &[u8]) -> bool {
    let Ok(table) = gpt::read(&device(disk)) else { return false };
    table.check().expect("what was read is sound");
    let copy = MemoryDevice::new(table.disk_sectors * 512);
    if (1..).zip(&table.partitions).all(|(number, partition)| partition.number == number) {
        gpt::write(&copy, &table).expect("what was read can be written");
        assert_eq!(gpt::read(&copy).expect("what was written can be read"), table);
    }
    true
}

fn read(disk: &[u8]) -> Option<logic::gpt::Table> {
    let fill = |sector: u64, buffer: &mut [u8]| {
        let bytes = disk.get(sector as usize * 512..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or_else(|| io::Error::other("behind the end"))?);
        Ok(())
    };
    logic::gpt::read(disk.len() as u64 / 512, fill).expect("reads stay inside the disk")
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = [0, 2, 3, 7].iter().flat_map(|flags| patch_seeds(&[*flags], 5)).collect();
    let last = |end: u64| [vec![7], patch(2, 2 * 128 + 40, &end.to_le_bytes())].concat();
    seeds.extend([last(u64::MAX), last(u64::MAX - 2049), last(5000)]);
    seeds
}

//! Reading a partition table, and growing its last partition to the end of a larger disk (UEFI 2.10 §5.3).
//!
//! The order of writes survives a power cut at each of them. The backup copy goes first, to the disk's new
//! end, where nothing was: until it is whole the old table rules. Then the primary copy; while that is torn
//! the new backup rules (firmware reads it by itself, Linux with the word `gpt`). A table that was read from
//! the backup is written again by the next boot.

use std::io;

use mkimage::boot::slots::record::crc32;

pub const SECTOR_BYTES: u64 = 512;
/// Type of an EFI system partition.
pub const ESP_TYPE: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
/// Type of the data partition: Linux data, as `disk::layout` writes it.
pub const DATA_TYPE: [u8; 16] =
    [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4];

const SIGNATURE: &[u8; 8] = b"EFI PART";
const ENTRY_BYTES: usize = 128;
const ENTRIES_MAX: u32 = 256;
/// Partitions end on this boundary, and a gain below it is not worth a write.
const ALIGNMENT_SECTORS: u64 = 2048;

/// A checked copy of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The header's bytes up to its size, as read.
    header: Vec<u8>,
    entries: Vec<u8>,
    /// Read from the backup because the primary copy was damaged.
    from_backup: bool,
}

/// A partition of the table. Sectors count 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// From 1 on.
    pub number: u32,
    pub type_guid: [u8; 16],
    pub guid: [u8; 16],
    pub first_sector: u64,
    pub last_sector: u64,
    pub name: String,
}

/// What is to be written, in order; a flush belongs behind each step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// The partition that changes, as it will be.
    pub partition: Partition,
    /// Backup first, then primary: pairs of first sector and bytes.
    pub steps: [Vec<(u64, Vec<u8>)>; 2],
}

/// Reads the table of a disk of `sectors` sectors: the primary copy, else the backup in the last sector.
/// `read` fills a buffer from a sector on. `None`: there is no sound table.
pub fn read(
    sectors: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<Option<Table>> {
    if sectors < 2 * ALIGNMENT_SECTORS {
        return Ok(None);
    }
    for (header_sector, from_backup) in [(1, false), (sectors - 1, true)] {
        let mut header = vec![0; SECTOR_BYTES as usize];
        read(header_sector, &mut header)?;
        let Some((entries_sector, entries_bytes)) = check_header(&mut header, header_sector, sectors) else {
            continue;
        };
        let mut entries = vec![0; entries_bytes];
        read(entries_sector, &mut entries)?;
        if crc32(&entries) == word(&header, 88) {
            return Ok(Some(Table { header, entries, from_backup }));
        }
    }
    Ok(None)
}

impl Table {
    /// Returns the partitions in the order of their numbers.
    pub fn partitions(&self) -> Vec<Partition> {
        let used = |(_, entry): &(usize, &[u8])| entry[..16] != [0; 16];
        self.entries
            .chunks_exact(ENTRY_BYTES)
            .enumerate()
            .filter(used)
            .map(|(index, entry)| Partition {
                number: index as u32 + 1,
                type_guid: array(entry, 0),
                guid: array(entry, 16),
                first_sector: long(entry, 32),
                last_sector: long(entry, 40),
                name: name(&entry[56..]),
            })
            .collect()
    }

    /// Plans to extend partition `number` to the end of a disk of `sectors` sectors, and to repair a damaged
    /// copy. `None`: nothing is to be gained, the partition isn't the last one, or one lies where no partition
    /// can be.
    pub fn grow(&self, sectors: u64, number: u32) -> Option<Growth> {
        let partitions = self.partitions();
        let mut partition = partitions.iter().find(|partition| partition.number == number)?.clone();
        let entries_sectors = (self.entries.len() as u64).div_ceil(SECTOR_BYTES);
        let (first_usable, last_usable) = (entries_sectors + 2, sectors.checked_sub(entries_sectors + 2)?);
        let fits = |other: &Partition| {
            (first_usable..=other.last_sector).contains(&other.first_sector)
                && other.last_sector <= partition.last_sector
        };
        if partition.last_sector > last_usable || !partitions.iter().all(fits) {
            return None;
        }
        let aligned_end = (last_usable + 1) / ALIGNMENT_SECTORS * ALIGNMENT_SECTORS;
        let gains = aligned_end > partition.last_sector + ALIGNMENT_SECTORS;
        if !gains && !self.from_backup {
            return None;
        }
        if gains {
            partition.last_sector = aligned_end - 1;
        }
        Some(self.plan(sectors, last_usable, partition))
    }

    fn plan(&self, sectors: u64, last_usable: u64, partition: Partition) -> Growth {
        let mut entries = self.entries.clone();
        let at = (partition.number as usize - 1) * ENTRY_BYTES;
        entries[at + 40..at + 48].copy_from_slice(&partition.last_sector.to_le_bytes());
        let backup_sector = sectors - 1;
        let backup = self.header_for(backup_sector, 1, last_usable + 1, last_usable, &entries);
        let primary = self.header_for(1, backup_sector, 2, last_usable, &entries);
        let steps = [
            vec![(last_usable + 1, entries.clone()), (backup_sector, backup)],
            vec![(2, entries), (1, primary)],
        ];
        Growth { partition, steps }
    }

    fn header_for(&self, own: u64, other: u64, entries_at: u64, last_usable: u64, entries: &[u8]) -> Vec<u8> {
        let mut header = self.header.clone();
        header[16..20].fill(0);
        for (at, value) in [(24, own), (32, other), (48, last_usable), (72, entries_at)] {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        header[88..92].copy_from_slice(&crc32(entries).to_le_bytes());
        let crc = crc32(&header);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        header.resize(SECTOR_BYTES as usize, 0);
        header
    }
}

/// Checks a header, cuts it to its size, and returns where its entries lie and how many bytes they have.
fn check_header(header: &mut Vec<u8>, own_sector: u64, sectors: u64) -> Option<(u64, usize)> {
    let size = word(header, 12) as usize;
    if header[..8] != *SIGNATURE || !(92..=SECTOR_BYTES as usize).contains(&size) {
        return None;
    }
    header.truncate(size);
    let mut blank = header.clone();
    blank[16..20].fill(0);
    let (count, entry_bytes) = (word(header, 80), word(header, 84) as usize);
    let entries_bytes = count as usize * ENTRY_BYTES;
    let entries_sector = long(header, 72);
    let entries_end = entries_sector.checked_add((entries_bytes as u64).div_ceil(SECTOR_BYTES))?;
    let sound = crc32(&blank) == word(header, 16)
        && long(header, 24) == own_sector
        && (1..=ENTRIES_MAX).contains(&count)
        && entry_bytes == ENTRY_BYTES
        && entries_sector >= 2
        && entries_end <= sectors;
    sound.then_some((entries_sector, entries_bytes))
}

/// Reads a partition's name: UTF-16, up to a zero.
fn name(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    char::decode_utf16(units.take_while(|&unit| unit != 0)).map(|it| it.unwrap_or('\u{fffd}')).collect()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("because the range has N bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use gptman::{GPT, GPTPartitionEntry};
    use std::io::{Cursor, Read, Seek, SeekFrom, Write};

    const SMALL: u64 = 8 * 2048;
    const LARGE: u64 = 12 * 2048 + 77;

    /// A disk as another tool makes it: ESP, two slots, data to the end.
    fn disk() -> Vec<u8> {
        let mut disk = Cursor::new(vec![0u8; (SMALL * SECTOR_BYTES) as usize]);
        let mut gpt = GPT::new_from(&mut disk, SECTOR_BYTES, [7; 16]).expect("fits");
        let last = gpt.header.last_usable_lba;
        for (index, (first, last, kind)) in [
            (2048, 4095, ESP_TYPE),
            (4096, 8191, [1; 16]),
            (8192, 12287, [1; 16]),
            (12288, last / 2048 * 2048 - 1, DATA_TYPE),
        ]
        .into_iter()
        .enumerate()
        {
            gpt[index as u32 + 1] = GPTPartitionEntry {
                partition_type_guid: kind,
                unique_partition_guid: [index as u8 + 1; 16],
                starting_lba: first,
                ending_lba: last,
                attribute_bits: 0,
                partition_name: "part".into(),
            };
        }
        GPT::write_protective_mbr_into(&mut disk, SECTOR_BYTES).expect("writes");
        gpt.write_into(&mut disk).expect("writes");
        disk.into_inner()
    }

    fn table(disk: &[u8]) -> Option<Table> {
        read(disk.len() as u64 / SECTOR_BYTES, |sector, buffer| {
            let mut cursor = Cursor::new(disk);
            cursor.seek(SeekFrom::Start(sector * SECTOR_BYTES))?;
            cursor.read_exact(buffer)
        })
        .expect("reads")
    }

    fn larger() -> Vec<u8> {
        let mut disk = disk();
        disk.resize((LARGE * SECTOR_BYTES) as usize, 0);
        disk
    }

    fn apply(disk: &mut [u8], writes: &[(u64, Vec<u8>)]) {
        for (sector, bytes) in writes {
            let mut cursor = Cursor::new(&mut *disk);
            cursor.seek(SeekFrom::Start(sector * SECTOR_BYTES)).expect("inside");
            cursor.write_all(bytes).expect("inside");
        }
    }

    #[test]
    fn a_disk_of_its_own_size_is_left_alone() {
        let disk = disk();
        let table = table(&disk).expect("is sound");
        assert_eq!(table.partitions().len(), 4);
        let data = &table.partitions()[3];
        assert_eq!((data.type_guid, data.guid, data.name.as_str()), (DATA_TYPE, [4; 16], "part"));
        assert_eq!(table.partitions()[0].type_guid, ESP_TYPE);
        assert!(table.grow(SMALL, 4).is_none());
        assert!(table.grow(SMALL + 32, 4).is_none(), "a last mebibyte that the backup copy needs");
        assert!(table.grow(SMALL + 33, 4).is_some());
    }

    #[test]
    fn only_the_last_partition_grows() {
        let table = table(&larger()).expect("is sound");
        assert!(table.grow(LARGE, 3).is_none());
        assert!(table.grow(LARGE, 9).is_none());
        assert!(table.grow(LARGE, 4).is_some());
    }

    #[test]
    fn the_grown_table_is_what_another_reader_expects() {
        let mut disk = larger();
        let before = table(&disk).expect("is sound");
        let growth = before.grow(LARGE, 4).expect("grows");
        growth.steps.iter().for_each(|step| apply(&mut disk, step));
        let read = GPT::read_from(&mut Cursor::new(&disk), SECTOR_BYTES).expect("gptman reads it");
        assert_eq!(read.header.backup_lba, LARGE - 1);
        assert_eq!(read.header.last_usable_lba, LARGE - 34);
        assert_eq!(read[4].ending_lba, growth.partition.last_sector);
        assert_eq!((read[4].ending_lba + 1) % 2048, 0);
        assert!(read[4].ending_lba <= read.header.last_usable_lba);
        assert_eq!(read[4].unique_partition_guid, [4; 16]);
        let grown = table(&disk).expect("is sound");
        assert!(grown.grow(LARGE, 4).is_none(), "and a second time nothing is left to do");
        let mut no_primary = disk.clone();
        no_primary[512..1024].fill(0);
        assert_eq!(GPT::read_from(&mut Cursor::new(&no_primary), SECTOR_BYTES).expect("backup")[4], read[4]);
    }

    #[test]
    fn a_power_cut_between_any_two_sectors_leaves_a_table_that_the_next_boot_completes() {
        let start = larger();
        let growth = table(&start).expect("is sound").grow(LARGE, 4).expect("grows");
        let [first, second] = &growth.steps;
        for (done, doing) in [(&vec![], first), (first, second)] {
            let sectors: Vec<(u64, Vec<u8>)> = doing
                .iter()
                .flat_map(|(at, bytes)| {
                    bytes
                        .chunks(512)
                        .enumerate()
                        .map(move |(index, chunk)| (at + index as u64, chunk.to_vec()))
                })
                .collect();
            for cut in 0..=sectors.len() {
                for reversed in [false, true] {
                    let mut disk = start.clone();
                    apply(&mut disk, done);
                    let mut order = sectors.clone();
                    if reversed {
                        order.reverse();
                    }
                    apply(&mut disk, &order[..cut]);
                    let torn = table(&disk).expect("one copy is sound at every moment");
                    assert_eq!(torn.partitions()[..3], table(&start).expect("sound").partitions()[..3]);
                    if let Some(again) = torn.grow(LARGE, 4) {
                        again.steps.iter().for_each(|step| apply(&mut disk, step));
                    }
                    let read = GPT::read_from(&mut Cursor::new(&disk), SECTOR_BYTES).expect("reads");
                    assert_eq!(read[4].ending_lba, growth.partition.last_sector);
                }
            }
        }
    }

    #[test]
    fn hostile_headers_are_no_table() {
        let sound = disk();
        for (at, value) in [(12usize, 600u32), (12, 91), (80, u32::MAX), (84, 4096), (84, 0), (72, u32::MAX)]
        {
            let mut disk = sound.clone();
            for header in [512, disk.len() - 512] {
                disk[header + at..header + at + 4].copy_from_slice(&value.to_le_bytes());
                let size = (u32::from_le_bytes(disk[header + 12..header + 16].try_into().expect("4"))
                    as usize)
                    .min(512);
                disk[header + 16..header + 20].fill(0);
                let crc = crc32(&disk[header..header + size]);
                disk[header + 16..header + 20].copy_from_slice(&crc.to_le_bytes());
            }
            assert_eq!(table(&disk), None, "{at} {value}");
        }
        assert_eq!(table(&vec![0; sound.len()]), None);
        assert_eq!(read(3, |_, _| Ok(())).expect("does not read"), None);
    }
}

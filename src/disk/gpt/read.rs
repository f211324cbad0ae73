//! Reads tables that anyone may have written. Every number is checked before it is used.

use super::{ENTRIES, GptError, Guid, Partition, PartitionTable, TableCopy};
use crate::base::Bytes;
use crate::base::units::SECTOR_BYTES;
use crate::disk::BlockDevice;

/// Bytes of the header that the UEFI specification defines, and that we accept.
const HEADER_BYTES: usize = 92;
/// Bytes of one entry. Larger ones are legal; no tool makes them.
const ENTRY_BYTES: u32 = 128;

/// Reads the table of a disk: the protective MBR and both copies, which must be sound and equal.
///
/// The backup may lie before the end of the device, as it does when an image was copied to a larger
/// disk. Reads about 34 KiB.
pub fn read(device: &dyn BlockDevice) -> Result<PartitionTable, GptError> {
    let size = device.size();
    if !size.is_multiple_of(SECTOR_BYTES) || size < 68 * SECTOR_BYTES {
        return Err(GptError::DiskSize { size: Bytes(size) });
    }
    let sectors = size / SECTOR_BYTES;
    check_protection(&read_sector(device, 0)?, sectors)?;
    let primary = Header::read(device, TableCopy::Primary, 1, sectors)?;
    let backup = Header::read(device, TableCopy::Backup, primary.other, sectors)?;
    primary.compare(&backup)?;
    let entries = primary.read_entries(device)?;
    if entries != backup.read_entries(device)? {
        return Err(primary.damaged("its entries have the checksum of the backup's, but other bytes"));
    }
    let table = PartitionTable {
        disk: primary.disk,
        disk_sectors: primary.other + 1,
        partitions: partitions(&primary, &entries)?,
    };
    table.check()?;
    Ok(table)
}

fn read_sector(device: &dyn BlockDevice, sector: u64) -> Result<[u8; 512], GptError> {
    let mut bytes = [0; 512];
    let read = device.read_at(sector * SECTOR_BYTES, &mut bytes);
    read.map_err(|source| GptError::Device { doing: "read", source })?;
    Ok(bytes)
}

/// Demands the one record that covers the disk, and no other: hybrid MBRs show systems two truths.
fn check_protection(bytes: &[u8; 512], sectors: u64) -> Result<(), GptError> {
    let problem = |problem: &str| Err(GptError::NotProtected { problem: problem.to_owned() });
    if bytes[510..] != [0x55, 0xaa] {
        return problem("sector 0 does not end with 55 aa");
    }
    let record = &bytes[446..462];
    if record[4] != 0xee || u32_at(record, 8) != 1 {
        return problem("its first record is none of type ee from sector 1 on");
    }
    let covered = u32_at(record, 12);
    if covered == 0 || (covered != u32::MAX && u64::from(covered) >= sectors) {
        return problem(&format!("its record covers {covered} sectors of a disk of {sectors}"));
    }
    if bytes[462..510].iter().any(|&byte| byte != 0) {
        return problem("it has more than one record");
    }
    Ok(())
}

struct Header {
    copy: TableCopy,
    disk: Guid,
    here: u64,
    other: u64,
    first_usable: u64,
    last_usable: u64,
    entries_at: u64,
    entries: u32,
    entries_checksum: u32,
}

impl Header {
    fn read(device: &dyn BlockDevice, copy: TableCopy, at: u64, sectors: u64) -> Result<Header, GptError> {
        let bytes = read_sector(device, at)?;
        check_header_bytes(&bytes).map_err(|problem| GptError::Damaged { copy, problem })?;
        let header = Header {
            copy,
            disk: guid_at(&bytes, 56),
            here: u64_at(&bytes, 24),
            other: u64_at(&bytes, 32),
            first_usable: u64_at(&bytes, 40),
            last_usable: u64_at(&bytes, 48),
            entries_at: u64_at(&bytes, 72),
            entries: u32_at(&bytes, 80),
            entries_checksum: u32_at(&bytes, 88),
        };
        if header.here != at {
            return Err(header.damaged(format!("it says it is sector {}, but is {at}", header.here)));
        }
        header.check_places(sectors)?;
        Ok(header)
    }

    fn damaged(&self, problem: impl Into<String>) -> GptError {
        GptError::Damaged { copy: self.copy, problem: problem.into() }
    }

    /// Demands the order: MBR, header, entries, partitions, entries, header.
    fn check_places(&self, sectors: u64) -> Result<(), GptError> {
        if self.entries != ENTRIES {
            return Err(self.damaged(format!("it has {} entries, {ENTRIES} are expected", self.entries)));
        }
        let table_sectors = u64::from(self.entries) * u64::from(ENTRY_BYTES) / SECTOR_BYTES;
        let (front, back) = match self.copy {
            TableCopy::Primary => (self.here, self.other),
            TableCopy::Backup => (self.other, self.here),
        };
        if front != 1 || back >= sectors || back < 2 * table_sectors + 3 {
            return Err(self.damaged(format!("headers at sectors {front} and {back} of {sectors}")));
        }
        let expected_entries = match self.copy {
            TableCopy::Primary => 2,
            TableCopy::Backup => back - table_sectors,
        };
        if self.entries_at != expected_entries {
            let problem =
                format!("its entries are at sector {}, expected at {expected_entries}", self.entries_at);
            return Err(self.damaged(problem));
        }
        let (first, last) = (2 + table_sectors, back - table_sectors - 1);
        if self.first_usable != first || self.last_usable != last {
            return Err(self.damaged(format!(
                "usable are sectors {} to {}, expected {first} to {last}",
                self.first_usable, self.last_usable
            )));
        }
        Ok(())
    }

    fn compare(&self, backup: &Header) -> Result<(), GptError> {
        let differ = |field, primary: String, backup: String| {
            if primary == backup { Ok(()) } else { Err(GptError::CopiesDiffer { field, primary, backup }) }
        };
        differ("the disk's GUID", self.disk.to_string(), backup.disk.to_string())?;
        differ("the backup's place", self.other.to_string(), backup.here.to_string())?;
        let checksum = |header: &Header| format!("{:08x}", header.entries_checksum);
        differ("the entries' checksum", checksum(self), checksum(backup))
    }

    fn read_entries(&self, device: &dyn BlockDevice) -> Result<Vec<u8>, GptError> {
        let mut bytes = vec![0; (ENTRIES * ENTRY_BYTES) as usize];
        let read = device.read_at(self.entries_at * SECTOR_BYTES, &mut bytes);
        read.map_err(|source| GptError::Device { doing: "read", source })?;
        let found = crc32fast::hash(&bytes);
        if found != self.entries_checksum {
            let expected = self.entries_checksum;
            return Err(self.damaged(format!("its entries' checksum is {found:08x}, not {expected:08x}")));
        }
        Ok(bytes)
    }
}

fn check_header_bytes(bytes: &[u8; 512]) -> Result<(), String> {
    if bytes[..8] != *b"EFI PART" {
        return Err("it does not begin with \"EFI PART\"".to_owned());
    }
    let mut summed = *bytes;
    summed[16..20].fill(0);
    let (found, expected) = (crc32fast::hash(&summed[..HEADER_BYTES]), u32_at(bytes, 16));
    for (field, found, expected) in [
        ("its revision", u32_at(bytes, 8), 0x0001_0000),
        ("its header size", u32_at(bytes, 12), HEADER_BYTES as u32),
        ("its checksum", found, expected),
        ("its reserved field", u32_at(bytes, 20), 0),
        ("the size of its entries", u32_at(bytes, 84), ENTRY_BYTES),
    ] {
        if found != expected {
            return Err(format!("{field} is {found:#x}, not {expected:#x}"));
        }
    }
    match bytes[HEADER_BYTES..].iter().position(|&byte| byte != 0) {
        Some(at) => Err(format!("byte {} behind the header isn't zero", HEADER_BYTES + at)),
        None => Ok(()),
    }
}

fn partitions(header: &Header, entries: &[u8]) -> Result<Vec<Partition>, GptError> {
    let mut partitions = Vec::new();
    for (bytes, number) in entries.chunks_exact(ENTRY_BYTES as usize).zip(1..) {
        if guid_at(bytes, 0) == Guid::NIL {
            if bytes.iter().any(|&byte| byte != 0) {
                return Err(header.damaged(format!("unused entry {number} isn't zero")));
            }
            continue;
        }
        partitions.push(partition(header, number, bytes)?);
    }
    Ok(partitions)
}

fn partition(header: &Header, number: u32, bytes: &[u8]) -> Result<Partition, GptError> {
    let (first_sector, last) = (u64_at(bytes, 32), u64_at(bytes, 40));
    let sectors = last.checked_sub(first_sector).and_then(|length| length.checked_add(1));
    let sectors = sectors.ok_or_else(|| {
        header.damaged(format!("partition {number} ends at sector {last}, before its begin {first_sector}"))
    })?;
    let units: Vec<u16> =
        bytes[56..128].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    let length = units.iter().position(|&unit| unit == 0).unwrap_or(units.len());
    if units[length..].iter().any(|&unit| unit != 0) {
        return Err(header.damaged(format!("the name of partition {number} goes on behind its end")));
    }
    let name = String::from_utf16(&units[..length])
        .map_err(|_| header.damaged(format!("the name of partition {number} is no UTF-16")))?;
    Ok(Partition {
        number,
        kind: guid_at(bytes, 0),
        id: guid_at(bytes, 16),
        first_sector,
        sectors,
        attributes: u64_at(bytes, 48),
        name,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("because the range is four bytes long"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("because the range is eight bytes long"))
}

fn guid_at(bytes: &[u8], at: usize) -> Guid {
    Guid::from_disk(bytes[at..at + 16].try_into().expect("because the range is sixteen bytes long"))
}

//! GUID partition tables (UEFI specification 2.10, §5.3): checked values, written and read back strictly.
//!
//! In: a [`PartitionTable`]. On disk: protective MBR, primary header and entries in front, entries and
//! backup header at the end. The same table gives the same bytes: those of `sgdisk`, but for the three
//! CHS bytes of the protective MBR (we write 0xffffff, which says "too far for CHS").
//!
//! Always true: a table that was written or read has partitions inside the usable range, that don't
//! overlap, with names that fit and identifiers of their own; the reader found both copies equal.

mod guid;
mod read;
mod write;

pub use guid::Guid;
pub use read::read;
pub use write::write;

use std::io;

use crate::base::Bytes;
use crate::base::units::SECTOR_BYTES;

/// Entries of a table that we write: what every tool writes.
pub const ENTRIES: u32 = 128;
/// Sectors that a table of [`ENTRIES`] takes: 128 entries of 128 bytes.
const ENTRY_SECTORS: u64 = 32;
/// Sectors in front of the first usable one: protective MBR, header, entries.
pub const FRONT_SECTORS: u64 = 2 + ENTRY_SECTORS;
/// Sectors behind the last usable one: entries, header.
pub const BACK_SECTORS: u64 = 1 + ENTRY_SECTORS;
/// UTF-16 units that the name of a partition may have.
pub const NAME_UNITS: usize = 36;

/// Attribute bit 59: systemd and PID 1 may grow the file system to the size of its partition.
pub const GROW_FILE_SYSTEM: u64 = 1 << 59;
/// Attribute bit 60: mount read-only.
pub const READ_ONLY: u64 = 1 << 60;
/// Attribute bit 63: never mount without being asked.
pub const NO_AUTO: u64 = 1 << 63;

/// Holds what a partition table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionTable {
    pub disk: Guid,
    /// Sectors of the disk that the table was made for; the backup header is the last one.
    pub disk_sectors: u64,
    /// In ascending order of their numbers.
    pub partitions: Vec<Partition>,
}

/// Holds one entry of a partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// From 1 on.
    pub number: u32,
    /// The type GUID.
    pub kind: Guid,
    /// The partition's own GUID: Linux's PARTUUID.
    pub id: Guid,
    pub first_sector: u64,
    pub sectors: u64,
    pub attributes: u64,
    pub name: String,
}

impl Partition {
    /// Returns where the partition begins, in bytes.
    pub fn offset(&self) -> u64 {
        self.first_sector * SECTOR_BYTES
    }

    /// Returns the length in bytes.
    pub fn size(&self) -> Bytes {
        Bytes(self.sectors * SECTOR_BYTES)
    }

    /// Returns the last sector, itself inside. `None` where the numbers overflow or the partition is empty.
    fn last_sector(&self) -> Option<u64> {
        self.first_sector.checked_add(self.sectors.checked_sub(1)?)
    }
}

/// Which of the two copies of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableCopy {
    Primary,
    Backup,
}

impl std::fmt::Display for TableCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TableCopy::Primary => "primary",
            TableCopy::Backup => "backup",
        })
    }
}

/// Says why a table can't be written, or is none that we trust.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    #[error("cannot {doing} the partition table")]
    Device { doing: &'static str, source: io::Error },
    #[error("a disk of {size} holds no partition table: it takes whole 512-byte sectors, at least 68")]
    DiskSize { size: Bytes },
    #[error("the table is made for {expected} sectors, the disk has {found}")]
    WrongDisk { expected: u64, found: u64 },
    #[error("partition {found} stands where {expected} is expected: they are numbered from 1 to 128")]
    Number { found: u32, expected: u32 },
    #[error(
        "partition {number} ({name}) covers {sectors} sectors from {first} on; usable are {usable_first} to {usable_last}"
    )]
    OutOfBounds { number: u32, name: String, first: u64, sectors: u64, usable_first: u64, usable_last: u64 },
    #[error(
        "partitions {number} and {other} overlap: one ends at sector {last}, the other begins at {first}"
    )]
    Overlap { number: u32, other: u32, last: u64, first: u64 },
    #[error("partition {number} can't be called {name:?}: {problem}")]
    Name { number: u32, name: String, problem: &'static str },
    #[error("partitions {number} and {other} have the same GUID {id}")]
    SameGuid { number: u32, other: u32, id: Guid },
    #[error("partition {number} ({name}) has the type of an unused entry")]
    Unused { number: u32, name: String },
    #[error("no protective MBR: {problem}")]
    NotProtected { problem: String },
    #[error("the {copy} partition table is damaged: {problem}")]
    Damaged { copy: TableCopy, problem: String },
    #[error("the copies of the partition table differ in {field}: {primary} in front, {backup} at the end")]
    CopiesDiffer { field: &'static str, primary: String, backup: String },
}

impl PartitionTable {
    /// Checks everything that the format or its readers demand of the partitions.
    pub fn check(&self) -> Result<(), GptError> {
        let size = Bytes(self.disk_sectors.saturating_mul(SECTOR_BYTES));
        let usable_last = match self.disk_sectors.checked_sub(BACK_SECTORS + 1) {
            Some(last) if last >= FRONT_SECTORS => last,
            _ => return Err(GptError::DiskSize { size }),
        };
        let mut before = 0;
        for partition in &self.partitions {
            if partition.number <= before || partition.number > ENTRIES {
                return Err(GptError::Number { found: partition.number, expected: before + 1 });
            }
            before = partition.number;
            check_partition(partition, FRONT_SECTORS, usable_last)?;
        }
        check_overlaps(&self.partitions)?;
        check_guids(&self.partitions)
    }

    /// Returns the partition of that name, if there is one.
    pub fn named(&self, name: &str) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.name == name)
    }
}

fn check_partition(partition: &Partition, usable_first: u64, usable_last: u64) -> Result<(), GptError> {
    let Partition { number, first_sector: first, sectors, .. } = *partition;
    let name = || partition.name.clone();
    if partition.kind == Guid::NIL {
        return Err(GptError::Unused { number, name: name() });
    }
    if first < usable_first || partition.last_sector().is_none_or(|last| last > usable_last) {
        return Err(GptError::OutOfBounds {
            number,
            name: name(),
            first,
            sectors,
            usable_first,
            usable_last,
        });
    }
    match name_problem(&partition.name) {
        Some(problem) => Err(GptError::Name { number, name: name(), problem }),
        None => Ok(()),
    }
}

/// Names hold UTF-16 units; a pair of surrogates is two, which tools cut apart or refuse.
fn name_problem(name: &str) -> Option<&'static str> {
    if name.encode_utf16().count() > NAME_UNITS {
        Some("a name has at most 36 UTF-16 units")
    } else if name.chars().any(|letter| u32::from(letter) > 0xffff) {
        Some("it has a character that UTF-16 can only write as surrogates")
    } else if name.chars().any(char::is_control) {
        Some("it has a control character")
    } else {
        None
    }
}

fn check_overlaps(partitions: &[Partition]) -> Result<(), GptError> {
    let mut sorted: Vec<&Partition> = partitions.iter().collect();
    sorted.sort_by_key(|partition| partition.first_sector);
    for pair in sorted.windows(2) {
        let last = pair[0].last_sector().expect("because bounds were checked");
        let first = pair[1].first_sector;
        if last >= first {
            return Err(GptError::Overlap { number: pair[0].number, other: pair[1].number, last, first });
        }
    }
    Ok(())
}

fn check_guids(partitions: &[Partition]) -> Result<(), GptError> {
    let mut sorted: Vec<&Partition> = partitions.iter().collect();
    sorted.sort_by_key(|partition| (partition.id, partition.number));
    match sorted.windows(2).find(|pair| pair[0].id == pair[1].id) {
        Some(pair) => {
            Err(GptError::SameGuid { number: pair[0].number, other: pair[1].number, id: pair[0].id })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(partitions: &[(u32, u64, u64, &str)]) -> PartitionTable {
        let partitions = partitions.iter().map(|&(number, first_sector, sectors, name)| Partition {
            number,
            kind: Guid([1; 16]),
            id: Guid([number as u8 + 1; 16]),
            first_sector,
            sectors,
            attributes: 0,
            name: name.to_owned(),
        });
        PartitionTable { disk: Guid([9; 16]), disk_sectors: 1000, partitions: partitions.collect() }
    }

    #[test]
    fn partitions_keep_to_the_usable_range() {
        assert!(table(&[(1, 34, 933, "all")]).check().is_ok());
        for (first, sectors) in [(33, 1), (34, 934), (967, 1), (34, 0), (u64::MAX, 2), (34, u64::MAX)] {
            let error = table(&[(1, first, sectors, "x")]).check().expect_err("outside");
            assert!(matches!(error, GptError::OutOfBounds { .. }), "{first}+{sectors}: {error}");
        }
    }

    #[test]
    fn overlaps_are_found_whatever_the_order() {
        let error = table(&[(1, 100, 10, "a"), (2, 50, 51, "b")]).check().expect_err("overlap");
        assert_eq!(
            error.to_string(),
            "partitions 2 and 1 overlap: one ends at sector 100, the other begins at 100"
        );
        assert!(table(&[(1, 100, 10, "a"), (2, 50, 50, "b")]).check().is_ok());
    }

    #[test]
    fn names_fit_or_are_refused() {
        assert!(table(&[(1, 40, 1, &"é".repeat(36))]).check().is_ok());
        for name in ["x".repeat(37), "😀".to_owned(), "a\0b".to_owned(), "line\n".to_owned()] {
            let error = table(&[(1, 40, 1, &name)]).check().expect_err("name");
            assert!(matches!(error, GptError::Name { .. }), "{error}");
        }
    }

    #[test]
    fn identifiers_and_numbers_are_unique() {
        let mut same = table(&[(1, 40, 1, "a"), (2, 50, 1, "b")]);
        same.partitions[1].id = same.partitions[0].id;
        assert!(matches!(same.check(), Err(GptError::SameGuid { number: 1, other: 2, .. })));
        assert!(matches!(table(&[(2, 40, 1, "a"), (2, 50, 1, "b")]).check(), Err(GptError::Number { .. })));
        assert!(matches!(table(&[(129, 40, 1, "a")]).check(), Err(GptError::Number { .. })));
    }
}

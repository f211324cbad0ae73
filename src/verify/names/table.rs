//! Names in front of and behind the partitions: protective MBR and both copies of the partition table.

use super::Place;
use crate::disk::field::{Field, Form, field_at};

const SECTOR: u64 = 512;
/// Sectors of the entries: 128 of 128 bytes.
const ENTRY_SECTORS: u64 = 32;

/// Names an offset outside of all partitions of a disk of so many sectors.
pub fn name(sectors: u64, offset: u64) -> Place {
    let sector = offset / SECTOR;
    let last = sectors.saturating_sub(1);
    let inside = (offset % SECTOR) as usize;
    match sector {
        0 => structure("protective MBR", MBR, inside, 0),
        1 => structure("GPT header", HEADER, inside, SECTOR),
        2..=33 => entry("GPT", offset - 2 * SECTOR, 2 * SECTOR),
        _ if sector == last => structure("backup GPT header", HEADER, inside, last * SECTOR),
        _ if sector < last && sector + ENTRY_SECTORS >= last => {
            let start = (last - ENTRY_SECTORS) * SECTOR;
            entry("backup GPT", offset - start, start)
        }
        _ if sector > last => Place::new("behind the partition table's end", offset, 1),
        _ => Place::new("between the partitions", sector * SECTOR, SECTOR),
    }
}

fn structure(what: &str, fields: &'static [Field], inside: usize, start: u64) -> Place {
    Place::new(what, start + inside as u64, 1).with(field_at(fields, inside), start)
}

fn entry(copy: &str, at: u64, start: u64) -> Place {
    let (number, inside) = (at / 128, (at % 128) as usize);
    structure(&format!("{copy} entry of partition {}", number + 1), ENTRY, inside, start + number * 128)
}

const fn field(offset: usize, bytes: usize, name: &'static str, form: Form) -> Field {
    Field { offset, bytes, name, form, derived: false }
}

const fn sum(offset: usize, bytes: usize, name: &'static str) -> Field {
    Field { offset, bytes, name, form: Form::Hex, derived: true }
}

/// UEFI specification 2.10, §5.2.3.
const MBR: &[Field] = &[
    field(0, 440, "boot code", Form::Hex),
    field(440, 4, "disk signature", Form::Hex),
    field(446, 1, "record 1 boot indicator", Form::Number),
    field(447, 3, "record 1 first CHS", Form::Hex),
    field(450, 1, "record 1 type", Form::Hex),
    field(451, 3, "record 1 last CHS", Form::Hex),
    field(454, 4, "record 1 first sector", Form::Number),
    field(458, 4, "record 1 sectors", Form::Number),
    field(462, 48, "records 2 to 4", Form::Hex),
    field(510, 2, "signature", Form::Hex),
];

/// The same, §5.3.2.
const HEADER: &[Field] = &[
    field(0, 8, "signature", Form::Text),
    field(8, 4, "revision", Form::Hex),
    field(12, 4, "header size", Form::Number),
    sum(16, 4, "header checksum"),
    field(20, 4, "reserved", Form::Hex),
    field(24, 8, "own sector", Form::Number),
    field(32, 8, "other header's sector", Form::Number),
    field(40, 8, "first usable sector", Form::Number),
    field(48, 8, "last usable sector", Form::Number),
    field(56, 16, "disk GUID", Form::Guid),
    field(72, 8, "first sector of entries", Form::Number),
    field(80, 4, "number of entries", Form::Number),
    field(84, 4, "size of an entry", Form::Number),
    sum(88, 4, "checksum of the entries"),
    field(92, 420, "padding", Form::Hex),
];

/// The same, §5.3.3.
const ENTRY: &[Field] = &[
    field(0, 16, "type GUID", Form::Guid),
    field(16, 16, "partition GUID", Form::Guid),
    field(32, 8, "first sector", Form::Number),
    field(40, 8, "last sector", Form::Number),
    field(48, 8, "attributes", Form::Hex),
    field(56, 72, "name", Form::Text),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_table_has_its_name() {
        let text = |offset| {
            let place = name(1000, offset);
            (place.what.clone(), place.field.clone().unwrap_or_default(), place.offset)
        };
        assert_eq!(text(455), ("protective MBR".into(), "record 1 first sector".into(), 454));
        assert_eq!(text(512 + 60), ("GPT header".into(), "disk GUID".into(), 512 + 56));
        assert_eq!(
            text(1024 + 128 + 48),
            ("GPT entry of partition 2".into(), "attributes".into(), 1024 + 176)
        );
        assert_eq!(
            text(999 * 512 + 16),
            ("backup GPT header".into(), "header checksum".into(), 999 * 512 + 16)
        );
        assert_eq!(text(967 * 512).0, "backup GPT entry of partition 1");
        assert_eq!(text(966 * 512).0, "between the partitions");
        assert_eq!(text(1000 * 512).0, "behind the partition table's end");
    }
}

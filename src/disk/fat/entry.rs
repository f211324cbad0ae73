//! Directory entries: 32 bytes each, short ones, and long ones in front of them.

use super::FatError;
use super::geometry::{u16_at, u32_at};
use super::name::{ShortName, checksum, readable};

/// Bytes of a directory entry.
pub(in crate::disk) const ENTRY_BYTES: usize = 32;

pub(super) const ARCHIVE: u8 = 0x20;
pub(super) const DIRECTORY: u8 = 0x10;
pub(super) const VOLUME_LABEL: u8 = 0x08;
pub(super) const LONG_NAME: u8 = 0x0f;
/// First byte of an entry that was deleted.
pub(super) const DELETED: u8 = 0xe5;
/// Bit of the first long entry's number: it holds the end of the name.
pub(super) const LAST_LONG: u8 = 0x40;

/// A moment as FAT writes it: local time without a zone, which we take for UTC, in steps of two seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub date: u16,
    pub time: u16,
}

impl Stamp {
    /// Writes seconds since 1970. Odd ones lose a second; what is before 1980 becomes 1980-01-01, the
    /// first day that FAT knows; what is behind 2107 is an error.
    pub fn from_epoch(seconds: u64) -> Result<Stamp, FatError> {
        const FIRST: u64 = 315_532_800;
        const LAST: u64 = 4_354_819_199;
        if seconds > LAST {
            return Err(FatError::Epoch { seconds });
        }
        let seconds = seconds.max(FIRST);
        let (year, month, day) = civil(seconds / 86400);
        let clock = seconds % 86400;
        let time = (clock / 3600) << 11 | (clock / 60 % 60) << 5 | (clock % 60 / 2);
        Ok(Stamp { date: ((year - 1980) << 9 | month << 5 | day) as u16, time: time as u16 })
    }
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (date, time) = (self.date, self.time);
        write!(f, "{:04}-{:02}-{:02} ", 1980 + (date >> 9), date >> 5 & 15, date & 31)?;
        write!(f, "{:02}:{:02}:{:02}", time >> 11, time >> 5 & 63, (time & 31) * 2)
    }
}

/// Turns days since 1970-01-01 into year, month and day of the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    let (mut year, mut left) = (1970, days);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

/// Writes a short entry.
pub(super) fn short(
    name: &ShortName,
    attributes: u8,
    cluster: u32,
    size: u32,
    stamp: Stamp,
) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    bytes[..11].copy_from_slice(name);
    bytes[11] = attributes;
    let (date, time) = (stamp.date.to_le_bytes(), stamp.time.to_le_bytes());
    bytes[14..16].copy_from_slice(&time);
    bytes[16..18].copy_from_slice(&date);
    bytes[18..20].copy_from_slice(&date);
    bytes[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
    bytes[22..24].copy_from_slice(&time);
    bytes[24..26].copy_from_slice(&date);
    bytes[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    bytes[28..].copy_from_slice(&size.to_le_bytes());
    bytes
}

/// Writes the first two entries of a directory: itself, and the one above.
pub(in crate::disk) fn dot_entries(own: u32, parent: u32, stamp: Stamp) -> [u8; 2 * ENTRY_BYTES] {
    let mut bytes = [0; 2 * ENTRY_BYTES];
    bytes[..ENTRY_BYTES].copy_from_slice(&short(b".          ", DIRECTORY, own, 0, stamp));
    bytes[ENTRY_BYTES..].copy_from_slice(&short(b"..         ", DIRECTORY, parent, 0, stamp));
    bytes
}

/// Writes the entry of a file whose short name is all of its name.
pub(in crate::disk) fn file_entry(
    name: &ShortName,
    cluster: u32,
    size: u32,
    stamp: Stamp,
) -> [u8; ENTRY_BYTES] {
    short(name, ARCHIVE, cluster, size, stamp)
}

/// Places of the UTF-16 units in a long entry.
pub(super) const UNIT_PLACES: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// Returns how many long entries a name takes.
pub(super) fn long_count(name: &str) -> usize {
    name.encode_utf16().count().div_ceil(UNIT_PLACES.len())
}

/// Writes the long entries of a name, in the order in which they stand before its short entry.
pub(super) fn long(name: &str, short: &ShortName) -> Vec<[u8; ENTRY_BYTES]> {
    let units: Vec<u16> = name.encode_utf16().collect();
    let count = long_count(name);
    let unit = |index: usize| match index.cmp(&units.len()) {
        std::cmp::Ordering::Less => units[index],
        std::cmp::Ordering::Equal => 0,
        std::cmp::Ordering::Greater => 0xffff,
    };
    let entry = |order: usize| {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[0] = order as u8 | if order == count { LAST_LONG } else { 0 };
        bytes[11] = LONG_NAME;
        bytes[13] = checksum(short);
        for (place, index) in UNIT_PLACES.iter().zip((order - 1) * UNIT_PLACES.len()..) {
            bytes[*place..place + 2].copy_from_slice(&unit(index).to_le_bytes());
        }
        bytes
    };
    (1..=count).rev().map(entry).collect()
}

/// Returns the cluster that a short entry names.
pub(super) fn cluster(entry: &[u8]) -> u32 {
    u32::from(u16_at(entry, 20)) << 16 | u32::from(u16_at(entry, 26))
}

/// Returns the units of one long entry, padding and all.
pub(super) fn units(entry: &[u8]) -> [u16; 13] {
    UNIT_PLACES.map(|place| u16_at(entry, place))
}

/// Returns when a short entry says that its file was written.
pub(super) fn modified(entry: &[u8]) -> Stamp {
    Stamp { date: u16_at(entry, 24), time: u16_at(entry, 22) }
}

/// Writes an entry as lines `offset field = value`; nothing for a free one.
pub(in crate::disk) fn dump_entry(base: u64, entry: &[u8], line: &mut dyn FnMut(u64, &str, String)) {
    match entry[0] {
        0 => {}
        DELETED => line(base, "entry.state", "deleted".to_owned()),
        order if entry[11] == LONG_NAME => {
            let units: Vec<u16> = units(entry).into_iter().take_while(|&unit| unit != 0).collect();
            line(base, "long.order", format!("{order:#04x}"));
            line(base + 1, "long.name", format!("{:?}", String::from_utf16_lossy(&units)));
            line(base + 13, "long.checksum", format!("{:02x}", entry[13]));
        }
        _ => {
            let name: ShortName = entry[..11].try_into().expect("because a short name has eleven bytes");
            line(base, "short.name", format!("{:?}", readable(&name)));
            line(base + 11, "short.attributes", format!("{:#04x}", entry[11]));
            line(base + 22, "short.modified", modified(entry).to_string());
            line(base + 26, "short.cluster", cluster(entry).to_string());
            line(base + 28, "short.size", u32_at(entry, 28).to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_utc_in_even_seconds_within_fats_range() {
        let text = |seconds| Stamp::from_epoch(seconds).expect("in range").to_string();
        assert_eq!(text(0), "1980-01-01 00:00:00");
        assert_eq!(text(315_532_800), "1980-01-01 00:00:00");
        assert_eq!(text(951_827_697), "2000-02-29 12:34:56");
        assert_eq!(text(1_709_251_199), "2024-02-29 23:59:58");
        assert_eq!(text(4_107_542_400), "2100-03-01 00:00:00");
        assert_eq!(text(4_354_819_199), "2107-12-31 23:59:58");
        assert!(matches!(Stamp::from_epoch(4_354_819_200), Err(FatError::Epoch { .. })));
    }

    #[test]
    fn long_entries_end_with_a_zero_only_where_there_is_room() {
        let thirteen = long("abcdefghijklm", b"ABCDEF~1   ");
        assert_eq!(thirteen.len(), 1);
        assert_eq!(units(&thirteen[0])[12], u16::from(b'm'));
        let fourteen = long("abcdefghijklmn", b"ABCDEF~1   ");
        assert_eq!((fourteen[0][0], fourteen[1][0]), (0x42, 0x01));
        assert_eq!(units(&fourteen[0])[..3], [u16::from(b'n'), 0, 0xffff]);
    }
}

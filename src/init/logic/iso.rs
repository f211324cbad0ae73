//! ISO 9660 (ECMA-119) with names of Joliet or Rock Ridge, or plain ones.

use std::io;

use super::volume::{DIRECTORY_MAX_BYTES, Entry, Read, damaged, too_long, walk};

const SECTOR_BYTES: usize = 2048;
const FIRST_DESCRIPTOR: u64 = 16;
const DESCRIPTORS_MAX: u64 = 32;
const PRIMARY: u8 = 1;
const SUPPLEMENTARY: u8 = 2;
const LAST: u8 = 255;
const ROOT_RECORD: usize = 156;
const RECORD_BYTES: usize = 33;
const IS_DIRECTORY: u8 = 2;
/// Escape sequences of a supplementary descriptor that say that names are UCS-2 (Joliet).
const JOLIET: [&[u8]; 3] = [b"%/@", b"%/C", b"%/E"];

/// A volume, with the tree whose names are the best.
pub struct Iso {
    pub label: String,
    root: Place,
    joliet: bool,
}

#[derive(Clone, Copy)]
struct Place {
    sector: u32,
    bytes: u32,
}

impl Iso {
    pub fn open(read: &Read<'_>) -> Option<Iso> {
        let mut iso: Option<Iso> = None;
        for number in FIRST_DESCRIPTOR..FIRST_DESCRIPTOR + DESCRIPTORS_MAX {
            let mut sector = [0; SECTOR_BYTES];
            read(number * SECTOR_BYTES as u64, &mut sector).ok()?;
            if &sector[1..6] != b"CD001" {
                break;
            }
            let place = place(&sector[ROOT_RECORD..ROOT_RECORD + RECORD_BYTES]);
            match (sector[0], &mut iso) {
                (PRIMARY, None) => {
                    let label = String::from_utf8_lossy(&sector[40..72]).trim_end().to_owned();
                    iso = Some(Iso { label, root: place, joliet: false });
                }
                (SUPPLEMENTARY, Some(iso)) if JOLIET.contains(&&sector[88..91]) => {
                    (iso.root, iso.joliet) = (place, true);
                }
                (LAST, _) => break,
                _ => {}
            }
        }
        iso
    }

    pub fn file(&self, read: &Read<'_>, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let list = |place: &Place| self.directory(read, *place);
        let Some(found) = walk(path, self.root, list)? else { return Ok(None) };
        content(read, found.place, limit).map(Some)
    }

    fn directory(&self, read: &Read<'_>, place: Place) -> io::Result<Vec<Entry<Place>>> {
        let bytes = content(read, place, DIRECTORY_MAX_BYTES)?;
        let mut entries = Vec::new();
        // A record never crosses the end of a sector: what is left there is zero.
        for mut sector in bytes.chunks(SECTOR_BYTES) {
            while let Some(&length) = sector.first().filter(|&&length| length != 0) {
                let (record, rest) =
                    sector.split_at_checked(length.into()).ok_or_else(|| damaged("a record is cut off"))?;
                sector = rest;
                let name_end = RECORD_BYTES + usize::from(*record.get(32).unwrap_or(&0));
                let name = record.get(RECORD_BYTES..name_end).ok_or_else(|| damaged("a name is cut off"))?;
                // The directory itself and the one above it.
                if !matches!(name, [0] | [1] | []) {
                    let name =
                        self.name(name, record.get(name_end + (name.len() + 1) % 2..).unwrap_or_default());
                    let place = self::place(record);
                    entries.push(Entry {
                        name,
                        is_directory: record[25] & IS_DIRECTORY != 0,
                        place,
                        size_bytes: place.bytes.into(),
                    });
                }
            }
        }
        Ok(entries)
    }

    fn name(&self, name: &[u8], system_use: &[u8]) -> String {
        let name = match (self.joliet, rock_ridge(system_use)) {
            (true, _) => {
                let units: Vec<u16> =
                    name.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
                String::from_utf16_lossy(&units)
            }
            (false, Some(name)) => return String::from_utf8_lossy(&name).into_owned(),
            (false, None) => String::from_utf8_lossy(name).into_owned(),
        };
        // A version ends the name, and a dot that no extension follows.
        name.split(';').next().unwrap_or_default().trim_end_matches('.').to_owned()
    }
}

fn content(read: &Read<'_>, place: Place, limit: usize) -> io::Result<Vec<u8>> {
    let size = usize::try_from(place.bytes).ok().filter(|&size| size <= limit).ok_or_else(too_long)?;
    let mut bytes = vec![0; size];
    read(u64::from(place.sector) * SECTOR_BYTES as u64, &mut bytes)?;
    Ok(bytes)
}

/// Reads the little-endian halves of a record's numbers; the record has its 33 bytes.
fn place(record: &[u8]) -> Place {
    let word = |at: usize| u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
    Place { sector: word(2), bytes: word(10) }
}

/// Returns the name that entries `NM` spell (IEEE P1282 §4.1.4), as far as they stand in the record itself.
fn rock_ridge(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    while let [first, second, length, _, ..] = *rest {
        let (entry, behind) = rest.split_at_checked(length.into()).filter(|(entry, _)| entry.len() >= 4)?;
        if let ([b'N', b'M'], Some(piece)) = ([first, second], entry.get(5..)) {
            name.extend_from_slice(piece);
        }
        rest = behind;
    }
    Some(name).filter(|name| !name.is_empty())
}

//! FAT12, FAT16 and FAT32 with long names (Microsoft's "FAT: General Overview of On-Disk Format", 1.03).

use std::io;

use super::volume::{DIRECTORY_MAX_BYTES, Entry, Read, damaged, too_long, walk};

const ENTRY_BYTES: usize = 32;
const DELETED: u8 = 0xe5;
const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
const ATTRIBUTE_LONG_NAME: u8 = 0x0f;
/// Bits of a short entry that say that name or extension are in small letters.
const SMALL_NAME: u8 = 0x08;
const SMALL_EXTENSION: u8 = 0x10;
const LONG_NAME_UNITS_MAX: usize = 255;

/// A volume, as its boot sector describes it.
pub struct Fat {
    pub label: String,
    bits: u32,
    table_at: u64,
    clusters: u32,
    cluster_bytes: u64,
    data_at: u64,
    root: Place,
}

/// Where a directory's or file's bytes are.
#[derive(Clone, Copy)]
enum Place {
    /// The root directory of FAT12 and FAT16.
    Fixed {
        at: u64,
        bytes: usize,
    },
    Chain {
        first: u32,
    },
}

impl Fat {
    pub fn open(read: &Read<'_>) -> Option<Fat> {
        let mut boot = [0; 512];
        read(0, &mut boot).ok()?;
        let mut fat = parse(&boot)?;
        // The label's entry in the root directory goes before the boot sector's copy.
        if let Some(label) = fat.directory(read, &fat.root).ok()?.0 {
            fat.label = label;
        }
        Some(fat)
    }

    pub fn file(&self, read: &Read<'_>, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let list = |place: &Place| self.directory(read, place).map(|(_, entries)| entries);
        let Some(found) = walk(path, self.root, list)? else { return Ok(None) };
        let size =
            usize::try_from(found.size_bytes).ok().filter(|&size| size <= limit).ok_or_else(too_long)?;
        if size == 0 {
            return Ok(Some(Vec::new()));
        }
        let mut bytes = self.bytes(read, &found.place, size)?;
        if bytes.len() < size {
            return Err(damaged("a chain of clusters is too short"));
        }
        bytes.truncate(size);
        Ok(Some(bytes))
    }

    /// Reads at most the clusters that `most` bytes take: a chain that loops ends there, too.
    fn bytes(&self, read: &Read<'_>, place: &Place, most: usize) -> io::Result<Vec<u8>> {
        let mut cluster = match *place {
            Place::Fixed { at, bytes } => {
                let mut fixed = vec![0; bytes.min(most)];
                read(at, &mut fixed)?;
                return Ok(fixed);
            }
            Place::Chain { first } => first,
        };
        let mut all = Vec::new();
        let mut piece = vec![0; self.cluster_bytes as usize];
        while all.len() < most && (2..self.clusters + 2).contains(&cluster) {
            read(self.data_at + u64::from(cluster - 2) * self.cluster_bytes, &mut piece)?;
            all.extend_from_slice(&piece);
            cluster = self.next(read, cluster)?;
        }
        Ok(all)
    }

    fn next(&self, read: &Read<'_>, cluster: u32) -> io::Result<u32> {
        let mut entry = [0; 4];
        let bit = u64::from(cluster) * u64::from(self.bits);
        let bytes = if self.bits == 32 { 4 } else { 2 };
        read(self.table_at + bit / 8, &mut entry[..bytes])?;
        let value = u32::from_le_bytes(entry);
        Ok(match self.bits {
            12 if cluster % 2 == 1 => value >> 4,
            12 => value & 0xfff,
            16 => value,
            _ => value & 0x0fff_ffff,
        })
    }

    /// Returns the label, where the directory holds it, and the entries.
    fn directory(&self, read: &Read<'_>, place: &Place) -> io::Result<(Option<String>, Vec<Entry<Place>>)> {
        let bytes = self.bytes(read, place, DIRECTORY_MAX_BYTES)?;
        let (mut label, mut entries, mut long) = (None, Vec::new(), Vec::new());
        for entry in bytes.chunks_exact(ENTRY_BYTES).take_while(|entry| entry[0] != 0) {
            let attributes = entry[11];
            if entry[0] == DELETED {
                long.clear();
            } else if attributes & 0x3f == ATTRIBUTE_LONG_NAME {
                // Pieces of a name come last one first.
                let mut piece = long_piece(entry);
                piece.append(&mut long);
                piece.truncate(LONG_NAME_UNITS_MAX);
                long = piece;
            } else if attributes & ATTRIBUTE_LABEL != 0 {
                label = Some(String::from_utf8_lossy(&entry[..11]).trim_end().to_owned());
                long.clear();
            } else {
                let name = match long.is_empty() {
                    true => short_name(entry),
                    false => String::from_utf16_lossy(&std::mem::take(&mut long)),
                };
                entries.push(self.entry(name, entry));
            }
        }
        Ok((label, entries))
    }

    fn entry(&self, name: String, entry: &[u8]) -> Entry<Place> {
        let high = if self.bits == 32 { u32::from(short(entry, 20)) << 16 } else { 0 };
        Entry {
            name,
            is_directory: entry[11] & ATTRIBUTE_DIRECTORY != 0,
            place: Place::Chain { first: high | u32::from(short(entry, 26)) },
            size_bytes: u64::from(u32::from_le_bytes([entry[28], entry[29], entry[30], entry[31]])),
        }
    }
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn parse(boot: &[u8; 512]) -> Option<Fat> {
    let word = |at: usize| u32::from_le_bytes([boot[at], boot[at + 1], boot[at + 2], boot[at + 3]]);
    let sector_bytes = u64::from(short(boot, 11));
    let cluster_sectors = u64::from(boot[13]);
    let sound = boot[510..] == [0x55, 0xaa]
        && matches!(sector_bytes, 512 | 1024 | 2048 | 4096)
        && cluster_sectors.is_power_of_two()
        && (1..=2).contains(&boot[16]);
    if !sound {
        return None;
    }
    let either = |small: u16, large: u32| if small == 0 { u64::from(large) } else { u64::from(small) };
    let (reserved, tables) = (u64::from(short(boot, 14)), u64::from(boot[16]));
    let (sectors, table_sectors) = (either(short(boot, 19), word(32)), either(short(boot, 22), word(36)));
    let root_bytes = u64::from(short(boot, 17)) * ENTRY_BYTES as u64;
    let root_at = reserved + tables * table_sectors;
    let data_at = root_at + root_bytes.div_ceil(sector_bytes);
    let clusters = sectors.checked_sub(data_at)? / cluster_sectors;
    let clusters = u32::try_from(clusters).ok().filter(|&clusters| clusters > 0 && clusters < 0x0fff_fff0)?;
    let bits = match clusters {
        0..4085 => 12,
        4085..65525 => 16,
        _ => 32,
    };
    let root = match bits {
        32 => Place::Chain { first: word(44) },
        _ => Place::Fixed { at: root_at * sector_bytes, bytes: root_bytes as usize },
    };
    let label = if bits == 32 { &boot[71..82] } else { &boot[43..54] };
    Some(Fat {
        label: String::from_utf8_lossy(label).trim_end().to_owned(),
        bits,
        table_at: reserved * sector_bytes,
        clusters,
        cluster_bytes: cluster_sectors * sector_bytes,
        data_at: data_at * sector_bytes,
        root,
    })
}

/// Returns the 13 units of a long name's piece, without what fills it.
fn long_piece(entry: &[u8]) -> Vec<u16> {
    let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
    places.map(|at| short(entry, at)).take_while(|&unit| unit != 0 && unit != 0xffff).collect()
}

fn short_name(entry: &[u8]) -> String {
    let part = |bytes: &[u8], small: u8| {
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        if entry[12] & small != 0 { text.to_ascii_lowercase() } else { text }
    };
    let (name, extension) = (part(&entry[..8], SMALL_NAME), part(&entry[8..11], SMALL_EXTENSION));
    if extension.is_empty() { name } else { format!("{name}.{extension}") }
}

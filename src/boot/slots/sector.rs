//! The bytes of the sector: 16 directory entries of 32 bytes (FAT specification §6 and §7).

use super::{EntryName, Slot, SlotError, SlotMap, SlotSector, SlotState};

const ENTRY_BYTES: usize = 32;
const DELETED: u8 = 0xe5;
const LONG_NAME: u8 = 0x0f;
const DIRECTORY: u8 = 0x10;
const VOLUME_LABEL: u8 = 0x08;
const ARCHIVE: u8 = 0x20;
const LAST_LONG: u8 = 0x40;
/// Places of the UTF-16 units in a long entry.
const UNIT_PLACES: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

impl SlotSector {
    /// Reads the sector of `EFI/Linux`, as we or as firmware wrote it: entries in any order, deleted
    /// ones among them, short names that anyone made up. What is not ours is an error.
    pub fn decode(sector: &[u8; 512], map: &SlotMap) -> Result<SlotSector, SlotError> {
        let mut states = [SlotState::Empty; 2];
        let mut long = LongName::default();
        for (entry, index) in sector.chunks_exact(ENTRY_BYTES).zip(0..) {
            let damaged = |problem: String| SlotError::Damaged { entry: index, problem };
            match (index, entry[0], entry[11]) {
                (0, ..) => check_dots(entry, b".          ", map.directory_cluster).map_err(damaged)?,
                (1, ..) => check_dots(entry, b"..         ", map.parent_cluster).map_err(damaged)?,
                (_, 0, _) => break,
                (_, DELETED, _) => long.check_ended().map_err(damaged)?,
                (_, _, LONG_NAME) => long.add(entry).map_err(damaged)?,
                _ => {
                    let (slot, state) = file(entry, &mut long, map).map_err(damaged)?;
                    if std::mem::replace(&mut states[slot.index()], state) != SlotState::Empty {
                        return Err(damaged(format!("a second entry of {slot}")));
                    }
                }
            }
        }
        let last = sector.len() / ENTRY_BYTES;
        let damaged = |problem: String| SlotError::Damaged { entry: last, problem };
        long.check_ended().map_err(damaged)?;
        if let (Some(one), Some(other)) = (states[0].generation(), states[1].generation())
            && one == other
        {
            return Err(damaged(format!("both slots have generation {one}")));
        }
        Ok(SlotSector { map: map.clone(), states })
    }

    /// Writes the sector: the entries of slot A, then those of slot B, and nothing deleted, so that
    /// firmware finds room for its renames.
    pub fn encode(&self) -> [u8; 512] {
        let mut sector = [0; 512];
        let mut entries = sector.chunks_exact_mut(ENTRY_BYTES);
        let mut put = |entry: [u8; ENTRY_BYTES]| {
            entries.next().expect("because two names take at most six entries").copy_from_slice(&entry);
        };
        put(self.short(b".          ", DIRECTORY, self.map().directory_cluster, 0));
        put(self.short(b"..         ", DIRECTORY, self.map().parent_cluster, 0));
        for slot in Slot::BOTH {
            let state = self.state(slot);
            if let Some(name) = EntryName::of(&state) {
                let alias = alias(slot, &state);
                for entry in long_entries(&name.to_string(), checksum(&alias)) {
                    put(entry);
                }
                let start = self.map().slots[slot.index()].start_cluster;
                put(self.short(&alias, ARCHIVE, start, state.size_bytes()));
            }
        }
        sector
    }

    fn short(&self, name: &[u8; 11], attributes: u8, cluster: u32, size: u32) -> [u8; ENTRY_BYTES] {
        let (date, time) = (self.map().date.to_le_bytes(), self.map().time.to_le_bytes());
        let [low, below, above, high] = cluster.to_le_bytes();
        let mut entry = [0; ENTRY_BYTES];
        entry[..11].copy_from_slice(name);
        entry[11] = attributes;
        entry[14..16].copy_from_slice(&time);
        entry[16..18].copy_from_slice(&date);
        entry[18..20].copy_from_slice(&date);
        entry[20..22].copy_from_slice(&[above, high]);
        entry[22..24].copy_from_slice(&time);
        entry[24..26].copy_from_slice(&date);
        entry[26..28].copy_from_slice(&[low, below]);
        entry[28..].copy_from_slice(&size.to_le_bytes());
        entry
    }
}

/// Returns the short name that we give a slot; nobody reads it.
fn alias(slot: Slot, state: &SlotState) -> [u8; 11] {
    match (slot, state) {
        (Slot::A, SlotState::Inactive { .. }) => *b"SLOTA~1 BIN",
        (Slot::B, SlotState::Inactive { .. }) => *b"SLOTB~1 BIN",
        (Slot::A, _) => *b"SLOTA~1 EFI",
        (Slot::B, _) => *b"SLOTB~1 EFI",
    }
}

fn checksum(short: &[u8]) -> u8 {
    short.iter().fold(0, |sum: u8, &byte| sum.rotate_right(1).wrapping_add(byte))
}

/// Writes the long entries of an ASCII name, last part first. Ours take one; counters that firmware
/// raised beyond nine may make it two.
fn long_entries(name: &str, checksum: u8) -> Vec<[u8; ENTRY_BYTES]> {
    let units: Vec<u16> = name.encode_utf16().collect();
    let count = units.len().div_ceil(UNIT_PLACES.len());
    let entry = |order: usize| {
        let mut entry = [0xff; ENTRY_BYTES];
        entry[0] = order as u8 | if order == count { LAST_LONG } else { 0 };
        entry[11..14].copy_from_slice(&[LONG_NAME, 0, checksum]);
        entry[26..28].fill(0);
        let part = units.iter().copied().chain([0]).skip((order - 1) * UNIT_PLACES.len());
        for (place, unit) in UNIT_PLACES.iter().zip(part) {
            entry[*place..place + 2].copy_from_slice(&unit.to_le_bytes());
        }
        entry
    };
    (1..=count).rev().map(entry).collect()
}

fn cluster(entry: &[u8]) -> u32 {
    u32::from_le_bytes([entry[26], entry[27], entry[20], entry[21]])
}

fn check_dots(entry: &[u8], name: &[u8; 11], expected: u32) -> Result<(), String> {
    if entry[..11] != *name || entry[11] != DIRECTORY {
        return Err(format!("expected {:?}", String::from_utf8_lossy(name).trim_end()));
    }
    match cluster(entry) {
        found if found == expected => Ok(()),
        found => Err(format!("it leads to cluster {found}, not {expected}")),
    }
}

fn file(entry: &[u8], long: &mut LongName, map: &SlotMap) -> Result<(Slot, SlotState), String> {
    if entry[11] & (DIRECTORY | VOLUME_LABEL) != 0 {
        return Err(format!("attributes {:#04x} are not those of a file", entry[11]));
    }
    let text = match long.take(&entry[..11])? {
        Some(name) => name,
        None => short_text(entry),
    };
    let name = EntryName::parse(&text).ok_or_else(|| format!("{text:?} is none of our names"))?;
    let start = cluster(entry);
    let slot = Slot::BOTH.into_iter().find(|slot| map.slots[slot.index()].start_cluster == start);
    let slot = slot.ok_or_else(|| format!("{text} begins at cluster {start}, where no slot does"))?;
    let size = u32::from_le_bytes([entry[28], entry[29], entry[30], entry[31]]);
    let size = map.check_size(slot, size.into()).map_err(|error| error.to_string())?;
    Ok((slot, name.state(size)))
}

/// Reads a short name in lower case, which is how all our names are spelled.
fn short_text(entry: &[u8]) -> String {
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_ascii_lowercase();
    format!("{}.{}", part(&entry[..8]), part(&entry[8..11]))
}

/// Gathers long entries, which stand last part first.
#[derive(Default)]
struct LongName {
    units: Vec<[u16; 13]>,
    /// Number of the part that was read last; 1 ends the name.
    order: u8,
    checksum: u8,
}

impl LongName {
    fn add(&mut self, entry: &[u8]) -> Result<(), String> {
        let order = entry[0] & !LAST_LONG;
        let fits = if entry[0] & LAST_LONG != 0 {
            self.order == 0 && (1..=20).contains(&order)
        } else {
            order > 0 && order + 1 == self.order && entry[13] == self.checksum
        };
        if !fits {
            return Err(format!("part {order} of a long name is out of order"));
        }
        (self.order, self.checksum) = (order, entry[13]);
        self.units.push(UNIT_PLACES.map(|place| u16::from_le_bytes([entry[place], entry[place + 1]])));
        Ok(())
    }

    fn take(&mut self, short: &[u8]) -> Result<Option<String>, String> {
        let name = std::mem::take(self);
        if name.units.is_empty() {
            return Ok(None);
        }
        if name.order != 1 || name.checksum != checksum(short) {
            return Err("the long name before it belongs to another entry".to_owned());
        }
        let units = name.units.iter().rev().flatten().copied().take_while(|&unit| unit != 0);
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.map(Some).map_err(|_| "its long name is no UTF-16".to_owned())
    }

    fn check_ended(&self) -> Result<(), String> {
        if self.units.is_empty() { Ok(()) } else { Err("a long name has no short entry".to_owned()) }
    }
}

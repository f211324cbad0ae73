//! Shows records and seals as lines, for people and for golden tests.

use super::record::{RECORD_SECTORS, Record, SEAL_SECTORS, SECTOR_BYTES, State, decode_seal};
use super::{Slot, SlotMap};
use crate::base::Digest;
use crate::disk::BlockDevice;

/// Returns lines `offset structure.field = value` of the records and the seals of an ESP; layout 1 has none.
/// `base` is where the ESP begins on its disk, in bytes.
pub fn dump_records(esp: &dyn BlockDevice, map: &SlotMap, base: u64) -> std::io::Result<String> {
    let mut text = String::new();
    if map.records.is_none() {
        return Ok(text);
    }
    for (index, sector) in RECORD_SECTORS.into_iter().enumerate() {
        let at = sector * SECTOR_BYTES as u64;
        let mut line = |more: usize, field: &str, value: String| {
            text.push_str(&format!("{:#011x} record{index}.{field} = {value}\n", base + at + more as u64));
        };
        match Record::decode(&read(esp, at)?) {
            Err(problem) => line(0, "damaged", problem.to_owned()),
            Ok(record) => {
                line(8, "sequence", record.sequence.to_string());
                for (entry, slot) in record.entries.iter().zip(Slot::BOTH) {
                    let more = 16 + 64 * slot.index();
                    line(more, &format!("{slot}.state"), state(&entry.state));
                    let extent = format!("{}+{}", entry.first_sector, entry.sectors);
                    line(more + 16, &format!("{slot}.sectors"), extent);
                    line(more + 24, &format!("{slot}.uki_bytes"), entry.size_bytes.to_string());
                    line(more + 32, &format!("{slot}.uki_blake3"), Digest(entry.digest).to_string());
                }
            }
        }
    }
    for (slot, sector) in Slot::BOTH.into_iter().zip(SEAL_SECTORS) {
        let at = sector * SECTOR_BYTES as u64;
        let value = match decode_seal(&read(esp, at)?) {
            Ok(entry) => format!("{} bytes, blake3 {}", entry.size_bytes, Digest(entry.digest)),
            Err(problem) => format!("none: {problem}"),
        };
        text.push_str(&format!("{:#011x} seal.{slot} = {value}\n", base + at));
    }
    Ok(text)
}

fn read(esp: &dyn BlockDevice, at: u64) -> std::io::Result<[u8; SECTOR_BYTES]> {
    let mut sector = [0; SECTOR_BYTES];
    esp.read_at(at, &mut sector)?;
    Ok(sector)
}

fn state(state: &State) -> String {
    match state {
        State::Empty => "empty".to_owned(),
        State::Inactive => "inactive".to_owned(),
        State::Trial { generation, left, done } => {
            format!("trial, generation {generation}, {left} tries left, {done} done")
        }
        State::Blessed { generation } => format!("blessed, generation {generation}"),
    }
}

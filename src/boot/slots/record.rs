//! The bytes of a slot record, and what the loader does with it. Shared with the loader itself
//! (`src/loader/`): nothing here needs more than `core`, and nothing allocates.
//!
//! Disk layout 2 keeps the state of both slots in two sectors of the ESP's reserved area, which no file
//! system driver ever writes, each in a physical block of 4096 bytes of its own. The sound one with the
//! greater sequence number counts; a change is written over the other, so that a torn write loses the
//! change at most. Number `n` stands in place `n % 2`. Integers are little-endian:
//!
//! ```text
//! 0    8  "mkslots2"
//! 8    8  sequence number
//! 16  64  slot A
//!      4    state: 0 empty, 1 inactive, 2 trial, 3 blessed
//!      4    generation: the greater one is the newer; 0 unless trial or blessed
//!      4    tries left, 4 tries done; 0 unless trial
//!      4    first sector of the UKI's extent in the ESP, 4 sectors of the extent
//!      4    size of the UKI in bytes; 0 for an empty slot
//!      4    zero
//!     32    BLAKE3 of the UKI; zero for an empty slot
//! 80  64  slot B, the same
//! 144     zeros
//! 508  4  CRC-32 (IEEE) of what stands before it
//! ```
//!
//! A *seal* says of one slot what UKI was written there: the same bytes with "mkseal-2", sequence number 0, the
//! slot in the place of slot A as inactive, and zeros for slot B. The loader reads seals only where both
//! records are damaged. Changing any of this is a format break.

/// Bytes of a sector.
pub const SECTOR_BYTES: usize = 512;
/// Where the records are: sectors of the ESP.
pub const RECORD_SECTORS: [u64; 2] = [16, 24];
/// Where the seals of slot A and slot B are: sectors of the ESP.
pub const SEAL_SECTORS: [u64; 2] = [8, 32];
/// Tries that each slot has once both records were lost.
pub const RECOVERED_TRIES: u32 = 3;

/// How records and seals begin.
pub const RECORD_MAGIC: [u8; 8] = *b"mkslots2";
pub const SEAL_MAGIC: [u8; 8] = *b"mkseal-2";
const ENTRIES_OFFSET: usize = 16;
const ENTRY_BYTES: usize = 64;
const DIGEST_OFFSET: usize = 32;
const END_OFFSET: usize = ENTRIES_OFFSET + 2 * ENTRY_BYTES;
const CHECKSUM_OFFSET: usize = SECTOR_BYTES - 4;

/// What may be done with a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Empty,
    Inactive,
    Trial { generation: u32, left: u32, done: u32 },
    Blessed { generation: u32 },
}

/// What a record says of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub state: State,
    /// The extent of the slot's UKI, in sectors of the ESP.
    pub first_sector: u32,
    pub sectors: u32,
    pub size_bytes: u32,
    /// BLAKE3 of the UKI.
    pub digest: [u8; 32],
}

/// What a record sector says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub sequence: u64,
    pub entries: [Entry; 2],
}

/// A slot that the loader tries to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// 0 is slot A.
    pub slot: usize,
    /// Whether a try is written down before it starts.
    pub counts: bool,
}

impl Entry {
    /// No slot.
    pub const NONE: Entry =
        Entry { state: State::Empty, first_sector: 0, sectors: 0, size_bytes: 0, digest: [0; 32] };

    fn generation(&self) -> u32 {
        match self.state {
            State::Trial { generation, .. } | State::Blessed { generation } => generation,
            State::Empty | State::Inactive => 0,
        }
    }

    /// Returns how early the slot is tried: what is known to boot and what may be counted first, then
    /// trials that can't be counted, then slots without tries left, then what was being written.
    fn rank(&self, can_count: bool) -> Option<u8> {
        match self.state {
            State::Blessed { .. } => Some(0),
            State::Trial { left: 1.., .. } if can_count => Some(0),
            State::Trial { left: 1.., .. } => Some(1),
            State::Trial { .. } => Some(2),
            State::Inactive if self.size_bytes > 0 => Some(3),
            State::Inactive | State::Empty => None,
        }
    }

    fn encode(&self, bytes: &mut [u8]) {
        let (state, generation, left, done) = match self.state {
            State::Empty => (0, 0, 0, 0),
            State::Inactive => (1, 0, 0, 0),
            State::Trial { generation, left, done } => (2, generation, left, done),
            State::Blessed { generation } => (3, generation, 0, 0),
        };
        let words = [state, generation, left, done, self.first_sector, self.sectors, self.size_bytes, 0];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes[DIGEST_OFFSET..ENTRY_BYTES].copy_from_slice(&self.digest);
    }

    fn decode(bytes: &[u8]) -> Result<Entry, &'static str> {
        let mut words = [0; 8];
        for (word, place) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_le_bytes([place[0], place[1], place[2], place[3]]);
        }
        let [state, generation, left, done, first_sector, sectors, size_bytes, zero] = words;
        let state = match (state, generation, left, done) {
            (0, 0, 0, 0) => State::Empty,
            (1, 0, 0, 0) => State::Inactive,
            (2, 1.., _, _) => State::Trial { generation, left, done },
            (3, 1.., 0, 0) => State::Blessed { generation },
            _ => return Err("the state of a slot is none that we know"),
        };
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[DIGEST_OFFSET..ENTRY_BYTES]);
        if zero != 0 || (state == State::Empty && (size_bytes != 0 || digest != [0; 32])) {
            return Err("what must be zero is not");
        }
        if (state != State::Empty && size_bytes == 0) || u64::from(size_bytes) > u64::from(sectors) * 512 {
            return Err("the size of a UKI does not fit its extent");
        }
        Ok(Entry { state, first_sector, sectors, size_bytes, digest })
    }
}

impl Record {
    /// Reads a record sector. The error says what is wrong with it.
    pub fn decode(sector: &[u8; SECTOR_BYTES]) -> Result<Record, &'static str> {
        let record = decode(sector, RECORD_MAGIC)?;
        let [one, other] = record.entries;
        if one.generation() != 0 && one.generation() == other.generation() {
            return Err("both slots have the same generation");
        }
        Ok(record)
    }

    pub fn encode(&self) -> [u8; SECTOR_BYTES] {
        encode(RECORD_MAGIC, self)
    }

    /// Returns in which of the two places this record stands.
    pub fn place(&self) -> usize {
        (self.sequence % 2) as usize
    }

    /// Returns the newer one of the records that are sound.
    pub fn newest(read: [Option<Record>; 2]) -> Option<Record> {
        match read {
            [Some(one), Some(other)] if other.sequence > one.sequence => Some(other),
            [None, other] => other,
            [one, _] => one,
        }
    }

    /// Makes a record of what the seals say, where both records are lost. Nobody knows any more what was
    /// healthy: each slot is on trial, slot A first, and PID 1 blesses the one that comes up.
    pub fn recovered(seals: [Option<Entry>; 2]) -> Option<Record> {
        let mut record = Record { sequence: 0, entries: [Entry::NONE; 2] };
        for ((entry, seal), generation) in record.entries.iter_mut().zip(seals).zip([2, 1]) {
            if let Some(seal) = seal {
                let state = State::Trial { generation, left: RECOVERED_TRIES, done: 0 };
                *entry = Entry { state, ..seal };
            }
        }
        (seals != [None; 2]).then_some(record)
    }

    /// Returns the slots in the order in which the loader tries them: each comes only where the one before
    /// it could not be started. `can_count`: whether records can be written.
    pub fn attempts(&self, can_count: bool) -> [Option<Attempt>; 2] {
        let attempt = |slot: usize| {
            let entry = &self.entries[slot];
            let counts = can_count && matches!(entry.state, State::Trial { .. });
            let attempt = Attempt { slot, counts };
            entry.rank(can_count).map(|rank| (rank, core::cmp::Reverse(entry.generation()), attempt))
        };
        match [attempt(0), attempt(1)] {
            [Some(one), Some(other)] if (other.0, other.1) < (one.0, one.1) => [Some(other.2), Some(one.2)],
            [None, other] => [other.map(|other| other.2), None],
            [one, other] => [one.map(|one| one.2), other.map(|other| other.2)],
        }
    }

    /// Returns the next record, in which a try of the slot is done.
    pub fn counted(&self, slot: usize) -> Record {
        let mut next = Record { sequence: self.sequence.saturating_add(1), ..*self };
        if let State::Trial { left, done, .. } = &mut next.entries[slot].state {
            *left = left.saturating_sub(1);
            *done = done.saturating_add(1);
        }
        next
    }
}

/// Reads the seal of a slot.
pub fn decode_seal(sector: &[u8; SECTOR_BYTES]) -> Result<Entry, &'static str> {
    let record = decode(sector, SEAL_MAGIC)?;
    match (record.entries[0].state, record.entries[1].sectors) {
        (State::Inactive, 0) if record.sequence == 0 => Ok(record.entries[0]),
        _ => Err("it is no seal of one slot"),
    }
}

fn decode(sector: &[u8; SECTOR_BYTES], magic: [u8; 8]) -> Result<Record, &'static str> {
    if sector[..8] != magic {
        return Err("it does not begin as it must");
    }
    if sector[CHECKSUM_OFFSET..] != crc32(&sector[..CHECKSUM_OFFSET]).to_le_bytes() {
        return Err("its checksum is wrong");
    }
    if sector[END_OFFSET..CHECKSUM_OFFSET].iter().any(|&byte| byte != 0) {
        return Err("what must be zero is not");
    }
    let mut sequence = [0; 8];
    sequence.copy_from_slice(&sector[8..16]);
    let entry = |index: usize| Entry::decode(&sector[ENTRIES_OFFSET + index * ENTRY_BYTES..][..ENTRY_BYTES]);
    Ok(Record { sequence: u64::from_le_bytes(sequence), entries: [entry(0)?, entry(1)?] })
}

/// Writes a record or a seal, by its magic.
pub fn encode(magic: [u8; 8], record: &Record) -> [u8; SECTOR_BYTES] {
    let mut sector = [0; SECTOR_BYTES];
    sector[..8].copy_from_slice(&magic);
    sector[8..16].copy_from_slice(&record.sequence.to_le_bytes());
    for (entry, place) in record.entries.iter().zip(sector[ENTRIES_OFFSET..].chunks_exact_mut(ENTRY_BYTES)) {
        entry.encode(place);
    }
    let checksum = crc32(&sector[..CHECKSUM_OFFSET]);
    sector[CHECKSUM_OFFSET..].copy_from_slice(&checksum.to_le_bytes());
    sector
}

/// Returns the CRC-32 with the polynomial of IEEE 802.3, bit by bit: for sectors, and what PID 1 reads of a partition
/// table. A table of remainders would be larger than all that uses it there.
pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

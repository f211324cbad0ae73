//! The slot state of any layout behind one door: [`SlotSector`] for systemd-boot, [`SlotRecord`] for our loader.

use super::record::{self, Entry, RECORD_SECTORS, Record, SEAL_MAGIC, SEAL_SECTORS, State, decode_seal};
use super::{Choice, Slot, SlotError, SlotMap, SlotSector, SlotState};
use crate::base::Digest;

/// Bytes of a sector.
const SECTOR: u64 = record::SECTOR_BYTES as u64;

/// Size and digest of a UKI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    pub size_bytes: u64,
    pub digest: Digest,
}

impl Measured {
    /// Measures a UKI.
    pub fn of(uki: &[u8]) -> Measured {
        Measured { size_bytes: uki.len() as u64, digest: Digest::of(uki) }
    }
}

/// Holds what the newer slot record says, and the digests of the UKIs. On disk: see [`record`].
///
/// Each change makes the next record, which belongs into the place of the older one: write it before you
/// change it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRecord {
    slots: SlotSector,
    digests: [Digest; 2],
    sequence: u64,
}

impl SlotRecord {
    /// Makes the record of a new image: a blessed UKI in slot A, slot B empty.
    pub fn first(map: SlotMap, uki: Measured) -> Result<SlotRecord, SlotError> {
        let slots = SlotSector::first(map, uki.size_bytes)?;
        Ok(SlotRecord { slots, digests: [uki.digest, Digest([0; 32])], sequence: 1 })
    }

    /// Reads both record sectors. One may be damaged: then the other one counts.
    pub fn decode(sectors: &[[u8; 512]; 2], map: &SlotMap) -> Result<SlotRecord, SlotError> {
        let [one, other] = sectors.each_ref().map(Record::decode);
        let problem = match (&one, &other) {
            (Err(one), Err(other)) => format!("the first: {one}; the second: {other}"),
            _ => String::new(),
        };
        let newest = Record::newest([one.ok(), other.ok()]).ok_or(SlotError::Lost { problem })?;
        SlotRecord::of(&newest, map)
    }

    /// Makes of the seals what the loader makes of them where both records are lost: each slot is on trial. Without
    /// a sound seal both are empty.
    fn recovered(seals: &[[u8; 512]; 2], map: &SlotMap) -> Result<SlotRecord, SlotError> {
        let seals = seals.each_ref().map(|sector| decode_seal(sector).ok());
        let none = Record { sequence: 0, entries: [Entry::NONE; 2] };
        SlotRecord::of(&Record::recovered(seals).unwrap_or(none), map)
    }

    fn of(record: &Record, map: &SlotMap) -> Result<SlotRecord, SlotError> {
        let misplaced = Slot::BOTH.into_iter().find(|&slot| {
            let entry = &record.entries[slot.index()];
            // The loader knows no extent of a slot without a seal.
            *entry != Entry::NONE && (entry.first_sector, entry.sectors) != extent(map, slot)
        });
        if let Some(slot) = misplaced {
            let problem = format!("the extent of {slot} is not where the map has it");
            return Err(SlotError::Records { problem });
        }
        let states = record.entries.map(|entry| slot_state(&entry));
        let slots = SlotSector { map: map.clone(), states };
        Ok(SlotRecord {
            slots,
            digests: record.entries.map(|it| Digest(it.digest)),
            sequence: record.sequence,
        })
    }

    /// Returns what the record's sector says, for the loader's own choice.
    pub fn record(&self) -> Record {
        Record { sequence: self.sequence, entries: Slot::BOTH.map(|slot| self.entry(slot)) }
    }

    fn entry(&self, slot: Slot) -> Entry {
        let state = self.slots.state(slot);
        let size_bytes = state.size_bytes();
        let state = match state {
            SlotState::Empty => State::Empty,
            SlotState::Inactive { .. } => State::Inactive,
            SlotState::Trial { generation, left, done, .. } => State::Trial { generation, left, done },
            SlotState::Blessed { generation, .. } => State::Blessed { generation },
        };
        let (first_sector, sectors) = extent(self.slots.map(), slot);
        Entry { state, first_sector, sectors, size_bytes, digest: self.digests[slot.index()].0 }
    }

    /// Returns the sector of this record, and where in the ESP it belongs, in bytes.
    pub fn encode(&self) -> (u64, [u8; 512]) {
        let record = self.record();
        (RECORD_SECTORS[record.place()] * SECTOR, record.encode())
    }

    /// Returns both sectors of a new image: the record, and one before it that says the same.
    pub fn encode_both(&self) -> [(u64, [u8; 512]); 2] {
        let before = SlotRecord { sequence: self.sequence - 1, ..self.clone() };
        [before.encode(), self.encode()]
    }

    /// Returns the digest of a slot's UKI; `None` for an empty slot.
    pub fn digest(&self, slot: Slot) -> Option<Digest> {
        (self.slots.state(slot) != SlotState::Empty).then_some(self.digests[slot.index()])
    }

    /// Makes the next record, unless the slots stay as they are.
    fn next(&self, slots: SlotSector) -> SlotRecord {
        if slots == self.slots {
            return self.clone();
        }
        SlotRecord { slots, digests: self.digests, sequence: self.sequence.saturating_add(1) }
    }

    fn trial(&self, slot: Slot, uki: Measured, tries: u8) -> Result<SlotRecord, SlotError> {
        let mut next = self.next(self.slots.trial(slot, uki.size_bytes, tries)?);
        next.digests[slot.index()] = uki.digest;
        Ok(next)
    }
}

/// Returns first sector and length of a slot's extent, in sectors of the ESP.
fn extent(map: &SlotMap, slot: Slot) -> (u32, u32) {
    ((map.uki_offset(slot) / SECTOR) as u32, map.slots[slot.index()].clusters)
}

fn slot_state(entry: &Entry) -> SlotState {
    let size_bytes = entry.size_bytes;
    match entry.state {
        State::Empty => SlotState::Empty,
        State::Inactive => SlotState::Inactive { size_bytes },
        State::Trial { generation, left, done } => SlotState::Trial { generation, left, done, size_bytes },
        State::Blessed { generation } => SlotState::Blessed { generation, size_bytes },
    }
}

/// Holds the state of both slots, in the form that the disk's loader reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotTable {
    /// Layout 1, systemd-boot: the directory sector of `EFI/Linux`.
    Sector(SlotSector),
    /// Layout 2, our loader: two record sectors.
    Records(SlotRecord),
}

impl SlotTable {
    /// Makes the table of a new image: a blessed UKI in slot A, slot B empty.
    pub fn first(map: SlotMap, uki: Measured) -> Result<SlotTable, SlotError> {
        match map.layout {
            1 => SlotSector::first(map, uki.size_bytes).map(SlotTable::Sector),
            _ => SlotRecord::first(map, uki).map(SlotTable::Records),
        }
    }

    /// Returns where in the ESP the table's sectors are, in bytes: one of layout 1, two of layout 2.
    pub fn places(map: &SlotMap) -> Vec<u64> {
        match map.layout {
            1 => vec![map.directory_offset],
            _ => RECORD_SECTORS.map(|sector| sector * SECTOR).to_vec(),
        }
    }

    /// Reads the sectors of [`SlotTable::places`].
    pub fn decode(sectors: &[[u8; 512]], map: &SlotMap) -> Result<SlotTable, SlotError> {
        match (map.layout, sectors) {
            (1, [sector]) => SlotSector::decode(sector, map).map(SlotTable::Sector),
            (2, [one, other]) => SlotRecord::decode(&[*one, *other], map).map(SlotTable::Records),
            _ => Err(SlotError::Records { problem: format!("{} sectors are not its number", sectors.len()) }),
        }
    }

    /// Reads the table with a function that reads one sector at a place of the ESP.
    pub fn read<E: From<SlotError>>(
        map: &SlotMap,
        mut read: impl FnMut(u64) -> Result<[u8; 512], E>,
    ) -> Result<SlotTable, E> {
        let sectors = SlotTable::places(map).into_iter().map(&mut read).collect::<Result<Vec<_>, E>>()?;
        Ok(SlotTable::decode(&sectors, map)?)
    }

    /// Reads the table as [`SlotTable::read`] does. Where both records are lost, returns what the loader goes by then,
    /// which is what the seals say, and the loss.
    pub fn read_or_recover<E: From<SlotError>>(
        map: &SlotMap,
        mut read: impl FnMut(u64) -> Result<[u8; 512], E>,
    ) -> Result<(SlotTable, Option<SlotError>), E> {
        let sectors = SlotTable::places(map).into_iter().map(&mut read).collect::<Result<Vec<_>, E>>()?;
        match SlotTable::decode(&sectors, map) {
            Err(lost @ SlotError::Lost { .. }) => {
                let [one, other] = SEAL_SECTORS.map(|sector| read(sector * SECTOR));
                let record = SlotRecord::recovered(&[one?, other?], map)?;
                Ok((SlotTable::Records(record), Some(lost)))
            }
            read => Ok((read?, None)),
        }
    }

    /// Returns the next table, which says the same: where both are written, either of two records may be lost.
    pub fn repeated(&self) -> SlotTable {
        match self {
            SlotTable::Sector(_) => self.clone(),
            SlotTable::Records(record) => SlotTable::Records(SlotRecord {
                sequence: record.sequence.saturating_add(1),
                ..record.clone()
            }),
        }
    }

    /// Returns the one sector that makes this the state of the disk, and where in the ESP it belongs.
    pub fn encode(&self) -> (u64, [u8; 512]) {
        match self {
            SlotTable::Sector(sector) => (sector.map().directory_offset, sector.encode()),
            SlotTable::Records(record) => record.encode(),
        }
    }

    /// Returns all sectors of a new image's table and of the seal of slot A, and where they belong.
    pub fn encode_new(&self, uki: Measured) -> Vec<(u64, [u8; 512])> {
        match self {
            SlotTable::Sector(_) => vec![self.encode()],
            SlotTable::Records(record) => {
                record.encode_both().into_iter().chain(self.seal(Slot::A, uki)).collect()
            }
        }
    }

    /// Returns the seal of a UKI that stands in a slot, and where it belongs; layout 1 has none.
    pub fn seal(&self, slot: Slot, uki: Measured) -> Option<(u64, [u8; 512])> {
        let SlotTable::Records(record) = self else { return None };
        let entry = Entry {
            state: State::Inactive,
            size_bytes: u32::try_from(uki.size_bytes).ok()?,
            digest: uki.digest.0,
            ..record.entry(slot)
        };
        let seal = Record { sequence: 0, entries: [entry, Entry::NONE] };
        Some((SEAL_SECTORS[slot.index()] * SECTOR, record::encode(SEAL_MAGIC, &seal)))
    }

    /// Returns the states and the map, whatever their form.
    fn slots(&self) -> &SlotSector {
        match self {
            SlotTable::Sector(sector) => sector,
            SlotTable::Records(record) => &record.slots,
        }
    }

    fn change(
        &self,
        change: impl FnOnce(&SlotSector) -> Result<SlotSector, SlotError>,
    ) -> Result<SlotTable, SlotError> {
        let changed = change(self.slots())?;
        Ok(match self {
            SlotTable::Sector(_) => SlotTable::Sector(changed),
            SlotTable::Records(record) => SlotTable::Records(record.next(changed)),
        })
    }

    pub fn state(&self, slot: Slot) -> SlotState {
        self.slots().state(slot)
    }

    pub fn map(&self) -> &SlotMap {
        self.slots().map()
    }

    /// Returns the digest that a slot's UKI must have, where the table holds one.
    pub fn digest(&self, slot: Slot) -> Option<Digest> {
        match self {
            SlotTable::Sector(_) => None,
            SlotTable::Records(record) => record.digest(slot),
        }
    }

    /// Returns the name of a slot's UKI on the ESP; `None` for an empty slot.
    pub fn file_name(&self, slot: Slot) -> Option<String> {
        match self {
            SlotTable::Sector(sector) => sector.file_name(slot),
            SlotTable::Records(_) if self.state(slot) == SlotState::Empty => None,
            SlotTable::Records(_) => Some(format!("{slot}.efi")),
        }
    }

    /// Returns the slot that an entry of that name belongs to, whatever its counters say by now.
    pub fn slot_named(&self, file_name: &str) -> Option<Slot> {
        match self {
            SlotTable::Sector(sector) => sector.slot_named(file_name),
            SlotTable::Records(_) => {
                Slot::BOTH.into_iter().find(|slot| file_name.eq_ignore_ascii_case(&format!("{slot}.efi")))
            }
        }
    }

    /// Returns what boots next; `None` where no slot is selectable.
    pub fn choose(&self) -> Option<Choice> {
        self.slots().choose()
    }

    /// Takes a slot out of selection: see [`SlotSector::deactivate`].
    pub fn deactivate(&self, slot: Slot) -> Result<SlotTable, SlotError> {
        self.change(|slots| slots.deactivate(slot))
    }

    /// Puts a slot on trial as the newest: see [`SlotSector::trial`].
    pub fn trial(&self, slot: Slot, uki: Measured, tries: u8) -> Result<SlotTable, SlotError> {
        match self {
            SlotTable::Sector(sector) => sector.trial(slot, uki.size_bytes, tries).map(SlotTable::Sector),
            SlotTable::Records(record) => record.trial(slot, uki, tries).map(SlotTable::Records),
        }
    }

    /// Gives a slot on trial new tries, as the newest: see [`SlotSector::retry`].
    pub fn retry(&self, slot: Slot, tries: u8) -> Result<SlotTable, SlotError> {
        self.change(|slots| slots.retry(slot, tries))
    }

    /// Marks a slot on trial as healthy: see [`SlotSector::bless`].
    pub fn bless(&self, slot: Slot) -> Result<SlotTable, SlotError> {
        self.change(|slots| slots.bless(slot))
    }

    /// Makes a blessed slot the newest: see [`SlotSector::rollback`].
    pub fn rollback(&self, slot: Slot) -> Result<SlotTable, SlotError> {
        self.change(|slots| slots.rollback(slot))
    }
}

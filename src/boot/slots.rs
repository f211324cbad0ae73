//! Which slot boots: the sector of the ESP that says so, and what may be done to it.
//!
//! In: the sectors of the table and the map of the ESP. Out: a [`SlotTable`], its changes, the sector to
//! write. On disk, layout 2 (our own loader): two record sectors, see [`record`]. Layout 1 (systemd-boot): the
//! directory sector of `EFI/Linux`: "." and "..", then for each slot a long name and a short entry:
//!
//! | name | the slot |
//! |---|---|
//! | no entry | was never written |
//! | `inactive.bin` | is being written; systemd-boot doesn't list it |
//! | `g7+3-0.efi` | is on trial: three tries left, none done; systemd-boot counts by renaming |
//! | `g7.efi` | is blessed |
//!
//! Always true
//! - A slot is known by its start cluster, never by a name or a place in the sector: firmware makes
//!   short names of its own, appends new entries and leaves deleted ones.
//! - Every change is one sector: it lands whole or not at all. The caller writes it, and flushes before
//!   (what the entry points to) and after.
//! - The UKIs' `.osrel` has only NAME and PRETTY_NAME, so that systemd-boot sorts by file name alone and
//!   a redeployed older app is the newest by its generation.
//! - Of two records the newer sound one counts, and a change goes over the older one.
//!
//! Not here: the FAT volume around the sector (`disk/esp`), who writes and when (`device/`, PID 1).
//! Shared with PID 1: names only `base`, and nothing of it needs more than the standard library.

mod choose;
#[cfg(feature = "agent")]
mod dump;
mod map;
mod name;
#[cfg(feature = "agent")]
mod place;
pub mod record;
mod sector;
mod table;

pub use choose::{Choice, Reason};
#[cfg(feature = "agent")]
pub use dump::dump_records;
pub use map::{SlotExtent, SlotMap, map_offset};
pub use name::{EntryName, MOST_GENERATION};
#[cfg(feature = "agent")]
pub use place::write_uki;
pub use table::{Measured, SlotRecord, SlotTable};

/// Most tries that a trial may have: a sector of 16 entries holds five renames by firmware, and a sixth
/// would make it enlarge the directory, which is no longer one sector.
pub const MOST_TRIES: u8 = 5;

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    A,
    B,
}

impl Slot {
    pub const BOTH: [Slot; 2] = [Slot::A, Slot::B];

    pub fn index(self) -> usize {
        self as usize
    }

    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Slot::A => "slot-a",
            Slot::B => "slot-b",
        })
    }
}

/// What the sector says of one slot. Sizes are those of its UKI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Was never written.
    Empty,
    /// Is not selectable; its bytes may be torn.
    Inactive { size_bytes: u32 },
    /// Is tried `left` times more, and was tried `done` times.
    Trial { generation: u32, left: u32, done: u32, size_bytes: u32 },
    /// Was found healthy.
    Blessed { generation: u32, size_bytes: u32 },
}

impl SlotState {
    /// Returns the generation of a slot that systemd-boot lists: the greater one is the newer.
    pub fn generation(&self) -> Option<u32> {
        match *self {
            SlotState::Trial { generation, .. } | SlotState::Blessed { generation, .. } => Some(generation),
            SlotState::Empty | SlotState::Inactive { .. } => None,
        }
    }

    fn with_generation(self, new: u32) -> SlotState {
        match self {
            SlotState::Trial { left, done, size_bytes, .. } => {
                SlotState::Trial { generation: new, left, done, size_bytes }
            }
            SlotState::Blessed { size_bytes, .. } => SlotState::Blessed { generation: new, size_bytes },
            state => state,
        }
    }

    /// Returns the size of the slot's UKI in bytes.
    pub fn size_bytes(&self) -> u32 {
        match *self {
            SlotState::Empty => 0,
            SlotState::Inactive { size_bytes }
            | SlotState::Trial { size_bytes, .. }
            | SlotState::Blessed { size_bytes, .. } => size_bytes,
        }
    }
}

/// Holds what the slot sector says. Its slots differ in generation, and their UKIs fit their extents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSector {
    map: SlotMap,
    states: [SlotState; 2],
}

/// Says why a sector can't be read, or may not be changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    #[error("the slot sector is damaged at entry {entry}: {problem}")]
    Damaged { entry: usize, problem: String },
    #[error("the map of the slots is damaged: {problem}")]
    Map { problem: String },
    #[error("the slot records are damaged: {problem}")]
    Records { problem: String },
    #[error("both slot records are lost: {problem}")]
    Lost { problem: String },
    #[error("{slot} can't be {wanted} now: {reason}")]
    Refused { slot: Slot, wanted: &'static str, reason: &'static str },
    #[error("a UKI of {size_bytes} bytes does not fit {slot}, which has {room} bytes")]
    Size { slot: Slot, size_bytes: u64, room: u64 },
    #[error("{tries} tries: a trial has 1 to {MOST_TRIES}")]
    Tries { tries: u8 },
}

impl SlotSector {
    /// Makes the sector of a new image: a blessed UKI of `size_bytes` in slot A, slot B empty.
    pub fn first(map: SlotMap, size_bytes: u64) -> Result<SlotSector, SlotError> {
        let size_bytes = map.check_size(Slot::A, size_bytes)?;
        let states = [SlotState::Blessed { generation: 1, size_bytes }, SlotState::Empty];
        Ok(SlotSector { map, states })
    }

    pub fn state(&self, slot: Slot) -> SlotState {
        self.states[slot.index()]
    }

    pub fn map(&self) -> &SlotMap {
        &self.map
    }

    /// Returns the name that a slot's entry has; `None` for an empty slot.
    pub fn file_name(&self, slot: Slot) -> Option<String> {
        EntryName::of(&self.state(slot)).map(|name| name.to_string())
    }

    /// Returns the slot that an entry of that name belongs to, whatever its counters say by now: the
    /// loader reports the name from before its own renaming.
    pub fn slot_named(&self, file_name: &str) -> Option<Slot> {
        let generation = EntryName::parse(file_name)?.generation()?;
        Slot::BOTH.into_iter().find(|&slot| self.state(slot).generation() == Some(generation))
    }

    fn refuse<T>(slot: Slot, wanted: &'static str, reason: &'static str) -> Result<T, SlotError> {
        Err(SlotError::Refused { slot, wanted, reason })
    }

    fn with(&self, slot: Slot, state: SlotState) -> SlotSector {
        let mut changed = self.clone();
        changed.states[slot.index()] = state;
        changed
    }

    /// Takes a slot out of selection, so that it may be written. Refused unless the other slot is
    /// blessed: else nothing that is known to boot would be left.
    pub fn deactivate(&self, slot: Slot) -> Result<SlotSector, SlotError> {
        if !matches!(self.state(slot.other()), SlotState::Blessed { .. }) {
            return Self::refuse(slot, "deactivated", "the other slot is not blessed");
        }
        Ok(match self.state(slot) {
            SlotState::Empty => self.clone(),
            state => self.with(slot, SlotState::Inactive { size_bytes: state.size_bytes() }),
        })
    }

    /// Puts a slot on trial as the newest, with the true size of the UKI that was written, flushed and
    /// read back before. Refused for a slot that is selectable already.
    pub fn trial(&self, slot: Slot, size_bytes: u64, tries: u8) -> Result<SlotSector, SlotError> {
        let left = check_tries(tries)?;
        if self.state(slot).generation().is_some() {
            return Self::refuse(slot, "put on trial", "it was not deactivated before it was written");
        }
        let size_bytes = self.map.check_size(slot, size_bytes)?;
        Ok(self.newest(slot, SlotState::Trial { generation: 0, left, done: 0, size_bytes }))
    }

    /// Gives a slot on trial new tries and makes it the newest, whatever became of its earlier ones. The caller has
    /// read it whole. Refused for a slot that is not on trial.
    pub fn retry(&self, slot: Slot, tries: u8) -> Result<SlotSector, SlotError> {
        let left = check_tries(tries)?;
        match self.state(slot) {
            SlotState::Trial { size_bytes, .. } => {
                Ok(self.newest(slot, SlotState::Trial { generation: 0, left, done: 0, size_bytes }))
            }
            _ => Self::refuse(slot, "tried again", "it is not on trial"),
        }
    }

    /// Marks a slot on trial as healthy. A slot that is blessed stays so.
    pub fn bless(&self, slot: Slot) -> Result<SlotSector, SlotError> {
        match self.state(slot) {
            SlotState::Blessed { .. } => Ok(self.clone()),
            SlotState::Trial { generation, size_bytes, .. } => {
                Ok(self.with(slot, SlotState::Blessed { generation, size_bytes }))
            }
            _ => Self::refuse(slot, "blessed", "it is not on trial"),
        }
    }

    /// Makes a blessed slot the newest, so that it boots next: back to the slot from before an update,
    /// or forth again.
    pub fn rollback(&self, slot: Slot) -> Result<SlotSector, SlotError> {
        match self.state(slot) {
            state @ SlotState::Blessed { .. } => Ok(self.newest(slot, state)),
            _ => Self::refuse(slot, "rolled back to", "it is not blessed"),
        }
    }

    /// Gives a slot the next generation; numbers both anew where the names would grow too long.
    fn newest(&self, slot: Slot, state: SlotState) -> SlotSector {
        let greatest = self.states.iter().filter_map(SlotState::generation).max().unwrap_or(0);
        if greatest < MOST_GENERATION {
            return self.with(slot, state.with_generation(greatest + 1));
        }
        let other = self.state(slot.other()).with_generation(1);
        self.with(slot, state.with_generation(2)).with(slot.other(), other)
    }
}

fn check_tries(tries: u8) -> Result<u32, SlotError> {
    match tries {
        1..=MOST_TRIES => Ok(tries.into()),
        _ => Err(SlotError::Tries { tries }),
    }
}

#[cfg(test)]
mod tests;

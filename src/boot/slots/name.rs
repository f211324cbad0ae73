//! Names of entries in `EFI/Linux`.

use std::fmt;

use super::SlotState;

/// Greatest generation: with it a name has 13 characters, which fit one long entry.
pub const MOST_GENERATION: u32 = 9999;

/// What the name of an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryName {
    Inactive,
    Trial { generation: u32, left: u32, done: u32 },
    Blessed { generation: u32 },
}

impl EntryName {
    /// Returns the name that a slot in this state has; `None` for an empty one.
    pub fn of(state: &SlotState) -> Option<EntryName> {
        match *state {
            SlotState::Empty => None,
            SlotState::Inactive { .. } => Some(EntryName::Inactive),
            SlotState::Trial { generation, left, done, .. } => {
                Some(EntryName::Trial { generation, left, done })
            }
            SlotState::Blessed { generation, .. } => Some(EntryName::Blessed { generation }),
        }
    }

    /// Returns the state of a slot whose entry has this name.
    pub(super) fn state(self, size_bytes: u32) -> SlotState {
        match self {
            EntryName::Inactive => SlotState::Inactive { size_bytes },
            EntryName::Trial { generation, left, done } => {
                SlotState::Trial { generation, left, done, size_bytes }
            }
            EntryName::Blessed { generation } => SlotState::Blessed { generation, size_bytes },
        }
    }

    pub fn generation(self) -> Option<u32> {
        match self {
            EntryName::Inactive => None,
            EntryName::Trial { generation, .. } | EntryName::Blessed { generation } => Some(generation),
        }
    }

    /// Reads a name, in any case of letters. `None` for names that are not ours.
    pub fn parse(name: &str) -> Option<EntryName> {
        let name = name.to_ascii_lowercase();
        if name == "inactive.bin" {
            return Some(EntryName::Inactive);
        }
        let stem = name.strip_prefix('g')?.strip_suffix(".efi")?;
        let Some((number, counters)) = stem.split_once('+') else {
            return Some(EntryName::Blessed { generation: generation(stem)? });
        };
        let (left, done) = counters.split_once('-').unwrap_or((counters, "0"));
        let generation = generation(number)?;
        Some(EntryName::Trial { generation, left: count(left)?, done: count(done)? })
    }
}

fn generation(text: &str) -> Option<u32> {
    let number = count(text)?;
    (1..=MOST_GENERATION).contains(&number).then_some(number)
}

/// Reads a number without sign or leading zeros: a name has one spelling.
fn count(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain && text.len() <= 6 { text.parse().ok() } else { None }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryName::Inactive => f.write_str("inactive.bin"),
            EntryName::Trial { generation, left, done } => write!(f, "g{generation}+{left}-{done}.efi"),
            EntryName::Blessed { generation } => write!(f, "g{generation}.efi"),
        }
    }
}

//! What systemd-boot 252 will start next: its sorting of `EFI/Linux`, as a pure function.

use std::fmt;

use super::{Slot, SlotSector, SlotState};

/// Says which slot boots next, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub slot: Slot,
    /// Whether the boot counts as a try.
    pub is_trial: bool,
    pub reason: Reason,
}

/// Why a slot boots next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The other slot is not selectable.
    Only,
    /// Both are selectable, and this is the newer one.
    Newest,
    /// The other slot is newer, but has no tries left.
    OtherFailed,
    /// Neither has tries left; systemd-boot starts the newer one nevertheless.
    AllFailed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Only => "the other slot is not selectable",
            Reason::Newest => "it has the greater generation",
            Reason::OtherFailed => "the slot with the greater generation has no tries left",
            Reason::AllFailed => "no slot has tries left, and it has the greater generation",
        })
    }
}

impl SlotSector {
    /// Returns what boots next; `None` where the loader's menu would be empty.
    ///
    /// systemd-boot 252 sorts entries without tries left to the end, then by sort key (ours have none),
    /// then by file name, where numbers count as numbers: the greater generation comes first
    /// (`config_entry_compare` in its `boot.c`).
    pub fn choose(&self) -> Option<Choice> {
        let mut listed: Vec<Slot> =
            Slot::BOTH.into_iter().filter(|&slot| self.state(slot).generation().is_some()).collect();
        listed.sort_by_key(|&slot| (self.has_failed(slot), std::cmp::Reverse(self.state(slot).generation())));
        let slot = *listed.first()?;
        let reason = match listed.get(1) {
            _ if self.has_failed(slot) => Reason::AllFailed,
            None => Reason::Only,
            Some(&other) if self.state(other).generation() > self.state(slot).generation() => {
                Reason::OtherFailed
            }
            Some(_) => Reason::Newest,
        };
        Some(Choice { slot, is_trial: matches!(self.state(slot), SlotState::Trial { .. }), reason })
    }

    /// Tells whether a slot used up its tries.
    pub(super) fn has_failed(&self, slot: Slot) -> bool {
        matches!(self.state(slot), SlotState::Trial { left: 0, .. })
    }
}

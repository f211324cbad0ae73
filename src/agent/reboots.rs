//! The boots of this machine in which a reboot was asked for, for the sake of one slot.
//!
//! ```text
//! reboots = SLOT GENERATION STATE COMMIT BOOT…        one line; BOOT is the kernel's id of a boot
//! ```
//!
//! A slot that is to boot next, and does not however often the machine is rebooted, has something that only its loader
//! sees: the firmware refuses its kernel image, or tries can't be written down. No machine may reboot for ever for
//! that. What can't be read here is like nothing: then the count begins anew.

use std::path::{Path, PathBuf};

use super::error::Result;
use crate::base::{fs, publish};
use crate::slots::SlotStatus;

const FILE: &str = "reboots";
const BYTES_MAX: u64 = 4096;
/// Where the kernel says which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Boots that were asked to lead into a slot, until it is given up.
const MOST: usize = 3;
const TARGET_WORDS: usize = 4;

/// What is remembered of the slot that the machine was rebooted for last.
pub struct Reboots {
    path: PathBuf,
    target: String,
    boots: Vec<String>,
}

impl Reboots {
    /// Reads what the agent's folder remembers.
    pub fn open(state: &Path) -> Reboots {
        let path = state.join(FILE);
        let bytes = fs::read_at_most(&path, BYTES_MAX).unwrap_or_default();
        let text = String::from_utf8(bytes).unwrap_or_default();
        let mut words = text.split_whitespace().map(str::to_owned);
        let target = words.by_ref().take(TARGET_WORDS).collect::<Vec<_>>().join(" ");
        Reboots { path, target, boots: words.collect() }
    }

    /// Tells whether reboots were asked for as often as makes sense, for the sake of a slot as it stands, in other
    /// boots than this one.
    pub fn are_in_vain(&self, slot: &SlotStatus) -> bool {
        self.were_in_vain(&target(slot), &this_boot())
    }

    fn were_in_vain(&self, target: &str, this_boot: &str) -> bool {
        let others = self.boots.iter().filter(|boot| *boot != this_boot).count();
        self.target == target && others >= MOST
    }

    /// Forgets it all: somebody says that it may be tried again.
    pub fn forget(self) -> Result<()> {
        Ok(fs::remove_file(&self.path)?)
    }

    /// Notes that a reboot is asked for in this boot, durably.
    pub fn note(&mut self, slot: &SlotStatus) -> Result<()> {
        self.note_in(target(slot), this_boot())
    }

    fn note_in(&mut self, target: String, this_boot: String) -> Result<()> {
        if self.target != target {
            (self.target, self.boots) = (target, Vec::new());
        }
        if self.boots.contains(&this_boot) {
            return Ok(());
        }
        self.boots.push(this_boot);
        let text = format!("{} {}\n", self.target, self.boots.join(" "));
        Ok(publish::publish_bytes(&self.path, text.as_bytes())?)
    }
}

/// Names a slot as it stands. A slot that is written anew can have the generation that it had: it is on trial then,
/// and was confirmed before, or holds another commit.
fn target(slot: &SlotStatus) -> String {
    let commit = slot.commit.map(|commit| commit.to_string()).unwrap_or_default();
    format!("{} {} {:?} {commit}", slot.slot, slot.generation.unwrap_or(0), slot.state)
}

fn this_boot() -> String {
    let id = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
    if id.trim().is_empty() { publish::unique() } else { id.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: &str = "slot-b 7 Trial c0";

    #[test]
    fn three_boots_that_led_nowhere_are_enough_and_asking_twice_in_one_counts_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Reboots::open(folder.path());
        for (boot, in_vain) in [("one", false), ("one", false), ("two", false), ("three", true)] {
            open().note_in(SLOT.to_owned(), boot.to_owned()).expect("noted");
            assert_eq!(open().were_in_vain(SLOT, "later"), in_vain, "{boot}");
        }
        assert!(!open().were_in_vain(SLOT, "three"), "whether this boot leads there nobody knows yet");
        assert!(!open().were_in_vain("slot-b 7 Confirmed c0", "later"));
        open().forget().expect("forgotten");
        assert!(!open().were_in_vain(SLOT, "later"));
    }

    #[test]
    fn what_cannot_be_read_is_like_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in [&b""[..], b"slot-b", b"\xff\xff a b c", b"slot-b 7 Trial one two three", &[b'x'; 5000]] {
            std::fs::write(folder.path().join(FILE), text).expect("written");
            assert!(!Reboots::open(folder.path()).were_in_vain(SLOT, "later"), "{text:?}");
        }
    }
}

//! What a disk's slots hold, which one boots next, and why.

use super::error::{Result, SlotsError};
use super::whole::{self, Fresh};
use crate::base::message::whole as sentence;
use crate::base::{CommitId, Job};
use crate::boot::slots::{Slot, SlotState, SlotTable};
use crate::disk::BlockDevice;
use crate::image::{OpenImage, commit_in, verity_in};

/// What is known of a disk with two slots.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Status {
    /// The disk's GUID.
    pub disk: String,
    pub layout: u32,
    /// What is lost, where what follows is only what the loader goes by then.
    pub damage: Option<String>,
    pub slots: [SlotStatus; 2],
    /// What boots next; absent where nothing would.
    pub next: Option<Next>,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Next {
    #[serde(serialize_with = "text", deserialize_with = "named")]
    pub slot: Slot,
    /// Whether that boot counts as a try.
    pub trial: bool,
    pub why: String,
}

/// What is known of a slot. What only a slot with a kernel image has is absent elsewhere.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct SlotStatus {
    #[serde(serialize_with = "text", deserialize_with = "named")]
    pub slot: Slot,
    pub state: Standing,
    pub generation: Option<u32>,
    pub tries_left: Option<u32>,
    pub tries_done: Option<u32>,
    pub commit: Option<CommitId>,
    /// Refs of the store that lead to the commit, filled in by whoever has a store.
    pub refs: Vec<String>,
    pub name: Option<String>,
    pub version: Option<String>,
    pub kernel_bytes: u32,
    pub root_hash: Option<String>,
    /// Whether every block was read and is what the root hash says; absent where nobody asked.
    pub verified: Option<bool>,
    /// Why the slot can't boot, where that is known.
    pub problem: Option<String>,
    /// Whether this machine runs from it; absent where that is not known.
    pub running: Option<bool>,
}

/// What may be expected of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    Empty,
    /// Is being written.
    Inactive,
    Trial,
    /// Was on trial, and has no tries left.
    Failed,
    Confirmed,
}

/// Reads the state of both slots. With `verify` each is read whole, past the cache, and held against its root
/// hash.
pub fn status(device: &dyn BlockDevice, verify: bool, job: &Job) -> Result<Status> {
    let fresh = Fresh(device);
    let disk = OpenImage::salvage(&fresh)?;
    let [a, b] = Slot::BOTH.map(|slot| slot_status(&disk, slot, verify, job));
    let [(a, refuses_a), (b, refuses_b)] = [a?, b?];
    let next = disk.next([refuses_a, refuses_b]);
    let next = next.map(|(choice, why)| Next { slot: choice.slot, trial: choice.is_trial, why });
    let damage = disk.lost().map(ToString::to_string);
    let (disk, layout) = (disk.table().disk.to_string(), disk.map().layout);
    Ok(Status { disk, layout, damage, slots: [a, b], next })
}

/// Reads what the loader goes by, and no kernel image: some kilobytes, past the cache.
pub fn table(device: &dyn BlockDevice) -> Result<SlotTable> {
    let fresh = Fresh(device);
    Ok(OpenImage::salvage(&fresh)?.slots().clone())
}

impl Status {
    /// Notes which slot this machine runs from.
    pub fn set_running(&mut self, running: Slot) {
        for slot in &mut self.slots {
            slot.running = Some(slot.slot == running);
        }
    }

    /// Tells whether a slot that may boot is damaged, or the state of both is lost.
    pub fn is_damaged(&self) -> bool {
        self.damage.is_some()
            || self.slots.iter().any(|slot| slot.generation.is_some() && slot.problem.is_some())
    }
}

/// Says what is known of a slot, and whether the loader refuses its kernel image.
fn slot_status(disk: &OpenImage<'_>, slot: Slot, verify: bool, job: &Job) -> Result<(SlotStatus, bool)> {
    let state = disk.slots().state(slot);
    let mut status = of_state(slot, state);
    if state.size_bytes() == 0 {
        return Ok((status, true));
    }
    let uki = disk.uki(slot);
    let is_refused = whole::is_refused(&uki, disk, slot);
    if state.generation().is_none() {
        return Ok((status, is_refused));
    }
    match uki.as_deref().map(|uki| (commit_in(uki), verity_in(uki))) {
        Ok((commit, verity)) => {
            status.root_hash = verity.ok().map(|verity| verity.root_hash_hex());
            match commit {
                Ok(commit) => {
                    status.commit = Some(commit.id());
                    (status.name, status.version) = (Some(commit.name), commit.version);
                }
                Err(error) => status.problem = Some(sentence(&error)),
            }
        }
        Err(error) => status.problem = Some(sentence(error)),
    }
    if is_refused && uki.is_ok() {
        status.problem = Some(sentence(&SlotsError::Kernel));
    }
    if verify {
        let checked = whole::check_with(uki, disk, slot, job);
        job.check()?;
        status.verified = Some(checked.is_ok());
        if let Err(error) = checked {
            status.problem = Some(sentence(&error));
        }
    }
    Ok((status, is_refused))
}

fn of_state(slot: Slot, state: SlotState) -> SlotStatus {
    let (standing, tries) = match state {
        SlotState::Empty => (Standing::Empty, None),
        SlotState::Inactive { .. } => (Standing::Inactive, None),
        SlotState::Trial { left: 0, done, .. } => (Standing::Failed, Some((0, done))),
        SlotState::Trial { left, done, .. } => (Standing::Trial, Some((left, done))),
        SlotState::Blessed { .. } => (Standing::Confirmed, None),
    };
    SlotStatus {
        slot,
        state: standing,
        generation: state.generation(),
        tries_left: tries.map(|tries| tries.0),
        tries_done: tries.map(|tries| tries.1),
        commit: None,
        refs: Vec::new(),
        name: None,
        version: None,
        kernel_bytes: state.size_bytes(),
        root_hash: None,
        verified: None,
        problem: None,
        running: None,
    }
}

/// Writes a slot by its name.
pub fn text<S: serde::Serializer>(slot: &Slot, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(slot)
}

/// Reads a slot by its name.
fn named<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Slot, D::Error> {
    let name: String = serde::Deserialize::deserialize(deserializer)?;
    let slot = Slot::BOTH.into_iter().find(|slot| slot.to_string() == name);
    slot.ok_or_else(|| serde::de::Error::custom(format!("{name} is no slot")))
}

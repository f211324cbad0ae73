//! Turning the switch without writing a slot: roll back, switch, confirm. One sector each.

use super::error::{Result, SlotsError};
use super::switch::Switch;
use super::whole::{self, Fresh};
use crate::base::Job;
use crate::boot::slots::{MOST_TRIES, Slot, SlotState, SlotTable};
use crate::disk::BlockDevice;
use crate::image::OpenImage;

/// What became of the switch.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Turned {
    /// The slot that was turned to, or confirmed.
    #[serde(serialize_with = "super::status::text")]
    pub slot: Slot,
    pub generation: u32,
    /// False where the switch stood so already.
    pub changed: bool,
    /// Whether the slot's next boot counts as a try.
    pub trial: bool,
    /// Whether both slot records were lost, and are whole now.
    pub repaired: bool,
}

/// Goes back to the slot before: the one that does not run, or where nothing runs the one that would not boot
/// next. Where the other slot waits for its first boot, the one that runs is what is gone back to. It must be
/// confirmed, and is read whole before it is selected.
pub fn rollback(device: &dyn BlockDevice, running: Option<Slot>, job: &Job) -> Result<Turned> {
    let fresh = Fresh(device);
    let disk = OpenImage::open(&fresh)?;
    let from = running.or_else(|| disk.slots().choose().map(|choice| choice.slot));
    let to = from.ok_or(SlotsError::NothingConfirmed)?.other();
    let is_next = disk.slots().choose().is_some_and(|choice| choice.slot == to);
    let stays = matches!(disk.slots().state(to.other()), SlotState::Blessed { .. });
    match disk.slots().state(to) {
        SlotState::Blessed { .. } => turn(device, &disk, to, job),
        SlotState::Trial { .. } if is_next && stays => turn(device, &disk, to.other(), job),
        state @ (SlotState::Empty | SlotState::Inactive { .. }) => {
            Err(SlotsError::NothingThere { slot: to, state: words(state) })
        }
        state => Err(SlotsError::NotConfirmed { slot: to, state: words(state) }),
    }
}

/// Makes a slot the one that boots next. One that is confirmed stays so; another one gets a new trial. It is
/// read whole before it is selected. Where both slot records are lost they are written anew, with both slots on
/// trial: nobody knows any more which one is healthy.
pub fn switch(device: &dyn BlockDevice, slot: Slot, job: &Job) -> Result<Turned> {
    let fresh = Fresh(device);
    let disk = OpenImage::salvage(&fresh)?;
    turn(device, &disk, slot, job)
}

/// Confirms the slot that is on trial: it boots from now on without being counted. What is confirmed stays so.
pub fn confirm(device: &dyn BlockDevice, running: Option<Slot>, job: &Job) -> Result<Turned> {
    let fresh = Fresh(device);
    let disk = OpenImage::open(&fresh)?;
    let slots = disk.slots();
    let on_trial = |slot: &Slot| matches!(slots.state(*slot), SlotState::Trial { .. });
    let generation = |slot: &Slot| slots.state(*slot).generation();
    // Both may be on trial, where the records were lost: an older one than what boots is not meant.
    let trial = Slot::BOTH.into_iter().max_by_key(generation).filter(on_trial);
    let slot = match (running, trial, slots.choose()) {
        (Some(running), _, _) if on_trial(&running) => running,
        (Some(running), Some(slot), _) => return Err(SlotsError::OtherRuns { slot, running }),
        (None, Some(slot), _) => slot,
        (Some(slot), None, _) => slot,
        (None, None, Some(choice)) => choice.slot,
        (None, None, None) => return Err(SlotsError::NothingConfirmed),
    };
    if let state @ SlotState::Trial { left: 0, .. } = slots.state(slot)
        && running.is_none()
    {
        return Err(SlotsError::NotConfirmed { slot, state: words(state) });
    }
    if running.is_none() {
        whole::check(&disk, slot, job)?;
    }
    set(device, &disk, slot, |now| Ok(now.bless(slot)?))
}

fn turn(device: &dyn BlockDevice, disk: &OpenImage<'_>, slot: Slot, job: &Job) -> Result<Turned> {
    let slots = disk.slots();
    let state = slots.state(slot);
    if state.generation().is_none() {
        return Err(SlotsError::NothingThere { slot, state: words(state) });
    }
    whole::check(disk, slot, job)?;
    if slots.choose().is_some_and(|choice| choice.slot == slot) {
        return set(device, disk, slot, |now| Ok(now.clone()));
    }
    let tries = disk.commit(slot)?.disk.tries.clamp(1, MOST_TRIES);
    set(device, disk, slot, |now| {
        Ok(match now.state(slot) {
            SlotState::Blessed { .. } => now.rollback(slot)?,
            _ => now.retry(slot, tries)?,
        })
    })
}

/// Writes a new state, which is flushed even where it is the old one.
fn set(
    device: &dyn BlockDevice,
    disk: &OpenImage<'_>,
    slot: Slot,
    change: impl FnOnce(&SlotTable) -> Result<SlotTable>,
) -> Result<Turned> {
    let esp = super::switch::esp(device, disk)?;
    let mut switch = Switch::read(&esp)?;
    let (before, repaired) = (switch.state().clone(), switch.is_lost());
    switch.write(change(&before)?)?;
    let state = switch.state().state(slot);
    Ok(Turned {
        slot,
        generation: state.generation().unwrap_or(0),
        changed: *switch.state() != before,
        trial: matches!(state, SlotState::Trial { .. }),
        repaired,
    })
}

/// Says what a slot is that can't be had.
fn words(state: SlotState) -> &'static str {
    match state {
        SlotState::Empty => "was never written",
        SlotState::Inactive { .. } => "was being written, and is not whole",
        SlotState::Trial { left: 0, .. } => "used up its tries",
        SlotState::Trial { .. } => "is on trial",
        SlotState::Blessed { .. } => "is confirmed",
    }
}

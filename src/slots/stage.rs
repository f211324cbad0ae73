//! Writing an image into the slot that does not run, in an order in which power may fail anywhere.

use super::error::{Result, SlotsError};
use super::renewal::{BLOCK_GRAIN, Renewal, Renewed, SECTOR_GRAIN};
use super::switch::{self, Switch};
use super::whole::{self, Fresh};
use crate::base::{Bytes, CommitId, Job};
use crate::boot::slots::{MOST_TRIES, Measured, Slot, SlotState, SlotTable, write_uki};
use crate::disk::ext4::Ext4Layout;
use crate::disk::{BlockDevice, layout};
use crate::image::{self, Image, OpenImage, SlotContent, commit_in, slot_bytes};
use crate::store::Architecture;

/// Says what an update may assume.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request {
    /// The slot that runs on this machine, which is never written. `None`: the disk runs nowhere just now, and
    /// the slot that would boot next stays.
    pub running: Option<Slot>,
    /// Whether the commit may be of another image than the one on the disk.
    pub other_name: bool,
}

/// What became of an update.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Staged {
    #[serde(serialize_with = "super::status::text")]
    pub slot: Slot,
    pub outcome: Outcome,
    pub commit: CommitId,
    pub name: String,
    pub version: Option<String>,
    /// The generation of the slot: the greater one boots.
    pub generation: u32,
    /// How many boots it has to be confirmed; 0 where it is confirmed.
    pub tries: u32,
    /// What the root filesystem and its verity tree take.
    pub slot_bytes: u64,
    pub root: Renewed,
    /// The UKI and its chain on the ESP.
    pub esp: Renewed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The slot was written and is on trial: it boots next.
    Staged,
    /// The slot held this commit, whole and on trial, before.
    AlreadyStaged,
    /// The slot that stays holds this commit, is confirmed and boots next. Nothing was done.
    AlreadyThere,
}

/// Writes an image into the slot that does not run and puts it on trial: it boots next. Started again after it
/// was cut anywhere, it goes on where it was. Needs some megabytes beside the UKI.
pub fn stage(
    device: &dyn BlockDevice,
    running: Option<Slot>,
    image: &Image<'_>,
    job: &Job,
) -> Result<Staged> {
    Request { running, other_name: false }.stage(device, image, job)
}

impl Request {
    /// Does what [`stage`] does, under these assumptions.
    pub fn stage(&self, device: &dyn BlockDevice, image: &Image<'_>, job: &Job) -> Result<Staged> {
        let fresh = Fresh(device);
        let disk = OpenImage::open(&fresh)?;
        let stays = slot_that_stays(disk.slots(), self.running)?;
        let update =
            Update { image, disk: &disk, device, target: stays.other(), commit: image.commit().id() };
        if let Some(done) = update.already_done(stays, job)? {
            return Ok(done);
        }
        let there = disk.uki(stays);
        self.check_name(&update, &there)?;
        update.check_kind()?;
        // A running machine checks each block that it reads of its root. Else nobody does but here.
        let check_stays = || match self.running {
            None => whole::check_with(there, &disk, stays, job),
            Some(_) => Ok(()),
        };
        let (root, is_whole) = job.workers.join(|| image.place_root(job), check_stays);
        let root = root?;
        update.check_room(&root)?;
        is_whole?;
        update.run(&root, job)
    }

    fn check_name(&self, update: &Update<'_>, there: &image::Result<Vec<u8>>) -> Result<()> {
        let commit = update.image.commit().name.clone();
        match there.as_deref().map(commit_in) {
            Ok(Ok(there)) if there.name != commit && !self.other_name => {
                Err(SlotsError::OtherName { disk: there.name, commit })
            }
            _ => Ok(()),
        }
    }
}

/// Decides which slot an update leaves alone: the one that runs, else the one that boots next. It must be
/// confirmed: else nothing that is known to boot would be left.
pub fn slot_that_stays(slots: &SlotTable, running: Option<Slot>) -> Result<Slot> {
    let confirmed = |slot: Slot| matches!(slots.state(slot), SlotState::Blessed { .. });
    match (running, Slot::BOTH.map(confirmed)) {
        (Some(slot), confirmed) if confirmed[slot.index()] => Ok(slot),
        (Some(slot), _) => Err(SlotsError::OnTrial { slot }),
        (None, [true, true]) => slots.choose().map(|choice| choice.slot).ok_or(SlotsError::NothingConfirmed),
        (None, [true, false]) => Ok(Slot::A),
        (None, [false, true]) => Ok(Slot::B),
        (None, [false, false]) => Err(SlotsError::NothingConfirmed),
    }
}

/// An update whose target is known.
struct Update<'a> {
    image: &'a Image<'a>,
    disk: &'a OpenImage<'a>,
    device: &'a dyn BlockDevice,
    target: Slot,
    commit: CommitId,
}

impl Update<'_> {
    /// Finds out whether there is anything to do.
    fn already_done(&self, stays: Slot, job: &Job) -> Result<Option<Staged>> {
        let holds = |slot: Slot| self.disk.commit(slot).is_ok_and(|commit| commit.id() == self.commit);
        let slots = self.disk.slots();
        let Some(next) = slots.choose() else { return Ok(None) };
        let (outcome, slot) = match slots.state(next.slot) {
            SlotState::Blessed { .. } if next.slot == stays => (Outcome::AlreadyThere, stays),
            SlotState::Trial { left: 1.., .. } if next.slot == self.target => {
                (Outcome::AlreadyStaged, self.target)
            }
            _ => return Ok(None),
        };
        if !holds(slot) || (slot == self.target && whole::check(self.disk, slot, job).is_err()) {
            job.check()?;
            return Ok(None);
        }
        // Whoever wrote it may have been stopped before he flushed.
        self.device.flush().map_err(SlotsError::device("flush", "the disk"))?;
        Ok(Some(self.staged(slot, outcome, slots.state(slot), [Renewed::default(); 2], 0)))
    }

    /// Refuses a commit for another processor. Its disk layout makes no difference: a slot holds the same in each.
    fn check_kind(&self) -> Result<()> {
        let (architecture, name) = match self.image.commit().disk.architecture {
            Architecture::X86_64 => (layout::Architecture::X86_64, "x86-64"),
            Architecture::Aarch64 => (layout::Architecture::Aarch64, "AArch64"),
        };
        let partition = &self.disk.map().slots[self.target.index()].partition;
        match self.disk.table().named(partition) {
            Some(partition) if partition.kind == architecture.root_type() => Ok(()),
            _ => Err(SlotsError::Architecture { commit: name }),
        }
    }

    /// Refuses what doesn't fit, with the numbers.
    fn check_room(&self, root: &Ext4Layout<'_>) -> Result<()> {
        let slot = self.target;
        let check = |what, need: u64, room: u64| match need <= room {
            true => Ok(()),
            false => Err(SlotsError::TooLarge { what, slot, need: Bytes(need), room: Bytes(room) }),
        };
        let (room, uki) = (self.disk.root(slot)?.size(), self.image.uki_bytes(root)?);
        check("the root filesystem with its verity tree", slot_bytes(root), room)?;
        check("the kernel image (UKI)", uki, self.disk.map().room(slot))
    }

    /// Does U1 to U4.
    fn run(&self, root: &Ext4Layout<'_>, job: &Job) -> Result<Staged> {
        let name = &self.disk.map().slots[self.target.index()].partition;
        let slot = switch::partition(self.device, self.disk, name)?;
        let esp = switch::esp(self.device, self.disk)?;
        job.check()?;
        let mut switch = Switch::read(&esp)?;
        switch.write(switch.state().deactivate(self.target)?)?;

        let slot = Renewal::new(&slot, self.target.to_string(), BLOCK_GRAIN);
        let boot = Renewal::new(&esp, format!("the kernel image of {}", self.target), SECTOR_GRAIN);
        let content = self.write(root, &slot, &boot, switch.state(), job)?;
        self.device.flush().map_err(SlotsError::device("flush", self.target))?;
        slot.read_back(job)?;
        boot.read_back(job)?;

        let tries = self.image.commit().disk.tries.clamp(1, MOST_TRIES);
        switch.write(switch.state().trial(self.target, Measured::of(&content.uki), tries)?)?;
        let renewed = [slot.renewed(), boot.renewed()];
        let state = switch.state().state(self.target);
        Ok(self.staged(self.target, Outcome::Staged, state, renewed, slot_bytes(root)))
    }

    fn write(
        &self,
        root: &Ext4Layout<'_>,
        slot: &Renewal<'_>,
        boot: &Renewal<'_>,
        slots: &SlotTable,
        job: &Job,
    ) -> Result<SlotContent> {
        let content = match self.write_wrong(root, slot, job)? {
            Some(content) => content,
            None => self.image.write_slot(root, slot, job)?,
        };
        slot.erase_rest(root.size().0, job)?;
        write_uki(boot, slots, self.target, &content.uki)?;
        Ok(content)
    }

    /// Writes what is wrong by a verity tree that was known before, if one was and what is written agrees with it.
    fn write_wrong(
        &self,
        root: &Ext4Layout<'_>,
        slot: &Renewal<'_>,
        job: &Job,
    ) -> Result<Option<SlotContent>> {
        let Some(tree) = self.image.known_tree(root, job) else { return Ok(None) };
        let right = slot.keep_right(&tree, job)?;
        let content = self.image.write_wanted(root, &tree, &|block| !right.has(block), slot, job)?;
        if content.is_none() {
            job.note("what was remembered of this commit's slot is wrong: all of it is computed again");
            slot.forget_right();
        }
        Ok(content)
    }

    fn staged(
        &self,
        slot: Slot,
        outcome: Outcome,
        state: SlotState,
        [root, esp]: [Renewed; 2],
        slot_bytes: u64,
    ) -> Staged {
        let tries = match state {
            SlotState::Trial { left, .. } => left,
            _ => 0,
        };
        let commit = self.image.commit();
        Staged {
            slot,
            outcome,
            commit: self.commit,
            name: commit.name.clone(),
            version: commit.version.clone(),
            generation: state.generation().unwrap_or(0),
            tries,
            slot_bytes,
            root,
            esp,
        }
    }
}

//! Writing an image into the slot that does not run, in an order in which power may fail anywhere.

use super::error::{Result, SlotsError};
use super::renewal::{BLOCK_GRAIN, Renewal, Renewed, Replaced, SECTOR_GRAIN};
use super::switch::{self, Switch};
use super::whole::{self, Fresh};
use crate::base::units::BLOCK_BYTES;
use crate::base::{Bytes, CommitId, Job};
use crate::boot::slots::{MOST_TRIES, Measured, Slot, SlotState, write_uki};
use crate::disk::ext4::Ext4Layout;
use crate::disk::verity::{Leaves, VerityError, VerityTree};
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
        let Stays { slot: stays, next, uki: there } = self.slot_that_stays(&disk, job)?;
        let update =
            Update { image, disk: &disk, device, target: stays.other(), commit: image.commit().id() };
        if let Some(done) = update.already_done((stays, &there), next, job)? {
            return Ok(done);
        }
        self.check_name(&update, &there)?;
        update.check_kind()?;
        // A running machine checks each block that it reads of its root. Else nobody does but here. Not while anything is
        // written: file systems let nobody read a file past the cache while somebody writes it.
        let check_stays = || match self.running {
            None => whole::check_with(there, &disk, stays, job),
            // Its kernel image was read when it booted, and never since.
            Some(_) => whole::check_kernel(there, &disk, stays),
        };
        let (seen, is_whole) = job.workers.join(|| update.look(job), check_stays);
        let seen = seen?;
        is_whole?;
        let written = update.write(seen, job)?;
        update.put_on_trial(written)
    }

    /// Decides which slot an update leaves alone: the one that runs, else the one that boots next, which is never one
    /// whose kernel image the loader refuses while the other is sound. It must be confirmed: else nothing that is known
    /// to boot would be left.
    fn slot_that_stays(&self, disk: &OpenImage<'_>, job: &Job) -> Result<Stays> {
        let slots = disk.slots();
        let confirmed = Slot::BOTH.map(|slot| matches!(slots.state(slot), SlotState::Blessed { .. }));
        let first = slots.choose().map(|choice| choice.slot);
        if let Some(slot) = self.running {
            return if confirmed[slot.index()] {
                Ok(Stays { slot, next: first, uki: disk.uki(slot) })
            } else {
                Err(SlotsError::OnTrial { slot })
            };
        }
        let read = |slot| {
            let uki = disk.uki(slot);
            let refused = whole::is_refused(&uki, disk, slot);
            (uki, refused)
        };
        let ((a, a_refused), (b, b_refused)) = job.workers.join(|| read(Slot::A), || read(Slot::B));
        let refused = [a_refused, b_refused];
        // Where both are refused, what comes first is looked at, and its damage told.
        let next = disk.next(refused).map(|(choice, _)| choice.slot).or(first);
        let slot = match confirmed {
            [true, true] => next.ok_or(SlotsError::NothingConfirmed)?,
            [true, false] => Slot::A,
            [false, true] => Slot::B,
            [false, false] => return Err(SlotsError::NothingConfirmed),
        };
        let uki = if slot == Slot::A { a } else { b };
        Ok(Stays { slot, next, uki })
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

/// The slot that an update leaves alone.
struct Stays {
    slot: Slot,
    /// What boots next as it is.
    next: Option<Slot>,
    /// Its kernel image, read past the cache.
    uki: image::Result<Vec<u8>>,
}

/// What is known before anything is written: where everything goes, and what is there.
struct Seen<'a> {
    root: Ext4Layout<'a>,
    old: Leaves,
}

/// What was written, read back, and can't be selected yet.
struct Written {
    uki: Measured,
    renewed: [Renewed; 2],
    slot_bytes: u64,
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
    fn already_done(
        &self,
        (stays, there): (Slot, &image::Result<Vec<u8>>),
        next: Option<Slot>,
        job: &Job,
    ) -> Result<Option<Staged>> {
        let holds = |slot: Slot| match (slot == stays, there) {
            (true, _) if whole::is_refused(there, self.disk, slot) => false,
            (true, Ok(there)) => commit_in(there).is_ok_and(|commit| commit.id() == self.commit),
            (true, Err(_)) => false,
            (false, _) => self.disk.commit(slot).is_ok_and(|commit| commit.id() == self.commit),
        };
        let slots = self.disk.slots();
        let (outcome, slot) = match next.map(|next| (next, slots.state(next))) {
            Some((next, SlotState::Blessed { .. })) if next == stays => (Outcome::AlreadyThere, stays),
            Some((next, SlotState::Trial { left: 1.., .. })) if next == self.target => {
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
        check("the kernel image (UKI)", uki, self.disk.map().room(slot))?;
        self.check_space(root, uki)
    }

    /// Refuses what the file system below an image file can't take: where there are holes now. It takes so much at
    /// least, and where that fits all is tried.
    fn check_space(&self, root: &Ext4Layout<'_>, uki_bytes: u64) -> Result<()> {
        let Some(free) = self.device.free_bytes() else { return Ok(()) };
        let (slot, esp) = (self.disk.root(self.target)?, self.disk.partition("esp")?);
        let there = root.size().0 - slot.hole_bytes(0, root.size().0);
        let used = root.size().0 - root.free_blocks().bytes().0;
        let uki = esp.hole_bytes(self.disk.map().uki_offset(self.target), uki_bytes);
        match used.saturating_sub(there) + uki {
            need if need > free => Err(SlotsError::NoSpace { need: Bytes(need), free: Bytes(free) }),
            _ => Ok(()),
        }
    }

    /// Does what is left of U0: lays the root out, checks the room, and reads what the target holds.
    fn look(&self, job: &Job) -> Result<Seen<'_>> {
        let root = self.image.place_root(job)?;
        self.check_room(&root)?;
        let old = self.read_old(&root, job)?;
        Ok(Seen { root, old })
    }

    fn read_old(&self, root: &Ext4Layout<'_>, job: &Job) -> Result<Leaves> {
        let old = self.image.look(root, &self.disk.root(self.target)?, job);
        old.map_err(|error| match error {
            VerityError::Device { source, .. } => SlotsError::device("read", self.target)(source),
            other => other.into(),
        })
    }

    /// Does U1 to U3.
    fn write(&self, seen: Seen<'_>, job: &Job) -> Result<Written> {
        let name = &self.disk.map().slots[self.target.index()].partition;
        let slot = switch::partition(self.device, self.disk, name)?;
        let esp = switch::esp(self.device, self.disk)?;
        job.check()?;
        let mut switch = Switch::read(&esp)?;
        switch.write(switch.state().deactivate(self.target)?)?;

        let slot = Renewal::new(&slot, self.target.to_string(), BLOCK_GRAIN);
        let boot = Renewal::new(&esp, format!("the kernel image of {}", self.target), SECTOR_GRAIN);
        let slot_bytes = slot_bytes(&seen.root);
        let content = self.write_root(seen, &slot, job)?;
        write_uki(&boot, switch.state(), self.target, &content.uki)?;
        self.device.flush().map_err(SlotsError::device("flush", self.target))?;
        slot.read_back(job)?;
        boot.read_back(job)?;
        let renewed = [slot.renewed(), boot.renewed()];
        Ok(Written { uki: Measured::of(&content.uki), renewed, slot_bytes })
    }

    /// Does U4.
    fn put_on_trial(&self, written: Written) -> Result<Staged> {
        let esp = switch::esp(self.device, self.disk)?;
        let mut switch = Switch::read(&esp)?;
        let tries = self.image.commit().disk.tries.clamp(1, MOST_TRIES);
        switch.write(switch.state().trial(self.target, written.uki, tries)?)?;
        let state = switch.state().state(self.target);
        Ok(self.staged(self.target, Outcome::Staged, state, written.renewed, written.slot_bytes))
    }

    /// Writes filesystem and verity tree: what is wrong by a tree that was known before, if one was and what is written
    /// agrees with it, else all that turns out to be wrong. Clears what has to be zero.
    fn write_root(&self, seen: Seen<'_>, slot: &Renewal<'_>, job: &Job) -> Result<SlotContent> {
        let Seen { root, old } = seen;
        let over = Replaced { renewal: slot, end: root.size().0 };
        if let Some(tree) = self.image.known_tree(&root, job) {
            let wanted = |block| !old.is_right(&tree, block);
            if let Some(content) = self.image.write_wanted(&root, &tree, &wanted, &over, job)? {
                clear(slot, &old, &tree, job)?;
                return Ok(content);
            }
            job.note("what was remembered of this commit's slot is wrong: all of it is computed again");
            return self.write_all(&root, &self.read_old(&root, job)?, slot, job);
        }
        self.write_all(&root, &old, slot, job)
    }

    fn write_all(
        &self,
        root: &Ext4Layout<'_>,
        old: &Leaves,
        slot: &Renewal<'_>,
        job: &Job,
    ) -> Result<SlotContent> {
        let over = Replaced { renewal: slot, end: root.size().0 };
        let (content, tree) = self.image.write_over(root, old, &over, job)?;
        clear(slot, old, &tree, job)?;
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

/// Makes blocks zero that are to be so and were not, and counts those that were right and are not zero.
fn clear(slot: &Renewal<'_>, old: &Leaves, tree: &VerityTree, job: &Job) -> Result<()> {
    let blocks = 0..tree.data_blocks();
    let kept = blocks.clone().filter(|&block| old.is_right(tree, block) && !old.is_zero(block));
    slot.keep(kept.count() as u64 * BLOCK_BYTES);
    slot.erase(blocks.filter(|&block| tree.says_zero(block) && !old.is_zero(block)), job)
}

//! The run: what the plan says, less what somebody came to need since.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::super::error::{Result, StoreError};
use super::super::index::Pack;
use super::super::rewrite;
use super::super::store::Store;
use super::census::{Census, Member};
use super::mark::{Marking, Root, Strength};
use super::plan::{Fate, GcPlan};
use super::trash;
use crate::base::job::Unit;
use crate::base::{Digest, Job};

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct GcOutcome {
    /// Packs that went to the trash, those that were replaced too.
    pub packs_trashed: u64,
    pub packs_replaced: u64,
    pub objects_trashed: u64,
    /// Packs that were to go and stay, because somebody came to need something in them.
    pub packs_spared: u64,
    pub objects_rescued: u64,
    pub leases_expired: u64,
    pub memos_dropped: u64,
    /// Bytes of older trash that were freed.
    pub bytes_emptied: u64,
}

/// Live bytes that are copied into one pack at most.
const COPY_BYTES_MAX: u64 = 4 << 30;

impl Store {
    /// Does what a plan says. What is needed since the plan was made stays. Where this fails, the store is as
    /// sound as before, and a new plan finds what is left to do.
    pub fn run_gc(&self, mut plan: GcPlan, job: &Job) -> Result<GcOutcome> {
        if plan.lock.is_none() {
            if plan.censuses.is_empty() {
                return Ok(GcOutcome::default());
            }
            // The plan was made of a store that could not be written, and says why once more.
            plan.lock = self.lock_for_gc()?;
            if plan.lock.is_none() {
                self.try_lock_gc()?;
            }
        }
        let step = job.step("collect garbage", None, Unit::Items);
        let mut outcome = match self.collect(&mut plan, job) {
            Err(error) if error.is_full() => {
                self.make_room(&mut plan, job)?;
                self.collect(&mut plan, job)?
            }
            outcome => outcome?,
        };
        drop(step);
        self.empty_trash(&plan, &mut outcome)?;
        plan.leftovers.iter().try_for_each(|path| trash::remove_unless_open(&self.media, path))?;
        outcome.memos_dropped = self.forget_memos(&plan)?;
        self.packs.scan()?;
        Ok(outcome)
    }

    /// Brings back what is needed, and takes what is dead out of sight.
    fn collect(&self, plan: &mut GcPlan, job: &Job) -> Result<GcOutcome> {
        let made = self.replace(plan, job)?;
        let objects_rescued = self.bring_back(plan, job)?;
        let mut outcome = GcOutcome { objects_rescued, ..GcOutcome::default() };
        self.catch_up(plan, &made, job)?;
        self.trash_dead(plan, &made, &mut outcome, job)?;
        Ok(outcome)
    }

    /// Makes do with the room that there is: what a store can always spare is given up, and no pack is replaced
    /// by a smaller one. So a disk without a free block can still be collected.
    fn make_room(&self, plan: &mut GcPlan, job: &Job) -> Result<()> {
        job.warn(
            "the disk is full, so that only packs of which nothing is needed go; collect again afterwards",
        );
        self.give_reserve();
        self.forget_memos(plan)?;
        for fate in &mut plan.fates {
            if matches!(fate, Fate::Copied { .. } | Fate::Thinned { .. }) {
                *fate = Fate::Stays;
            }
        }
        Ok(())
    }

    fn forget_memos(&self, plan: &GcPlan) -> Result<u64> {
        for memo in &plan.memos {
            self.media.remove_file(memo)?;
        }
        Ok(plan.memos.len() as u64)
    }

    /// Makes the packs that take the place of partly dead ones, and gives them their names. Returns these.
    fn replace(&self, plan: &GcPlan, job: &Job) -> Result<HashSet<Digest>> {
        let mut made = HashSet::new();
        let census = &plan.censuses[0];
        for group in groups(plan)? {
            let (members, time) = (census.live(|pack| group.contains(&pack)), newest(census, &group)?);
            let ready = rewrite::copy(self, &census.packs, members, time, job)?;
            made.insert(ready.publish(self)?);
        }
        for (number, fate) in plan.fates.iter().enumerate() {
            if let Fate::Thinned { .. } = fate {
                let number = number as u32;
                let (members, time) = (census.live(|pack| pack == number), newest(census, &[number])?);
                let ready = rewrite::thin(self, &census.packs, members, time, job)?;
                made.insert(ready.publish(self)?);
            }
        }
        Ok(made)
    }

    /// Copies out of the trash what something leads to.
    fn bring_back(&self, plan: &GcPlan, job: &Job) -> Result<u64> {
        if plan.rescued.is_empty() {
            return Ok(0);
        }
        let mut packs: Vec<Arc<Pack>> = Vec::new();
        let mut members = Vec::new();
        for (id, pack) in &plan.rescued {
            let at = packs.iter().position(|other| Arc::ptr_eq(other, pack)).unwrap_or_else(|| {
                packs.push(pack.clone());
                packs.len() - 1
            });
            let row = pack.find_row(id).map_err(|problem| problem.of(id))?;
            let row = row.ok_or_else(|| StoreError::doubt(id, "it went out of the trash"))?;
            members.push(Member { id: *id, pack: at as u32, length: row.length, offset: row.offset });
        }
        rewrite::copy(self, &packs, members, plan.now, job)?.publish(self)?;
        Ok(plan.rescued.len() as u64)
    }

    /// Marks from what came since the plan was made. Packs in `made` hold nothing but live objects.
    fn catch_up(&self, plan: &mut GcPlan, made: &HashSet<Digest>, job: &Job) -> Result<()> {
        let known: HashSet<Digest> = plan
            .censuses
            .iter()
            .flat_map(|census| census.packs.iter().map(|pack| pack.name))
            .chain(made.iter().copied())
            .collect();
        // Roots before packs, as in the plan.
        let cutoff = self.cutoff(&plan.rules, plan.now)?;
        let found = self.gc_roots(cutoff, self.server_time(true)?, plan.rules.parents)?;
        let packs = self.packs.all()?;
        let new: Vec<Arc<Pack>> = packs.iter().filter(|pack| !known.contains(&pack.name)).cloned().collect();
        let count = new.len();
        if count > 0 {
            plan.censuses.push(Census::take(new, job)?);
        }
        plan.held =
            found.leases.iter().filter(|lease| lease.holds()).map(|lease| lease.name.clone()).collect();
        plan.expired = found.leases.into_iter().filter(|lease| lease.expired).collect();
        let (held, firm): (Vec<Root>, Vec<Root>) =
            found.roots.into_iter().partition(|root| root.strength == Strength::Weak);
        let marking = Marking::new(self, &plan.censuses, job);
        marking.mark(&firm)?;
        if count > 0 {
            marking.keep(plan.censuses.len() - 1, &vec![true; count], "a new pack")?;
        }
        // Nobody moves a ref to what is in the trash: something is very wrong, and the next plan sees it.
        if let Some(id) = marking.rescued_beside(&plan.rescued) {
            return Err(StoreError::doubt(id, "it came to be needed and is in the trash"));
        }
        marking.mark(&held)?;
        // What is held is read where it lies; the next plan brings it back.
        if marking.rescued_beside(&plan.rescued).is_some() {
            plan.emptied.clear();
        }
        Ok(())
    }

    /// Takes the dead packs away, under the lock.
    fn trash_dead(
        &self,
        plan: &mut GcPlan,
        made: &HashSet<Digest>,
        outcome: &mut GcOutcome,
        job: &Job,
    ) -> Result<()> {
        let lock = self.lock_refs(job)?;
        self.roll_forward()?;
        self.catch_up(plan, made, job)?;
        for lease in &plan.expired {
            self.media.remove_file(&lease.path)?;
            outcome.leases_expired += 1;
        }
        let doomed = still_dead(plan, outcome);
        // A writer may just have been between the two names of its pack.
        plan.orphans.retain(|orphan| !other_half(orphan).exists());
        if doomed.is_empty() && plan.orphans.is_empty() && !plan.cut_short {
            return Ok(());
        }
        let floor = self.cutoff(&plan.rules, plan.now)?;
        let halves = doomed.iter().flat_map(|pack| <[&Path; 2]>::from(pack.paths()));
        let files: Vec<&Path> = halves.chain(plan.orphans.iter().map(PathBuf::as_path)).collect();
        self.while_collecting(&lock, floor, |number| {
            if files.is_empty() {
                return Ok(());
            }
            let folder = self.layout.trash().join(number.to_string());
            self.media.create_directory(&folder)?;
            // The whole pack is in the trash before any of it leaves: readers always find it in one place.
            for file in &files {
                self.second_name(file, &in_folder(&folder, file))?;
            }
            self.media.sync_directory(&folder)?;
            self.media.sync_directory(&self.layout.trash())?;
            // Indexes first: half a pack is none.
            for file in files.iter().rev() {
                self.take_away(file, &in_folder(&folder, file))?;
            }
            self.media.sync_directory(&folder)?;
            Ok(self.media.sync_directory(&self.layout.packs())?)
        })
    }

    /// Gives a file a second name, where the file system gives such.
    fn second_name(&self, file: &Path, name: &Path) -> Result<()> {
        match self.media.link(file, name) {
            Err(error) if error.is_missing() || rewrite::is_refused(&error) => Ok(()),
            done => Ok(done.map(drop)?),
        }
    }

    /// Takes the first name of a file away; one that got no second one is renamed.
    fn take_away(&self, file: &Path, name: &Path) -> Result<()> {
        if name.exists() {
            return Ok(self.media.remove_file(file)?);
        }
        match self.media.rename(file, name) {
            // Half of it went with an earlier run.
            Err(error) if error.is_missing() => Ok(()),
            done => Ok(done?),
        }
    }

    /// Empties what the plan says, as far as no lease came to need it.
    fn empty_trash(&self, plan: &GcPlan, outcome: &mut GcOutcome) -> Result<()> {
        let now = self.server_time(true)?;
        let leases = self.leases(now)?;
        // What a hold names that came after the last look may lie in the trash.
        if leases.iter().any(|lease| lease.holds() && !plan.held.contains(&lease.name)) {
            return Ok(());
        }
        let after = Duration::from_secs(plan.rules.trash_seconds);
        for folder in trash::emptiable(plan.emptied.clone(), after, &leases) {
            self.empty(&folder)?;
            outcome.bytes_emptied += folder.bytes;
        }
        Ok(())
    }
}

/// Lists the packs that are as dead as the plan says.
fn still_dead(plan: &GcPlan, outcome: &mut GcOutcome) -> Vec<Arc<Pack>> {
    let census = &plan.censuses[0];
    let mut doomed = Vec::new();
    for ((pack, fate), count) in census.packs.iter().zip(&plan.fates).zip(census.counts()) {
        let expected = match fate {
            Fate::Stays => continue,
            Fate::Goes => 0,
            Fate::Copied { live } | Fate::Thinned { live } => *live,
        };
        if count.live == expected {
            doomed.push(pack.clone());
            outcome.packs_trashed += 1;
            outcome.packs_replaced += u64::from(*fate != Fate::Goes);
            outcome.objects_trashed += count.members - count.live;
        } else {
            outcome.packs_spared += 1;
        }
    }
    doomed
}

/// Puts packs whose live members are copied together, as far as they fit.
fn groups(plan: &GcPlan) -> Result<Vec<Vec<u32>>> {
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut bytes = u64::MAX;
    for (number, fate) in plan.fates.iter().enumerate() {
        if let Fate::Copied { .. } = fate {
            let pack = &plan.censuses[0].packs[number];
            let length = pack.bytes().map_err(|problem| problem.of(&pack.name))?;
            if bytes.saturating_add(length) > COPY_BYTES_MAX {
                groups.push(Vec::new());
                bytes = 0;
            }
            bytes += length;
            groups.last_mut().expect("because one was begun").push(number as u32);
        }
    }
    Ok(groups)
}

/// Returns the time of the youngest of some packs: what takes their place is no older and no younger.
fn newest(census: &Census, packs: &[u32]) -> Result<std::time::SystemTime> {
    rewrite::newest(packs.iter().map(|pack| &census.packs[*pack as usize]))
}

fn other_half(path: &Path) -> PathBuf {
    let is_index = path.extension().is_some_and(|extension| extension == "idx");
    path.with_extension(if is_index { "pack" } else { "idx" })
}

fn in_folder(folder: &Path, file: &Path) -> PathBuf {
    folder.join(file.file_name().expect("because a pack's file has a name"))
}

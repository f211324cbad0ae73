//! Making a damaged store whole again, as far as its objects can be had from elsewhere, and parting what is
//! lost from what is not.
//!
//! ```text
//! 1  format, journals, refs, reflogs     from what is beside them; the damaged file goes to quarantine/
//! 2  indexes                             written anew from the trailers of their packs
//! 3  marks                               nothing that is put from here on relies on a damaged copy
//! 4  one transaction                     sound objects of damaged packs, frames as they are; then lost ones
//!                                        from the sources, each held against its id; its pack has a name that
//!                                        no pack has, so that step 5 takes none of it
//! 5  damaged packs                       to quarantine/, index first, once that transaction is durable
//! ```
//!
//! Stopped anywhere, a store is no worse than before: what goes away was copied durably first, and doing it
//! again goes on. Nothing is deleted. No ref is moved to another commit but one whose file is damaged: it gets
//! back what its reflog says, and that is told; where no log says anything, it goes to quarantine. A ref to
//! something that stays lost is left: reading it says what is missing.

mod folder;
mod heal;
mod names;
mod packs;

use std::collections::HashSet;
use std::io::Read;
use std::time::Duration;

pub use folder::FolderHealer;

use super::check::{CheckReport, Damage, Fault};
use super::error::{Kind, Result};
use super::lock::Lock;
use super::store::Store;
use crate::base::{Digest, Job};

/// Time between two looks at whether somebody collects.
const WAIT: Duration = Duration::from_millis(20);

/// Says why a source gave nothing.
pub type HealError = Box<dyn std::error::Error + Send + Sync>;

/// Gives objects that are lost here. It is not trusted: whoever takes them holds them against their ids.
pub trait Healer: Sync {
    /// Says what it is, for people.
    fn name(&self) -> String;

    /// Returns the bytes of an object; `None` where it has none. Of a commit the size is not known.
    fn fetch(
        &self,
        kind: Kind,
        id: &Digest,
        size: Option<u64>,
    ) -> std::result::Result<Option<Box<dyn Read + '_>>, HealError>;
}

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RepairReport {
    /// Objects that came back.
    pub healed: Vec<Healed>,
    /// Packs whose index was written anew.
    pub indexes: Vec<String>,
    /// Packs that went to quarantine, with what came of their objects.
    pub packs: Vec<Isolated>,
    /// What was done to refs, reflogs, journals and the file "format", a sentence each.
    pub names: Vec<String>,
    /// What stays lost or damaged. Empty where the store is whole again.
    pub lost: Vec<Fault>,
    /// Sources that failed, and refs that nobody can restore, a sentence each.
    pub notes: Vec<String>,
}

impl RepairReport {
    /// Tells whether everything that refs lead to is there.
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty()
    }
}

/// An object that came back.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Healed {
    pub kind: Kind,
    #[serde(serialize_with = "text")]
    pub id: Digest,
    /// The source's name.
    pub from: String,
}

/// A pack that went to quarantine.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Isolated {
    #[serde(serialize_with = "text")]
    pub pack: Digest,
    /// Objects that are in other packs now.
    pub kept: u64,
    /// Objects of which this pack held no sound copy.
    pub lost: u64,
}

fn text<S: serde::Serializer>(digest: &Digest, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

impl Store {
    /// Repairs what a check found; see the top of this page. Sources are asked in their order.
    pub fn repair(&self, report: &CheckReport, sources: &[&dyn Healer], job: &Job) -> Result<RepairReport> {
        let mut done = RepairReport::default();
        if !report.faults.iter().any(|fault| fault.damage == Damage::Format) {
            self.prepare()?;
        }
        let stays = self.repair_names(report, &mut done, job)?;
        let _alone = self.wait_lock_gc(job)?;
        let rebuilt = self.rebuild_indexes(report, &mut done, job)?;
        let report = &without(report, &rebuilt);
        self.mark_damage(report);
        let damaged = packs::damaged(report);
        let transaction = self.begin(job);
        let orphans = self.salvage(&transaction, report, &damaged, &mut done, job)?;
        let lost = heal::heal(self, &transaction, report, sources, &mut done, job)?;
        transaction.commit(&[], "")?;
        self.quarantine_packs(damaged.iter().chain(&orphans), job)?;
        self.forget_marks(report, &lost);
        done.lost = lost;
        done.lost.extend(stays);
        Ok(done)
    }

    /// Waits until nobody collects or puts packs together, and keeps it so.
    fn wait_lock_gc(&self, job: &Job) -> Result<Lock> {
        loop {
            match self.try_lock_gc()? {
                Some(lock) => return Ok(lock),
                None => std::thread::sleep(WAIT),
            }
            job.check()?;
        }
    }

    /// Marks what a check found damaged or missing, so that the next build which has the bytes puts them
    /// again, and believes no memory of steps until then.
    pub fn mark_damage(&self, report: &CheckReport) {
        for fault in &report.faults {
            match &fault.damage {
                Damage::Object { id, pack, .. } => self.packs.marks.add((*id, Some(*pack))),
                Damage::Missing { id, .. } => self.packs.marks.add((*id, None)),
                _ => {}
            }
        }
    }

    /// Returns how many objects are known to be damaged or lost, and not to be had from another pack of this
    /// store: where there is one, what was remembered of steps may lead to it.
    pub fn known_losses(&self) -> usize {
        // Another process may have marked or brought some; a directory that can't be read says nothing new.
        let _ = self.packs.scan();
        self.packs.marks.all().iter().filter(|(id, _)| !self.packs.has(id)).count()
    }

    fn forget_marks(&self, report: &CheckReport, lost: &[Fault]) {
        for id in lost.iter().filter_map(Fault::object) {
            self.packs.marks.add((id, None));
        }
        let bad: HashSet<(Digest, Digest)> = report.faults.iter().filter_map(copy).collect();
        let there: HashSet<Digest> =
            self.packs.all().map(|packs| packs.iter().map(|pack| pack.name).collect()).unwrap_or_default();
        self.packs.marks.retain(|(id, pack)| match pack {
            Some(pack) => there.contains(pack) && (bad.contains(&(*id, *pack)) || !report.whole),
            None => !self.packs.has(id),
        });
    }
}

/// Leaves out what was said of packs whose indexes are right again: each of their frames was read since.
fn without(report: &CheckReport, rebuilt: &HashSet<Digest>) -> CheckReport {
    let is_right = |fault: &Fault| match &fault.damage {
        Damage::Object { pack, .. } | Damage::Index { pack } | Damage::Pack { pack } => {
            rebuilt.contains(pack)
        }
        _ => false,
    };
    let faults = report.faults.iter().filter(|fault| !is_right(fault)).cloned().collect();
    CheckReport { faults, ..report.clone() }
}

/// Returns the damaged copy that a fault is about.
fn copy(fault: &Fault) -> Option<(Digest, Digest)> {
    match &fault.damage {
        Damage::Object { id, pack, .. } => Some((*id, *pack)),
        _ => None,
    }
}

/// Another store as a source.
impl Healer for Store {
    fn name(&self) -> String {
        self.path().display().to_string()
    }

    fn fetch(
        &self,
        kind: Kind,
        id: &Digest,
        size: Option<u64>,
    ) -> std::result::Result<Option<Box<dyn Read + '_>>, HealError> {
        heal::from_store(self, kind, id, size)
    }
}

//! Reading everything that a store holds, to see whether it is sound, and naming what is not: object, pack,
//! and the refs, commits and paths that a damage touches.

mod blame;
mod frames;
mod names;
mod reach;
mod report;

use std::collections::{HashMap, HashSet};

pub use report::{CheckReport, Damage, Fault, Reached, Spot};

pub(super) use blame::{Graph, Roots};
pub(super) use names::{look, read_log};
pub(super) use reach::{Lost, Named, Walk};

use super::error::Result;
use super::store::Store;
use crate::base::job::Unit;
use crate::base::{CommitId, Digest, Job};
use frames::Survey;
use names::Names;

/// Most faults whose refs and paths are looked for.
const TRACED_MAX: usize = 256;

impl Store {
    /// Reads every object of every pack, in parallel: indexes, frames, ids, encodings; then refs, reflogs,
    /// journals and memos; then walks from the refs to all that they lead to. Costs reading the store once
    /// and its trees twice; changes nothing, and holds nobody up. Where there is damage, what it touches is
    /// looked for.
    pub fn check(&self, job: &Job) -> Result<CheckReport> {
        self.look_at(true, job)
    }

    /// Checks without reading files: indexes, records, refs, and that all that refs lead to is there.
    pub fn check_quickly(&self, job: &Job) -> Result<CheckReport> {
        self.look_at(false, job)
    }

    fn look_at(&self, frames: bool, job: &Job) -> Result<CheckReport> {
        let survey = frames::survey(self, frames, job)?;
        let names = names::look(self, job)?;
        let bad: HashSet<(Digest, Digest)> = survey.bad.iter().map(|bad| (bad.id, bad.pack)).collect();
        let alone = |id: &Digest| !self.packs.has_where(id, |pack| !bad.contains(&(*id, pack.name)));
        let damaged: HashSet<Digest> = survey.bad.iter().map(|bad| bad.id).filter(alone).collect();
        let walk = Walk::new(self, damaged);
        let step = job.step("walk from the refs", None, Unit::Items);
        let tips: Vec<CommitId> = names.roots.tips.iter().map(|(_, commit)| *commit).collect();
        let lost = walk.of_commits(&tips, &step, job)?;
        drop(step);
        let Names { roots, faults: named, mut notes } = names;
        if walk.shallow() > 0 {
            notes.push(format!("{} commits name parents that are not in this store", walk.shallow()));
        }
        let mut report = CheckReport {
            packs: survey.packs,
            objects: survey.objects,
            bytes: survey.bytes,
            reachable: walk.reached(),
            whole: frames,
            faults: faults(survey, &walk.damaged, lost),
            notes,
        };
        self.trace(&mut report.faults, &roots, job)?;
        report.faults.extend(named);
        Ok(report)
    }

    /// Finds what leads to damaged objects, as far as nothing else in the store makes them good.
    pub(super) fn trace(&self, faults: &mut [Fault], roots: &Roots, job: &Job) -> Result<()> {
        let is_alone = |fault: &&mut Fault| !matches!(fault.damage, Damage::Object { has_copy: true, .. });
        let faults: Vec<&mut Fault> = faults.iter_mut().filter(is_alone).collect();
        let damaged: HashSet<Digest> = faults.iter().filter_map(|fault| fault.object()).collect();
        if damaged.is_empty() {
            return Ok(());
        }
        let _step = job.step("find what the damage touches", None, Unit::Items);
        let graph = Graph::new(self, roots, &damaged, job)?;
        let mut traced = HashMap::<Digest, Reached>::new();
        for fault in faults {
            let Some(id) = fault.object() else { continue };
            if let Some(known) = traced.get(&id) {
                fault.reached = known.clone();
            } else if traced.len() < TRACED_MAX {
                job.check()?;
                fault.reached = graph.reached(self, roots, &id);
                traced.insert(id, fault.reached.clone());
            } else {
                fault.reached = graph.counted(roots, &id);
            }
        }
        Ok(())
    }
}

/// Makes faults of what was found: objects first, in the order of their packs.
fn faults(survey: Survey, damaged: &HashSet<Digest>, lost: Vec<Lost>) -> Vec<Fault> {
    let mut faults: Vec<Fault> = survey
        .indexes
        .into_iter()
        .map(|(pack, problem)| Fault::new(Damage::Index { pack }, problem))
        .collect();
    let packs = survey.packs_damaged.into_iter();
    faults.extend(packs.map(|(pack, problem)| Fault::new(Damage::Pack { pack }, problem)));
    let known: HashSet<Digest> = survey.bad.iter().map(|bad| bad.id).collect();
    faults.extend(survey.bad.into_iter().map(|bad| {
        let has_copy = !damaged.contains(&bad.id);
        let damage = Damage::Object {
            kind: bad.kind,
            id: bad.id,
            size: bad.size,
            pack: bad.pack,
            offset: bad.offset,
            has_copy,
        };
        Fault::new(damage, bad.problem)
    }));
    let lost = lost.into_iter().filter(|lost| !known.contains(&lost.named.id));
    faults.extend(lost.map(|lost| missing(lost.named, lost.problem)));
    faults
}

/// Makes the fault of an object that is named and can't be read.
pub(super) fn missing(named: Named, problem: String) -> Fault {
    Fault::new(Damage::Missing { kind: named.kind, id: named.id, size: named.size }, problem)
}

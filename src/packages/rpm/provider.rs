//! What `resolvo` asks of a problem.

use std::collections::HashMap;
use std::fmt::Display;

use resolvo::{
    Candidates, Condition, ConditionId, Dependencies, DependencyProvider, Interner, KnownDependencies,
    LogicalOperator, NameId, Requirement, SolvableId, SolverCache, StringId, VersionSetId, VersionSetUnionId,
};

use super::clause::Set;
use super::solve::Problem;
use super::universe::PackageId;

/// What the solver knows by number.
#[derive(Default)]
pub(super) struct Pool {
    pub unions: Vec<(Vec<VersionSetId>, String)>,
    pub numbers: HashMap<(Vec<VersionSetId>, String), u32>,
    pub conditions: Vec<Condition>,
    pub strings: Vec<String>,
}

fn is(id: PackageId) -> VersionSetId {
    VersionSetId(2 * id.0)
}

pub(super) fn is_not(id: PackageId) -> VersionSetId {
    VersionSetId(2 * id.0 + 1)
}

impl Problem<'_> {
    /// Interns "one of these", with the text that asks for it.
    pub(super) fn union(&self, ids: &[PackageId], text: &str) -> Requirement {
        let sets: Vec<VersionSetId> = ids.iter().map(|id| is(*id)).collect();
        let mut pool = self.pool.borrow_mut();
        let key = (sets.clone(), text.to_owned());
        let next = pool.unions.len() as u32;
        let number = *pool.numbers.entry(key).or_insert(next);
        if number == next {
            // Where nothing fits, the number behind the last package's: nothing has it. The solver keeps a row for
            // each number up to the largest, so it must not be larger.
            let nothing = VersionSetId(2 * self.universe.len() as u32);
            let sets = if sets.is_empty() { vec![nothing] } else { sets };
            pool.unions.push((sets, text.to_owned()));
        }
        Requirement::Union(VersionSetUnionId(number))
    }

    /// Interns "one of each of these is there".
    pub(super) fn condition(&self, sets: &[Set]) -> Option<ConditionId> {
        let add = |condition| {
            let mut pool = self.pool.borrow_mut();
            pool.conditions.push(condition);
            ConditionId::new(pool.conditions.len() as u32 - 1)
        };
        let any = |set: &Set| {
            let single = set.iter().map(|id| add(Condition::Requirement(is(*id)))).collect::<Vec<_>>();
            single.into_iter().reduce(|a, b| add(Condition::Binary(LogicalOperator::Or, a, b)))
        };
        let each: Vec<ConditionId> = sets.iter().filter_map(any).collect();
        each.into_iter().reduce(|a, b| add(Condition::Binary(LogicalOperator::And, a, b)))
    }

    /// Returns the number of what stands for "this package does not come".
    pub(super) fn absence(&self, id: PackageId) -> PackageId {
        PackageId(self.universe.len() as u32 + 1 + id.0)
    }

    /// Returns the package whose absence a number stands for; `None` where the number is a package's.
    pub(super) fn absence_of(&self, id: PackageId) -> Option<PackageId> {
        id.0.checked_sub(self.universe.len() as u32 + 1).map(PackageId)
    }

    /// Returns what a number stands for, for people.
    pub(super) fn shown_or_absent(&self, id: PackageId) -> String {
        match self.absence_of(id) {
            Some(absent) => format!("the absence of {}", self.universe.shown(absent)),
            None if (id.0 as usize) < self.universe.len() => self.universe.shown(id),
            None => "nothing".to_owned(),
        }
    }

    /// Returns the text that asks for a requirement.
    pub fn requirement_text(&self, requirement: Requirement) -> String {
        match requirement {
            Requirement::Union(union) => self
                .pool
                .borrow()
                .unions
                .get(union.0 as usize)
                .map_or_else(String::new, |union| union.1.clone()),
            Requirement::Single(set) => self.shown_or_absent(PackageId(set.0 / 2)),
        }
    }
}

impl Interner for Problem<'_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        self.shown_or_absent(PackageId(solvable.into_raw()))
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        self.shown_or_absent(PackageId(name.into_raw()))
    }

    fn display_version_set(&self, version_set: VersionSetId) -> impl Display + '_ {
        if version_set.0.is_multiple_of(2) { "" } else { "not" }
    }

    fn display_string(&self, string: StringId) -> impl Display + '_ {
        self.pool.borrow().strings.get(string.0 as usize).cloned().unwrap_or_default()
    }

    fn version_set_name(&self, version_set: VersionSetId) -> NameId {
        NameId::from_raw(version_set.0 / 2)
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        NameId::from_raw(solvable.into_raw())
    }

    fn version_sets_in_union(&self, union: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        let pool = self.pool.borrow();
        pool.unions.get(union.0 as usize).map_or_else(Vec::new, |union| union.0.clone()).into_iter()
    }

    fn resolve_condition(&self, condition: ConditionId) -> Condition {
        self.pool.borrow().conditions[condition.as_u32() as usize].clone()
    }
}

impl DependencyProvider for Problem<'_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        version_set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let takes_all = version_set.0.is_multiple_of(2) != inverse;
        if takes_all { candidates.to_vec() } else { Vec::new() }
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates<SolvableId>> {
        // Every number but the one of nothing, which lies between packages and absences.
        let is_there = name.into_raw() as usize != self.universe.len();
        is_there.then(|| Candidates {
            candidates: vec![SolvableId::from_raw(name.into_raw())],
            ..Candidates::default()
        })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, _: &mut [SolvableId]) {}

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let id = PackageId(solvable.into_raw());
        if let Some(absent) = self.absence_of(id) {
            let constrains = vec![is_not(absent)];
            return Dependencies::Known(KnownDependencies { constrains, ..KnownDependencies::default() });
        }
        match self.known(id) {
            Ok(known) => Dependencies::Known(known),
            Err(problem) => {
                let mut pool = self.pool.borrow_mut();
                pool.strings.push(problem);
                Dependencies::Unknown(StringId(pool.strings.len() as u32 - 1))
            }
        }
    }
}

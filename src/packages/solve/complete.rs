//! Every version, every alternative: a complete solver, for what apt's way can't solve.
//!
//! A solvable is a package, a name of the solver is a slot (a name on an architecture). A relation becomes the
//! set of packages that satisfy it, parted by slots in the order of preference; a conflict keeps a slot to the
//! packages that it does not strike.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Display;

use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, Dependencies, DependencyProvider, Interner,
    KnownDependencies, NameId, Requirement, SolvableId, Solver, SolverCache, StringId, UnsolvableOrCancelled,
    VersionSetId, VersionSetUnionId,
};

use super::super::universe::PackageId;
use super::explain::{Core, Edge, Node, Unsolvable, sentences};
use super::state::{Reason, State};
use super::view::{Needs, Slot, View, Wish};
use super::{greedy, view};

/// Most independent dead ends that are looked for.
const DEAD_ENDS_MAX: usize = 16;

/// Chooses all wishes and what they need, or says why that can't be: each dead end is explained, and looked for
/// again without the wishes that led to it.
pub(super) fn run<'v, 'u>(view: &'v View<'u>, wishes: &[Wish<'u>]) -> Result<State<'v, 'u>, Unsolvable> {
    let mut numbers: Vec<usize> = (0..wishes.len()).collect();
    let mut dead_ends = Vec::new();
    while dead_ends.len() < DEAD_ENDS_MAX {
        let left: Vec<&Wish<'u>> = numbers.iter().map(|number| &wishes[*number]).collect();
        let core = match attempt(view, &left) {
            Ok(packages) if dead_ends.is_empty() => return Ok(state(view, &left, &packages)),
            Ok(_) => break,
            Err(core) => core,
        };
        let taking_part: Vec<usize> = core.wishes().into_iter().map(|index| numbers[index]).collect();
        dead_ends.push((taking_part.first().copied(), sentences(view, &left, &core)));
        if taking_part.is_empty() {
            break;
        }
        numbers.retain(|number| !taking_part.contains(number));
    }
    dead_ends.sort_by_key(|(first, _)| *first);
    Err(Unsolvable { dead_ends: dead_ends.into_iter().map(|(_, dead_end)| dead_end).collect() })
}

/// Solves once. Returns the packages, or the proof that there are none.
fn attempt<'u>(view: &View<'u>, wishes: &[&Wish<'u>]) -> Result<Vec<PackageId>, Core<'u>> {
    let provider = Provider { view, tables: RefCell::new(Tables::new(view)) };
    let requirements = wishes.iter().enumerate().map(|(number, wish)| {
        let origin = Meaning::Wish(number);
        provider.tables.borrow_mut().requirement(view, vec![wish.targets.clone()], origin)
    });
    let requirements: Vec<ConditionalRequirement> = requirements.map(Into::into).collect();
    let mut solver = Solver::new(provider);
    match solver.solve(resolvo::Problem::new().requirements(requirements)) {
        Ok(solvables) => Ok(solvables.into_iter().map(package).collect()),
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => Err(core(&solver, &conflict)),
        Err(UnsolvableOrCancelled::Cancelled(_)) => Err(Core::default()),
    }
}

/// Translates the solver's proof.
fn core<'u>(solver: &Solver<Provider<'_, 'u>>, conflict: &resolvo::conflict::Conflict) -> Core<'u> {
    use resolvo::conflict::{ConflictCause, ConflictEdge, ConflictNode};
    let graph = conflict.graph(solver);
    let tables = solver.provider().tables.borrow();
    let node = |index| match graph.graph[index] {
        ConflictNode::Root => Node::Root,
        ConflictNode::Solvable(id) => Node::Package(package(id)),
        ConflictNode::UnresolvedDependency | ConflictNode::Excluded(_) => Node::Nothing,
    };
    let mut edges = Vec::new();
    for edge in graph.graph.raw_edges() {
        let (from, to) = (node(edge.source()), node(edge.target()));
        let meaning = match edge.weight {
            ConflictEdge::Requires(requirement) => tables.meaning(requirement),
            ConflictEdge::Conflict(ConflictCause::Constrains(set)) => tables.sets[set.0 as usize].meaning,
            ConflictEdge::Conflict(ConflictCause::Excluded) => Meaning::Barred,
            ConflictEdge::Conflict(_) => Meaning::Twice,
        };
        edges.push(match meaning {
            Meaning::Wish(number) => Edge::Wishes { number, to },
            Meaning::Need(text) => Edge::Needs { from, text, to },
            Meaning::Negative(is_break, text) => Edge::Strikes { from, is_break, text, to },
            Meaning::Barred => Edge::Barred { from },
            Meaning::Twice => Edge::Twice { from, to },
        });
    }
    Core { edges }
}

fn package(id: SolvableId) -> PackageId {
    PackageId(id.into_raw())
}

fn solvable(id: PackageId) -> SolvableId {
    SolvableId::from_raw(id.0)
}

/// Orders what the solver chose as apt's way would have come upon it, with the reasons; then adds what is recommended.
fn state<'v, 'u>(view: &'v View<'u>, wishes: &[&Wish<'u>], packages: &[PackageId]) -> State<'v, 'u> {
    let chosen: HashSet<PackageId> = packages.iter().copied().collect();
    let mut all = State::new(view);
    packages.iter().for_each(|id| all.take(*id, Reason::Essential));
    let mut state = State::new(view);
    let mut queue = VecDeque::new();
    for wish in wishes {
        if let Some(id) = wish.targets.iter().find(|id| chosen.contains(id) && !state.has(**id)) {
            state.take(*id, wish.reason);
            queue.push_back(*id);
        }
    }
    while let Some(by) = queue.pop_front() {
        let machine = view.universe.machine(by);
        for need in view.needs(by).needs.iter().filter(|need| !need.is_soft()) {
            if let Some(id) = all.satisfier(need, machine).filter(|id| !state.has(*id)) {
                state.take(id, Reason::Needed { by, kind: need.kind, text: need.text, others: 0 });
                queue.push_back(id);
            }
        }
    }
    greedy::add_recommended(state)
}

/// Says what a set of the solver came from.
#[derive(Clone, Copy)]
enum Meaning<'u> {
    Wish(usize),
    Need(&'u str),
    Negative(bool, &'u str),
    Barred,
    Twice,
}

struct Set<'u> {
    slot: Slot,
    members: Vec<PackageId>,
    meaning: Meaning<'u>,
}

/// What has been numbered for the solver so far.
struct Tables<'u> {
    sets: Vec<Set<'u>>,
    unions: Vec<Vec<VersionSetId>>,
    strings: Vec<String>,
    /// A slot beyond all others, in which there is nothing.
    nowhere: Slot,
}

impl<'u> Tables<'u> {
    fn new(view: &View<'u>) -> Self {
        Tables { sets: Vec::new(), unions: Vec::new(), strings: Vec::new(), nowhere: view.slots_count() }
    }

    fn set(&mut self, slot: Slot, members: Vec<PackageId>, meaning: Meaning<'u>) -> VersionSetId {
        self.sets.push(Set { slot, members, meaning });
        VersionSetId(self.sets.len() as u32 - 1)
    }

    /// Makes a requirement of alternatives, each a list of packages.
    fn requirement(
        &mut self,
        view: &View<'u>,
        alternatives: Vec<Vec<PackageId>>,
        meaning: Meaning<'u>,
    ) -> Requirement {
        let mut sets = Vec::new();
        for targets in alternatives {
            let by_slot = parted(targets, |id| view.slot_of(id));
            sets.extend(by_slot.into_iter().map(|(slot, members)| self.set(slot, members, meaning)));
        }
        match sets[..] {
            [] => Requirement::Single(self.set(self.nowhere, Vec::new(), meaning)),
            [single] => Requirement::Single(single),
            _ => {
                self.unions.push(sets);
                Requirement::Union(VersionSetUnionId(self.unions.len() as u32 - 1))
            }
        }
    }

    fn meaning(&self, requirement: Requirement) -> Meaning<'u> {
        let set = match requirement {
            Requirement::Single(set) => set,
            Requirement::Union(union) => self.unions[union.0 as usize][0],
        };
        self.sets[set.0 as usize].meaning
    }

    fn string(&mut self, text: String) -> StringId {
        self.strings.push(text);
        StringId(self.strings.len() as u32 - 1)
    }
}

/// Parts packages by slot; slots in the order of their first package.
fn parted(packages: Vec<PackageId>, slot_of: impl Fn(PackageId) -> Slot) -> Vec<(Slot, Vec<PackageId>)> {
    let mut order: HashMap<Slot, usize> = HashMap::new();
    let mut parts: Vec<(Slot, Vec<PackageId>)> = Vec::new();
    for id in packages {
        let slot = slot_of(id);
        let index = *order.entry(slot).or_insert(parts.len());
        if index == parts.len() {
            parts.push((slot, Vec::new()));
        }
        parts[index].1.push(id);
    }
    parts
}

struct Provider<'v, 'u> {
    view: &'v View<'u>,
    tables: RefCell<Tables<'u>>,
}

impl<'u> Provider<'_, 'u> {
    fn requirements(&self, id: PackageId, needs: &Needs<'u>) -> Vec<ConditionalRequirement> {
        let (view, machine) = (self.view, self.view.universe.machine(id));
        let hard = needs.needs.iter().filter(|need| !need.is_soft());
        hard.map(|need| {
            let alternatives = need.links.iter().map(|link| view.targets(link, machine)).collect();
            self.tables.borrow_mut().requirement(view, alternatives, Meaning::Need(need.text)).into()
        })
        .collect()
    }

    fn constrains(&self, id: PackageId, needs: &Needs<'u>) -> Vec<VersionSetId> {
        let view = self.view;
        let mut sets = Vec::new();
        for negative in &needs.negatives {
            let struck = self.struck(id, negative);
            for (slot, struck) in parted(struck, |id| view.slot_of(id)) {
                let spared = self.in_slot(slot).into_iter().filter(|id| !struck.contains(id)).collect();
                let meaning = Meaning::Negative(negative.is_break, negative.text);
                sets.push(self.tables.borrow_mut().set(slot, spared, meaning));
            }
        }
        for (slot, siblings) in parted(self.siblings(id), |id| view.slot_of(id)) {
            let fitting = siblings.into_iter().filter(|sibling| view.are_siblings(id, *sibling)).collect();
            sets.push(self.tables.borrow_mut().set(slot, fitting, Meaning::Twice));
        }
        sets
    }

    /// Returns all packages that a negative relation strikes.
    fn struck(&self, id: PackageId, negative: &view::Negative<'u>) -> Vec<PackageId> {
        let universe = self.view.universe;
        let Some(name) = negative.link.name else { return Vec::new() };
        let provided = universe.providers(name).map(|provision| provision.package);
        let all = universe.of_name(name).chain(provided);
        let mut struck: Vec<PackageId> = all.filter(|own| self.view.strikes(id, negative, *own)).collect();
        struck.sort_unstable();
        struck.dedup();
        struck
    }

    /// Returns the packages of the same name on other machines.
    fn siblings(&self, id: PackageId) -> Vec<PackageId> {
        let universe = self.view.universe;
        if universe.architectures().len() == 1 {
            return Vec::new();
        }
        let all = universe.of_name(universe.name_of(id));
        all.filter(|other| universe.machine(*other) != universe.machine(id)).collect()
    }

    /// Returns all packages of a slot: those that may be chosen first, best first.
    fn in_slot(&self, slot: Slot) -> Vec<PackageId> {
        let (view, universe) = (self.view, self.view.universe);
        if slot >= view.slots_count() {
            return Vec::new();
        }
        let machines = universe.architectures().len();
        let (name, machine) = ((slot / machines) as u32, slot % machines);
        let mut all = view.choices(name, machine);
        let barred =
            universe.of_name(name).filter(|id| universe.machine(*id) == machine && view.bar(*id).is_some());
        all.extend(barred);
        all
    }
}

impl Interner for Provider<'_, '_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, id: SolvableId) -> impl Display + '_ {
        format!("{} {}", self.view.universe.name(package(id)), self.view.universe.version(package(id)))
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        let machines = self.view.universe.architectures().len();
        self.view.universe.name_text(name.into_raw() / machines as u32)
    }

    fn display_version_set(&self, set: VersionSetId) -> impl Display + '_ {
        format!("{} packages", self.tables.borrow().sets[set.0 as usize].members.len())
    }

    fn display_string(&self, text: StringId) -> impl Display + '_ {
        self.tables.borrow().strings[text.0 as usize].clone()
    }

    fn version_set_name(&self, set: VersionSetId) -> NameId {
        NameId::from_raw(self.tables.borrow().sets[set.0 as usize].slot as u32)
    }

    fn solvable_name(&self, id: SolvableId) -> NameId {
        NameId::from_raw(self.view.slot_of(package(id)) as u32)
    }

    fn version_sets_in_union(&self, union: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        self.tables.borrow().unions[union.0 as usize].clone().into_iter()
    }

    fn resolve_condition(&self, _: ConditionId) -> Condition {
        unreachable!("because no requirement here has a condition")
    }
}

impl DependencyProvider for Provider<'_, '_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let tables = self.tables.borrow();
        let members = &tables.sets[set.0 as usize].members;
        let kept = candidates.iter().filter(|id| members.contains(&package(**id)) != inverse);
        kept.copied().collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates> {
        let all = self.in_slot(name.into_raw() as usize);
        let bar = |id: &PackageId| Some((*id, self.view.bar(*id)?.to_string()));
        let barred: Vec<(PackageId, String)> = all.iter().filter_map(bar).collect();
        let mut tables = self.tables.borrow_mut();
        let excluded = barred.into_iter().map(|(id, bar)| (solvable(id), tables.string(bar))).collect();
        let candidates: Vec<SolvableId> = all.into_iter().map(solvable).collect();
        (!candidates.is_empty()).then(|| Candidates { candidates, excluded, ..Candidates::default() })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        let Some(first) = solvables.first() else { return };
        let order = self.in_slot(self.view.slot_of(package(*first)));
        solvables.sort_by_key(|id| order.iter().position(|own| *own == package(*id)));
    }

    async fn get_dependencies(&self, id: SolvableId) -> Dependencies {
        let id = package(id);
        let needs = self.view.needs(id);
        if let Some(problem) = &needs.malformed {
            return Dependencies::Unknown(self.tables.borrow_mut().string(problem.clone()));
        }
        let requirements = self.requirements(id, &needs);
        Dependencies::Known(KnownDependencies { requirements, constrains: self.constrains(id, &needs) })
    }
}

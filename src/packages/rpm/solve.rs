//! From names to packages: all in one problem, solved with `resolvo`.
//!
//! Every package is a name of its own to the solver. So a condition such as "if this package is installed" means
//! exactly that package, and two versions of one name are kept apart by constraints, like every other conflict.
//!
//! The choice is a function of the problem: where several packages provide something, the order of trying is that of
//! [`Problem::preference`].

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};

use resolvo::{ConditionalRequirement, KnownDependencies, SolvableId, Solver, UnsolvableOrCancelled};

use super::super::lock::{Dependency, Reason};
use super::clause::{Clause, Set, choices, clauses, others};
use super::error::RepositoryError;
use super::explain;
use super::provider::{Pool, is_not};
use super::relation::{self, Plain, Rich, Sense};
use super::request::{Request, fits};
use super::universe::{Kind, PackageId, Relation, Universe};
use super::version::Evr;

/// Features of rpm that packages may ask for; with them the payloads and headers that [`super::unpack`] reads.
const RPMLIB: [&str; 18] = [
    "BuiltinLuaScripts",
    "CaretInVersions",
    "CompressedFileNames",
    "ConcurrentAccess",
    "DynamicBuildRequires",
    "ExplicitPackageProvide",
    "FileCaps",
    "FileDigests",
    "HeaderLoadSortsTags",
    "LargeFiles",
    "PartialHardlinkSets",
    "PayloadFilesHavePrefix",
    "PayloadIsBzip2",
    "PayloadIsLzma",
    "PayloadIsXz",
    "PayloadIsZstd",
    "RichDependencies",
    "TildeInVersions",
];

/// How often recommendations of what recommendations brought are looked at.
const ROUNDS_MAX: usize = 10;

/// Names a conditional dependency: its package and its text.
pub type Conditional = (PackageId, String);

/// Holds a request's problem over a universe.
pub struct Problem<'a> {
    pub universe: &'a Universe,
    pub request: &'a Request,
    /// Why a package can't come, by package.
    pub unusable: HashMap<PackageId, String>,
    /// Packages that a newer one takes the place of.
    obsoleted: HashSet<PackageId>,
    roots: Vec<Root>,
    /// Paths that the full lists of files were asked for.
    known_files: BTreeSet<String>,
    /// Conditional dependencies that the solver is told without conditions.
    strict: HashSet<Conditional>,
    /// Paths that something requires and no primary index lists.
    missing_files: RefCell<BTreeSet<String>>,
    pub(super) pool: RefCell<Pool>,
}

/// A name of the request, and the packages that can serve it.
struct Root {
    name: String,
    candidates: Vec<PackageId>,
}

/// What was chosen.
pub struct Solution {
    /// By name.
    pub packages: Vec<PackageId>,
    /// Why each came.
    pub why: HashMap<PackageId, Reason>,
}

/// Says how solving ended without packages.
pub enum Unsolved {
    /// The full lists of files are needed for these paths.
    Files(BTreeSet<String>),
    /// These hold in no other way than being told as strict ones.
    Broken(Vec<Conditional>),
    Error(RepositoryError),
}

impl From<RepositoryError> for Unsolved {
    fn from(error: RepositoryError) -> Self {
        Unsolved::Error(error)
    }
}

impl<'a> Problem<'a> {
    pub fn new(universe: &'a Universe, request: &'a Request) -> Result<Self, RepositoryError> {
        let mut problem = Problem {
            universe,
            request,
            unusable: HashMap::new(),
            obsoleted: obsoleted(universe),
            roots: Vec::new(),
            known_files: BTreeSet::new(),
            strict: HashSet::new(),
            missing_files: RefCell::default(),
            pool: RefCell::default(),
        };
        for id in universe.ids() {
            if let Some(reason) = problem.check(id) {
                problem.unusable.insert(id, reason);
            }
        }
        for name in &request.names {
            let root = problem.root(name)?;
            problem.roots.push(root);
        }
        Ok(problem)
    }

    /// Says which paths the full lists of files were asked for: what still has no package, has none.
    pub fn files_known(&mut self, paths: &BTreeSet<String>) {
        self.known_files.clone_from(paths);
        self.missing_files.take();
    }

    /// Says which conditional dependencies the solver is told without conditions.
    pub fn strict(&mut self, strict: &HashSet<Conditional>) {
        self.strict.clone_from(strict);
    }

    /// Returns why a package can't come.
    fn check(&self, id: PackageId) -> Option<String> {
        let (name, package) = (self.universe.name(id), self.universe.package(id));
        if self.request.exclude.iter().any(|excluded| excluded == name) {
            return Some("the recipe excludes it".to_owned());
        }
        if let Some(pattern) = self.request.pins.get(name).filter(|pattern| !fits(pattern, &package.evr)) {
            return Some(format!("the recipe pins {name} to {pattern}"));
        }
        package.requires.iter().map(|relation| self.universe.text(relation.name)).find_map(|required| {
            let feature = required.strip_prefix("rpmlib(")?.strip_suffix(')')?;
            (!RPMLIB.contains(&feature))
                .then(|| format!("it needs rpm's feature {feature}, which is not known here"))
        })
    }

    /// Finds what a name of the request means: packages of that name, else what provides it.
    fn root(&self, asked: &str) -> Result<Root, RepositoryError> {
        let (name, pattern) = match asked.split_once('=') {
            Some((name, pattern)) => (name.trim(), Some(pattern.trim())),
            None => (asked, None),
        };
        let mut candidates = self.universe.named(name).to_vec();
        if candidates.is_empty() {
            let (name, architecture) = name.rsplit_once('.').unwrap_or((name, ""));
            let is_it =
                |id: &PackageId| self.universe.text(self.universe.package(*id).architecture) == architecture;
            candidates = self.universe.named(name).iter().copied().filter(is_it).collect();
        }
        if candidates.is_empty() {
            candidates = self.providers(&any(name));
        }
        if let Some(pattern) = pattern {
            candidates.retain(|id| fits(pattern, &self.universe.package(*id).evr));
        }
        if candidates.is_empty() {
            let similar = self.universe.similar(name);
            return Err(RepositoryError::Unknown { name: asked.to_owned(), similar });
        }
        let mut candidates: Vec<PackageId> =
            candidates.into_iter().filter(|id| !self.unusable.contains_key(id)).collect();
        self.sort(&mut candidates, name);
        Ok(Root { name: asked.to_owned(), candidates })
    }

    /// Returns everything that provides something, usable or not. A path that nothing is known to have is noted.
    fn providers(&self, wanted: &Plain) -> Vec<PackageId> {
        let found = self.universe.providers(wanted);
        if found.is_empty() && wanted.name.starts_with('/') && !self.known_files.contains(&wanted.name) {
            self.missing_files.borrow_mut().insert(wanted.name.clone());
        }
        found
    }

    /// Orders packages by how gladly they are taken for something of a name: what is locked, the best priority, what
    /// nothing replaces, the one of that name, the fewest requirements, then names, and of one name the newest.
    fn sort(&self, ids: &mut [PackageId], wanted: &str) {
        let universe = self.universe;
        let mut newest: HashMap<&str, &Evr> = HashMap::new();
        for id in ids.iter() {
            let evr = &universe.package(*id).evr;
            let best = newest.entry(universe.name(*id)).or_insert(evr);
            if evr.compare(best).is_gt() {
                *best = evr;
            }
        }
        let fewest: HashMap<&str, usize> = ids
            .iter()
            .filter(|id| {
                newest
                    .get(universe.name(**id))
                    .is_some_and(|evr| evr.compare(&universe.package(**id).evr).is_eq())
            })
            .map(|id| (universe.name(*id), universe.package(*id).requires.len()))
            .collect();
        ids.sort_by(|a, b| {
            let key = |id: &PackageId| {
                let (name, package) = (universe.name(*id), universe.package(*id));
                let locked =
                    self.request.locked.get(name).is_some_and(|locked| *locked == package.evr.to_string());
                let priority = self.request.sources.get(package.source).map_or(0, |source| source.priority);
                let is_obsolete = self.obsoleted.contains(id);
                (
                    !locked,
                    Reverse(priority),
                    is_obsolete,
                    name != wanted,
                    fewest.get(name).copied(),
                    name.to_owned(),
                )
            };
            let (a_evr, b_evr) = (&universe.package(*a).evr, &universe.package(*b).evr);
            key(a).cmp(&key(b)).then_with(|| b_evr.compare(a_evr)).then_with(|| a.cmp(b))
        });
    }

    /// Returns the packages that a plain dependency means, best first.
    pub fn set(&self, plain: &Plain) -> Set {
        let mut ids = self.providers(plain);
        ids.retain(|id| !self.unusable.contains_key(id));
        self.sort(&mut ids, &plain.name);
        ids
    }

    /// Reads a relation; a rich one that can't be read makes its package unusable, which `Err` says.
    pub fn rich(&self, relation: &Relation) -> Result<Rich, String> {
        let text = self.universe.text(relation.name);
        if text.starts_with('(') {
            relation::parse(text)
        } else {
            Ok(Rich::Plain(self.universe.plain(relation)))
        }
    }

    /// Returns what a package needs, as clauses with their text.
    pub fn needs(&self, id: PackageId, kind: Kind) -> Result<Vec<(Clause, String)>, String> {
        let mut all = Vec::new();
        for relation in self.universe.package(id).relations(kind) {
            if self.universe.text(relation.name).starts_with("rpmlib(") {
                continue;
            }
            let rich = self.rich(relation)?;
            let text = self.shown(relation);
            let set = |plain: &Plain| self.set(plain);
            all.extend(
                clauses(&rich, kind != Kind::Conflicts, &set)?
                    .into_iter()
                    .map(|clause| (clause, text.clone())),
            );
        }
        Ok(all)
    }

    /// Writes a relation for people.
    pub fn shown(&self, relation: &Relation) -> String {
        let text = self.universe.text(relation.name);
        if text.starts_with('(') { text.to_owned() } else { self.universe.plain(relation).to_string() }
    }

    /// Solves, and adds what is recommended round by round where that is asked.
    pub fn solve(self) -> Result<Solution, Unsolved> {
        let mut soft: Vec<PackageId> = Vec::new();
        let mut solver = Solver::new(self);
        loop {
            let chosen = round(&mut solver, &soft)?;
            let problem = solver.provider();
            let more = if problem.request.recommends && problem.request.dependencies {
                problem.recommended(&chosen, &soft)
            } else {
                Vec::new()
            };
            let missing = problem.missing_files.take();
            if !missing.is_empty() {
                return Err(Unsolved::Files(missing));
            }
            let broken = problem.broken(&chosen);
            if !broken.is_empty() {
                return Err(Unsolved::Broken(broken));
            }
            if more.is_empty() || soft.len() > ROUNDS_MAX * 10_000 {
                return Ok(problem.finish(chosen));
            }
            soft.extend(more);
        }
    }

    /// Returns the conditional dependencies of those chosen that do not hold. The solver learns late that a condition
    /// came true, and forgets it when it steps back behind that: then it has to be told in another way.
    fn broken(&self, chosen: &BTreeSet<PackageId>) -> Vec<Conditional> {
        let is_there = |set: &Set| set.iter().any(|id| chosen.contains(id));
        let mut broken = Vec::new();
        for (id, kind) in chosen.iter().flat_map(|id| [(*id, Kind::Requires), (*id, Kind::Conflicts)]) {
            if !self.request.dependencies {
                break;
            }
            for (clause, text) in self.needs(id, kind).unwrap_or_default() {
                if !is_there(&clause.any) && others(id, kind, &clause).iter().all(is_there) {
                    broken.push((id, text));
                }
            }
        }
        broken
    }

    /// Returns the packages that those chosen recommend, or that supplement them, and that were not tried yet.
    fn recommended(&self, chosen: &BTreeSet<PackageId>, tried: &[PackageId]) -> Vec<PackageId> {
        let is_new = |id: &PackageId| !chosen.contains(id) && !tried.contains(id);
        let mut more = Vec::new();
        let mut ordered: Vec<PackageId> = chosen.iter().copied().collect();
        ordered.sort_by_key(|id| self.universe.name(*id).to_owned());
        for id in ordered {
            for (clause, _) in self.needs(id, Kind::Recommends).unwrap_or_default() {
                if !clause.holds(chosen) {
                    more.extend(clause.any.first().copied().filter(is_new));
                }
            }
        }
        for id in self.universe.ids().filter(|id| is_new(id) && !self.unusable.contains_key(id)) {
            let supplements = &self.universe.package(id).supplements;
            let holds = |relation: &Relation| {
                let needs = self
                    .rich(relation)
                    .and_then(|rich| clauses(&rich, true, &|plain: &Plain| self.set(plain)));
                needs.is_ok_and(|needs| needs.iter().all(|clause| clause.holds(chosen)))
            };
            if supplements.iter().any(holds) && !self.obsoleted.contains(&id) {
                more.push(id);
            }
        }
        let mut seen = HashSet::new();
        more.retain(|id| seen.insert(*id));
        more
    }

    fn finish(&self, chosen: BTreeSet<PackageId>) -> Solution {
        let mut packages: Vec<PackageId> = chosen.iter().copied().collect();
        packages.sort_by_key(|id| self.universe.name(*id).to_owned());
        let why = self.reasons(&chosen);
        Solution { packages, why }
    }

    /// Walks from what was asked for to what that needs, so that each package has one reason, the nearest.
    fn reasons(&self, chosen: &BTreeSet<PackageId>) -> HashMap<PackageId, Reason> {
        let mut why = HashMap::new();
        let mut waiting = std::collections::VecDeque::new();
        for root in &self.roots {
            for id in root.candidates.iter().filter(|id| chosen.contains(id)).take(1) {
                if why.insert(*id, Reason::Asked(self.universe.name(*id).to_owned())).is_none() {
                    waiting.push_back(*id);
                }
            }
        }
        let first = waiting.front().map_or("", |id| self.universe.name(*id)).to_owned();
        while let Some(id) = waiting.pop_front() {
            for (relations, kind) in
                [(Kind::Requires, Dependency::Depends), (Kind::Recommends, Dependency::Recommends)]
            {
                for (clause, _) in self.needs(id, relations).unwrap_or_default() {
                    for needed in clause.any.iter().filter(|needed| chosen.contains(needed)) {
                        if !why.contains_key(needed) {
                            let by = self.universe.name(id).to_owned();
                            why.insert(*needed, Reason::Needed { by, kind });
                            waiting.push_back(*needed);
                        }
                    }
                }
            }
        }
        // What supplements others, nobody asks for by name.
        let supplement = Reason::Needed { by: first, kind: Dependency::Recommends };
        for id in chosen {
            why.entry(*id).or_insert_with(|| supplement.clone());
        }
        why
    }

    /// Tells the solver of a clause. What a package needs, it may be itself; against itself it never is.
    fn encode(
        &self,
        id: PackageId,
        kind: Kind,
        (clause, text): &(Clause, String),
        known: &mut KnownDependencies,
    ) {
        let others = others(id, kind, clause);
        if clause.any.contains(&id) || others.iter().any(Vec::is_empty) {
            return;
        }
        match (&clause.any[..], &others[..]) {
            ([], [only]) => known.constrains.extend(only.iter().map(|id| is_not(*id))),
            (any, others) if self.strict.contains(&(id, text.clone())) => {
                // One of these, or for each choice of one package per set, that one of those is away.
                let absences = choices(others).into_iter();
                known.requirements.extend(absences.map(|choice| {
                    let absent = choice.into_iter().map(|id| self.absence(id));
                    let any: Set = any.iter().copied().chain(absent).collect();
                    ConditionalRequirement::from(self.union(&any, text))
                }));
            }
            (any, others) => {
                let requirement = self.union(any, text);
                let condition = self.condition(others);
                known.requirements.push(ConditionalRequirement { condition, requirement });
            }
        }
    }

    /// Returns what the solver must know of a package; `Err` where it can't be read.
    pub(super) fn known(&self, id: PackageId) -> Result<KnownDependencies, String> {
        let mut known = KnownDependencies::default();
        let package = self.universe.package(id);
        let others = self.universe.named(self.universe.name(id)).iter().filter(|other| **other != id);
        known.constrains.extend(others.map(|other| is_not(*other)));
        if !self.request.dependencies {
            return Ok(known);
        }
        for kind in [Kind::Requires, Kind::Conflicts] {
            for clause in self.needs(id, kind)? {
                self.encode(id, kind, &clause, &mut known);
            }
        }
        for relation in &package.obsoletes {
            let obsolete = self.universe.named_within(&self.universe.plain(relation));
            known.constrains.extend(obsolete.into_iter().filter(|other| *other != id).map(is_not));
        }
        Ok(known)
    }

    fn requirements(&self) -> Vec<ConditionalRequirement> {
        self.roots.iter().map(|root| self.union(&root.candidates, &root.name).into()).collect()
    }
}

fn any(name: &str) -> Plain {
    Plain { name: name.to_owned(), sense: Sense::ANY, evr: Evr::default() }
}

/// Returns the packages whose place others of another name take.
fn obsoleted(universe: &Universe) -> HashSet<PackageId> {
    let mut all = HashSet::new();
    for id in universe.ids() {
        for relation in &universe.package(id).obsoletes {
            let names = universe.named_within(&universe.plain(relation)).into_iter();
            all.extend(names.filter(|other| universe.name(*other) != universe.name(id)));
        }
    }
    all
}

fn round(solver: &mut Solver<Problem<'_>>, soft: &[PackageId]) -> Result<BTreeSet<PackageId>, Unsolved> {
    let requirements = solver.provider().requirements();
    let soft: Vec<SolvableId> = soft.iter().map(|id| SolvableId::from_raw(id.0)).collect();
    let packages = solver.provider().universe.len() as u32;
    let problem = resolvo::Problem::new().requirements(requirements).soft_requirements(soft);
    match solver.solve(problem) {
        Ok(solvables) => {
            let numbers = solvables.into_iter().map(|solvable| solvable.into_raw());
            Ok(numbers.filter(|number| *number < packages).map(PackageId).collect())
        }
        Err(UnsolvableOrCancelled::Cancelled(_)) => Err(Unsolved::Error(crate::base::Cancelled.into())),
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
            let missing = solver.provider().missing_files.take();
            if !missing.is_empty() {
                return Err(Unsolved::Files(missing));
            }
            let sentences = explain::sentences(&conflict, solver);
            Err(RepositoryError::Unsolvable { sentences }.into())
        }
    }
}

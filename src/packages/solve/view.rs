//! What may be chosen: the universe as the rules of a problem leave it.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::rc::Rc;

use super::super::deb::index::MultiArch;
use super::super::deb::relation::{self, Atom, Qualifier, RelationError};
use super::super::deb::version;
use super::super::request::Root;
use super::super::universe::{NameId, PackageId, Provision, Universe};
use super::explain::{self, DeadEnd};
use super::state::Reason;
use super::{Kind, Problem};

/// Marks a slot whose best package has not been looked for.
const UNKNOWN: u32 = u32::MAX;
/// Marks a slot from which nothing may be chosen.
const EMPTY: u32 = u32::MAX - 1;

/// Numbers the place that one package can take: a name on one architecture.
pub(super) type Slot = usize;

/// Says why a package may not be chosen.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Bar {
    Excluded,
    Pinned(String),
    Held(String),
    Version(String),
    Suite(String),
    Priority(i32),
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bar::Excluded => f.write_str("is excluded by the recipe"),
            Bar::Pinned(pattern) => write!(f, "is not the pinned version {pattern}"),
            Bar::Held(version) => write!(f, "is not the held version {version}"),
            Bar::Version(pattern) => write!(f, "is not the version {pattern} that the recipe asks for"),
            Bar::Suite(suite) => write!(f, "is not from {suite}, as the recipe asks"),
            Bar::Priority(priority) => write!(f, "comes from a source of priority {priority}"),
        }
    }
}

/// What the rules say of one name.
#[derive(Default)]
struct Limits {
    is_excluded: bool,
    pin: Option<String>,
    held: Option<String>,
    /// Architecture, pattern of the version, suite.
    asked: Vec<(usize, Option<String>, Option<String>)>,
}

/// One alternative of a relation, with the number of its name; a name that nobody knows has none.
pub(super) struct Link<'u> {
    pub atom: Atom<'u>,
    pub name: Option<NameId>,
}

/// A relation that must be satisfied, or should be.
pub(super) struct Need<'u> {
    pub kind: Kind,
    pub text: &'u str,
    pub links: Vec<Link<'u>>,
}

impl Need<'_> {
    pub fn is_soft(&self) -> bool {
        self.kind == Kind::Recommends
    }
}

/// A relation that must not be satisfied.
pub(super) struct Negative<'u> {
    /// `Breaks`, not `Conflicts`.
    pub is_break: bool,
    pub text: &'u str,
    pub link: Link<'u>,
}

/// What a package says about others.
#[derive(Default)]
pub(super) struct Needs<'u> {
    pub needs: Vec<Need<'u>>,
    pub negatives: Vec<Negative<'u>>,
    /// The virtual packages that it provides.
    pub provides: Vec<(NameId, Option<&'u str>)>,
    /// Why it can't be installed at all: a field is malformed.
    pub malformed: Option<String>,
}

/// Something that the solution must hold: one of some packages, best first.
pub(super) struct Wish<'u> {
    pub reason: Reason<'u>,
    /// As the recipe spells it.
    pub text: &'u str,
    /// The best packages; none where all are barred.
    pub options: Vec<PackageId>,
    /// All packages, with those that may not be chosen.
    pub targets: Vec<PackageId>,
}

/// The universe as the rules of a problem leave it.
pub(super) struct View<'u> {
    pub universe: &'u Universe,
    recommends: bool,
    limits: HashMap<NameId, Limits>,
    locked: HashMap<Slot, String>,
    best: RefCell<Vec<u32>>,
    needs: RefCell<HashMap<PackageId, Rc<Needs<'u>>>>,
}

impl<'u> View<'u> {
    pub fn new(universe: &'u Universe, problem: &'u Problem) -> Self {
        let slots = universe.names_count() * universe.architectures().len();
        let mut view = View {
            universe,
            recommends: problem.rules.recommends,
            limits: HashMap::new(),
            locked: HashMap::new(),
            best: RefCell::new(vec![UNKNOWN; slots]),
            needs: RefCell::default(),
        };
        view.limit(problem);
        for ((name, architecture), version) in &problem.locked {
            let machine = universe.architecture_index(architecture);
            if let (Some(name), Some(machine)) = (universe.name_id(name), machine) {
                view.locked.insert(view.slot(name, machine), version.clone());
            }
        }
        view
    }

    fn limit(&mut self, problem: &Problem) {
        let rules = &problem.rules;
        for name in &rules.exclude {
            self.limits_of(name).is_excluded = true;
        }
        for (name, pattern) in &rules.pins {
            self.limits_of(name).pin = Some(pattern.clone());
        }
        for name in &rules.holds {
            let locked = problem.locked.iter().find(|((locked, _), _)| locked == name);
            self.limits_of(name).held = locked.map(|(_, version)| version.clone());
        }
        for root in problem.roots.iter().filter(|root| root.version.is_some() || root.suite.is_some()) {
            let (name, architecture) = root.split();
            let machine =
                architecture.map_or(Some(0), |architecture| self.universe.architecture_index(architecture));
            let asked = machine.map(|machine| (machine, root.version.clone(), root.suite.clone()));
            self.limits_of(name).asked.extend(asked);
        }
    }

    fn limits_of(&mut self, name: &str) -> &mut Limits {
        // Names that are not there share a number at which nobody looks.
        self.limits.entry(self.universe.name_id(name).unwrap_or(NameId::MAX)).or_default()
    }

    pub fn slot(&self, name: NameId, machine: usize) -> Slot {
        name as usize * self.universe.architectures().len() + machine
    }

    pub fn slot_of(&self, id: PackageId) -> Slot {
        self.slot(self.universe.name_of(id), self.universe.machine(id))
    }

    pub fn slots_count(&self) -> usize {
        self.best.borrow().len()
    }

    /// Says why a package may not be chosen, if so.
    pub fn bar(&self, id: PackageId) -> Option<Bar> {
        let universe = self.universe;
        let priority = universe.priority(id);
        if priority < 0 {
            return Some(Bar::Priority(priority));
        }
        let limits = self.limits.get(&universe.name_of(id))?;
        let version = universe.version(id);
        if limits.is_excluded {
            return Some(Bar::Excluded);
        }
        if let Some(held) = limits.held.as_ref().filter(|&held| held != version) {
            return Some(Bar::Held(held.clone()));
        }
        if let Some(pin) = limits.pin.as_ref().filter(|pin| !version::matches(pin, version)) {
            return Some(Bar::Pinned(pin.clone()));
        }
        limits.asked.iter().filter(|asked| asked.0 == universe.machine(id)).find_map(|(_, pattern, suite)| {
            let pattern = pattern.as_ref().filter(|pattern| !version::matches(pattern, version));
            let suite = suite.as_ref().filter(|suite| universe.suite(id) != Some(suite));
            pattern.cloned().map(Bar::Version).or_else(|| suite.cloned().map(Bar::Suite))
        })
    }

    /// Returns the packages of a slot that may be chosen, best first: the locked version, then by priority, then by
    /// version.
    pub fn choices(&self, name: NameId, machine: usize) -> Vec<PackageId> {
        let universe = self.universe;
        let own = universe.of_name(name).filter(|id| universe.machine(*id) == machine);
        let mut choices: Vec<PackageId> = own.filter(|id| self.bar(*id).is_none()).collect();
        universe.sort(&mut choices);
        if let Some(locked) = self.locked.get(&self.slot(name, machine)) {
            choices.sort_by_key(|id| universe.version(*id) != locked);
        }
        choices
    }

    /// Returns the best package of a slot.
    pub fn best(&self, name: NameId, machine: usize) -> Option<PackageId> {
        let slot = self.slot(name, machine);
        let known = self.best.borrow()[slot];
        if known == UNKNOWN {
            let best = self.choices(name, machine).first().copied();
            self.best.borrow_mut()[slot] = best.map_or(EMPTY, |id| id.0);
            return best;
        }
        (known != EMPTY).then_some(PackageId(known))
    }

    pub fn is_best(&self, id: PackageId) -> bool {
        self.best(self.universe.name_of(id), self.universe.machine(id)) == Some(id)
    }

    /// Returns what a package says about others. Read once, when first asked for.
    pub fn needs(&self, id: PackageId) -> Rc<Needs<'u>> {
        if let Some(needs) = self.needs.borrow().get(&id) {
            return needs.clone();
        }
        let needs = Rc::new(self.read(id).unwrap_or_else(|(field, error)| Needs {
            malformed: Some(format!("has a malformed field {field}: {error}")),
            ..Needs::default()
        }));
        self.needs.borrow_mut().insert(id, needs.clone());
        needs
    }

    fn read(&self, id: PackageId) -> Result<Needs<'u>, (&'static str, RelationError)> {
        let universe = self.universe;
        let fields = universe.relations(id);
        let machine = universe.architectures()[universe.machine(id)].as_str();
        let link = |atom: Atom<'u>| Link { name: universe.name_id(atom.name), atom };
        let mut needs = Needs { provides: universe.provided(id), ..Needs::default() };
        let positive = [
            (Kind::PreDepends, "Pre-Depends", fields.pre_depends),
            (Kind::Depends, "Depends", fields.depends),
            (Kind::Recommends, "Recommends", if self.recommends { fields.recommends } else { "" }),
        ];
        for (kind, field, text) in positive {
            for group in relation::parse(text, machine).map_err(|error| (field, error))? {
                let links = group.atoms.into_iter().map(link).collect();
                needs.needs.push(Need { kind, text: group.text, links });
            }
        }
        for (is_break, field, text) in
            [(false, "Conflicts", fields.conflicts), (true, "Breaks", fields.breaks)]
        {
            for group in relation::parse(text, machine).map_err(|error| (field, error))? {
                let text = group.text;
                needs.negatives.extend(group.atoms.into_iter().map(|atom| Negative {
                    is_break,
                    text,
                    link: link(atom),
                }));
            }
        }
        Ok(needs)
    }

    /// Tells whether a package of the named name serves a relation of a package on some machine.
    pub fn serves(&self, link: &Link<'_>, machine: usize, id: PackageId) -> bool {
        self.fits_machine(link, machine, id) && link.atom.accepts(self.universe.version(id))
    }

    /// Tells whether what a package provides serves a relation of a package on some machine.
    pub fn serves_virtually(&self, link: &Link<'_>, machine: usize, provision: Provision) -> bool {
        let version = || self.universe.provided_version(provision);
        self.fits_machine(link, machine, provision.package)
            && (link.atom.version.is_none() || version().is_some_and(|version| link.atom.accepts(version)))
    }

    fn fits_machine(&self, link: &Link<'_>, machine: usize, id: PackageId) -> bool {
        let universe = self.universe;
        let own = universe.machine(id);
        match link.atom.qualifier {
            Qualifier::Own => own == machine || universe.multi_arch(id) == MultiArch::Foreign,
            Qualifier::Any => universe.multi_arch(id) == MultiArch::Allowed,
            Qualifier::Is(architecture) => universe.architecture_index(architecture) == Some(own),
        }
    }

    /// Tells whether a package must not be installed beside the one that says `negative`.
    pub fn strikes(&self, owner: PackageId, negative: &Negative<'_>, id: PackageId) -> bool {
        let (universe, atom) = (self.universe, &negative.link.atom);
        let machine = universe.machine(id);
        let is_meant = match atom.qualifier {
            Qualifier::Own | Qualifier::Any => true,
            Qualifier::Is(architecture) => universe.architecture_index(architecture) == Some(machine),
        };
        if !is_meant || negative.link.name.is_none() || universe.name_of(owner) == universe.name_of(id) {
            return false;
        }
        if negative.link.name == Some(universe.name_of(id)) && atom.accepts(universe.version(id)) {
            return true;
        }
        let fits = |version: Option<&str>| match version {
            Some(version) => atom.accepts(version),
            None => atom.version.is_none(),
        };
        self.needs(id)
            .provides
            .iter()
            .any(|(name, version)| Some(*name) == negative.link.name && fits(*version))
    }

    /// Tells whether two packages of one name can be installed side by side, on their machines.
    pub fn are_siblings(&self, a: PackageId, b: PackageId) -> bool {
        let universe = self.universe;
        let is_same = |id| universe.multi_arch(id) == MultiArch::Same;
        universe.machine(a) != universe.machine(b)
            && is_same(a)
            && is_same(b)
            && version::compare(universe.version(a), universe.version(b)).is_eq()
    }

    /// Returns the best packages of an alternative's own name that satisfy it: the native one first.
    pub fn real(&self, link: &Link<'_>, machine: usize) -> Vec<PackageId> {
        let Some(name) = link.name else { return Vec::new() };
        let best = (0..self.universe.architectures().len()).filter_map(|own| self.best(name, own));
        best.filter(|id| self.serves(link, machine, *id)).collect()
    }

    /// Returns the best packages that provide an alternative, in apt's order of preference.
    pub fn provided(&self, link: &Link<'_>, machine: usize) -> Vec<PackageId> {
        let Some(name) = link.name else { return Vec::new() };
        let serves = |provision: &Provision| self.serves_virtually(link, machine, *provision);
        let provided = self.universe.providers(name).filter(serves).map(|provision| provision.package);
        let mut provided: Vec<PackageId> = provided.filter(|id| self.is_best(*id)).collect();
        self.sort_providers(&mut provided);
        provided
    }

    /// Sorts by what packages say of themselves; those that say the same by who was mentioned last.
    fn sort_providers(&self, providers: &mut Vec<PackageId>) {
        let universe = self.universe;
        providers.sort_by_key(|id| universe.rank(*id));
        if providers.windows(2).any(|pair| universe.rank(pair[0]) == universe.rank(pair[1])) {
            let mentions = universe.mentions(providers);
            providers.sort_by_key(|id| (universe.rank(*id), Reverse(mentions.get(id).copied()), *id));
        }
        providers.dedup();
    }

    /// Returns every package that satisfies one alternative, also those that may not be chosen: real ones, then
    /// providers.
    pub fn targets(&self, link: &Link<'_>, machine: usize) -> Vec<PackageId> {
        let Some(name) = link.name else { return Vec::new() };
        let mut targets: Vec<PackageId> =
            self.universe.of_name(name).filter(|id| self.serves(link, machine, *id)).collect();
        let serves = |provision: &Provision| self.serves_virtually(link, machine, *provision);
        let provided = self.universe.providers(name).filter(serves).map(|provision| provision.package);
        let mut provided: Vec<PackageId> = provided.collect();
        self.sort_providers(&mut provided);
        targets.extend(provided.into_iter().filter(|id| self.universe.name_of(*id) != name));
        targets
    }

    /// Returns what the solution must hold, or why some of it can't be understood.
    pub fn wishes(&self, problem: &'u Problem) -> Result<Vec<Wish<'u>>, Vec<DeadEnd>> {
        let mut dead_ends = Vec::new();
        let mut wishes = Vec::new();
        for root in &problem.roots {
            match self.wish(root) {
                Ok(wish) => wishes.push(wish),
                Err(dead_end) => dead_ends.push(dead_end),
            }
        }
        if problem.rules.essential {
            wishes.extend(self.essentials());
        }
        if dead_ends.is_empty() { Ok(wishes) } else { Err(dead_ends) }
    }

    fn wish(&self, root: &'u Root) -> Result<Wish<'u>, DeadEnd> {
        let universe = self.universe;
        let (name, architecture) = root.split();
        let machines: Vec<usize> = match architecture {
            Some(architecture) => universe.architecture_index(architecture).into_iter().collect(),
            None => (0..universe.architectures().len()).collect(),
        };
        let (reason, text) = (Reason::Asked(&root.name), root.name.as_str());
        let id = universe.name_id(name).filter(|_| !machines.is_empty());
        let id = id.ok_or_else(|| explain::unknown(universe, &root.name))?;
        let on = |machine| {
            universe.of_name(id).filter(|own| universe.machine(*own) == machine).collect::<Vec<_>>()
        };
        let real = machines.iter().map(|&machine| (machine, on(machine))).find(|real| !real.1.is_empty());
        if let Some((machine, targets)) = real {
            let options = self.best(id, machine).into_iter().collect();
            return Ok(Wish { reason, text, options, targets });
        }
        let provided = universe.providers(id).map(|provision| provision.package);
        let mut targets: Vec<PackageId> =
            provided.filter(|own| machines.contains(&universe.machine(*own))).collect();
        self.sort_providers(&mut targets);
        let options: Vec<PackageId> = targets.iter().copied().filter(|own| self.is_best(*own)).collect();
        match options.len() {
            0 if targets.is_empty() => Err(explain::unknown(universe, &root.name)),
            0 | 1 => Ok(Wish { reason, text, options, targets }),
            _ => Err(explain::ambiguous(universe, &root.name, &options)),
        }
    }

    fn essentials(&self) -> Vec<Wish<'u>> {
        let universe = self.universe;
        let essential = universe.ids().filter(|id| universe.is_essential(*id) && universe.machine(*id) == 0);
        let best = essential.filter(|id| self.is_best(*id));
        let by_name: BTreeMap<&str, PackageId> = best.map(|id| (universe.name(id), id)).collect();
        let wish = |(text, id)| {
            let targets =
                universe.of_name(universe.name_of(id)).filter(|id| universe.machine(*id) == 0).collect();
            Wish { reason: Reason::Essential, text, options: vec![id], targets }
        };
        by_name.into_iter().map(wish).collect()
    }
}

//! Sentences for people: who wants what, and what would resolve it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::super::deb::relation;
use super::super::universe::{PackageId, Universe, did_you_mean};
use super::state::Reason;
use super::view::{Bar, View, Wish};

/// Most sentences on the causes of one dead end.
const CAUSES_MAX: usize = 20;

/// Says why a problem has no solution: one or several dead ends that have nothing to do with each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsolvable {
    pub dead_ends: Vec<DeadEnd>,
}

/// Says why some roots can't be installed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadEnd {
    /// The roots that take part, as the recipe names them.
    pub roots: Vec<String>,
    /// Who wants what, a sentence each, from the roots on.
    pub causes: Vec<String>,
    /// What would resolve it, a sentence each.
    pub remedies: Vec<String>,
}

impl fmt::Display for Unsolvable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, dead_end) in self.dead_ends.iter().enumerate() {
            write!(f, "{}{dead_end}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Unsolvable {}

impl fmt::Display for DeadEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} can't be installed:", listed(&self.roots, "and"))?;
        for sentence in self.causes.iter().chain(&self.remedies) {
            write!(f, "\n  {sentence}")?;
        }
        Ok(())
    }
}

/// Lists words: `a, b and c`.
pub(super) fn listed(words: &[String], last: &str) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., end] => format!("{} {last} {end}", rest.join(", ")),
    }
}

/// Explains a root that nothing in the universe has the name of.
pub(super) fn unknown(universe: &Universe, root: &str) -> DeadEnd {
    let name = root.split(':').next().unwrap_or(root);
    let architectures = universe.architectures().to_vec();
    let refused = universe
        .refused()
        .iter()
        .map(ToString::to_string)
        .find(|text| text.strip_prefix("package ").and_then(|rest| rest.split(':').next()) == Some(name));
    let similar = universe.similar(name);
    let cause =
        format!("there is no package {root} for {}{}.", listed(&architectures, "or"), did_you_mean(&similar));
    let causes =
        [cause.replace("?.", "?")].into_iter().chain(refused.map(|refused| format!("{refused}."))).collect();
    DeadEnd { roots: vec![root.to_owned()], causes, remedies: Vec::new() }
}

/// Explains a root that names a virtual package of several providers.
pub(super) fn ambiguous(universe: &Universe, root: &str, options: &[PackageId]) -> DeadEnd {
    let names: Vec<String> = options.iter().map(|id| universe.name(*id).to_owned()).collect();
    DeadEnd {
        roots: vec![root.to_owned()],
        causes: vec![format!("{root} is a virtual package, which {} packages provide.", names.len())],
        remedies: vec![format!("Name one of them: {}.", listed(&names, "or"))],
    }
}

/// Explains a root of which every package is barred.
pub(super) fn barred(view: &View<'_>, wish: &Wish<'_>) -> DeadEnd {
    let universe = view.universe;
    let cause = |id: &PackageId| {
        view.bar(*id).map(|bar| format!("{} {} {bar}.", universe.name(*id), universe.version(*id)))
    };
    let causes = wish.targets.iter().filter_map(cause).collect();
    DeadEnd { roots: vec![wish.text.to_owned()], causes, remedies: Vec::new() }
}

/// A party of a proof.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Node {
    Root,
    Package(PackageId),
    /// There is no such package.
    Nothing,
}

/// A step of a proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Edge<'u> {
    /// A wish, by its number, can be had by a package.
    Wishes { number: usize, to: Node },
    /// A relation of a package can be had by another.
    Needs { from: Node, text: &'u str, to: Node },
    /// A package must not be beside another.
    Strikes { from: Node, is_break: bool, text: &'u str, to: Node },
    /// A package may not be chosen.
    Barred { from: Node },
    /// Two packages take the same place.
    Twice { from: Node, to: Node },
}

/// A proof that there is no solution.
#[derive(Default)]
pub(super) struct Core<'u> {
    pub edges: Vec<Edge<'u>>,
}

impl<'u> Core<'u> {
    /// Returns the numbers of the wishes that take part.
    pub fn wishes(&self) -> BTreeSet<usize> {
        let number = |edge: &Edge<'u>| match edge {
            Edge::Wishes { number, .. } => Some(*number),
            _ => None,
        };
        self.edges.iter().filter_map(number).collect()
    }

    /// Returns the packages in the order in which the wishes lead to them, level by level.
    fn packages(&self) -> Vec<PackageId> {
        let mut order: Vec<PackageId> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut add = |node: Node, order: &mut Vec<PackageId>| match node {
            Node::Package(id) if seen.insert(id) => order.push(id),
            _ => {}
        };
        for number in self.wishes() {
            for edge in &self.edges {
                if let Edge::Wishes { number: own, to } = *edge
                    && own == number
                {
                    add(to, &mut order);
                }
            }
        }
        let mut next = 0;
        while let Some(&id) = order.get(next) {
            next += 1;
            for edge in &self.edges {
                if let Edge::Needs { from: Node::Package(own), to, .. } = *edge
                    && own == id
                {
                    add(to, &mut order);
                }
            }
        }
        order
    }

    /// Returns by which packages a package's relations can be had, each relation once.
    fn needs(&self, id: PackageId) -> Vec<(&'u str, Vec<PackageId>)> {
        let mut needs: Vec<(&'u str, Vec<PackageId>)> = Vec::new();
        for edge in &self.edges {
            let Edge::Needs { from: Node::Package(own), text, to } = *edge else { continue };
            if own != id {
                continue;
            }
            let index = needs.iter().position(|need| need.0 == text).unwrap_or(needs.len());
            if index == needs.len() {
                needs.push((text, Vec::new()));
            }
            if let Node::Package(target) = to
                && !needs[index].1.contains(&target)
            {
                needs[index].1.push(target);
            }
        }
        needs
    }

    /// Returns what a package must not be beside: the relation, whether it breaks, and the packages struck.
    fn strikes(&self, id: PackageId) -> BTreeMap<(&'u str, bool), BTreeSet<PackageId>> {
        let mut strikes: BTreeMap<(&'u str, bool), BTreeSet<PackageId>> = BTreeMap::new();
        for edge in &self.edges {
            if let Edge::Strikes { from: Node::Package(own), is_break, text, to: Node::Package(to) } = *edge
                && own == id
            {
                strikes.entry((text, is_break)).or_default().insert(to);
            }
        }
        strikes
    }

    fn is_barred(&self, id: PackageId) -> bool {
        self.edges.contains(&Edge::Barred { from: Node::Package(id) })
    }

    /// Returns the packages whose place another one takes.
    fn twice(&self, id: PackageId) -> Vec<PackageId> {
        let other = |edge: &Edge<'u>| match *edge {
            Edge::Twice { from: Node::Package(from), to: Node::Package(to) } if from == id && to != id => {
                Some(to)
            }
            _ => None,
        };
        self.edges.iter().filter_map(other).collect()
    }
}

/// Turns a proof into sentences.
pub(super) fn sentences<'u>(view: &View<'u>, wishes: &[&Wish<'u>], core: &Core<'u>) -> DeadEnd {
    let mut writer = Writer { view, wishes, core, causes: Vec::new(), remedies: Vec::new() };
    let numbers = core.wishes();
    for &number in &numbers {
        writer.wish(number);
    }
    for id in core.packages() {
        writer.package(id);
    }
    let has_conflict =
        core.edges.iter().any(|edge| matches!(edge, Edge::Strikes { .. } | Edge::Twice { .. }));
    let asked: Vec<&&Wish<'_>> =
        numbers.iter().filter_map(|number| wishes.get(*number)).filter(|wish| !is_essential(wish)).collect();
    let roots: Vec<String> = match asked[..] {
        [] => {
            numbers.iter().filter_map(|number| wishes.get(*number)).map(|wish| wish.text.to_owned()).collect()
        }
        _ => asked.iter().map(|wish| wish.text.to_owned()).collect(),
    };
    if has_conflict && !asked.is_empty() {
        writer.remedy(format!("Leave out {}.", listed(&roots, "or")));
    }
    let Writer { mut causes, remedies, .. } = writer;
    if causes.len() > CAUSES_MAX {
        let more = causes.len() - CAUSES_MAX;
        causes.truncate(CAUSES_MAX);
        causes.push(format!("{more} more relations take part."));
    }
    DeadEnd { roots, causes, remedies }
}

fn is_essential(wish: &Wish<'_>) -> bool {
    matches!(wish.reason, Reason::Essential)
}

struct Writer<'a, 'u> {
    view: &'a View<'u>,
    wishes: &'a [&'a Wish<'u>],
    core: &'a Core<'u>,
    causes: Vec<String>,
    remedies: Vec<String>,
}

impl Writer<'_, '_> {
    fn cause(&mut self, sentence: String) {
        if !self.causes.contains(&sentence) {
            self.causes.push(sentence);
        }
    }

    fn remedy(&mut self, sentence: String) {
        if !self.remedies.contains(&sentence) {
            self.remedies.push(sentence);
        }
    }

    /// Says what is wrong with a wish itself.
    fn wish(&mut self, number: usize) {
        let Some(wish) = self.wishes.get(number) else { return };
        let barred: Vec<PackageId> =
            wish.targets.iter().copied().filter(|id| self.core.is_barred(*id)).collect();
        if wish.options.is_empty() {
            for id in barred {
                let sentence = format!("{} is asked for, but {}.", wish.text, self.barred(id));
                self.cause(sentence);
            }
        }
    }

    /// Says what a package needs and does not suffer, as far as it takes part.
    fn package(&mut self, id: PackageId) {
        if self.view.bar(id).is_some() {
            return;
        }
        let name = self.label(id);
        if self.core.is_barred(id) {
            let sentence = format!("{}.", self.barred(id));
            self.cause(sentence);
        }
        for (text, targets) in self.core.needs(id) {
            let sentence = format!("{name} needs {text}{}.", self.outcome(text, &targets));
            self.cause(sentence);
        }
        for ((text, is_break), struck) in self.core.strikes(id) {
            let verb = if is_break { "breaks" } else { "conflicts with" };
            let others: Vec<String> = struck.iter().map(|id| self.shown(*id)).collect();
            let sentence = match others.iter().all(|other| text.starts_with(other.as_str())) {
                true => format!("{name} {verb} {text}."),
                false => format!("{name} {verb} {text}, which is {}.", listed(&others, "or")),
            };
            self.cause(sentence);
        }
        for other in self.core.twice(id) {
            let (first, second) = (self.versioned(id.min(other)), self.versioned(id.max(other)));
            self.cause(format!("{first} and {second} can't be installed side by side."));
        }
    }

    /// Says how a relation fares: nothing satisfies it, or only what may not be chosen, or packages that are
    /// spoken of elsewhere.
    fn outcome(&mut self, text: &str, targets: &[PackageId]) -> String {
        let open: Vec<PackageId> =
            targets.iter().copied().filter(|id| self.view.bar(*id).is_none()).collect();
        if targets.is_empty() {
            return self.missing(text);
        }
        if open.is_empty() {
            let barred: Vec<String> = targets.iter().map(|id| self.barred(*id)).collect();
            return format!(", but {}", listed(&barred, "and"));
        }
        let is_named = |id: &PackageId| {
            let name = self.view.universe.name(*id);
            relation::parse(text, "").is_ok_and(|groups| {
                groups.iter().flat_map(|group| &group.atoms).any(|atom| atom.name == name)
            })
        };
        if open.iter().all(is_named) {
            return String::new();
        }
        let mut names: Vec<String> = open.iter().map(|id| self.shown(*id)).collect();
        names.dedup();
        format!(", which is {}", listed(&names, "or"))
    }

    /// Says what there is of the names of a relation that nothing satisfies.
    fn missing(&mut self, text: &str) -> String {
        let universe = self.view.universe;
        let groups = relation::parse(text, universe.architectures()[0].as_str()).unwrap_or_default();
        let names: Vec<&str> = groups.iter().flat_map(|group| &group.atoms).map(|atom| atom.name).collect();
        let mut there = Vec::new();
        for name in &names {
            let found = universe.find(name, None);
            there.extend(found.iter().map(|id| self.versioned(*id)));
        }
        there.dedup();
        self.remedy(format!("Add a source that has {}.", text));
        match there.is_empty() {
            true => ", which no source has".to_owned(),
            false => format!(", but there is only {}", listed(&there, "and")),
        }
    }

    /// Says why a package may not be chosen, and what would change that.
    fn barred(&mut self, id: PackageId) -> String {
        let universe = self.view.universe;
        let (name, version) = (self.shown(id), universe.version(id));
        let Some(bar) = self.view.bar(id) else {
            let malformed = self.view.needs(id).malformed.clone();
            return format!("{name} {version} {}", malformed.unwrap_or_else(|| "can't be chosen".to_owned()));
        };
        self.remedy(match bar {
            Bar::Excluded => format!("Take {name} out of `exclude`."),
            Bar::Pinned(_) => format!("Loosen the pin of {name}."),
            Bar::Held(_) => format!("Take {name} out of `holds`."),
            Bar::Version(_) => format!("Ask for another version of {name}."),
            Bar::Suite(_) => format!("Ask for {name} without its suite."),
            Bar::Priority(_) => format!("Give the source of {name} {version} a priority above 0."),
        });
        format!("{name} {version} {bar}")
    }

    /// Names a package, with its architecture where that is not the native one.
    fn shown(&self, id: PackageId) -> String {
        let universe = self.view.universe;
        match universe.machine(id) {
            0 => universe.name(id).to_owned(),
            machine => format!("{}:{}", universe.name(id), universe.architectures()[machine]),
        }
    }

    fn versioned(&self, id: PackageId) -> String {
        format!("{} {}", self.shown(id), self.view.universe.version(id))
    }

    /// Names a package with its version, and says whether it was asked for.
    fn label(&self, id: PackageId) -> String {
        let wish = self
            .core
            .wishes()
            .into_iter()
            .filter_map(|number| self.wishes.get(number))
            .find(|wish| wish.targets.contains(&id));
        let role = wish.map_or("", |wish| if is_essential(wish) { " (essential)" } else { " (asked for)" });
        format!("{}{role}", self.versioned(id))
    }
}

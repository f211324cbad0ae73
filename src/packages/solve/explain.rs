//! Sentences for people: who wants what, and what would resolve it.

use std::fmt;

use super::super::universe::{PackageId, Universe, did_you_mean};
use super::view::{View, Wish};

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

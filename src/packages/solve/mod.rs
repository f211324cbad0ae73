//! Which packages are installed together: the same set that apt would choose on an empty machine.
//!
//! In: a [`Universe`], a [`Problem`]. Out: a [`Solution`], or sentences that say why there is none.
//!
//! The way to it is apt's: all roots are taken at once; then what each needs, depth first, pre-dependencies before
//! dependencies, in the order of the fields; what is satisfied is passed over; of alternatives the first one
//! that can be had ([`greedy`]). Only best versions are looked at. Where that ends dead, a complete solver tries
//! every version with the same preferences ([`complete`]); and where even that fails, its proof becomes
//! sentences ([`explain`]).
//!
//! Always true
//! - A solution satisfies every relation of every package in it, and no two of its packages conflict.
//! - It is a function of universe and problem: no clock, no threads, no order of a hash table.
//! - Time is bounded: a package that could not be had is not tried again in the same attempt.
//!
//! Read first: [`solve`], then [`view`], which says what may be chosen, and [`state`], which says what is.

mod complete;
mod explain;
mod greedy;
mod state;
mod view;

use std::collections::BTreeMap;

use self::state::{Reason, State};
use self::view::{View, Wish};
use super::request::{Root, Rules};
use super::universe::{PackageId, Universe};

pub use self::explain::{DeadEnd, Unsolvable};

/// Says what to install.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Problem {
    pub roots: Vec<Root>,
    pub rules: Rules,
    /// Versions to keep where possible, by name and architecture (`all` for packages of every architecture).
    pub locked: BTreeMap<(String, String), String>,
}

/// Holds the packages to install, sorted by name and architecture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Solution {
    pub packages: Vec<Chosen>,
    /// What a person may want to know: choices that the archive's order made.
    pub notes: Vec<String>,
}

/// Names a package to install, and why it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chosen {
    pub id: PackageId,
    pub why: Why,
}

/// Says why a package is installed: the first reason in the order of choosing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// It was asked for, by this name.
    Asked(String),
    /// It is marked `Essential: yes`.
    Essential,
    /// Another package needs it.
    Needed {
        /// Name of the package.
        by: String,
        relation: Kind,
        /// The relation as the index writes it: `libc6 (>= 2.36)`.
        text: String,
    },
}

/// Names the fields by which a package needs another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    PreDepends,
    Depends,
    Recommends,
}

/// Chooses the packages to install. Costs some milliseconds for a thousand packages.
pub fn solve(universe: &Universe, problem: &Problem) -> Result<Solution, Unsolvable> {
    let view = View::new(universe, problem);
    let wishes = view.wishes(problem).map_err(|dead_ends| Unsolvable { dead_ends })?;
    if !problem.rules.dependencies {
        return alone(&view, &wishes);
    }
    match greedy::run(&view, &wishes) {
        Some(state) => Ok(solution(&state)),
        None => complete::run(&view, &wishes).map(|state| solution(&state)),
    }
}

/// Takes the wishes and nothing else, whatever they need.
fn alone<'u>(view: &View<'u>, wishes: &[Wish<'u>]) -> Result<Solution, Unsolvable> {
    let mut state = State::new(view);
    let mut dead_ends = Vec::new();
    for wish in wishes {
        match wish.options.first() {
            Some(&id) if !state.has(id) => state.take(id, wish.reason),
            Some(_) => {}
            None => dead_ends.push(explain::barred(view, wish)),
        }
    }
    if dead_ends.is_empty() { Ok(solution(&state)) } else { Err(Unsolvable { dead_ends }) }
}

fn solution(state: &State<'_, '_>) -> Solution {
    let universe = state.view.universe;
    let mut packages: Vec<Chosen> =
        state.taken().iter().map(|&(id, reason)| Chosen { id, why: why(universe, reason) }).collect();
    packages.sort_by_key(|chosen| (universe.name(chosen.id), universe.architecture(chosen.id)));
    Solution { packages, notes: state.notes() }
}

fn why(universe: &Universe, reason: Reason<'_>) -> Why {
    match reason {
        Reason::Asked(name) => Why::Asked(name.to_owned()),
        Reason::Essential => Why::Essential,
        Reason::Needed { by, kind, text, .. } => {
            Why::Needed { by: universe.name(by).to_owned(), relation: kind, text: text.to_owned() }
        }
    }
}

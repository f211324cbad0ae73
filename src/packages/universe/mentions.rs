//! The order in which names are first mentioned. apt numbers packages so, and where nothing else tells providers of
//! a virtual package apart, the one that was mentioned last wins.

use std::ops::Range;

use super::super::deb::index;
use super::{NameId, PackageId, Universe};
use crate::base::parallel::Workers;

/// The fields that mention packages, in the order in which they count.
const FIELDS: [&str; 9] = [
    "Pre-Depends",
    "Depends",
    "Conflicts",
    "Breaks",
    "Recommends",
    "Suggests",
    "Replaces",
    "Enhances",
    "Provides",
];

/// Packages that are read before the next look whether that was enough, and at a time by one worker.
const BLOCK: u32 = 4096;
const PIECE: u32 = 256;
/// Not mentioned in what was read so far.
const UNMENTIONED: u32 = u32::MAX;

/// How many names were mentioned before each, as far as the indexes had to be read for it.
#[derive(Default)]
pub(super) struct Mentions {
    ranks: Vec<u32>,
    next: u32,
    read: u32,
}

impl Mentions {
    /// Returns the ranks of names, to be compared among these only. Reads on until all but one of them are
    /// mentioned, which then comes last; no package is ever read twice.
    pub fn of(&mut self, universe: &Universe, names: &[NameId], workers: &Workers) -> Vec<u32> {
        self.ranks.resize(universe.names_count(), UNMENTIONED);
        while names.iter().filter(|name| self.ranks[**name as usize] == UNMENTIONED).count() > 1
            && (self.read as usize) < universe.len()
        {
            let end = (self.read + BLOCK).min(universe.len() as u32);
            let pieces = (self.read..end).step_by(PIECE as usize).map(|at| at..(at + PIECE).min(end));
            let mentioned = workers.map(pieces.collect(), |piece| mentioned(universe, piece));
            mentioned.into_iter().flatten().for_each(|name| self.mention(name));
            self.read = end;
        }
        names.iter().map(|name| self.ranks[*name as usize]).collect()
    }

    fn mention(&mut self, name: NameId) {
        let rank = &mut self.ranks[name as usize];
        if *rank == UNMENTIONED {
            *rank = self.next;
            self.next += 1;
        }
    }
}

/// Returns the names that packages mention, in their order.
fn mentioned(universe: &Universe, packages: Range<u32>) -> Vec<NameId> {
    let mut names = Vec::new();
    for id in packages.map(PackageId) {
        names.push(universe.name_of(id));
        let mut values = [""; FIELDS.len()];
        for (name, value) in index::fields(universe.paragraph(id)) {
            if let Some(place) = FIELDS.iter().position(|field| field.eq_ignore_ascii_case(name)) {
                values[place] = value;
            }
        }
        for atom in values.iter().flat_map(|value| value.split([',', '|'])) {
            let atom = atom.trim_ascii();
            let end = atom.bytes().position(|byte| matches!(byte, b' ' | b'(' | b'[' | b'<' | b'\n'));
            // One with an architecture is another package to apt.
            names.extend(universe.name_id(&atom[..end.unwrap_or(atom.len())]));
        }
    }
    names
}

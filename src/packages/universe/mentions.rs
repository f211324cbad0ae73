//! The order in which names are first mentioned. apt numbers packages so, and where nothing else tells providers of
//! a virtual package apart, the one that was mentioned last wins.

use super::super::deb::index;
use super::{NameId, Universe};

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

/// Returns for each name how many others were mentioned before it. Costs about as much as scanning the indexes.
pub(super) fn ranks(universe: &Universe) -> Vec<u32> {
    let mut order = Order { ranks: vec![u32::MAX; universe.names_count()], next: 0 };
    for id in universe.ids() {
        order.mention(universe.name_of(id));
        let mut values = [""; FIELDS.len()];
        for (name, value) in index::fields(universe.paragraph(id)) {
            if let Some(place) = FIELDS.iter().position(|field| field.eq_ignore_ascii_case(name)) {
                values[place] = value;
            }
        }
        for atom in values.iter().flat_map(|value| value.split([',', '|'])) {
            let atom = atom.trim_ascii();
            let end = atom.bytes().position(|byte| matches!(byte, b' ' | b'(' | b'[' | b'<' | b'\n'));
            let name = &atom[..end.unwrap_or(atom.len())];
            // One with an architecture is another package to apt.
            if let Some(name) = universe.name_id(name) {
                order.mention(name);
            }
        }
    }
    order.ranks
}

struct Order {
    ranks: Vec<u32>,
    next: u32,
}

impl Order {
    fn mention(&mut self, name: NameId) {
        let rank = &mut self.ranks[name as usize];
        if *rank == u32::MAX {
            *rank = self.next;
            self.next += 1;
        }
    }
}

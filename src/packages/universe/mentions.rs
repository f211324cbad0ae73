//! The order in which names are first mentioned. apt numbers packages so, and where nothing else tells providers of
//! a virtual package apart, the one that was mentioned last wins.

use super::super::deb::index;
use super::{NameId, PackageId, Universe};

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

/// Where a name is first mentioned: the package, and how many mentions of that package stand before.
pub(super) type Place = (u32, u32);

/// Stands for a name that comes after all others that were asked for.
const LAST: Place = (u32::MAX, u32::MAX);

/// Returns where names are first mentioned. Reads the indexes until all but one of them are found, which then
/// counts as the last.
pub(super) fn first(universe: &Universe, names: &[NameId]) -> Vec<Place> {
    let texts = names.iter().map(|name| universe.name_text(*name)).collect();
    let mut order = Order { texts, places: vec![LAST; names.len()], missing: names.len() };
    for (number, id) in universe.ids().enumerate() {
        if order.missing <= 1 {
            break;
        }
        order.paragraph(universe, id, number as u32);
    }
    order.places
}

struct Order<'a> {
    texts: Vec<&'a str>,
    places: Vec<Place>,
    missing: usize,
}

impl Order<'_> {
    fn paragraph(&mut self, universe: &Universe, id: PackageId, number: u32) {
        self.mention(universe.name(id), (number, 0));
        let mut values = [""; FIELDS.len()];
        for (name, value) in index::fields(universe.paragraph(id)) {
            if let Some(place) = FIELDS.iter().position(|field| field.eq_ignore_ascii_case(name)) {
                values[place] = value;
            }
        }
        let mut count = 0;
        for atom in values.iter().flat_map(|value| value.split([',', '|'])) {
            count += 1;
            let atom = atom.trim_ascii();
            let end = atom.bytes().position(|byte| matches!(byte, b' ' | b'(' | b'[' | b'<' | b'\n'));
            // One with an architecture is another package to apt.
            self.mention(&atom[..end.unwrap_or(atom.len())], (number, count));
        }
    }

    fn mention(&mut self, name: &str, place: Place) {
        for (text, known) in self.texts.iter().zip(&mut self.places) {
            if *text == name && *known == LAST {
                *known = place;
                self.missing -= 1;
            }
        }
    }
}

//! What is chosen so far, and what can't be chosen beside it.

use std::collections::HashMap;

use super::super::universe::{NameId, PackageId};
use super::Kind;
use super::view::{Need, View};

/// Marks a slot from which nothing is chosen.
const FREE: u32 = u32::MAX;

/// Says why a package is chosen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reason<'u> {
    Asked(&'u str),
    Essential,
    Needed {
        by: PackageId,
        kind: Kind,
        text: &'u str,
        /// How many other packages would have done as well, for no reason but the order of their names.
        others: usize,
    },
}

/// A set of packages that do not conflict, with the order in which they came.
pub(super) struct State<'v, 'u> {
    pub view: &'v View<'u>,
    slots: Vec<u32>,
    trail: Vec<(PackageId, Reason<'u>)>,
    /// Who has something against a name.
    opponents: HashMap<NameId, Vec<PackageId>>,
}

impl<'v, 'u> State<'v, 'u> {
    pub fn new(view: &'v View<'u>) -> Self {
        let slots = vec![FREE; view.slots_count()];
        State { view, slots, trail: Vec::new(), opponents: HashMap::new() }
    }

    /// Returns the chosen packages, in the order in which they came.
    pub fn taken(&self) -> &[(PackageId, Reason<'u>)] {
        &self.trail
    }

    pub fn has(&self, id: PackageId) -> bool {
        self.slots[self.view.slot_of(id)] == id.0
    }

    /// Returns what is chosen of a name on a machine.
    fn at(&self, name: NameId, machine: usize) -> Option<PackageId> {
        let id = self.slots[self.view.slot(name, machine)];
        (id != FREE).then_some(PackageId(id))
    }

    /// Returns a chosen package that satisfies a relation of a package on some machine.
    pub fn satisfier(&self, need: &Need<'_>, machine: usize) -> Option<PackageId> {
        let view = self.view;
        need.links.iter().find_map(|link| {
            let name = link.name?;
            let machines = 0..view.universe.architectures().len();
            let mut real = machines.filter_map(|own| self.at(name, own));
            real.find(|id| view.serves(link, machine, *id)).or_else(|| {
                let mut provided = view.universe.providers(name);
                let serves = |provision| view.serves_virtually(link, machine, provision);
                provided.find(|own| self.has(own.package) && serves(*own)).map(|own| own.package)
            })
        })
    }

    /// Returns a chosen package beside which another one can't be installed.
    pub fn opponent(&self, id: PackageId) -> Option<PackageId> {
        let (view, universe) = (self.view, self.view.universe);
        let name = universe.name_of(id);
        let mut siblings = (0..universe.architectures().len()).filter_map(|machine| self.at(name, machine));
        if let Some(sibling) = siblings.find(|sibling| !view.are_siblings(*sibling, id)) {
            return Some(sibling);
        }
        let needs = view.needs(id);
        let struck = needs.negatives.iter().find_map(|negative| {
            let target = negative.link.name?;
            let real = (0..universe.architectures().len()).filter_map(|machine| self.at(target, machine));
            let provided = universe.providers(target).map(|own| own.package).filter(|own| self.has(*own));
            real.chain(provided).find(|own| view.strikes(id, negative, *own))
        });
        struck.or_else(|| {
            let names = [name].into_iter().chain(needs.provides.iter().map(|provided| provided.0));
            let owners = names.filter_map(|name| self.opponents.get(&name)).flatten().copied();
            let mut owners = owners.filter(|owner| self.has(*owner));
            owners.find(|owner| {
                view.needs(*owner).negatives.iter().any(|negative| view.strikes(*owner, negative, id))
            })
        })
    }

    pub fn take(&mut self, id: PackageId, reason: Reason<'u>) {
        self.slots[self.view.slot_of(id)] = id.0;
        self.trail.push((id, reason));
        for negative in &self.view.needs(id).negatives {
            if let Some(name) = negative.link.name {
                self.opponents.entry(name).or_default().push(id);
            }
        }
    }

    /// Gives back what was taken last, until `length` packages are left.
    pub fn undo(&mut self, length: usize) {
        while self.trail.len() > length {
            let Some((id, _)) = self.trail.pop() else { break };
            self.slots[self.view.slot_of(id)] = FREE;
            for negative in &self.view.needs(id).negatives {
                if let Some(owners) = negative.link.name.and_then(|name| self.opponents.get_mut(&name)) {
                    owners.pop();
                }
            }
        }
    }

    /// Says which choices nobody asked for.
    pub fn notes(&self) -> Vec<String> {
        let universe = self.view.universe;
        let mut notes = Vec::new();
        for (id, reason) in &self.trail {
            if let Reason::Needed { by, text, others: others @ 1.., .. } = reason {
                let (name, by) = (universe.name(*id), universe.name(*by));
                notes.push(format!(
                    "{by} needs {text}, which {} packages provide alike: took {name}; name another one to have that \
                     instead",
                    others + 1
                ));
            }
        }
        notes.sort();
        notes
    }
}

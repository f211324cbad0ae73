//! Packages laid over each other, entry by entry, in a table of places.
//!
//! Nothing is decided by the order in which packages come: who wins a path follows from what they say of each
//! other, and links that stand in for directories are known before the round that goes through them.

use std::collections::BTreeMap;

use super::error::{LayError, difference};
use super::routes::{Met, Routes};
use super::{Member, Taken, replaces};
use crate::base::{Cancelled, ImagePath, Job, Name};
use crate::tree::{Directory, Metadata, Node};

/// What a round made.
pub(super) struct Grown<'a> {
    /// The root first, each directory behind the one that holds it.
    pub(super) places: Vec<Place<'a>>,
    pub(super) taken: Vec<Taken>,
    pub(super) errors: Vec<LayError>,
    /// Links that met directories: where there are any, the round was in vain.
    pub(super) links: BTreeMap<ImagePath, Met>,
}

/// A directory of the tree.
pub(super) struct Place<'a> {
    pub(super) path: ImagePath,
    /// That of the first package that describes it; `None` where it is only implied.
    pub(super) metadata: Option<&'a Metadata>,
    /// Indexes of packages, ascending.
    pub(super) owners: Vec<u32>,
    pub(super) entries: BTreeMap<Name, Slot<'a>>,
}

pub(super) enum Slot<'a> {
    /// The index of its place.
    Directory(usize),
    Leaf(Leaf<'a>),
}

/// Anything but a directory.
pub(super) struct Leaf<'a> {
    pub(super) node: &'a Node,
    /// Indexes of packages: first the one whose node this is, then those that bring the same.
    pub(super) owners: Vec<u32>,
}

/// Lays all packages through the routes that are known.
pub(super) fn grow<'a>(
    members: &'a [Member<'a>],
    routes: &Routes,
    job: &Job,
) -> Result<Grown<'a>, Cancelled> {
    let root =
        Place { path: ImagePath::root(), metadata: None, owners: Vec::new(), entries: BTreeMap::new() };
    let grown = Grown { places: vec![root], taken: Vec::new(), errors: Vec::new(), links: BTreeMap::new() };
    let mut growing = Growing { members, routes, grown };
    for index in 0..members.len() {
        job.check()?;
        growing.package(index as u32);
    }
    Ok(growing.grown)
}

struct Growing<'a, 'r> {
    members: &'a [Member<'a>],
    routes: &'r Routes,
    grown: Grown<'a>,
}

impl<'a> Growing<'a, '_> {
    fn package(&mut self, index: u32) {
        let members = self.members;
        let tree: &'a Directory = &members[index as usize].unpacked.tree;
        self.describe(0, index, &tree.metadata);
        let mut stack = vec![(0, tree.entries.iter())];
        while let Some((at, entries)) = stack.last_mut() {
            let at = *at;
            match entries.next() {
                None => drop(stack.pop()),
                Some((name, Node::Directory(directory))) => {
                    if let Some(next) = self.enter(at, index, name, directory) {
                        stack.push((next, directory.entries.iter()));
                    }
                }
                Some((name, node)) => self.leaf(at, index, name, node),
            }
        }
    }

    fn describe(&mut self, at: usize, index: u32, metadata: &'a Metadata) {
        let place = &mut self.grown.places[at];
        place.metadata.get_or_insert(metadata);
        place.own(index);
    }

    /// Returns the place of a directory of a package; `None` where it has none, which is noted.
    fn enter(&mut self, at: usize, index: u32, name: &Name, directory: &'a Directory) -> Option<usize> {
        let path = self.grown.places[at].path.join(name);
        if let Some(target) = self.routes.link(&path) {
            let target = target.clone();
            let place = self.open(&target, index)?;
            self.grown.places[place].own(index);
            return Some(place);
        }
        match self.grown.places[at].entries.get(name) {
            None => {
                let place = self.add(at, name.clone());
                self.describe(place, index, &directory.metadata);
                Some(place)
            }
            Some(Slot::Directory(place)) => {
                let place = *place;
                self.describe(place, index, &directory.metadata);
                Some(place)
            }
            Some(Slot::Leaf(leaf)) => {
                let (node, first) = (leaf.node, leaf.owners[0]);
                self.meet(path, node, first, index);
                None
            }
        }
    }

    /// Notes that a leaf of one package stands where another has a directory.
    fn meet(&mut self, path: ImagePath, node: &Node, first: u32, second: u32) {
        match node {
            Node::Symlink(symlink) => {
                let met = Met { package: self.label(first), target: symlink.target.clone() };
                self.grown.links.entry(path).or_insert(met);
            }
            node => {
                let (first, second) = (self.label(first), self.label(second));
                let kind = node.kind();
                self.grown.errors.push(LayError::NotADirectory { path, first, kind, second });
            }
        }
    }

    /// Returns the place of a directory that a route leads to, made where it is missing.
    fn open(&mut self, path: &ImagePath, index: u32) -> Option<usize> {
        let mut at = 0;
        for name in path.names() {
            at = match self.grown.places[at].entries.get(name) {
                Some(Slot::Directory(next)) => *next,
                Some(Slot::Leaf(leaf)) => {
                    let (node, first) = (leaf.node, leaf.owners[0]);
                    let name = Name::new(name).expect("because a path holds valid names");
                    let path = self.grown.places[at].path.join(&name);
                    self.meet(path, node, first, index);
                    return None;
                }
                None => self.add(at, Name::new(name).expect("because a path holds valid names")),
            };
        }
        Some(at)
    }

    fn add(&mut self, at: usize, name: Name) -> usize {
        let next = self.grown.places.len();
        let path = self.grown.places[at].path.join(&name);
        self.grown.places[at].entries.insert(name, Slot::Directory(next));
        self.grown.places.push(Place { path, metadata: None, owners: Vec::new(), entries: BTreeMap::new() });
        next
    }

    fn leaf(&mut self, at: usize, index: u32, name: &Name, node: &'a Node) {
        if self.routes.diversions.is_empty() {
            return self.put(at, index, name, node);
        }
        let path = self.grown.places[at].path.join(name);
        let diverted = self.routes.diverted(&self.members[index as usize], &path).cloned();
        let parent = diverted.as_ref().and_then(|to| Some((to.parent()?, to.name()?)));
        match parent {
            None => self.put(at, index, name, node),
            Some((parent, name)) => {
                if let Some(at) = self.open(&parent, index) {
                    self.put(at, index, &name, node);
                }
            }
        }
    }

    fn put(&mut self, at: usize, index: u32, name: &Name, node: &'a Node) {
        match self.grown.places[at].entries.get(name) {
            None => {
                let leaf = Leaf { node, owners: vec![index] };
                self.grown.places[at].entries.insert(name.clone(), Slot::Leaf(leaf));
            }
            Some(Slot::Directory(place)) => {
                let place = &self.grown.places[*place];
                let (path, second) = (place.path.clone(), place.owners.first().copied().unwrap_or(index));
                self.meet(path, node, index, second);
            }
            Some(Slot::Leaf(_)) => self.contest(at, index, name, node),
        }
    }

    /// Decides who has a path that two packages bring.
    fn contest(&mut self, at: usize, index: u32, name: &Name, node: &'a Node) {
        let members = self.members;
        let path = self.grown.places[at].path.join(name);
        let Some(Slot::Leaf(leaf)) = self.grown.places[at].entries.get_mut(name) else { return };
        let (there, brought) =
            (real(&members[leaf.owners[0] as usize], leaf.node), real(&members[index as usize], node));
        if there == brought {
            if !leaf.owners.contains(&index) {
                leaf.owners.push(index);
            }
            return;
        }
        let wins = |winner: u32, loser: u32| {
            winner != loser
                && replaces::any(
                    &members[winner as usize].replaces,
                    &members[loser as usize].unpacked.control,
                )
        };
        let replaces = leaf.owners.iter().all(|owner| wins(index, *owner));
        let is_replaced = leaf.owners.iter().any(|owner| wins(*owner, index));
        let taken = |from: u32, by: u32| Taken {
            path: path.clone(),
            from: members[from as usize].label.clone(),
            by: members[by as usize].label.clone(),
        };
        match (replaces, is_replaced) {
            (true, false) => {
                self.grown.taken.extend(leaf.owners.iter().map(|from| taken(*from, index)));
                *leaf = Leaf { node, owners: vec![index] };
            }
            (false, true) => self.grown.taken.push(taken(index, leaf.owners[0])),
            _ => {
                let difference = difference(there, brought);
                let first = leaf.owners[0];
                self.grown.errors.push(if leaf.owners.contains(&index) {
                    LayError::Twice { path, package: members[index as usize].label.clone(), difference }
                } else {
                    let [first, second] = [first, index].map(|index| members[index as usize].label.clone());
                    LayError::Conflict { path, first, second, difference }
                });
            }
        }
    }

    fn label(&self, index: u32) -> String {
        self.members[index as usize].label.clone()
    }
}

impl Place<'_> {
    fn own(&mut self, index: u32) {
        if self.owners.last() != Some(&index) {
            self.owners.push(index);
        }
    }
}

/// Returns the node that a leaf of a package means: a hard link means that of the same package.
pub(super) fn real<'a>(member: &Member<'a>, node: &'a Node) -> &'a Node {
    match node {
        Node::HardLink(target) => member.unpacked.tree.get(target).unwrap_or(node),
        node => node,
    }
}

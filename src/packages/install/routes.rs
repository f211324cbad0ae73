//! Where a path of a package lies in the tree: through links that stand in for directories, and diversions.

use std::collections::BTreeMap;

use super::Member;
use super::divert::Diversion;
use super::error::LayError;
use super::grow::Place;
use crate::base::path::escaped;
use crate::base::{ImagePath, Name};
use crate::tree::Node;

/// Top-level directories that are links into `/usr` where a suite has merged the two.
pub(super) const MERGED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32"];

/// Where things go that do not go where their package says.
pub(super) struct Routes {
    pub(super) usr_merge: bool,
    /// Links that stand in for directories, and the directories: both free of such links.
    links: BTreeMap<ImagePath, ImagePath>,
    /// By the path that is diverted.
    pub(super) diversions: BTreeMap<ImagePath, Diversion>,
}

/// A symlink that met a directory.
pub(super) struct Met {
    pub(super) package: String,
    pub(super) target: Box<[u8]>,
}

pub(super) fn top(name: &str) -> ImagePath {
    join(&ImagePath::root(), name.as_bytes())
}

pub(super) fn merged(name: &str) -> ImagePath {
    join(&top("usr"), name.as_bytes())
}

fn join(path: &ImagePath, name: &[u8]) -> ImagePath {
    path.join(&Name::new(name).expect("because it is a name of a path or of ours"))
}

impl Routes {
    pub(super) fn new(usr_merge: bool, diversions: Vec<Diversion>) -> Result<Self, Vec<LayError>> {
        let links = match usr_merge {
            true => MERGED.iter().map(|name| (top(name), merged(name))).collect(),
            false => BTreeMap::new(),
        };
        let mut routes = Routes { usr_merge, links, diversions: BTreeMap::new() };
        routes.divert(diversions)?;
        Ok(routes)
    }

    fn divert(&mut self, diversions: Vec<Diversion>) -> Result<(), Vec<LayError>> {
        let mut errors = Vec::new();
        for diversion in diversions {
            let Diversion { from, to, package } = diversion;
            let diversion = Diversion { from: self.place(&from), to: self.place(&to), package };
            let second = diversion.by().to_owned();
            let path = diversion.from.clone();
            if let Some(first) = self.diversions.insert(path.clone(), diversion) {
                let first = first.by().to_owned();
                errors.push(LayError::DivertedTwice { path, first, second });
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Returns the directory that a link at this place stands in for.
    pub(super) fn link(&self, path: &ImagePath) -> Option<&ImagePath> {
        self.links.get(path)
    }

    /// Returns where a path lies, its last name not followed.
    pub(super) fn place(&self, path: &ImagePath) -> ImagePath {
        match (path.parent(), path.name()) {
            (Some(parent), Some(name)) => self.directory(&parent).join(&name),
            _ => ImagePath::root(),
        }
    }

    /// Returns where a directory lies.
    fn directory(&self, path: &ImagePath) -> ImagePath {
        path.names().fold(ImagePath::root(), |at, name| self.step(&at, name))
    }

    fn step(&self, at: &ImagePath, name: &[u8]) -> ImagePath {
        let next = join(at, name);
        self.links.get(&next).cloned().unwrap_or(next)
    }

    /// Returns where a file of a package goes that others divert.
    pub(super) fn diverted(&self, member: &Member<'_>, path: &ImagePath) -> Option<&ImagePath> {
        let diversion = self.diversions.get(path)?;
        let is_own = diversion.package.as_ref() == Some(&member.unpacked.control.name);
        (!is_own).then_some(&diversion.to)
    }

    /// Returns where a file of a package lies.
    pub(super) fn file(&self, member: &Member<'_>, path: &ImagePath) -> ImagePath {
        let place = self.place(path);
        self.diverted(member, &place).cloned().unwrap_or(place)
    }

    /// Adds links that met directories, to be gone through the next time. Each must lead to a directory that
    /// is there without it; one that leads through another of them may be met once more.
    pub(super) fn learn(
        &mut self,
        met: BTreeMap<ImagePath, Met>,
        places: &[Place<'_>],
    ) -> Result<(), Vec<LayError>> {
        let is_there = |path: &ImagePath| places.iter().any(|place| place.path == *path);
        let mut errors = Vec::new();
        let known = self.links.len();
        for (path, Met { package, target }) in met {
            match self.target(&path, &target) {
                Some(leads) if is_there(&leads) && !leads.is_within(&path) => {
                    self.links.insert(path, leads);
                }
                _ => errors.push(LayError::Link { path, package, target: escaped(&target) }),
            }
        }
        if self.links.len() == known {
            return Err(errors);
        }
        // What was known may lead through what is new.
        let known: Vec<ImagePath> = self.links.keys().cloned().collect();
        for path in known {
            let leads = self.directory(&self.links[&path]);
            self.links.insert(path, leads);
        }
        let diversions = std::mem::take(&mut self.diversions);
        self.divert(diversions.into_values().collect())
    }

    /// Returns where the target of a symlink leads; `None` where no name of it could be one.
    fn target(&self, path: &ImagePath, target: &[u8]) -> Option<ImagePath> {
        let mut at = match target.first() {
            Some(b'/') => ImagePath::root(),
            _ => path.parent()?,
        };
        for name in target.split(|byte| *byte == b'/') {
            at = match name {
                b"" | b"." => at,
                b".." => at.parent().unwrap_or_else(ImagePath::root),
                name => self.step(&at, Name::new(name).ok()?.as_bytes()),
            };
        }
        Some(at)
    }
}

/// Tells whether a node is the link that a merged `/usr` has at a top-level name.
pub(super) fn is_merged_link(node: &Node, name: &str) -> bool {
    let Node::Symlink(symlink) = node else { return false };
    let target = symlink.target.strip_prefix(b"/").unwrap_or(&symlink.target);
    let target = target.strip_suffix(b"/").unwrap_or(target);
    target.strip_prefix(b"usr/") == Some(name.as_bytes())
}

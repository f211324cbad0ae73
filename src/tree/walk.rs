//! Visiting every entry of a tree, without recursion: depth is the attacker's, the stack is ours.

use super::node::{Directory, Node};
use crate::base::{ImagePath, Name};

/// One step of a walk.
#[derive(Clone, Copy)]
pub struct Visit<'a> {
    /// Position of the parent in the walk; the root's entries have 0 (the root itself is position 0 and
    /// is not visited).
    pub parent: usize,
    /// Position of this entry, from 1 on.
    pub position: usize,
    pub name: &'a Name,
    pub node: &'a Node,
}

impl Directory {
    /// Visits every entry in tree order: entries by name in byte order, a directory before what it
    /// holds, what it holds before its next sibling.
    pub fn walk(&self) -> Walk<'_> {
        Walk { stack: vec![(0, self.entries.iter())], position: 0 }
    }

    /// Visits every entry in tree order, with its path. Costs an allocation an entry.
    pub fn paths(&self) -> impl Iterator<Item = (ImagePath, &Node)> {
        let mut parents = vec![(0, ImagePath::root())];
        self.walk().map(move |visit| {
            while parents.last().is_some_and(|parent| parent.0 != visit.parent) {
                parents.pop();
            }
            let parent = parents.last().map_or_else(ImagePath::root, |parent| parent.1.clone());
            let path = parent.join(visit.name);
            if matches!(visit.node, Node::Directory(_)) {
                parents.push((visit.position, path.clone()));
            }
            (path, visit.node)
        })
    }
}

/// Iterates over a tree in tree order.
pub struct Walk<'a> {
    stack: Vec<(usize, std::collections::btree_map::Iter<'a, Name, Node>)>,
    position: usize,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Visit<'a>;

    fn next(&mut self) -> Option<Visit<'a>> {
        loop {
            let (parent, entries) = self.stack.last_mut()?;
            let parent = *parent;
            let Some((name, node)) = entries.next() else {
                self.stack.pop();
                continue;
            };
            self.position += 1;
            if let Node::Directory(directory) = node {
                self.stack.push((self.position, directory.entries.iter()));
            }
            return Some(Visit { parent, position: self.position, name, node });
        }
    }
}

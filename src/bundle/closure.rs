//! Everything that commits lead to, in an order that follows from the commits alone: so that sender and
//! receiver can speak of the objects of a commit that both have by their numbers.
//!
//! The order: the commits, then their trees, recipes, boot trees and locks as each commit names them, then
//! level by level what the directories hold, in the order of their entries. What was seen before is left out.
//! It is part of the format.

use std::collections::HashMap;

use super::error::Result;
use crate::base::{CommitId, Digest, Job};
use crate::store::{Commit, Kind, Objects, StoredDirectory, StoredNode, TreeRef};
use crate::tree::{Content, Node};

/// Names an object of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectName {
    pub kind: Kind,
    pub id: Digest,
    /// Length in bytes: of a file's content, or of an encoding.
    pub size: u64,
}

impl ObjectName {
    fn blob(content: &Content) -> Self {
        ObjectName { kind: Kind::Blob, id: content.id.0, size: content.size }
    }

    fn tree(tree: &TreeRef) -> Self {
        ObjectName { kind: Kind::Tree, id: tree.id.0, size: tree.size }
    }

    pub(super) fn as_tree(&self) -> TreeRef {
        TreeRef { id: crate::base::TreeId(self.id), size: self.size }
    }

    pub(super) fn as_content(&self) -> Content {
        Content { id: crate::base::BlobId(self.id), size: self.size }
    }
}

/// An object and where it was first seen.
pub(super) struct Seen {
    pub name: ObjectName,
    /// The path in its tree, `/` for the root; empty for what is no part of a tree. Empty throughout where
    /// paths were not asked for.
    pub path: Box<[u8]>,
    /// Numbers of the directories in this one, if they are new.
    pub below: Vec<u32>,
}

/// The objects that commits lead to.
#[derive(Default)]
pub(super) struct Closure {
    pub objects: Vec<Seen>,
    by_id: HashMap<Digest, u32>,
}

/// What is to be followed, and what not.
pub(super) struct Walk<'a> {
    pub source: &'a dyn Objects,
    /// Objects in here are neither entered nor followed.
    pub known: Option<&'a Closure>,
    /// Remember paths.
    pub paths: bool,
}

impl Closure {
    /// Returns the number of an object.
    pub fn number(&self, id: &Digest) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// Follows the commits; their parents are named by them, not followed. Reads the directories of a level
    /// in parallel.
    pub fn of(walk: &Walk<'_>, commits: &[CommitId], job: &Job) -> Result<Closure> {
        let mut closure = Closure::default();
        let mut level = Vec::new();
        for id in commits {
            let commit = walk.source.read_commit(id)?;
            let size = commit.encode().len() as u64;
            if closure.enter(walk, ObjectName { kind: Kind::Commit, id: id.0, size }, Vec::new).is_some() {
                closure.enter_commit(walk, &commit, &mut level);
            }
        }
        while !level.is_empty() {
            let read = job.workers.try_map(std::mem::take(&mut level), |number: u32| {
                job.check().map_err(crate::store::StoreError::from)?;
                let tree = closure.objects[number as usize].name.as_tree();
                walk.source.read_directory(&tree).map(|directory| (number, directory))
            });
            for (number, directory) in read.map_err(first)? {
                closure.enter_directory(walk, number, &directory, &mut level);
            }
        }
        Ok(closure)
    }

    fn enter(&mut self, walk: &Walk<'_>, name: ObjectName, path: impl FnOnce() -> Vec<u8>) -> Option<u32> {
        if walk.known.is_some_and(|known| known.number(&name.id).is_some()) || self.number(&name.id).is_some()
        {
            return None;
        }
        let number = self.objects.len() as u32;
        self.by_id.insert(name.id, number);
        let path = if walk.paths { path().into() } else { Box::default() };
        self.objects.push(Seen { name, path, below: Vec::new() });
        Some(number)
    }

    fn enter_commit(&mut self, walk: &Walk<'_>, commit: &Commit, level: &mut Vec<u32>) {
        level.extend(self.enter(walk, ObjectName::tree(&commit.tree), || b"/".to_vec()));
        for (name, content) in &commit.recipe {
            self.enter(walk, ObjectName::blob(content), || format!("recipe {name}").into_bytes());
        }
        if let Some(boot) = &commit.boot {
            level.extend(self.enter(walk, ObjectName::tree(boot), || b"boot /".to_vec()));
        }
        if let Some(lock) = &commit.lock {
            self.enter(walk, ObjectName::blob(lock), || b"lock".to_vec());
        }
    }

    fn enter_directory(
        &mut self,
        walk: &Walk<'_>,
        number: u32,
        directory: &StoredDirectory,
        level: &mut Vec<u32>,
    ) {
        let at = self.objects[number as usize].path.clone();
        for (name, node) in &directory.entries {
            let path = || {
                let between: &[u8] = if at.ends_with(b"/") { b"" } else { b"/" };
                [&at[..], between, name.as_bytes()].concat()
            };
            match node {
                StoredNode::Directory(tree) => {
                    let entered = self.enter(walk, ObjectName::tree(tree), path);
                    level.extend(entered);
                    let below = self.number(&tree.id.0);
                    self.objects[number as usize].below.extend(below);
                }
                StoredNode::Leaf(Node::File(file)) => {
                    self.enter(walk, ObjectName::blob(&file.content), path);
                }
                StoredNode::Leaf(_) => {}
            }
        }
    }
}

pub(super) fn first<E>(errors: Vec<E>) -> E {
    errors.into_iter().next().expect("because a failure has an error")
}

//! What an object leads to: one step of every walk over the store.
//!
//! A tree leads to its sub-trees and to the contents of its files; a commit to its trees, its recipe texts and
//! its lock. The parents of a commit are named, not led to: a store may hold a commit without them.

use super::commit::Commit;
use super::directory::{StoredDirectory, StoredNode, TreeRef};
use super::error::{Kind, Result};
use super::objects::{self, Lookup};
use crate::base::{CommitId, Digest, TreeId};
use crate::tree::{Content, Node};

/// An object as its parent names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub kind: Kind,
    pub id: Digest,
    /// Plain length in bytes.
    pub size: u64,
}

impl Named {
    pub fn tree(tree: &TreeRef) -> Self {
        Named { kind: Kind::Tree, id: tree.id.0, size: tree.size }
    }

    pub fn content(content: &Content) -> Self {
        Named { kind: Kind::Blob, id: content.id.0, size: content.size }
    }
}

/// Reads an object and lists what it leads to; some may be listed more than once.
pub(super) fn named<L: Lookup>(objects: &L, kind: Kind, id: &Digest, size: u64) -> Result<Vec<Named>> {
    match kind {
        Kind::Blob => Ok(Vec::new()),
        Kind::Tree => {
            objects::directory(objects, &TreeRef { id: TreeId(*id), size }).map(|tree| by_tree(&tree))
        }
        Kind::Commit => objects::commit(objects, &CommitId(*id)).map(|commit| by_commit(&commit)),
    }
}

pub(super) fn by_tree(directory: &StoredDirectory) -> Vec<Named> {
    let named = directory.entries.values().filter_map(|node| match node {
        StoredNode::Directory(child) => Some(Named::tree(child)),
        StoredNode::Leaf(Node::File(file)) => Some(Named::content(&file.content)),
        StoredNode::Leaf(_) => None,
    });
    named.collect()
}

pub(super) fn by_commit(commit: &Commit) -> Vec<Named> {
    let trees = [Some(&commit.tree), commit.boot.as_ref()].into_iter().flatten().map(Named::tree);
    let contents = commit.recipe.iter().map(|(_, content)| content).chain(&commit.lock);
    trees.chain(contents.map(Named::content)).collect()
}

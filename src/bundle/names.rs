//! Ids don't travel. A directory or commit that names an object of its own bundle carries that object's number
//! instead: the receiver has made the object before, and knows its id from its bytes.
//!
//! ```text
//! number = number u32   28 zero bytes   size 0       in place of an id and a size
//! parent = number u32   27 zero bytes   1            a parent that is a base of the bundle
//! ```
//!
//! The encodings keep their lengths. What is restored is hashed; a lie in a number gives an object that no
//! commit leads to.

use std::collections::HashMap;

use crate::base::{BlobId, CommitId, Digest, TreeId};
use crate::store::{Commit, Kind, StoredDirectory, StoredNode, TreeRef};
use crate::tree::{Content, Node};

/// Ids by number, as far as they are known.
pub(super) trait Known {
    /// Returns the id and size of an object of the bundle.
    fn object(&self, number: u32) -> Option<(Digest, u64)>;
    /// Returns the id of a base.
    fn base(&self, number: u32) -> Option<CommitId>;
}

fn marker(number: u32, last: u8) -> Digest {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[31] = last;
    Digest(bytes)
}

fn number(id: &Digest, last: u8) -> Option<u32> {
    let [a, b, c, d, rest @ .., end] = &id.0;
    (*end == last && rest.iter().all(|&byte| byte == 0)).then(|| u32::from_le_bytes([*a, *b, *c, *d]))
}

/// Writes a directory with numbers in place of the ids that have one.
pub(super) fn hide_directory(directory: &StoredDirectory, numbers: &HashMap<Digest, u32>) -> Vec<u8> {
    let mut hidden = directory.clone();
    for node in hidden.entries.values_mut() {
        match node {
            StoredNode::Directory(tree) => hide_tree(tree, numbers),
            StoredNode::Leaf(Node::File(file)) => hide_content(&mut file.content, numbers),
            StoredNode::Leaf(_) => {}
        }
    }
    hidden.encode()
}

/// Writes a commit with numbers in place of the ids that have one.
pub(super) fn hide_commit(commit: &Commit, numbers: &HashMap<Digest, u32>, bases: &[CommitId]) -> Vec<u8> {
    let mut hidden = commit.clone();
    each_in_commit(&mut hidden, &mut |id, size| {
        if let Some(&number) = numbers.get(id) {
            (*id, *size) = (marker(number, 0), 0);
        }
    });
    for parent in &mut hidden.parents {
        if let Some(number) = bases.iter().position(|base| base == parent) {
            *parent = CommitId(marker(number as u32, 1));
        }
    }
    hidden.encode()
}

fn hide_tree(tree: &mut TreeRef, numbers: &HashMap<Digest, u32>) {
    if let Some(&number) = numbers.get(&tree.id.0) {
        *tree = TreeRef { id: TreeId(marker(number, 0)), size: 0 };
    }
}

fn hide_content(content: &mut Content, numbers: &HashMap<Digest, u32>) {
    if let Some(&number) = numbers.get(&content.id.0) {
        *content = Content { id: BlobId(marker(number, 0)), size: 0 };
    }
}

/// Puts the ids back into a directory; says which number is not known.
pub(super) fn restore_directory(bytes: &[u8], known: &impl Known) -> Result<StoredDirectory, String> {
    let mut directory = StoredDirectory::decode(bytes).map_err(|error| error.to_string())?;
    for node in directory.entries.values_mut() {
        match node {
            StoredNode::Directory(tree) => restore(&mut tree.id.0, &mut tree.size, known)?,
            StoredNode::Leaf(Node::File(file)) => {
                restore(&mut file.content.id.0, &mut file.content.size, known)?;
            }
            StoredNode::Leaf(_) => {}
        }
    }
    Ok(directory)
}

/// Puts the ids back into a commit.
pub(super) fn restore_commit(bytes: &[u8], known: &impl Known) -> Result<Commit, String> {
    let mut commit = Commit::decode(bytes).map_err(|error| error.to_string())?;
    let mut result = Ok(());
    each_in_commit(&mut commit, &mut |id, size| {
        if let Err(problem) = restore(id, size, known) {
            result = Err(problem);
        }
    });
    for parent in &mut commit.parents {
        if let Some(number) = number(&parent.0, 1) {
            let base = known.base(number);
            *parent = base.ok_or_else(|| format!("there is no base number {number}"))?;
        }
    }
    result.map(|()| commit)
}

fn restore(id: &mut Digest, size: &mut u64, known: &impl Known) -> Result<(), String> {
    if let Some(number) = number(id, 0).filter(|_| *size == 0) {
        let object = known.object(number);
        (*id, *size) = object.ok_or_else(|| format!("object {number} is named before it is there"))?;
    }
    Ok(())
}

/// Shows every id and size that a commit names, but its parents.
fn each_in_commit(commit: &mut Commit, see: &mut dyn FnMut(&mut Digest, &mut u64)) {
    for tree in std::iter::once(&mut commit.tree).chain(&mut commit.boot) {
        see(&mut tree.id.0, &mut tree.size);
    }
    for content in commit.recipe.iter_mut().map(|(_, content)| content).chain(&mut commit.lock) {
        see(&mut content.id.0, &mut content.size);
    }
}

/// Returns the plain bytes of a directory or commit as the source has them.
pub(super) fn encoding(
    source: &dyn crate::store::Objects,
    name: &super::closure::ObjectName,
) -> Result<Vec<u8>, crate::store::StoreError> {
    match name.kind {
        Kind::Commit => Ok(source.read_commit(&CommitId(name.id))?.encode()),
        _ => Ok(source.read_directory(&name.as_tree())?.encode()),
    }
}

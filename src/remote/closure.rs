//! What a commit leads to and a store lacks: found by walking its trees, pruned by what is there, and copied
//! from store to store as it lies.

use std::collections::HashSet;

use super::error::{RemoteError, Result};
use super::transport::Line;
use crate::base::job::Unit;
use crate::base::{CommitId, Digest};
use crate::store::{Kind, Objects, Store, StoreError, StoredNode, Transaction, TreeRef};
use crate::tree::{Content, Node};

/// Commits whose ancestors are looked at, at most, to learn whether one follows from another.
const ANCESTORS_MAX: usize = 10_000;

/// What is missing, each object once.
#[derive(Default)]
struct Missing {
    commits: Vec<CommitId>,
    trees: Vec<TreeRef>,
    contents: Vec<Content>,
    seen: HashSet<Digest>,
}

/// Copies what commits lead to, unless it is there. What is there has all that it leads to beside it, so that no
/// walk goes below it. Parents of a commit stay where they are.
pub(super) fn copy(from: &Store, into: &Transaction<'_>, commits: &[CommitId], line: &Line) -> Result<()> {
    let missing = find(from, into, commits, line)?;
    let Missing { commits, trees, mut contents, .. } = missing;
    // Largest first: the last worker to end has a small one.
    contents.sort_unstable_by_key(|content| std::cmp::Reverse(content.size));
    let total = contents.iter().map(|content| content.size).sum::<u64>()
        + trees.iter().map(|tree| tree.size).sum::<u64>();
    let step = line.job.step("copy", Some(total), Unit::Bytes);
    let objects = contents.iter().map(|content| (Kind::Blob, content.id.0, Some(content.size)));
    let objects = objects.chain(trees.iter().map(|tree| (Kind::Tree, tree.id.0, Some(tree.size))));
    let objects = objects.chain(commits.iter().map(|commit| (Kind::Commit, commit.0, None)));
    line.job.workers.for_each(objects, |(kind, id, size)| {
        let bytes = into.copy_from(from, kind, &id, size)?;
        step.advance(size.unwrap_or(0));
        line.received(bytes)
    })
}

fn find(from: &Store, into: &Transaction<'_>, commits: &[CommitId], line: &Line) -> Result<Missing> {
    let mut missing = Missing::default();
    let mut level = Vec::new();
    for id in commits {
        if into.has(&id.0) || !missing.seen.insert(id.0) {
            continue;
        }
        let commit = from.read_commit(id)?;
        missing.commits.push(*id);
        level.extend([Some(commit.tree), commit.boot].into_iter().flatten());
        let texts = commit.recipe.iter().map(|(_, content)| content).chain(&commit.lock);
        texts.for_each(|content| missing.take(content, into));
    }
    let step = line.job.step("compare", None, Unit::Items);
    while !level.is_empty() {
        level.retain(|tree: &TreeRef| !into.has(&tree.id.0) && missing.seen.insert(tree.id.0));
        let read = |tree: TreeRef| from.read_directory(&tree);
        let directories = line.job.workers.try_map(level.clone(), read).map_err(first)?;
        step.advance(directories.len() as u64);
        missing.trees.append(&mut level);
        for node in directories.into_iter().flat_map(|directory| directory.entries.into_values()) {
            match node {
                StoredNode::Directory(tree) => level.push(tree),
                StoredNode::Leaf(Node::File(file)) => missing.take(&file.content, into),
                StoredNode::Leaf(_) => {}
            }
        }
        line.job.check()?;
    }
    Ok(missing)
}

impl Missing {
    fn take(&mut self, content: &Content, into: &Transaction<'_>) {
        if !self.seen.contains(&content.id.0) && !into.has(&content.id.0) {
            self.seen.insert(content.id.0);
            self.contents.push(*content);
        }
    }
}

fn first(errors: Vec<StoreError>) -> RemoteError {
    errors.into_iter().next().expect("because a failure has an error").into()
}

/// Tells whether `old` is among the ancestors of `new`, as far as the commits are at hand.
pub(super) fn follows(objects: &dyn Objects, new: &CommitId, old: &CommitId) -> bool {
    let (mut waiting, mut seen) = (vec![*new], HashSet::new());
    while let Some(id) = waiting.pop() {
        if id == *old {
            return true;
        }
        if seen.len() >= ANCESTORS_MAX || !seen.insert(id) {
            continue;
        }
        if let Ok(commit) = objects.read_commit(&id) {
            waiting.extend(commit.parents);
        }
    }
    false
}

//! What changed between two trees.

use std::collections::BTreeMap;

use super::node::{Directory, Metadata, Node};
use crate::base::{ImagePath, Name};

/// One difference between two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    Added(&'a Node),
    Removed(&'a Node),
    /// Content, metadata or kind differ; for directories, metadata only.
    Changed(&'a Node, &'a Node),
}

static NONE: BTreeMap<Name, Node> = BTreeMap::new();

/// Lists the differences in tree order. What a directory that was added or removed holds is listed
/// entry by entry. Equal sub-trees cost a comparison; cut them off before with their ids.
pub fn diff<'a>(old: &'a Directory, new: &'a Directory) -> Vec<(ImagePath, Change<'a>)> {
    let mut changes = Vec::new();
    let mut waiting = vec![(ImagePath::root(), Some(old), Some(new))];
    while let Some((at, old, new)) = waiting.pop() {
        let [old, new] = [old, new].map(|side| side.map_or(&NONE, |side| &side.entries));
        for name in names(old, new) {
            let path = at.join(name);
            let (before, after) = (old.get(name), new.get(name));
            match (before, after) {
                (Some(before), Some(after)) if !same(before, after) => {
                    changes.push((path.clone(), Change::Changed(before, after)));
                }
                (None, Some(after)) => changes.push((path.clone(), Change::Added(after))),
                (Some(before), None) => changes.push((path.clone(), Change::Removed(before))),
                _ => {}
            }
            let [before, after] = [before, after].map(directory);
            if before.is_some() || after.is_some() {
                waiting.push((path, before, after));
            }
        }
    }
    changes.sort_by(|a, b| a.0.names().cmp(b.0.names()));
    changes
}

fn names<'a>(old: &'a BTreeMap<Name, Node>, new: &'a BTreeMap<Name, Node>) -> Vec<&'a Name> {
    let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    names
}

fn directory(node: Option<&Node>) -> Option<&Directory> {
    match node {
        Some(Node::Directory(directory)) => Some(directory),
        _ => None,
    }
}

fn same(before: &Node, after: &Node) -> bool {
    match (before, after) {
        (Node::Directory(before), Node::Directory(after)) => same_metadata(&before.metadata, &after.metadata),
        _ => before == after,
    }
}

fn same_metadata(before: &Metadata, after: &Metadata) -> bool {
    before == after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, File};

    #[test]
    fn changes_come_in_tree_order() {
        let path = |text: &str| ImagePath::new(text.as_bytes()).expect("a path");
        let file = |text: &str| {
            Node::File(File { metadata: Metadata::root(0o644), content: Content::of(text.as_bytes()) })
        };
        let mut old = Directory::default();
        let mut new = Directory::default();
        for (tree, entries) in [
            (&mut old, [("/a/x", "1"), ("/b", "1"), ("/same", "s")]),
            (&mut new, [("/a/y", "1"), ("/b", "2"), ("/same", "s")]),
        ] {
            for (at, text) in entries {
                tree.insert(&path(at), file(text)).expect("inserted");
            }
        }
        let changes: Vec<_> =
            diff(&old, &new).into_iter().map(|(path, change)| (path.to_string(), change)).collect();
        assert_eq!(changes[0], ("/a/x".into(), Change::Removed(&file("1"))));
        assert_eq!(changes[1], ("/a/y".into(), Change::Added(&file("1"))));
        assert_eq!(changes[2], ("/b".into(), Change::Changed(&file("1"), &file("2"))));
        assert_eq!(changes.len(), 3);
    }
}

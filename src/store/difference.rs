//! What differs between two stored trees. Directories that are the same in both are known by their ids and
//! never read, however much they hold: the cost is that of what differs.

use std::collections::{BTreeMap, BTreeSet};

use super::directory::{StoredDirectory, StoredNode, TreeRef};
use super::error::{Result, StoreError};
use super::find::Found;
use super::objects::Objects;
use super::store::Store;
use super::trees::{TREE_DEPTH_MAX, TREE_ENTRIES_MAX};
use crate::base::{ImagePath, Job, Name};
use crate::tree::{Directory, Node};

/// One path at which two trees differ. Directories come without what they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeChange {
    pub path: ImagePath,
    /// `None`: it was added.
    pub old: Option<Node>,
    /// `None`: it was removed.
    pub new: Option<Node>,
}

/// In what two nodes differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// One is a file, the other one something else.
    Kind,
    Content,
    Mode,
    Owner,
    Xattrs,
    /// Where a symbolic or hard link leads.
    Target,
    /// Which device it is.
    Device,
}

impl TreeChange {
    /// Lists in what the two sides differ; empty where there is one side only.
    pub fn aspects(&self) -> Vec<Aspect> {
        let (Some(old), Some(new)) = (&self.old, &self.new) else { return Vec::new() };
        if old.kind() != new.kind() {
            return vec![Aspect::Kind];
        }
        let mut aspects = Vec::new();
        match (old, new) {
            (Node::File(old), Node::File(new)) if old.content != new.content => aspects.push(Aspect::Content),
            (Node::Symlink(old), Node::Symlink(new)) if old.target != new.target => {
                aspects.push(Aspect::Target)
            }
            (Node::HardLink(old), Node::HardLink(new)) if old != new => aspects.push(Aspect::Target),
            (Node::Device(old), Node::Device(new)) if (old.major, old.minor) != (new.major, new.minor) => {
                aspects.push(Aspect::Device);
            }
            _ => {}
        }
        if let (Some(old), Some(new)) = (old.metadata(), new.metadata()) {
            let differs = [
                (old.mode != new.mode, Aspect::Mode),
                ((old.uid, old.gid) != (new.uid, new.gid), Aspect::Owner),
                (old.xattrs != new.xattrs, Aspect::Xattrs),
            ];
            aspects.extend(differs.into_iter().filter_map(|(differs, aspect)| differs.then_some(aspect)));
        }
        aspects
    }

    /// Returns the bytes of the file before and after; 0 for what is no file.
    pub fn bytes(&self) -> (u64, u64) {
        let bytes = |node: &Option<Node>| match node {
            Some(Node::File(file)) => file.content.size,
            _ => 0,
        };
        (bytes(&self.old), bytes(&self.new))
    }
}

/// What stands at a path in one of the trees.
#[derive(Clone, PartialEq)]
enum Side {
    Nothing,
    Leaf(Node),
    Directory(TreeRef),
}

impl Side {
    fn of_entry(entry: Option<&StoredNode>) -> Self {
        match entry {
            None => Side::Nothing,
            Some(StoredNode::Leaf(node)) => Side::Leaf(node.clone()),
            Some(StoredNode::Directory(tree)) => Side::Directory(*tree),
        }
    }

    fn of_found(found: Option<&Found>) -> Self {
        match found {
            None => Side::Nothing,
            Some(Found::Leaf(node)) => Side::Leaf(node.clone()),
            Some(Found::Directory(tree, _)) => Side::Directory(*tree),
        }
    }

    /// Reads a directory; returns the node, and what it holds.
    fn open(self, store: &Store) -> Result<(Option<Node>, BTreeMap<Name, StoredNode>)> {
        Ok(match self {
            Side::Nothing => (None, BTreeMap::new()),
            Side::Leaf(node) => (Some(node), BTreeMap::new()),
            Side::Directory(tree) => {
                let StoredDirectory { metadata, entries } = store.read_directory(&tree)?;
                (Some(Node::Directory(Directory { metadata, ..Directory::default() })), entries)
            }
        })
    }
}

impl Store {
    /// Lists where two trees differ, in tree order, the root too. What a directory that was added or removed
    /// holds is listed entry by entry.
    pub fn difference(&self, old: &TreeRef, new: &TreeRef, job: &Job) -> Result<Vec<TreeChange>> {
        let sides = (Side::Directory(*old), Side::Directory(*new));
        self.differences(ImagePath::root(), sides, TREE_ENTRIES_MAX, job)
    }

    /// Does what [`Store::difference`] does for what was found in two trees; paths begin with `at`.
    pub fn difference_at(
        &self,
        at: &ImagePath,
        old: Option<&Found>,
        new: Option<&Found>,
        job: &Job,
    ) -> Result<Vec<TreeChange>> {
        let sides = (Side::of_found(old), Side::of_found(new));
        self.differences(at.clone(), sides, TREE_ENTRIES_MAX, job)
    }

    fn differences(
        &self,
        at: ImagePath,
        sides: (Side, Side),
        limit: u64,
        job: &Job,
    ) -> Result<Vec<TreeChange>> {
        let mut changes = Vec::new();
        let mut waiting = vec![(at, sides, 0)];
        while let Some((path, (old, new), depth)) = waiting.pop() {
            if old == new {
                continue;
            }
            job.check()?;
            if depth > TREE_DEPTH_MAX {
                return Err(StoreError::TooLarge {
                    what: "levels of directories",
                    limit: TREE_DEPTH_MAX as u64,
                });
            }
            let ((old, before), (new, after)) = (old.open(self)?, new.open(self)?);
            let names: BTreeSet<&Name> = before.keys().chain(after.keys()).collect();
            // The first name is to come off the stack first.
            for name in names.into_iter().rev() {
                let (old, new) = (before.get(name), after.get(name));
                if old != new {
                    waiting.push((path.join(name), (Side::of_entry(old), Side::of_entry(new)), depth + 1));
                }
            }
            if old != new {
                changes.push(TreeChange { path, old, new });
            }
            if (changes.len() + waiting.len()) as u64 > limit {
                return Err(StoreError::TooLarge { what: "differences", limit });
            }
        }
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::transaction::Transaction;
    use crate::tree::{ContentSink, Device, DeviceKind, File, Metadata, Symlink};

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text.as_bytes()).expect("a path")
    }

    fn put(transaction: &Transaction<'_>, job: &Job, entries: Vec<(&str, Node)>) -> TreeRef {
        let mut root = Directory::default();
        for (at, node) in entries {
            root.insert(&path(at), node).expect("inserted");
        }
        transaction.put_tree(job, &root.seal().expect("sealed")).expect("put")
    }

    fn file(transaction: &Transaction<'_>, text: &str, metadata: Metadata) -> Node {
        Node::File(File { metadata, content: transaction.put(text.as_bytes()).expect("put") })
    }

    #[test]
    fn every_aspect_of_a_node_is_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("opened");
        let job = Job::quiet(2);
        let transaction = store.begin(&job);
        let plain = Metadata::root(0o644);
        let text = |text: &str| file(&transaction, text, plain.clone());
        let with = |change: &dyn Fn(&mut Metadata)| {
            let mut metadata = plain.clone();
            change(&mut metadata);
            file(&transaction, "same", metadata)
        };
        let link =
            |target: &[u8]| Node::Symlink(Symlink { metadata: Metadata::root(0o777), target: target.into() });
        let device = |minor| {
            let kind = DeviceKind::Character;
            Node::Device(Device { metadata: plain.clone(), kind, major: 1, minor })
        };
        let hard = |target: &str| Node::HardLink(path(target));
        let old = put(
            &transaction,
            &job,
            vec![
                ("/content", text("1")),
                ("/device", device(3)),
                ("/gone/a", text("a")),
                ("/zzz", hard("/content")),
                ("/kind", text("x")),
                ("/link", link(b"a")),
                ("/mode", text("same")),
                ("/owner", text("same")),
                ("/same/deep/file", text("same")),
                ("/turned/a", text("a")),
                ("/xattr", text("same")),
            ],
        );
        let xattr = |metadata: &mut Metadata| {
            metadata.xattrs.insert(b"user.a"[..].into(), b"1"[..].into());
        };
        let new = put(
            &transaction,
            &job,
            vec![
                ("/content", text("22")),
                ("/device", device(5)),
                ("/zzz", hard("/kind")),
                ("/kind", text("x")),
                ("/link", link(b"b")),
                ("/mode", with(&|metadata| metadata.mode = 0o4755)),
                ("/new/b", text("b")),
                ("/owner", with(&|metadata| metadata.gid = 7)),
                ("/same/deep/file", text("same")),
                ("/turned", link(b"same")),
                ("/xattr", with(&xattr)),
            ],
        );
        transaction.commit(&[], "").expect("committed");
        let changes = store.difference(&old, &new, &job).expect("compared");
        let seen: Vec<(String, String, Vec<Aspect>)> = changes
            .iter()
            .map(|change| {
                let kind = |node: &Option<Node>| node.as_ref().map_or("-", Node::kind);
                let kinds = format!("{} {}", kind(&change.old), kind(&change.new));
                (change.path.to_string(), kinds, change.aspects())
            })
            .collect();
        let expected: Vec<(String, String, Vec<Aspect>)> = [
            ("/content", "file file", vec![Aspect::Content]),
            ("/device", "character device character device", vec![Aspect::Device]),
            ("/gone", "directory -", vec![]),
            ("/gone/a", "file -", vec![]),
            ("/link", "symlink symlink", vec![Aspect::Target]),
            ("/mode", "file file", vec![Aspect::Mode]),
            ("/new", "- directory", vec![]),
            ("/new/b", "- file", vec![]),
            ("/owner", "file file", vec![Aspect::Owner]),
            ("/turned", "directory symlink", vec![Aspect::Kind]),
            ("/turned/a", "file -", vec![]),
            ("/xattr", "file file", vec![Aspect::Xattrs]),
            ("/zzz", "hard link hard link", vec![Aspect::Target]),
        ]
        .into_iter()
        .map(|(path, kinds, aspects)| (path.to_owned(), kinds.to_owned(), aspects))
        .collect();
        assert_eq!(seen, expected);
        let back = store.difference(&new, &old, &job).expect("compared");
        assert_eq!(back.len(), changes.len(), "the way back has as many differences");
        assert!(store.difference(&new, &new, &job).expect("compared").is_empty());
        let below = store.find(&old, &path("/gone"), false).expect("found");
        let only = store.difference_at(&path("/gone"), Some(&below), None, &job).expect("compared");
        assert_eq!(only.iter().map(|it| it.path.to_string()).collect::<Vec<_>>(), ["/gone", "/gone/a"]);
    }

    #[test]
    fn a_change_of_the_root_alone_is_a_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("opened");
        let job = Job::quiet(1);
        let transaction = store.begin(&job);
        let tree = |mode| {
            let root = Directory { metadata: Metadata::root(mode), ..Directory::default() };
            transaction.put_tree(&job, &root.seal().expect("sealed")).expect("put")
        };
        let (old, new) = (tree(0o755), tree(0o750));
        transaction.commit(&[], "").expect("committed");
        let changes = store.difference(&old, &new, &job).expect("compared");
        assert_eq!((changes.len(), changes[0].path.is_root()), (1, true));
        assert_eq!(changes[0].aspects(), [Aspect::Mode]);
    }

    #[test]
    fn a_difference_without_end_is_refused_in_bounded_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("opened");
        let job = Job::quiet(1);
        let transaction = store.begin(&job);
        let mut directory = StoredDirectory { metadata: Metadata::root(0o755), entries: BTreeMap::new() };
        let mut tree = None;
        for _ in 0..40 {
            let encoding = directory.encode();
            let child = TreeRef::of(&encoding);
            transaction.put_object(crate::store::Kind::Tree, &child.id.0, &encoding).expect("put");
            let names = (0..100).map(|index| Name::new(format!("{index:02}").as_bytes()).expect("a name"));
            directory.entries = names.map(|name| (name, StoredNode::Directory(child))).collect();
            tree = Some(child);
        }
        transaction.commit(&[], "").expect("committed");
        let sides = (Side::Nothing, Side::Directory(tree.expect("a tree")));
        let refused = store.differences(ImagePath::root(), sides, 5_000, &job);
        assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    }
}

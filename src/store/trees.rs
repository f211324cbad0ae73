//! Whole trees to objects and back, one level of depth at a time: no recursion, and the directories of a
//! level in parallel.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::directory::{self, DIRECTORY_BYTES_MAX, StoredNode, TreeRef};
use super::error::{Kind, Result, StoreError};
use super::objects::Objects;
use super::transaction::Transaction;
use crate::base::path::PATH_BYTES_MAX;
use crate::base::{Digest, ImagePath, Job, Name};
use crate::tree::{Directory, Node, SealedTree, Visit};

/// Deepest nesting of directories: no path that a system call can name goes deeper.
pub const TREE_DEPTH_MAX: usize = PATH_BYTES_MAX / 2;
/// Most entries of a tree. Sub-trees that occur often count each time: what is small in the store can be
/// made to be endless in memory.
pub const TREE_ENTRIES_MAX: u64 = 1 << 22;

/// One directory of a tree in memory: its place above, and those below in entry order.
struct Place<'a> {
    directory: &'a Directory,
    depth: usize,
    children: Vec<usize>,
}

/// Handles every directory of a tree, the deepest first, each with the names of those below it; returns the
/// name of the root.
fn from_below(
    tree: &SealedTree,
    job: &Job,
    handle: impl Fn(&Directory, &[TreeRef]) -> Result<TreeRef> + Sync,
) -> Result<TreeRef> {
    let places = places(tree)?;
    let mut refs: Vec<Option<TreeRef>> = vec![None; places.len()];
    let deepest = places.iter().map(|place| place.depth).max().unwrap_or(0);
    let mut levels: Vec<Vec<usize>> = vec![Vec::new(); deepest + 1];
    places.iter().enumerate().for_each(|(index, place)| levels[place.depth].push(index));
    for level in levels.into_iter().rev() {
        let handled = job.workers.try_map(level.clone(), |index| {
            let child = |&child: &usize| refs[child].expect("because deeper levels were handled before");
            let children: Vec<TreeRef> = places[index].children.iter().map(child).collect();
            handle(places[index].directory, &children)
        });
        for (index, tree) in level.into_iter().zip(handled.map_err(first)?) {
            refs[index] = Some(tree);
        }
    }
    Ok(refs[0].expect("because the root is the last that was handled"))
}

/// Names a tree without storing it: what [`Transaction::put_tree`] would return.
pub fn tree_ref(tree: &SealedTree, job: &Job) -> Result<TreeRef> {
    from_below(tree, job, |directory, children| encode_one(directory, children).map(|(tree, _)| tree))
}

/// Encodes a directory, within the limits of what is read again.
fn encode_one(directory: &Directory, children: &[TreeRef]) -> Result<(TreeRef, Vec<u8>)> {
    for (name, node) in &directory.entries {
        if let Node::HardLink(target) = node
            && target.as_bytes().len() > PATH_BYTES_MAX
        {
            let problem = format!("a hard link leads at most {PATH_BYTES_MAX} bytes deep");
            return Err(StoreError::Path { path: ImagePath::root().join(name), problem });
        }
    }
    let encoding = directory::encode(directory, children);
    if encoding.len() as u64 > DIRECTORY_BYTES_MAX {
        return Err(StoreError::TooLarge { what: "bytes a directory", limit: DIRECTORY_BYTES_MAX });
    }
    Ok((TreeRef::of(&encoding), encoding))
}

impl Transaction<'_> {
    /// Stores a tree, one object a directory. Every file's content must have been put before, here or in
    /// the store; a directory that is there already costs its encoding and a look.
    pub fn put_tree(&self, job: &Job, tree: &SealedTree) -> Result<TreeRef> {
        from_below(tree, job, |directory, children| self.put_one(directory, children))
    }

    fn put_one(&self, directory: &Directory, children: &[TreeRef]) -> Result<TreeRef> {
        for (name, node) in &directory.entries {
            if let Node::File(file) = node {
                self.demand_in(name, file.content.id.0, file.content.size)?;
            }
        }
        let (tree, encoding) = encode_one(directory, children)?;
        self.put_object(Kind::Tree, &tree.id.0, &encoding)?;
        Ok(tree)
    }

    /// Holds that what stands in a directory under a name is there.
    pub(super) fn demand_in(&self, name: &Name, id: Digest, size: u64) -> Result<()> {
        self.demand_or(&id, || StoreError::Incomplete { path: ImagePath::root().join(name), id, size })
    }
}

/// Lists the directories of a tree, the root first.
fn places(root: &Directory) -> Result<Vec<Place<'_>>> {
    let mut places = vec![Place { directory: root, depth: 0, children: Vec::new() }];
    let mut by_position = std::collections::HashMap::from([(0, 0)]);
    let mut entries = 0;
    for Visit { parent, position, node, .. } in root.walk() {
        entries += 1;
        if let Node::Directory(directory) = node {
            let parent = by_position[&parent];
            let (index, depth) = (places.len(), places[parent].depth + 1);
            places[parent].children.push(index);
            places.push(Place { directory, depth, children: Vec::new() });
            by_position.insert(position, index);
            check_depth(depth)?;
        }
    }
    check_entries(entries, TREE_ENTRIES_MAX)?;
    Ok(places)
}

fn check_entries(entries: u64, limit: u64) -> Result<()> {
    if entries > limit { Err(StoreError::TooLarge { what: "entries", limit }) } else { Ok(()) }
}

fn check_depth(depth: usize) -> Result<()> {
    let limit = TREE_DEPTH_MAX as u64;
    if depth > TREE_DEPTH_MAX {
        Err(StoreError::TooLarge { what: "levels of directories", limit })
    } else {
        Ok(())
    }
}

fn first(errors: Vec<StoreError>) -> StoreError {
    errors.into_iter().next().expect("because a failure has an error")
}

/// A directory that is yet to be read: the place of its parent in the level above, and its name there.
struct Waiting {
    parent: usize,
    name: Option<Name>,
    tree: TreeRef,
}

/// A directory that was read, as yet without its sub-directories.
struct Read {
    parent: usize,
    name: Option<Name>,
    directory: Directory,
}

pub(super) fn read<O: Objects + ?Sized>(objects: &O, job: &Job, tree: &TreeRef) -> Result<Directory> {
    read_limited(objects, job, tree, TREE_ENTRIES_MAX)
}

fn read_limited<O: Objects + ?Sized>(
    objects: &O,
    job: &Job,
    tree: &TreeRef,
    limit: u64,
) -> Result<Directory> {
    let mut levels: Vec<Vec<Read>> = Vec::new();
    let mut waiting = vec![Waiting { parent: 0, name: None, tree: *tree }];
    let entries = AtomicU64::new(0);
    while !waiting.is_empty() {
        check_depth(levels.len())?;
        let read = job.workers.try_map(waiting, |waiting| {
            job.check()?;
            read_one(objects, waiting, &entries, limit)
        });
        let (mut level, mut below) = (Vec::new(), Vec::new());
        for (read, children) in read.map_err(first)? {
            let parent = level.len();
            below.extend(children.into_iter().map(|(name, tree)| Waiting { parent, name: Some(name), tree }));
            level.push(read);
        }
        levels.push(level);
        waiting = below;
    }
    Ok(assemble(levels))
}

fn read_one<O: Objects + ?Sized>(
    objects: &O,
    waiting: Waiting,
    entries: &AtomicU64,
    limit: u64,
) -> Result<(Read, Vec<(Name, TreeRef)>)> {
    // Before and after: once there are too many, no further directory is read.
    check_entries(entries.load(Ordering::Relaxed), limit)?;
    let stored = objects.read_directory(&waiting.tree)?;
    let count = stored.entries.len() as u64;
    check_entries(entries.fetch_add(count, Ordering::Relaxed) + count, limit)?;
    let mut directory = Directory { metadata: stored.metadata, ..Directory::default() };
    let mut children = Vec::new();
    for (name, node) in stored.entries {
        match node {
            StoredNode::Directory(tree) => children.push((name, tree)),
            StoredNode::Leaf(node) => {
                directory.entries.insert(name, node);
            }
        }
    }
    Ok((Read { parent: waiting.parent, name: waiting.name, directory }, children))
}

/// Hangs each level's directories into those of the level above, from the deepest up.
fn assemble(mut levels: Vec<Vec<Read>>) -> Directory {
    while let Some(level) = levels.pop() {
        let Some(above) = levels.last_mut() else {
            return level.into_iter().next().expect("because the first level is the root").directory;
        };
        for Read { parent, name, directory } in level {
            let name = name.expect("because only the root has no name");
            above[parent].directory.entries.insert(name, Node::Directory(directory));
        }
    }
    Directory::default()
}

/// Two directories of the same name that differ, as yet without their sub-directories.
struct Pair {
    parent: usize,
    name: Option<Name>,
    old: Directory,
    new: Directory,
}

/// A sub-directory that both sides have and that differs: its name, the old one, the new one.
type Differing = (Name, TreeRef, TreeRef);

pub(super) fn read_difference<O: Objects + ?Sized>(
    objects: &O,
    job: &Job,
    old: &TreeRef,
    new: &TreeRef,
) -> Result<(Directory, Directory)> {
    let mut levels: Vec<Vec<Pair>> = Vec::new();
    let mut waiting = vec![(0, None, *old, *new)];
    while !waiting.is_empty() {
        check_depth(levels.len())?;
        let (mut level, mut below) = (Vec::new(), Vec::new());
        for (parent, name, old, new) in waiting {
            job.check()?;
            let (pair, both) = read_pair(objects, job, &old, &new)?;
            let place = level.len();
            below.extend(both.into_iter().map(|(name, old, new)| (place, Some(name), old, new)));
            level.push(Pair { parent, name, ..pair });
        }
        levels.push(level);
        waiting = below;
    }
    Ok(assemble_pairs(levels))
}

fn assemble_pairs(mut levels: Vec<Vec<Pair>>) -> (Directory, Directory) {
    while let Some(level) = levels.pop() {
        for Pair { parent, name, old, new } in level {
            let (Some(above), Some(name)) = (levels.last_mut(), name) else { return (old, new) };
            above[parent].old.entries.insert(name.clone(), Node::Directory(old));
            above[parent].new.entries.insert(name, Node::Directory(new));
        }
    }
    (Directory::default(), Directory::default())
}

/// Reads one directory of each tree. Sub-directories that both have and that differ are returned by name;
/// those that are equal are left out, those that one side has are read whole.
fn read_pair<O: Objects + ?Sized>(
    objects: &O,
    job: &Job,
    old: &TreeRef,
    new: &TreeRef,
) -> Result<(Pair, Vec<Differing>)> {
    let (old, new) = (objects.read_directory(old)?, objects.read_directory(new)?);
    let mut both = BTreeMap::new();
    for (name, node) in &old.entries {
        if let (StoredNode::Directory(left), Some(StoredNode::Directory(right))) =
            (node, new.entries.get(name))
        {
            both.insert(name.clone(), (*left, *right));
        }
    }
    let side = |stored: directory::StoredDirectory| -> Result<Directory> {
        let mut directory = Directory { metadata: stored.metadata, ..Directory::default() };
        for (name, node) in stored.entries {
            let node = match node {
                StoredNode::Leaf(node) => node,
                StoredNode::Directory(_) if both.contains_key(&name) => continue,
                StoredNode::Directory(tree) => Node::Directory(read(objects, job, &tree)?),
            };
            directory.entries.insert(name, node);
        }
        Ok(directory)
    };
    let pair = Pair { parent: 0, name: None, old: side(old)?, new: side(new)? };
    let differ = both.into_iter().filter(|(_, (left, right))| left != right);
    Ok((pair, differ.map(|(name, (left, right))| (name, left, right)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, StoredDirectory};
    use crate::tree::Metadata;

    /// Forty directories, each holding the one below a hundred times: a few KiB that stand for 10^80 entries.
    #[test]
    fn a_tree_that_is_endless_in_memory_is_refused_in_bounded_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("opened");
        let job = Job::quiet(2);
        let transaction = store.begin(&job);
        let mut directory = StoredDirectory { metadata: Metadata::root(0o755), entries: BTreeMap::new() };
        let mut tree = None;
        for _ in 0..40 {
            let encoding = directory.encode();
            let child = TreeRef::of(&encoding);
            transaction.put_object(Kind::Tree, &child.id.0, &encoding).expect("put");
            let names = (0..100).map(|index| Name::new(format!("{index:02}").as_bytes()).expect("a name"));
            directory.entries = names.map(|name| (name, StoredNode::Directory(child))).collect();
            tree = Some(child);
        }
        let tree = tree.expect("a tree");
        let refused = read_limited(&transaction, &job, &tree, 20_000);
        assert!(matches!(refused, Err(StoreError::TooLarge { what: "entries", .. })));
    }
}

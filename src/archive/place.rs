//! Putting entries into a tree so that each path is taken once and never leads through a link.

use std::collections::{BTreeMap, HashSet};

use super::limits::Limits;
use crate::base::{ImagePath, Name};
use crate::tree::{Directory, Metadata, Node};

/// A tree that grows entry by entry.
pub(super) struct Growing<'l> {
    pub(super) tree: Directory,
    limits: &'l Limits,
    /// Directories that exist only because something lies in them; an entry may still describe them.
    implied: HashSet<ImagePath>,
    entries: u64,
    metadata_bytes: u64,
}

impl<'l> Growing<'l> {
    /// Makes a tree that holds the directories down to `prefix`.
    pub(super) fn new(prefix: &ImagePath, limits: &'l Limits) -> Result<Self, String> {
        let mut growing = Growing {
            tree: Directory::default(),
            limits,
            implied: HashSet::from([ImagePath::root()]),
            entries: 0,
            metadata_bytes: 0,
        };
        growing.directory(prefix)?;
        Ok(growing)
    }

    /// Puts a node where nothing stands. A directory may describe one that was only implied.
    pub(super) fn put(&mut self, path: &ImagePath, node: Node) -> Result<(), String> {
        self.charge(path, &node)?;
        if let Node::Directory(directory) = node {
            return self.describe(path, directory.metadata);
        }
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
            return Err("the root is a directory and nothing else".into());
        };
        let entries = self.directory(&parent)?;
        match entries.get(&name) {
            None => {
                entries.insert(name, node);
                Ok(())
            }
            Some(there) => Err(format!("this path comes twice, first as a {}", there.kind())),
        }
    }

    /// Returns the path of the node that a hard link leads to; it must be there already.
    pub(super) fn link_target(&self, target: &ImagePath) -> Result<ImagePath, String> {
        match self.tree.get(target) {
            None => Err(format!("a hard link to {target}, which the archive has not brought so far")),
            Some(Node::Directory(_)) => Err(format!("a hard link to the directory {target}")),
            Some(Node::HardLink(first)) => Ok(first.clone()),
            Some(_) => Ok(target.clone()),
        }
    }

    fn describe(&mut self, path: &ImagePath, metadata: Metadata) -> Result<(), String> {
        const TWICE: &str = "this directory comes twice";
        if path.is_root() {
            self.tree.metadata = metadata;
            return if self.implied.remove(path) { Ok(()) } else { Err(TWICE.into()) };
        }
        match self.tree.get(path) {
            Some(Node::Directory(_)) if !self.implied.contains(path) => return Err(TWICE.into()),
            Some(Node::Directory(_)) | None => {}
            Some(other) => return Err(format!("this path comes twice, first as a {}", other.kind())),
        }
        self.directory(path)?;
        self.implied.remove(path);
        if let Some(Node::Directory(directory)) = self.tree.get_mut(path) {
            directory.metadata = metadata;
        }
        Ok(())
    }

    /// Returns what a directory holds, made where it is missing.
    fn directory(&mut self, path: &ImagePath) -> Result<&mut BTreeMap<Name, Node>, String> {
        if self.tree.directory(path).is_none() {
            self.imply(path)?;
        }
        match self.tree.make_directories(path) {
            Ok(directory) => Ok(&mut directory.entries),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Makes missing directories and remembers that nothing describes them yet.
    fn imply(&mut self, path: &ImagePath) -> Result<(), String> {
        let mut at = ImagePath::root();
        for name in path.names() {
            let name = Name::new(name).map_err(|error| error.to_string())?;
            at = at.join(&name);
            match self.tree.get(&at) {
                Some(Node::Directory(_)) => {}
                Some(other) => {
                    let kind = other.kind();
                    return Err(format!(
                        "this path leads through {at}, which is a {kind} of the same archive"
                    ));
                }
                None => {
                    let directory = Node::Directory(Directory::default());
                    self.charge(&at, &directory)?;
                    self.tree.replace(&at, directory).map_err(|error| error.to_string())?;
                    self.implied.insert(at.clone());
                }
            }
        }
        Ok(())
    }

    /// Counts an entry against the limits.
    fn charge(&mut self, path: &ImagePath, node: &Node) -> Result<(), String> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(format!("more than {} entries", self.limits.entries));
        }
        let name = path.name().map_or(0, |name| name.as_bytes().len());
        let link = match node {
            Node::Symlink(symlink) => symlink.target.len(),
            Node::HardLink(target) => target.as_bytes().len(),
            _ => 0,
        };
        let xattrs = node.metadata().into_iter().flat_map(|metadata| &metadata.xattrs);
        let xattrs: usize = xattrs.map(|(name, value)| name.len() + value.len()).sum();
        self.metadata_bytes += (name + link + xattrs) as u64;
        if self.metadata_bytes > self.limits.metadata_bytes {
            let limit = self.limits.metadata_bytes;
            return Err(format!("names, link targets and attributes of more than {limit} bytes in all"));
        }
        Ok(())
    }
}

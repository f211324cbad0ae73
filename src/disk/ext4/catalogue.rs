//! Every inode of a tree, numbered, and the entries of every directory.

use std::collections::{BTreeMap, HashMap};

use super::error::Ext4Error;
use super::format::*;
use crate::base::{ImagePath, Name};
use crate::tree::{Content, Device, DeviceKind, Metadata, Node, SealedTree, Visit};

/// Position in [`Catalogue::inodes`] of the root and of `lost+found`.
pub const ROOT: u32 = 0;
pub const LOST_AND_FOUND: u32 = 1;
const LOST_AND_FOUND_NAME: &[u8] = b"lost+found";
/// No shared block of extended attributes.
pub const NO_BLOCK: u32 = u32::MAX;

static LOST_AND_FOUND_METADATA: Metadata = Metadata { mode: 0o700, uid: 0, gid: 0, xattrs: BTreeMap::new() };

/// One inode: its first name in tree order, and what it is.
pub struct Inode<'a> {
    pub metadata: &'a Metadata,
    pub body: Body<'a>,
    name: &'a [u8],
    /// Position of the directory with that name.
    parent: u32,
    pub links: u32,
    /// Position among the shared attribute blocks, or [`NO_BLOCK`].
    pub attribute_block: u32,
}

#[derive(Clone, Copy)]
pub enum Body<'a> {
    /// Position in [`Catalogue::directories`].
    Directory(u32),
    File(&'a Content),
    Symlink(&'a [u8]),
    Device(&'a Device),
    Fifo,
    Socket,
}

impl Body<'_> {
    /// Returns the code of directory entries.
    fn code(&self) -> u8 {
        match self {
            Body::File(_) => 1,
            Body::Directory(_) => 2,
            Body::Device(Device { kind: DeviceKind::Character, .. }) => 3,
            Body::Device(Device { kind: DeviceKind::Block, .. }) => 4,
            Body::Fifo => 5,
            Body::Socket => 6,
            Body::Symlink(_) => 7,
        }
    }

    /// Returns the kind bits of the mode.
    pub fn mode(&self) -> u16 {
        match self {
            Body::File(_) => MODE_REGULAR,
            Body::Directory(_) => MODE_DIRECTORY,
            Body::Device(Device { kind: DeviceKind::Character, .. }) => MODE_CHARACTER,
            Body::Device(Device { kind: DeviceKind::Block, .. }) => MODE_BLOCK,
            Body::Fifo => MODE_FIFO,
            Body::Socket => MODE_SOCKET,
            Body::Symlink(_) => MODE_SYMLINK,
        }
    }
}

/// A directory's place in [`Catalogue::entries`].
pub struct Listing {
    pub inode: u32,
    /// Inode position of the directory that holds it; the root holds itself.
    pub parent: u32,
    first: usize,
    count: usize,
}

/// A name in a directory.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    pub name: &'a [u8],
    /// Position of its inode.
    pub inode: u32,
    /// Kind, as directory entries say it.
    pub code: u8,
}

/// All inodes, in tree order: the root, `lost+found`, the rest.
pub struct Catalogue<'a> {
    pub inodes: Vec<Inode<'a>>,
    pub directories: Vec<Listing>,
    entries: Vec<Entry<'a>>,
}

impl<'a> Catalogue<'a> {
    pub fn new(tree: &'a SealedTree) -> Result<Self, Ext4Error> {
        let mut builder = Builder::new(tree);
        for visit in tree.walk() {
            builder.visit(visit)?;
        }
        let catalogue = builder.finish();
        catalogue.check()?;
        Ok(catalogue)
    }

    /// Returns a directory's entries, by name in byte order.
    pub fn entries(&self, directory: &Listing) -> &[Entry<'a>] {
        &self.entries[directory.first..directory.first + directory.count]
    }

    /// Returns how many inodes are in use, the reserved ones too.
    pub fn used_inodes(&self) -> u32 {
        FIRST_INODE - LOST_AND_FOUND + self.inodes.len() as u32 - 1
    }

    /// Returns a key for each inode: a hash of its first path. A format constant of stable places.
    pub fn keys(&self) -> Vec<u64> {
        let hasher = blake3::Hasher::new_derive_key("mkimage 2026 ext4 place v1");
        let mut keys: Vec<u64> = Vec::with_capacity(self.inodes.len());
        for inode in &self.inodes {
            let above = keys.get(inode.parent as usize).copied().unwrap_or(0);
            let digest = hasher.clone().update(&above.to_le_bytes()).update(inode.name).finalize();
            let (key, _) = digest.as_bytes().split_first_chunk().expect("because a digest has 32 bytes");
            keys.push(u64::from_le_bytes(*key));
        }
        keys
    }

    /// Returns the first path of an inode, for messages.
    pub fn path(&self, inode: u32) -> ImagePath {
        let mut names = Vec::new();
        let mut at = inode;
        while at != ROOT {
            let inode = &self.inodes[at as usize];
            names.push(inode.name);
            at = inode.parent;
        }
        names.iter().rev().fold(ImagePath::root(), |path, name| {
            path.join(&Name::new(name).expect("because a tree holds valid names"))
        })
    }

    fn check(&self) -> Result<(), Ext4Error> {
        for (index, inode) in self.inodes.iter().enumerate() {
            let path = || self.path(index as u32);
            match inode.body {
                Body::Directory(_) => {}
                _ if inode.links > LINKS_MAX => {
                    let links = inode.links;
                    return Err(Ext4Error::TooManyLinks { path: path(), links, limit: LINKS_MAX });
                }
                Body::File(content) if content.size > FILE_BYTES_MAX => {
                    let size = content.size;
                    return Err(Ext4Error::FileTooLarge { path: path(), size, limit: FILE_BYTES_MAX });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

struct Builder<'a> {
    tree: &'a SealedTree,
    inodes: Vec<Inode<'a>>,
    directories: Vec<Listing>,
    /// Entries in the order of the walk, each with its directory.
    found: Vec<(u32, Entry<'a>)>,
    /// Directories above the walk: position in the walk, position among the directories.
    above: Vec<(usize, u32)>,
    /// Inodes with more than one name, by the address of their node.
    linked: HashMap<usize, u32>,
    has_lost_and_found: bool,
}

fn address(node: &Node) -> usize {
    std::ptr::from_ref(node).addr()
}

impl<'a> Builder<'a> {
    fn new(tree: &'a SealedTree) -> Self {
        let directory = |metadata, body, name| {
            let links = 2;
            Inode {
                metadata,
                body: Body::Directory(body),
                name,
                parent: ROOT,
                links,
                attribute_block: NO_BLOCK,
            }
        };
        let listing = |inode| Listing { inode, parent: ROOT, first: 0, count: 0 };
        let lost_and_found = directory(&LOST_AND_FOUND_METADATA, 1, LOST_AND_FOUND_NAME);
        let targets = tree.walk().filter_map(|visit| match visit.node {
            Node::HardLink(target) => tree.get(target),
            _ => None,
        });
        Builder {
            tree,
            inodes: vec![directory(&tree.metadata, 0, b""), lost_and_found],
            directories: vec![listing(ROOT), listing(LOST_AND_FOUND)],
            found: Vec::new(),
            above: vec![(0, 0)],
            linked: targets.map(|node| (address(node), NO_BLOCK)).collect(),
            has_lost_and_found: false,
        }
    }

    fn visit(&mut self, visit: Visit<'a>) -> Result<(), Ext4Error> {
        while self.above.last().is_some_and(|above| above.0 != visit.parent) {
            self.above.pop();
        }
        let directory = self.above.last().expect("because the root stands above every entry").1;
        let parent = self.directories[directory as usize].inode;
        let name = visit.name.as_bytes();
        let inode = match visit.node {
            Node::HardLink(target) => {
                let node = self.tree.get(target).expect("because a sealed tree's links lead to nodes");
                self.linked[&address(node)]
            }
            node if parent == ROOT && name == LOST_AND_FOUND_NAME => self.lost_and_found(node)?,
            node => self.add(node, name, parent),
        };
        match visit.node {
            Node::Directory(_) => {
                let Body::Directory(own) = self.inodes[inode as usize].body else {
                    unreachable!("a directory's inode is one");
                };
                self.above.push((visit.position, own));
                self.inodes[parent as usize].links += 1;
            }
            _ => self.inodes[inode as usize].links += 1,
        }
        let code = self.inodes[inode as usize].body.code();
        self.found.push((directory, Entry { name, inode, code }));
        Ok(())
    }

    fn lost_and_found(&mut self, node: &'a Node) -> Result<u32, Ext4Error> {
        let Node::Directory(directory) = node else {
            return Err(Ext4Error::LostAndFound { kind: node.kind() });
        };
        self.inodes[LOST_AND_FOUND as usize].metadata = &directory.metadata;
        self.has_lost_and_found = true;
        Ok(LOST_AND_FOUND)
    }

    fn add(&mut self, node: &'a Node, name: &'a [u8], parent: u32) -> u32 {
        let position = self.inodes.len() as u32;
        let body = match node {
            Node::Directory(_) => {
                self.directories.push(Listing { inode: position, parent, first: 0, count: 0 });
                Body::Directory(self.directories.len() as u32 - 1)
            }
            Node::File(file) => Body::File(&file.content),
            Node::Symlink(symlink) => Body::Symlink(&symlink.target),
            Node::Device(device) => Body::Device(device),
            Node::Fifo(_) => Body::Fifo,
            Node::Socket(_) => Body::Socket,
            Node::HardLink(_) => unreachable!("a hard link has no inode of its own"),
        };
        let links = if matches!(body, Body::Directory(_)) { 2 } else { 0 };
        let metadata = node.metadata().expect("because only hard links have none");
        self.inodes.push(Inode { metadata, body, name, parent, links, attribute_block: NO_BLOCK });
        if let Some(linked) = self.linked.get_mut(&address(node)) {
            *linked = position;
        }
        position
    }

    fn finish(mut self) -> Catalogue<'a> {
        if !self.has_lost_and_found {
            let entry = Entry { name: LOST_AND_FOUND_NAME, inode: LOST_AND_FOUND, code: 2 };
            self.found.push((0, entry));
            self.inodes[ROOT as usize].links += 1;
        }
        for (directory, _) in &self.found {
            self.directories[*directory as usize].count += 1;
        }
        let mut next = Vec::with_capacity(self.directories.len());
        let mut first = 0;
        for directory in &mut self.directories {
            directory.first = first;
            next.push(first);
            first += directory.count;
        }
        let mut entries = vec![Entry { name: b"", inode: ROOT, code: 0 }; self.found.len()];
        for (directory, entry) in self.found {
            entries[next[directory as usize]] = entry;
            next[directory as usize] += 1;
        }
        let root = self.directories[0].count;
        entries[..root].sort_by_key(|entry| entry.name);
        Catalogue { inodes: self.inodes, directories: self.directories, entries }
    }
}

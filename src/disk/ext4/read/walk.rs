//! Every entry of a filesystem, in tree order.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use super::error::{Result, damaged};
use super::inode::Inode;
use super::{Ext4Reader, entries, xattrs};
use crate::base::{ImagePath, Job, Name};
use crate::disk::ext4::format::*;
use crate::tree::node::SYMLINK_BYTES_MAX;
use crate::tree::{Content, Device, DeviceKind, Directory, File, Metadata, Node, Symlink};

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ext4Kind {
    Directory,
    /// Length in bytes.
    File(u64),
    /// Target.
    Symlink(Box<[u8]>),
    /// Kind, major, minor.
    Device(DeviceKind, u32, u32),
    Fifo,
    Socket,
}

/// One name and its inode.
#[derive(Clone, Debug)]
pub struct Ext4Entry {
    /// Position of the directory that holds it; the root holds itself.
    pub parent: usize,
    /// `None` for the root.
    pub name: Option<Name>,
    pub inode: u32,
    /// Number of names; 1 for a directory means "unknown" as well.
    pub links: u16,
    pub kind: Ext4Kind,
    pub metadata: Metadata,
    /// Seconds since 1970 of the last change of the content.
    pub modified: i64,
}

/// All entries: the root at position 0, then in tree order.
pub struct Ext4Listing {
    pub entries: Vec<Ext4Entry>,
}

/// Deepest directory that is followed. Deeper trees are legal, but nobody makes them to be of use.
const DEPTH_MAX: usize = 4096;
/// Attributes, symlink targets and paths of hard links may take this many times the length of the filesystem, and this many
/// bytes more: inodes share blocks, and names share inodes, but not without end.
const SHARED_TIMES: u64 = 8;
const SHARED_BYTES: u64 = 64 << 20;

pub fn walk(reader: &Ext4Reader, job: &Job) -> Result<Ext4Listing> {
    let length = reader.facts.blocks.0;
    let blocks = Cell::new(length);
    let mut room = length.saturating_mul(BLOCK as u64 * SHARED_TIMES).saturating_add(SHARED_BYTES);
    let mut seen = HashSet::new();
    // Path lengths of the first names of inodes: each further name becomes a link to that path.
    let mut first_names = HashMap::new();
    let mut entries = Vec::new();
    // What is still to be visited: depth, bytes of its path, parent, name, inode; the next one last.
    let mut waiting: Vec<(usize, usize, usize, Option<Name>, u32)> = vec![(0, 0, 0, None, ROOT_INODE)];
    while let Some((depth, above, parent, name, number)) = waiting.pop() {
        job.check()?;
        let path_bytes = above + name.as_ref().map_or(0, |name| 1 + name.as_bytes().len());
        let inode = reader.inode(number)?;
        let kind = kind(reader, &inode)?;
        if kind == Ext4Kind::Directory {
            if depth > DEPTH_MAX || !seen.insert(number) {
                return damaged(
                    "directory",
                    number,
                    format!("it stands in two places, or {depth} levels deep"),
                );
            }
            let position = entries.len();
            let names = entries::read(reader, &inode, &blocks)?.into_iter().rev();
            let below = |(name, number)| (depth + 1, path_bytes, position, Some(name), number);
            waiting.extend(names.map(below));
        } else if depth == 0 {
            return damaged("inode", number, "the root is no directory");
        }
        let metadata = metadata(reader, &inode)?;
        let linked = first_names.get(&number).copied().unwrap_or(0);
        if kind != Ext4Kind::Directory {
            first_names.entry(number).or_insert(path_bytes as u64);
        }
        room = match room.checked_sub(shared_bytes(&kind, &metadata).saturating_add(linked)) {
            Some(room) => room,
            None => return damaged("inode", number, "attributes, targets and links pass all bounds"),
        };
        let (links, modified) = (inode.links, inode.modified);
        entries.push(Ext4Entry { parent, name, inode: number, links, kind, metadata, modified });
    }
    Ok(Ext4Listing { entries })
}

fn metadata(reader: &Ext4Reader, inode: &Inode) -> Result<Metadata> {
    let xattrs = xattrs::read(reader, inode)?;
    Ok(Metadata { mode: inode.mode & 0o7777, uid: inode.uid, gid: inode.gid, xattrs })
}

/// Returns how many bytes an entry takes that need not be its own on the disk.
fn shared_bytes(kind: &Ext4Kind, metadata: &Metadata) -> u64 {
    let attributes: usize = metadata.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
    match kind {
        Ext4Kind::Symlink(target) => (attributes + target.len()) as u64,
        _ => attributes as u64,
    }
}

fn kind(reader: &Ext4Reader, inode: &Inode) -> Result<Ext4Kind> {
    Ok(match inode.mode & 0o170_000 {
        MODE_DIRECTORY => Ext4Kind::Directory,
        MODE_REGULAR if inode.size <= FILE_BYTES_MAX => Ext4Kind::File(inode.size),
        MODE_REGULAR => return damaged("inode", inode.number, format!("a file of {} bytes", inode.size)),
        MODE_SYMLINK => Ext4Kind::Symlink(target(reader, inode)?),
        MODE_FIFO => Ext4Kind::Fifo,
        MODE_SOCKET => Ext4Kind::Socket,
        MODE_CHARACTER => device(DeviceKind::Character, &inode.block),
        MODE_BLOCK => device(DeviceKind::Block, &inode.block),
        mode => return damaged("inode", inode.number, format!("its mode is {mode:#o}")),
    })
}

fn target(reader: &Ext4Reader, inode: &Inode) -> Result<Box<[u8]>> {
    if inode.size == 0 || inode.size > SYMLINK_BYTES_MAX as u64 {
        return damaged("inode", inode.number, format!("a symlink of {} bytes", inode.size));
    }
    let mut target = vec![0; inode.size as usize];
    if inode.flags & INODE_EXTENTS != 0 {
        // One block needs no tree, and every name of the symlink would read it again.
        if get16(&inode.block, 6) != 0 {
            return damaged("inode", inode.number, "the extents of a symlink have levels");
        }
        reader.read_mapped(&reader.mapping(inode)?, 0, &mut target)?;
    } else if target.len() < inode.block.len() {
        target.copy_from_slice(&inode.block[..inode.size as usize]);
    } else {
        return damaged("inode", inode.number, format!("a symlink of {} bytes without a block", inode.size));
    }
    Ok(target.into())
}

fn device(kind: DeviceKind, block: &[u8; 60]) -> Ext4Kind {
    let (old, new) = (get32(block, 0), get32(block, 4));
    if old != 0 {
        return Ext4Kind::Device(kind, old >> 8 & 0xff, old & 0xff);
    }
    Ext4Kind::Device(kind, new >> 8 & 0xfff, new & 0xff | new >> 12 & 0xf_ff00)
}

impl Ext4Listing {
    /// Returns the path of the entry at a position.
    pub fn path(&self, position: usize) -> ImagePath {
        let mut names = Vec::new();
        let mut at = position;
        while let Some(name) = &self.entries[at].name {
            names.push(name);
            at = self.entries[at].parent;
        }
        names.iter().rev().fold(ImagePath::root(), |path, name| path.join(name))
    }

    /// Returns one entry of every file, with its inode.
    pub fn files(&self) -> Vec<(u32, &Ext4Entry)> {
        let mut seen = HashSet::new();
        let files = self.entries.iter().filter(|entry| matches!(entry.kind, Ext4Kind::File(_)));
        files.filter(|entry| seen.insert(entry.inode)).map(|entry| (entry.inode, entry)).collect()
    }

    /// Makes the tree, of contents that were found for every inode of [`Ext4Listing::files`]: children before
    /// parents, so that each directory is whole when it is put into the one above it.
    pub fn into_tree(self, contents: &HashMap<u32, Content>) -> Directory {
        let mut first = HashMap::new();
        for (position, entry) in self.entries.iter().enumerate() {
            first.entry(entry.inode).or_insert(position);
        }
        let mut made: HashMap<usize, Directory> = HashMap::new();
        for position in (0..self.entries.len()).rev() {
            let entry = &self.entries[position];
            let metadata = entry.metadata.clone();
            let mut directory = made.remove(&position).unwrap_or_default();
            directory.metadata = metadata.clone();
            let Some(name) = entry.name.clone() else { return directory };
            let node = match &entry.kind {
                Ext4Kind::Directory => Node::Directory(directory),
                _ if first[&entry.inode] != position => Node::HardLink(self.path(first[&entry.inode])),
                Ext4Kind::File(_) => Node::File(File { metadata, content: contents[&entry.inode] }),
                Ext4Kind::Symlink(target) => Node::Symlink(Symlink { metadata, target: target.clone() }),
                Ext4Kind::Device(kind, major, minor) => {
                    Node::Device(Device { metadata, kind: *kind, major: *major, minor: *minor })
                }
                Ext4Kind::Fifo => Node::Fifo(metadata),
                Ext4Kind::Socket => Node::Socket(metadata),
            };
            made.entry(entry.parent).or_default().entries.insert(name, node);
        }
        Directory::default()
    }
}

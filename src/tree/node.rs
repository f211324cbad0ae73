//! What stands at a path.

use std::collections::BTreeMap;

use super::content::Content;
use crate::base::{ImagePath, Name};

/// Holds the permission bits, owner and extended attributes of one inode.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    /// Permission bits, 0 to 0o7777 (setuid, setgid, sticky, rwx three times).
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub xattrs: Xattrs,
}

impl Metadata {
    /// Returns metadata of root's with a mode and no extended attributes.
    pub fn root(mode: u16) -> Self {
        Metadata { mode, ..Metadata::default() }
    }
}

/// Holds extended attributes, by full name ("user.comment"), as `getxattr(2)` gives their values.
/// Empty ones are legal. POSIX ACLs are in the kernel's exchange form (version 2), not ext4's.
pub type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// One entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    Directory(Directory),
    File(File),
    Symlink(Symlink),
    Device(Device),
    Fifo(Metadata),
    Socket(Metadata),
    /// Another name of the node at this path.
    HardLink(ImagePath),
}

/// A directory and what it holds, by name in byte order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directory {
    pub metadata: Metadata,
    pub entries: BTreeMap<Name, Node>,
}

impl Default for Directory {
    /// Makes an empty directory, root's, 0755: what is created where a path needs a parent.
    fn default() -> Self {
        Directory { metadata: Metadata::root(0o755), entries: BTreeMap::new() }
    }
}

/// A regular file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    pub metadata: Metadata,
    pub content: Content,
}

/// A symbolic link. Its mode is 0777 whatever the metadata says; owner and xattrs count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Symlink {
    pub metadata: Metadata,
    /// 1 to 4095 bytes, no NUL.
    pub target: Box<[u8]>,
}

/// Longest target of a symbolic link, in bytes.
pub const SYMLINK_BYTES_MAX: usize = 4095;

/// A device node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    pub metadata: Metadata,
    pub kind: DeviceKind,
    /// 0 to 4095 (12 bits).
    pub major: u32,
    /// 0 to 1048575 (20 bits).
    pub minor: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceKind {
    Character,
    Block,
}

/// What a policy may want to be named before it lets it into an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Special {
    SetUid,
    SetGid,
    Device,
    Capability,
    TrustedXattr,
}

impl std::fmt::Display for Special {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Special::SetUid => "a setuid bit",
            Special::SetGid => "a setgid bit",
            Special::Device => "a device node",
            Special::Capability => "a file capability",
            Special::TrustedXattr => "a trusted.* attribute",
        })
    }
}

impl Node {
    /// Returns the metadata; `None` for a hard link, which has that of its target.
    pub fn metadata(&self) -> Option<&Metadata> {
        match self {
            Node::Directory(directory) => Some(&directory.metadata),
            Node::File(file) => Some(&file.metadata),
            Node::Symlink(symlink) => Some(&symlink.metadata),
            Node::Device(device) => Some(&device.metadata),
            Node::Fifo(metadata) | Node::Socket(metadata) => Some(metadata),
            Node::HardLink(_) => None,
        }
    }

    /// Returns the metadata for changing; `None` for a hard link.
    pub fn metadata_mut(&mut self) -> Option<&mut Metadata> {
        match self {
            Node::Directory(directory) => Some(&mut directory.metadata),
            Node::File(file) => Some(&mut file.metadata),
            Node::Symlink(symlink) => Some(&mut symlink.metadata),
            Node::Device(device) => Some(&mut device.metadata),
            Node::Fifo(metadata) | Node::Socket(metadata) => Some(metadata),
            Node::HardLink(_) => None,
        }
    }

    /// Names the kind of node for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Node::Directory(_) => "directory",
            Node::File(_) => "file",
            Node::Symlink(_) => "symlink",
            Node::Device(Device { kind: DeviceKind::Character, .. }) => "character device",
            Node::Device(Device { kind: DeviceKind::Block, .. }) => "block device",
            Node::Fifo(_) => "fifo",
            Node::Socket(_) => "socket",
            Node::HardLink(_) => "hard link",
        }
    }

    /// Lists what gives this node power that an untrusted source must not hand out unasked.
    pub fn specials(&self) -> Vec<Special> {
        let mut specials = Vec::new();
        if matches!(self, Node::Device(_)) {
            specials.push(Special::Device);
        }
        if let Some(metadata) = self.metadata() {
            let is_directory = matches!(self, Node::Directory(_));
            if metadata.mode & 0o4000 != 0 && !is_directory {
                specials.push(Special::SetUid);
            }
            if metadata.mode & 0o2000 != 0 && !is_directory {
                specials.push(Special::SetGid);
            }
            for name in metadata.xattrs.keys() {
                match &**name {
                    b"security.capability" => specials.push(Special::Capability),
                    name if name.starts_with(b"trusted.") => specials.push(Special::TrustedXattr),
                    _ => {}
                }
            }
        }
        specials
    }
}

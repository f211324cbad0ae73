//! The canonical encoding of one directory: what a tree object holds.
//!
//! ```text
//! directory = "MKITREE" 01                       changing any of this is a format break: name a version 2
//!             metadata                           the directory's own: so the root is no exception
//!             entry*                             to the end of the object, strictly ascending by name bytes
//! metadata  = mode u16   uid u32   gid u32       mode 0 to 07777; ids below 2^32 - 1
//!             count u32  attribute*              strictly ascending by name
//! attribute = length u8  name   length u32  value
//! entry     = length u8  name   kind u8   rest
//! rest      = 1 directory: id[32] size u64       of the child's encoding
//!             2 file:      metadata  id[32] size u64
//!             3 symlink:   metadata  length u16 target
//!             4 character: metadata  major u32 minor u32     5 block: the same
//!             6 fifo:      metadata                          7 socket: the same
//!             8 hard link: length u16 absolute path of the node
//! ```
//!
//! Integers are little-endian. The id is BLAKE3 in derive-key mode, context `mkimage 2026 tree v1`, over all
//! of it. One value has one encoding, and the decoder takes nothing else.

use std::collections::BTreeMap;

use super::encode::{Decoded, Decoder, Encoder, Malformed};
use crate::base::{BlobId, Digest, ImagePath, Name, TreeId};
use crate::tree::node::SYMLINK_BYTES_MAX;
use crate::tree::{Content, Device, DeviceKind, Directory, File, Metadata, Node, Symlink, Xattrs};

const MAGIC: &[u8; 8] = b"MKITREE\x01";
pub(super) const CONTEXT: &str = "mkimage 2026 tree v1";

/// Longest encoding of one directory, in bytes: some three million entries.
pub const DIRECTORY_BYTES_MAX: u64 = 256 << 20;

const XATTR_VALUE_BYTES_MAX: usize = 65536;

/// Names the canonical encoding of a directory: its id and exact length, which bounds its decompression.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct TreeRef {
    pub id: TreeId,
    /// Length of the encoding in bytes.
    pub size: u64,
}

impl TreeRef {
    /// Names an encoding that is at hand.
    pub fn of(encoding: &[u8]) -> Self {
        TreeRef { id: TreeId(Digest::derive(CONTEXT, encoding)), size: encoding.len() as u64 }
    }
}

/// One directory as it is stored: its sub-directories are names of further objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDirectory {
    pub metadata: Metadata,
    pub entries: BTreeMap<Name, StoredNode>,
}

/// An entry of a [`StoredDirectory`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredNode {
    Directory(TreeRef),
    /// Anything but a directory.
    Leaf(Node),
}

const DIRECTORY: u8 = 1;
const FILE: u8 = 2;
const SYMLINK: u8 = 3;
const CHARACTER: u8 = 4;
const BLOCK: u8 = 5;
const FIFO: u8 = 6;
const SOCKET: u8 = 7;
const HARD_LINK: u8 = 8;

/// Encodes a directory whose sub-directories are encoded already; `children` names them in entry order.
pub(super) fn encode(directory: &Directory, children: &[TreeRef]) -> Vec<u8> {
    let mut out = Encoder::new(MAGIC);
    let mut children = children.iter();
    encode_metadata(&mut out, &directory.metadata);
    for (name, node) in &directory.entries {
        encode_name(&mut out, name);
        match node {
            Node::Directory(_) => encode_child(
                &mut out,
                children.next().expect("because each sub-directory was encoded before"),
            ),
            leaf => encode_leaf(&mut out, leaf),
        }
    }
    out.finish()
}

impl StoredDirectory {
    /// Returns the canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC);
        encode_metadata(&mut out, &self.metadata);
        for (name, node) in &self.entries {
            encode_name(&mut out, name);
            match node {
                StoredNode::Directory(child) => encode_child(&mut out, child),
                StoredNode::Leaf(leaf) => encode_leaf(&mut out, leaf),
            }
        }
        out.finish()
    }

    /// Reads a canonical encoding, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Decoder::new(bytes, MAGIC)?;
        let metadata = decode_metadata(&mut input)?;
        let mut entries: Vec<(Name, StoredNode)> = Vec::new();
        while !input.is_at_end() {
            let name = decode_name(&mut input)?;
            if let Some((last, _)) = entries.last()
                && *last >= name
            {
                return input.fail(format!("\"{name}\" stands behind \"{last}\": names must ascend"));
            }
            let node = decode_node(&mut input)?;
            entries.push((name, node));
        }
        input.end()?;
        Ok(StoredDirectory { metadata, entries: entries.into_iter().collect() })
    }
}

fn encode_name(out: &mut Encoder, name: &Name) {
    out.u8(u8::try_from(name.as_bytes().len()).expect("because a name has at most 255 bytes"));
    out.raw(name.as_bytes());
}

fn encode_child(out: &mut Encoder, child: &TreeRef) {
    out.u8(DIRECTORY);
    out.raw(child.id.as_bytes());
    out.u64(child.size);
}

fn encode_leaf(out: &mut Encoder, node: &Node) {
    out.u8(kind(node));
    if let Some(metadata) = node.metadata() {
        encode_metadata(out, metadata);
    }
    match node {
        Node::File(file) => {
            out.raw(file.content.id.as_bytes());
            out.u64(file.content.size);
        }
        Node::Symlink(symlink) => encode_path(out, &symlink.target),
        Node::Device(device) => {
            out.u32(device.major);
            out.u32(device.minor);
        }
        Node::HardLink(target) => encode_path(out, target.as_bytes()),
        Node::Fifo(_) | Node::Socket(_) => {}
        Node::Directory(_) => unreachable!("because directories are encoded as children"),
    }
}

fn kind(node: &Node) -> u8 {
    match node {
        Node::Directory(_) => DIRECTORY,
        Node::File(_) => FILE,
        Node::Symlink(_) => SYMLINK,
        Node::Device(Device { kind: DeviceKind::Character, .. }) => CHARACTER,
        Node::Device(Device { kind: DeviceKind::Block, .. }) => BLOCK,
        Node::Fifo(_) => FIFO,
        Node::Socket(_) => SOCKET,
        Node::HardLink(_) => HARD_LINK,
    }
}

fn encode_path(out: &mut Encoder, path: &[u8]) {
    out.u16(u16::try_from(path.len()).expect("because a sealed tree's targets have at most 4095 bytes"));
    out.raw(path);
}

fn encode_metadata(out: &mut Encoder, metadata: &Metadata) {
    out.u16(metadata.mode);
    out.u32(metadata.uid);
    out.u32(metadata.gid);
    out.count(metadata.xattrs.len());
    for (name, value) in &metadata.xattrs {
        out.u8(
            u8::try_from(name.len()).expect("because a sealed tree's attribute names have at most 255 bytes")
        );
        out.raw(name);
        out.bytes(value);
    }
}

fn decode_name(input: &mut Decoder<'_>) -> Decoded<Name> {
    let length = input.u8()?;
    let bytes = input.raw(usize::from(length))?;
    Name::new(bytes).or_else(|error| input.fail(error.to_string()))
}

fn decode_metadata(input: &mut Decoder<'_>) -> Decoded<Metadata> {
    let (mode, uid, gid) = (input.u16()?, input.u32()?, input.u32()?);
    if mode > 0o7777 {
        return input.fail(format!("permission bits go to 07777, these are {mode:o}"));
    }
    if uid == u32::MAX || gid == u32::MAX {
        return input.fail("4294967295 is no user or group id");
    }
    let mut last: Option<&[u8]> = None;
    let mut xattrs = Xattrs::new();
    for _ in 0..input.u32()? {
        let length = input.u8()?;
        let name = input.raw(usize::from(length))?;
        if name.contains(&0) || !name.contains(&b'.') {
            return input.fail("a name of an extended attribute is \"namespace.name\", without NUL");
        }
        if last.is_some_and(|last| last >= name) {
            return input.fail("names of extended attributes must ascend");
        }
        last = Some(name);
        xattrs.insert(name.into(), input.bytes(XATTR_VALUE_BYTES_MAX)?.into());
    }
    Ok(Metadata { mode, uid, gid, xattrs })
}

fn decode_node(input: &mut Decoder<'_>) -> Decoded<StoredNode> {
    let kind = input.u8()?;
    let node = match kind {
        DIRECTORY => return decode_child(input),
        HARD_LINK => return Ok(StoredNode::Leaf(Node::HardLink(decode_target(input)?))),
        FILE..=SOCKET => decode_leaf(input, kind)?,
        other => return input.fail(format!("unknown kind of entry {other}")),
    };
    Ok(StoredNode::Leaf(node))
}

fn decode_child(input: &mut Decoder<'_>) -> Decoded<StoredNode> {
    let child = TreeRef { id: TreeId::from(input.digest()?), size: input.u64()? };
    if child.size > DIRECTORY_BYTES_MAX {
        return input.fail(format!(
            "a directory of {} bytes, at most {DIRECTORY_BYTES_MAX} are possible",
            child.size
        ));
    }
    Ok(StoredNode::Directory(child))
}

fn decode_leaf(input: &mut Decoder<'_>, kind: u8) -> Decoded<Node> {
    let metadata = decode_metadata(input)?;
    Ok(match kind {
        FILE => {
            let content = Content { id: BlobId::from(input.digest()?), size: input.u64()? };
            Node::File(File { metadata, content })
        }
        SYMLINK => {
            let length = usize::from(input.u16()?);
            let target = input.raw(length)?;
            if length == 0 || length > SYMLINK_BYTES_MAX || target.contains(&0) {
                return input
                    .fail(format!("the target of a symlink has 1 to {SYMLINK_BYTES_MAX} bytes, none NUL"));
            }
            Node::Symlink(Symlink { metadata, target: target.into() })
        }
        CHARACTER | BLOCK => {
            let (major, minor) = (input.u32()?, input.u32()?);
            if major > 0xfff || minor > 0xf_ffff {
                return input.fail(format!("device numbers go to 4095:1048575, these are {major}:{minor}"));
            }
            let kind = if kind == BLOCK { DeviceKind::Block } else { DeviceKind::Character };
            Node::Device(Device { metadata, kind, major, minor })
        }
        FIFO => Node::Fifo(metadata),
        _ => Node::Socket(metadata),
    })
}

fn decode_target(input: &mut Decoder<'_>) -> Decoded<ImagePath> {
    let length = usize::from(input.u16()?);
    let bytes = input.raw(length)?;
    match ImagePath::new(bytes) {
        Ok(path) if path.as_bytes() == bytes && !path.is_root() => Ok(path),
        Ok(_) => input.fail("the target of a hard link is a normal path, not the root"),
        Err(error) => input.fail(error.to_string()),
    }
}

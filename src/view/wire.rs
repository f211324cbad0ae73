//! An outline on its way out of the confined child.
//!
//! ```text
//! outline  = modified i64   metadata            the root's
//!            count u32      entry*              in tree order
//!            count u32      (path  i64)*        when others were changed
//! entry    = parent u32 (0 the root, else the number of an entry before, from 1)   name bytes   kind u8   rest
//! rest     = 1 directory: metadata              2 file: metadata  id[32] size u64
//!            3 symlink: metadata target bytes   4 character, 5 block: metadata major u32 minor u32
//!            6 fifo, 7 socket: metadata         8 hard link: path
//! metadata = mode u16 uid u32 gid u32 count u32 (name bytes  value bytes)*
//! path     = bytes, bytes = length u32, so many bytes
//! ```
//!
//! Integers are little-endian. Whoever took the child over may send anything: what is read here takes as much memory as
//! it is long, and no level deeper than a path can name.

use std::collections::{BTreeMap, HashMap};

use super::outline::Outline;
use crate::base::{BlobId, ImagePath, Name};
use crate::store::TREE_DEPTH_MAX;
use crate::tree::{Content, Device, DeviceKind, Directory, File, Metadata, Node, Symlink, Xattrs};

const DIRECTORY: u8 = 1;
const FILE: u8 = 2;
const SYMLINK: u8 = 3;
const CHARACTER: u8 = 4;
const BLOCK: u8 = 5;
const FIFO: u8 = 6;
const SOCKET: u8 = 7;
const HARD_LINK: u8 = 8;

/// Writes an outline.
pub(super) fn write(outline: &Outline) -> Vec<u8> {
    let mut out = Writer::default();
    out.raw(&outline.modified.to_le_bytes());
    out.metadata(&outline.root.metadata);
    let count_at = out.0.len();
    out.number(0);
    let mut count = 0;
    for visit in outline.root.walk() {
        count += 1;
        out.number(visit.parent);
        out.bytes(visit.name.as_bytes());
        out.node(visit.node);
    }
    out.0[count_at..count_at + 4].copy_from_slice(&Writer::length(count));
    out.number(outline.modified_otherwise.len());
    for (path, modified) in &outline.modified_otherwise {
        out.bytes(path.as_bytes());
        out.raw(&modified.to_le_bytes());
    }
    out.0
}

/// Reads an outline and nothing behind it; `None` where it is none.
pub(super) fn read(bytes: &[u8]) -> Option<Outline> {
    let mut input = Reader(bytes);
    let modified = input.i64()?;
    let metadata = input.metadata()?;
    let mut entries: Vec<(usize, Name, Node)> = Vec::new();
    let mut depths = vec![0];
    for position in 1..=input.number()? {
        let parent = input.number()?;
        let is_directory = parent == 0 || matches!(entries.get(parent - 1)?.2, Node::Directory(_));
        let depth = depths.get(parent)? + 1;
        if parent >= position || !is_directory || depth > TREE_DEPTH_MAX {
            return None;
        }
        depths.push(depth);
        let name = Name::new(input.bytes()?).ok()?;
        entries.push((parent, name, input.node()?));
    }
    let root = hung(metadata, entries);
    let mut modified_otherwise = BTreeMap::new();
    for _ in 0..input.number()? {
        modified_otherwise.insert(input.path()?, input.i64()?);
    }
    input.0.is_empty().then_some(Outline { root, modified, modified_otherwise })
}

/// Hangs entries into their directories, from the last to the first.
fn hung(metadata: Metadata, entries: Vec<(usize, Name, Node)>) -> Directory {
    let mut made: HashMap<usize, BTreeMap<Name, Node>> = HashMap::new();
    for (before, (parent, name, mut node)) in entries.into_iter().enumerate().rev() {
        if let Node::Directory(directory) = &mut node {
            directory.entries = made.remove(&(before + 1)).unwrap_or_default();
        }
        made.entry(parent).or_default().insert(name, node);
    }
    Directory { metadata, entries: made.remove(&0).unwrap_or_default() }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn length(count: usize) -> [u8; 4] {
        u32::try_from(count).expect("because no image has four thousand million entries").to_le_bytes()
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, number: usize) {
        self.raw(&Self::length(number));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.raw(bytes);
    }

    fn metadata(&mut self, metadata: &Metadata) {
        self.raw(&metadata.mode.to_le_bytes());
        self.raw(&metadata.uid.to_le_bytes());
        self.raw(&metadata.gid.to_le_bytes());
        self.number(metadata.xattrs.len());
        for (name, value) in &metadata.xattrs {
            self.bytes(name);
            self.bytes(value);
        }
    }

    fn node(&mut self, node: &Node) {
        let kind = match node {
            Node::Directory(_) => DIRECTORY,
            Node::File(_) => FILE,
            Node::Symlink(_) => SYMLINK,
            Node::Device(Device { kind: DeviceKind::Character, .. }) => CHARACTER,
            Node::Device(_) => BLOCK,
            Node::Fifo(_) => FIFO,
            Node::Socket(_) => SOCKET,
            Node::HardLink(_) => HARD_LINK,
        };
        self.raw(&[kind]);
        if let Some(metadata) = node.metadata() {
            self.metadata(metadata);
        }
        match node {
            Node::File(file) => {
                self.raw(file.content.id.as_bytes());
                self.raw(&file.content.size.to_le_bytes());
            }
            Node::Symlink(symlink) => self.bytes(&symlink.target),
            Node::Device(device) => {
                self.raw(&device.major.to_le_bytes());
                self.raw(&device.minor.to_le_bytes());
            }
            Node::HardLink(target) => self.bytes(target.as_bytes()),
            Node::Directory(_) | Node::Fifo(_) | Node::Socket(_) => {}
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn raw(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.raw(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn number(&mut self) -> Option<usize> {
        self.u32().map(|number| number as usize)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.raw(length)
    }

    /// Reads a path, which may be longer than one that can be typed.
    fn path(&mut self) -> Option<ImagePath> {
        let mut names = self.bytes()?.strip_prefix(b"/")?.split(|byte| *byte == b'/').peekable();
        if names.peek().is_some_and(|name| name.is_empty()) {
            names.next();
            return names.next().is_none().then(ImagePath::root);
        }
        names.try_fold(ImagePath::root(), |path, name| Some(path.join(&Name::new(name).ok()?)))
    }

    fn metadata(&mut self) -> Option<Metadata> {
        let mode = self.array().map(u16::from_le_bytes)?;
        let (uid, gid) = (self.u32()?, self.u32()?);
        let mut xattrs = Xattrs::new();
        for _ in 0..self.number()? {
            xattrs.insert(self.bytes()?.into(), self.bytes()?.into());
        }
        (mode <= 0o7777).then_some(Metadata { mode, uid, gid, xattrs })
    }

    fn node(&mut self) -> Option<Node> {
        let kind = self.array::<1>()?[0];
        if kind == HARD_LINK {
            return self.path().map(Node::HardLink);
        }
        let metadata = self.metadata()?;
        Some(match kind {
            DIRECTORY => Node::Directory(Directory { metadata, ..Directory::default() }),
            FILE => {
                let content = Content {
                    id: BlobId::from(self.array::<32>()?),
                    size: self.array().map(u64::from_le_bytes)?,
                };
                Node::File(File { metadata, content })
            }
            SYMLINK => Node::Symlink(Symlink { metadata, target: self.bytes()?.into() }),
            CHARACTER | BLOCK => {
                let kind = if kind == BLOCK { DeviceKind::Block } else { DeviceKind::Character };
                Node::Device(Device { metadata, kind, major: self.u32()?, minor: self.u32()? })
            }
            FIFO => Node::Fifo(metadata),
            SOCKET => Node::Socket(metadata),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::outline::placed;
    use super::*;

    fn outline() -> Outline {
        let path = |text: &str| ImagePath::new(text.as_bytes()).expect("a path");
        let mut metadata = Metadata { mode: 0o4755, uid: u32::MAX, gid: 7, ..Metadata::default() };
        metadata.xattrs.insert(b"user.a"[..].into(), b"\0\xff"[..].into());
        let mut root = Directory { metadata: Metadata::root(0o700), ..Directory::default() };
        let device =
            |kind| Node::Device(Device { metadata: Metadata::root(0o600), kind, major: 1, minor: 2 });
        let link = Symlink { metadata: Metadata::root(0o777), target: b"../x\xff"[..].into() };
        for (at, node) in [
            ("/a/b/c/file", Node::File(File { metadata, content: placed(12, 1 << 40) })),
            ("/a/b/link", Node::Symlink(link)),
            ("/a/z", Node::HardLink(path("/a/b/c/file"))),
            ("/dev/null", device(DeviceKind::Character)),
            ("/dev/sda", device(DeviceKind::Block)),
            ("/run/fifo", Node::Fifo(Metadata::root(0o600))),
            ("/run/socket", Node::Socket(Metadata::root(0o666))),
        ] {
            root.insert(&path(at), node).expect("inserted");
        }
        let modified_otherwise = [(path("/"), -1), (path("/a/z"), i64::MAX)].into_iter().collect();
        Outline { root, modified: 1_700_000_000, modified_otherwise }
    }

    #[test]
    fn an_outline_comes_out_as_it_went_in() {
        let (before, after) = (outline(), read(&write(&outline())).expect("an outline"));
        assert_eq!(before.root, after.root);
        assert_eq!(before.modified, after.modified);
        assert_eq!(before.modified_otherwise, after.modified_otherwise);
    }

    #[test]
    fn no_cut_or_changed_outline_is_more_than_refused_or_another_one() {
        let sound = write(&outline());
        for end in 0..sound.len() {
            assert!(read(&sound[..end]).is_none(), "{end}");
        }
        for at in 0..sound.len() {
            for value in [0, 1, 8, 0x2f, 0x7f, 0xff] {
                let mut bytes = sound.clone();
                bytes[at] = value;
                let _ = read(&bytes);
            }
        }
    }

    #[test]
    fn directories_without_end_are_refused() {
        let endless = |depth: usize| {
            let mut out = Writer::default();
            out.raw(&[0; 8]);
            out.metadata(&Metadata::root(0o755));
            out.number(depth);
            for parent in 0..depth {
                out.number(parent);
                out.bytes(b"d");
                out.raw(&[DIRECTORY]);
                out.metadata(&Metadata::root(0o755));
            }
            out.number(0);
            out.0
        };
        assert!(read(&endless(100)).is_some());
        assert!(read(&endless(1 << 20)).is_none());
    }
}

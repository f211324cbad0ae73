//! Every entry of a tree by number, as the kernel asks for them.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

use crate::base::{ImagePath, Name};
use crate::tree::{DeviceKind, Directory, Metadata, Node};

/// The number of the root, as FUSE has it.
pub(super) const ROOT: u64 = 1;

/// All entries; number n is at position n - 1.
pub(super) struct Table {
    inodes: Vec<Inode>,
    pub bytes: u64,
}

/// One inode.
pub(super) struct Inode {
    /// A directory comes without what it holds, and so does a hard link not come at all.
    pub node: Node,
    pub names: BTreeMap<Name, u64>,
    pub parent: u64,
    links: u32,
    modified: i64,
}

impl Table {
    /// Numbers the entries in tree order. `modified` says when an entry was changed, in seconds since 1970.
    pub fn of(tree: &Directory, modified: impl Fn(&ImagePath) -> i64) -> Table {
        let root = ImagePath::root();
        let node = super::super::view::without_entries(&Node::Directory(Directory {
            metadata: tree.metadata.clone(),
            ..Directory::default()
        }));
        let mut table = Table { inodes: Vec::new(), bytes: 0 };
        table.add(node, ROOT, modified(&root));
        let mut numbers: HashMap<ImagePath, u64> = HashMap::from([(root, ROOT)]);
        let mut links = Vec::new();
        for (path, node) in tree.paths() {
            let parent = path.parent().and_then(|parent| numbers.get(&parent).copied()).unwrap_or(ROOT);
            if let Node::HardLink(target) = node {
                links.push((parent, path, target.clone()));
                continue;
            }
            let number = table.add(super::super::view::without_entries(node), parent, modified(&path));
            table.name(parent, &path, number);
            numbers.insert(path, number);
        }
        for (parent, path, target) in links {
            if let Some(&number) = numbers.get(&target) {
                table.inodes[number as usize - 1].links += 1;
                table.name(parent, &path, number);
            }
        }
        table
    }

    fn add(&mut self, node: Node, parent: u64, modified: i64) -> u64 {
        if let Node::File(file) = &node {
            self.bytes = self.bytes.saturating_add(file.content.size);
        }
        if let (Node::Directory(_), Some(above)) = (&node, self.inodes.get_mut(parent as usize - 1)) {
            above.links += 1;
        }
        let links = if matches!(node, Node::Directory(_)) { 2 } else { 1 };
        self.inodes.push(Inode { node, names: BTreeMap::new(), parent, links, modified });
        self.inodes.len() as u64
    }

    fn name(&mut self, parent: u64, path: &ImagePath, number: u64) {
        if let Some(name) = path.name() {
            self.inodes[parent as usize - 1].names.insert(name, number);
        }
    }

    /// Returns an inode by its number.
    pub fn get(&self, number: INodeNo) -> Option<&Inode> {
        self.inodes.get(usize::try_from(number.0).ok()?.checked_sub(1)?)
    }

    /// Returns the number of entries.
    pub fn entries(&self) -> u64 {
        self.inodes.len() as u64
    }
}

impl Inode {
    pub fn metadata(&self) -> &Metadata {
        static NONE: std::sync::OnceLock<Metadata> = std::sync::OnceLock::new();
        self.node.metadata().unwrap_or_else(|| NONE.get_or_init(Metadata::default))
    }

    /// Returns what `readdir` says of the kind.
    pub fn kind(&self) -> FileType {
        match &self.node {
            Node::Directory(_) => FileType::Directory,
            Node::File(_) | Node::HardLink(_) => FileType::RegularFile,
            Node::Symlink(_) => FileType::Symlink,
            Node::Device(device) if device.kind == DeviceKind::Block => FileType::BlockDevice,
            Node::Device(_) => FileType::CharDevice,
            Node::Fifo(_) => FileType::NamedPipe,
            Node::Socket(_) => FileType::Socket,
        }
    }

    /// Returns what `stat` says.
    pub fn attributes(&self, number: u64) -> FileAttr {
        let size = match &self.node {
            Node::File(file) => file.content.size,
            Node::Symlink(symlink) => symlink.target.len() as u64,
            _ => 0,
        };
        let (metadata, time) = (self.metadata(), time(self.modified));
        let perm = if matches!(self.node, Node::Symlink(_)) { 0o777 } else { metadata.mode };
        FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: self.kind(),
            perm,
            nlink: self.links,
            uid: metadata.uid,
            gid: metadata.gid,
            rdev: match &self.node {
                Node::Device(device) => device_number(device.major, device.minor),
                _ => 0,
            },
            blksize: 4096,
            flags: 0,
        }
    }
}

/// Encodes a device as the kernel does for user space (`new_encode_dev` in `linux/kdev_t.h`).
fn device_number(major: u32, minor: u32) -> u32 {
    minor & 0xff | (major & 0xfff) << 8 | (minor & !0xff) << 12
}

fn time(seconds: i64) -> SystemTime {
    let away = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { UNIX_EPOCH.checked_sub(away) } else { UNIX_EPOCH.checked_add(away) };
    time.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, File};

    #[test]
    fn further_names_have_the_number_of_the_file() {
        let path = |text: &str| ImagePath::new(text.as_bytes()).expect("a path");
        let mut root = Directory::default();
        let file = Node::File(File { metadata: Metadata::root(0o644), content: Content::of(b"x") });
        root.insert(&path("/d/a"), file).expect("inserted");
        root.insert(&path("/d/b"), Node::HardLink(path("/d/a"))).expect("inserted");
        root.insert(&path("/e/f"), Node::Fifo(Metadata::root(0o600))).expect("inserted");
        let table = Table::of(&root, |_| 7);
        let top = table.get(INodeNo(ROOT)).expect("the root");
        assert_eq!(top.attributes(ROOT).nlink, 4, "itself twice, and two directories");
        let d = table.get(INodeNo(top.names[&b"d"[..]])).expect("a directory");
        assert_eq!(d.names[&b"a"[..]], d.names[&b"b"[..]]);
        let a = table.get(INodeNo(d.names[&b"a"[..]])).expect("a file");
        assert_eq!((a.attributes(9).nlink, a.attributes(9).size), (2, 1));
        assert!(table.get(INodeNo(0)).is_none() && table.get(INodeNo(99)).is_none());
        assert_eq!((table.entries(), table.bytes), (5, 1));
    }

    #[test]
    fn devices_are_numbered_as_the_kernel_does() {
        assert_eq!(device_number(1, 3), 0x103);
        assert_eq!(device_number(0xfff, 0xf_ffff), 0xffff_ffff);
        assert_eq!(device_number(259, 0x1234), 0x34 | 259 << 8 | 0x1200 << 12);
    }
}

//! The result as a tree: read when every process of the sandbox is gone, following no link.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, Statx};

use super::error::SandboxError;
use super::lay::{self, Laid, Stamp, first};
use super::records::{Inode, Record, Records, WANTED};
use crate::base::job::Unit;
use crate::base::{ImagePath, Job, Name};
use crate::tree::{
    Content, ContentError, ContentSink, Device, Directory, File as FileNode, Metadata, Node, Symlink,
};

/// Deepest path of a result, in names: what else walks a tree may recurse.
const DEPTH_MAX: usize = 256;

/// Reads a tree back.
pub struct Gatherer<'a> {
    pub root: &'a OwnedFd,
    pub top: &'a str,
    pub laid: &'a Laid,
    /// What is known of inodes now.
    pub records: &'a Records,
    pub sink: &'a dyn ContentSink,
    pub job: &'a Job,
}

type Result<T> = std::result::Result<T, SandboxError>;

/// What stands at a path, contents not yet read.
struct Entry {
    path: ImagePath,
    inode: Inode,
    links: u32,
    node: Node,
    /// A file whose bytes must be read.
    fresh: bool,
}

impl Gatherer<'_> {
    /// Returns the tree. Files that nothing has touched keep their content unread.
    pub fn gather(&self) -> Result<Directory> {
        let mut entries = self.entries()?;
        self.read(&mut entries)?;
        let mut tree = Directory::default();
        let mut names: HashMap<Inode, ImagePath> = HashMap::new();
        entries.sort_by(|a, b| a.path.names().cmp(b.path.names()));
        for entry in entries {
            if entry.path.is_root() {
                let Node::Directory(root) = entry.node else { continue };
                tree.metadata = root.metadata;
                continue;
            }
            let shared = entry.links > 1 && !matches!(entry.node, Node::Directory(_));
            let node = match names.get(&entry.inode).filter(|_| shared) {
                Some(target) => Node::HardLink(target.clone()),
                None => entry.node,
            };
            if shared {
                names.entry(entry.inode).or_insert_with(|| entry.path.clone());
            }
            tree.insert(&entry.path, node).map_err(|error| SandboxError::Result {
                path: entry.path.clone(),
                problem: error.to_string(),
            })?;
        }
        Ok(tree)
    }

    /// Lists everything, one level of directories after the other.
    fn entries(&self) -> Result<Vec<Entry>> {
        let seen = rustix::fs::statx(self.root, self.top, AtFlags::SYMLINK_NOFOLLOW, WANTED)
            .map_err(SandboxError::tree("look at", &ImagePath::root()))?;
        let metadata = self.metadata(&seen, 0);
        let mut level = vec![(ImagePath::root(), self.group(&metadata), metadata.mode)];
        let node = Node::Directory(Directory { metadata, ..Directory::default() });
        let mut all =
            vec![Entry { path: ImagePath::root(), inode: Inode::of(&seen), links: 1, node, fresh: false }];
        for depth in 0.. {
            if level.is_empty() {
                break;
            }
            if depth > DEPTH_MAX {
                let problem = format!("it lies deeper than {DEPTH_MAX} names");
                return Err(SandboxError::Result { path: level[0].0.clone(), problem });
            }
            self.job.check()?;
            let lists =
                first(self.job.workers.try_map(level, |(path, group, mode)| self.list(&path, group, mode)))?;
            level = Vec::new();
            for entry in lists.into_iter().flatten() {
                if let Node::Directory(directory) = &entry.node {
                    let group = self.group(&directory.metadata);
                    level.push((entry.path.clone(), group, directory.metadata.mode));
                }
                all.push(entry);
            }
        }
        Ok(all)
    }

    /// Returns the group that a directory hands on: its own where it has the setgid bit, else root's.
    fn group(&self, metadata: &Metadata) -> u32 {
        if metadata.mode & 0o2000 != 0 { metadata.gid } else { 0 }
    }

    /// Lists one directory. `group` owns what was made in it and never given to anybody.
    fn list(&self, path: &ImagePath, group: u32, mode: u16) -> Result<Vec<Entry>> {
        let fd = self.enter(path, mode)?;
        let listing = Dir::read_from(&fd).map_err(SandboxError::tree("list", path))?;
        let mut entries = Vec::new();
        for entry in listing {
            let entry = entry.map_err(SandboxError::tree("list", path))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let name = Name::new(name)
                .map_err(|error| SandboxError::Result { path: path.clone(), problem: error.to_string() })?;
            entries.push(self.entry(&fd, path.join(&name), &name, group)?);
        }
        Ok(entries)
    }

    /// Opens a directory, even one that forbids it to its owner: its mode was noted when its parent was
    /// listed, and nobody lives to whom another one would matter.
    fn enter(&self, path: &ImagePath, mode: u16) -> Result<OwnedFd> {
        if mode & 0o500 != 0o500 {
            let done = match path.parent().zip(path.name()) {
                None => rustix::fs::chmodat(self.root, self.top, Mode::RWXU, AtFlags::empty()),
                Some((parent, name)) => {
                    let parent = lay::open(self.root, self.top, &parent)?;
                    rustix::fs::chmodat(&parent, name.as_bytes(), Mode::RWXU, AtFlags::empty())
                }
            };
            done.map_err(SandboxError::tree("enter", path))?;
        }
        lay::open(self.root, self.top, path)
    }

    fn entry(&self, directory: &OwnedFd, path: ImagePath, name: &Name, group: u32) -> Result<Entry> {
        let seen = rustix::fs::statx(directory, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW, WANTED)
            .map_err(SandboxError::tree("look at", &path))?;
        let inode = Inode::of(&seen);
        let mut metadata = self.metadata(&seen, group);
        let record = self.records.get(&inode);
        let mut fresh = false;
        let node = match u32::from(seen.stx_mode) & libc::S_IFMT {
            libc::S_IFDIR => Node::Directory(Directory { metadata, ..Directory::default() }),
            libc::S_IFREG => match record.and_then(|record| record.device) {
                Some((kind, major, minor)) => Node::Device(Device { metadata, kind, major, minor }),
                None => {
                    let known = self.known(&inode, &seen, record);
                    fresh = known.is_none();
                    let content =
                        known.unwrap_or_else(|| Content { size: seen.stx_size, ..Content::of(b"") });
                    Node::File(FileNode { metadata, content })
                }
            },
            libc::S_IFLNK => {
                metadata.mode = 0o777;
                let target = rustix::fs::readlinkat(directory, name.as_bytes(), Vec::new())
                    .map_err(SandboxError::tree("read the link", &path))?;
                Node::Symlink(Symlink { metadata, target: target.into_bytes().into() })
            }
            libc::S_IFIFO => Node::Fifo(metadata),
            libc::S_IFSOCK => Node::Socket(metadata),
            other => {
                let problem = format!("it is of kind {other:o}");
                return Err(SandboxError::Result { path, problem });
            }
        };
        Ok(Entry { path, inode, links: seen.stx_nlink, node, fresh })
    }

    /// Returns the content of a file that is as it was laid out.
    fn known(&self, inode: &Inode, seen: &Statx, record: Option<&Record>) -> Option<Content> {
        let (stamp, content) = (*self.laid.inodes.get(inode)?)?;
        let mapped = record.is_some_and(|record| record.mapped);
        (stamp == Stamp::of(seen) && !mapped).then_some(content)
    }

    fn metadata(&self, seen: &Statx, group: u32) -> Metadata {
        let mode = seen.stx_mode & 0o7777;
        let inode = Inode::of(seen);
        let laid = self.laid.inodes.contains_key(&inode);
        match self.records.get(&inode) {
            Some(record) => {
                let inherited = !record.owned && !laid;
                let gid = if inherited { group } else { record.gid };
                Metadata { mode, uid: record.uid, gid, xattrs: record.xattrs.clone() }
            }
            None => Metadata { mode, gid: if laid { 0 } else { group }, ..Metadata::default() },
        }
    }

    /// Reads the bytes of files that changed, each inode once, the largest first.
    fn read(&self, entries: &mut [Entry]) -> Result<()> {
        let size = |entry: &Entry| if let Node::File(file) = &entry.node { file.content.size } else { 0 };
        let mut wanted: HashMap<Inode, (ImagePath, u64)> = HashMap::new();
        for entry in entries.iter().filter(|entry| entry.fresh) {
            wanted.entry(entry.inode).or_insert_with(|| (entry.path.clone(), size(entry)));
        }
        let mut order: Vec<_> = wanted.into_iter().collect();
        order.sort_by(|a, b| (b.1.1, &a.1.0).cmp(&(a.1.1, &b.1.0)));
        let total = order.iter().map(|(_, (_, size))| size).sum();
        let step = self.job.step("read what changed", Some(total), Unit::Bytes);
        let read = |(inode, (path, size))| {
            self.job.check()?;
            let content = self.content(&path, size)?;
            step.advance(size);
            Ok((inode, content))
        };
        let contents: HashMap<Inode, Content> =
            first(self.job.workers.try_map(order, read))?.into_iter().collect();
        for entry in entries {
            if let (Some(content), Node::File(file)) = (contents.get(&entry.inode), &mut entry.node) {
                file.content = *content;
            }
        }
        Ok(())
    }

    fn content(&self, path: &ImagePath, size: u64) -> Result<Content> {
        let mut file = self.open_file(path)?;
        let put = |result: std::result::Result<Content, ContentError>| {
            result.map_err(|source| SandboxError::Content { path: path.clone(), source })
        };
        if size > 1 << 20 {
            return put(self.sink.put_reader(&mut file));
        }
        let mut bytes = Vec::with_capacity(size as usize + 1);
        file.read_to_end(&mut bytes).map_err(SandboxError::tree("read", path))?;
        put(self.sink.put(&bytes))
    }

    /// Returns the bytes that a file has now.
    pub fn bytes(&self, path: &ImagePath) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_file(path)?.read_to_end(&mut bytes).map_err(SandboxError::tree("read", path))?;
        Ok(bytes)
    }

    /// Opens a regular file, even one that forbids it to its owner.
    fn open_file(&self, path: &ImagePath) -> Result<File> {
        let Some((parent, name)) = path.parent().zip(path.name()) else {
            return Err(SandboxError::Result { path: path.clone(), problem: "it is the root".to_owned() });
        };
        let directory = lay::open(self.root, self.top, &parent)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&directory, name.as_bytes(), flags, Mode::empty());
        let fd = match open() {
            Err(rustix::io::Errno::ACCESS) => {
                rustix::fs::chmodat(&directory, name.as_bytes(), Mode::RUSR | Mode::WUSR, AtFlags::empty())
                    .map_err(SandboxError::tree("read", path))?;
                open()
            }
            other => other,
        };
        let file = File::from(fd.map_err(SandboxError::tree("read", path))?);
        let is_file = file.metadata().map_err(SandboxError::tree("read", path))?.is_file();
        if is_file {
            Ok(file)
        } else {
            let problem = "it was a file when it was listed, and is none any more".to_owned();
            Err(SandboxError::Result { path: path.clone(), problem })
        }
    }
}

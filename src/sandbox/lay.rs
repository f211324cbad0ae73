//! The tree as files: written by the caller's workers into the file system that the stage made, or into a
//! folder.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};

use super::error::SandboxError;
use super::records::{Inode, Record, Records, WANTED};
use super::sys;
use crate::base::job::Unit;
use crate::base::{ImagePath, Job, Name, fs};
use crate::tree::content::{ContentReader, PIECE_BYTES, is_zero};
use crate::tree::{Content, ContentSource, Device, Directory, File, Metadata, Node};

/// As whom files are made: the user that is root inside.
#[derive(Clone, Copy)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

impl Owner {
    /// Lets this thread make files as the owner until the result is dropped.
    pub fn enter(self) -> Entered {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let before = (own != (self.uid, self.gid)).then(|| sys::set_file_owner(self.uid, self.gid));
        Entered { before }
    }
}

/// See [`Owner::enter`].
pub struct Entered {
    before: Option<(u32, u32)>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some((uid, gid)) = self.before {
            sys::set_file_owner(uid, gid);
        }
    }
}

/// The state of a file that nothing has touched since it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    pub size: u64,
    pub modified: (i64, u32),
    pub changed: (i64, u32),
}

/// What was laid out, by inode.
#[derive(Default)]
pub struct Laid {
    pub records: Records,
    /// Every inode of the tree; files with what they hold and how they looked.
    pub inodes: HashMap<Inode, Option<(Stamp, Content)>>,
}

impl Laid {
    fn merge(&mut self, other: Laid) {
        self.records.extend(other.records);
        self.inodes.extend(other.inodes);
    }
}

/// Lays trees out below one directory.
pub struct Layer<'a> {
    pub root: &'a OwnedFd,
    pub owner: Owner,
    pub source: &'a dyn ContentSource,
    /// The time stamp of every file.
    pub epoch: u64,
    pub job: &'a Job,
}

type Result<T> = std::result::Result<T, SandboxError>;

impl Layer<'_> {
    /// Makes `top` below the root and lays the tree out in it.
    pub fn lay(&self, top: &str, tree: &Directory) -> Result<Laid> {
        self.make_top(top)?;
        let at = |path: &ImagePath| open(self.root, top, path);
        let directories = self.directories(tree, &at)?;
        let step = self.job.step("lay out the tree", Some(bytes_of(tree)), Unit::Bytes);
        let mut order: Vec<_> = directories.iter().collect();
        order.sort_by_key(|(_, directory)| std::cmp::Reverse(own_bytes(directory)));
        let fill = |(path, directory): &(ImagePath, &Directory)| -> Result<()> {
            let fd = at(path)?;
            // Directories of a file system in memory list the newest entry first.
            for (name, node) in fs::in_host_order(directory.entries.iter().collect()) {
                self.job.check()?;
                self.make(&fd, path, name, node, &|bytes| step.advance(bytes))?;
            }
            Ok(())
        };
        first(self.job.workers.try_map(order, fill))?;
        self.link(tree, &at)?;
        let finish = |(path, directory): &(ImagePath, &Directory)| self.finish(&at(path)?, path, directory);
        let mut laid = Laid::default();
        for one in first(self.job.workers.try_map(directories.iter().collect(), finish))? {
            laid.merge(one);
        }
        // From the deepest up: what may not be entered any more is finished.
        for (path, directory) in directories.iter().rev().filter(|(_, one)| !is_open(one)) {
            self.chmod(&at(path)?, path, directory)?;
        }
        Ok(laid)
    }

    fn make_top(&self, top: &str) -> Result<()> {
        let _entered = self.owner.enter();
        let mut path = String::new();
        for part in top.split('/') {
            path.push_str(part);
            match rustix::fs::mkdirat(self.root, &*path, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => path.push('/'),
                Err(error) => return Err(SandboxError::tree("make", &ImagePath::root())(error)),
            }
        }
        Ok(())
    }

    /// Makes every directory, for its owner alone so far; returns them, the root first.
    fn directories<'t>(
        &self,
        tree: &'t Directory,
        at: &impl Fn(&ImagePath) -> Result<OwnedFd>,
    ) -> Result<Vec<(ImagePath, &'t Directory)>> {
        let mut all = vec![(ImagePath::root(), tree)];
        let mut next = 0;
        while let Some((path, directory)) = all.get(next).map(|(path, directory)| (path.clone(), *directory))
        {
            next += 1;
            let mut parent = None;
            for (name, node) in &directory.entries {
                let Node::Directory(child) = node else { continue };
                let child_path = path.join(name);
                if parent.is_none() {
                    parent = Some(at(&path)?);
                }
                let parent = parent.as_ref().expect("because it was opened just now");
                let _entered = self.owner.enter();
                rustix::fs::mkdirat(parent, name.as_bytes(), Mode::from_raw_mode(0o700))
                    .map_err(SandboxError::tree("make", &child_path))?;
                all.push((child_path, child));
            }
            self.job.check()?;
        }
        Ok(all)
    }

    /// Makes one entry that is no directory and no hard link.
    fn make(
        &self,
        directory: &OwnedFd,
        at: &ImagePath,
        name: &Name,
        node: &Node,
        advance: &dyn Fn(u64),
    ) -> Result<()> {
        let path = || at.join(name);
        let name = name.as_bytes();
        let special = |kind: FileType, metadata: &Metadata| {
            let _entered = self.owner.enter();
            let mode = Mode::from_raw_mode(metadata.mode.into());
            rustix::fs::mknodat(directory, name, kind, Mode::RUSR, 0)?;
            rustix::fs::chmodat(directory, name, mode, AtFlags::empty())
        };
        match node {
            Node::Directory(_) | Node::HardLink(_) => Ok(()),
            Node::File(file) => self.file(directory, &path(), name, file, advance),
            Node::Symlink(symlink) => {
                let _entered = self.owner.enter();
                rustix::fs::symlinkat(&*symlink.target, directory, name)
                    .map_err(SandboxError::tree("make", &path()))
            }
            Node::Device(Device { metadata, .. }) => {
                special(FileType::RegularFile, metadata).map_err(SandboxError::tree("make", &path()))
            }
            Node::Fifo(metadata) => {
                special(FileType::Fifo, metadata).map_err(SandboxError::tree("make", &path()))
            }
            Node::Socket(metadata) => {
                special(FileType::Socket, metadata).map_err(SandboxError::tree("make", &path()))
            }
        }
    }

    fn file(
        &self,
        directory: &OwnedFd,
        path: &ImagePath,
        name: &[u8],
        file: &File,
        advance: &dyn Fn(u64),
    ) -> Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let fd = {
            let _entered = self.owner.enter();
            rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600))
                .map_err(SandboxError::tree("make", path))?
        };
        self.fill(&fd, path, file, advance)?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(file.metadata.mode.into()))
            .map_err(SandboxError::tree("set the mode of", path))
    }

    /// Writes a file's bytes; blocks of zeros become holes.
    fn fill(&self, fd: &OwnedFd, path: &ImagePath, file: &File, advance: &dyn Fn(u64)) -> Result<()> {
        let write = |bytes: &[u8], at: u64| {
            let mut done = 0;
            while done < bytes.len() {
                done += rustix::io::pwrite(fd, &bytes[done..], at + done as u64)
                    .map_err(SandboxError::tree("write", path))?;
            }
            Ok::<(), SandboxError>(())
        };
        let size = file.content.size;
        let mut reader = ContentReader::new(self.source, file.content);
        let mut buffer = vec![0; PIECE_BYTES.min(size) as usize];
        let mut at = 0;
        while at < size {
            self.job.check()?;
            let piece = &mut buffer[..PIECE_BYTES.min(size - at) as usize];
            std::io::Read::read_exact(&mut reader, piece).map_err(|error| content_error(error, path))?;
            if piece.len() < 65536 || !piece.chunks(65536).any(is_zero) {
                write(piece, at)?;
            } else {
                for (index, chunk) in piece.chunks(65536).enumerate().filter(|(_, chunk)| !is_zero(chunk)) {
                    write(chunk, at + index as u64 * 65536)?;
                }
            }
            at += piece.len() as u64;
            advance(piece.len() as u64);
        }
        rustix::fs::ftruncate(fd, size).map_err(SandboxError::tree("write", path))
    }

    /// Makes the hard links: each a further name of the node that its path leads to.
    fn link(&self, tree: &Directory, at: &impl Fn(&ImagePath) -> Result<OwnedFd>) -> Result<()> {
        for (path, node) in tree.paths() {
            let Node::HardLink(target) = node else { continue };
            let Some((to, to_name)) = path.parent().zip(path.name()) else { continue };
            let target = resolve(tree, target).ok_or_else(|| SandboxError::Place {
                path: path.clone(),
                problem: format!("it is a hard link to {target}, where no file stands"),
            })?;
            let Some((from, from_name)) = target.parent().zip(target.name()) else { continue };
            let (from, to) = (at(&from)?, at(&to)?);
            let _entered = self.owner.enter();
            rustix::fs::linkat(&from, from_name.as_bytes(), &to, to_name.as_bytes(), AtFlags::empty())
                .map_err(SandboxError::tree("link", &path))?;
        }
        Ok(())
    }

    /// Sets the times of a directory's entries, and its own mode and times; returns what stands in it.
    fn finish(&self, fd: &OwnedFd, at: &ImagePath, directory: &Directory) -> Result<Laid> {
        let mut laid = Laid::default();
        let time = Timespec { tv_sec: self.epoch as i64, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        for (name, node) in &directory.entries {
            if matches!(node, Node::Directory(_) | Node::HardLink(_)) {
                continue;
            }
            let path = || at.join(name);
            let name = name.as_bytes();
            rustix::fs::utimensat(fd, name, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(SandboxError::tree("set the times of", &path()))?;
            let seen = rustix::fs::statx(fd, name, AtFlags::SYMLINK_NOFOLLOW, WANTED)
                .map_err(SandboxError::tree("look at", &path()))?;
            let inode = Inode::of(&seen);
            let content = match node {
                Node::File(file) => Some((Stamp::of(&seen), file.content)),
                _ => None,
            };
            laid.inodes.insert(inode, content);
            let device = if let Node::Device(device) = node { Some(device) } else { None };
            laid.remember(inode, node.metadata(), device);
        }
        if is_open(directory) {
            self.chmod(fd, at, directory)?;
        }
        rustix::fs::futimens(fd, &times).map_err(SandboxError::tree("set the times of", at))?;
        let seen = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, WANTED)
            .map_err(SandboxError::tree("look at", at))?;
        laid.inodes.insert(Inode::of(&seen), None);
        laid.remember(Inode::of(&seen), Some(&directory.metadata), None);
        Ok(laid)
    }

    fn chmod(&self, fd: &OwnedFd, at: &ImagePath, directory: &Directory) -> Result<()> {
        let mode = Mode::from_raw_mode(directory.metadata.mode.into());
        rustix::fs::fchmod(fd, mode).map_err(SandboxError::tree("set the mode of", at))
    }
}

/// Tells whether a directory's owner may use it fully.
fn is_open(directory: &Directory) -> bool {
    directory.metadata.mode & 0o700 == 0o700
}

impl Laid {
    /// Records what the file system can't say: nothing, for most.
    fn remember(&mut self, inode: Inode, metadata: Option<&Metadata>, device: Option<&Device>) {
        let Some(metadata) = metadata else { return };
        let plain = metadata.uid == 0 && metadata.gid == 0 && metadata.xattrs.is_empty();
        if !plain || device.is_some() {
            self.records.insert(inode, Record::of(metadata, device));
        }
    }
}

impl Stamp {
    pub fn of(seen: &rustix::fs::Statx) -> Stamp {
        Stamp {
            size: seen.stx_size,
            modified: (seen.stx_mtime.tv_sec, seen.stx_mtime.tv_nsec),
            changed: (seen.stx_ctime.tv_sec, seen.stx_ctime.tv_nsec),
        }
    }
}

/// Opens a directory of a laid-out tree, name by name, following no link.
pub fn open(root: &OwnedFd, top: &str, path: &ImagePath) -> Result<OwnedFd> {
    let step = |at: &dyn AsFd, name: &[u8], last: bool| {
        let access = if last { OFlags::RDONLY } else { OFlags::PATH };
        let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(at.as_fd(), name, flags, Mode::empty()).map_err(SandboxError::tree("enter", path))
    };
    let mut at = step(root, top.as_bytes(), path.is_root())?;
    let mut names = path.names().peekable();
    while let Some(name) = names.next() {
        at = step(&at, name, names.peek().is_none())?;
    }
    Ok(at)
}

/// Finds the node that a hard link leads to, through other links.
fn resolve(tree: &Directory, target: &ImagePath) -> Option<ImagePath> {
    let mut target = target;
    // No longer a chain than any honest one: a circle ends here, too.
    for _ in 0..100 {
        match tree.get(target)? {
            Node::HardLink(next) => target = next,
            Node::Directory(_) => return None,
            _ => return Some(target.clone()),
        }
    }
    None
}

fn own_bytes(directory: &Directory) -> u64 {
    let size = |node: &Node| if let Node::File(file) = node { file.content.size } else { 0 };
    directory.entries.values().map(size).sum()
}

/// Returns how many bytes the files of a tree hold.
pub fn bytes_of(tree: &Directory) -> u64 {
    let size = |node: &Node| if let Node::File(file) = node { file.content.size } else { 0 };
    tree.walk().map(|visit| size(visit.node)).sum()
}

fn content_error(error: std::io::Error, path: &ImagePath) -> SandboxError {
    let path = path.clone();
    match error.downcast() {
        Ok(source) => SandboxError::Content { path, source },
        Err(source) => SandboxError::Tree { doing: "read the content of", path, source },
    }
}

/// Keeps the first of several errors: those after it are its echo.
pub fn first<T>(result: std::result::Result<T, Vec<SandboxError>>) -> Result<T> {
    result.map_err(|errors| errors.into_iter().next().expect("because a failure has an error"))
}

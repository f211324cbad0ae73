//! Writing a tree into a directory of the host, as far as the user may.
//!
//! Every path is walked from the target's file descriptor, one name at a time, and no symbolic link is
//! followed: whatever stands in the tree, or is planted while this runs, nothing outside is touched.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, XattrFlags};

use super::directory::TreeRef;
use super::error::{Result, StoreError};
use super::objects::Objects;
use super::store::Store;
use crate::base::job::Unit;
use crate::base::{FileError, ImagePath, Job, Name};
use crate::tree::content::{PIECE_BYTES, is_zero};
use crate::tree::{self, ContentSource, DeviceKind, Directory, Metadata, Node};

/// What a checkout did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckoutReport {
    pub entries: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// What could not be applied, in tree order: owners and devices as an ordinary user, attributes that
    /// the host's file system doesn't keep.
    pub skipped: Vec<Skipped>,
}

/// Something of an entry that the host refused.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Skipped {
    pub path: ImagePath,
    /// "owner 0:0", "attribute security.capability", "block device", with the reason.
    pub what: String,
}

/// A directory of the tree with the path that it has in the target.
type Placed<'a> = (ImagePath, &'a Directory);

/// A file that was opened for writing, and what the host refused of it.
struct Target<'a> {
    contents: &'a dyn ContentSource,
    path: &'a Path,
    root: OwnedFd,
}

impl Store {
    /// Writes a tree into `target`, which must be missing or empty. Owners, modes, extended attributes and
    /// devices are applied where the host lets this user; where an owner can't be, setuid and setgid bits
    /// are left out as well. On an error what was written stays.
    pub fn checkout(&self, job: &Job, tree: &TreeRef, target: &Path) -> Result<CheckoutReport> {
        check_out(&self.read_tree(job, tree)?, self, target, job)
    }
}

/// Writes a tree in memory into `target`, as [`Store::checkout`] does.
pub fn check_out(
    root: &Directory,
    contents: &dyn ContentSource,
    target: &Path,
    job: &Job,
) -> Result<CheckoutReport> {
    let target = Target::make(contents, target)?;
    let mut directories: Vec<Placed<'_>> = vec![(ImagePath::root(), root)];
    directories.extend(root.paths().filter_map(|(path, node)| match node {
        Node::Directory(directory) => Some((path, directory)),
        _ => None,
    }));
    let step = job.step("check out", Some(directories.len() as u64), Unit::Items);
    for (path, _) in &directories[1..] {
        target.make_directory(path)?;
    }
    let written = job.workers.try_map(directories.clone(), |(path, directory)| {
        job.check()?;
        step.advance(1);
        target.fill(&path, directory)
    });
    let reports =
        written.map_err(|errors| errors.into_iter().next().expect("because a failure has an error"))?;
    let mut report = reports.into_iter().fold(CheckoutReport::default(), add);
    for (path, directory) in &directories {
        target.link(path, directory, &mut report)?;
    }
    for (path, directory) in directories.iter().rev() {
        target.finish_directory(path, &directory.metadata, &mut report)?;
    }
    report.skipped.sort_by(|a, b| a.path.names().cmp(b.path.names()));
    Ok(report)
}

/// Writes one entry that is no directory into the directory `target`, which must be there; the name must be
/// free.
pub fn check_out_entry(
    name: &Name,
    node: &Node,
    contents: &dyn ContentSource,
    target: &Path,
) -> Result<CheckoutReport> {
    let target = Target::open(contents, target)?;
    let holder = Directory { entries: [(name.clone(), node.clone())].into(), ..Directory::default() };
    target.fill(&ImagePath::root(), &holder)
}

fn add(mut all: CheckoutReport, one: CheckoutReport) -> CheckoutReport {
    all.entries += one.entries;
    all.bytes += one.bytes;
    all.skipped.extend(one.skipped);
    all
}

const PRIVATE: Mode = Mode::RWXU;

impl<'a> Target<'a> {
    /// Opens a directory that is made for the purpose, or empty.
    fn make(contents: &'a dyn ContentSource, path: &'a Path) -> Result<Self> {
        match rustix::fs::mkdirat(CWD, path, PRIVATE) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) if crate::base::fs::list(path)?.is_empty() => {}
            Err(rustix::io::Errno::EXIST) => return Err(StoreError::NotEmpty { path: path.to_owned() }),
            Err(error) => return Err(FileError::at("create the directory", path)(error.into()).into()),
        }
        Self::open(contents, path)
    }

    fn open(contents: &'a dyn ContentSource, path: &'a Path) -> Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty());
        let root = root.map_err(|error| FileError::at("open", path)(error.into()))?;
        Ok(Target { contents, path, root })
    }

    /// Says what was being done to which path of the target.
    fn failed(&self, doing: &'static str, path: &ImagePath) -> impl FnOnce(rustix::io::Errno) -> StoreError {
        use std::os::unix::ffi::OsStrExt;
        let at = self.path.join(std::ffi::OsStr::from_bytes(&path.as_bytes()[1..]));
        move |error| FileError::at(doing, &at)(error.into()).into()
    }

    /// Opens a directory of the target, following nothing.
    fn directory(&self, path: &ImagePath) -> Result<OwnedFd> {
        let mut at = self.root.try_clone().map_err(FileError::at("open", self.path))?;
        for name in path.names() {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
            let next = rustix::fs::openat(&at, name, flags, Mode::empty());
            at = next.map_err(self.failed("open the directory", path))?;
        }
        Ok(at)
    }

    fn make_directory(&self, path: &ImagePath) -> Result<()> {
        let (parent, name) = split(path);
        let parent = self.directory(&parent)?;
        rustix::fs::mkdirat(&parent, name.as_bytes(), PRIVATE)
            .map_err(self.failed("create the directory", path))
    }

    /// Writes what a directory holds but for directories and hard links.
    fn fill(&self, at: &ImagePath, directory: &Directory) -> Result<CheckoutReport> {
        let parent = self.directory(at)?;
        let mut report = CheckoutReport::default();
        for (name, node) in &directory.entries {
            let path = at.join(name);
            let made = match node {
                Node::Directory(_) | Node::HardLink(_) => continue,
                Node::File(file) => {
                    self.write(&parent, &path, name, file, &mut report)?;
                    true
                }
                node => self.make_special(&parent, &path, name, node, &mut report)?,
            };
            report.entries += u64::from(made);
        }
        Ok(report)
    }

    fn write(
        &self,
        parent: &OwnedFd,
        path: &ImagePath,
        name: &Name,
        file: &tree::File,
        report: &mut CheckoutReport,
    ) -> Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(parent, name.as_bytes(), flags, Mode::RUSR | Mode::WUSR);
        let out = File::from(opened.map_err(self.failed("create", path))?);
        let written = |result: std::io::Result<()>| {
            let errno = |error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
            result.map_err(errno).map_err(self.failed("write", path))
        };
        let size = file.content.size;
        written(out.set_len(size))?;
        let mut buffer = vec![0; PIECE_BYTES.min(size) as usize];
        let mut offset = 0;
        while offset < size {
            let piece = &mut buffer[..PIECE_BYTES.min(size - offset) as usize];
            self.contents.read_at(&file.content, offset, piece)?;
            if !is_zero(piece) {
                written(out.write_all_at(piece, offset))?;
            }
            offset += piece.len() as u64;
        }
        report.bytes += size;
        self.apply(&out.into(), path, &file.metadata, true, report)
    }

    /// Makes a node that is neither a file nor a directory; returns whether the host let us.
    fn make_special(
        &self,
        parent: &OwnedFd,
        path: &ImagePath,
        name: &Name,
        node: &Node,
        report: &mut CheckoutReport,
    ) -> Result<bool> {
        use rustix::fs::{makedev, mknodat};
        let name = name.as_bytes();
        let made = match node {
            Node::Symlink(symlink) => rustix::fs::symlinkat(&*symlink.target, parent, name),
            Node::Fifo(_) => mknodat(parent, name, FileType::Fifo, Mode::RUSR, 0),
            Node::Socket(_) => mknodat(parent, name, FileType::Socket, Mode::RUSR, 0),
            Node::Device(device) => {
                let block = device.kind == DeviceKind::Block;
                let kind = if block { FileType::BlockDevice } else { FileType::CharacterDevice };
                mknodat(parent, name, kind, Mode::RUSR, makedev(device.major, device.minor))
            }
            _ => return Ok(false),
        };
        match made {
            Err(rustix::io::Errno::PERM) => {
                let what = format!("{}: only root can make one", node.kind());
                report.skipped.push(Skipped { path: path.clone(), what });
                return Ok(false);
            }
            made => made.map_err(self.failed("create", path))?,
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(self.failed("open", path))?;
        let metadata = node.metadata().expect("because only hard links have none");
        self.apply(&fd, path, metadata, !matches!(node, Node::Symlink(_)), report)?;
        Ok(true)
    }

    fn link(&self, at: &ImagePath, directory: &Directory, report: &mut CheckoutReport) -> Result<()> {
        for (name, node) in &directory.entries {
            let Node::HardLink(target) = node else { continue };
            let path = at.join(name);
            let (from, old) = split(target);
            let (from, to) = (self.directory(&from)?, self.directory(at)?);
            match rustix::fs::linkat(&from, old.as_bytes(), &to, name.as_bytes(), AtFlags::empty()) {
                Err(rustix::io::Errno::NOENT)
                    if report.skipped.iter().any(|skipped| skipped.path == *target) =>
                {
                    report
                        .skipped
                        .push(Skipped { path, what: format!("hard link to {target}, which was skipped") });
                }
                made => {
                    made.map_err(self.failed("create the hard link", &path))?;
                    report.entries += 1;
                }
            }
        }
        Ok(())
    }

    fn finish_directory(
        &self,
        path: &ImagePath,
        metadata: &Metadata,
        report: &mut CheckoutReport,
    ) -> Result<()> {
        let fd = self.directory(path)?;
        report.entries += u64::from(!path.is_root());
        self.apply(&fd, path, metadata, true, report)
    }

    /// Applies owner, attributes and mode, in this order: the kernel drops capabilities and setuid bits when
    /// an owner changes.
    fn apply(
        &self,
        fd: &OwnedFd,
        path: &ImagePath,
        metadata: &Metadata,
        has_mode: bool,
        report: &mut CheckoutReport,
    ) -> Result<()> {
        let mut skip = |what: String| report.skipped.push(Skipped { path: path.clone(), what });
        let mut mode = metadata.mode;
        let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
        let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
        if let Err(error) = rustix::fs::chownat(fd.as_fd(), "", Some(uid), Some(gid), flags) {
            skip(format!("owner {}:{}: {}", metadata.uid, metadata.gid, std::io::Error::from(error)));
            if mode & 0o6000 != 0 {
                skip(format!("mode {mode:04o}: without its owner it would lend this user's rights"));
                mode &= !0o6000;
            }
        }
        // The descriptor may be of a kind that only names its inode; this path names the same inode.
        let itself = format!("/proc/self/fd/{}", fd.as_raw_fd());
        for (name, value) in &metadata.xattrs {
            if let Err(error) = rustix::fs::setxattr(&itself, &**name, value, XattrFlags::empty()) {
                let name = crate::base::path::escaped(name);
                skip(format!("attribute {name}: {}", std::io::Error::from(error)));
            }
        }
        if has_mode {
            let mode = Mode::from_raw_mode(u32::from(mode));
            rustix::fs::chmod(&itself, mode).map_err(self.failed("set the mode of", path))?;
        }
        Ok(())
    }
}

/// Splits a path that is not the root.
fn split(path: &ImagePath) -> (ImagePath, Name) {
    let name = path.name().expect("because the path is not the root");
    (path.parent().expect("because the path is not the root"), name)
}

//! What the image holds where the data partition gets mounted, laid onto that partition.
//!
//! The image's own directory is hidden by the mount: a `/var` without the directories of its packages. So
//! what is missing on the partition is made from the image, at each boot:
//!
//! - A directory that is missing comes whole, with all that is in it.
//! - A directory that is there keeps what it has: only directories and links that it lacks are made. A file
//!   that the machine removed stays removed, one that it changed stays changed.
//! - Files directly in the partition's top directory come at the first boot only.
//!
//! All that is missing is copied beside first, flushed, and then renamed into its place: power may fail at
//! any time, and the next boot finds each directory whole or not at all. A machine that lacks nothing writes
//! nothing.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use mkimage::base::FileError;
use mkimage::base::fs::{list, rename, sync_directory};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

/// Where copies wait until they are whole, in the top directory of the partition.
pub const STAGING: &str = ".mkimage-seed";
/// Most bytes of an extended attribute, and of the list of their names (xattr(7)).
const XATTR_BYTES_MAX: usize = 64 << 10;

type Result<T> = std::result::Result<T, FileError>;

/// What is laid where.
pub struct Seed<'a> {
    /// The image's directory, not the partition that hides it.
    pub image: &'a Path,
    /// Where the partition is mounted.
    pub data: &'a Path,
    /// Paths below both that are made as empty directories: the image's own are mounted there.
    pub hollow: &'a [&'a str],
    /// Whether this partition has never been filled.
    pub first: bool,
}

/// A copy that is whole, and where it belongs.
struct Staged {
    from: PathBuf,
    to: PathBuf,
}

impl Seed<'_> {
    /// Makes what is missing. Returns how many directories, links and files were put in their places.
    pub fn lay(&self) -> Result<usize> {
        let staging = self.data.join(STAGING);
        remove(&staging)?;
        let mut staged = Vec::new();
        let result = self.stage(Path::new(""), self.first, &mut staged).and_then(|()| self.place(&staged));
        let removed = remove(&staging);
        result.and(removed).map(|()| staged.len())
    }

    /// Copies what a directory of the partition lacks.
    fn stage(&self, below: &Path, with_files: bool, staged: &mut Vec<Staged>) -> Result<()> {
        for name in list(&self.image.join(below))? {
            let path = below.join(&name);
            let (from, to) = (self.image.join(&path), self.data.join(&path));
            let is = metadata(&from)?.ok_or_else(|| gone(&from))?;
            match metadata(&to)? {
                Some(there) if is.is_dir() && there.is_dir() && !self.is_hollow(&path) => {
                    self.stage(&path, false, staged)?;
                }
                None if is.is_dir() || is.is_symlink() || with_files => {
                    let copy = self.data.join(STAGING).join(staged.len().to_string());
                    make_directory(&self.data.join(STAGING))?;
                    self.copy(&path, &is, &copy)?;
                    staged.push(Staged { from: copy, to });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn place(&self, staged: &[Staged]) -> Result<()> {
        if staged.is_empty() {
            return Ok(());
        }
        let top = File::open(self.data).map_err(FileError::at("open", self.data))?;
        rustix::fs::syncfs(&top).map_err(io::Error::from).map_err(FileError::at("flush", self.data))?;
        for Staged { from, to } in staged {
            rename(from, to)?;
        }
        sync_directory(self.data)
    }

    /// Copies one entry, a directory with all that is in it. Hard links become files of their own.
    fn copy(&self, path: &Path, is: &Metadata, to: &Path) -> Result<()> {
        let from = &self.image.join(path);
        if is.is_dir() {
            make_directory(to)?;
            let names = if self.is_hollow(path) { Vec::new() } else { list(from)? };
            for name in names {
                let path = path.join(&name);
                let from = self.image.join(&path);
                let is = metadata(&from)?.ok_or_else(|| gone(&from))?;
                self.copy(&path, &is, &to.join(&name))?;
            }
        } else if is.is_symlink() {
            let target = fs::read_link(from).map_err(FileError::at("read the link", from))?;
            symlink(target, to).map_err(FileError::at("make the link", to))?;
        } else if is.is_file() {
            fs::copy(from, to).map_err(FileError::at("copy to", to))?;
        } else {
            let (kind, mode) = (FileType::from_raw_mode(is.mode()), Mode::from_raw_mode(is.mode() & 0o7777));
            rustix::fs::mknodat(CWD, to, kind, mode, is.rdev())
                .map_err(io::Error::from)
                .map_err(FileError::at("make the device or fifo", to))?;
        }
        take_after(from, is, to)
    }

    fn is_hollow(&self, path: &Path) -> bool {
        self.hollow.iter().any(|hollow| path == Path::new(hollow))
    }
}

/// Gives a copy the owner, the mode and the extended attributes of its original, in the order in which none
/// undoes another: a new owner costs setuid bits and file capabilities.
fn take_after(from: &Path, is: &Metadata, to: &Path) -> Result<()> {
    lchown(to, Some(is.uid()), Some(is.gid())).map_err(FileError::at("give its owner to", to))?;
    if !is.is_symlink() {
        let mode = Permissions::from_mode(is.mode() & 0o7777);
        fs::set_permissions(to, mode).map_err(FileError::at("give its mode to", to))?;
    }
    copy_attributes(from, to).map_err(io::Error::from).map_err(FileError::at("copy the attributes to", to))
}

fn copy_attributes(from: &Path, to: &Path) -> rustix::io::Result<()> {
    let mut names = vec![0u8; XATTR_BYTES_MAX];
    let length = match rustix::fs::llistxattr(from, &mut names) {
        Err(rustix::io::Errno::NOTSUP) => 0,
        length => length?,
    };
    let mut value = vec![0u8; XATTR_BYTES_MAX];
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let length = rustix::fs::lgetxattr(from, name, &mut value)?;
        rustix::fs::lsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}

/// Returns what stands at a path, itself and not what it links to; `None` where nothing does.
fn metadata(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some).map_err(FileError::at("look at", path)),
    }
}

fn gone(path: &Path) -> FileError {
    FileError { doing: "look at", path: path.to_owned(), source: ErrorKind::NotFound.into() }
}

fn make_directory(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(FileError::at("make the directory", path)(error))
        }
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::at("remove", path)(error)),
        _ => Ok(()),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    struct Pair {
        folder: tempfile::TempDir,
    }

    impl Pair {
        /// Makes an image with a few files, and an empty partition.
        fn new() -> Pair {
            let folder = tempfile::tempdir().expect("a folder");
            let pair = Pair { folder };
            for (path, mode) in [("lib", 0o755), ("lib/app", 0o2750), ("lib/dpkg", 0o755), ("tmp", 0o1777)] {
                fs::create_dir_all(pair.image(path)).expect("a directory");
                fs::set_permissions(pair.image(path), Permissions::from_mode(mode)).expect("a mode");
            }
            for (path, mode) in [("note", 0o640), ("lib/app/state", 0o600), ("lib/dpkg/status", 0o644)] {
                fs::write(pair.image(path), path).expect("a file");
                fs::set_permissions(pair.image(path), Permissions::from_mode(mode)).expect("a mode");
            }
            symlink("/run", pair.image("run")).expect("a link");
            fs::create_dir(pair.data("")).expect("a directory");
            fs::create_dir(pair.data("lost+found")).expect("a directory");
            pair
        }

        fn image(&self, path: &str) -> PathBuf {
            self.folder.path().join("image").join(path)
        }

        fn data(&self, path: &str) -> PathBuf {
            self.folder.path().join("data").join(path)
        }

        fn lay(&self, first: bool) -> usize {
            let (image, data) = (self.image(""), self.data(""));
            let seed = Seed { image: &image, data: &data, hollow: &["lib/dpkg"], first };
            seed.lay().expect("laid")
        }

        fn mode(&self, path: &str) -> u32 {
            fs::symlink_metadata(self.data(path)).expect(path).mode() & 0o7777
        }
    }

    #[test]
    fn an_empty_partition_gets_all_that_the_image_holds() {
        let pair = Pair::new();
        rustix::fs::setxattr(pair.image("lib/app/state"), "user.note", b"kept", XattrFlags::empty())
            .expect("set");
        rustix::fs::mknodat(CWD, pair.image("lib/pipe"), FileType::Fifo, Mode::RUSR, 0).expect("a fifo");
        assert_eq!(pair.lay(true), 4);
        assert_eq!(fs::read_to_string(pair.data("lib/app/state")).expect("a file"), "lib/app/state");
        let modes = ["lib/app", "lib/app/state", "tmp", "note", "lib/pipe"].map(|path| pair.mode(path));
        assert_eq!(modes, [0o2750, 0o600, 0o1777, 0o640, 0o400]);
        assert_eq!(fs::read_link(pair.data("run")).expect("a link"), Path::new("/run"));
        let mut value = [0; 8];
        let length = rustix::fs::getxattr(pair.data("lib/app/state"), "user.note", &mut value).expect("kept");
        assert_eq!(&value[..length], b"kept");
        assert!(pair.data("lib/dpkg").is_dir() && !pair.data("lib/dpkg/status").exists());
        assert!(!pair.data(STAGING).exists());
    }

    #[test]
    fn what_the_machine_removed_or_changed_stays_so() {
        let pair = Pair::new();
        pair.lay(true);
        fs::write(pair.data("lib/app/state"), "of the machine").expect("written");
        fs::set_permissions(pair.data("lib/app"), Permissions::from_mode(0o700)).expect("a mode");
        fs::remove_file(pair.data("note")).expect("removed");
        fs::write(pair.image("lib/app/late"), "").expect("a file");
        assert_eq!(pair.lay(false), 0);
        assert_eq!(fs::read_to_string(pair.data("lib/app/state")).expect("a file"), "of the machine");
        assert_eq!(pair.mode("lib/app"), 0o700);
        assert!(!pair.data("note").exists() && !pair.data("lib/app/late").exists());
    }

    #[test]
    fn a_later_image_brings_its_new_directories_whole() {
        let pair = Pair::new();
        pair.lay(true);
        fs::create_dir_all(pair.image("lib/app/cache/deep")).expect("a directory");
        fs::write(pair.image("lib/app/cache/deep/file"), "new").expect("a file");
        symlink("../app", pair.image("lib/link")).expect("a link");
        assert_eq!(pair.lay(false), 2);
        assert_eq!(fs::read_to_string(pair.data("lib/app/cache/deep/file")).expect("a file"), "new");
        assert_eq!(pair.lay(false), 0);
    }

    #[test]
    fn a_link_on_the_partition_is_never_followed() {
        let pair = Pair::new();
        let elsewhere = pair.folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).expect("a directory");
        symlink(&elsewhere, pair.data("lib")).expect("a link");
        fs::write(pair.data("tmp"), "a file where the image has a directory").expect("a file");
        pair.lay(true);
        assert_eq!(list(&elsewhere).expect("listed"), Vec::<std::ffi::OsString>::new());
        assert!(pair.data("tmp").is_file());
    }

    #[test]
    fn what_a_power_failure_left_is_removed_and_made_anew() {
        let pair = Pair::new();
        fs::create_dir_all(pair.data(".mkimage-seed/0")).expect("a directory");
        fs::write(pair.data(".mkimage-seed/0/half"), "").expect("a file");
        // Two of four had been renamed when the power failed.
        fs::create_dir(pair.data("tmp")).expect("a directory");
        symlink("/run", pair.data("run")).expect("a link");
        assert_eq!(pair.lay(true), 2);
        assert!(pair.data("lib/app/state").exists() && pair.data("note").exists());
        assert!(!pair.data(STAGING).exists());
    }

    #[test]
    fn a_partition_that_takes_nothing_says_what_could_not_be_made() {
        let pair = Pair::new();
        let (image, missing) = (pair.image(""), pair.data("missing"));
        let error =
            Seed { image: &image, data: &missing, hollow: &[], first: true }.lay().expect_err("failed");
        assert!(error.to_string().contains("missing"), "{error}");
    }
}

//! Every change that the store makes to its directory goes through here, one system call at a time, so that
//! a test can cut the power between any two of them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::base::FileError;
use crate::base::fs as host;

type Result<T> = std::result::Result<T, FileError>;

/// A change to the store's directory that is about to be made.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    CreateDirectory(&'a Path),
    CreateFile(&'a Path),
    Write {
        path: &'a Path,
        offset: u64,
        bytes: &'a [u8],
    },
    /// Bytes that nobody will read give their room back.
    Discard {
        path: &'a Path,
        offset: u64,
        length: u64,
    },
    Sync(&'a Path),
    SyncDirectory(&'a Path),
    Rename {
        from: &'a Path,
        to: &'a Path,
    },
    /// A second name for a file.
    Link {
        from: &'a Path,
        to: &'a Path,
    },
    /// The time of a file's last change is set.
    Touch(&'a Path),
    Remove(&'a Path),
    RemoveDirectory(&'a Path),
}

impl Change<'_> {
    /// Returns the path that is changed; of a rename or link, the new one.
    pub fn path(&self) -> &Path {
        match self {
            Change::CreateDirectory(path)
            | Change::CreateFile(path)
            | Change::Write { path, .. }
            | Change::Discard { path, .. }
            | Change::Sync(path)
            | Change::SyncDirectory(path)
            | Change::Touch(path)
            | Change::Remove(path)
            | Change::RemoveDirectory(path) => path,
            Change::Rename { to, .. } | Change::Link { to, .. } => to,
        }
    }
}

/// Is told of every change before it is made, and may refuse it: how tests fill the disk and cut the power.
pub trait Watcher: Send + Sync {
    fn before(&self, change: &Change<'_>) -> io::Result<()>;
}

/// Makes the changes. Without a watcher it is the file system and nothing else.
#[derive(Clone, Default)]
pub struct Media {
    watcher: Option<Arc<dyn Watcher>>,
}

impl Media {
    pub fn watched(watcher: Arc<dyn Watcher>) -> Self {
        Media { watcher: Some(watcher) }
    }

    fn change<T>(
        &self,
        doing: &'static str,
        change: Change<'_>,
        make: impl FnOnce() -> io::Result<T>,
    ) -> Result<T> {
        let allowed = self.watcher.as_ref().map_or(Ok(()), |watcher| watcher.before(&change));
        allowed.and_then(|()| make()).map_err(FileError::at(doing, change.path()))
    }

    /// Creates a directory, 0755; returns whether it is new.
    pub fn create_directory(&self, path: &Path) -> Result<bool> {
        if path.is_dir() {
            return Ok(false);
        }
        let created = self.change("create the directory", Change::CreateDirectory(path), || {
            match std::fs::DirBuilder::new().mode(0o755).create(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                result => result.map(|()| true),
            }
        })?;
        if created {
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(path, mode).map_err(FileError::at("set the mode of", path))?;
        }
        Ok(created)
    }

    /// Creates a file that isn't there yet, with this mode whatever the umask, for reading and writing.
    pub fn create_file(&self, path: &Path, mode: u32) -> Result<File> {
        self.change("create", Change::CreateFile(path), || {
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
            file.set_permissions(std::fs::Permissions::from_mode(mode))?;
            Ok(file)
        })
    }

    /// Opens a file for reading and writing, made where it is missing; a symbolic link is refused.
    pub fn open_or_create(&self, path: &Path) -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.change("create", Change::CreateFile(path), || {
                    options.create(true).truncate(false).mode(0o644).open(path)
                })
            }
            result => result.map_err(FileError::at("open for writing", path)),
        }
    }

    pub fn write_at(&self, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<()> {
        let change = Change::Write { path, offset, bytes };
        self.change("write", change, || file.write_all_at(bytes, offset))
    }

    /// Has the kernel begin to write bytes out, so that the sync at the end finds little left to do. No
    /// change of what is there, hence nothing for a watcher.
    pub fn begin_writing_out(&self, file: &File, offset: u64, length: u64) {
        let length = std::num::NonZero::new(length);
        let _ = rustix::fs::fadvise(file, offset, length, rustix::fs::Advice::DontNeed);
    }

    /// Gives the room of bytes back that nobody will read, where the file system can.
    pub fn discard(&self, file: &File, path: &Path, offset: u64, length: u64) {
        use rustix::fs::{FallocateFlags, fallocate};
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let change = Change::Discard { path, offset, length };
        let _ = self.change("give back bytes of", change, || Ok(fallocate(file, flags, offset, length)?));
    }

    /// Has an empty file take up room, and stay empty. No change of what anybody reads, hence nothing for a watcher;
    /// where the file system can't, nothing happens.
    pub fn set_aside(file: &File, bytes: u64) {
        let _ = rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, bytes);
    }

    /// Gives back what [`Media::set_aside`] took. Some file systems look at what lies behind the end of a file only
    /// where that moves.
    pub fn give_up(file: &File) {
        let _ = file.set_len(1);
        let _ = file.set_len(0);
    }

    /// Makes a file durable. A failure is final: see [`host::sync`].
    pub fn sync(&self, file: &File, path: &Path) -> Result<()> {
        self.change("sync", Change::Sync(path), || file.sync_all())
    }

    pub fn sync_directory(&self, path: &Path) -> Result<()> {
        self.change("sync the directory", Change::SyncDirectory(path), || File::open(path)?.sync_all())
    }

    pub fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.change("rename to", Change::Rename { from, to }, || {
            host::rename(from, to).map_err(|error| error.source)
        })
    }

    /// Renames where nothing stands yet; returns whether it did.
    pub fn rename_new(&self, from: &Path, to: &Path) -> Result<bool> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        self.change("rename to", Change::Rename { from, to }, || {
            match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
                Ok(()) => Ok(true),
                Err(Errno::EXIST) => Ok(false),
                // Network file systems know no flags. Names are digests of what they name, so that a file
                // which comes up in between has the same bytes.
                Err(Errno::INVAL | Errno::NOSYS) if to.exists() => Ok(false),
                Err(Errno::INVAL | Errno::NOSYS) => {
                    host::rename(from, to).map(|()| true).map_err(|error| error.source)
                }
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Gives a file a second name where nothing stands yet; returns whether it did.
    pub fn link(&self, from: &Path, to: &Path) -> Result<bool> {
        self.change("link to", Change::Link { from, to }, || match std::fs::hard_link(from, to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            result => result.map(|()| true),
        })
    }

    /// Sets the time of a file's last change to that of the file server.
    pub fn touch(&self, path: &Path) -> Result<()> {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        self.change("set the time of", Change::Touch(path), || {
            Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
        })
    }

    /// Sets the time of a file's last change.
    pub fn set_modified(&self, file: &File, path: &Path, time: std::time::SystemTime) -> Result<()> {
        self.change("set the time of", Change::Touch(path), || file.set_modified(time))
    }

    /// Removes a file; one that is not there is no error.
    pub fn remove_file(&self, path: &Path) -> Result<()> {
        self.change("remove", Change::Remove(path), || host::remove_file(path).map_err(|error| error.source))
    }

    pub fn remove_directory(&self, path: &Path) -> Result<()> {
        self.change("remove", Change::RemoveDirectory(path), || std::fs::remove_dir(path))
    }
}

//! A view as a read-only file system of this machine (FUSE, without libfuse): as root by itself, else through
//! `fusermount3`.
//!
//! The names, kinds and metadata of the whole tree are in memory, some 300 bytes for each entry; contents are read
//! when somebody asks, at most 16 MiB of them are kept. Permissions bind nobody: what can be mounted can be read, as
//! `mkimage cat` reads it, but only by the user who mounted it.

mod serve;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption, Session};

use super::error::{Result, ViewError};
use super::view::View;
use crate::base::{ImagePath, Job};
use crate::tree::ContentSource;
use serve::Served;
use table::Table;

/// How often is looked whether the work is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The names and metadata of a tree, ready to be mounted.
pub struct Mountable {
    table: Table,
    name: String,
}

/// A mounted view. Unmounted when it is dropped.
pub struct Mounted {
    session: BackgroundSession,
    directory: PathBuf,
}

impl Mountable {
    /// Takes what lies at a path of a view.
    pub fn of(view: &View<'_>, path: &ImagePath, job: &Job) -> Result<Mountable> {
        let tree = view.below(path, job)?;
        // What a tree says of a place is what the view says of the same place below the path.
        let table = Table::of(&tree, |below| view.modified(&joined(path, below)));
        Ok(Mountable { table, name: view.name().to_owned() })
    }

    /// Mounts at a directory. `contents` gives the bytes of the files: the view itself, or the store behind it.
    /// Returns when the kernel has taken it.
    pub fn mount(
        self,
        contents: Box<dyn ContentSource + Send>,
        directory: &Path,
        job: &Job,
    ) -> Result<Mounted> {
        let failed = |source| ViewError::Mount { directory: directory.to_owned(), source };
        let mut options = Config::default();
        options.mount_options = vec![
            MountOption::RO,
            MountOption::NoDev,
            MountOption::NoSuid,
            MountOption::FSName(format!("mkimage:{}", self.name.replace(',', "_"))),
            MountOption::Subtype("mkimage".to_owned()),
        ];
        let served = Served::new(self.table, contents, job.clone());
        let session = Session::new(served, directory, &options).map_err(failed)?;
        let session = session.spawn().map_err(failed)?;
        Ok(Mounted { session, directory: directory.to_owned() })
    }
}

fn joined(above: &ImagePath, below: &ImagePath) -> ImagePath {
    let names = below.names().filter_map(|name| crate::base::Name::new(name).ok());
    names.fold(above.clone(), |path, name| path.join(&name))
}

impl Mounted {
    /// Serves until the job is stopped, or somebody unmounts the directory; then it is unmounted.
    pub fn wait(self, job: &Job) -> Result<()> {
        while job.check().is_ok() && !self.session.guard.is_finished() {
            std::thread::sleep(LOOK_EVERY);
        }
        self.unmount()
    }

    /// Unmounts. Where a file of it is still open, it is gone from the directory at once and for good when that is
    /// closed.
    pub fn unmount(self) -> Result<()> {
        let Mounted { session, directory } = self;
        detach(&directory);
        session.umount_and_join().map_err(|source| ViewError::Mount { directory, source })
    }
}

/// Takes a mount out of its directory although files of it may be open. What fails here is tried once more, and told.
fn detach(directory: &Path) {
    use rustix::mount::{UnmountFlags, unmount};
    if unmount(directory, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {
        return;
    }
    // Ordinary users unmount by the helper that mounted for them.
    let helper = |program: &str| {
        let mut command = std::process::Command::new(program);
        let quiet = || std::process::Stdio::null();
        command.args(["-u", "-q", "-z", "--"]).arg(directory).stdout(quiet()).stderr(quiet());
        command.status().is_ok_and(|status| status.success())
    };
    let _ = helper("fusermount3") || helper("fusermount");
}

//! Room for what is made and sent elsewhere: a file that nobody else sees.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::error::Result;
use super::store::Store;
use crate::base::{FileError, publish};

impl Store {
    /// Makes an empty file without a name, for reading and writing, on the disk of the store, or where temporary
    /// files of this machine lie if the store can't be written. It goes when it is closed, or with its process.
    pub fn scratch(&self) -> Result<File> {
        let here = self.layout.temporary();
        let place = if here.is_dir() { here } else { std::env::temp_dir() };
        match nameless(&place) {
            Ok(file) => Ok(file),
            Err(_) => Ok(nameless(&std::env::temp_dir())?),
        }
    }
}

fn nameless(place: &Path) -> std::result::Result<File, FileError> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(place, flags, Mode::RUSR | Mode::WUSR) {
        return Ok(file.into());
    }
    // Network file systems know no nameless files: one with a name loses it at once.
    let path = place.join(format!(".scratch-{}", publish::unique()));
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path);
    let file = file.map_err(FileError::at("create", &path))?;
    crate::base::fs::remove_file(&path)?;
    Ok(file)
}

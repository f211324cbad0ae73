//! The trash: `trash/NUMBER/`, by the odd generation during which packs went there.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::error::{Result, StoreError};
use super::super::format::is_noise;
use super::super::lease::Seen;
use super::super::media::Media;
use super::super::store::Store;
use crate::base::FileError;

/// What went to the trash in one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    pub number: u64,
    pub path: PathBuf,
    pub packs: u64,
    pub bytes: u64,
    /// Since the last pack came.
    pub age: Duration,
}

impl Folder {
    /// Tells whether nobody can need it any more.
    fn may_go(&self, after: Duration, leases: &[Seen]) -> bool {
        let mut living = leases.iter().filter(|lease| !lease.expired);
        self.age >= after && living.all(|lease| lease.generation() > self.number)
    }
}

/// Lists those that may be emptied, the oldest first. The first that must stay keeps all that came later.
pub(super) fn emptiable(
    folders: Vec<Folder>,
    after: Duration,
    leases: &[Seen],
) -> impl Iterator<Item = Folder> {
    folders.into_iter().take_while(move |folder| folder.may_go(after, leases))
}

impl Store {
    /// Lists what is in the trash, the oldest first.
    pub(super) fn trash_folders(&self, now: SystemTime) -> Result<Vec<Folder>> {
        let trash = self.layout.trash();
        let names = match crate::base::fs::list(&trash) {
            Err(error) if error.is_missing() => return Ok(Vec::new()),
            names => names?,
        };
        let mut folders = Vec::new();
        for name in names.into_iter().filter(|name| !is_noise(name)) {
            let path = trash.join(&name);
            let number = name.to_str().and_then(|name| name.parse().ok());
            let number = number.ok_or_else(|| StoreError::doubt(path.display(), "it is no trash of ours"))?;
            folders.push(look(number, path, now)?);
        }
        folders.sort_by_key(|folder| folder.number);
        Ok(folders)
    }

    /// Removes what is in a part of the trash, then the part: indexes first, so that no pack is seen that
    /// is about to go.
    pub(super) fn empty(&self, folder: &Folder) -> Result<()> {
        let mut names = crate::base::fs::list(&folder.path)?;
        names.sort_by_key(|name| !name.as_encoded_bytes().ends_with(b".idx"));
        for name in names {
            remove_unless_open(&self.media, &folder.path.join(name))?;
        }
        match self.media.remove_directory(&folder.path) {
            // A reader of this machine still has something open there, on NFS: a later run removes it.
            Err(error) if error.source.kind() == std::io::ErrorKind::DirectoryNotEmpty => {}
            done => done?,
        }
        Ok(self.media.sync_directory(&self.layout.trash())?)
    }
}

/// Removes a file. What NFS keeps for a process of this machine that still reads it stays: a later run removes it.
pub(super) fn remove_unless_open(media: &Media, path: &Path) -> Result<()> {
    match media.remove_file(path) {
        Err(error)
            if path.file_name().is_some_and(is_noise)
                && error.source.kind() == std::io::ErrorKind::ResourceBusy => {}
        done => done?,
    }
    Ok(())
}

fn look(number: u64, path: PathBuf, now: SystemTime) -> Result<Folder> {
    let age = super::roots::age(&path, now)?;
    let (mut packs, mut bytes) = (0, 0);
    for name in crate::base::fs::list(&path)?.into_iter().filter(|name| !is_noise(name)) {
        let file = path.join(&name);
        let known = name.to_str().is_some_and(|name| name.ends_with(".idx") || name.ends_with(".pack"));
        if !known {
            return Err(StoreError::doubt(file.display(), "it is no pack"));
        }
        bytes += std::fs::metadata(&file).map_err(FileError::at("look at", &file))?.len();
        packs += u64::from(name.as_encoded_bytes().ends_with(b".idx"));
    }
    Ok(Folder { number, path, packs, bytes, age })
}

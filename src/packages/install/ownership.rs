//! Who brought what.

use super::divert::Diversion;
use super::routes::MERGED;
use crate::base::ImagePath;

/// Remembers which package brought which path of a tree, what was dropped, taken over and diverted.
///
/// Packages are named as dpkg names them: `name`, or `name:architecture` where that is not the image's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ownership {
    /// In the order in which they were laid.
    pub(super) packages: Vec<String>,
    /// By path, then package; directories have many owners.
    pub(super) owners: Vec<(ImagePath, u32)>,
    pub(super) dropped: Vec<(ImagePath, u32)>,
    pub(super) taken: Vec<Taken>,
    pub(super) diversions: Vec<Diversion>,
    pub(super) usr_merge: bool,
}

/// A path that one package took over from another (`Replaces`).
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Taken {
    pub path: ImagePath,
    /// The package that brought it and no longer owns it.
    pub from: String,
    pub by: String,
}

impl Ownership {
    /// Returns the package that brought a path, the first of several; `None` where none did. `/bin/sh` means
    /// `/usr/bin/sh` where the one directory is a link to the other.
    pub fn of(&self, path: &ImagePath) -> Option<&str> {
        self.all_of(path).into_iter().next()
    }

    /// Returns all packages that bring a path.
    pub fn all_of(&self, path: &ImagePath) -> Vec<&str> {
        let owners = self.exactly(path);
        match self.merged(path) {
            Some(path) if owners.is_empty() => self.exactly(&path),
            _ => owners,
        }
    }

    /// Returns the paths that a package brought and that are in the tree, in byte order.
    pub fn files(&self, package: &str) -> impl Iterator<Item = &ImagePath> {
        let index = self.packages.iter().position(|name| name == package);
        let is_its = move |owner: &&(ImagePath, u32)| index == Some(owner.1 as usize);
        self.owners.iter().filter(is_its).map(|owner| &owner.0)
    }

    /// Returns the packages of the tree, in the order in which they were laid.
    pub fn packages(&self) -> &[String] {
        &self.packages
    }

    /// Returns the paths that were left out, each with a package that brought it.
    pub fn dropped(&self) -> impl Iterator<Item = (&ImagePath, &str)> {
        self.dropped.iter().map(|(path, package)| (path, self.packages[*package as usize].as_str()))
    }

    /// Returns the paths that changed hands: dpkg lists them with their new owner only.
    pub fn taken(&self) -> &[Taken] {
        &self.taken
    }

    /// Returns the diversions, for dpkg's database.
    pub fn diversions(&self) -> &[Diversion] {
        &self.diversions
    }

    fn exactly(&self, path: &ImagePath) -> Vec<&str> {
        let start = self.owners.partition_point(|owner| owner.0 < *path);
        let owners = self.owners[start..].iter().take_while(|owner| owner.0 == *path);
        owners.map(|owner| self.packages[owner.1 as usize].as_str()).collect()
    }

    fn merged(&self, path: &ImagePath) -> Option<ImagePath> {
        let first = path.names().next()?;
        let is_merged = self.usr_merge && MERGED.iter().any(|name| name.as_bytes() == first);
        is_merged.then(|| ImagePath::new(&[b"/usr", path.as_bytes()].concat()).ok())?
    }
}

//! Decides, from names and sizes alone, where every directory and file lies.

use std::collections::BTreeMap;

use super::entry::{ENTRY_BYTES, long_count};
use super::name::{ShortName, folded, problem, short_names};
use super::{Extent, FIRST_CLUSTER, FatError};
use crate::base::Bytes;
use crate::base::units::SECTOR_BYTES;

/// One thing on a volume. Paths have no leading slash: `EFI/BOOT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Directory {
        path: String,
    },
    /// A directory of one cluster whose bytes the caller writes.
    OwnDirectory {
        path: String,
    },
    File {
        path: String,
        size_bytes: u64,
    },
}

impl Item {
    pub fn path(&self) -> &str {
        match self {
            Item::Directory { path } | Item::OwnDirectory { path } | Item::File { path, .. } => path,
        }
    }
}

/// Holds directories and files with their clusters. The root directory is the first one.
#[derive(Clone, Debug)]
pub struct Tree {
    pub(super) directories: Vec<PlacedDirectory>,
    pub(super) files: Vec<PlacedFile>,
}

#[derive(Clone, Debug)]
pub(super) struct PlacedDirectory {
    pub path: String,
    pub parent: usize,
    pub extent: Extent,
    /// Written by the caller.
    pub own: bool,
    pub entries: Vec<PlacedEntry>,
}

#[derive(Clone, Debug)]
pub(super) struct PlacedEntry {
    pub name: String,
    pub short: ShortName,
    pub long: bool,
    pub target: Target,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    Directory(usize),
    File(usize),
}

#[derive(Clone, Debug)]
pub(super) struct PlacedFile {
    pub path: String,
    pub size_bytes: u32,
    /// Empty, and without a place, where the file is empty.
    pub extent: Extent,
}

impl Tree {
    /// Places the items in their order: directories from cluster 2 on, files behind them, the first at
    /// `first_file_cluster` or later. A directory comes before what it holds.
    pub fn place(items: &[Item], first_file_cluster: u32) -> Result<Tree, FatError> {
        let root = PlacedDirectory {
            path: String::new(),
            parent: 0,
            extent: Extent { start_cluster: 0, clusters: 0 },
            own: false,
            entries: Vec::new(),
        };
        let mut tree = Tree { directories: vec![root], files: Vec::new() };
        let mut known = BTreeMap::from([(String::new(), 0)]);
        for item in items {
            tree.add(item, &mut known)?;
        }
        for directory in &mut tree.directories {
            name_entries(directory)?;
        }
        tree.place_directories()?;
        tree.place_files(first_file_cluster)?;
        Ok(tree)
    }

    fn add(&mut self, item: &Item, known: &mut BTreeMap<String, usize>) -> Result<(), FatError> {
        let path = item.path().to_owned();
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if let Some(problem) = problem(name) {
            return Err(FatError::Name { path, problem });
        }
        let parent = *known.get(parent).ok_or_else(|| FatError::NoParent { path: path.clone() })?;
        let extent = Extent { start_cluster: 0, clusters: 0 };
        let target = match item {
            Item::File { size_bytes, .. } => {
                let size = u32::try_from(*size_bytes);
                let size = size
                    .map_err(|_| FatError::FileTooLarge { path: path.clone(), size: Bytes(*size_bytes) })?;
                self.files.push(PlacedFile { path: path.clone(), size_bytes: size, extent });
                Target::File(self.files.len() - 1)
            }
            Item::Directory { .. } | Item::OwnDirectory { .. } => {
                let own = matches!(item, Item::OwnDirectory { .. });
                let entries = Vec::new();
                self.directories.push(PlacedDirectory { path: path.clone(), parent, extent, own, entries });
                known.insert(path.clone(), self.directories.len() - 1);
                Target::Directory(self.directories.len() - 1)
            }
        };
        let entry = PlacedEntry { name: name.to_owned(), short: [0; 11], long: false, target };
        self.directories[parent].entries.push(entry);
        Ok(())
    }

    fn place_directories(&mut self) -> Result<(), FatError> {
        let mut next = FIRST_CLUSTER;
        for (index, directory) in self.directories.iter_mut().enumerate() {
            let entries = directory.entry_count(index == 0);
            if entries > 65_535 {
                return Err(FatError::DirectoryTooLarge { path: directory.path.clone(), entries });
            }
            let bytes = (entries * ENTRY_BYTES) as u64;
            let clusters = bytes.div_ceil(SECTOR_BYTES).max(1) as u32;
            directory.extent = Extent { start_cluster: next, clusters };
            next += clusters;
        }
        Ok(())
    }

    fn place_files(&mut self, first_file_cluster: u32) -> Result<(), FatError> {
        let mut next = u64::from(self.directory_end().max(first_file_cluster));
        for file in &mut self.files {
            let clusters = u64::from(file.size_bytes).div_ceil(SECTOR_BYTES);
            let have = u64::from(u32::MAX >> 4);
            if next + clusters > have {
                return Err(FatError::Full { need: next + clusters, have });
            }
            let start_cluster = if clusters == 0 { 0 } else { next as u32 };
            file.extent = Extent { start_cluster, clusters: clusters as u32 };
            next += clusters;
        }
        Ok(())
    }

    /// Returns the first cluster behind the directories.
    pub fn directory_end(&self) -> u32 {
        self.directories.last().expect("because the root is always there").extent.end()
    }

    /// Returns the first cluster behind everything.
    pub fn end(&self) -> u32 {
        self.files.iter().map(|file| file.extent.end()).fold(self.directory_end(), u32::max)
    }

    /// Returns where a directory lies, and where the one that holds it does; `None` where there is none.
    pub fn directory(&self, path: &str) -> Option<(Extent, Extent)> {
        let directory = self.directories.iter().find(|directory| directory.path == path)?;
        Some((directory.extent, self.directories[directory.parent].extent))
    }

    /// Returns where a file lies.
    pub fn file(&self, path: &str) -> Option<Extent> {
        self.files.iter().find(|file| file.path == path).map(|file| file.extent)
    }

    /// Returns every run of clusters: each is a chain of its own.
    pub(super) fn extents(&self) -> impl Iterator<Item = Extent> {
        let directories = self.directories.iter().map(|directory| directory.extent);
        directories.chain(self.files.iter().map(|file| file.extent).filter(|extent| extent.clusters > 0))
    }
}

impl PlacedDirectory {
    /// Counts entries: the label of the root, or "." and ".."; a short entry a name, and its long ones.
    fn entry_count(&self, is_root: bool) -> usize {
        let long = |entry: &PlacedEntry| if entry.long { long_count(&entry.name) } else { 0 };
        let names: usize = self.entries.iter().map(|entry| 1 + long(entry)).sum();
        names + if is_root { 1 } else { 2 }
    }
}

fn name_entries(directory: &mut PlacedDirectory) -> Result<(), FatError> {
    let path = |name: &str| match directory.path.as_str() {
        "" => name.to_owned(),
        above => format!("{above}/{name}"),
    };
    if directory.own && !directory.entries.is_empty() {
        return Err(FatError::NoParent { path: path(&directory.entries[0].name) });
    }
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for entry in &directory.entries {
        if let Some(other) = seen.insert(folded(&entry.name), &entry.name) {
            return Err(FatError::SameName { path: path(&entry.name), other: path(other) });
        }
    }
    let names: Vec<&str> = directory.entries.iter().map(|entry| entry.name.as_str()).collect();
    let shorts = short_names(&names);
    for (entry, (short, long)) in directory.entries.iter_mut().zip(shorts) {
        (entry.short, entry.long) = (short, long);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, size_bytes: u64) -> Item {
        Item::File { path: path.to_owned(), size_bytes }
    }

    fn directory(path: &str) -> Item {
        Item::Directory { path: path.to_owned() }
    }

    #[test]
    fn everything_lies_in_order_behind_the_directories() {
        let items = [directory("A"), file("A/one", 513), directory("B"), file("empty", 0), file("B/two", 1)];
        let tree = Tree::place(&items, 130).expect("places");
        assert_eq!(tree.directory_end(), 5);
        assert_eq!(tree.file("A/one"), Some(Extent { start_cluster: 130, clusters: 2 }));
        assert_eq!(tree.file("empty"), Some(Extent { start_cluster: 0, clusters: 0 }));
        assert_eq!(tree.file("B/two"), Some(Extent { start_cluster: 132, clusters: 1 }));
        assert_eq!(tree.end(), 133);
    }

    #[test]
    fn what_fat_cannot_hold_is_an_error_before_a_byte_is_written() {
        let error = |items: &[Item]| Tree::place(items, 2).expect_err("refused");
        assert!(matches!(error(&[file("a/b", 1)]), FatError::NoParent { .. }));
        assert!(matches!(error(&[file("a", 1), file("A", 1)]), FatError::SameName { .. }));
        assert!(matches!(error(&[file("a:", 1)]), FatError::Name { .. }));
        assert!(matches!(error(&[file("a", 1 << 32)]), FatError::FileTooLarge { .. }));
        assert!(Tree::place(&[file("a", (1 << 32) - 1)], 2).is_ok());
    }
}

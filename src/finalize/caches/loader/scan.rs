//! Going through the directories: which libraries the cache names, and which links are missing.

use std::collections::BTreeMap;

use super::super::super::FinalizeError;
use super::super::view::{Outcome, View};
use super::format::{self, Entry, compare_names};
use super::library::{Rules, is_library_name};
use crate::base::{ImagePath, Name};
use crate::elf::Image;
use crate::tree::{File, Node};

/// Name of the subdirectories that hold libraries for some processors, since glibc 2.33.
const SUBDIRECTORIES: &[u8] = b"glibc-hwcaps";

/// What all directories together give.
#[derive(Default)]
pub(super) struct Scan {
    /// Sorted.
    pub entries: Vec<Entry>,
    pub subdirectories: Vec<Vec<u8>>,
    /// Links to be made or removed.
    pub outcome: Outcome,
}

/// A directory to go through.
struct Folder {
    /// As it was named.
    path: ImagePath,
    /// Where that leads.
    place: ImagePath,
    subdirectory: Option<Vec<u8>>,
    hwcap: u64,
}

/// A library found in a directory.
struct Found {
    name: Name,
    is_link: bool,
    flags: u32,
    isa_level: u32,
}

/// A file that may be a library.
struct Candidate<'a> {
    name: &'a Name,
    is_link: bool,
    file: &'a File,
    image: Option<Image>,
}

impl Scan {
    /// Goes through directories; one that is named twice counts once.
    pub fn run(view: &View<'_>, rules: &Rules, directories: &[ImagePath]) -> Result<Scan, FinalizeError> {
        let mut scan = Scan::default();
        let mut folders = Vec::new();
        for path in directories {
            scan.add_directory(view, path, &mut folders);
        }
        let mut at = 0;
        while at < folders.len() {
            scan.search(view, rules, at, &mut folders)?;
            at += 1;
        }
        format::sort(&mut scan.entries);
        Ok(scan)
    }

    fn add_directory(&mut self, view: &View<'_>, path: &ImagePath, folders: &mut Vec<Folder>) {
        let Some((place, directory)) = view.directory(path) else { return };
        let folder = Folder { path: path.clone(), place: place.clone(), subdirectory: None, hwcap: 0 };
        if !add(folders, folder) || !directory.entries.contains_key(SUBDIRECTORIES) {
            return;
        }
        let name = Name::new(SUBDIRECTORIES).expect("because it is a valid name");
        let Some((below, directory)) = view.directory(&place.join(&name)) else { return };
        for (processor, node) in &directory.entries {
            let bytes = processor.as_bytes();
            if bytes[0] == b'.' || bytes.contains(&b':') || matches!(node, Node::File(_) | Node::HardLink(_))
            {
                continue;
            }
            let Some((place, _)) = view.directory(&below.join(processor)) else { continue };
            self.subdirectories.push(bytes.to_vec());
            let path = path.join(&name).join(processor);
            add(folders, Folder { path, place, subdirectory: Some(bytes.to_vec()), hwcap: 0 });
        }
    }

    fn search(
        &mut self,
        view: &View<'_>,
        rules: &Rules,
        at: usize,
        folders: &mut Vec<Folder>,
    ) -> Result<(), FinalizeError> {
        let Some((_, directory)) = view.directory(&folders[at].place) else { return Ok(()) };
        let mut candidates = Vec::new();
        for (name, node) in &directory.entries {
            let old = match folders[at].subdirectory {
                None => rules.old_subdirectory(name.as_bytes()),
                Some(_) => None,
            };
            let is_file = matches!(node, Node::File(_) | Node::HardLink(_));
            if !is_library_name(name.as_bytes()) && (is_file || old.is_none()) {
                continue;
            }
            let path = folders[at].place.join(name);
            if let (Some(hwcap), Some((place, _))) = (old, view.directory(&path)) {
                let (path, hwcap) = (folders[at].path.join(name), folders[at].hwcap | hwcap);
                add(folders, Folder { path, place, subdirectory: None, hwcap });
            } else if let Some((_, file)) = view.file(&path) {
                let is_link = matches!(node, Node::Symlink(_));
                candidates.push(Candidate { name, is_link, file, image: None });
            } else if matches!(node, Node::Symlink(_)) && leads_nowhere(view, &path, name) {
                self.outcome.removed.push(path);
            }
        }
        let candidates = read_all(view, candidates)?;
        self.add_libraries(view, &folders[at], choose(rules, &candidates));
        Ok(())
    }

    /// Adds the libraries of one directory, by name, and the links that they lack.
    fn add_libraries(&mut self, view: &View<'_>, folder: &Folder, libraries: BTreeMap<Vec<u8>, Found>) {
        for (soname, found) in libraries {
            let file = match folder.subdirectory {
                Some(_) => found.name.as_bytes(),
                None => &soname,
            };
            let Ok(file) = Name::new(file) else { continue };
            if folder.subdirectory.is_none() && !found.is_link {
                self.link(view, folder, &found.name, &file);
            }
            self.entries.push(Entry {
                name: soname,
                path: folder.path.join(&file).as_bytes().to_vec(),
                flags: found.flags,
                hwcap: folder.hwcap,
                isa_level: found.isa_level,
                subdirectory: folder.subdirectory.clone(),
            });
        }
    }

    /// Links a library's DT_SONAME to its file, where nothing that is no link stands.
    fn link(&mut self, view: &View<'_>, folder: &Folder, library: &Name, soname: &Name) {
        let link = folder.place.join(soname);
        let leads_to = |path: &ImagePath| view.file(path).map(|found| found.0);
        if leads_to(&link).is_some() && leads_to(&link) == leads_to(&folder.place.join(library)) {
            return;
        }
        if matches!(view.tree.get(&link), None | Some(Node::Symlink(_))) {
            self.outcome.removed.retain(|path| *path != link);
            self.outcome.links.push((link, library.as_bytes().to_vec()));
        }
    }
}

/// Adds a directory; tells whether it was not there yet.
fn add(folders: &mut Vec<Folder>, folder: Folder) -> bool {
    let new = folders.iter().all(|other| other.place != folder.place);
    if new {
        folders.push(folder);
    }
    new
}

/// Tells whether `ldconfig` takes a link away: one to a library that is gone.
fn leads_nowhere(view: &View<'_>, path: &ImagePath, name: &Name) -> bool {
    let versioned = name.as_bytes().windows(4).any(|window| window == b".so.");
    versioned && crate::tree::follow::resolve(view.tree, path).is_none()
}

/// Reads the headers of all candidates.
fn read_all<'a>(
    view: &View<'_>,
    candidates: Vec<Candidate<'a>>,
) -> Result<Vec<Candidate<'a>>, FinalizeError> {
    let read = |mut candidate: Candidate<'a>| {
        candidate.image = super::read_image(view, candidate.file)?;
        Ok(candidate)
    };
    let read = view.job.workers.try_map(candidates, read);
    read.map_err(|errors: Vec<FinalizeError>| {
        errors.into_iter().next().expect("because there is one error at least")
    })
}

/// Chooses one file a DT_SONAME: a file before a link, then the newest by name.
fn choose(rules: &Rules, candidates: &[Candidate<'_>]) -> BTreeMap<Vec<u8>, Found> {
    let mut libraries: BTreeMap<Vec<u8>, Found> = BTreeMap::new();
    for candidate in candidates {
        let Some((image, flags)) =
            candidate.image.as_ref().and_then(|image| Some((image, rules.flags(image)?)))
        else {
            continue;
        };
        let name = candidate.name.as_bytes();
        let soname = image.soname.clone().unwrap_or_else(|| name.to_vec());
        let development = name.ends_with(b".so") && soname.starts_with(name);
        let is_link = candidate.is_link && (soname == name || development);
        let soname = if is_link { name.to_vec() } else { soname };
        let isa_level = image.needed_isa.checked_ilog2().unwrap_or(0);
        let found = Found { name: candidate.name.clone(), is_link, flags, isa_level };
        match libraries.get_mut(&soname) {
            None => drop(libraries.insert(soname, found)),
            Some(other) => {
                let newer = compare_names(other.name.as_bytes(), name).is_lt();
                if !is_link && other.is_link || is_link == other.is_link && newer {
                    let flags = other.flags;
                    *other = Found { flags, ..found };
                }
            }
        }
    }
    libraries
}

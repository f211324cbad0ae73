//! A disk that keeps only what was synced: everything else may be there after a power cut or not.
//!
//! Harsher than any file system. Of a file whose bytes were not synced each block of 4 KiB is left as it was
//! at the last sync, as any write since made it, or torn; its length is the old or the new one. A new name is
//! durable when the directory that it stands in was synced, a name that went likewise; a rename happened as a
//! whole or not at all, and is durable when the directory of its new name was synced. Nothing happens in the
//! order in which it was asked for.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::record::Step;

/// Bytes of a file that a disk keeps or loses together.
const BLOCK: usize = 4096;
const ROOT: usize = 0;

/// A directory by its number, and a name in it.
type Place = (usize, OsString);
type Names = BTreeMap<Place, usize>;

#[derive(Clone)]
enum Node {
    Directory,
    File(FileState),
}

#[derive(Clone, Default)]
struct FileState {
    synced: Vec<u8>,
    current: Vec<u8>,
    /// What writes made of each block since the last sync, oldest first.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
}

/// A change of names that no sync has made durable yet.
#[derive(Clone)]
struct Pending {
    serial: u64,
    node: usize,
    put: Option<Place>,
    gone: Option<Place>,
}

/// What is durable, and what is only in memory. The paths of its steps begin with `base`.
#[derive(Clone)]
pub struct Disk {
    base: PathBuf,
    nodes: Vec<Node>,
    current: Names,
    durable: Names,
    pending: Vec<Pending>,
    serial: u64,
}

/// One thing that a power cut decides: which of `options` states is left. 0 is the oldest, the last is what
/// was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    what: What,
    pub options: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A change of names, by its serial number.
    Name(u64),
    /// A block of a file.
    Block(usize, usize),
    /// The length of a file.
    Length(usize),
}

/// What one sync makes durable, so that a test can tell what its absence puts at risk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protected {
    File(usize),
    Names(Vec<u64>),
}

impl Protected {
    pub fn covers(&self, piece: &Piece) -> bool {
        match (self, piece.what) {
            (Protected::File(file), What::Block(other, _) | What::Length(other)) => *file == other,
            (Protected::Names(serials), What::Name(serial)) => serials.contains(&serial),
            _ => false,
        }
    }
}

/// What is left after a power cut: files with their bytes, directories without, by path below the base.
pub type Remains = BTreeMap<PathBuf, Option<Vec<u8>>>;

impl Disk {
    /// Makes a disk that holds durably what lies below a folder.
    pub fn of(base: &Path) -> Disk {
        let nodes = vec![Node::Directory];
        let mut disk = Disk {
            base: base.to_owned(),
            nodes,
            current: Names::new(),
            durable: Names::new(),
            pending: Vec::new(),
            serial: 0,
        };
        disk.load(base, ROOT);
        disk.durable = disk.current.clone();
        disk
    }

    fn load(&mut self, folder: &Path, number: usize) {
        for name in super::super::list(folder) {
            let path = folder.join(&name);
            let child = self.nodes.len();
            self.current.insert((number, name), child);
            if path.is_dir() {
                self.nodes.push(Node::Directory);
                self.load(&path, child);
            } else {
                let bytes = std::fs::read(&path).expect("a file");
                let (synced, current) = (bytes.clone(), bytes);
                self.nodes.push(Node::File(FileState { synced, current, dirty: BTreeMap::new() }));
            }
        }
    }

    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::CreateDirectory(path) => self.create(path, Node::Directory),
            Step::CreateFile(path) => self.create(path, Node::File(FileState::default())),
            Step::Link(from, to) => {
                let node = self.find(from).unwrap_or_else(|| panic!("{from:?} is linked and not there"));
                let to = self.place(to);
                self.change(node, Some(to), None);
            }
            Step::Rename(from, to) => {
                let node = self.find(from).unwrap_or_else(|| panic!("{from:?} is renamed and not there"));
                let (from, to) = (self.place(from), self.place(to));
                self.change(node, Some(to), Some(from));
            }
            Step::Remove(path) => {
                // A directory with something in it stays: the system refuses.
                if let Some(node) = self.find(path).filter(|node| !self.holds_something(*node)) {
                    let place = self.place(path);
                    self.change(node, None, Some(place));
                }
            }
            Step::Write(path, offset, bytes) => {
                let number = self.number_of_file(path);
                self.file(number).write(*offset as usize, bytes);
            }
            Step::Sync(_) | Step::SyncDirectory(_) => {
                if let Some(protected) = self.protected(step) {
                    self.keep(&protected);
                }
            }
        }
    }

    /// Returns what a sync that comes now makes durable; `None` for a step that is none, and for one that
    /// finds nothing to do.
    pub fn protected(&self, step: &Step) -> Option<Protected> {
        match step {
            Step::Sync(path) => {
                let number = self.number_of_file(path);
                let Node::File(file) = &self.nodes[number] else { return None };
                (!file.dirty.is_empty()).then_some(Protected::File(number))
            }
            Step::SyncDirectory(path) => {
                let Some(directory) = self.find(path) else { panic!("{path:?} is synced and not there") };
                let inside = |place: &Place| place.0 == directory;
                let waits = |pending: &&Pending| match (&pending.put, &pending.gone) {
                    (Some(put), _) => inside(put),
                    (None, gone) => gone.as_ref().is_some_and(inside),
                };
                let serials: Vec<u64> = self.pending.iter().filter(waits).map(|p| p.serial).collect();
                (!serials.is_empty()).then_some(Protected::Names(serials))
            }
            _ => None,
        }
    }

    fn keep(&mut self, protected: &Protected) {
        match protected {
            Protected::File(number) => {
                let file = self.file(*number);
                file.synced = file.current.clone();
                file.dirty.clear();
            }
            Protected::Names(serials) => {
                let (now, later) = std::mem::take(&mut self.pending)
                    .into_iter()
                    .partition::<Vec<_>, _>(|pending| serials.contains(&pending.serial));
                self.pending = later;
                now.iter().for_each(|pending| change_names(&mut self.durable, pending));
            }
        }
    }

    /// Makes all of it durable, as if the machine had gone on for a minute.
    pub fn settle(&mut self) {
        self.durable = self.current.clone();
        self.pending.clear();
        for node in &mut self.nodes {
            if let Node::File(file) = node {
                file.synced = file.current.clone();
                file.dirty.clear();
            }
        }
    }

    fn create(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        let (place, number) = (self.place(path), self.nodes.len() - 1);
        self.change(number, Some(place), None);
    }

    fn change(&mut self, node: usize, put: Option<Place>, gone: Option<Place>) {
        self.serial += 1;
        let pending = Pending { serial: self.serial, node, put, gone };
        change_names(&mut self.current, &pending);
        self.pending.push(pending);
    }

    fn holds_something(&self, directory: usize) -> bool {
        self.current.range((directory, OsString::new())..(directory + 1, OsString::new())).next().is_some()
    }

    fn find(&self, path: &Path) -> Option<usize> {
        let inside = path.strip_prefix(&self.base).ok()?;
        inside.iter().try_fold(ROOT, |at, name| self.current.get(&(at, name.to_owned())).copied())
    }

    fn place(&self, path: &Path) -> Place {
        let parent = path.parent().and_then(|parent| self.find(parent));
        let name = path.file_name().unwrap_or_else(|| OsStr::new("")).to_owned();
        (parent.unwrap_or_else(|| panic!("{path:?} lies in no directory of the disk")), name)
    }

    fn number_of_file(&self, path: &Path) -> usize {
        self.find(path).unwrap_or_else(|| panic!("{path:?} is written or synced and not there"))
    }

    fn file(&mut self, number: usize) -> &mut FileState {
        match &mut self.nodes[number] {
            Node::File(file) => file,
            Node::Directory => panic!("node {number} is no file"),
        }
    }

    /// Lists what a power cut would decide now.
    pub fn pieces(&self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = self
            .pending
            .iter()
            .map(|pending| Piece { what: What::Name(pending.serial), options: 2 })
            .collect();
        let named = self.durable.values().copied();
        let may_be_named = self.pending.iter().filter(|pending| pending.put.is_some()).map(|p| p.node);
        for number in named.chain(may_be_named).collect::<std::collections::BTreeSet<usize>>() {
            if let Node::File(file) = &self.nodes[number] {
                if file.synced.len() != file.current.len() {
                    pieces.push(Piece { what: What::Length(number), options: 2 });
                }
                pieces.extend(file.dirty.iter().map(|(block, versions)| Piece {
                    what: What::Block(number, *block),
                    // The old one, a torn one, what each write made.
                    options: (2 + versions.len()).min(255) as u8,
                }));
            }
        }
        pieces
    }

    /// Returns what is left when each piece is in the chosen state.
    pub fn cut(&self, pieces: &[Piece], choice: &[u8]) -> Remains {
        let chosen: BTreeMap<u64, u8> = pieces
            .iter()
            .zip(choice)
            .filter_map(|(piece, option)| match piece.what {
                What::Name(serial) => Some((serial, *option)),
                _ => None,
            })
            .collect();
        let mut names = self.durable.clone();
        for pending in self.pending.iter().filter(|pending| chosen.get(&pending.serial) == Some(&1)) {
            change_names(&mut names, pending);
        }
        let mut remains = Remains::new();
        self.collect(&names, ROOT, Path::new(""), &mut |path, number| {
            let bytes = match &self.nodes[number] {
                Node::Directory => None,
                Node::File(file) => Some(file.remains(number, pieces, choice)),
            };
            remains.insert(path, bytes);
        });
        remains
    }

    /// Returns what programs see as long as the power stays.
    pub fn seen(&self) -> Remains {
        let mut all = self.clone();
        all.settle();
        all.cut(&[], &[])
    }

    fn collect(&self, names: &Names, at: usize, path: &Path, take: &mut dyn FnMut(PathBuf, usize)) {
        for ((_, name), child) in names.range((at, OsString::new())..(at + 1, OsString::new())) {
            take(path.join(name), *child);
            if matches!(self.nodes[*child], Node::Directory) {
                self.collect(names, *child, &path.join(name), take);
            }
        }
    }
}

impl FileState {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        let grown = self.current.len().max(end);
        self.current.resize(grown, 0);
        self.current[offset..end].copy_from_slice(bytes);
        for block in offset / BLOCK..end.div_ceil(BLOCK) {
            let version = self.block(&self.current, block);
            self.dirty.entry(block).or_default().push(version);
        }
    }

    fn block(&self, bytes: &[u8], block: usize) -> Vec<u8> {
        bytes.get(block * BLOCK..).unwrap_or_default().iter().take(BLOCK).copied().collect()
    }

    fn remains(&self, number: usize, pieces: &[Piece], choice: &[u8]) -> Vec<u8> {
        let option = |what: What| {
            let at = pieces.iter().position(|piece| piece.what == what);
            at.map(|at| choice[at])
        };
        let length = match option(What::Length(number)) {
            Some(0) => self.synced.len(),
            _ => self.current.len(),
        };
        let mut bytes = self.synced.clone();
        bytes.resize(length, 0);
        for (block, versions) in &self.dirty {
            let version = match option(What::Block(number, *block)).unwrap_or(0) {
                0 => continue,
                1 => self.torn(*block, versions),
                option => versions[usize::from(option) - 2].clone(),
            };
            for (at, byte) in version.iter().enumerate().take(length.saturating_sub(block * BLOCK)) {
                bytes[block * BLOCK + at] = *byte;
            }
        }
        bytes
    }

    /// A block of which the first half of the changed bytes came to the disk.
    fn torn(&self, block: usize, versions: &[Vec<u8>]) -> Vec<u8> {
        let mut torn = self.block(&self.synced, block);
        let newest = versions.last().expect("a dirty block has a version");
        torn.resize(newest.len().max(torn.len()), 0);
        let differs = |at: &usize| torn.get(*at) != newest.get(*at);
        let changed: Vec<usize> = (0..newest.len()).filter(differs).collect();
        for at in &changed[..changed.len() / 2] {
            torn[*at] = newest[*at];
        }
        torn
    }
}

/// A name goes only if it still stands for what it stood for.
fn change_names(names: &mut Names, pending: &Pending) {
    if let Some(gone) = &pending.gone
        && names.get(gone) == Some(&pending.node)
    {
        names.remove(gone);
    }
    if let Some(place) = &pending.put {
        names.insert(place.clone(), pending.node);
    }
}

/// Writes what is left below a folder.
pub fn write(remains: &Remains, to: &Path) {
    for (path, bytes) in remains {
        match bytes {
            None => std::fs::create_dir_all(to.join(path)).expect("created"),
            Some(bytes) => std::fs::write(to.join(path), bytes).expect("written"),
        }
    }
}

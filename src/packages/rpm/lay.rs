//! Many packages become one tree.
//!
//! Links to directories come first, so that what another package puts below `/lib` goes where `/lib` leads. Two
//! packages may share a path where both bring the same: directories always, files of equal content, mode, owner and
//! capabilities.

use std::collections::{BTreeMap, HashMap};

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::error::FinalizeError;
use super::files::FileTable;
use super::header::Header;
use super::tags;
use super::unpack::{HEADER_FILE, SIGNATURES_FILE, Unpacked, read_header};
use crate::base::{ImagePath, Job, Name};
use crate::tree::{ContentSource, Directory, Node};

/// Most links that one path may lead through.
const LINKS_MAX: usize = 40;

/// Says what of packages goes into a tree.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout<'a> {
    /// Patterns of paths (`/usr/share/doc/**`) that are left out…
    pub drop: &'a [String],
    /// …but for these.
    pub keep: &'a [String],
}

/// A package with its headers read.
pub(super) struct Read<'a> {
    pub unpacked: &'a Unpacked,
    pub header: Header,
    pub signatures: Header,
    pub table: FileTable,
}

impl<'a> Read<'a> {
    pub fn of(unpacked: &'a Unpacked, source: &dyn ContentSource) -> Result<Read<'a>, FinalizeError> {
        let failed = |error: super::error::RpmError| FinalizeError::Stored {
            package: unpacked.control.name.clone(),
            problem: error.to_string(),
        };
        let info = &unpacked.info;
        let header = read_header(info, HEADER_FILE, tags::HEADER_IMMUTABLE, source).map_err(failed)?;
        let signatures =
            read_header(info, SIGNATURES_FILE, tags::HEADER_SIGNATURES, source).map_err(failed)?;
        let table = FileTable::read(&header).map_err(failed)?;
        Ok(Read { unpacked, header, signatures, table })
    }

    pub fn name(&self) -> &str {
        &self.unpacked.control.name
    }
}

/// Reads the headers of all packages, in parallel.
pub(super) fn read_all<'a>(
    packages: &'a [Unpacked],
    source: &dyn ContentSource,
    job: &Job,
) -> Result<Vec<Read<'a>>, Vec<FinalizeError>> {
    job.workers.try_map(packages.iter().collect(), |unpacked| Read::of(unpacked, source))
}

/// Says which package brought a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    owners: BTreeMap<ImagePath, String>,
}

impl Ownership {
    /// Returns the package that brought a path, the first of several.
    pub fn of(&self, path: &ImagePath) -> Option<&str> {
        self.owners.get(path).map(String::as_str)
    }

    /// Returns the paths that a package brought, sorted.
    pub fn files<'a>(&'a self, package: &'a str) -> impl Iterator<Item = &'a ImagePath> {
        self.owners.iter().filter(move |owner| owner.1 == package).map(|owner| owner.0)
    }
}

/// Lays packages into one tree. Their order decides nothing but which one a shared path is said to come from, and the
/// mode of a directory about which they differ: the first one's.
pub fn lay(
    packages: &[Unpacked],
    layout: &Layout<'_>,
    source: &dyn ContentSource,
    job: &Job,
) -> Result<(Directory, Ownership), Vec<FinalizeError>> {
    let read = read_all(packages, source, job)?;
    let filter = Filter::new(layout).map_err(|error| vec![error])?;
    let mut laying = Laying { filter, ..Laying::default() };
    for package in &read {
        let owners = package.table.files.iter().map(|file| (file.path.clone(), (&*file.user, &*file.group)));
        laying.accounts.push(owners.collect());
    }
    let mut links = Vec::new();
    for (index, package) in read.iter().enumerate() {
        let all = package.unpacked.tree.paths().filter(|(_, node)| matches!(node, Node::Symlink(_)));
        links.extend(all.map(|(path, node)| (path.names().count(), index, path, node)));
    }
    links.sort_by_key(|link| (link.0, link.1));
    for (_, index, path, node) in links {
        laying.put(&read, index, &path, node);
    }
    for (index, package) in read.iter().enumerate() {
        job.check().map_err(|cancelled| vec![cancelled.into()])?;
        let root = Node::Directory(Directory {
            metadata: package.unpacked.tree.metadata.clone(),
            ..Directory::default()
        });
        laying.put(&read, index, &ImagePath::root(), &root);
        let is_laid = |node: &Node| matches!(node, Node::Symlink(_));
        for (path, node) in package.unpacked.tree.paths().filter(|(_, node)| !is_laid(node)) {
            laying.put(&read, index, &path, node);
        }
    }
    match laying.errors.is_empty() {
        true => Ok((laying.tree, Ownership { owners: laying.owners })),
        false => Err(laying.errors),
    }
}

type Accounts<'a> = HashMap<ImagePath, (&'a str, &'a str)>;

#[derive(Default)]
struct Laying<'a> {
    tree: Directory,
    owners: BTreeMap<ImagePath, String>,
    /// By real path: which package brought what stands there, and under which path.
    from: HashMap<ImagePath, (usize, ImagePath)>,
    /// Users and groups of files by path, a map a package.
    accounts: Vec<Accounts<'a>>,
    filter: Filter,
    /// Where the first kept name of a set of links stands, by package and the set's first name.
    moved: BTreeMap<(usize, ImagePath), ImagePath>,
    errors: Vec<FinalizeError>,
}

impl Laying<'_> {
    fn put(&mut self, read: &[Read<'_>], index: usize, path: &ImagePath, node: &Node) {
        let is_described = self.accounts[index].contains_key(path);
        let is_directory = matches!(node, Node::Directory(_));
        // Directories that only the tree of one package implies come with what lies in them.
        if is_directory && !is_described || self.filter.drops(path) {
            return;
        }
        let result = self.try_put(read, index, path, node);
        self.errors.extend(result.err());
    }

    fn try_put(
        &mut self,
        read: &[Read<'_>],
        index: usize,
        path: &ImagePath,
        node: &Node,
    ) -> Result<(), FinalizeError> {
        let package = read[index].name();
        let is_directory = matches!(node, Node::Directory(_));
        let real =
            real_path(&self.tree, path, is_directory).map_err(|(through, kind)| FinalizeError::Through {
                path: path.clone(),
                package: package.to_owned(),
                other: self.owners.get(&through).cloned().unwrap_or_default(),
                through,
                kind,
            })?;
        let node = self.own_node(read, index, node, &real)?;
        if real.is_root() {
            if let Node::Directory(directory) = &node
                && self.from.insert(real.clone(), (index, path.clone())).is_none()
            {
                self.tree.metadata = directory.metadata.clone();
            }
            return Ok(());
        }
        match self.tree.get_mut(&real) {
            None => {
                self.tree.insert(&real, node)?;
            }
            Some(Node::Directory(there)) if is_directory => {
                if let (Node::Directory(directory), None) = (&node, self.from.get(&real)) {
                    there.metadata = directory.metadata.clone();
                }
            }
            Some(there) => {
                let there = there.clone();
                self.check_equal(read, index, path, (&node, &there), &real)?;
                return Ok(());
            }
        }
        self.from.entry(real.clone()).or_insert_with(|| (index, path.clone()));
        self.owners.entry(real).or_insert_with(|| package.to_owned());
        Ok(())
    }

    /// Returns the node to be put: an empty directory, or a link to where the first kept name of its set stands.
    fn own_node(
        &mut self,
        read: &[Read<'_>],
        index: usize,
        node: &Node,
        real: &ImagePath,
    ) -> Result<Node, FinalizeError> {
        match node {
            Node::Directory(directory) => Ok(Node::Directory(Directory {
                metadata: directory.metadata.clone(),
                ..Directory::default()
            })),
            Node::HardLink(target) if !self.filter.drops(target) => {
                let target = real_path(&self.tree, target, false).unwrap_or_else(|_| target.clone());
                Ok(Node::HardLink(target))
            }
            Node::HardLink(target) => {
                let key = (index, target.clone());
                if let Some(first) = self.moved.get(&key) {
                    return Ok(Node::HardLink(first.clone()));
                }
                let file = read[index].unpacked.tree.get(target).cloned();
                self.moved.insert(key, real.clone());
                file.ok_or_else(|| FinalizeError::Stored {
                    package: read[index].name().to_owned(),
                    problem: format!("a link to {target}, which is not there"),
                })
            }
            node => Ok(node.clone()),
        }
    }

    /// Two packages bring one path: they must bring the same.
    fn check_equal(
        &self,
        read: &[Read<'_>],
        index: usize,
        path: &ImagePath,
        (node, there): (&Node, &Node),
        real: &ImagePath,
    ) -> Result<(), FinalizeError> {
        let clash = |first: &str| FinalizeError::Clash {
            path: real.clone(),
            first: first.to_owned(),
            first_kind: there.kind(),
            second: read[index].name().to_owned(),
            second_kind: node.kind(),
        };
        let Some((other, other_path)) = self.from.get(real) else {
            // A directory that others' files imply.
            let inside = self.owners.range(real.clone()..).find(|owner| owner.0.is_within(real));
            return Err(clash(inside.map_or("another package", |owner| owner.1)));
        };
        let follow = |package: usize, path: &ImagePath| match read[package].unpacked.tree.get(path) {
            Some(Node::HardLink(target)) => read[package].unpacked.tree.get(target),
            node => node,
        };
        let is_same = follow(index, path) == follow(*other, other_path)
            && self.accounts[index].get(path) == self.accounts[*other].get(other_path);
        match is_same {
            true => Ok(()),
            false => Err(clash(read[*other].name())),
        }
    }
}

/// Tells which paths are left out.
#[derive(Default)]
struct Filter {
    drop: GlobSet,
    keep: GlobSet,
}

impl Filter {
    fn new(layout: &Layout<'_>) -> Result<Filter, FinalizeError> {
        Ok(Filter { drop: patterns(layout.drop)?, keep: patterns(layout.keep)? })
    }

    fn drops(&self, path: &ImagePath) -> bool {
        let text = String::from_utf8_lossy(path.as_bytes());
        self.drop.is_match(&*text) && !self.keep.is_match(&*text)
    }
}

fn patterns(patterns: &[String]) -> Result<GlobSet, FinalizeError> {
    let failed = |pattern: &str, error: globset::Error| FinalizeError::Pattern {
        pattern: pattern.to_owned(),
        problem: error.kind().to_string(),
    };
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        builder.add(Glob::new(pattern).map_err(|error| failed(pattern, error))?);
    }
    builder.build().map_err(|error| failed("", error))
}

/// Returns where a path really is, through links in its parents, and its own where it is asked. What is not there
/// yet counts as a directory that will be. Fails with what is in the way.
pub(super) fn real_path(
    tree: &Directory,
    path: &ImagePath,
    follow_last: bool,
) -> Result<ImagePath, (ImagePath, &'static str)> {
    let mut waiting: Vec<Vec<u8>> = path.names().rev().map(<[u8]>::to_vec).collect();
    let mut at = ImagePath::root();
    let mut links = 0;
    while let Some(name) = waiting.pop() {
        if name == b".." {
            at = at.parent().unwrap_or_else(ImagePath::root);
            continue;
        }
        let Ok(name) = Name::new(&name) else { continue };
        let next = at.join(&name);
        match tree.get(&next) {
            Some(Node::Symlink(link)) if !waiting.is_empty() || follow_last => {
                links += 1;
                if links > LINKS_MAX {
                    return Err((next, "link that leads in a circle"));
                }
                if link.target.starts_with(b"/") {
                    at = ImagePath::root();
                }
                let names = link.target.split(|byte| *byte == b'/');
                waiting.extend(names.filter(|name| !matches!(name, [] | [b'.'])).rev().map(<[u8]>::to_vec));
            }
            Some(Node::Directory(_)) | None => at = next,
            Some(_) if waiting.is_empty() => at = next,
            Some(other) => return Err((next, other.kind())),
        }
    }
    Ok(at)
}

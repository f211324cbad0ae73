//! The bill of materials: everything in an image that has a name and a version, whose files are which, and what needs
//! what. Read from a commit's tree, its lock, and the packages that the lock pins; nothing is guessed.

use std::collections::{BTreeSet, HashMap};

use super::components;
use super::error::{ReportError, Result};
use super::hashes::{self, Hashes};
use super::licence::Licence;
use super::owners;
use crate::base::{CommitId, Digest, ImagePath, Job};
use crate::packages::Lock;
use crate::store::{Commit, Store};
use crate::tree::{Content, ContentSource, Directory, Node};

/// The time of documents about what states none: 1980-01-01, as in images.
const UNTOLD_EPOCH: u64 = 315_532_800;
/// Most files of a bill.
pub const FILES_MAX: usize = 1 << 20;

/// What a bill is made of.
pub struct Subject<'a> {
    pub what: What,
    pub name: String,
    pub version: Option<String>,
    /// Seconds since 1970: the time that the documents state.
    pub epoch: u64,
    /// Version of the tool that made the commit.
    pub tool_version: String,
    /// What the image is for, as its distribution calls it; empty where nothing says so.
    pub architecture: String,
    /// The root filesystem; empty where only the lock is known.
    pub tree: &'a Directory,
    pub contents: &'a dyn ContentSource,
    /// The files that boot, where they are known.
    pub boot: Option<&'a Directory>,
    pub lock: Option<&'a Lock>,
    /// Where unpacked packages may be kept: they tell licences of images that leave documentation out.
    pub kept: Option<&'a Store>,
    /// The parts of the recipe that bring files, in its order.
    pub parts: Vec<Part>,
    /// Says what a path of the tree is there for, from the outside in, the line of the recipe first; empty where that is
    /// not known.
    pub lines: &'a dyn Fn(&ImagePath) -> Vec<String>,
    /// What could not be known so far, in sentences.
    pub unknown: Vec<String>,
}

/// Names what a bill is of. Identifiers of documents derive from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    Commit(CommitId),
    /// A lock alone, by the digest of its text.
    Lock(Digest),
    /// A tree that no commit names, by the digest of its paths and contents.
    Tree(Digest),
}

impl What {
    /// Returns the digest that identifiers derive from.
    pub fn digest(&self) -> Digest {
        match self {
            What::Commit(id) => id.0,
            What::Lock(digest) | What::Tree(digest) => *digest,
        }
    }

    /// Names it for people.
    pub fn word(&self) -> &'static str {
        match self {
            What::Commit(_) => "commit",
            What::Lock(_) => "lock",
            What::Tree(_) => "tree",
        }
    }
}

/// A part of the recipe that brings files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub kind: PartKind,
    /// The name of the block: the app's own.
    pub name: String,
    /// Where its files lie; absent for packages and steps.
    pub path: Option<ImagePath>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    App,
    Packages,
    Files,
    Step,
}

/// What kind of thing a component is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Family {
    Debian,
    Rpm,
    /// What the recipe's `app` brings.
    App,
    /// PID 1 of app images.
    Init,
    /// A Rust crate that a program says it was built of.
    Crate,
}

/// Something that has a name and a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    pub family: Family,
    pub name: String,
    pub version: Option<String>,
    pub architecture: Option<String>,
    /// `debian`, `ubuntu`, `fedora`…
    pub distribution: Option<String>,
    /// The release of the distribution, such as `bookworm`.
    pub release: Option<String>,
    /// Name and version of the source package.
    pub source: Option<(String, String)>,
    /// Who maintains it, as its own fields say.
    pub supplier: Option<String>,
    pub homepage: Option<String>,
    pub summary: Option<String>,
    /// What its copyright file says, where that can be read by a machine.
    pub licence: Option<Licence>,
    /// SHA-256 of the package's file, which a lock pins.
    pub sha256: Option<String>,
    pub size_bytes: Option<u64>,
    /// Path of the package's file below the root of its archive.
    pub location: Option<String>,
    /// Whether it is a part of the root filesystem; else the image boots with it.
    pub in_root: bool,
    /// Positions of the components that it needs.
    pub needs: BTreeSet<usize>,
    /// Positions of its files.
    pub files: Vec<usize>,
}

impl Component {
    /// Makes a component of which no more is known than its name.
    pub fn named(family: Family, name: &str) -> Self {
        Component {
            family,
            name: name.to_owned(),
            version: None,
            architecture: None,
            distribution: None,
            release: None,
            source: None,
            supplier: None,
            homepage: None,
            summary: None,
            licence: None,
            sha256: None,
            size_bytes: None,
            location: None,
            in_root: true,
            needs: BTreeSet::new(),
            files: Vec::new(),
        }
    }

    /// Tells whether it is a package of a distribution.
    pub fn is_package(&self) -> bool {
        matches!(self.family, Family::Debian | Family::Rpm)
    }

    /// Orders components, and tells them apart.
    pub fn key(&self) -> (Family, &str, &str, Option<&str>) {
        (self.family, &self.name, self.architecture.as_deref().unwrap_or_default(), self.version.as_deref())
    }
}

/// A regular file of the root filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BilledFile {
    pub path: ImagePath,
    pub content: Content,
    /// Another name of a file that stands before it.
    pub is_link: bool,
    /// Position of the component that it belongs to.
    pub component: Option<usize>,
    /// Position of what it is there for.
    pub line: Option<usize>,
}

/// A bill of materials.
pub struct Bill {
    pub what: What,
    pub name: String,
    pub version: Option<String>,
    pub epoch: u64,
    pub tool_version: String,
    pub architecture: String,
    /// What files are there for, from the outside in: the line of the recipe first.
    pub lines: Vec<Vec<String>>,
    /// By family, name, architecture, version.
    pub components: Vec<Component>,
    /// In tree order.
    pub files: Vec<BilledFile>,
    /// By content; empty where nobody asked for hashes.
    pub hashes: HashMap<Content, Hashes>,
    /// What could not be known, in sentences.
    pub unknown: Vec<String>,
}

impl Bill {
    /// Makes the bill of a subject. With `hash`, each content is read once and hashed, on all workers; without it,
    /// only databases and copyright files are read.
    pub fn of(subject: Subject<'_>, hash: bool, job: &Job) -> Result<Bill> {
        let step = job.step("read the packages", None, crate::base::job::Unit::Items);
        let files = files(subject.tree)?;
        let mut unknown = subject.unknown.clone();
        let found = components::find(&subject, &files, &mut unknown, job)?;
        drop(step);
        let (components, mut files) = owners::settle(&subject, found, files);
        let lines = lines(&subject, &mut files);
        let hashes = match hash {
            true => hashes::of(files.iter().map(|file| file.content), subject.contents, job)?,
            false => HashMap::new(),
        };
        let Subject { what, name, version, epoch, tool_version, architecture, .. } = subject;
        Ok(Bill {
            what,
            name,
            version,
            epoch,
            tool_version,
            architecture,
            lines,
            components,
            files,
            hashes,
            unknown,
        })
    }

    /// Returns what identifies a document that this bill becomes: two that say different things of one commit, as one
    /// of them knows less, are two documents.
    pub fn document(&self, form: &str) -> [u8; 16] {
        let (tool, files) = (env!("CARGO_PKG_VERSION"), !self.hashes.is_empty());
        self.what.digest().uuid(&format!("bill {form} {tool} {files} {}", self.unknown.join("\n")))
    }

    /// Returns the packages of distributions that the root filesystem holds.
    pub fn installed(&self) -> impl Iterator<Item = &Component> {
        self.components.iter().filter(|component| component.is_package() && component.in_root)
    }

    /// Returns the bytes of a component's files; of several names of one file, one counts.
    pub fn bytes_of(&self, component: &Component) -> u64 {
        let files = component.files.iter().map(|index| &self.files[*index]);
        files.filter(|file| !file.is_link).map(|file| file.content.size).sum()
    }
}

impl<'a> Subject<'a> {
    /// Makes a subject of which no more is known than its name and its files. The caller adds what it knows besides.
    pub fn named(what: What, name: &str, tree: &'a Directory, contents: &'a dyn ContentSource) -> Self {
        Subject {
            what,
            name: name.to_owned(),
            version: None,
            epoch: UNTOLD_EPOCH,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            architecture: String::new(),
            tree,
            contents,
            boot: None,
            lock: None,
            kept: None,
            parts: Vec::new(),
            lines: &|_| Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Makes the subject of a commit. The caller adds what it knows besides: lock, boot files, parts, lines.
    pub fn of_commit(
        id: CommitId,
        commit: &Commit,
        tree: &'a Directory,
        contents: &'a dyn ContentSource,
    ) -> Self {
        let architecture = match commit.disk.architecture {
            crate::store::Architecture::X86_64 => "amd64",
            crate::store::Architecture::Aarch64 => "arm64",
        };
        Subject {
            version: commit.version.clone(),
            epoch: commit.epoch,
            tool_version: commit.tool_version.clone(),
            architecture: architecture.to_owned(),
            ..Subject::named(What::Commit(id), &commit.name, tree, contents)
        }
    }
}

/// Asks what each file is there for, and returns the answers, each once.
fn lines(subject: &Subject<'_>, files: &mut [BilledFile]) -> Vec<Vec<String>> {
    let mut known: HashMap<Vec<String>, usize> = HashMap::new();
    for file in files {
        let names = (subject.lines)(&file.path);
        let next = known.len();
        file.line = (!names.is_empty()).then(|| *known.entry(names).or_insert(next));
    }
    let mut lines = vec![Vec::new(); known.len()];
    known.into_iter().for_each(|(names, at)| lines[at] = names);
    lines
}

/// Lists the regular files of a tree, in tree order; hard links have the content of what they lead to.
fn files(tree: &Directory) -> Result<Vec<BilledFile>> {
    let mut files = Vec::new();
    for (path, node) in tree.paths() {
        let (content, is_link) = match node {
            Node::File(file) => (file.content, false),
            Node::HardLink(target) => match tree.get(target) {
                Some(Node::File(file)) => (file.content, true),
                _ => continue,
            },
            _ => continue,
        };
        if files.len() == FILES_MAX {
            return Err(ReportError::TooMany { what: "files", found: files.len() + 1, limit: FILES_MAX });
        }
        files.push(BilledFile { path, content, is_link, component: None, line: None });
    }
    Ok(files)
}

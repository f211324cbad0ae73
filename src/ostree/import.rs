//! An OSTree commit into the store.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::carried;
use super::error::{OstreeError, Result};
use super::incoming::{self, Incoming};
use super::library::{Library, Repository};
use super::name::{Checksum, ObjectKind, ObjectName};
use super::object::{self, DirTree, FileHeader, OstreeCommit, PREFIX_BYTES};
use super::restore;
use crate::base::job::{Step, Unit};
use crate::base::{CommitId, Digest, Job, Name};
use crate::store::{
    Architecture, Commit, DiskSpec, Expected, Filesystem, Input, InputDigest, RefName, RefUpdate, Store,
    TREE_ENTRIES_MAX, Transaction, TreeRef,
};
use crate::tree::{ContentError, ContentSink, Directory, File, Metadata, Node, Symlink};

/// Most levels of directories; libostree itself reads no more (`OSTREE_MAX_RECURSION`).
const DEPTH_MAX: usize = 256;
/// Most bytes of files.
const CONTENT_BYTES_MAX: u64 = 64 << 30;
/// Most bytes of names, targets and attributes of all entries: what a tree costs in memory.
const NAMES_BYTES_MAX: u64 = 256 << 20;
/// FAT's last second: no image has a later time stamp.
const EPOCH_MAX: u64 = 4_354_819_199;

/// What is imported.
#[derive(Clone, Debug)]
pub struct Import {
    /// A ref of the repository (`BRANCH` or `REMOTE:BRANCH`), or the checksum of a commit.
    pub name: String,
    /// The ref of the store that will lead to the commit. `None`: the commit's own name, or that of the branch.
    pub reference: Option<RefName>,
    /// What a commit is for that does not say so itself.
    pub disk: DiskSpec,
}

impl Import {
    /// Returns the disk of commits that know of none: as of a recipe that says nothing about it.
    pub fn default_disk(architecture: Architecture) -> DiskSpec {
        DiskSpec {
            layout: 1,
            architecture,
            filesystem: Filesystem::Ext4,
            slot_size: None,
            uki_size: None,
            data_size: 64 << 20,
            data_path: "/data".to_owned(),
            tries: 3,
        }
    }
}

/// What an import did.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Imported {
    /// The OSTree commit.
    pub checksum: Checksum,
    pub commit: CommitId,
    pub tree: TreeRef,
    /// The ref that leads to it now.
    pub reference: RefName,
    /// False where the ref led there before.
    pub moved: bool,
    /// The commit is the very one that was exported.
    pub restored: bool,
    /// Why it is not, where it was exported by us.
    pub note: Option<String>,
    pub repository: PathBuf,
    /// Objects that were not in the store before, and the bytes that they take.
    pub objects: u64,
    pub bytes: u64,
}

/// Brings an OSTree commit into the store and moves a ref to it. Every object is held against its checksum as
/// it is read. A commit that [`super::export`] made comes back as what it was, where all of it is there; of
/// any other, and where something is missing, a commit is made that holds the tree. Nothing is kept unless
/// all is right.
pub fn import(
    store: &Store,
    library: &Library,
    repository: &Path,
    request: &Import,
    job: &Job,
) -> Result<Imported> {
    let mut repository = library.open(repository)?;
    let checksum = resolve(&mut repository, &request.name)?;
    let transaction = store.begin(job);
    let mut reader = Reader::new(repository, &transaction, job);
    let found = reader.commit(checksum)?;
    let object = ObjectName { kind: ObjectKind::Commit, checksum };
    let links = carried::parse_hard_links(&found);
    let links = links.map_err(|source| OstreeError::Malformed { object, source })?;
    let mut tree = reader.tree(found.tree, found.meta)?;
    carried::link(&mut tree, links);
    let tree = transaction.put_tree(job, &tree.seal().map_err(OstreeError::Tree)?)?;
    let restored = restore::commit(&mut reader, &found, &tree)?;
    let (id, name, note) = match restored {
        Some(Ok((id, commit))) => (Some(id), commit.name, None),
        Some(Err(note)) => (None, name(&request.name), Some(note)),
        None => (None, name(&request.name), None),
    };
    let reference = match &request.reference {
        Some(reference) => reference.clone(),
        None => RefName::new(&name).map_err(|source| OstreeError::Name { name, source })?,
    };
    let restored = id.is_some();
    let commit = match id {
        Some(id) => id,
        None => transaction.put_commit(&foreign(&found, checksum, tree, &reference, request)?)?,
    };
    let repository = reader.repository.path().to_owned();
    drop(reader);
    let update = RefUpdate { name: reference.clone(), expected: Expected::Any, new: commit };
    let committed = transaction.commit(&[update], &format!("import of OSTree commit {checksum}"))?;
    Ok(Imported {
        checksum,
        commit,
        tree,
        reference,
        moved: committed.refs.iter().any(|change| change.moved),
        restored,
        note,
        repository,
        objects: committed.objects,
        bytes: committed.bytes,
    })
}

fn resolve(repository: &mut Repository, name: &str) -> Result<Checksum> {
    if let Ok(checksum) = name.parse() {
        return Ok(checksum);
    }
    let found = repository.resolve(name)?;
    let path = repository.path();
    found.ok_or_else(|| OstreeError::UnknownRef { name: name.to_owned(), repository: path.to_owned() })
}

/// Returns the name that a commit gets: that of the branch, as far as a name of an image goes
/// (`fedora/39/x86_64` is "fedora").
fn name(asked: &str) -> String {
    let branch = asked.rsplit(':').next().unwrap_or(asked);
    let name = if asked.parse::<Checksum>().is_ok() { "ostree" } else { branch };
    name.split('/').next().unwrap_or(name).to_lowercase()
}

/// Makes a commit that holds a tree which was made elsewhere.
fn foreign(
    found: &OstreeCommit,
    checksum: Checksum,
    tree: TreeRef,
    reference: &RefName,
    request: &Import,
) -> Result<Commit> {
    if found.seconds > EPOCH_MAX {
        return Err(OstreeError::Epoch { seconds: found.seconds, limit: EPOCH_MAX });
    }
    let architecture = match found.text("ostree.architecture") {
        Some("x86_64") => Architecture::X86_64,
        Some("aarch64") => Architecture::Aarch64,
        _ => request.disk.architecture,
    };
    let name = reference.as_str().split('/').next().unwrap_or("ostree").to_owned();
    let bytes = found.encode().len() as u64;
    let mut annotations = BTreeMap::from([("ostree.commit".to_owned(), checksum.to_string())]);
    if !found.subject.is_empty() {
        annotations.insert("ostree.subject".to_owned(), found.subject.clone());
    }
    Ok(Commit {
        tree,
        boot: None,
        disk: DiskSpec { architecture, ..request.disk.clone() },
        epoch: found.seconds,
        name,
        version: found.text("version").map(str::to_owned),
        recipe: Vec::new(),
        variables: BTreeMap::new(),
        lock: None,
        inputs: vec![Input {
            name: "OSTree commit".to_owned(),
            digest: InputDigest::Sha256(Digest(checksum.0)),
            size: bytes,
        }],
        parents: Vec::new(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        annotations,
    })
}

/// Reads out of one repository into one transaction.
pub(super) struct Reader<'a> {
    pub repository: Repository,
    pub transaction: &'a Transaction<'a>,
    pub job: &'a Job,
    step: Step,
    files: HashMap<Checksum, Node>,
    trees: HashMap<Checksum, Arc<DirTree>>,
    metas: HashMap<Checksum, Arc<Metadata>>,
    entries: u64,
    content_bytes: u64,
    names_bytes: u64,
}

/// A directory that is yet to be read: the place of its parent in the level above, and its name there.
struct Waiting {
    parent: usize,
    name: Option<Name>,
    tree: Checksum,
    meta: Checksum,
}

/// A directory that was read, as yet without its sub-directories.
struct Read {
    parent: usize,
    name: Option<Name>,
    directory: Directory,
}

impl<'a> Reader<'a> {
    fn new(repository: Repository, transaction: &'a Transaction<'a>, job: &'a Job) -> Self {
        Reader {
            repository,
            transaction,
            job,
            step: job.step("import", None, Unit::Bytes),
            files: HashMap::new(),
            trees: HashMap::new(),
            metas: HashMap::new(),
            entries: 0,
            content_bytes: 0,
            names_bytes: 0,
        }
    }

    pub fn commit(&mut self, checksum: Checksum) -> Result<OstreeCommit> {
        incoming::metadata(&mut self.repository, ObjectKind::Commit, checksum, OstreeCommit::parse)
    }

    /// Reads a tree with its files, one level of directories after the other.
    pub fn tree(&mut self, tree: Checksum, meta: Checksum) -> Result<Directory> {
        let mut levels: Vec<Vec<Read>> = Vec::new();
        let mut waiting = vec![Waiting { parent: 0, name: None, tree, meta }];
        while let Some(first) = waiting.first() {
            if levels.len() > DEPTH_MAX {
                let object = ObjectName { kind: ObjectKind::DirTree, checksum: first.tree };
                let (what, limit) = ("levels of directories", DEPTH_MAX as u64);
                return Err(OstreeError::TooLarge { object, what, limit });
            }
            let (mut level, mut below) = (Vec::new(), Vec::new());
            for next in waiting {
                self.job.check()?;
                let (tree, directory) = self.directory(&next)?;
                for (name, tree, meta) in &tree.directories {
                    let name = Some(Name::new(name.as_bytes()).expect("because it was parsed as a name"));
                    below.push(Waiting { parent: level.len(), name, tree: *tree, meta: *meta });
                }
                level.push(Read { parent: next.parent, name: next.name, directory });
            }
            levels.push(level);
            waiting = below;
        }
        Ok(assemble(levels))
    }

    /// Reads a directory with its files.
    fn directory(&mut self, waiting: &Waiting) -> Result<(Arc<DirTree>, Directory)> {
        let tree = match self.trees.get(&waiting.tree) {
            Some(tree) => tree.clone(),
            None => {
                let read = incoming::metadata(
                    &mut self.repository,
                    ObjectKind::DirTree,
                    waiting.tree,
                    DirTree::parse,
                );
                self.trees.entry(waiting.tree).or_insert(Arc::new(read?)).clone()
            }
        };
        let metadata = match self.metas.get(&waiting.meta) {
            Some(metadata) => metadata.clone(),
            None => {
                let kind = ObjectKind::DirMeta;
                let read =
                    incoming::metadata(&mut self.repository, kind, waiting.meta, object::parse_dirmeta);
                self.metas.entry(waiting.meta).or_insert(Arc::new(read?)).clone()
            }
        };
        let object = ObjectName { kind: ObjectKind::DirTree, checksum: waiting.tree };
        self.count(object, &tree, &metadata)?;
        let mut directory = Directory { metadata: (*metadata).clone(), ..Directory::default() };
        for (name, checksum) in &tree.files {
            let node = self.file(*checksum)?;
            self.spend(ObjectName { kind: ObjectKind::File, checksum: *checksum }, cost(&node))?;
            directory
                .entries
                .insert(Name::new(name.as_bytes()).expect("because it was parsed as a name"), node);
        }
        Ok((tree, directory))
    }

    /// Counts what a directory adds to the tree, before it does.
    fn count(&mut self, object: ObjectName, tree: &DirTree, metadata: &Metadata) -> Result<()> {
        self.entries += (tree.files.len() + tree.directories.len()) as u64;
        if self.entries > TREE_ENTRIES_MAX {
            return Err(OstreeError::TooLarge { object, what: "entries", limit: TREE_ENTRIES_MAX });
        }
        let files = tree.files.iter().map(|(name, _)| name.len());
        let names: usize = files.chain(tree.directories.iter().map(|(name, ..)| name.len())).sum();
        self.spend(object, names as u64 + weight(metadata))
    }

    fn spend(&mut self, object: ObjectName, bytes: u64) -> Result<()> {
        self.names_bytes += bytes;
        if self.names_bytes > NAMES_BYTES_MAX {
            let what = "bytes of names, targets and attributes";
            return Err(OstreeError::TooLarge { object, what, limit: NAMES_BYTES_MAX });
        }
        Ok(())
    }

    /// Reads a file, unless it was read before.
    fn file(&mut self, checksum: Checksum) -> Result<Node> {
        if let Some(node) = self.files.get(&checksum) {
            return Ok(node.clone());
        }
        self.job.check()?;
        let object = ObjectName { kind: ObjectKind::File, checksum };
        let limit = CONTENT_BYTES_MAX - self.content_bytes + object::HEADER_BYTES_MAX as u64;
        let mut incoming = Incoming::of(&mut self.repository, object, limit)?;
        let header = file_header(&mut incoming, object)?;
        let node = match header.target {
            Some(target) => {
                Node::Symlink(Symlink { metadata: header.metadata, target: target.into_bytes().into() })
            }
            None => {
                let content = self.transaction.put_reader(&mut incoming).map_err(|error| match error {
                    ContentError::Input(_) => incoming.failure().unwrap_or(error.into()),
                    error => error.into(),
                })?;
                self.content_bytes += content.size;
                self.step.advance(content.size);
                Node::File(File { metadata: header.metadata, content })
            }
        };
        incoming.finish()?;
        self.files.insert(checksum, node.clone());
        Ok(node)
    }
}

fn file_header(incoming: &mut Incoming<'_>, object: ObjectName) -> Result<FileHeader> {
    let malformed = |source| OstreeError::Malformed { object, source };
    let prefix = incoming.exactly(PREFIX_BYTES)?;
    let prefix = prefix.as_slice().try_into().expect("because that many bytes were taken");
    let length = FileHeader::announced(prefix).map_err(malformed)?;
    FileHeader::parse(&incoming.exactly(length)?).map_err(malformed)
}

/// Returns what an entry costs in memory, beside its name.
fn cost(node: &Node) -> u64 {
    let target = if let Node::Symlink(symlink) = node { symlink.target.len() as u64 } else { 0 };
    target + node.metadata().map_or(0, weight)
}

fn weight(metadata: &Metadata) -> u64 {
    metadata.xattrs.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum()
}

/// Hangs each level's directories into those of the level above, from the deepest up.
fn assemble(mut levels: Vec<Vec<Read>>) -> Directory {
    while let Some(level) = levels.pop() {
        let Some(above) = levels.last_mut() else {
            return level.into_iter().next().expect("because the first level is the root").directory;
        };
        for Read { parent, name, directory } in level {
            let name = name.expect("because only the root has no name");
            above[parent].directory.entries.insert(name, Node::Directory(directory));
        }
    }
    Directory::default()
}

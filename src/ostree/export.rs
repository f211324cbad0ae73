//! A commit of the store into an OSTree repository.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::carried;
use super::error::{OstreeError, Result};
use super::library::{Library, Repository};
use super::loss::{self, Loss};
use super::name::{Checksum, ObjectKind, ObjectName};
use super::object::{DirTree, FileHeader, OstreeCommit, checksum, encode_dirmeta};
use super::wire::Mode;
use crate::base::job::{Step, Unit};
use crate::base::{CommitId, Digest, ImagePath, Job, Name, StepKey};
use crate::store::{Architecture, Commit, Hold, Objects, Store, StoreError};
use crate::tree::content::{ContentReader, PIECE_BYTES};
use crate::tree::{Content, Directory, Node, Visit};

/// Domain of the keys under which checksums are remembered.
const MEMO_CONTEXT: &str = "mkimage 2026 ostree checksums v1";
/// The checksums of a directory's files are remembered from this many bytes on: below, hashing again is as
/// quick as looking.
const MEMO_FROM_BYTES: u64 = 1 << 20;

/// What is exported, and how.
#[derive(Clone, Debug)]
pub struct Export {
    pub commit: CommitId,
    /// The OSTree branch that moves.
    pub branch: String,
    /// How a repository that is made keeps its files; one that is there must be of this mode. `None`: archive
    /// for a new one.
    pub mode: Option<Mode>,
    /// Leave out what OSTree can't hold.
    pub lossy: bool,
    /// Leave out the companion: boot files, recipe and lock.
    pub tree_only: bool,
}

/// What an export did.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Exported {
    pub commit: CommitId,
    /// The OSTree commit.
    pub checksum: Checksum,
    pub branch: String,
    /// The branch of boot files, recipe and lock.
    pub companion: Option<String>,
    pub repository: PathBuf,
    pub mode: String,
    /// Objects that were not in the repository before, and their bytes.
    pub objects: u64,
    pub bytes: u64,
    /// What was left out.
    pub losses: Vec<Loss>,
    /// How many names of files clients will see as files of their own.
    pub hard_links: usize,
}

/// Writes a commit into an OSTree repository and moves a branch to it. The result follows from commit and
/// branch alone: an OSTree commit without a parent, at the time of the commit's epoch. Objects that the
/// repository has are neither read, where their checksums are remembered, nor written.
pub fn export(
    store: &Store,
    library: &Library,
    repository: &Path,
    request: &Export,
    job: &Job,
) -> Result<Exported> {
    let _held = hold(store, request.commit)?;
    let commit = store.read_commit(&request.commit)?;
    let mut tree = store.read_tree(job, &commit.tree)?;
    let fit = loss::fit(&mut tree);
    if !fit.losses.is_empty() && !request.lossy {
        return Err(OstreeError::CannotHold { losses: fit.losses });
    }
    let companion = match request.tree_only {
        true => None,
        false => companion(store, &commit, job)?,
    };
    let mut repository = library.open_or_create(repository, request.mode)?;
    if repository.mode == "bare-user-only" {
        let (path, mode) = (repository.path().to_owned(), repository.mode.clone());
        return Err(OstreeError::Forgetful { path, mode });
    }
    let branches =
        [Some(request.branch.clone()), companion.as_ref().map(|_| carried::branch(&request.branch))];
    let branches: Vec<String> = branches.into_iter().flatten().collect();
    repository.begin(&branches.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut writer = Writer { store, job, repository, objects: 0, bytes: 0 };
    let mut refs = Vec::new();
    let beside = match &companion {
        None => None,
        Some(tree) => {
            let metadata = vec![
                carried::text(carried::COMMIT, &request.commit.to_string()),
                carried::binding(&branches[1]),
            ];
            let checksum = writer.commit(tree, &commit, &request.commit, metadata)?;
            refs.push((branches[1].clone(), checksum));
            Some(checksum)
        }
    };
    let metadata = metadata(&commit, request, beside, &fit.hard_links);
    let checksum = writer.commit(&tree, &commit, &request.commit, metadata)?;
    refs.push((request.branch.clone(), checksum));
    let exported = Exported {
        commit: request.commit,
        checksum,
        branch: request.branch.clone(),
        companion: branches.get(1).cloned(),
        repository: writer.repository.path().to_owned(),
        mode: writer.repository.mode.clone(),
        objects: writer.objects,
        bytes: writer.bytes,
        losses: fit.losses,
        hard_links: fit.hard_links.len(),
    };
    writer.repository.commit(refs)?;
    Ok(exported)
}

/// Keeps what is read from being collected meanwhile. Who may only read a store does without: a collector leaves
/// in the trash, where it is still read, what refs led to of late.
fn hold(store: &Store, commit: CommitId) -> Result<Option<Hold>> {
    match store.hold(&[commit]) {
        Err(error) if error.is_read_only() || matches!(error, StoreError::Foreign { .. }) => Ok(None),
        hold => Ok(Some(hold?)),
    }
}

/// Reads what a commit names beside its tree. What of it OSTree can't hold would be our own fault.
fn companion(store: &Store, commit: &Commit, job: &Job) -> Result<Option<Directory>> {
    let boot = commit.boot.map(|boot| store.read_tree(job, &boot)).transpose()?;
    let Some(mut tree) = carried::companion(commit, boot) else { return Ok(None) };
    let fit = loss::fit(&mut tree);
    if fit.losses.is_empty() { Ok(Some(tree)) } else { Err(OstreeError::CannotHold { losses: fit.losses }) }
}

/// Makes the metadata of the OSTree commit, ascending by key.
fn metadata(
    commit: &Commit,
    request: &Export,
    companion: Option<Checksum>,
    hard_links: &[(ImagePath, ImagePath)],
) -> Vec<carried::Entry> {
    let architecture = match commit.disk.architecture {
        Architecture::X86_64 => "x86_64",
        Architecture::Aarch64 => "aarch64",
    };
    let mut metadata = vec![
        carried::text(carried::COMMIT, &request.commit.to_string()),
        carried::bytes(carried::COMMIT_OBJECT, &commit.encode()),
        carried::text("ostree.architecture", architecture),
        carried::binding(&request.branch),
    ];
    metadata.extend(companion.map(|checksum| carried::text(carried::COMPANION, &checksum.to_string())));
    if !hard_links.is_empty() {
        metadata.push(carried::hard_links(hard_links));
    }
    metadata.extend(commit.version.iter().map(|version| carried::text("version", version)));
    metadata.sort();
    metadata
}

/// One transaction in a repository.
struct Writer<'a> {
    store: &'a Store,
    job: &'a Job,
    repository: Repository,
    objects: u64,
    bytes: u64,
}

/// A directory on its way out: its place among all, and its name above.
struct Place<'t> {
    directory: &'t Directory,
    parent: usize,
    name: Option<&'t Name>,
}

/// An object of metadata, and its bytes.
type Made = (ObjectName, Vec<u8>);

impl Writer<'_> {
    /// Writes a tree and the commit that leads to it. The tree holds only what OSTree holds.
    fn commit(
        &mut self,
        tree: &Directory,
        commit: &Commit,
        id: &CommitId,
        metadata: Vec<carried::Entry>,
    ) -> Result<Checksum> {
        let places = places(tree);
        let checksums = self.checksums(&places)?;
        self.files(&places, &checksums)?;
        let (root, meta, made) = directories(&places, &checksums);
        self.structure(made)?;
        let version = commit.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        let commit = OstreeCommit {
            metadata,
            parent: None,
            related: Vec::new(),
            subject: format!("{}{version}", commit.name),
            body: format!("mkimage commit {id}\n"),
            seconds: commit.epoch,
            tree: root,
            meta,
        };
        let bytes = commit.encode();
        let checksum = checksum(&bytes);
        self.structure(vec![(ObjectName { kind: ObjectKind::Commit, checksum }, bytes)])?;
        Ok(checksum)
    }

    /// Hashes the files of all directories, in the order of their entries.
    fn checksums(&self, places: &[Place<'_>]) -> Result<Vec<Vec<Checksum>>> {
        let total = places.iter().flat_map(|place| leaves(place.directory)).map(|(_, node)| size(node)).sum();
        let step = self.job.step("hash for OSTree", Some(total), Unit::Bytes);
        let directories: Vec<&Directory> = places.iter().map(|place| place.directory).collect();
        let hashed = self.job.workers.try_map(directories, |directory| self.checksums_of(directory, &step));
        hashed.map_err(|errors| errors.into_iter().next().expect("because a failure has an error"))
    }

    fn checksums_of(&self, directory: &Directory, step: &Step) -> Result<Vec<Checksum>> {
        let bytes: u64 = leaves(directory).map(|(_, node)| size(node)).sum();
        let key = (bytes >= MEMO_FROM_BYTES).then(|| memo_key(directory));
        let count = leaves(directory).count();
        let known = key.and_then(|key| self.store.memo_get(&key)).filter(|record| record.len() == count * 32);
        if let Some(record) = known {
            step.advance(bytes);
            let (checksums, _) = record.as_chunks::<32>();
            return Ok(checksums.iter().map(|bytes| Checksum(*bytes)).collect());
        }
        let mut checksums = Vec::new();
        for (_, node) in leaves(directory) {
            self.job.check()?;
            checksums.push(self.hash(node)?);
            step.advance(size(node));
        }
        if let Some(key) = key {
            let record: Vec<[u8; 32]> = checksums.iter().map(|checksum| checksum.0).collect();
            // A cache: what it can't keep is hashed again.
            let _ = self.store.memo_put(&key, record.as_flattened());
        }
        Ok(checksums)
    }

    fn hash(&self, node: &Node) -> Result<Checksum> {
        let mut hasher = Sha256::new();
        hasher.update(header(node));
        if let Some(content) = content(node) {
            let mut reader = ContentReader::new(self.store, content);
            let mut piece = vec![0; PIECE_BYTES.min(content.size) as usize];
            loop {
                match reader.read(&mut piece).map_err(crate::tree::ContentError::Input)? {
                    0 => break,
                    length => hasher.update(&piece[..length]),
                }
                self.job.check()?;
            }
        }
        Ok(Checksum(hasher.finalize().into()))
    }

    /// Writes the files that are not there.
    fn files(&mut self, places: &[Place<'_>], checksums: &[Vec<Checksum>]) -> Result<()> {
        let mut nodes = std::collections::BTreeMap::new();
        for (place, checksums) in places.iter().zip(checksums) {
            for ((_, node), checksum) in leaves(place.directory).zip(checksums) {
                nodes.insert(ObjectName { kind: ObjectKind::File, checksum: *checksum }, node);
            }
        }
        let missing = self.repository.missing(nodes.keys().copied().collect())?;
        let total = missing.iter().map(|object| size(nodes[object])).sum();
        let step = self.job.step("export", Some(total), Unit::Bytes);
        for object in missing {
            self.job.check()?;
            let node = nodes[&object];
            let header = header(node);
            let bytes = header.len() as u64 + size(node);
            match content(node) {
                None => self.repository.write(object, bytes, &mut &header[..])?,
                Some(content) => {
                    let mut body = header.as_slice().chain(ContentReader::new(self.store, content));
                    self.repository.write(object, bytes, &mut body)?;
                }
            }
            self.objects += 1;
            self.bytes += bytes;
            step.advance(size(node));
        }
        Ok(())
    }

    /// Writes the objects of metadata that are not there, in their order.
    fn structure(&mut self, made: Vec<Made>) -> Result<()> {
        let names = made.iter().map(|(object, _)| *object).collect();
        let mut missing: BTreeSet<ObjectName> = self.repository.missing(names)?.into_iter().collect();
        for (object, bytes) in made {
            self.job.check()?;
            if missing.remove(&object) {
                self.repository.write(object, bytes.len() as u64, &mut &bytes[..])?;
                self.objects += 1;
                self.bytes += bytes.len() as u64;
            }
        }
        Ok(())
    }
}

/// Lists the directories of a tree, each before those that it holds.
fn places(root: &Directory) -> Vec<Place<'_>> {
    let mut places = vec![Place { directory: root, parent: 0, name: None }];
    let mut by_position = std::collections::HashMap::from([(0, 0)]);
    for Visit { parent, position, name, node } in root.walk() {
        if let Node::Directory(directory) = node {
            by_position.insert(position, places.len());
            places.push(Place { directory, parent: by_position[&parent], name: Some(name) });
        }
    }
    places
}

/// Makes the objects of all directories, those that lie deeper first: the root's dirtree and dirmeta, and
/// all objects.
fn directories(places: &[Place<'_>], checksums: &[Vec<Checksum>]) -> (Checksum, Checksum, Vec<Made>) {
    let mut trees: Vec<DirTree> = places.iter().map(|_| DirTree::default()).collect();
    let mut made = Vec::new();
    let mut root = None;
    for (index, place) in places.iter().enumerate().rev() {
        let mut tree = std::mem::take(&mut trees[index]);
        // They came in reverse, as directories do here.
        tree.directories.reverse();
        let files = leaves(place.directory).zip(&checksums[index]);
        tree.files = files.map(|((name, _), checksum)| (text(name), *checksum)).collect();
        let tree = add(&mut made, ObjectKind::DirTree, tree.encode());
        let meta = add(&mut made, ObjectKind::DirMeta, encode_dirmeta(&place.directory.metadata));
        match place.name {
            Some(name) => trees[place.parent].directories.push((text(name), tree, meta)),
            None => root = Some((tree, meta)),
        }
    }
    let (tree, meta) = root.expect("because the first place is the root");
    (tree, meta, made)
}

fn add(made: &mut Vec<Made>, kind: ObjectKind, bytes: Vec<u8>) -> Checksum {
    let checksum = checksum(&bytes);
    made.push((ObjectName { kind, checksum }, bytes));
    checksum
}

fn text(name: &Name) -> String {
    String::from_utf8(name.as_bytes().to_vec()).expect("because other names were taken away")
}

/// Returns what a directory holds that is none.
fn leaves(directory: &Directory) -> impl Iterator<Item = (&Name, &Node)> {
    directory.entries.iter().filter(|(_, node)| !matches!(node, Node::Directory(_)))
}

fn content(node: &Node) -> Option<Content> {
    match node {
        Node::File(file) => Some(file.content),
        _ => None,
    }
}

fn size(node: &Node) -> u64 {
    content(node).map_or(0, |content| content.size)
}

/// Returns the beginning of a file's object.
fn header(node: &Node) -> Vec<u8> {
    match node {
        Node::File(file) => FileHeader::encode(&file.metadata, None),
        Node::Symlink(symlink) => {
            let target = std::str::from_utf8(&symlink.target).expect("because others were taken away");
            FileHeader::encode(&symlink.metadata, Some(target))
        }
        other => unreachable!("a {} was taken away before", other.kind()),
    }
}

/// Digests everything that the checksums of a directory's files follow from.
fn memo_key(directory: &Directory) -> StepKey {
    let mut bytes = Vec::new();
    for (_, node) in leaves(directory) {
        let header = header(node);
        bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&header);
        if let Some(content) = content(node) {
            bytes.extend_from_slice(content.id.as_bytes());
            bytes.extend_from_slice(&content.size.to_le_bytes());
        }
    }
    StepKey(Digest::derive(MEMO_CONTEXT, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{File, Metadata};

    #[test]
    fn directories_are_in_order_and_lead_to_their_own() {
        let file = Node::File(File { metadata: Metadata::root(0o644), content: Content::of(b"x") });
        let mut tree = Directory::default();
        for path in ["/a/b/f", "/a/c/f", "/d/f", "/e"] {
            tree.insert(&ImagePath::new(path.as_bytes()).expect("a path"), file.clone()).expect("inserted");
        }
        let places = places(&tree);
        let checksums: Vec<Vec<Checksum>> =
            places.iter().map(|place| leaves(place.directory).map(|_| Checksum([1; 32])).collect()).collect();
        let (root, _, made) = directories(&places, &checksums);
        let read = |checksum: Checksum| {
            let (_, bytes) = made.iter().find(|(object, _)| object.checksum == checksum).expect("made");
            DirTree::parse(bytes).expect("a dirtree")
        };
        let root = read(root);
        let names = |tree: &DirTree| {
            tree.directories.iter().map(|(name, ..)| name.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!((names(&root).as_str(), root.files[0].0.as_str()), ("a d", "e"));
        assert_eq!(names(&read(root.directories[0].1)), "b c");
    }
}

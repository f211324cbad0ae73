//! A directory or file of the host as a tree, and the list of what was read for it.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::ArchiveError;
use super::import::put;
use super::limits::Limits;
use crate::base::fs::FileError;
use crate::base::job::Unit;
use crate::base::{BlobId, Digest, ImagePath, Job, Name, Step};
use crate::tree::{Content, ContentError, ContentSink, Directory, File, Metadata, Node, Symlink};

/// Lists everything of the host that a source consists of: for step keys, and for dependency files.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Inputs {
    /// Host path of the file or directory.
    pub root: PathBuf,
    /// By path in byte order, the root first.
    pub entries: Vec<Input>,
}

/// One file, directory or symlink of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Relative to the root; empty for the root itself.
    pub path: PathBuf,
    pub kind: InputKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputKind {
    File { content: Content, executable: bool },
    Directory,
    Symlink { target: Box<[u8]> },
}

impl Inputs {
    /// Returns the host paths of all files that were read and all directories that were listed. Links are not
    /// among them: they were read with the directory that they stand in.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let read = self.entries.iter().filter(|input| !matches!(input.kind, InputKind::Symlink { .. }));
        read.map(|input| match input.path.as_os_str().is_empty() {
            true => self.root.clone(),
            false => self.root.join(&input.path),
        })
    }

    /// Returns the host paths of all files that were read.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let files = self.entries.iter().filter(|input| matches!(input.kind, InputKind::File { .. }));
        files.map(|input| match input.path.as_os_str().is_empty() {
            true => self.root.clone(),
            false => self.root.join(&input.path),
        })
    }

    /// Returns the number of bytes of all files.
    pub fn bytes(&self) -> u64 {
        let sizes = self.entries.iter().map(|input| match input.kind {
            InputKind::File { content, .. } => content.size,
            _ => 0,
        });
        sizes.sum()
    }

    /// Digests paths below the root, kinds, contents, targets and executable bits; not where the root
    /// lies. Part of step keys: changing it only makes every step run again.
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::new();
        let mut field = |field: &[u8]| {
            bytes.extend_from_slice(&(field.len() as u64).to_le_bytes());
            bytes.extend_from_slice(field);
        };
        for input in &self.entries {
            field(input.path.as_os_str().as_bytes());
            match &input.kind {
                InputKind::File { content, executable } => {
                    field(if *executable { b"x" } else { b"f" });
                    field(content.id.as_bytes());
                    field(&content.size.to_le_bytes());
                }
                InputKind::Directory => field(b"d"),
                InputKind::Symlink { target } => {
                    field(b"l");
                    field(target);
                }
            }
        }
        Digest::derive("mkimage 2026 host inputs v1", &bytes)
    }
}

/// Names contents and keeps none: a sink that only digests.
pub struct Digesting;

impl ContentSink for Digesting {
    fn put(&self, bytes: &[u8]) -> Result<Content, ContentError> {
        Ok(Content::of(bytes))
    }

    fn put_reader(&self, reader: &mut dyn Read) -> Result<Content, ContentError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(reader).map_err(ContentError::Input)?;
        let id = BlobId(Digest(*hasher.finalize().as_bytes()));
        Ok(Content { id, size: hasher.count() })
    }
}

/// Reads a directory of the host into a tree whose root it becomes: files 0755 where their owner may
/// execute them, else 0644, directories 0755, symlinks as they are, everything root's. Other modes,
/// owners, times, attributes and hard links are the host's accidents. Contents are read by the workers
/// and go into `sink` ([`Digesting`] for none). All errors come back, in path order.
pub fn scan(
    root: &Path,
    limits: &Limits,
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<(Directory, Inputs), Vec<ArchiveError>> {
    let found = walk(root, limits, job)?;
    let bytes = found.iter().map(|entry| entry.size).sum();
    let step = job.step(format!("read {}", root.display()), Some(bytes), Unit::Bytes);
    let inputs = read_all(root, found, sink, job, &step)?;
    let mut tree = Directory::default();
    for input in &inputs {
        if !input.path.as_os_str().is_empty() {
            place(&mut tree, input).map_err(|error| vec![error])?;
        }
    }
    Ok((tree, Inputs { root: root.to_owned(), entries: inputs }))
}

/// Reads one regular file of the host into `sink`. A symlink at its end is followed, whoever reads it
/// asked for it by name.
pub fn read_host_file(path: &Path, sink: &dyn ContentSink, job: &Job) -> Result<Inputs, ArchiveError> {
    let metadata = std::fs::metadata(path).map_err(FileError::at("look at", path))?;
    let kind = match metadata.file_type() {
        kind if kind.is_file() => FoundKind::File { executable: metadata.mode() & 0o100 != 0 },
        kind => return Err(refuse(path, kind)),
    };
    let found = Found { path: PathBuf::new(), kind, size: metadata.size() };
    let step = job.step(format!("read {}", path.display()), Some(found.size), Unit::Bytes);
    let entry = read_entry(path, found, sink, job, &step)?;
    Ok(Inputs { root: path.to_owned(), entries: vec![entry] })
}

/// What a walk saw, before any content was read.
struct Found {
    path: PathBuf,
    kind: FoundKind,
    size: u64,
}

enum FoundKind {
    File { executable: bool },
    Directory,
    Symlink,
}

fn walk(root: &Path, limits: &Limits, job: &Job) -> Result<Vec<Found>, Vec<ArchiveError>> {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        job.check().map_err(|error| vec![error.into()])?;
        if found.len() as u64 >= limits.entries {
            errors.push(too_many(root, limits));
            break;
        }
        match entry.map_err(walk_error).and_then(|entry| look(root, &entry)) {
            Ok(entry) => found.push(entry),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

fn look(root: &Path, entry: &walkdir::DirEntry) -> Result<Found, ArchiveError> {
    let metadata = match entry.depth() {
        0 => std::fs::metadata(root).map_err(FileError::at("look at", root))?,
        _ => entry.metadata().map_err(walk_error)?,
    };
    let kind = match metadata.file_type() {
        kind if kind.is_dir() => FoundKind::Directory,
        kind if kind.is_symlink() => FoundKind::Symlink,
        kind if kind.is_file() => FoundKind::File { executable: metadata.mode() & 0o100 != 0 },
        kind => return Err(refuse(entry.path(), kind)),
    };
    let path = entry.path().strip_prefix(root).unwrap_or(entry.path()).to_owned();
    let size = if matches!(kind, FoundKind::File { .. }) { metadata.size() } else { 0 };
    Ok(Found { path, kind, size })
}

fn walk_error(error: walkdir::Error) -> ArchiveError {
    let path = error.path().unwrap_or(Path::new("")).to_owned();
    let source = error.into_io_error().unwrap_or_else(|| std::io::Error::other("a loop of directories"));
    FileError { doing: "look at", path, source }.into()
}

fn too_many(root: &Path, limits: &Limits) -> ArchiveError {
    let problem = format!("more than {} entries", limits.entries);
    let source = std::io::Error::other(problem);
    FileError { doing: "read the directory", path: root.to_owned(), source }.into()
}

/// Says of something on the host that it can't be part of an image.
pub fn refuse(path: &Path, kind: std::fs::FileType) -> ArchiveError {
    let kind = match kind {
        kind if kind.is_socket() => "socket",
        kind if kind.is_fifo() => "fifo",
        kind if kind.is_char_device() || kind.is_block_device() => "device",
        kind if kind.is_dir() => "directory",
        _ => "thing of an unknown kind",
    };
    ArchiveError::HostKind { path: path.to_owned(), kind }
}

/// Reads all contents, the largest first; results and errors come in the order of the walk.
fn read_all(
    root: &Path,
    found: Vec<Found>,
    sink: &dyn ContentSink,
    job: &Job,
    step: &Step,
) -> Result<Vec<Input>, Vec<ArchiveError>> {
    let mut work: Vec<(usize, Found)> = found.into_iter().enumerate().collect();
    work.sort_by_key(|(index, found)| (std::cmp::Reverse(found.size), *index));
    let read = |(index, found): (usize, Found)| {
        let path = if found.path.as_os_str().is_empty() { root.to_owned() } else { root.join(&found.path) };
        (index, read_entry(&path, found, sink, job, step))
    };
    let mut results = job.workers.map(work, read);
    results.sort_by_key(|(index, _)| *index);
    let mut inputs = Vec::with_capacity(results.len());
    let mut errors = Vec::new();
    for (_, result) in results {
        match result {
            Ok(input) => inputs.push(input),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(inputs) } else { Err(errors) }
}

fn read_entry(
    path: &Path,
    found: Found,
    sink: &dyn ContentSink,
    job: &Job,
    step: &Step,
) -> Result<Input, ArchiveError> {
    job.check()?;
    let kind = match found.kind {
        FoundKind::Directory => InputKind::Directory,
        FoundKind::Symlink => {
            let target = std::fs::read_link(path).map_err(FileError::at("read the symlink", path))?;
            InputKind::Symlink { target: target.as_os_str().as_bytes().into() }
        }
        FoundKind::File { executable } => {
            let content = read_content(path, &found, sink)?;
            step.advance(content.size);
            InputKind::File { content, executable }
        }
    };
    Ok(Input { path: found.path, kind })
}

/// Files up to this length are read in one go, in bytes.
const AT_ONCE_BYTES_MAX: u64 = 4 << 20;

fn read_content(path: &Path, found: &Found, sink: &dyn ContentSink) -> Result<Content, ArchiveError> {
    let nofollow = if found.path.as_os_str().is_empty() { 0 } else { libc::O_NOFOLLOW };
    // Not to wait for a writer, should a fifo have taken the file's place.
    let flags = nofollow | libc::O_NONBLOCK;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.read(true).custom_flags(flags).open(path).map_err(FileError::at("open", path))?;
    let before = file.metadata().map_err(FileError::at("look at", path))?;
    if !before.is_file() {
        return Err(refuse(path, before.file_type()));
    }
    let content = if before.size() <= AT_ONCE_BYTES_MAX {
        let mut bytes = Vec::with_capacity(before.size() as usize);
        let whole = (&mut file).take(AT_ONCE_BYTES_MAX + 1).read_to_end(&mut bytes);
        whole.map_err(FileError::at("read", path))?;
        put(&bytes, sink)?
    } else {
        sink.put_reader(&mut file)?
    };
    let after = file.metadata().map_err(FileError::at("look at", path))?;
    unchanged(path, found.size, content.size)?;
    unchanged(path, content.size, after.size())?;
    let stamp = |metadata: &std::fs::Metadata| (metadata.mtime(), metadata.mtime_nsec());
    if stamp(&before) != stamp(&after) {
        let difference = "someone wrote to it".to_owned();
        return Err(ArchiveError::Changed { path: path.to_owned(), difference });
    }
    Ok(content)
}

fn unchanged(path: &Path, first: u64, second: u64) -> Result<(), ArchiveError> {
    if first == second {
        return Ok(());
    }
    let difference = format!("it had {first} bytes, then {second}");
    Err(ArchiveError::Changed { path: path.to_owned(), difference })
}

fn place(tree: &mut Directory, input: &Input) -> Result<(), ArchiveError> {
    let node = match &input.kind {
        InputKind::Directory => Node::Directory(Directory::default()),
        InputKind::Symlink { target } => {
            Node::Symlink(Symlink { metadata: Metadata::root(0o777), target: target.clone() })
        }
        InputKind::File { content, executable } => {
            let mode = if *executable { 0o755 } else { 0o644 };
            Node::File(File { metadata: Metadata::root(mode), content: *content })
        }
    };
    let impossible = |error: &dyn std::fmt::Display| {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidFilename, error.to_string());
        ArchiveError::File(FileError { doing: "take", path: input.path.clone(), source })
    };
    let mut path = ImagePath::root();
    for name in input.path.components() {
        path = path.join(&Name::new(name.as_os_str().as_bytes()).map_err(|error| impossible(&error))?);
    }
    tree.insert(&path, node).map_err(|error| impossible(&error))
}

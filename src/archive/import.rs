//! From the entries of an archive to a tree: one reader in front, workers behind.
//!
//! The archive is read in batches of a few mebibytes. While the workers hash and store one batch, the
//! next is read and decompressed. Files too large for a batch go to the sink as a stream.

use std::io::Read;

use super::decompress::decompress;
use super::error::{ArchiveError, Place};
use super::limits::Limits;
use super::place::Growing;
use super::policy::{Policy, VIOLATIONS_MAX, Violation, allow_nothing};
use super::tar::{Entries, Entry, EntryKind};
use crate::base::job::Unit;
use crate::base::{BlobId, ImagePath, Job, Name, Step};
use crate::tree::content::PIECE_BYTES;
use crate::tree::{Content, ContentError, ContentSink, Device, Directory, File, Node, Symlink};

/// How an archive is laid into a tree.
pub struct Options<'a> {
    /// What the progress calls it.
    pub label: String,
    /// Directory of the image that the archive fills.
    pub prefix: ImagePath,
    /// Leading components to drop from each path, and from the targets of hard links.
    pub strip_components: u32,
    /// User and group of everything that the archive brings, of the directory that it fills too, instead
    /// of those in the archive.
    pub owner: Option<(u32, u32)>,
    /// Decides about setuid and setgid bits, devices, capabilities and trusted attributes.
    pub policy: &'a Policy<'a>,
    /// Whether the job's workers store contents. Say no where they already read one archive each: then
    /// an archive is read and stored by the worker that has it, in the memory of one file.
    pub parallel: bool,
    pub limits: Limits,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            label: "archive".to_owned(),
            prefix: ImagePath::root(),
            strip_components: 0,
            owner: None,
            policy: &allow_nothing,
            parallel: true,
            limits: Limits::default(),
        }
    }
}

/// Files up to this length are read into memory and stored by the workers, in bytes.
const BATCHED_BYTES_MAX: u64 = 4 << 20;
/// What a worker takes at a time, in bytes: enough to drown the cost of handing it over.
const CHUNK_BYTES: u64 = 512 << 10;
/// What is read for each worker before they start, and for all of them together, in bytes.
const BATCH_BYTES_PER_WORKER: u64 = 2 << 20;
const BATCH_BYTES_MAX: u64 = 12 << 20;

/// Reads a tar archive, plain or compressed, to its very end. Contents go into `sink`; the tree has all
/// directories from the root down to `prefix`. Nothing is trusted: see the card of the room.
pub fn read_archive(
    reader: impl Read + Send,
    options: &Options<'_>,
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<Directory, ArchiveError> {
    let (_, unpacked) = decompress(reader, &options.limits)?;
    read_tar(unpacked, options, sink, job)
}

/// Reads a plain tar archive to its very end: [`read_archive`] without the look at the compression.
pub fn read_tar(
    reader: impl Read + Send,
    options: &Options<'_>,
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<Directory, ArchiveError> {
    let start = |problem: String| Place::default().malformed(problem);
    let mut importer = Importer {
        entries: Entries::new(reader, &options.limits),
        growing: Growing::new(&options.prefix, &options.limits).map_err(start)?,
        options,
        violations: Vec::new(),
        violation_count: 0,
        step: job.step(options.label.clone(), None, Unit::Bytes),
        reported: 0,
        ended: false,
        sink,
        job,
    };
    importer.run()?;
    if importer.violation_count != 0 {
        return Err(ArchiveError::Forbidden {
            violations: importer.violations,
            count: importer.violation_count,
        });
    }
    let mut tree = importer.growing.tree;
    if let Some(owner) = options.owner {
        set_owner(&mut tree, &options.prefix, owner);
    }
    Ok(tree)
}

/// Gives everything from a path of the tree on to one user and group.
pub fn set_owner(tree: &mut Directory, path: &ImagePath, (uid, gid): (u32, u32)) {
    let top = match tree.get_mut(path) {
        Some(Node::Directory(directory)) => directory,
        Some(other) => {
            if let Some(metadata) = other.metadata_mut() {
                (metadata.uid, metadata.gid) = (uid, gid);
            }
            return;
        }
        None if path.is_root() => tree,
        None => return,
    };
    let mut waiting = vec![top];
    while let Some(directory) = waiting.pop() {
        (directory.metadata.uid, directory.metadata.gid) = (uid, gid);
        for node in directory.entries.values_mut() {
            match node {
                Node::Directory(directory) => waiting.push(directory),
                other => {
                    if let Some(metadata) = other.metadata_mut() {
                        (metadata.uid, metadata.gid) = (uid, gid);
                    }
                }
            }
        }
    }
}

struct Importer<'a, R> {
    entries: Entries<'a, R>,
    growing: Growing<'a>,
    options: &'a Options<'a>,
    violations: Vec<Violation>,
    violation_count: usize,
    step: Step,
    reported: u64,
    ended: bool,
    sink: &'a dyn ContentSink,
    job: &'a Job,
}

/// Contents that one worker stores, and where they belong.
type Chunk = Vec<(ImagePath, Vec<u8>)>;
type Stored = Vec<(ImagePath, Content)>;

impl<R: Read + Send> Importer<'_, R> {
    fn run(&mut self) -> Result<(), ArchiveError> {
        let workers = self.job.workers.clone();
        let (sink, job) = (self.sink, self.job);
        let mut batch = self.read_batch()?;
        while !batch.is_empty() || !self.ended {
            let store = || store(batch, sink, job);
            let (stored, next) = workers.join(store, || self.read_batch());
            for (path, content) in stored?.into_iter().flatten() {
                if let Some(Node::File(file)) = self.growing.tree.get_mut(&path) {
                    file.content = content;
                }
            }
            batch = next?;
        }
        Ok(())
    }

    /// Reads entries until their contents fill a batch or the archive ends.
    fn read_batch(&mut self) -> Result<Vec<Chunk>, ArchiveError> {
        let room = (self.job.workers.count() as u64 * BATCH_BYTES_PER_WORKER).min(BATCH_BYTES_MAX);
        let mut chunks = Vec::new();
        let mut chunk = Chunk::new();
        let (mut batch_bytes, mut chunk_bytes) = (0, 0);
        while !self.ended && batch_bytes < room {
            self.job.check()?;
            let Some(entry) = self.entries.next_entry()? else {
                self.ended = true;
                break;
            };
            if let Some((path, bytes)) = self.take(entry)? {
                // An empty file costs something too.
                let cost = bytes.len() as u64 + 512;
                (batch_bytes, chunk_bytes) = (batch_bytes + cost, chunk_bytes + cost);
                chunk.push((path, bytes));
            }
            if chunk_bytes >= CHUNK_BYTES {
                chunks.push(std::mem::take(&mut chunk));
                chunk_bytes = 0;
            }
            self.report();
        }
        if !chunk.is_empty() {
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    /// Puts an entry into the tree; returns the content that a worker is to store.
    fn take(&mut self, entry: Entry) -> Result<Option<(ImagePath, Vec<u8>)>, ArchiveError> {
        let place = entry.place;
        let Some(path) = self.image_path(&place, &entry.path, &entry.kind)? else { return Ok(None) };
        let metadata = entry.metadata;
        let node = match entry.kind {
            EntryKind::File => {
                Node::File(File { metadata, content: Content { id: BlobId::of(b""), size: entry.size } })
            }
            EntryKind::Directory => Node::Directory(Directory { metadata, ..Directory::default() }),
            EntryKind::Symlink(target) => {
                self.check_link(&place, &target)?;
                Node::Symlink(Symlink { metadata, target: target.into() })
            }
            EntryKind::HardLink(target) => Node::HardLink(self.link_target(&place, &target)?),
            EntryKind::Device(kind, major, minor) => Node::Device(Device { metadata, kind, major, minor }),
            EntryKind::Fifo => Node::Fifo(metadata),
        };
        self.judge(&path, &node, place.offset);
        let is_file = matches!(node, Node::File(_));
        self.growing.put(&path, node).map_err(|problem| place.malformed(problem))?;
        if is_file { self.content(&place, path, entry.size) } else { Ok(None) }
    }

    /// Reads a file's content for a batch, or streams it into the sink when it is too large for one.
    fn content(
        &mut self,
        place: &Place,
        path: ImagePath,
        size: u64,
    ) -> Result<Option<(ImagePath, Vec<u8>)>, ArchiveError> {
        let is_small = size <= BATCHED_BYTES_MAX;
        if is_small && self.options.parallel {
            return Ok(Some((path, self.entries.read_content(size)?)));
        }
        let content = match is_small {
            true => put(&self.entries.read_content(size)?, self.sink)?,
            false => self.sink.put_reader(&mut self.entries).map_err(unwrap_archive_error)?,
        };
        if content.size != size {
            return Err(place.malformed(format!("{} of {size} bytes were stored", content.size)));
        }
        if let Some(Node::File(file)) = self.growing.tree.get_mut(&path) {
            file.content = content;
        }
        Ok(None)
    }

    /// Turns an archive's path into one of the image; `None` for a directory that stripping leaves
    /// nothing of.
    fn image_path(
        &self,
        place: &Place,
        path: &[u8],
        kind: &EntryKind,
    ) -> Result<Option<ImagePath>, ArchiveError> {
        let relative = self.relative(place, path)?;
        let strip = self.options.strip_components as usize;
        let count = relative.names().count();
        let is_directory = *kind == EntryKind::Directory;
        if count < strip && is_directory {
            return Ok(None);
        }
        if strip > 0 && count <= strip && !is_directory {
            return Err(place.malformed(format!(
                "strip_components = {strip} leaves nothing of this path, which has {count} components"
            )));
        }
        Ok(Some(self.within_prefix(&relative, strip)))
    }

    fn link_target(&self, place: &Place, target: &[u8]) -> Result<ImagePath, ArchiveError> {
        self.check_link(place, target)?;
        let relative = self.relative(place, target)?;
        let path = self.within_prefix(&relative, self.options.strip_components as usize);
        self.growing.link_target(&path).map_err(|problem| place.malformed(problem))
    }

    /// Checks a path of the archive against form and limits.
    fn relative(&self, place: &Place, path: &[u8]) -> Result<ImagePath, ArchiveError> {
        let limits = &self.options.limits;
        place.limit("bytes of a path", path.len() as u64, limits.path_bytes as u64)?;
        if path.first() == Some(&b'/') {
            return Err(
                place.malformed("an absolute path; archives name paths relative to where they are put")
            );
        }
        let relative = ImagePath::from_archive(path).map_err(|error| place.malformed(error.to_string()))?;
        let depth = relative.names().count();
        let longest = relative.names().map(<[u8]>::len).max().unwrap_or(0);
        place.limit("components of a path", depth as u64, limits.depth as u64)?;
        place.limit("bytes of a component of a path", longest as u64, limits.component_bytes as u64)?;
        Ok(relative)
    }

    fn within_prefix(&self, relative: &ImagePath, strip: usize) -> ImagePath {
        let names = relative.names().skip(strip);
        names.fold(self.options.prefix.clone(), |path, name| {
            path.join(&Name::new(name).expect("because a path holds valid names"))
        })
    }

    fn check_link(&self, place: &Place, target: &[u8]) -> Result<(), ArchiveError> {
        if target.is_empty() {
            return Err(place.malformed("a link without a target"));
        }
        place.limit("bytes of a link's target", target.len() as u64, self.options.limits.link_bytes as u64)
    }

    /// Collects what the policy refuses.
    fn judge(&mut self, path: &ImagePath, node: &Node, offset: u64) {
        for special in node.specials() {
            if (self.options.policy)(path, special) {
                continue;
            }
            self.violation_count += 1;
            if self.violations.len() < VIOLATIONS_MAX {
                self.violations.push(Violation { path: path.clone(), special, offset });
            }
        }
    }

    fn report(&mut self) {
        let position = self.entries.position();
        self.step.advance(position - self.reported);
        self.reported = position;
    }
}

fn store(batch: Vec<Chunk>, sink: &dyn ContentSink, job: &Job) -> Result<Vec<Stored>, ContentError> {
    let stored = job.workers.try_map(batch, |chunk| {
        job.check()?;
        chunk.into_iter().map(|(path, bytes)| Ok((path, put(&bytes, sink)?))).collect::<Result<Stored, _>>()
    });
    stored.map_err(|errors| errors.into_iter().next().expect("because a failure has an error"))
}

/// Stores bytes that are at hand, the way their length asks for.
pub(super) fn put(mut bytes: &[u8], sink: &dyn ContentSink) -> Result<Content, ContentError> {
    if bytes.len() as u64 <= PIECE_BYTES { sink.put(bytes) } else { sink.put_reader(&mut bytes) }
}

/// Takes an error of ours out of the layers that it travelled through as an I/O error.
fn unwrap_archive_error(error: ContentError) -> ArchiveError {
    match error {
        ContentError::Input(source) if source.get_ref().is_some_and(|inner| inner.is::<ArchiveError>()) => {
            let inner = source.into_inner().and_then(|inner| inner.downcast::<ArchiveError>().ok());
            *inner.expect("because its type was just looked at")
        }
        other => ArchiveError::Content(other),
    }
}

//! Putting objects in and moving refs to them: all of it, or nothing that anybody sees.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

use super::chunk::{self, CHUNK_BYTES, Chunk};
use super::commit::{COMMIT_BYTES_MAX, Commit};
use super::directory::{StoredDirectory, TreeRef};
use super::error::{Kind, Result, StoreError};
use super::generation::UNKNOWN;
use super::index::{Pack, Problem};
use super::lender::Lender;
use super::objects::{self, Lookup, Objects};
use super::packs::ChunkSource;
use super::record::Record;
use super::refs::RefChange;
use super::staging::Staging;
use super::store::Store;
use crate::base::units::BLOCK_BYTES;
use crate::base::{BlobId, CommitId, Digest, Job};
use crate::tree::content::is_zero;
use crate::tree::{Content, ContentError, ContentSink, ContentSource, DataMap};

pub(super) type ContentResult<T> = std::result::Result<T, ContentError>;

/// Collects new objects in one pack and publishes them with the refs that lead to them. Used by any number
/// of threads at once. Dropped without [`Transaction::commit`], it leaves the store as it was.
#[must_use = "what a transaction collects is gone when it is dropped without a commit"]
pub struct Transaction<'a> {
    pub(super) store: &'a Store,
    pub(super) job: Job,
    pub(super) staging: OnceLock<Staging>,
    /// The generation from which on the store is relied on, and the one in which all was looked for last.
    begun: OnceLock<(u64, Mutex<u64>)>,
    /// What was found in the store and therefore not put.
    relied: Mutex<HashSet<Digest>>,
    /// The packs that lay in the trash in a generation.
    trash: Mutex<(u64, Vec<Arc<Pack>>)>,
    beginning: Mutex<()>,
    objects: Mutex<HashMap<Digest, Staged>>,
    settled: Condvar,
}

enum Staged {
    /// A thread is writing it to the pack right now.
    Claimed,
    Ready(Arc<Record>),
}

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The refs in the order of the updates.
    pub refs: Vec<RefChange>,
    /// Objects that were not in the store before.
    pub objects: u64,
    /// Bytes that they take in the store, without the index.
    pub bytes: u64,
}

/// Streams up to this length are held in memory until their id is known, so that one which is in the store
/// already costs no write.
const HELD_BYTES: u64 = 4 * CHUNK_BYTES;

impl<'a> Transaction<'a> {
    pub(super) fn new(store: &'a Store, job: Job) -> Self {
        Transaction {
            store,
            job,
            staging: OnceLock::new(),
            begun: OnceLock::new(),
            relied: Mutex::default(),
            trash: Mutex::new((UNKNOWN, Vec::new())),
            beginning: Mutex::default(),
            objects: Mutex::default(),
            settled: Condvar::new(),
        }
    }

    pub(super) fn job(&self) -> &Job {
        &self.job
    }

    /// Stores a commit, whose trees and texts must have been put before.
    pub fn put_commit(&self, commit: &Commit) -> Result<CommitId> {
        commit.check().map_err(|problem| StoreError::Commit { problem })?;
        let encoding = commit.encode();
        if encoding.len() as u64 > COMMIT_BYTES_MAX {
            let problem = format!("it has {} bytes, at most {COMMIT_BYTES_MAX} are possible", encoding.len());
            return Err(StoreError::Commit { problem });
        }
        for tree in [Some(&commit.tree), commit.boot.as_ref()].into_iter().flatten() {
            self.demand(Kind::Tree, &tree.id.0)?;
        }
        for content in commit.recipe.iter().map(|(_, content)| content).chain(&commit.lock) {
            self.demand(Kind::Blob, &content.id.0)?;
        }
        let id = Commit::id_of(&encoding);
        self.put_object(Kind::Commit, &id.0, &encoding)?;
        Ok(id)
    }

    /// Lists what was staged.
    pub(super) fn staged_objects(&self) -> Vec<(Digest, Arc<Record>)> {
        let objects = self.lock();
        let ready = objects.iter().filter_map(|(id, staged)| match staged {
            Staged::Ready(record) => Some((*id, record.clone())),
            Staged::Claimed => None,
        });
        ready.collect()
    }

    /// Tells whether the store has an object that is to be relied on, and notes it.
    fn rely(&self, id: &Digest) -> bool {
        self.generation();
        if self.store.owns(id) {
            self.relied.lock().expect("because nothing panics while it notes an object").insert(*id);
            return true;
        }
        // No collector takes what is lent.
        self.lender().is_some_and(|lender| lender.has(id))
    }

    /// Tells whether the object is staged, or was found in the store just now.
    fn is_there(&self, id: &Digest) -> bool {
        self.staged(id).is_some() || self.rely(id)
    }

    /// Tells whether the object was found in the store earlier, undamaged as far as is known. It may have been
    /// collected since; the end of the transaction looks for it again, and brings it back or says so.
    fn was_there(&self, id: &Digest) -> bool {
        let relied = self.relied.lock().expect("because nothing panics while it notes an object");
        relied.contains(id) && !self.store.packs.marks.name(id)
    }

    /// Tells whether an object lies in the trash, and notes it: the end of the transaction takes it out of there. The
    /// trash is listed once a generation; an odd one is not over.
    pub(super) fn rely_on_trash(&self, id: &Digest, generation: u64) -> bool {
        let is_there = {
            let mut trash = self.trash.lock().expect("because nothing panics while it lists the trash");
            if trash.0 != generation || !generation.is_multiple_of(2) {
                *trash = (generation, self.store.packs.trashed());
            }
            trash.1.iter().any(|pack| matches!(pack.record(id), Ok(Some(_))))
        };
        let is_there = is_there && !self.store.packs.marks.name(id);
        if is_there {
            self.relied.lock().expect("because nothing panics while it notes an object").insert(*id);
        }
        is_there
    }

    /// Returns the generation from which on the store is relied on: it is read before the first look.
    pub(super) fn generation(&self) -> u64 {
        let begin = || {
            let generation = self.store.freshen();
            (generation, Mutex::new(generation))
        };
        self.begun.get_or_init(begin).0
    }

    /// Returns the generation in which all that was relied on was there; `None` where nothing was.
    pub(super) fn checked(&self) -> Option<MutexGuard<'_, u64>> {
        let (_, checked) = self.begun.get()?;
        Some(checked.lock().expect("because nothing panics while it looks"))
    }

    /// Lists what was relied on.
    pub(super) fn relied(&self) -> HashSet<Digest> {
        self.relied.lock().expect("because nothing panics while it notes an object").clone()
    }

    /// Enters an object whose frames were copied into the pack.
    pub(super) fn enter_copy(&self, id: &Digest, record: Record) -> ContentResult<()> {
        self.settle(id, || Ok(record)).map(drop)
    }

    /// Stores an object unless it is there.
    pub(super) fn put_object(&self, kind: Kind, id: &Digest, bytes: &[u8]) -> ContentResult<()> {
        self.job.check()?;
        if self.is_there(id) {
            return Ok(());
        }
        let staging = self.staging()?;
        let mut map = DataMap::default();
        map.scan(0, bytes);
        let size = bytes.len() as u64;
        let record = |chunks: Box<[Chunk]>| {
            let map = (!map.is_dense(size)).then(|| map.clone());
            Record { kind, size, chunks, map }
        };
        if size > CHUNK_BYTES {
            let pieces = bytes.chunks(CHUNK_BYTES as usize).enumerate();
            let chunks = pieces.map(|(number, piece)| append(staging, number as u32, piece));
            let chunks =
                chunks.filter_map(ContentResult::transpose).collect::<ContentResult<Box<[Chunk]>>>()?;
            return self.enter(staging, id, record(chunks));
        }
        if is_zero(bytes) {
            return self.enter(staging, id, record(Box::default()));
        }
        // Claimed when compressed: of two threads with the same bytes, one writes.
        let write = |frame: &[u8], raw| Ok(record(Box::new([append_frame(staging, 0, frame, raw)?])));
        chunk::compress(bytes, |frame, raw| self.settle(id, || write(frame, raw))).map(|_| ())
    }

    /// Copies an object out of another pack, its frames as they are, unless it is in this transaction;
    /// whether the store has it does not matter. Returns false where a frame can't be read or its digest is
    /// wrong: then nothing is entered.
    pub(super) fn copy_object(
        &self,
        id: &Digest,
        record: &Record,
        source: &dyn ChunkSource,
    ) -> ContentResult<bool> {
        self.job.check()?;
        let staging = self.staging()?;
        let mut copied = record.clone();
        let mut frame = Vec::new();
        let mut damaged = false;
        let written = self.settle(id, || {
            for chunk in &mut copied.chunks {
                frame.resize(chunk.length as usize, 0);
                if source.read(chunk.offset, &mut frame).is_err() || Digest::of(&frame) != chunk.frame {
                    damaged = true;
                    return Err(ContentError::Missing { id: BlobId(*id) });
                }
                chunk.offset = staging.append(&frame)?;
            }
            Ok(copied)
        });
        match written {
            Err(_) if damaged => Ok(false),
            written => written.map(|_| true),
        }
    }

    /// Enters an object that `write` brings into the pack, and returns true, unless another thread was
    /// faster. No thread waits for anything but a write while it holds the claim.
    fn settle(&self, id: &Digest, write: impl FnOnce() -> ContentResult<Record>) -> ContentResult<bool> {
        {
            let mut objects = self.lock_settled(id);
            if objects.contains_key(id) {
                return Ok(false);
            }
            objects.insert(*id, Staged::Claimed);
        }
        let written = write();
        let mut objects = self.lock();
        let result = match written {
            Ok(record) => {
                objects.insert(*id, Staged::Ready(Arc::new(record)));
                Ok(true)
            }
            Err(error) => {
                objects.remove(id);
                Err(error)
            }
        };
        self.settled.notify_all();
        result
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Staged>> {
        self.objects.lock().expect("because nothing panics while it holds the objects")
    }

    /// Locks the objects when nobody is writing this one.
    fn lock_settled(&self, id: &Digest) -> MutexGuard<'_, HashMap<Digest, Staged>> {
        let objects = self.lock();
        self.settled
            .wait_while(objects, |objects| matches!(objects.get(id), Some(Staged::Claimed)))
            .expect("because nothing panics while it holds the objects")
    }

    pub(super) fn staged(&self, id: &Digest) -> Option<Arc<Record>> {
        match self.lock_settled(id).get(id) {
            Some(Staged::Ready(record)) => Some(record.clone()),
            _ => None,
        }
    }

    pub(super) fn staging(&self) -> ContentResult<&Staging> {
        if let Some(staging) = self.staging.get() {
            return Ok(staging);
        }
        let _alone = self.beginning.lock().expect("because nothing panics while it begins");
        if self.staging.get().is_none() {
            let staging =
                Staging::begin(self.store, self.generation(), &self.job).map_err(as_content_error)?;
            let _ = self.staging.set(staging);
        }
        Ok(self.staging.get().expect("because it was set just now"))
    }

    /// Returns the pack in the making, if one was begun.
    pub(super) fn staged_in(&self) -> Option<&Staging> {
        self.staging.get()
    }

    /// Stores a stream that is too long to be held: `head` was read from it already.
    fn put_stream(&self, head: Vec<u8>, reader: &mut dyn Read) -> ContentResult<Content> {
        let staging = self.staging()?;
        let mut stream = Stream::default();
        if let Err(error) = self.fill(&mut stream, staging, head, reader) {
            staging.discard(&stream.chunks);
            return Err(error);
        }
        let (content, record) = stream.finish();
        self.enter(staging, &content.id.0, record)?;
        Ok(content)
    }

    fn fill(
        &self,
        stream: &mut Stream,
        staging: &Staging,
        head: Vec<u8>,
        reader: &mut dyn Read,
    ) -> ContentResult<()> {
        for piece in head.chunks(CHUNK_BYTES as usize) {
            stream.add(staging, piece)?;
        }
        let mut piece = head;
        loop {
            self.job.check()?;
            piece.clear();
            (&mut *reader).take(CHUNK_BYTES).read_to_end(&mut piece).map_err(ContentError::Input)?;
            if piece.is_empty() {
                return Ok(());
            }
            stream.add(staging, &piece)?;
        }
    }

    /// Enters an object whose chunks are written; if it is there already, their room is given back.
    pub(super) fn enter(&self, staging: &Staging, id: &Digest, record: Record) -> ContentResult<()> {
        let chunks = record.chunks.clone();
        let known = self.rely(id) || !self.settle(id, || Ok(record))?;
        if known {
            staging.discard(&chunks);
        }
        Ok(())
    }
}

/// A blob that is written while it is read.
#[derive(Default)]
pub(super) struct Stream {
    hasher: blake3::Hasher,
    size: u64,
    pub(super) chunks: Vec<Chunk>,
    map: DataMap,
}

impl Stream {
    /// Adds a piece; all but the last have [`CHUNK_BYTES`].
    pub(super) fn add(&mut self, staging: &Staging, piece: &[u8]) -> ContentResult<()> {
        self.hasher.update(piece);
        self.map.scan(self.size / BLOCK_BYTES, piece);
        let number = u32::try_from(self.size / CHUNK_BYTES).expect("because no disk holds 2^52 bytes");
        self.chunks.extend(append(staging, number, piece)?);
        self.size += piece.len() as u64;
        Ok(())
    }

    pub(super) fn finish(self) -> (Content, Record) {
        let id = BlobId::from(*self.hasher.finalize().as_bytes());
        let map = (!self.map.is_dense(self.size)).then_some(self.map);
        let record = Record { kind: Kind::Blob, size: self.size, chunks: self.chunks.into(), map };
        (Content { id, size: record.size }, record)
    }
}

/// Compresses and writes a chunk; one that is all zero is not stored.
fn append(staging: &Staging, number: u32, piece: &[u8]) -> ContentResult<Option<Chunk>> {
    if is_zero(piece) {
        return Ok(None);
    }
    chunk::compress(piece, |frame, raw| append_frame(staging, number, frame, raw)).map(Some)
}

fn append_frame(staging: &Staging, number: u32, frame: &[u8], raw: bool) -> ContentResult<Chunk> {
    let digest = Digest::of(frame);
    let offset = staging.append(frame)?;
    Ok(Chunk { number, offset, length: frame.len() as u32, raw, frame: digest })
}

/// Fits an error of beginning into what a [`ContentSink`] may return.
fn as_content_error(error: StoreError) -> ContentError {
    match error {
        StoreError::File(error) => ContentError::File(error),
        StoreError::Content(error) => error,
        StoreError::Cancelled(error) => ContentError::Cancelled(error),
        other => ContentError::Input(std::io::Error::other(other)),
    }
}

impl ContentSink for Transaction<'_> {
    fn put(&self, bytes: &[u8]) -> ContentResult<Content> {
        let content = Content::of(bytes);
        self.put_object(Kind::Blob, &content.id.0, bytes)?;
        Ok(content)
    }

    fn put_reader(&self, reader: &mut dyn Read) -> ContentResult<Content> {
        let mut head = Vec::new();
        (&mut *reader).take(HELD_BYTES).read_to_end(&mut head).map_err(ContentError::Input)?;
        if (head.len() as u64) < HELD_BYTES { self.put(&head) } else { self.put_stream(head, reader) }
    }
}

impl Transaction<'_> {
    /// Puts a file of the host. A large one is read once to learn whether it is there already, and only
    /// then again to store it; its bytes are named as they were at the second reading.
    pub fn put_file(&self, file: &mut File) -> ContentResult<Content> {
        let size = file.metadata().map_err(ContentError::Input)?.len();
        if size >= HELD_BYTES {
            let content = self.name_of(file)?;
            if self.is_there(&content.id.0) {
                return Ok(content);
            }
            file.rewind().map_err(ContentError::Input)?;
        }
        self.put_reader(file)
    }

    fn name_of(&self, file: &mut File) -> ContentResult<Content> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; CHUNK_BYTES as usize];
        loop {
            self.job.check()?;
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => hasher.update(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ContentError::Input(error)),
            };
        }
        Ok(Content { id: BlobId::from(*hasher.finalize().as_bytes()), size: hasher.count() })
    }
}

impl Lookup for Transaction<'_> {
    fn with<T>(
        &self,
        id: &Digest,
        mut read: impl FnMut(&dyn ChunkSource, &Record) -> std::result::Result<T, Problem>,
    ) -> ContentResult<T> {
        match (self.staged(id), self.staging.get()) {
            (Some(record), Some(staging)) => read(staging, &record).map_err(|problem| problem.of(id)),
            _ => self.store.with(id, read),
        }
    }

    fn lender(&self) -> Option<&dyn Lender> {
        self.store.lender()
    }
}

impl ContentSource for Transaction<'_> {
    fn data_map(&self, content: &Content) -> ContentResult<DataMap> {
        objects::data_map(self, content)
    }

    fn read_at(&self, content: &Content, offset: u64, buffer: &mut [u8]) -> ContentResult<()> {
        objects::read_content(self, content, offset, buffer)
    }

    fn read_all(&self, content: &Content) -> ContentResult<Vec<u8>> {
        objects::read_all(self, content)
    }
}

impl Objects for Transaction<'_> {
    fn has(&self, id: &Digest) -> bool {
        self.is_there(id) || self.was_there(id)
    }

    fn read_directory(&self, tree: &TreeRef) -> Result<StoredDirectory> {
        objects::directory(self, tree)
    }

    fn read_commit(&self, id: &CommitId) -> Result<Commit> {
        objects::commit(self, id)
    }
}

//! Reading objects: the same for a store and for a transaction, which sees what it staged as well.

use super::chunk::Chunk;
use super::commit::{COMMIT_BYTES_MAX, Commit};
use super::directory::{DIRECTORY_BYTES_MAX, StoredDirectory, TreeRef};
use super::error::{Kind, Result, StoreError};
use super::find::{self, Found};
use super::index::Problem;
use super::lender::Lender;
use super::packs::{ChunkSource, read_range};
use super::record::Record;
use super::trees;
use crate::base::{BlobId, CommitId, Digest, ImagePath, Job, StepKey};
use crate::tree::{Content, ContentError, ContentSource, DataMap, Directory};

/// Finds objects; the ground on which [`Objects`] stands.
pub(super) trait Lookup {
    fn with<T>(
        &self,
        id: &Digest,
        read: impl FnMut(&dyn ChunkSource, &Record) -> std::result::Result<T, Problem>,
    ) -> std::result::Result<T, ContentError>;

    /// Tells kind and size of many objects at once, ids ascending; nothing of those that have to be asked for one
    /// by one.
    fn describe(&self, ids: &[Digest]) -> Vec<Option<(Kind, u64)>> {
        vec![None; ids.len()]
    }

    /// Returns whoever lends contents.
    fn lender(&self) -> Option<&dyn Lender> {
        None
    }
}

/// Returns whoever lends a content.
fn lent<'l, L: Lookup>(objects: &'l L, content: &Content) -> Option<&'l dyn Lender> {
    objects.lender().filter(|lender| lender.has(&content.id.0))
}

/// Gives objects of every kind, checked against their ids. Readers on any thread, at once.
pub trait Objects: ContentSource {
    /// Tells whether an object is there, without reading it.
    fn has(&self, id: &Digest) -> bool;

    /// Reads one directory; what it holds is named, not read.
    fn read_directory(&self, tree: &TreeRef) -> Result<StoredDirectory>;

    /// Reads a commit.
    fn read_commit(&self, id: &CommitId) -> Result<Commit>;

    /// Reads a whole tree, in parallel. What it returns was sealed when it was put; seal it again where a
    /// [`crate::tree::SealedTree`] is needed.
    fn read_tree(&self, job: &Job, tree: &TreeRef) -> Result<Directory> {
        trees::read(self, job, tree)
    }

    /// Reads two trees without the directories that are the same in both, whatever they hold: for
    /// [`crate::tree::diff::diff`], at the cost of what differs.
    fn read_difference(&self, job: &Job, old: &TreeRef, new: &TreeRef) -> Result<(Directory, Directory)> {
        trees::read_difference(self, job, old, new)
    }

    /// Finds what stands at a path, reading only the directories on the way. Symbolic links on the way are
    /// followed within the tree, the last one where `follow` says so; a hard link is what it leads to.
    fn find(&self, tree: &TreeRef, path: &ImagePath, follow: bool) -> Result<Found> {
        find::find(self, tree, path, follow)
    }

    /// Returns what [`Objects::remember`] was told under this key, where it is remembered still. Where others write to the
    /// same place it is not: who asks can't check it.
    fn recall(&self, _key: &StepKey) -> Option<Vec<u8>> {
        None
    }

    /// Remembers what follows from objects, where there is a place for that, see [`super::Store::memo_put`]. That it
    /// could not be remembered is no error: it can be computed again.
    fn remember(&self, _key: &StepKey, _record: &[u8]) {}
}

pub(super) fn data_map<L: Lookup>(
    objects: &L,
    content: &Content,
) -> std::result::Result<DataMap, ContentError> {
    if let Some(lender) = lent(objects, content) {
        return lender.data_map(content);
    }
    objects.with(&content.id.0, |source, record| {
        expect(source, record, Kind::Blob, content.size)?;
        Ok(record.data_map())
    })
}

pub(super) fn read_content<L: Lookup>(
    objects: &L,
    content: &Content,
    offset: u64,
    buffer: &mut [u8],
) -> std::result::Result<(), ContentError> {
    if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > content.size) {
        let problem = format!("{} bytes at {offset} were asked for, it has {}", buffer.len(), content.size);
        return Err(ContentError::Damaged { id: content.id, problem });
    }
    if let Some(lender) = lent(objects, content) {
        return lender.read_at(content, offset, buffer);
    }
    let whole = buffer.len() as u64 == content.size;
    objects.with(&content.id.0, |source, record| {
        expect(source, record, Kind::Blob, content.size)?;
        read_range(source, record, offset, buffer)?;
        if whole && BlobId::of(buffer) != content.id {
            return Err(other_bytes(source, record));
        }
        Ok(())
    })
}

pub(super) fn read_all<L: Lookup>(
    objects: &L,
    content: &Content,
) -> std::result::Result<Vec<u8>, ContentError> {
    if let Some(lender) = lent(objects, content) {
        return lender.read_all(content);
    }
    objects.with(&content.id.0, |source, record| {
        expect(source, record, Kind::Blob, content.size)?;
        let bytes = read_whole(source, record)?;
        if BlobId::of(&bytes) != content.id { Err(other_bytes(source, record)) } else { Ok(bytes) }
    })
}

pub(super) fn directory<L: Lookup>(objects: &L, tree: &TreeRef) -> Result<StoredDirectory> {
    if tree.size > DIRECTORY_BYTES_MAX {
        return Err(StoreError::TooLarge { what: "bytes a directory", limit: DIRECTORY_BYTES_MAX });
    }
    let bytes = structured(objects, Kind::Tree, &tree.id.0, |source, record| {
        expect(source, record, Kind::Tree, tree.size)?;
        let bytes = read_whole(source, record)?;
        if TreeRef::of(&bytes) != *tree { Err(other_bytes(source, record)) } else { Ok(bytes) }
    })?;
    let malformed = |source| StoreError::Malformed { kind: Kind::Tree, id: tree.id.0, source };
    StoredDirectory::decode(&bytes).map_err(malformed)
}

pub(super) fn commit<L: Lookup>(objects: &L, id: &CommitId) -> Result<Commit> {
    let bytes = structured(objects, Kind::Commit, &id.0, |source, record| {
        expect(source, record, Kind::Commit, record.size.min(COMMIT_BYTES_MAX))?;
        let bytes = read_whole(source, record)?;
        if Commit::id_of(&bytes) != *id { Err(other_bytes(source, record)) } else { Ok(bytes) }
    })?;
    Commit::decode(&bytes).map_err(|source| StoreError::Malformed { kind: Kind::Commit, id: id.0, source })
}

fn structured<L: Lookup>(
    objects: &L,
    kind: Kind,
    id: &Digest,
    read: impl FnMut(&dyn ChunkSource, &Record) -> std::result::Result<Vec<u8>, Problem>,
) -> Result<Vec<u8>> {
    objects.with(id, read).map_err(|error| match error {
        ContentError::Missing { .. } => StoreError::Missing { kind, id: *id },
        other => other.into(),
    })
}

fn expect(
    source: &dyn ChunkSource,
    record: &Record,
    kind: Kind,
    size: u64,
) -> std::result::Result<(), Problem> {
    let problem = match () {
        () if record.kind != kind => format!("it is a {}, expected a {kind}", record.kind),
        () if record.size != size => format!("it has {} bytes, expected {size}", record.size),
        () => return Ok(()),
    };
    match damage(source, record, &problem) {
        Problem::Damaged(problem) => Err(Problem::Unexpected(problem)),
        other => Err(other),
    }
}

fn other_bytes(source: &dyn ChunkSource, record: &Record) -> Problem {
    damage(source, record, "its bytes have another digest")
}

pub(super) fn damage(source: &dyn ChunkSource, record: &Record, problem: &str) -> Problem {
    source.damage(record.chunks.first().map_or(0, |chunk| chunk.offset), problem)
}

/// Reads the bytes of a chunk as they are in the pack, held against their digest.
pub(super) fn read_frame(
    source: &dyn ChunkSource,
    chunk: &Chunk,
    frame: &mut Vec<u8>,
) -> std::result::Result<(), Problem> {
    frame.resize(chunk.length as usize, 0);
    source.read(chunk.offset, frame)?;
    let found = Digest::of(frame);
    if found != chunk.frame {
        let problem = format!("its frame's digest is {found}, expected {}", chunk.frame);
        return Err(source.damage(chunk.offset, &problem));
    }
    Ok(())
}

/// Reads a whole object into memory, which must be there for it.
fn read_whole(source: &dyn ChunkSource, record: &Record) -> std::result::Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let room =
        usize::try_from(record.size).ok().and_then(|size| bytes.try_reserve_exact(size).ok().map(|()| size));
    let Some(size) = room else {
        return Err(damage(source, record, &format!("no memory for its {} bytes", record.size)));
    };
    bytes.resize(size, 0);
    read_range(source, record, 0, &mut bytes)?;
    Ok(bytes)
}

//! Objects from another store, frame by frame as they lie there: nothing is compressed again.

use super::chunk::{self, CHUNK_BYTES, Chunk};
use super::commit::{self, COMMIT_BYTES_MAX};
use super::directory;
use super::error::{Kind, Result, StoreError};
use super::index::Problem;
use super::objects::{Lookup, Objects, damage};
use super::packs::ChunkSource;
use super::record::Record;
use super::staging::Staging;
use super::store::Store;
use super::transaction::Transaction;
use crate::base::Digest;
use crate::base::units::BLOCK_BYTES;
use crate::tree::{ContentError, DataMap};

/// What a source's frames became here: a record, or why this store did not take them.
type Copied = std::result::Result<Record, ContentError>;

impl Transaction<'_> {
    /// Copies an object of another store, unless it is here; returns the stored bytes that it took. Every frame
    /// is held against its digest and the whole against the id, so that what is damaged there never gets here.
    /// `size` is what the object's parent says; `None` for a commit, whose parent is a ref.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where the other store doesn't hold it, [`ContentError::Damaged`] where it is not
    /// what it should be.
    pub fn copy_from(&self, from: &Store, kind: Kind, id: &Digest, size: Option<u64>) -> Result<u64> {
        self.job().check()?;
        if self.has(id) {
            return Ok(0);
        }
        let staging = self.staging()?;
        let copied = from.with(id, |source, record| {
            let limit = size.unwrap_or(record.size.min(COMMIT_BYTES_MAX));
            if record.kind != kind || record.size != limit {
                let problem = format!("it is a {} of {} bytes", record.kind, record.size);
                return Err(damage(source, record, &format!("{problem}, expected a {kind} of {limit}")));
            }
            self.copy_frames(staging, source, record, id)
        });
        let record = match copied {
            Err(ContentError::Missing { .. }) => return Err(StoreError::Missing { kind, id: *id }),
            copied => copied??,
        };
        let bytes = record.stored_bytes();
        self.enter(staging, id, record)?;
        Ok(bytes)
    }

    fn copy_frames(
        &self,
        staging: &Staging,
        source: &dyn ChunkSource,
        record: &Record,
        id: &Digest,
    ) -> std::result::Result<Copied, Problem> {
        let mut copy = Copy { hasher: hasher(record.kind), chunks: Vec::new(), map: DataMap::default() };
        let done = self.fill_copy(&mut copy, staging, source, record).and_then(|copied| {
            let found = Digest(*copy.hasher.finalize().as_bytes());
            if copied.is_ok() && found != *id {
                return Err(damage(source, record, &format!("its bytes have the digest {found}")));
            }
            Ok(copied)
        });
        match done {
            Ok(Ok(())) => {
                let map = (!copy.map.is_dense(record.size)).then_some(copy.map);
                let (kind, size) = (record.kind, record.size);
                Ok(Ok(Record { kind, size, chunks: copy.chunks.into(), map }))
            }
            Ok(Err(error)) => {
                staging.discard(&copy.chunks);
                Ok(Err(error))
            }
            Err(problem) => {
                staging.discard(&copy.chunks);
                Err(problem)
            }
        }
    }

    fn fill_copy(
        &self,
        copy: &mut Copy,
        staging: &Staging,
        source: &dyn ChunkSource,
        record: &Record,
    ) -> std::result::Result<std::result::Result<(), ContentError>, Problem> {
        let mut stored = Vec::new();
        let mut plain = Vec::new();
        let mut chunks = record.chunks.iter().peekable();
        let count =
            u32::try_from(record.size.div_ceil(CHUNK_BYTES)).expect("because a record bounds its chunks");
        for number in 0..count {
            if let Err(stopped) = self.job().check() {
                return Ok(Err(stopped.into()));
            }
            plain.clear();
            plain.resize(record.plain_bytes(number) as usize, 0);
            if let Some(chunk) = chunks.next_if(|chunk| chunk.number == number) {
                stored.resize(chunk.length as usize, 0);
                source.read(chunk.offset, &mut stored)?;
                let damaged = |problem: String| source.damage(chunk.offset, &problem);
                chunk::decompress(chunk, &stored, &mut plain).map_err(damaged)?;
                match staging.append(&stored) {
                    Ok(offset) => copy.chunks.push(Chunk { offset, ..*chunk }),
                    Err(error) => return Ok(Err(error.into())),
                }
            }
            copy.map.scan(u64::from(number) * (CHUNK_BYTES / BLOCK_BYTES), &plain);
            copy.hasher.update(&plain);
        }
        Ok(Ok(()))
    }
}

/// An object on its way.
struct Copy {
    hasher: blake3::Hasher,
    chunks: Vec<Chunk>,
    map: DataMap,
}

/// Returns what hashes the plain bytes of an object of this kind.
fn hasher(kind: Kind) -> blake3::Hasher {
    match kind {
        Kind::Blob => blake3::Hasher::new(),
        Kind::Tree => blake3::Hasher::new_derive_key(directory::CONTEXT),
        Kind::Commit => blake3::Hasher::new_derive_key(commit::CONTEXT),
    }
}

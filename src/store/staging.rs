//! A pack in the making: `tmp/UNIQUE/pack`, written by many threads at once.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::chunk::Chunk;
use super::error::Result;
use super::format::{self, Layout};
use super::index::{self, PACK_MAGIC, Problem};
use super::lease::Lease;
use super::lock::{Lock, look_afresh};
use super::media::Media;
use super::packs::ChunkSource;
use super::record::Record;
use super::store::Store;
use super::trailer;
use crate::base::{Digest, FileError, Job};

/// Holds a transaction's directory, which goes when this is dropped; its lock tells other writers that the
/// process lives.
pub(super) struct Staging {
    media: Media,
    path: PathBuf,
    // In this order: the directory goes when what was open in it is closed, which NFS keeps until then; and the
    // lease goes last.
    pack: File,
    _lock: Lock,
    directory: Folder,
    end: AtomicU64,
    pub lease: Lease,
}

/// An empty directory that goes when this is dropped.
struct Folder {
    media: Media,
    path: PathBuf,
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = self.media.remove_directory(&self.path);
    }
}

/// The pack is sent to the disk in pieces of this length while it grows, so that the sync at its end has
/// little left to do: some milliseconds for 60 MiB.
const WRITE_OUT_BYTES: u64 = 8 << 20;

impl Staging {
    /// Makes the store where there is none, takes a lease, clears away what dead writers left, and begins a
    /// pack. The generation is the one since which the store is relied on.
    pub fn begin(store: &Store, generation: u64, job: &Job) -> Result<Staging> {
        store.prepare()?;
        let (media, layout) = (store.media.clone(), &store.layout);
        let lease = store.take_lease(generation, &[], "transaction")?;
        let guard = format::lock_temporary(&media, layout, job)?;
        format::clean(&media, layout, store.is_shared())?;
        let path = layout.temporary().join(&lease.name);
        media.create_directory(&path)?;
        let directory = Folder { media: media.clone(), path };
        let begun = begin(&media, &directory.path, job);
        drop(guard);
        let (pack, lock) = begun.inspect_err(|_| {
            let _ = format::remove_files(&media, &directory.path);
        })?;
        let path = directory.path.join("pack");
        let end = AtomicU64::new(PACK_MAGIC.len() as u64);
        Ok(Staging { media, path, pack, _lock: lock, directory, end, lease })
    }

    /// Writes bytes to a place of their own and returns its offset.
    pub fn append(&self, bytes: &[u8]) -> std::result::Result<u64, FileError> {
        let offset = self.end.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.media.write_at(&self.pack, &self.path, offset, bytes)?;
        let end = offset + bytes.len() as u64;
        if offset / WRITE_OUT_BYTES != end / WRITE_OUT_BYTES {
            let whole = end / WRITE_OUT_BYTES * WRITE_OUT_BYTES;
            self.media.begin_writing_out(&self.pack, whole - WRITE_OUT_BYTES, WRITE_OUT_BYTES);
        }
        Ok(offset)
    }

    /// Gives back the room of chunks that turned out to be there already.
    pub fn discard(&self, chunks: &[Chunk]) {
        for chunk in chunks {
            self.media.discard(&self.pack, &self.path, chunk.offset, u64::from(chunk.length));
        }
    }

    /// Ends the pack with its trailer and makes pack and index durable; returns the name that is theirs, which
    /// nothing has yet: see [`is_taken`].
    pub fn seal(
        &self,
        job: &Job,
        layout: &Layout,
        mut objects: Vec<(Digest, Arc<Record>)>,
    ) -> Result<Digest> {
        let frames = self.pack_bytes()?;
        let mut end = trailer::build(&objects);
        loop {
            self.write(frames, &end)?;
            let bytes = frames + end.len() as u64;
            let write_index = || self.write_index(layout, &mut objects, bytes);
            let (synced, name) = job.workers.join(|| self.media.sync(&self.pack, &self.path), write_index);
            synced?;
            if let Some(name) = name? {
                return Ok(name);
            }
            make_other(&mut end);
        }
    }

    /// Writes the index and makes it durable; `None` where its name is taken, and nothing is written.
    fn write_index(
        &self,
        layout: &Layout,
        objects: &mut [(Digest, Arc<Record>)],
        bytes: u64,
    ) -> std::result::Result<Option<Digest>, FileError> {
        let (index, name) = index::build(objects, bytes);
        if is_taken(layout, &name) {
            return Ok(None);
        }
        let path = self.index_path();
        let file = self.media.create_file(&path, 0o444)?;
        self.media.write_at(&file, &path, 0, &index)?;
        self.media.sync(&file, &path)?;
        Ok(Some(name))
    }

    /// Returns the length of the pack so far. Not `end`: a write that failed reserved bytes that are not there.
    pub fn pack_bytes(&self) -> Result<u64> {
        Ok(self.pack.metadata().map_err(FileError::at("read the length of", &self.path))?.len())
    }

    /// Returns where the index is written, and where the pack lies.
    pub fn index_path(&self) -> PathBuf {
        self.directory.path.join("idx")
    }

    /// Makes the pack alone durable.
    pub fn sync_pack(&self) -> Result<()> {
        Ok(self.media.sync(&self.pack, &self.path)?)
    }

    /// Writes bytes of the pack at a place that the caller knows to be free.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> std::result::Result<(), FileError> {
        self.media.write_at(&self.pack, &self.path, offset, bytes)
    }

    /// Gives pack and index, which are durable, their name: first the pack, then the index. The caller syncs the
    /// directory.
    pub fn name(&self, layout: &Layout, name: &Digest) -> Result<()> {
        self.media.rename_new(&self.path, &layout.pack(name))?;
        self.name_index(layout, name)
    }

    /// Gives the index its name; the pack has its own.
    pub fn name_index(&self, layout: &Layout, name: &Digest) -> Result<()> {
        self.media.rename_new(&self.index_path(), &layout.index(name))?;
        Ok(())
    }
}

/// Tells whether a pack has this name, or half of one. What stands there may be damaged, marked as such or on its way
/// out, and a pack's name follows from its objects and their order: the same bytes put again would get it, and
/// nothing published is replaced.
pub(super) fn is_taken(layout: &Layout, name: &Digest) -> bool {
    let (pack, index) = (layout.pack(name), layout.index(name));
    look_afresh(&pack);
    [pack, index].iter().any(|path| path.symlink_metadata().is_ok())
}

/// Changes what stands behind the frames of a pack, so that it gets another name: one byte more that nobody reads.
pub(super) fn make_other(end: &mut Vec<u8>) {
    end.insert(0, 0);
}

fn begin(media: &Media, directory: &std::path::Path, job: &Job) -> Result<(File, Lock)> {
    let lock = Lock::wait(media, &directory.join("lock"), false, job)?;
    let path = directory.join("pack");
    let pack = media.create_file(&path, 0o444)?;
    media.write_at(&pack, &path, 0, PACK_MAGIC)?;
    Ok((pack, lock))
}

impl ChunkSource for Staging {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> std::result::Result<(), Problem> {
        Ok(self.pack.read_exact_at(buffer, offset).map_err(FileError::at("read", &self.path))?)
    }

    fn damage(&self, offset: u64, problem: &str) -> Problem {
        Problem::Damaged(format!("{} at offset {offset}: {problem}", self.path.display()))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = format::remove_files(&self.media, &self.directory.path);
    }
}

//! The store as its readers see it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::commit::Commit;
use super::directory::{StoredDirectory, TreeRef};
use super::error::{Result, StoreError};
use super::format::{self, Access, Layout};
use super::index::Problem;
use super::media::{Media, Watcher};
use super::objects::{self, Lookup, Objects};
use super::packs::{ChunkSource, Packs};
use super::record::Record;
use super::transaction::Transaction;
use crate::base::{CommitId, Digest, Job};
use crate::tree::{Content, ContentError, ContentSource, DataMap};

/// A store in a directory. Sharing it among threads is free; other processes may read and write at once.
pub struct Store {
    pub(super) layout: Layout,
    pub(super) media: Media,
    pub(super) packs: Packs,
}

impl Store {
    /// Opens a store. Where there is none yet, reading finds nothing and the first write makes it. What a
    /// writer that died had decided but not finished is brought to its end. Costs the same however many
    /// objects there are.
    pub fn open(path: impl Into<PathBuf>) -> Result<Store> {
        Self::with_media(path.into(), Media::default())
    }

    /// Opens a store whose changes are shown to a watcher before they are made: for tests.
    pub fn watched(path: impl Into<PathBuf>, watcher: Arc<dyn Watcher>) -> Result<Store> {
        Self::with_media(path.into(), Media::watched(watcher))
    }

    /// Opens a store to check and repair it, whatever its file "format" says. Nothing is written.
    pub fn open_damaged(path: impl Into<PathBuf>) -> Store {
        let (layout, media) = (Layout { root: path.into() }, Media::default());
        Store { packs: Packs::new(layout.clone(), media.clone()), layout, media }
    }

    fn with_media(root: PathBuf, media: Media) -> Result<Store> {
        let layout = Layout { root };
        let access = format::access(&layout)?;
        let store = Store { packs: Packs::new(layout.clone(), media.clone()), layout, media };
        if access == Access::Full {
            store.finish_moves();
        }
        Ok(store)
    }

    /// Returns where the store lies.
    pub fn path(&self) -> &Path {
        &self.layout.root
    }

    /// Begins a transaction. Nothing is written, created or locked before there is something new.
    pub fn begin(&self, job: &Job) -> Transaction<'_> {
        Transaction::new(self, job.clone())
    }

    /// Makes sure that this store may be written, and makes it where there is none.
    pub(super) fn prepare(&self) -> Result<()> {
        match format::access(&self.layout)? {
            Access::ReadOnly(found) => Err(StoreError::Foreign { path: self.layout.root.clone(), found }),
            access => format::create(&self.media, &self.layout, &access),
        }
    }
}

impl Lookup for Store {
    fn with<T>(
        &self,
        id: &Digest,
        mut read: impl FnMut(&dyn ChunkSource, &Record) -> std::result::Result<T, Problem>,
    ) -> std::result::Result<T, ContentError> {
        self.packs.with(id, |pack, record| read(pack, record))
    }
}

impl ContentSource for Store {
    fn data_map(&self, content: &Content) -> std::result::Result<DataMap, ContentError> {
        objects::data_map(self, content)
    }

    fn read_at(
        &self,
        content: &Content,
        offset: u64,
        buffer: &mut [u8],
    ) -> std::result::Result<(), ContentError> {
        objects::read_content(self, content, offset, buffer)
    }

    fn read_all(&self, content: &Content) -> std::result::Result<Vec<u8>, ContentError> {
        objects::read_all(self, content)
    }
}

impl Objects for Store {
    fn has(&self, id: &Digest) -> bool {
        self.packs.has(id)
    }

    fn read_directory(&self, tree: &TreeRef) -> Result<StoredDirectory> {
        objects::directory(self, tree)
    }

    fn read_commit(&self, id: &CommitId) -> Result<Commit> {
        objects::commit(self, id)
    }
}

//! The store as its readers see it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::commit::Commit;
use super::directory::{StoredDirectory, TreeRef};
use super::error::{Kind, Result, StoreError};
use super::format::{self, Access, Layout};
use super::index::Problem;
use super::lease;
use super::lender::Lender;
use super::lock::Lock;
use super::media::{Media, Watcher};
use super::objects::{self, Lookup, Objects};
use super::packs::{ChunkSource, Packs};
use super::record::Record;
use super::transaction::Transaction;
use crate::base::{CommitId, Digest, Job, StepKey};
use crate::tree::{Content, ContentError, ContentSource, DataMap};

/// A store in a directory. Sharing it among threads is free; other processes may read and write at once.
pub struct Store {
    pub(super) layout: Layout,
    pub(super) media: Media,
    pub(super) packs: Packs,
    /// How long the leases of this store last.
    pub(super) ttl: Duration,
    /// Set once the store is known to be shared, which it stays. That it is not is asked again each time: others may
    /// make it so at any moment.
    shared: AtomicBool,
    lender: Option<Arc<dyn Lender>>,
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
        Store::of(Layout { root: path.into() }, Media::default())
    }

    fn of(layout: Layout, media: Media) -> Store {
        let packs = Packs::new(layout.clone(), media.clone());
        Store { packs, layout, media, ttl: lease::TTL, shared: AtomicBool::new(false), lender: None }
    }

    fn with_media(root: PathBuf, media: Media) -> Result<Store> {
        let layout = Layout { root };
        let access = format::access(&layout)?;
        let store = Store::of(layout, media);
        if matches!(access, Access::Full(_)) {
            store.finish_moves();
        }
        Ok(store)
    }

    /// Makes the store borrow contents: what is lent counts as there, is read from where it lies, and is not put
    /// again. So commits that are put may be incomplete for whoever opens the store without the lender.
    pub fn borrowing(mut self, lender: Arc<dyn Lender>) -> Store {
        self.lender = Some(lender);
        self
    }

    /// Tells whether contents are lent to this store.
    pub fn borrows(&self) -> bool {
        self.lender.is_some()
    }

    /// Tells whether the store itself has an object, in a pack of its own.
    pub(super) fn owns(&self, id: &Digest) -> bool {
        self.packs.has(id)
    }

    /// Tells whether an object is there by now, like [`Objects::has`]: others may have brought it after the packs were
    /// listed.
    pub fn has_by_now(&self, id: &Digest) -> bool {
        self.has(id) || self.packs.scan().is_ok() && self.has(id)
    }

    /// Tells whether there is a store yet.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`] where something else stands: nothing is ever written there.
    pub fn exists(&self) -> Result<bool> {
        let exists = format::access(&self.layout)? != Access::Absent;
        if !exists {
            format::refuse_foreign(&self.layout.root)?;
        }
        Ok(exists)
    }

    /// Returns where the store lies.
    pub fn path(&self) -> &Path {
        &self.layout.root
    }

    /// Begins a transaction. Nothing is written, created or locked before there is something new.
    pub fn begin(&self, job: &Job) -> Transaction<'_> {
        Transaction::new(self, job.clone())
    }

    /// Makes sure that this store may be written, by the rules of today, and makes it where there is none.
    pub(super) fn prepare(&self) -> Result<()> {
        self.initialise(false).map(drop)
    }

    /// Makes the store where there is none. With `shared` on, or where it lies on a network file system, its
    /// writers reckon with processes of other machines from then on, those on the file server itself too.
    /// Returns whether anything changed.
    pub fn initialise(&self, shared: bool) -> Result<bool> {
        let access = format::access(&self.layout)?;
        let is_known = matches!(access, Access::Full(rules) if rules.shared);
        let shared = shared || !is_known && format::is_network(format::existing(&self.layout.root));
        match access {
            Access::ReadOnly(found) => {
                return Err(StoreError::Foreign { path: self.layout.root.clone(), found });
            }
            Access::Absent => {
                format::create(&self.media, &self.layout, &access, shared)?;
                self.keep_reserve();
            }
            Access::Full(rules) => {
                format::create(&self.media, &self.layout, &access, rules.shared)?;
                if !rules.is_old() && (rules.shared || !shared) {
                    return Ok(false);
                }
                // Whoever holds it gives it back within a blink or dies: there is nothing to be stopped here.
                let lock = || Lock::attempt(&self.media, &self.layout.refs_lock(), self.is_shared());
                let _alone = loop {
                    match lock()? {
                        Some(lock) => break lock,
                        None => std::thread::sleep(Duration::from_millis(1)),
                    }
                };
                format::upgrade(&self.media, &self.layout, rules.shared || shared)?;
            }
        }
        Ok(true)
    }

    /// Breaks the locks of a shared store that processes of a machine hold which will not come back. Returns
    /// what was broken. Where such a process lives after all, refs that it moves at this moment may be lost.
    pub fn unlock(&self, host: &str) -> Result<Vec<String>> {
        let mut broken = Vec::new();
        for lock in [self.layout.refs_lock(), self.layout.gc_lock()] {
            if let Some(process) = super::lock::break_claim(&self.media, &lock, host)? {
                broken.push(format!("{}: process {} on {host}", lock.display(), process.pid));
            }
        }
        Ok(broken)
    }

    /// Tells whether processes of other machines may write: the store says so, or its file system.
    pub(super) fn is_shared(&self) -> bool {
        let says_so = || {
            let access = format::access(&self.layout);
            matches!(access, Ok(Access::Full(rules)) if rules.shared || format::is_network(&self.layout.root))
        };
        if !self.shared.load(Ordering::Relaxed) && says_so() {
            self.shared.store(true, Ordering::Relaxed);
        }
        self.shared.load(Ordering::Relaxed)
    }

    /// Has every directory of the store on the way to a path looked up at the file server, where other machines
    /// write: an NFS client answers from memory for up to a minute, which name leads to which file too, until a
    /// directory is opened. Costs nothing that counts elsewhere.
    pub(super) fn look_afresh(&self, path: &Path) {
        if self.is_shared() {
            let way: Vec<&Path> =
                path.ancestors().take_while(|above| above.starts_with(&self.layout.root)).collect();
            way.iter().rev().for_each(|path| super::lock::look_afresh(path));
        }
    }

    /// Reads the generation and makes sure that the list of packs is no older. Returns the number that
    /// [`Transaction::commit`] compares: what [`Objects::has`] says from here on counts from there.
    pub(super) fn freshen(&self) -> u64 {
        let number = self.generation_number();
        match self.packs.freshen(number) {
            Ok(()) => number,
            Err(_) => super::generation::UNKNOWN,
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

    fn describe(&self, ids: &[Digest]) -> Vec<Option<(Kind, u64)>> {
        self.packs.describe(ids)
    }

    fn lender(&self) -> Option<&dyn Lender> {
        self.lender.as_deref()
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
        self.owns(id) || self.lender().is_some_and(|lender| lender.has(id))
    }

    fn read_directory(&self, tree: &TreeRef) -> Result<StoredDirectory> {
        objects::directory(self, tree)
    }

    fn read_commit(&self, id: &CommitId) -> Result<Commit> {
        objects::commit(self, id)
    }

    fn recall(&self, key: &StepKey) -> Option<Vec<u8>> {
        self.memo_own(key)
    }

    fn remember(&self, key: &StepKey, record: &[u8]) {
        let _ = self.memo_put(key, record);
    }
}

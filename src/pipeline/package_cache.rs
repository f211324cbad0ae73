//! What was fetched, kept in the store: packages by their SHA-256, and what was made of verified files.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Mutex;

use super::error::Result;
use crate::base::{Digest, Job, StepKey};
use crate::packages::PackageCache;
use crate::store::{Objects, Store, Transaction};
use crate::tree::content::ContentReader;
use crate::tree::{Content, ContentError, ContentSink, ContentSource};

/// Keeps what was fetched in the store: objects by their ids, and a table from SHA-256 to id.
pub struct StoreCache<'a> {
    store: &'a Store,
    transaction: Transaction<'a>,
    new: Mutex<HashMap<StepKey, Content>>,
    /// Whether what is found is noted as used.
    uses: bool,
}

type ContentResult<T> = std::result::Result<T, ContentError>;

impl<'a> StoreCache<'a> {
    pub fn new(store: &'a Store, job: &Job) -> Self {
        StoreCache { store, transaction: store.begin(job), new: Mutex::default(), uses: true }
    }

    /// Makes a cache for who only asks what it holds: nothing is written.
    pub fn looking(store: &'a Store, job: &Job) -> Self {
        StoreCache { uses: false, ..StoreCache::new(store, job) }
    }

    pub fn find(&self, sha256: &[u8; 32], size_bytes: u64) -> Option<Content> {
        self.look_up(&table_key(sha256)).filter(|content| content.size == size_bytes)
    }

    fn look_up(&self, key: &StepKey) -> Option<Content> {
        let new = self.new.lock().expect("because nothing panics while it holds the table");
        if let Some(content) = new.get(key) {
            return Some(*content);
        }
        let record = if self.uses { self.store.memo_get(key) } else { self.store.memo_look(key) }?;
        let (id, size) = record.split_first_chunk::<32>()?;
        let content = Content { id: (*id).into(), size: u64::from_le_bytes(size.try_into().ok()?) };
        self.store.has(&content.id.0).then_some(content)
    }

    fn enter(&self, key: StepKey, content: Content) {
        self.new.lock().expect("because nothing panics while it holds the table").insert(key, content);
    }

    /// Makes what was put durable, then enters it into the table.
    pub fn finish(self) -> Result<()> {
        let new = self.new.into_inner().expect("because nothing panics while it holds the table");
        self.transaction.commit(&[], "packages")?;
        for (key, content) in new {
            let record = [&content.id.as_bytes()[..], &content.size.to_le_bytes()].concat();
            self.store.memo_put(&key, &record)?;
        }
        Ok(())
    }
}

fn derived_key(key: &[u8; 32]) -> StepKey {
    StepKey(Digest::derive("mkimage 2026 derived table v1", key))
}

fn table_key(sha256: &[u8; 32]) -> StepKey {
    StepKey(Digest::derive("mkimage 2026 sha256 table v1", sha256))
}

impl PackageCache for StoreCache<'_> {
    fn holds(&self, sha256: &[u8; 32], size_bytes: u64) -> std::result::Result<bool, ContentError> {
        Ok(self.find(sha256, size_bytes).is_some())
    }

    fn get(&self, sha256: &[u8; 32], size_bytes: u64) -> std::result::Result<Option<Vec<u8>>, ContentError> {
        match self.find(sha256, size_bytes) {
            Some(content) => self.transaction.read_all(&content).map(Some),
            None => Ok(None),
        }
    }

    fn open(&self, sha256: &[u8; 32], size_bytes: u64) -> ContentResult<Option<Box<dyn Read + Send + '_>>> {
        let content = self.find(sha256, size_bytes);
        Ok(content
            .map(|content| Box::new(ContentReader::new(&self.transaction, content)) as Box<dyn Read + Send>))
    }

    fn put(&self, sha256: &[u8; 32], bytes: &[u8]) -> ContentResult<()> {
        self.put_stream(sha256, &mut &*bytes)
    }

    fn put_stream(&self, sha256: &[u8; 32], reader: &mut dyn Read) -> ContentResult<()> {
        let content = self.transaction.put_reader(reader)?;
        self.enter(table_key(sha256), content);
        Ok(())
    }

    fn derived(&self, key: &[u8; 32]) -> ContentResult<Option<Vec<u8>>> {
        match self.look_up(&derived_key(key)) {
            Some(content) => self.transaction.read_all(&content).map(Some),
            None => Ok(None),
        }
    }

    fn put_derived(&self, key: &[u8; 32], bytes: &[u8]) -> ContentResult<()> {
        let content = self.transaction.put(bytes)?;
        self.enter(derived_key(key), content);
        Ok(())
    }
}

//! Steps that are not run again: the key of a step is the digest of all that it reads.

use std::sync::Mutex;

use crate::base::{CommitId, Digest, StepKey};
use crate::store::{Objects, Store, TreeRef};

use super::error::Result;

/// Digests what a step reads, field by field, each with its name and length.
pub struct KeyBuilder {
    bytes: Vec<u8>,
}

impl KeyBuilder {
    /// Begins with the step's name and version.
    pub fn new(step: &str) -> Self {
        let mut key = KeyBuilder { bytes: Vec::new() };
        key.bytes("step", step.as_bytes());
        key
    }

    /// Adds a field; long ones by their digest.
    pub fn bytes(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), value] {
            let long = part.len() > 4096;
            self.bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            match long {
                true => self.bytes.extend_from_slice(Digest::of(part).as_bytes()),
                false => self.bytes.extend_from_slice(part),
            }
        }
    }

    pub fn finish(self) -> StepKey {
        StepKey(Digest::derive("mkimage 2026 step v1", &self.bytes))
    }
}

/// Remembers the trees that steps made. What a running build made is written down once its objects are
/// in the store for good. Where the store knows of lost objects, nothing is remembered: what a step made may
/// lead to one, and making it again puts what is lost.
pub struct Memo<'a> {
    store: &'a Store,
    trusted: bool,
    /// Whether what is used is noted as used: by builds, not by who only asks.
    uses: bool,
    later: Mutex<Vec<(StepKey, Vec<u8>)>>,
}

impl<'a> Memo<'a> {
    pub fn new(store: &'a Store) -> Self {
        Memo { store, trusted: store.known_losses() == 0, uses: true, later: Mutex::default() }
    }

    /// Makes a memo that writes nothing, not even that a record was used.
    pub fn looking(store: &'a Store) -> Self {
        Memo { uses: false, ..Memo::new(store) }
    }

    /// Returns the tree that a step made before, if it is still there.
    pub fn tree(&self, key: &StepKey) -> Option<TreeRef> {
        let record = self.record(key)?;
        let (id, size) = record.split_first_chunk::<32>()?;
        let tree = TreeRef { id: (*id).into(), size: u64::from_le_bytes(size.try_into().ok()?) };
        self.store.has(&tree.id.0).then_some(tree)
    }

    /// Returns the commit that composing made before, if it is still there with its trees.
    pub fn commit(&self, key: &StepKey) -> Option<CommitId> {
        let id = CommitId::from(<[u8; 32]>::try_from(self.record(key)?).ok()?);
        let commit = self.store.read_commit(&id).ok()?;
        let trees = [Some(commit.tree), commit.boot].into_iter().flatten();
        trees.into_iter().all(|tree| self.store.has(&tree.id.0)).then_some(id)
    }

    fn record(&self, key: &StepKey) -> Option<Vec<u8>> {
        match (self.trusted, self.uses) {
            (false, _) => None,
            (true, true) => self.store.memo_get(key),
            (true, false) => self.store.memo_look(key),
        }
    }

    /// Notes the tree that a step made.
    pub fn later(&self, key: StepKey, tree: TreeRef) {
        self.later_bytes(key, [&tree.id.as_bytes()[..], &tree.size.to_le_bytes()].concat());
    }

    /// Notes another result of a step.
    pub fn later_bytes(&self, key: StepKey, record: Vec<u8>) {
        self.later.lock().expect("because nothing panics while it notes a result").push((key, record));
    }

    /// Writes down what was noted. Call it when the objects are durable.
    pub fn write(self) -> Result<()> {
        let later = self.later.into_inner().expect("because nothing panics while it notes a result");
        for (key, record) in later {
            self.store.memo_put(&key, &record)?;
        }
        Ok(())
    }
}

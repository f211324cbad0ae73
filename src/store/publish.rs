//! The end of a transaction: what it staged gets its name and refs move, behind the fence.
//!
//! ```text
//! 1  outside the lock: if the generation moved since the transaction began to rely on the store, all that it
//!    relied on is looked for again, with all that it leads to; what is in the trash only is copied into
//!    this transaction's pack; what is nowhere ends it: `Expired`
//! 2  pack and index are written and synced in `tmp/`
//! 3  under the lock of the refs: journals of the dead are brought to their end; the fence:
//!      own lease gone            → `Expired`
//!      generation as in 1, even  → nothing was collected in between
//!      else                      → everything is looked for again; what is not in `packs/` → `Expired`
//! 4  the pack gets its name in `packs/`, then the index; the directory is synced
//! 5  refs move by compare-and-swap; the lock is given back; the lease ends
//! ```
//!
//! After `Expired` nothing was published, and the same work done again from its inputs succeeds: it puts
//! what is missing. What a transaction relied on is every object that [`Objects::has`] found for it, and that
//! was therefore not put: all that its own objects name is among its own or among these.

use std::collections::HashSet;
use std::sync::Arc;

use super::error::{Kind, Result, StoreError};
use super::index::{Pack, Problem};
use super::moves::Moves;
use super::objects::{self, Objects};
use super::packs::ChunkSource;
use super::reach;
use super::record::Record;
use super::refs::{RefMove, RefUpdate};
use super::staging::Staging;
use super::transaction::{Committed, Transaction};
use crate::base::Digest;

/// What was staged and is durable, but has no name yet.
struct Sealed {
    name: Digest,
    objects: u64,
    bytes: u64,
}

impl Transaction<'_> {
    /// Publishes what was put and moves the refs, all of them or none. When this returns, refs and
    /// everything that they lead to survive a power cut; when it fails, the refs are where they were, or
    /// where they should be. A ref that has the value already is not written. Where nothing is new,
    /// nothing is synced. `message` goes into the reflog.
    ///
    /// Fails with [`StoreError::Expired`] where garbage was collected meanwhile and something is missing
    /// since: do the same work again.
    pub fn commit(self, updates: &[RefUpdate], message: &str) -> Result<Committed> {
        self.commit_moves(&updates.iter().map(RefMove::from).collect::<Vec<_>>(), message)
    }

    /// Does what [`Transaction::commit`] does, with refs removed as well: moves and removals as a whole.
    pub fn commit_moves(self, moves: &[RefMove], message: &str) -> Result<Committed> {
        self.commit_as(&Moves { moves, message, undoes: None })
    }

    pub(super) fn commit_as(self, moves: &Moves<'_>) -> Result<Committed> {
        for commit in moves.moves.iter().filter_map(|wanted| wanted.new) {
            self.demand(Kind::Commit, &commit.0)?;
        }
        self.look_again(true)?;
        let sealed = self.seal()?;
        let publish = || {
            self.fence()?;
            self.name(sealed.as_ref())
        };
        let refs = self.store.move_refs(&self.job, moves, sealed.is_none(), publish)?;
        let (objects, bytes) = sealed.map_or((0, 0), |sealed| (sealed.objects, sealed.bytes));
        let store = self.store;
        let job = self.job.clone();
        // The lease ends before anything else is begun.
        drop(self);
        if objects > 0 {
            store.packs.scan()?;
            store.repack_after(bytes, &job);
        }
        Ok(Committed { refs, objects, bytes })
    }

    /// Holds that an object, which something names, is there: see [`Transaction::demand_or`].
    pub(super) fn demand(&self, kind: Kind, id: &Digest) -> Result<()> {
        self.demand_or(id, || StoreError::Missing { kind, id: *id })
    }

    /// Holds that an object, which something names, is staged or in the store. What was collected since this
    /// transaction began counts while it lies in the trash: something that was relied on may lead to it, and the end
    /// takes it out of there.
    ///
    /// Fails with [`StoreError::Expired`] where garbage was collected since, and else as `absent` says.
    pub(super) fn demand_or(&self, id: &Digest, absent: impl FnOnce() -> StoreError) -> Result<()> {
        if self.has(id) {
            return Ok(());
        }
        // Others may have brought it after the packs were listed.
        self.store.packs.scan()?;
        if self.has(id) {
            return Ok(());
        }
        let (begun, now) = (self.generation(), self.store.generation_number());
        let may_have_gone = begun != now || !now.is_multiple_of(2);
        if may_have_gone && self.rely_on_trash(id, now) {
            return Ok(());
        }
        Err(if begun == now { absent() } else { StoreError::Expired })
    }

    /// Makes durable what was staged.
    fn seal(&self) -> Result<Option<Sealed>> {
        let objects = self.staged_objects();
        let Some(staging) = self.staging.get().filter(|_| !objects.is_empty()) else { return Ok(None) };
        let count = objects.len() as u64;
        let bytes = objects.iter().map(|(_, record)| record.stored_bytes()).sum();
        self.job.check()?;
        let name = staging.seal(&self.job, &self.store.layout, objects);
        let name = name.map_err(|error| expired_if_missing(staging, error))?;
        Ok(Some(Sealed { name, objects: count, bytes }))
    }

    /// Gives the pack its name; the caller holds the lock and syncs the directory.
    fn name(&self, sealed: Option<&Sealed>) -> Result<bool> {
        let (Some(sealed), Some(staging)) = (sealed, self.staging.get()) else { return Ok(false) };
        let named = staging.name(&self.store.layout, &sealed.name);
        named.map_err(|error| expired_if_missing(staging, error))?;
        Ok(true)
    }

    /// Refuses to go on where something that was relied on may be gone. The caller holds the lock.
    fn fence(&self) -> Result<()> {
        if self.staging.get().is_some_and(|staging| !staging.lease.is_there()) {
            return Err(StoreError::Expired);
        }
        self.look_again(false)
    }

    /// Looks again for all that was relied on, if anything was collected since it was looked for. With
    /// `rescue` on, what is in the trash is copied from there.
    fn look_again(&self, rescue: bool) -> Result<()> {
        let Some(mut checked) = self.checked() else { return Ok(()) };
        let now = self.store.generation_number();
        if now == *checked && now.is_multiple_of(2) {
            return Ok(());
        }
        self.store.packs.scan()?;
        let trash = self.store.packs.trashed();
        for (pack, id, record) in self.lost(&trash)? {
            if !rescue {
                return Err(StoreError::Expired);
            }
            self.rescue(pack, &id, &record)?;
        }
        *checked = now;
        Ok(())
    }

    /// Finds what was relied on, or is led to by that, and is in the trash only. What is nowhere is an error.
    fn lost<'b>(&self, trash: &'b [Arc<Pack>]) -> Result<Vec<(&'b Arc<Pack>, Digest, Record)>> {
        let mut lost = Vec::new();
        let mut waiting: Vec<Digest> = self.relied().into_iter().collect();
        let mut seen: HashSet<Digest> = waiting.iter().copied().collect();
        while let Some(id) = waiting.pop() {
            self.job.check()?;
            let damaged = |problem: Problem| StoreError::from(problem.of(&id));
            let record = match self.known(&id).map_err(damaged)? {
                Some(record) => record,
                None => {
                    let found = trash.iter().find_map(|pack| Some((pack, pack.record(&id).ok()??)));
                    let (pack, record) = found.ok_or(StoreError::Expired)?;
                    lost.push((pack, id, record.clone()));
                    Arc::new(record)
                }
            };
            let named = reach::named(self, record.kind, &id, record.size);
            let named =
                named.map_err(|error| if is_missing(&error) { StoreError::Expired } else { error })?;
            waiting.extend(named.into_iter().map(|named| named.id).filter(|id| seen.insert(*id)));
        }
        Ok(lost)
    }

    fn known(&self, id: &Digest) -> std::result::Result<Option<Arc<Record>>, Problem> {
        match self.staged(id) {
            Some(record) => Ok(Some(record)),
            None => self.store.packs.find(id),
        }
    }

    /// Copies an object out of the trash.
    fn rescue(&self, pack: &Pack, id: &Digest, record: &Record) -> Result<()> {
        let staging = self.staging()?;
        let copied = copy_frames(pack, record, staging).map_err(|problem| match problem {
            Problem::File(error) if error.is_missing() => StoreError::Expired,
            problem => problem.of(id).into(),
        })?;
        self.enter_copy(id, copied)?;
        Ok(())
    }
}

/// Copies the frames of an object as they are, each held against its digest.
pub(super) fn copy_frames(
    from: &dyn ChunkSource,
    record: &Record,
    staging: &Staging,
) -> std::result::Result<Record, Problem> {
    let mut copied = record.clone();
    let mut frame = Vec::new();
    for chunk in &mut copied.chunks {
        objects::read_frame(from, chunk, &mut frame)?;
        chunk.offset = staging.append(&frame)?;
    }
    Ok(copied)
}

/// A directory that somebody cleared away because its lease had ended.
fn expired_if_missing(staging: &Staging, error: StoreError) -> StoreError {
    match &error {
        StoreError::File(file) if file.is_missing() && !staging.lease.is_there() => StoreError::Expired,
        _ => error,
    }
}

fn is_missing(error: &StoreError) -> bool {
    use crate::tree::ContentError;
    matches!(error, StoreError::Missing { .. } | StoreError::Content(ContentError::Missing { .. }))
}

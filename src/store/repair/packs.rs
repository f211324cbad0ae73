//! Packs: lost indexes written anew from trailers, sound objects copied out of damaged packs, and these
//! packs put aside.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::super::check::Damage;
use super::super::chunk::{self, CHUNK_BYTES};
use super::super::commit::Commit;
use super::super::directory::{DIRECTORY_BYTES_MAX, StoredDirectory, TreeRef};
use super::super::error::{Kind, Result};
use super::super::index::{self, Pack, Problem};
use super::super::objects::Objects;
use super::super::record::Record;
use super::super::store::Store;
use super::super::trailer::{self, Entry};
use super::super::transaction::Transaction;
use super::{CheckReport, Isolated, RepairReport};
use crate::base::job::Unit;
use crate::base::units::BLOCK_BYTES;
use crate::base::{Digest, Job, publish};
use crate::tree::DataMap;

/// Returns the packs that hold something damaged.
pub fn damaged(report: &CheckReport) -> Vec<Digest> {
    let packs: BTreeSet<Digest> = report
        .faults
        .iter()
        .filter_map(|fault| match &fault.damage {
            Damage::Object { pack, .. } | Damage::Index { pack } | Damage::Pack { pack } => Some(*pack),
            _ => None,
        })
        .collect();
    packs.into_iter().collect()
}

impl Store {
    /// Writes indexes anew that are damaged, or lost where something is missing, if the pack's trailer gives
    /// the very index that the pack was published with: its digest is the pack's name. Returns these packs.
    pub(super) fn rebuild_indexes(
        &self,
        report: &CheckReport,
        done: &mut RepairReport,
        job: &Job,
    ) -> Result<HashSet<Digest>> {
        let mut candidates: BTreeSet<Digest> = indexes(report);
        if report.faults.iter().any(is_missing) {
            candidates.extend(self.packs.orphans()?);
        }
        let mut rebuilt = HashSet::new();
        for name in candidates {
            let Some(objects) = scan(&self.packs.at(&name), job)? else { continue };
            let length = match self.packs.at(&name).file_bytes() {
                Ok(length) => length,
                Err(_) => continue,
            };
            let mut objects: Vec<_> =
                objects.into_iter().map(|(id, record)| (id, Arc::new(record))).collect();
            let (bytes, found) = index::build(&mut objects, length);
            if found == name {
                self.replace_index(&name, &bytes, job)?;
                done.indexes.push(name.to_string());
                rebuilt.insert(name);
            }
        }
        if !rebuilt.is_empty() {
            self.packs.forget();
            self.packs.all()?;
        }
        Ok(rebuilt)
    }

    /// Gives an index its name; one that stands there is kept in quarantine first.
    fn replace_index(&self, name: &Digest, bytes: &[u8], job: &Job) -> Result<()> {
        let _alone = self.lock_refs(job)?;
        let path = self.layout.index(name);
        self.keep_copy(&path, &format!("{name}.idx"))?;
        self.publish_file(&path, bytes)
    }

    /// Copies a damaged file that is about to be replaced. One that can't be read has nothing to keep.
    pub(super) fn keep_copy(&self, path: &Path, name: &str) -> Result<()> {
        if let Ok(bytes) = crate::base::fs::read(path) {
            let kept = self.quarantine_path(name)?;
            self.publish_file(&kept, &bytes)?;
        }
        Ok(())
    }

    /// Returns a path in the quarantine where nothing stands, and makes that directory.
    pub(super) fn quarantine_path(&self, name: &str) -> Result<std::path::PathBuf> {
        let folder = self.layout.quarantine();
        if self.media.create_directory(&folder)? {
            self.media.sync_directory(&self.layout.root)?;
        }
        let path = folder.join(name);
        let is_free = path.symlink_metadata().is_err();
        Ok(if is_free { path } else { folder.join(format!("{name}.{}", publish::unique())) })
    }

    /// Copies the sound objects of damaged packs into the transaction, unless another pack holds them. Where
    /// something is missing, packs without an index give what they can; these are returned.
    pub(super) fn salvage(
        &self,
        transaction: &Transaction<'_>,
        report: &CheckReport,
        damaged: &[Digest],
        done: &mut RepairReport,
        job: &Job,
    ) -> Result<Vec<Digest>> {
        let bad: HashSet<(Digest, Digest)> = report.faults.iter().filter_map(super::copy).collect();
        let leave: HashSet<Digest> = damaged.iter().copied().collect();
        let listed = indexes(report);
        for name in damaged {
            let pack = self.packs.at(name);
            let mut objects = readable(&pack)?;
            if listed.contains(name) {
                objects.extend(scan(&pack, job)?.unwrap_or_default());
            }
            let (mut kept, mut lost) = (0, bad.iter().filter(|(_, pack)| pack == name).count() as u64);
            for (id, record) in objects {
                job.check()?;
                if bad.contains(&(id, *name)) {
                    continue;
                }
                let elsewhere = self
                    .packs
                    .has_where(&id, |pack| !leave.contains(&pack.name) && !bad.contains(&(id, pack.name)));
                match elsewhere || transaction.copy_object(&id, &record, &*pack)? {
                    true => kept += 1,
                    false => lost += 1,
                }
            }
            done.packs.push(Isolated { pack: *name, kept, lost });
        }
        if !report.faults.iter().any(is_missing) {
            return Ok(Vec::new());
        }
        let mut orphans = Vec::new();
        for name in self.packs.orphans()? {
            let pack = self.packs.at(&name);
            let mut kept = 0;
            for (id, record) in scan(&pack, job)?.unwrap_or_default() {
                job.check()?;
                if !transaction.has(&id) && transaction.copy_object(&id, &record, &*pack)? {
                    kept += 1;
                }
            }
            if kept > 0 {
                done.packs.push(Isolated { pack: name, kept, lost: 0 });
                orphans.push(name);
            }
        }
        Ok(orphans)
    }

    /// Moves packs out of the way, as a collector does: index first, so that no reader finds the one without
    /// the other. Who relied on one looks again, and finds what was sound in another pack.
    pub(super) fn quarantine_packs<'a>(
        &self,
        names: impl Iterator<Item = &'a Digest>,
        job: &Job,
    ) -> Result<()> {
        let names: Vec<&Digest> = names.collect();
        if names.is_empty() {
            return Ok(());
        }
        let lock = self.lock_refs(job)?;
        self.while_collecting(&lock, 0, |_| {
            for name in names {
                self.quarantine_file(&self.layout.index(name), &format!("{name}.idx"))?;
                self.quarantine_file(&self.layout.pack(name), &format!("{name}.pack"))?;
            }
            self.media.sync_directory(&self.layout.quarantine())?;
            Ok(self.media.sync_directory(&self.layout.packs())?)
        })?;
        drop(lock);
        self.packs.scan()?;
        Ok(())
    }

    /// Moves a file out of the way, if it is there. The caller syncs both directories.
    pub(super) fn quarantine_file(&self, path: &Path, name: &str) -> Result<()> {
        let kept = self.quarantine_path(name)?;
        match self.media.rename(path, &kept) {
            Err(error) if error.is_missing() => Ok(()),
            moved => Ok(moved?),
        }
    }
}

/// Returns the packs whose indexes are damaged.
fn indexes(report: &CheckReport) -> BTreeSet<Digest> {
    let index = |fault: &super::Fault| match fault.damage {
        Damage::Index { pack } => Some(pack),
        _ => None,
    };
    report.faults.iter().filter_map(index).collect()
}

fn is_missing(fault: &super::Fault) -> bool {
    matches!(fault.damage, Damage::Missing { .. })
}

/// Returns the objects that a pack's index still tells of.
fn readable(pack: &Pack) -> Result<Vec<(Digest, Record)>> {
    let mut objects = Vec::new();
    for first in 0..=255 {
        let entries = pack.entries(first).unwrap_or_default();
        objects.extend(entries.into_iter().filter_map(|(id, record)| Some((id, record.ok()?))));
    }
    Ok(objects)
}

/// Reads a pack by its trailer alone: ids, frames' digests and maps of data are made anew from the bytes.
/// What does not decompress, or is malformed, is left out. `None` where there is no sound trailer.
fn scan(pack: &Arc<Pack>, job: &Job) -> Result<Option<Vec<(Digest, Record)>>> {
    let (bytes, start) = match pack.trailer() {
        Ok(Some(trailer)) => trailer,
        Ok(None) | Err(_) => return Ok(None),
    };
    let Ok(entries) = trailer::decode(&bytes, start) else { return Ok(None) };
    let step = job.step("read a pack without its index", Some(entries.len() as u64), Unit::Items);
    let read = job.workers.map(entries.chunks(256).map(<[Entry]>::to_vec).collect(), |entries| {
        job.check()?;
        step.advance(entries.len() as u64);
        Ok::<_, super::super::error::StoreError>(
            entries.into_iter().filter_map(|entry| recover(pack, entry).ok()).collect::<Vec<_>>(),
        )
    });
    let mut objects = Vec::new();
    for read in read {
        objects.extend(read?);
    }
    objects.sort_by_key(|object| object.0);
    objects.dedup_by_key(|object| object.0);
    Ok(Some(objects))
}

fn recover(pack: &Pack, entry: Entry) -> std::result::Result<(Digest, Record), Problem> {
    let Entry { kind, size, mut chunks } = entry;
    let too_large = kind != Kind::Blob && size > DIRECTORY_BYTES_MAX;
    if too_large {
        return Err(pack.damage(0, "too large for its kind"));
    }
    let mut hasher = blake3::Hasher::new();
    let mut map = DataMap::default();
    let mut whole = Vec::new();
    let (mut stored, mut plain) = (Vec::new(), Vec::new());
    let mut next = chunks.iter_mut().peekable();
    for number in 0..size.div_ceil(CHUNK_BYTES) {
        plain.clear();
        plain.resize(CHUNK_BYTES.min(size - number * CHUNK_BYTES) as usize, 0);
        if let Some(chunk) = next.next_if(|chunk| u64::from(chunk.number) == number) {
            stored.resize(chunk.length as usize, 0);
            pack.read(chunk.offset, &mut stored)?;
            chunk.frame = Digest::of(&stored);
            let damage = |problem: String| pack.damage(chunk.offset, &problem);
            chunk::decompress(chunk, &stored, &mut plain).map_err(damage)?;
        }
        map.scan(number * CHUNK_BYTES / BLOCK_BYTES, &plain);
        match kind {
            Kind::Blob => drop(hasher.update(&plain)),
            _ => whole.extend_from_slice(&plain),
        }
    }
    let malformed = |problem: &dyn std::fmt::Display| pack.damage(0, &problem.to_string());
    let id = match kind {
        Kind::Blob => Digest(*hasher.finalize().as_bytes()),
        Kind::Tree => {
            StoredDirectory::decode(&whole).map_err(|error| malformed(&error))?;
            TreeRef::of(&whole).id.0
        }
        Kind::Commit => {
            Commit::decode(&whole).map_err(|error| malformed(&error))?;
            Commit::id_of(&whole).0
        }
    };
    let map = (!map.is_dense(size)).then_some(map);
    Ok((id, Record { kind, size, chunks: chunks.into(), map }))
}

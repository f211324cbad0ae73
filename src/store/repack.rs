//! Fewer packs: small ones are put together, so that looking something up stays quick for years.
//!
//! Packs are sorted into tiers by their length, each tier eight times as long as the one below. When a commit
//! has left eight packs in a tier, it merges these, and what is below, into one: after ten thousand
//! commits there are some dozens of packs, and each byte was copied a few times. A commit merges no
//! more than a small multiple of what it brought. `mkimage repack` merges until each pack is at least twice
//! as long as all smaller ones together.
//!
//! ```text
//! 1  gc.lock, without waiting: nobody collects meanwhile, and an even generation: nobody died at it
//! 2  the members of the chosen packs, each object once, are copied into a new pack, which is synced
//! 3  under the lock of the refs: if the generation is even, the new pack gets its name, the directory is
//!    synced, the old ones are removed (index first), the directory is synced
//! ```
//!
//! Nothing goes from `packs/` by this but what is there in another pack, so that the generation stays. Whoever
//! still reads by an old list finds a pack gone, lists again, and finds the object in the new one.

use std::sync::Arc;

use super::error::{Result, StoreError};
use super::gc::Member;
use super::index::Pack;
use super::lock::Lock;
use super::rewrite;
use super::store::Store;
use crate::base::job::Unit;
use crate::base::{FileError, Job};

/// What repacking did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RepackOutcome {
    pub packs_before: u64,
    pub packs_after: u64,
    /// Bytes of the packs that were put together.
    pub bytes_copied: u64,
}

/// Length of the packs in the lowest tier, and how much longer those of each next one are.
const TIER_BYTES: u64 = 64 << 10;
const TIER_FACTOR: u64 = 8;
/// Packs of one tier that are merged by a commit.
const TIER_PACKS: usize = 8;
/// A commit merges at most so many bytes, and so many times the bytes that it brought.
const COMMIT_BYTES: u64 = 256 << 20;
const COMMIT_FACTOR: u64 = 8;
/// Longer packs are never merged: copying them would cost more than looking into them.
const PACK_BYTES_MAX: u64 = 8 << 30;

impl Store {
    /// Puts packs together until each is at least twice as long as all smaller ones together. Readers and
    /// writers go on meanwhile. Fails with [`StoreError::Collecting`] where another process is at it, and with
    /// [`StoreError::CutShort`] where one died at it. Costs reading and writing the packs that are put together; memory
    /// does not grow with their bytes.
    pub fn repack(&self, job: &Job) -> Result<RepackOutcome> {
        let lock = self.try_lock_gc()?;
        let lock = lock.ok_or_else(|| self.collecting())?;
        if self.is_cut_short()? {
            return Err(StoreError::CutShort { path: self.layout.root.clone() });
        }
        let packs = by_length(&self.packs.all()?)?;
        let before = packs.len() as u64;
        let chosen = uneven(packs);
        let bytes_copied = chosen.iter().map(|(length, _)| length).sum();
        let count = chosen.len() as u64;
        if count > 1 {
            self.merge(&lock, chosen, job)?;
        }
        let packs_after = if count > 1 { before - count + 1 } else { before };
        let bytes_copied = if count > 1 { bytes_copied } else { 0 };
        Ok(RepackOutcome { packs_before: before, packs_after, bytes_copied })
    }

    /// Puts packs together where a commit of so many bytes left too many. What goes wrong here is no
    /// concern of the commit, which is done; the next one tries again.
    pub(super) fn repack_after(&self, committed: u64, job: &Job) {
        if self.packs.count() >= TIER_PACKS {
            let _ = self.repack_some(committed, job);
        }
    }

    fn repack_some(&self, committed: u64, job: &Job) -> Result<()> {
        let budget = COMMIT_BYTES.saturating_add(committed.saturating_mul(COMMIT_FACTOR));
        if full_tiers(by_length(&self.packs.list_now()?)?, budget).is_empty() {
            return Ok(());
        }
        let Some(lock) = self.try_lock_gc()? else { return Ok(()) };
        if self.is_cut_short()? {
            return Ok(());
        }
        // Another process may have done it before we got the lock.
        let chosen = full_tiers(by_length(&self.packs.all()?)?, budget);
        if chosen.is_empty() { Ok(()) } else { self.merge(&lock, chosen, job) }
    }

    fn merge(&self, _alone: &Lock, chosen: Vec<(u64, Arc<Pack>)>, job: &Job) -> Result<()> {
        let step = job.step("put packs together", Some(chosen.len() as u64), Unit::Items);
        let generation = self.freshen();
        let packs: Vec<Arc<Pack>> = chosen.into_iter().map(|(_, pack)| pack).collect();
        let ready = rewrite::copy(self, &packs, members(&packs)?, rewrite::newest(packs.iter())?, job)?;
        {
            let _lock = self.lock_refs(job)?;
            // A collector that ignores our lock, or died in the middle, may have taken what these lead to.
            if self.generation_number() != generation || !generation.is_multiple_of(2) {
                return Err(StoreError::Expired);
            }
            let name = ready.publish(self)?;
            for pack in packs.iter().filter(|pack| pack.name != name) {
                let (pack, index) = pack.paths();
                self.media.remove_file(index)?;
                self.media.remove_file(pack)?;
            }
            self.media.sync_directory(&self.layout.packs())?;
        }
        step.advance(packs.len() as u64);
        self.packs.scan()?;
        Ok(())
    }
}

/// Lists the members of packs, ascending by id.
fn members(packs: &[Arc<Pack>]) -> Result<Vec<Member>> {
    let mut members: Vec<Member> = Vec::new();
    for first in 0..=255 {
        let start = members.len();
        for (number, pack) in packs.iter().enumerate() {
            let rows = pack.read_bucket(first).map_err(|problem| problem.of(&pack.name))?;
            let pack = number as u32;
            members.extend(rows.iter().map(|row| Member {
                id: row.id,
                pack,
                length: row.length,
                offset: row.offset,
            }));
        }
        members[start..].sort_unstable_by_key(|member| (member.id, member.pack));
    }
    Ok(members)
}

/// Sorts packs by their length, the shortest first; those that are too long to be merged are left out.
fn by_length(packs: &[Arc<Pack>]) -> Result<Vec<(u64, Arc<Pack>)>> {
    let mut sorted = Vec::with_capacity(packs.len());
    for pack in packs {
        let path = pack.paths().0;
        match std::fs::metadata(path).map_err(FileError::at("look at", path)) {
            Ok(metadata) => sorted.push((metadata.len(), pack.clone())),
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error.into()),
        }
    }
    sorted.retain(|(length, _)| *length < PACK_BYTES_MAX);
    sorted.sort_by_key(|(length, pack)| (*length, pack.name));
    Ok(sorted)
}

/// Chooses the packs of the highest full tier that the budget allows, with all shorter ones.
fn full_tiers(mut packs: Vec<(u64, Arc<Pack>)>, budget: u64) -> Vec<(u64, Arc<Pack>)> {
    let lengths: Vec<u64> = packs.iter().map(|(length, _)| *length).collect();
    packs.truncate(count_of_full_tiers(&lengths, budget));
    packs
}

/// Counts how many of the shortest packs are to be merged.
fn count_of_full_tiers(lengths: &[u64], budget: u64) -> usize {
    let mut chosen = 0;
    let (mut start, mut limit) = (0, TIER_BYTES);
    while start < lengths.len() {
        let end = lengths.partition_point(|length| *length < limit);
        if end - start >= TIER_PACKS && lengths[..end].iter().sum::<u64>() <= budget {
            chosen = end;
        }
        (start, limit) = (end, limit.saturating_mul(TIER_FACTOR));
    }
    chosen
}

/// Chooses the shortest packs up to where each is twice as long as all before it together.
fn uneven(mut packs: Vec<(u64, Arc<Pack>)>) -> Vec<(u64, Arc<Pack>)> {
    let lengths: Vec<u64> = packs.iter().map(|(length, _)| *length).collect();
    packs.truncate(count_of_uneven(&lengths));
    packs
}

fn count_of_uneven(lengths: &[u64]) -> usize {
    let mut chosen = 0;
    let mut sum = 0u64;
    for (index, length) in lengths.iter().enumerate() {
        if index > 0 && *length < sum.saturating_mul(2) {
            chosen = index + 1;
        }
        sum = sum.saturating_add(*length);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_geometric_row_stays_and_an_uneven_one_is_merged_up_to_its_last_fault() {
        assert_eq!(count_of_uneven(&[]), 0);
        assert_eq!(count_of_uneven(&[5]), 0);
        assert_eq!(count_of_uneven(&[1, 2, 6, 18]), 0);
        assert_eq!(count_of_uneven(&[1, 1, 100]), 2);
        assert_eq!(count_of_uneven(&[1, 1, 3, 100]), 3);
        assert_eq!(count_of_uneven(&[0, 0, 0]), 0, "nothing is no length to be twice as long as");
    }

    #[test]
    fn a_commit_merges_full_tiers_within_its_budget() {
        let kib = 1 << 10;
        assert_eq!(count_of_full_tiers(&[kib; 7], COMMIT_BYTES), 0);
        assert_eq!(count_of_full_tiers(&[kib; 8], COMMIT_BYTES), 8);
        let mixed = [[kib; 3].as_slice(), [100 * kib; 8].as_slice(), [10 << 20].as_slice()].concat();
        assert_eq!(count_of_full_tiers(&mixed, COMMIT_BYTES), 11);
        assert_eq!(count_of_full_tiers(&mixed, 100), 0, "too much for this commit");
        assert_eq!(count_of_full_tiers(&[40 << 20; 8], COMMIT_BYTES), 0);
    }

    #[test]
    fn ten_thousand_commits_leave_some_dozens_of_packs_and_copy_each_byte_a_few_times() {
        let (mut lengths, mut copied, mut brought, mut most) = (Vec::new(), 0u64, 0u64, 0);
        for commit in 0..10_000u64 {
            let length = 20_000 + commit % 7 * 30_000;
            brought += length;
            lengths.push(length);
            lengths.sort_unstable();
            let chosen = count_of_full_tiers(&lengths, COMMIT_BYTES + length * COMMIT_FACTOR);
            let merged: u64 = lengths.drain(..chosen).sum();
            copied += merged;
            lengths.extend((chosen > 0).then_some(merged));
            lengths.sort_unstable();
            most = most.max(lengths.len());
        }
        assert!(most < 64, "{most} packs");
        assert!(copied < brought * 6, "copied {copied} of {brought} bytes");
    }
}

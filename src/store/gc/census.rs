//! Every object of every pack, sorted by id, with a mark each: 48 bytes and a bit an object.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::error::{Result, StoreError};
use super::super::index::{Pack, Problem, Row};
use super::super::record::Record;
use crate::base::{Digest, Job, whole};

/// An object in a pack: where its record lies in that pack's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Member {
    pub id: Digest,
    /// Position of the pack in its list.
    pub pack: u32,
    pub length: u32,
    pub offset: u64,
}

impl Member {
    pub fn row(&self) -> Row {
        Row { id: self.id, offset: self.offset, length: self.length }
    }
}

/// The members of packs. An object that several packs hold is there several times, and marked in all.
pub(super) struct Census {
    pub packs: Vec<Arc<Pack>>,
    /// By the first byte of the id.
    buckets: Vec<Bucket>,
}

struct Bucket {
    members: Box<[Member]>,
    marks: Box<[AtomicU64]>,
}

/// Says what marking an object found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marked {
    Missing,
    Already,
    /// It was not marked before.
    Now(Member),
}

/// How many members a pack has and how many of them are marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub members: u64,
    pub live: u64,
}

impl Census {
    /// Reads the rows of all packs. One that can't be read ends the collection.
    pub fn take(packs: Vec<Arc<Pack>>, job: &Job) -> Result<Census> {
        let buckets = job.workers.try_map((0..=255).collect(), |first| {
            job.check()?;
            Bucket::read(&packs, first)
        });
        let buckets = buckets.map_err(|errors| errors.into_iter().next().expect("because one failed"))?;
        Ok(Census { packs, buckets })
    }

    /// Marks an object wherever it is.
    pub fn mark(&self, id: &Digest) -> Marked {
        let bucket = &self.buckets[usize::from(id.0[0])];
        let start = bucket.members.partition_point(|member| member.id < *id);
        let mut marked = Marked::Missing;
        for (index, member) in bucket.members.iter().enumerate().skip(start) {
            if member.id != *id {
                break;
            }
            let was = bucket.set(index);
            if marked == Marked::Missing {
                marked = if was { Marked::Already } else { Marked::Now(*member) };
            }
        }
        marked
    }

    /// Looks at all members of some packs, a bucket at a time, in parallel.
    pub fn visit<T: Send>(
        &self,
        job: &Job,
        visit: impl Fn(&Member, bool) -> Result<Option<T>> + Sync,
    ) -> Result<Vec<T>> {
        let found = job.workers.try_map((0..256usize).collect(), |number| {
            job.check()?;
            let bucket = &self.buckets[number];
            let members = bucket.members.iter().enumerate();
            let visited = members.map(|(index, member)| visit(member, bucket.is_set(index)));
            visited.filter_map(Result::transpose).collect::<Result<Vec<T>>>()
        });
        let found = found.map_err(|errors| errors.into_iter().next().expect("because one failed"))?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Lists the marked members of some packs, ascending by id.
    pub fn live(&self, of: impl Fn(u32) -> bool) -> Vec<Member> {
        let mut live = Vec::new();
        for bucket in &self.buckets {
            let members = bucket.members.iter().enumerate();
            let marked = members.filter(|(index, member)| of(member.pack) && bucket.is_set(*index));
            live.extend(marked.map(|(_, member)| *member));
        }
        live
    }

    /// Counts the members of each pack.
    pub fn counts(&self) -> Vec<Count> {
        let mut counts = vec![Count::default(); self.packs.len()];
        for bucket in &self.buckets {
            for (index, member) in bucket.members.iter().enumerate() {
                let count = &mut counts[member.pack as usize];
                count.members += 1;
                count.live += u64::from(bucket.is_set(index));
            }
        }
        counts
    }

    pub fn pack(&self, member: &Member) -> &Arc<Pack> {
        &self.packs[member.pack as usize]
    }

    pub fn record(&self, member: &Member) -> std::result::Result<Record, Problem> {
        self.pack(member).record_of(&member.row())
    }
}

impl Bucket {
    fn read(packs: &[Arc<Pack>], first: u8) -> Result<Bucket> {
        let mut members = Vec::new();
        for (number, pack) in packs.iter().enumerate() {
            let rows = pack.read_bucket(first);
            let rows = rows.map_err(|problem| doubt(pack, problem))?;
            let pack = u32::try_from(number).expect("because there are fewer packs than that");
            members.reserve_exact(rows.len());
            members.extend(rows.iter().map(|row| Member {
                id: row.id,
                pack,
                length: row.length,
                offset: row.offset,
            }));
        }
        members.sort_unstable_by_key(|member| (member.id, member.pack));
        let marks = (0..members.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Bucket { members: members.into(), marks })
    }

    /// Sets a mark; returns whether it was set before.
    fn set(&self, index: usize) -> bool {
        let bit = 1 << (index % 64);
        self.marks[index / 64].fetch_or(bit, Ordering::Relaxed) & bit != 0
    }

    fn is_set(&self, index: usize) -> bool {
        self.marks[index / 64].load(Ordering::Relaxed) & (1 << (index % 64)) != 0
    }
}

/// Ends a collection because of a pack.
pub(super) fn doubt(pack: &Pack, problem: Problem) -> StoreError {
    StoreError::doubt(format!("pack {}", pack.name), whole(&problem.of(&pack.name)))
}

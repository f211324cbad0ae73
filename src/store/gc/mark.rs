//! Marking: everything that roots lead to, in parallel, with no more in memory than the trees that wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use super::super::error::{Kind, Result, StoreError};
use super::super::index::{Pack, Problem};
use super::super::objects::Lookup;
use super::super::packs::ChunkSource;
use super::super::reach::{self, Named};
use super::super::record::Record;
use super::super::store::Store;
use super::census::{Census, Marked, Member};
use crate::base::{BlobId, Digest, Job, whole};
use crate::tree::ContentError;

/// Something that keeps objects.
#[derive(Clone, Debug)]
pub(super) struct Root {
    /// What people call it.
    pub from: String,
    pub id: Digest,
    pub strength: Strength,
}

/// How much of what a root leads to must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strength {
    /// All of it: refs.
    Firm,
    /// All or nothing: moves of refs, whose commits may have been collected or taken out.
    IfThere,
    /// As much as there is: work in progress and caches.
    Weak,
}

/// An object whose own names are yet to be marked.
#[derive(Clone, Copy)]
struct Waiting {
    kind: Kind,
    id: Digest,
    size: u64,
    /// Where it lies: a census, and the place there. `None` for the trash.
    place: Option<(u32, Member)>,
    root: u32,
}

/// Objects that are taken at a time; each worker gets some of them.
const BATCH: usize = 4096;
const SHARE: usize = 32;

/// Marks members of censuses. What is reachable and lies in the trash only is noted.
pub(super) struct Marking<'a> {
    pub store: &'a Store,
    pub censuses: &'a [Census],
    pub job: &'a Job,
    trash: OnceLock<Vec<Arc<Pack>>>,
    rescued: Mutex<BTreeMap<Digest, Arc<Pack>>>,
}

impl<'a> Marking<'a> {
    pub fn new(store: &'a Store, censuses: &'a [Census], job: &'a Job) -> Self {
        Marking { store, censuses, job, trash: OnceLock::new(), rescued: Mutex::default() }
    }

    /// Returns what is reachable and lies in the trash only.
    pub fn rescued(self) -> BTreeMap<Digest, Arc<Pack>> {
        self.rescued.into_inner().expect("because nothing panics while it notes an object")
    }

    /// Returns something reachable that lies in the trash only and is not among what is known.
    pub fn rescued_beside(&self, known: &BTreeMap<Digest, Arc<Pack>>) -> Option<Digest> {
        let rescued = self.rescued.lock().expect("because nothing panics while it notes an object");
        rescued.keys().find(|id| !known.contains_key(*id)).copied()
    }

    /// Marks roots and all that they lead to.
    pub fn mark(&self, roots: &[Root]) -> Result<()> {
        let mut waiting = Vec::new();
        for (number, root) in roots.iter().enumerate() {
            self.begin(root, number as u32, &mut waiting)?;
        }
        self.walk(roots, waiting)
    }

    /// Marks all members of some packs of a census, and all that they lead to, as far as it is there.
    pub fn keep(&self, census: usize, packs: &[bool], from: &str) -> Result<()> {
        let root = Root { from: from.to_owned(), id: Digest([0; 32]), strength: Strength::Weak };
        let here = &self.censuses[census];
        let waiting = here.visit(self.job, |member, _| {
            if !packs[member.pack as usize] || !matches!(self.set(&member.id), Some((_, Marked::Now(_)))) {
                return Ok(None);
            }
            let record =
                here.record(member).map_err(|problem| super::census::doubt(here.pack(member), problem))?;
            let place = Some((census as u32, *member));
            let waiting = Waiting { kind: record.kind, id: member.id, size: record.size, place, root: 0 };
            Ok((record.kind != Kind::Blob).then_some(waiting))
        })?;
        self.walk(&[root], waiting)
    }

    fn begin(&self, root: &Root, number: u32, waiting: &mut Vec<Waiting>) -> Result<()> {
        let doubt = |problem: Problem| StoreError::doubt(&root.from, whole(&problem.of(&root.id)));
        let (place, record) = match self.set(&root.id) {
            Some((_, Marked::Already)) => return Ok(()),
            Some((census, Marked::Now(member))) => {
                let record = self.censuses[census].record(&member).map_err(doubt)?;
                (Some((census as u32, member)), record)
            }
            _ => match self.in_trash(&root.id) {
                Some((record, true)) => (None, record),
                Some(_) => return Ok(()),
                None if root.strength == Strength::Firm => {
                    return Err(StoreError::doubt(&root.from, format!("{} is not in the store", root.id)));
                }
                None => return Ok(()),
            },
        };
        if record.kind != Kind::Blob {
            let Record { kind, size, .. } = record;
            waiting.push(Waiting { kind, id: root.id, size, place, root: number });
        }
        Ok(())
    }

    fn walk(&self, roots: &[Root], mut waiting: Vec<Waiting>) -> Result<()> {
        while !waiting.is_empty() {
            self.job.check()?;
            let batch = waiting.split_off(waiting.len().saturating_sub(BATCH));
            let shares: Vec<&[Waiting]> = batch.chunks(SHARE).collect();
            let found = self.job.workers.try_map(shares, |share| {
                let mut found = Vec::new();
                for item in share {
                    self.expand(item, &roots[item.root as usize], &mut found)?;
                }
                Ok::<_, StoreError>(found)
            });
            let found = found.map_err(|errors| errors.into_iter().next().expect("because one failed"))?;
            waiting.extend(found.into_iter().flatten());
        }
        Ok(())
    }

    /// Marks what one object names; trees among it that were not marked before are appended.
    fn expand(&self, item: &Waiting, root: &Root, found: &mut Vec<Waiting>) -> Result<()> {
        let weak = root.strength == Strength::Weak;
        let names = match self.names(item) {
            Ok(names) => names,
            Err(error) => {
                let what = format!("{} {}, which {} leads to", item.kind, item.id, root.from);
                return Err(StoreError::doubt(what, whole(&error)));
            }
        };
        for named in names {
            let place = match self.set(&named.id) {
                Some((_, Marked::Already)) => continue,
                Some((census, Marked::Now(member))) => Some((census as u32, member)),
                _ => match self.in_trash(&named.id) {
                    Some((_, true)) => None,
                    Some(_) => continue,
                    None if weak => continue,
                    None => {
                        let what = format!("{} {}, which {} leads to", named.kind, named.id, root.from);
                        return Err(StoreError::doubt(what, "it is not in the store"));
                    }
                },
            };
            if named.kind != Kind::Blob {
                let Named { kind, id, size } = named;
                found.push(Waiting { kind, id, size, place, root: item.root });
            }
        }
        Ok(())
    }

    fn names(&self, item: &Waiting) -> Result<Vec<Named>> {
        if let Some((census, member)) = item.place {
            let census = &self.censuses[census as usize];
            if let Ok(record) = census.record(&member) {
                let here = Here { pack: census.pack(&member), record };
                if let Ok(names) = reach::named(&here, item.kind, &item.id, item.size) {
                    return Ok(names);
                }
            }
        }
        // Another pack, or the trash, may give it undamaged.
        reach::named(self.store, item.kind, &item.id, item.size)
    }

    /// Marks an object in all censuses; says where it was found first.
    fn set(&self, id: &Digest) -> Option<(usize, Marked)> {
        let mut found = None;
        for (number, census) in self.censuses.iter().enumerate() {
            match census.mark(id) {
                Marked::Missing => {}
                marked => found = found.or(Some((number, marked))),
            }
        }
        found
    }

    /// Looks for an object in the trash and notes it; says whether it was not noted before.
    fn in_trash(&self, id: &Digest) -> Option<(Record, bool)> {
        let trash = self.trash.get_or_init(|| self.store.packs.trashed());
        let (pack, record) = trash.iter().find_map(|pack| Some((pack, pack.record(id).ok()??)))?;
        let mut rescued = self.rescued.lock().expect("because nothing panics while it notes an object");
        Some((record, rescued.insert(*id, pack.clone()).is_none()))
    }
}

/// One object in one pack.
struct Here<'a> {
    pack: &'a Arc<Pack>,
    record: Record,
}

impl Lookup for Here<'_> {
    fn with<T>(
        &self,
        id: &Digest,
        mut read: impl FnMut(&dyn ChunkSource, &Record) -> std::result::Result<T, Problem>,
    ) -> std::result::Result<T, ContentError> {
        read(&**self.pack, &self.record).map_err(|problem| problem.of(&BlobId(*id).0))
    }
}

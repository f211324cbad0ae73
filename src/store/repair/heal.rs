//! Lost objects from other places, each held against its id before it counts.

use std::collections::{BTreeSet, HashSet};
use std::io::{Cursor, Read};
use std::sync::Mutex;

use super::super::check::{self, Damage, Fault, Lost, Named, Walk, missing};
use super::super::commit::{COMMIT_BYTES_MAX, Commit};
use super::super::directory::{DIRECTORY_BYTES_MAX, StoredDirectory, TreeRef};
use super::super::error::{Kind, Result, StoreError};
use super::super::objects::{Lookup, Objects};
use super::super::store::Store;
use super::super::transaction::Transaction;
use super::{CheckReport, HealError, Healed, Healer, RepairReport};
use crate::base::job::Unit;
use crate::base::{BlobId, CommitId, Digest, Job, TreeId};
use crate::tree::content::ContentReader;
use crate::tree::{Content, ContentError, ContentSink};

/// Puts what is lost and can be had into the transaction, and returns what refs lead to and stays lost.
pub fn heal(
    store: &Store,
    transaction: &Transaction<'_>,
    report: &CheckReport,
    sources: &[&dyn Healer],
    done: &mut RepairReport,
    job: &Job,
) -> Result<Vec<Fault>> {
    let roots = check::look(store, job)?.roots;
    let damaged: HashSet<Digest> = report
        .faults
        .iter()
        .filter_map(super::copy)
        .map(|(id, _)| id)
        .filter(|id| !transaction.has(id))
        .collect();
    let asking = Asking { transaction, sources, notes: Mutex::default() };
    let mut walk = Walk::new(transaction, damaged);
    let step = job.step("heal", None, Unit::Items);
    let tips: Vec<CommitId> = roots.tips.iter().map(|(_, commit)| *commit).collect();
    let mut lost = walk.of_commits(&tips, &step, job)?;
    let mut tried = HashSet::new();
    let mut stays: Vec<Lost> = Vec::new();
    while !lost.is_empty() {
        let (new, again): (Vec<Lost>, Vec<Lost>) =
            lost.into_iter().partition(|lost| tried.insert(lost.named.id));
        stays.extend(again);
        let (back, gone) = asking.all(new, done, job)?;
        stays.extend(gone);
        for named in &back {
            walk.damaged.remove(&named.id);
        }
        // A tree that is back names what may be lost as well.
        lost = walk.run(back, &step, job)?;
    }
    let unreferenced = report.faults.iter().filter_map(|fault| match fault.damage {
        Damage::Object { kind: Some(kind), id, size: Some(size), .. } => Some(Named { kind, id, size }),
        _ => None,
    });
    let unreferenced = unreferenced.filter(|named| !tried.contains(&named.id) && !transaction.has(&named.id));
    let unreferenced = unreferenced.map(|named| Lost { named, problem: String::new() }).collect();
    asking.all(unreferenced, done, job)?;
    done.notes.extend(asking.notes.into_inner().expect("because nothing panics while it notes a failure"));
    let mut faults: Vec<Fault> = stays.into_iter().map(|lost| missing(lost.named, lost.problem)).collect();
    store.trace(&mut faults, &roots, job)?;
    Ok(faults)
}

/// Asks the sources for objects.
struct Asking<'a> {
    transaction: &'a Transaction<'a>,
    sources: &'a [&'a dyn Healer],
    /// What the sources failed with, each once.
    notes: Mutex<BTreeSet<String>>,
}

impl Asking<'_> {
    /// Asks for objects in parallel; returns those that came back, and the others.
    fn all(&self, lost: Vec<Lost>, done: &mut RepairReport, job: &Job) -> Result<(Vec<Named>, Vec<Lost>)> {
        let asked = job.workers.map(lost, |lost| {
            job.check()?;
            self.one(&lost.named).map(|from| (lost, from))
        });
        let (mut back, mut gone) = (Vec::new(), Vec::new());
        for asked in asked {
            match asked? {
                (lost, Some(from)) => {
                    done.healed.push(Healed { kind: lost.named.kind, id: lost.named.id, from });
                    back.push(lost.named);
                }
                (lost, None) => gone.push(lost),
            }
        }
        Ok((back, gone))
    }

    /// Asks for one object; returns the name of the source that had it.
    fn one(&self, named: &Named) -> Result<Option<String>> {
        for source in self.sources {
            let size = (named.kind != Kind::Commit).then_some(named.size);
            let taken = match source.fetch(named.kind, &named.id, size) {
                Ok(None) => continue,
                Ok(Some(mut reader)) => self.take(named, &mut reader),
                Err(error) => Err(Refusal::Source(error.to_string())),
            };
            match taken {
                Ok(true) => return Ok(Some(source.name())),
                Ok(false) => {
                    self.note(format!("{} gave other bytes for {} {}", source.name(), named.kind, named.id))
                }
                Err(Refusal::Source(problem)) => self.note(format!("{}: {problem}", source.name())),
                Err(Refusal::Store(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    fn note(&self, note: String) {
        self.notes.lock().expect("because nothing panics while it notes a failure").insert(note);
    }

    /// Puts what a reader gives; returns whether it is what was asked for.
    fn take(&self, named: &Named, reader: &mut dyn Read) -> std::result::Result<bool, Refusal> {
        let limit = match named.kind {
            Kind::Commit => COMMIT_BYTES_MAX,
            Kind::Tree => named.size.min(DIRECTORY_BYTES_MAX),
            Kind::Blob => named.size,
        };
        let mut reader = reader.take(limit + 1);
        if named.kind == Kind::Blob {
            let put = self.transaction.put_reader(&mut reader);
            let content = put.map_err(|error| match error {
                ContentError::Input(error) => Refusal::Source(error.to_string()),
                error => Refusal::Store(error.into()),
            })?;
            return Ok(content == Content { id: BlobId(named.id), size: named.size });
        }
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(|error| Refusal::Source(error.to_string()))?;
        let is_it = match named.kind {
            Kind::Commit => Commit::id_of(&bytes).0 == named.id && Commit::decode(&bytes).is_ok(),
            _ => TreeRef::of(&bytes) == named.tree_ref() && StoredDirectory::decode(&bytes).is_ok(),
        };
        if is_it {
            let put = self.transaction.put_object(named.kind, &named.id, &bytes);
            put.map_err(|error| Refusal::Store(error.into()))?;
        }
        Ok(is_it)
    }
}

/// Who is to blame that nothing came.
enum Refusal {
    Source(String),
    Store(StoreError),
}

/// Reads an object of another store.
pub fn from_store<'a>(
    store: &'a Store,
    kind: Kind,
    id: &Digest,
    size: Option<u64>,
) -> std::result::Result<Option<Box<dyn Read + 'a>>, HealError> {
    let size = match store.with(id, |_, record| Ok((record.kind, record.size))) {
        Ok((found, length)) if found == kind && size.is_none_or(|size| size == length) => length,
        Ok(_) | Err(ContentError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(match kind {
        Kind::Blob => Box::new(ContentReader::new(store, Content { id: BlobId(*id), size })),
        Kind::Tree => {
            let tree = TreeRef { id: TreeId(*id), size };
            Box::new(Cursor::new(store.read_directory(&tree)?.encode()))
        }
        Kind::Commit => Box::new(Cursor::new(store.read_commit(&CommitId(*id))?.encode())),
    }))
}

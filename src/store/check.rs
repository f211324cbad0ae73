//! Reading everything that a store holds, to see whether it is sound.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::commit::Commit;
use super::directory::{StoredDirectory, StoredNode, TreeRef};
use super::error::{Kind, Result};
use super::index::{Pack, Problem};
use super::objects::{Objects, damage};
use super::packs::read_range;
use super::record::Record;
use super::store::Store;
use crate::base::job::Unit;
use crate::base::{BlobId, Digest, Job};
use crate::tree::{DataMap, Node};

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    pub packs: u64,
    pub objects: u64,
    /// Plain bytes of the objects.
    pub bytes: u64,
    /// Empty where the store is sound.
    pub faults: Vec<Fault>,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong: an object, an index, a ref.
    pub what: String,
    pub problem: String,
}

impl Fault {
    fn new(what: impl ToString, problem: impl ToString) -> Self {
        Fault { what: what.to_string(), problem: problem.to_string() }
    }
}

impl Store {
    /// Reads every object of every pack, in parallel: frames, ids, encodings, what trees and commits name,
    /// and where refs lead. Costs reading the store once; changes nothing.
    pub fn check(&self, job: &Job) -> Result<CheckReport> {
        let packs = self.packs.all()?;
        let step = job.step("check the store", None, Unit::Items);
        let mut report = CheckReport { packs: packs.len() as u64, ..CheckReport::default() };
        for pack in packs.iter() {
            match list(pack) {
                Err(problem) => report.faults.push(pack_fault(pack, problem)),
                Ok(ids) => {
                    report.objects += ids.len() as u64;
                    let checked = job.workers.map(ids, |id| {
                        step.advance(1);
                        job.check().map(|()| self.check_object(pack, &id))
                    });
                    for checked in checked {
                        match checked? {
                            Ok(bytes) => report.bytes += bytes,
                            Err(fault) => report.faults.push(fault),
                        }
                    }
                }
            }
        }
        self.check_refs(&mut report)?;
        Ok(report)
    }

    fn check_object(&self, pack: &Pack, id: &Digest) -> std::result::Result<u64, Fault> {
        let fault = |problem: Problem| Fault::new(format!("object {id}"), problem.of(id));
        let record = pack.record(id).map_err(fault)?;
        let record = record.ok_or_else(|| Fault::new(format!("object {id}"), "its row has no record"))?;
        let named = match record.kind {
            Kind::Blob => check_blob(pack, id, &record).map(|()| Vec::new()),
            Kind::Tree => {
                let tree = TreeRef { id: crate::base::TreeId(*id), size: record.size };
                self.read_directory(&tree).map(|directory| named_by_tree(&directory)).map_err(chain)
            }
            Kind::Commit => self
                .read_commit(&crate::base::CommitId(*id))
                .map(|commit| named_by_commit(&commit))
                .map_err(chain),
        };
        let named = named.map_err(|problem| Fault::new(format!("{} {id}", record.kind), problem))?;
        match named.iter().find(|named| !self.has(named)) {
            Some(missing) => Err(Fault::new(
                format!("{} {id}", record.kind),
                format!("it names {missing}, which is not there"),
            )),
            None => Ok(record.size),
        }
    }

    fn check_refs(&self, report: &mut CheckReport) -> Result<()> {
        for (name, value) in self.refs()? {
            if let Err(error) = self.read_commit(&value.commit) {
                report.faults.push(Fault::new(format!("ref {name}"), chain(error)));
            }
        }
        Ok(())
    }
}

fn chain(error: impl std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn pack_fault(pack: &Pack, problem: Problem) -> Fault {
    Fault::new(format!("pack {}", pack.name), problem.of(&pack.name))
}

fn list(pack: &Arc<Pack>) -> std::result::Result<Vec<Digest>, Problem> {
    pack.check_index()?;
    let mut ids = Vec::new();
    for first in 0..=255 {
        ids.extend(pack.ids(first)?);
    }
    Ok(ids)
}

/// Reads a blob piece by piece and holds its id, and its map of data, against the bytes.
fn check_blob(pack: &Pack, id: &Digest, record: &Record) -> std::result::Result<(), String> {
    const PIECE: u64 = super::chunk::CHUNK_BYTES;
    let mut hasher = blake3::Hasher::new();
    let mut map = DataMap::default();
    let mut buffer = Vec::new();
    let mut offset = 0;
    let shown = |problem: Problem| problem.of(id).to_string();
    while offset < record.size {
        buffer.resize(PIECE.min(record.size - offset) as usize, 0);
        read_range(pack, record, offset, &mut buffer).map_err(shown)?;
        hasher.update(&buffer);
        map.scan(offset / crate::base::units::BLOCK_BYTES, &buffer);
        offset += buffer.len() as u64;
    }
    if BlobId::from(*hasher.finalize().as_bytes()).0 != *id {
        return Err(shown(damage(pack, record, "its bytes have another digest")));
    }
    if map != record.data_map() {
        return Err(shown(damage(pack, record, "its index has a wrong map of data")));
    }
    Ok(())
}

fn named_by_tree(directory: &StoredDirectory) -> Vec<Digest> {
    let named = directory.entries.values().filter_map(|node| match node {
        StoredNode::Directory(child) => Some(child.id.0),
        StoredNode::Leaf(Node::File(file)) => Some(file.content.id.0),
        StoredNode::Leaf(_) => None,
    });
    named.collect::<BTreeSet<_>>().into_iter().collect()
}

fn named_by_commit(commit: &Commit) -> Vec<Digest> {
    let trees = [Some(&commit.tree), commit.boot.as_ref()].into_iter().flatten().map(|tree| tree.id.0);
    let contents = commit.recipe.iter().map(|(_, content)| content).chain(&commit.lock);
    trees.chain(contents.map(|content| content.id.0)).collect()
}

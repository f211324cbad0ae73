//! The walk from refs to everything that they lead to.
//!
//! Each object is visited once, however many commits share it; what was seen is remembered by half of its id.
//! Parents that are not there are no damage: a store may hold the last commits of a history only.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::commit::Commit;
use super::super::directory::{StoredNode, TreeRef};
use super::super::error::{Kind, Result, StoreError};
use super::super::objects::{Lookup, Objects};
use crate::base::job::Step;
use crate::base::{CommitId, Digest, Job, TreeId};
use crate::tree::{Content, ContentError, Node};

/// An object, as something names it. Commits are named without a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Named {
    pub kind: Kind,
    pub id: Digest,
    pub size: u64,
}

impl Named {
    pub fn commit(id: &CommitId) -> Self {
        Named { kind: Kind::Commit, id: id.0, size: 0 }
    }

    pub fn tree(tree: &TreeRef) -> Self {
        Named { kind: Kind::Tree, id: tree.id.0, size: tree.size }
    }

    pub fn blob(content: &Content) -> Self {
        Named { kind: Kind::Blob, id: content.id.0, size: content.size }
    }

    pub fn tree_ref(&self) -> TreeRef {
        TreeRef { id: TreeId(self.id), size: self.size }
    }
}

/// Something that is named and can't be read.
pub struct Lost {
    pub named: Named,
    pub problem: String,
}

/// What a commit or a tree names, each once; nothing for a blob. Parents come last.
pub fn children<O: Objects>(objects: &O, named: &Named) -> Result<Vec<Named>> {
    match named.kind {
        Kind::Blob => Ok(Vec::new()),
        Kind::Commit => {
            let commit = objects.read_commit(&CommitId(named.id))?;
            let mut children = of_commit(&commit);
            children.extend(commit.parents.iter().map(Named::commit));
            Ok(children)
        }
        Kind::Tree => {
            let directory = objects.read_directory(&named.tree_ref())?;
            let mut children: Vec<Named> = directory
                .entries
                .values()
                .filter_map(|node| match node {
                    StoredNode::Directory(child) => Some(Named::tree(child)),
                    StoredNode::Leaf(Node::File(file)) => Some(Named::blob(&file.content)),
                    StoredNode::Leaf(_) => None,
                })
                .collect();
            children.sort_unstable();
            children.dedup();
            Ok(children)
        }
    }
}

/// What a commit is made of, without its parents.
pub fn of_commit(commit: &Commit) -> Vec<Named> {
    let trees = [Some(&commit.tree), commit.boot.as_ref()].into_iter().flatten().map(Named::tree);
    let texts = commit.recipe.iter().map(|(_, content)| content).chain(&commit.lock).map(Named::blob);
    trees.chain(texts).collect()
}

/// Walks from roots; may be asked to go on from objects that came to be there since.
pub struct Walk<'a, O> {
    objects: &'a O,
    /// Objects that are damaged wherever they are.
    pub damaged: HashSet<Digest>,
    seen: Box<[Mutex<HashSet<u128>>]>,
    reached: AtomicU64,
    shallow: AtomicU64,
}

/// Most directories and commits that a worker reads at a time.
const BATCH_MAX: usize = 64;
/// Batches for each worker, so that none waits long for the others.
const BATCHES_EACH: usize = 4;
/// Files that are gathered before they are looked at together.
const BLOBS_MAX: usize = 1 << 16;

/// What a step of the walk came upon.
#[derive(Default)]
struct Found {
    /// Directories and commits to visit.
    next: Vec<Named>,
    /// Files to look at.
    blobs: Vec<Named>,
    lost: Vec<Lost>,
}

impl Found {
    fn append(&mut self, other: Found) {
        self.next.extend(other.next);
        self.blobs.extend(other.blobs);
        self.lost.extend(other.lost);
    }
}

/// Parts what there is to do evenly among the workers, at most `most` at a time.
fn batches(named: &[Named], most: usize, job: &Job) -> Vec<Vec<Named>> {
    let batch = named.len().div_ceil(job.workers.count() * BATCHES_EACH).clamp(1, most);
    named.chunks(batch).map(<[Named]>::to_vec).collect()
}

impl<'a, O: Objects + Lookup> Walk<'a, O> {
    pub fn new(objects: &'a O, damaged: HashSet<Digest>) -> Self {
        let seen = (0..256).map(|_| Mutex::default()).collect();
        Walk { objects, damaged, seen, reached: AtomicU64::new(0), shallow: AtomicU64::new(0) }
    }

    /// Returns how many objects were found, each counted once.
    pub fn reached(&self) -> u64 {
        self.reached.load(Ordering::Relaxed)
    }

    /// Returns how many commits name a parent that is not there.
    pub fn shallow(&self) -> u64 {
        self.shallow.load(Ordering::Relaxed)
    }

    /// Visits commits and all that they lead to; returns what can't be read.
    pub fn of_commits(&self, commits: &[CommitId], step: &Step, job: &Job) -> Result<Vec<Lost>> {
        let roots = commits.iter().map(Named::commit).filter(|named| self.is_new(named)).collect();
        self.run(roots, step, job)
    }

    /// Visits objects again, whatever was seen of them, and what they lead to that was not seen.
    pub fn run(&self, mut waiting: Vec<Named>, step: &Step, job: &Job) -> Result<Vec<Lost>> {
        let mut found = Found::default();
        while !waiting.is_empty() {
            let batches = batches(&waiting, BATCH_MAX, job);
            let visited = job.workers.map(batches, |batch| {
                let mut found = Found::default();
                for named in batch {
                    job.check()?;
                    self.visit(named, &mut found)?;
                    step.advance(1);
                }
                Ok::<_, StoreError>(found)
            });
            for visited in visited {
                found.append(visited?);
            }
            waiting = std::mem::take(&mut found.next);
            if found.blobs.len() >= BLOBS_MAX || waiting.is_empty() {
                self.look_at_all(std::mem::take(&mut found.blobs), &mut found.lost, job)?;
            }
        }
        found.lost.sort_by_key(|lost| lost.named);
        Ok(found.lost)
    }

    /// Holds what is stored of files against what their parents say of them, in the order of their ids.
    fn look_at_all(&self, mut blobs: Vec<Named>, lost: &mut Vec<Lost>, job: &Job) -> Result<()> {
        blobs.sort_unstable();
        let looked = job.workers.map(batches(&blobs, BLOBS_MAX, job), |batch| {
            job.check()?;
            let ids: Vec<Digest> = batch.iter().map(|named| named.id).collect();
            let mut lost = Vec::new();
            for (named, stored) in batch.into_iter().zip(self.objects.describe(&ids)) {
                let is_sound = stored == Some((named.kind, named.size)) && !self.damaged.contains(&named.id);
                match if is_sound { Ok(()) } else { self.look(&named)? } {
                    Ok(()) => drop(self.reached.fetch_add(1, Ordering::Relaxed)),
                    Err(problem) => lost.push(Lost { named, problem }),
                }
            }
            Ok::<_, StoreError>(lost)
        });
        for gone in looked {
            lost.extend(gone?);
        }
        Ok(())
    }

    /// Tells whether an object was not seen before, and notes it.
    fn is_new(&self, named: &Named) -> bool {
        let half = named.id.0[..16].try_into().expect("because a digest has 32 bytes");
        let mut seen = self.seen[usize::from(named.id.0[31])]
            .lock()
            .expect("because nothing panics while it notes what was seen");
        seen.insert(u128::from_le_bytes(half))
    }

    fn visit(&self, named: Named, found: &mut Found) -> Result<()> {
        let children = match self.read(&named)? {
            Ok(children) => children,
            Err(problem) => {
                found.lost.push(Lost { named, problem });
                return Ok(());
            }
        };
        self.reached.fetch_add(1, Ordering::Relaxed);
        for child in children {
            if !self.is_new(&child) {
                continue;
            }
            match child.kind {
                Kind::Commit if !self.damaged.contains(&child.id) && !self.is_there(&child.id)? => {
                    self.shallow.fetch_add(1, Ordering::Relaxed);
                }
                Kind::Blob => found.blobs.push(child),
                _ => found.next.push(child),
            }
        }
        Ok(())
    }

    fn read(&self, named: &Named) -> Result<std::result::Result<Vec<Named>, String>> {
        match named.kind {
            Kind::Blob => Ok(self.look(named)?.map(|()| Vec::new())),
            _ => match children(self.objects, named) {
                Ok(children) => Ok(Ok(children)),
                Err(error) => loss(error).map(Err),
            },
        }
    }

    fn is_there(&self, id: &Digest) -> Result<bool> {
        match self.objects.with(id, |_, _| Ok(())) {
            Ok(()) => Ok(true),
            Err(error) => loss(error.into()).map(|_| false),
        }
    }

    /// Holds what is stored of a file against what its parent says of it, without reading its bytes.
    fn look(&self, named: &Named) -> Result<std::result::Result<(), String>> {
        if self.damaged.contains(&named.id) {
            return Ok(Err("its bytes are damaged".to_owned()));
        }
        let found = self.objects.with(&named.id, |_, record| Ok((record.kind, record.size)));
        Ok(match found {
            Ok((kind, size)) if kind == named.kind && size == named.size => Ok(()),
            Ok((kind, size)) => {
                Err(format!("it is a {kind} of {size} bytes, named as a {} of {}", named.kind, named.size))
            }
            Err(error) => Err(loss(error.into())?),
        })
    }
}

/// Says what is lost; an error that is no damage stops the walk.
pub fn loss(error: StoreError) -> Result<String> {
    match &error {
        StoreError::Missing { .. } | StoreError::Content(ContentError::Missing { .. }) => {
            Ok("it is not in the store".to_owned())
        }
        StoreError::Malformed { source, .. } => Ok(format!("it is malformed: {source}")),
        StoreError::Content(ContentError::Damaged { problem, .. }) => Ok(problem.clone()),
        StoreError::TooLarge { .. } => Ok(error.to_string()),
        StoreError::File(file) | StoreError::Content(ContentError::File(file))
            if file.source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) =>
        {
            Ok(format!("{file}: {}", file.source))
        }
        _ => Err(error),
    }
}

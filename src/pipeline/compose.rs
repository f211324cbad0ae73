//! From a plan to a commit: locks, fetches, makes the parts in parallel, merges them in recipe order,
//! adds what boots, stores it all.

mod record;
mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::depfile::Depfile;
use super::error::Result;
use super::packages::{self, Locking, Unpacking};
use super::requests::requests;
use super::step::Memo;
use super::update;
use crate::base::{CommitId, Job, whole};
use crate::packages::{Lock, Settings, Update};
use crate::recipe::plan::Plan;
use crate::store::{self, Expected, RefChange, RefName, RefUpdate, Store};

pub use record::DEFAULT_EPOCH;
pub(super) use record::{annotations, disk_spec};
pub(super) use work::Work;

/// What composing needs beside the plan.
pub struct Options {
    /// The recipe file: the lock lies beside it, and inputs are named as seen from its folder.
    pub recipe: PathBuf,
    /// How packages are found.
    pub packages: Settings,
    /// The binary of PID 1.
    pub init: PathBuf,
    /// The binary of the agent that updates machines.
    pub agent: PathBuf,
    /// What `SOURCE_DATE_EPOCH` says: goes before the epoch of the recipe, and is noted in the commit.
    pub epoch: Option<u64>,
    /// A folder in which the sandbox may lay out a tree that is too large for memory.
    pub scratch: PathBuf,
    /// Notes that go into the commit. They change its id, and no byte of an image.
    pub annotations: BTreeMap<String, String>,
    /// Where all that was read is written down for make.
    pub depfile: Option<Depfile>,
    /// The commit of the base, where that is known: else its ref is asked.
    pub base: Option<CommitId>,
}

impl Options {
    /// Returns where the lock of the recipe lies.
    pub fn lock_path(&self) -> PathBuf {
        lock_path(&self.recipe)
    }

    /// Returns a host path as seen from the recipe's folder, so that it means the same elsewhere.
    pub(super) fn name_of(&self, path: &Path) -> String {
        let folder = self.recipe.parent().unwrap_or(Path::new(""));
        path.strip_prefix(folder).unwrap_or(path).display().to_string()
    }
}

/// Returns where the lock of a recipe lies: beside it.
pub fn lock_path(recipe: &Path) -> PathBuf {
    recipe.with_extension("lock")
}

/// What composing made.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Composed {
    pub commit: CommitId,
    /// The ref that leads to it now.
    pub reference: RefName,
    /// False where the ref led there before.
    pub moved: bool,
    /// Host files and folders that were read.
    pub inputs: Vec<PathBuf>,
}

/// Composes a plan into a commit, stores it, and moves the image's ref to it.
pub fn compose(plan: &Plan, options: &Options, store: &Store, job: &Job) -> Result<Composed> {
    let reference = RefName::new(&plan.image.name).map_err(store::StoreError::from)?;
    let (commit, changes, inputs) = make(plan, options, store, Some(&reference), job)?;
    let moved = changes.iter().any(|change| change.moved);
    Ok(Composed { commit, reference, moved, inputs })
}

/// Composes a plan again, so that the store holds what it makes; no ref moves.
pub fn recompose(plan: &Plan, options: &Options, store: &Store, job: &Job) -> Result<CommitId> {
    Ok(make(plan, options, store, None, job)?.0)
}

/// What an attempt made: the commit, the move, and what was read.
type Made = (CommitId, Vec<RefChange>, Vec<PathBuf>);

/// Makes the commit of a plan and moves a ref to it. Where garbage was collected meanwhile, something may have
/// gone that the work had found in the store: then it is done once more.
fn make(
    plan: &Plan,
    options: &Options,
    store: &Store,
    reference: Option<&RefName>,
    job: &Job,
) -> Result<Made> {
    let before = store.collections();
    match attempt(plan, options, store, reference, job) {
        Err(_) if store.collections() != before && job.check().is_ok() => {
            job.note("garbage was collected in the store meanwhile: composing once more");
            attempt(plan, options, store, reference, job)
        }
        result => result,
    }
}

fn attempt(
    plan: &Plan,
    options: &Options,
    store: &Store,
    reference: Option<&RefName>,
    job: &Job,
) -> Result<Made> {
    let lock = lock(plan, options, store, job)?;
    let plan = &update::extended(plan)?;
    let requests = requests(plan);
    let memo = Memo::new(store);
    let unpacking = Unpacking { store, memo: &memo, lock: &lock, settings: &options.packages };
    let work = Work::new(plan, options, &requests, unpacking, job)?;
    let key = work.key()?;
    let transaction = store.begin(job);
    let id = match memo.commit(&key) {
        Some(id) => {
            job.cached("compose");
            id
        }
        None => {
            let id = work.run(&transaction)?;
            memo.later_bytes(key, id.as_bytes().to_vec());
            id
        }
    };
    let inputs = work.host_paths();
    // Before an image has its name: one without its dependency file would look finished to make.
    if let Some(depfile) = &options.depfile {
        depfile.write(work.dependencies()?)?;
    }
    drop(work);
    let updates = reference.map(|name| RefUpdate { name: name.clone(), expected: Expected::Any, new: id });
    let committed = transaction.commit(updates.as_slice(), "compose")?;
    // The commit is in the store for good, and its ref leads to it: what is lost is time, the next time.
    if let Err(error) = memo.write() {
        job.warn(format!("the store can't remember the steps of this build: {}", whole(&error)));
    }
    Ok((id, committed.refs, inputs))
}

/// Returns the lock that the build goes by. Where there is none beside the recipe, one is written.
pub(super) fn lock(plan: &Plan, options: &Options, store: &Store, job: &Job) -> Result<Lock> {
    let requests = requests(plan);
    let path = options.lock_path();
    let lock = match packages::read_lock(&path)? {
        Some(lock) => lock,
        None if requests.is_empty() => return Ok(Lock::default()),
        None => {
            let settings = &options.packages;
            let locking = Locking { settings, path: &path, update: Update::None, write: true };
            let written = packages::write_lock(store, &requests, &locking, job)?;
            job.note(format!("wrote the lock {}", path.display()));
            written.0
        }
    };
    lock.select(&requests)?;
    Ok(lock)
}

//! The story, top to bottom: recipe text → plan → trees → commit in the store → disk image.
//!
//! In: a recipe's path, settings, a store. Out: a commit and a ref that leads to it; an image file.
//!
//! ```text
//! load     recipe text, includes, variables            → Plan                (recipe)
//! lock     names of packages                           → what they mean now  (packages)
//! compose  the parts, side by side, merged in order    → trees, a commit     (compose, archive, store)
//! write    the commit, and nothing else                → an image            (image)
//! rebuild  a commit, from what it says of itself       → the commit that this makes
//! compare  two commits                                 → what differs
//! ```
//!
//! Always true
//! - An image follows from its commit alone; writing it again, anywhere, gives the same bytes.
//! - A step whose inputs are unchanged is not run again; what a running step made is remembered only once
//!   its objects are durable.
//! - An output appears whole under its name or not at all, and is left alone where it is right already.
//!
//! Not here: formats (`disk/`, `boot/`, `store/`), policy of parts (`compose/`), printing (`cli/`).
//!
//! Read first: this page, `compose.rs`, `image.rs`.
#![forbid(unsafe_code)]

mod assertions;
mod boot_files;
mod budget;
mod compare;
mod compose;
mod depfile;
mod error;
mod explanation;
mod forecast;
mod image;
mod installed;
mod load;
mod numbers;
mod output;
mod package_cache;
mod packages;
mod rebuild;
mod requests;
mod rpm_system;
mod run;
mod service;
mod since;
mod step;
mod system;
mod update;

use std::path::Path;

pub use assertions::{Asserted, assert_tree};
pub use budget::Excess;
pub use compare::{
    Comparison, Counts, Difference, PackageDifference, TextDifference, compare, compare_views, tree_changes,
};
pub use compose::{Composed, DEFAULT_EPOCH, Options, compose, lock_path, recompose};
pub use depfile::Depfile;
pub use error::PipelineError;
pub use explanation::{Brought, Explanation, Lines, rehearse};
pub use forecast::{Forecast, ForecastDisk, ForecastStep, StepState, forecast};
pub use image::{Written, write, write_if};
pub use load::{HostLoader, load, plan_of_commit};
pub use packages::Locked;
pub use rebuild::{Provenance, Rebuilt, Sources, asked_for, commit_differences, rebuild};
pub use since::{ChangedText, Since, since_last_build};

use crate::base::Job;
use crate::packages::{Update, Vendored};
use crate::recipe::Plan;
use crate::store::Store;
use error::Result;
use packages::Locking;
use requests::requests;

/// Builds an image: composes the plan, then writes the commit's image to `output`. A plan without a
/// kernel and an output that can't be one are refused before anything is done.
pub fn build(
    plan: &Plan,
    options: &Options,
    store: &Store,
    output: &Path,
    job: &Job,
) -> Result<(Composed, Written)> {
    build_if(plan, options, store, output, &|_| Ok(()), job)
}

/// Refuses a plan without a kernel, and an output that can't be one.
pub fn can_build(plan: &Plan, output: &Path) -> Result<()> {
    if plan.kernel.is_none() {
        return Err(PipelineError::NoKernel);
    }
    output::check(output)
}

/// Builds an image as [`build`] does; it gets its name only once `approve` has seen the finished file.
pub fn build_if(
    plan: &Plan,
    options: &Options,
    store: &Store,
    output: &Path,
    approve: &dyn Fn(&Path) -> Result<()>,
    job: &Job,
) -> Result<(Composed, Written)> {
    can_build(plan, output)?;
    let make = || {
        let composed = compose(plan, options, store, job)?;
        let written = write_if(store, composed.commit, output, approve, job)?;
        Ok((composed, written))
    };
    let mut known = store.known_losses();
    loop {
        match make() {
            // What was met just now is marked: composing again puts it again, from the same inputs.
            Err(_) if store.known_losses() > known && job.check().is_ok() => {
                known = store.known_losses();
                job.warn("the store holds damaged objects, so that the image is composed again; `mkimage fsck --repair` looks for more");
            }
            done => return done,
        }
    }
}

/// Pins the packages of a plan beside its recipe; with `write` off, only tells what would change. What the archives
/// offer is no file: a dependency file lists what of this machine is read.
pub fn lock(
    plan: &Plan,
    options: &Options,
    store: &Store,
    update: Update,
    write: bool,
    job: &Job,
) -> Result<Locked> {
    let path = options.lock_path();
    let locking = Locking { settings: &options.packages, path: &path, update, write };
    let requests = requests(plan);
    if let Some(depfile) = &options.depfile {
        let sources = plan.sources.iter().map(|(name, _)| name.into());
        let rules = requests.iter().flat_map(|request| request.rules.local.clone());
        let keys = requests.iter().flat_map(|request| &request.sources);
        depfile.write(sources.chain(rules).chain(keys.filter_map(|source| source.signed_by.clone())))?;
    }
    Ok(packages::write_lock(store, &requests, &locking, job)?.1)
}

/// Gathers all packages that a recipe's lock pins in a folder, so that a builder without a network can build.
/// A lock is written first where there is none.
pub fn vendor(plan: &Plan, options: &Options, store: &Store, folder: &Path, job: &Job) -> Result<Vendored> {
    let lock = compose::lock(plan, options, store, job)?;
    packages::vendor(store, &lock, &requests(plan), &options.packages, folder, job)
}

/// Says why a package is in a lock, in sentences.
pub fn why(lock: &Path, package: &str) -> Result<Vec<String>> {
    let path = lock.to_owned();
    let lock = packages::read_lock(lock)?.ok_or(PipelineError::NoLock { path })?;
    Ok(lock.why(package)?)
}

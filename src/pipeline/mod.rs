//! The story, top to bottom: recipe text → plan → trees → commit in the store → disk image.
//!
//! In: a recipe's path, settings, a store. Out: a commit and a ref that leads to it; an image file.
//!
//! ```text
//! load     recipe text, includes, variables            → Plan                (recipe)
//! lock     names of packages                           → what they mean now  (packages)
//! compose  the parts, side by side, merged in order    → trees, a commit     (compose, archive, store)
//! write    the commit, and nothing else                → an image            (disk, boot)
//! inspect  an image, whoever made it                   → what it says it is
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

mod boot_files;
mod compose;
mod error;
mod image;
mod inspect;
mod load;
mod output;
mod packages;
mod service;
mod step;

use std::path::Path;

pub use compose::{Composed, DEFAULT_EPOCH, Options, compose};
pub use error::{PipelineError, whole};
pub use image::{Written, write};
pub use inspect::{Inspection, SlotFacts, dump, inspect, open as open_image};
pub use load::{HostLoader, load};
pub use packages::Locked;

use crate::base::Job;
use crate::packages::Update;
use crate::recipe::Plan;
use crate::store::Store;
use error::Result;

/// Builds an image: composes the plan, then writes the commit's image to `output`. A plan without a
/// kernel and an output that can't be one are refused before anything is done.
pub fn build(
    plan: &Plan,
    options: &Options,
    store: &Store,
    output: &Path,
    job: &Job,
) -> Result<(Composed, Written)> {
    if plan.kernel.is_none() {
        return Err(PipelineError::NoKernel);
    }
    output::check(output)?;
    let composed = compose(plan, options, store, job)?;
    let written = write(store, composed.commit, output, job)?;
    Ok((composed, written))
}

/// Pins the packages of a plan beside its recipe. Versions that are pinned already stay, unless `update`
/// is set.
pub fn lock(plan: &Plan, options: &Options, store: &Store, update: bool, job: &Job) -> Result<Locked> {
    let requests = packages::requests(plan);
    let path = options.lock_path();
    let update = if update { Update::All } else { Update::None };
    let written = packages::write_lock(store, &requests, &options.packages, &path, &update, job)?;
    Ok(written.1)
}

//! What can go wrong on the way from a recipe to an image.

use std::error::Error;
use std::path::PathBuf;

use super::budget::Excess;
use crate::archive::ArchiveError;
use crate::base::{Cancelled, FileError, ImagePath, whole};
use crate::boot::BootError;
use crate::compose::ComposeError;
use crate::finalize::FinalizeError;
use crate::image::ImageError;
use crate::packages::PackagesError;
use crate::packages::install::LayError;
use crate::packages::rpm;
use crate::recipe::Diagnostics;
use crate::recipe::plan::Origin;
use crate::sandbox::SandboxError;
use crate::store::StoreError;
use crate::tree::{ContentError, TreeError};
use crate::view::ViewError;

pub type Result<T> = std::result::Result<T, PipelineError>;

/// Says why no image was made. What was there before is unharmed.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error("the recipe has {} {}", .0.len(), if .0.len() == 1 { "mistake" } else { "mistakes" })]
    Recipe(Box<Diagnostics>),
    #[error("{}", list("some parts of the recipe can't be made", .0))]
    Compose(Vec<ComposeError>),
    #[error("{}", list("the image does not keep to its budget", .0))]
    Budget(Vec<Excess>),
    #[error("{}", list("the parts of the recipe don't fit together", .0))]
    Tree(Vec<TreeError>),
    #[error("{}", list("reading an archive or directory", .0))]
    Archive(Vec<ArchiveError>),
    #[error("{}", list("the packages don't fit together", .0))]
    Lay(Vec<LayError>),
    #[error("{}", list("some packages can't be finished", .0))]
    Finalize(Vec<FinalizeError>),
    #[error("{}", list("some packages can't be laid or finished", .0))]
    Rpm(Vec<rpm::FinalizeError>),
    #[error("the scripts of packages")]
    Scripts(#[from] SandboxError),
    #[error("{origin}")]
    Base { origin: Origin, source: Box<StoreError> },
    #[error("{origin}")]
    Run { origin: Origin, source: Box<SandboxError> },
    #[error("the recipe says {name} = {recipe:?}, so it can't be annotated as {value:?}")]
    Annotated { name: String, recipe: String, value: String },
    #[error("{origin}: {} changed while it was read: build again", path.display())]
    InputChanged { path: PathBuf, origin: Origin },
    #[error("{origin}: {pattern:?} in `outputs` is no glob of paths: {problem}")]
    OutputPattern { pattern: String, problem: String, origin: Origin },
    #[error(
        "{origin} changed paths that its `outputs` do not name:{}",
        paths.iter().take(20).map(|path| format!("\n  {path}")).collect::<String>()
    )]
    Outside { paths: Vec<ImagePath>, origin: Origin },
    #[error(
        "{what} {name} has number {now} now, and had {before} in the commit that {reference} leads to: files \
         of a machine that runs it would change hands; give it its number in the recipe: {what} {name:?} {{ \
         {key} = {before} }}"
    )]
    Renumbered {
        what: &'static str,
        name: String,
        key: &'static str,
        now: u32,
        before: u32,
        reference: String,
    },
    #[error(
        "the recipe has no kernel, so there is nothing to boot: add a `kernel` block, or use `mkimage compose`"
    )]
    NoKernel,
    #[error("{origin}: {packages} has no {path}")]
    NotInPackage { path: String, packages: String, origin: Origin },
    #[error("it can't be built again: {problem}")]
    NotRebuildable { problem: String },
    #[error(
        "inputs are missing:{}",
        missing.iter().map(|input| format!("\n  {input}")).collect::<String>()
    )]
    MissingInputs { missing: Vec<String> },
    #[error("the lock {}: {problem}", path.display())]
    Lock { path: PathBuf, problem: String },
    #[error("{} is not there: run `mkimage lock` first", path.display())]
    NoLock { path: PathBuf },
    #[error(
        "nothing is known of {package}: the commit has no lock of packages, or its store is not this one"
    )]
    NoLockOfCommit { package: String },
    #[error("there is no agent at {}", path.display())]
    NoAgent { path: PathBuf },
    #[error("{origin}: the key of the site, {}: {problem}", path.display())]
    UpdateKey { path: PathBuf, problem: String, origin: Origin },
    #[error("{origin}: the certificates of the site, {}: {problem}", path.display())]
    UpdateCertificates { path: PathBuf, problem: String, origin: Origin },
    #[error("{}: PID 1 of app images is not there", path.display())]
    NoInit { path: PathBuf },
    #[error("{} can't be PID 1 of app images: {problem}", path.display())]
    Init { path: PathBuf, problem: &'static str },
    #[error("SOURCE_DATE_EPOCH is {value:?}, expected a number of seconds from 0 to {limit}")]
    Epoch { value: String, limit: u64 },
    #[error(
        "a second build under another host gave other bytes:{}",
        differences.iter().map(|difference| format!("\n  {difference}")).collect::<String>()
    )]
    NotReproduced { differences: Vec<String> },
    #[error("{} can't be a line of the dependency file {}: {problem}", name.display(), depfile.display())]
    Depfile { depfile: PathBuf, name: PathBuf, problem: &'static str },
    #[error("{origin}: cannot take {}", path.display())]
    BootFile { path: PathBuf, origin: Origin, source: Box<PipelineError> },
    #[error("cannot write the image to {}", path.display())]
    Writing { path: PathBuf, source: ImageError },
    #[error("cannot write the image to {}: {problem}", path.display())]
    Output { path: PathBuf, problem: &'static str },
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Packages(#[from] PackagesError),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    View(#[from] ViewError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl PipelineError {
    /// Returns the errors that this one is a list of; none where it is a single one.
    pub fn several(&self) -> Vec<&(dyn Error + 'static)> {
        fn all<E: Error + 'static>(errors: &[E]) -> Vec<&(dyn Error + 'static)> {
            errors.iter().map(|error| error as &(dyn Error + 'static)).collect()
        }
        match self {
            PipelineError::Compose(errors) => all(errors),
            PipelineError::Budget(errors) => all(errors),
            PipelineError::Tree(errors) => all(errors),
            PipelineError::Archive(errors) => all(errors),
            PipelineError::Lay(errors) => all(errors),
            PipelineError::Finalize(errors) => all(errors),
            PipelineError::Rpm(errors) => all(errors),
            PipelineError::Packages(PackagesError::Several(errors)) => all(errors),
            _ => Vec::new(),
        }
    }

    /// Returns the first of several errors: for work of which any failure ends all.
    pub(super) fn first(errors: Vec<PipelineError>) -> PipelineError {
        errors.into_iter().next().expect("because a failure has an error")
    }
}

fn list<E: Error + 'static>(what: &str, errors: &[E]) -> String {
    match errors {
        [error] => whole(error),
        errors => {
            let lines: String = errors.iter().map(|error| format!("\n  {}", whole(error))).collect();
            format!("{what}:{lines}")
        }
    }
}

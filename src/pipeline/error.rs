//! What can go wrong on the way from a recipe to an image.

use std::path::PathBuf;

use crate::archive::ArchiveError;
use crate::base::{Cancelled, FileError};
use crate::boot::BootError;
use crate::boot::command_line::CommandLineError;
use crate::boot::slots::SlotError;
use crate::compose::ComposeError;
use crate::disk::ext4::Ext4Error;
use crate::disk::fat::FatError;
use crate::disk::gpt::GptError;
use crate::disk::layout::LayoutError;
use crate::disk::verity::VerityError;
use crate::packages::PackagesError;
use crate::recipe::Diagnostics;
use crate::recipe::plan::Origin;
use crate::store::StoreError;
use crate::tree::{ContentError, TreeError};

pub type Result<T> = std::result::Result<T, PipelineError>;

/// Says why no image was made. What was there before is unharmed.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error("the recipe has {} {}", .0.len(), if .0.len() == 1 { "mistake" } else { "mistakes" })]
    Recipe(Box<Diagnostics>),
    #[error("{}", list("the parts of the recipe can't be made", .0))]
    Compose(Vec<ComposeError>),
    #[error("{}", list("the parts of the recipe don't fit together", .0))]
    Tree(Vec<TreeError>),
    #[error("{}", list("reading an archive or directory", .0))]
    Archive(Vec<ArchiveError>),
    #[error(
        "the recipe has no kernel, so there is nothing to boot: add a `kernel` block, or use `mkimage compose`"
    )]
    NoKernel,
    #[error("the commit's boot files lack {missing}")]
    NotBootable { missing: String },
    #[error("{origin}: {packages} has no {path}")]
    NotInPackage { path: String, packages: String, origin: Origin },
    #[error("the lock {}: {problem}", path.display())]
    Lock { path: PathBuf, problem: String },
    #[error("{}: PID 1 of app images is not there", path.display())]
    NoInit { path: PathBuf },
    #[error("SOURCE_DATE_EPOCH is {value:?}, expected a number of seconds from 0 to {limit}")]
    Epoch { value: String, limit: u64 },
    #[error("cannot {doing}")]
    Device { doing: &'static str, source: std::io::Error },
    #[error("{}: {problem}", path.display())]
    NotAnImage { path: PathBuf, problem: String },
    #[error("the slot sector")]
    Slots(#[source] SlotError),
    #[error(transparent)]
    Packages(#[from] PackagesError),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error("the kernel's command line")]
    CommandLine(#[from] CommandLineError),
    #[error("the filesystem")]
    Ext4(#[from] Ext4Error),
    #[error("the verity tree")]
    Verity(#[from] VerityError),
    #[error("the EFI system partition")]
    Fat(#[from] FatError),
    #[error("the partition table")]
    Gpt(#[from] GptError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl PipelineError {
    /// Returns the first of several errors: for work of which any failure ends all.
    pub(super) fn first(errors: Vec<PipelineError>) -> PipelineError {
        errors.into_iter().next().expect("because a failure has an error")
    }
}

fn list<E: std::fmt::Display>(what: &str, errors: &[E]) -> String {
    match errors {
        [error] => error.to_string(),
        errors => {
            let lines: String = errors.iter().map(|error| format!("\n  {error}")).collect();
            format!("{what}:{lines}")
        }
    }
}

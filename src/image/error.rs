//! Why a commit is no disk, or a disk no image.

use std::path::PathBuf;

use crate::base::{Cancelled, Digest, FileError};
use crate::boot::BootError;
use crate::boot::command_line::CommandLineError;
use crate::boot::slots::{Slot, SlotError};
use crate::disk::dump::DumpError;
use crate::disk::ext4::{Ext4Error, Ext4ReadError};
use crate::disk::fat::FatError;
use crate::disk::gpt::GptError;
use crate::disk::layout::LayoutError;
use crate::disk::verity::VerityError;
use crate::store::{Malformed, StoreError};
use crate::tree::{ContentError, TreeError};

pub type Result<T> = std::result::Result<T, ImageError>;

/// Says what could not be written, or not be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("the commit has no kernel, so there is nothing to boot")]
    NoKernel,
    #[error("the commit's boot files lack {missing}")]
    NotBootable { missing: String },
    #[error("{}: {problem}", path.display())]
    NotAnImage { path: PathBuf, problem: String },
    #[error("it has no partition {name:?}: it was not made by mkimage")]
    NoPartition { name: String },
    #[error("{} can't be read as an image", path.display())]
    Reading { path: PathBuf, source: Box<ImageError> },
    #[error("cannot {doing}")]
    Device { doing: &'static str, source: std::io::Error },
    #[error("the root's tree has {} {}", .0.len(), if .0.len() == 1 { "fault" } else { "faults" })]
    Tree(Vec<TreeError>),
    #[error("the state of the slots")]
    Slots(#[from] SlotError),
    #[error(
        "the UKI of {slot} has the digest {found}, its record says {expected}: the loader does not start it"
    )]
    UkiDigest { slot: Slot, expected: Digest, found: Digest },
    #[error("the commit in the UKI of a slot")]
    Commit(#[from] Malformed),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error("the kernel's command line")]
    CommandLine(#[from] CommandLineError),
    #[error("the filesystem of {partition}")]
    Ext4 { partition: &'static str, source: Ext4Error },
    #[error("the filesystem of a partition")]
    Ext4Read(#[from] Ext4ReadError),
    #[error("the verity tree")]
    Verity(#[from] VerityError),
    #[error("the EFI system partition")]
    Fat(#[from] FatError),
    #[error("the partition table")]
    Gpt(#[from] GptError),
    #[error("the structures of the disk")]
    Dump(#[from] DumpError),
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

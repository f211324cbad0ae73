//! What can keep a slot from being written or switched to.

use std::path::PathBuf;

use crate::base::{Bytes, Cancelled, FileError};
use crate::boot::slots::{Slot, SlotError};
use crate::disk::fat::FatError;
use crate::disk::verity::VerityError;
use crate::image::ImageError;

pub type Result<T> = std::result::Result<T, SlotsError>;

/// Says why a disk was not updated or switched. The slot that ran before still boots.
#[derive(Debug, thiserror::Error)]
pub enum SlotsError {
    #[error("{slot} runs and is still on trial: an update now would leave nothing that is known to boot")]
    OnTrial { slot: Slot },
    #[error("no slot is confirmed: an update would leave nothing that is known to boot")]
    NothingConfirmed,
    #[error("{slot} is not confirmed: it {state}")]
    NotConfirmed { slot: Slot, state: &'static str },
    #[error("{slot} is on trial, but {running} runs")]
    OtherRuns { slot: Slot, running: Slot },
    #[error("{slot} holds nothing that could boot: it {state}")]
    NothingThere { slot: Slot, state: &'static str },
    #[error(
        "{slot} is in use on this machine (mounted, or behind device-mapper), so it can't be the one to write"
    )]
    Held { slot: Slot },
    #[error("the disk is of {disk}, the commit is of {commit}")]
    OtherName { disk: String, commit: String },
    #[error("the slots of the disk are for another processor than {commit}, which the commit is for")]
    Architecture { commit: &'static str },
    #[error("{what} needs {need}, {slot} has room for {room}")]
    TooLarge { what: &'static str, slot: Slot, need: Bytes, room: Bytes },
    #[error("the update takes {need} more of the file system that holds the disk, which has {free} left")]
    NoSpace { need: Bytes, free: Bytes },
    #[error("cannot {doing} {place}")]
    Device { doing: &'static str, place: String, source: std::io::Error },
    #[error(
        "{place} does not hold what was written to it, at byte {offset}: the medium loses or changes data"
    )]
    ReadBack { place: String, offset: u64 },
    #[error("{slot} is damaged")]
    Damaged { slot: Slot, source: Box<SlotsError> },
    #[error("its kernel image is not what its record says")]
    Kernel,
    #[error("another program changes {}", path.display())]
    Locked { path: PathBuf },
    #[error("a virtual machine has {} open", path.display())]
    OpenInMachine { path: PathBuf },
    #[error("{}: {problem}", path.display())]
    NotADisk { path: PathBuf, problem: &'static str },
    #[error("the slot sector")]
    Sector(#[from] SlotError),
    #[error("the verity tree")]
    Verity(#[from] VerityError),
    #[error("the EFI system partition")]
    Fat(#[from] FatError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl SlotsError {
    pub(super) fn device(
        doing: &'static str,
        place: impl ToString,
    ) -> impl FnOnce(std::io::Error) -> SlotsError {
        move |source| SlotsError::Device { doing, place: place.to_string(), source }
    }
}

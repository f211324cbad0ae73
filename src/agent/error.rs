//! What can go wrong with an update from within.

use std::path::PathBuf;

use crate::base::{Cancelled, CommitId, Digest, FileError};
use crate::boot::BootError;
use crate::disk::ext4::Ext4ReadError;
use crate::disk::verity::VerityError;
use crate::image::ImageError;
use crate::remote::RemoteError;
use crate::slots::SlotsError;
use crate::store::{Malformed, StoreError};
use crate::trust::TrustError;

pub type Result<T> = std::result::Result<T, AgentError>;

/// Says why an update did not come to its end. The machine runs on as it did.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("{}: {problem}", path.display())]
    Settings { path: PathBuf, problem: String },
    /// The agent does not run from a slot of a disk.
    #[error("this machine runs from no slot of an image: {problem}")]
    NotAnImage { problem: String },
    #[error("the running slot could not be read back: {problem}")]
    Tree { problem: String },
    #[error("reading the running slot back")]
    Ext4(#[from] Ext4ReadError),
    #[error("the running slot is damaged")]
    Verity(#[from] VerityError),
    #[error("reading the kernel image of the running slot")]
    Uki(#[from] BootError),
    #[error("the commit in the kernel image of the running slot")]
    Commit(#[from] Malformed),
    /// This machine would boot something else than who signed says.
    #[error("{what} of commit {commit} is {found} here, and {expected} in the release that was signed")]
    OtherRelease { commit: CommitId, what: &'static str, found: Digest, expected: Digest },
    #[error("the release of commit {commit}")]
    Release { commit: CommitId, source: TrustError },
    #[error("{slot} is on trial still: wait until it is confirmed, or reboot")]
    OnTrial { slot: String },
    #[error("the slots were changed while the update was fetched: nothing was written")]
    Turned,
    #[error("another agent updates this machine: it has {}", path.display())]
    NotAlone { path: PathBuf },
    #[error("the agent can't give up its rights: {problem}")]
    Confine { problem: String },
    #[error("there is no agent at {}: {problem}", path.display())]
    NoAgent { path: PathBuf, problem: String },
    #[error("{word:?} is for root and the agent itself")]
    NotAllowed { word: String },
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Slots(#[from] SlotsError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl AgentError {
    /// Tells whether the data partition is full.
    pub fn is_full(&self) -> bool {
        let mut error: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(now) = error {
            let kind = now.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            if matches!(kind, Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)) {
                return true;
            }
            error = now.source();
        }
        false
    }
}

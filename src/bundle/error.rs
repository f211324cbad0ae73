//! What can go wrong with bundles.

use crate::base::{Cancelled, CommitId, Digest, FileError};
use crate::store::StoreError;
use crate::tree::ContentError;

pub type Result<T> = std::result::Result<T, BundleError>;

/// Says why a bundle could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("this is not the beginning of bundle {expected}: its digest is {found}")]
    OtherTable { expected: Digest, found: Digest },
    #[error("the table of bundle {id} is malformed: {problem}")]
    Table { id: Digest, problem: String },
    #[error("bundle {id}: {problem}")]
    Damaged { id: Digest, problem: String },
    #[error("bundle {id} builds on commit {base}, which is not there as a whole")]
    BaseMissing { id: Digest, base: CommitId },
    #[error("bundle {id} can't be finished: {missing} of its frames have not come")]
    Unfinished { id: Digest, missing: usize },
    #[error("{what} of {bytes} bytes: a bundle takes at most {limit}")]
    TooLarge { what: &'static str, bytes: u64, limit: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<ContentError> for BundleError {
    fn from(error: ContentError) -> Self {
        StoreError::from(error).into()
    }
}

//! What can go wrong with an update from within.

use std::path::PathBuf;

use crate::base::{Cancelled, FileError};
use crate::remote::RemoteError;
use crate::store::StoreError;

pub type Result<T> = std::result::Result<T, AgentError>;

/// Says why an update did not come to its end. The machine runs on as it did.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("{}: {problem}", path.display())]
    Settings { path: PathBuf, problem: String },
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

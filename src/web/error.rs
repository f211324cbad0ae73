//! Why no connection can be made ready.

use std::path::PathBuf;

use crate::base::FileError;

/// Says what is wrong with the settings of a client.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} holds no CA certificate", path.display())]
    Certificates { path: PathBuf },
}

use std::path::PathBuf;

use crate::base::{Cancelled, FileError};

/// Says why nothing came of reading in a child.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The child that looked at the bytes did not come to an end of its own.
    #[error("the confined reader of the image {problem}")]
    Child { problem: String },
    /// The child could not be started, or not be talked to.
    #[error("cannot {doing} the confined reader")]
    Start {
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is no image: it is neither a file nor a block device", path.display())]
    NotAFile { path: PathBuf },
    #[error(transparent)]
    File(#[from] FileError),
    /// The child said what it could not do.
    #[error("{}", .0.message)]
    Said(Said),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What a verb in the child could not do, in the words that a person is to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Said {
    /// Names the kind of failure, as `--json` does.
    pub kind: String,
    pub message: String,
    /// What it came from, outermost first.
    pub causes: Vec<String>,
    pub hint: Option<String>,
}

impl Said {
    /// Makes one that has a message only.
    pub fn new(kind: &str, message: impl Into<String>) -> Self {
        Said { kind: kind.to_owned(), message: message.into(), ..Said::default() }
    }
}

pub type Result<T> = std::result::Result<T, ConfineError>;

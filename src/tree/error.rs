use crate::base::{ImagePath, PathError};

/// Says why a tree can't be built, merged or sealed.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum TreeError {
    #[error("{path}: {parent} is a {kind}, not a directory")]
    NotADirectory { path: ImagePath, parent: ImagePath, kind: &'static str },
    #[error("{path} is there already, as a {kind}")]
    Exists { path: ImagePath, kind: &'static str },
    #[error("{path}: both {first} and {second} bring it, and they differ ({difference})")]
    Conflict { path: ImagePath, first: String, second: String, difference: String },
    #[error("{path}: nothing stands there")]
    Missing { path: ImagePath },
    #[error("{path} is a hard link to {target}, where {problem}")]
    HardLink { path: ImagePath, target: ImagePath, problem: &'static str },
    #[error("{path}: {problem}")]
    Invalid { path: ImagePath, problem: String },
    #[error(transparent)]
    Path(#[from] PathError),
}

//! What can go wrong when something is looked into.

use std::path::PathBuf;

use crate::base::{Cancelled, FileError, ImagePath};
use crate::confine::ConfineError;
use crate::disk::ext4::Ext4ReadError;
use crate::disk::fat::FatError;
use crate::image::ImageError;
use crate::store::StoreError;
use crate::tree::ContentError;

pub type Result<T> = std::result::Result<T, ViewError>;

/// Says why something can't be looked into.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    #[error("{text:?}: {problem}")]
    Place { text: String, problem: String },
    #[error("{text:?} names a commit, and there is no store to look into")]
    NoStore { text: String },
    #[error("{}: {problem}", file.display())]
    NotAnImage { file: PathBuf, problem: String },
    #[error("{} has no partition {part:?}; it has {}", file.display(), known.join(", "))]
    NoPartition { file: PathBuf, part: String, known: Vec<String> },
    #[error("{}: nothing would boot next, so that a slot has to be named", file.display())]
    NothingBoots { file: PathBuf },
    #[error("{}: {part} is empty: nothing was installed there yet", file.display())]
    EmptySlot { file: PathBuf, part: String },
    #[error("{}: {part} can't be read", file.display())]
    Ext4 { file: PathBuf, part: String, source: Ext4ReadError },
    #[error("{}: {part} can't be read", file.display())]
    Fat { file: PathBuf, part: String, source: FatError },
    #[error("{} can't be read as an image", file.display())]
    Image { file: PathBuf, source: Box<ImageError> },
    /// The child says what is wrong with the image.
    #[error(transparent)]
    Confined { source: ConfineError },
    /// The child came to no end of its own.
    #[error("{}: {source}", file.display())]
    Unread { file: PathBuf, source: ConfineError },
    #[error("{path}: {problem}{}", near.as_ref().map_or(String::new(), |near| format!("; did you mean {near}?")))]
    Path { path: ImagePath, problem: String, near: Option<ImagePath> },
    #[error("{path} is a {kind}, not a {wanted}")]
    Kind { path: ImagePath, kind: &'static str, wanted: &'static str },
    #[error("{} is there already", path.display())]
    Exists { path: PathBuf },
    #[error("cannot mount at {}", directory.display())]
    Mount { directory: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

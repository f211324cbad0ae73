//! What can go wrong while a bill or a report is made.

use crate::image::ImageError;
use crate::store::StoreError;
use crate::tree::ContentError;

/// Says why there is no bill or report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("reading the store")]
    Store(#[from] StoreError),
    #[error("reading a file of the tree")]
    Content(#[from] ContentError),
    #[error(transparent)]
    Cancelled(#[from] crate::base::Cancelled),
    #[error("placing the disk of the commit")]
    Image(#[from] ImageError),
    /// A file that is given as a timeline.
    #[error("this is no timeline: {problem}")]
    Timeline { problem: String },
    /// The tree has more than a bill is made of.
    #[error("the tree has {found} {what}, a bill has at most {limit}")]
    TooMany { what: &'static str, found: usize, limit: usize },
}

pub type Result<T> = std::result::Result<T, ReportError>;

use std::fmt;
use std::path::PathBuf;

use super::policy::Violation;
use crate::base::path::escaped;
use crate::base::{Cancelled, FileError};
use crate::tree::ContentError;

/// Says why an archive or a directory of the host can't become a tree. Which archive it was, the caller
/// knows and adds.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The bytes break a rule of their format, or one of ours.
    #[error("{place}: {problem}")]
    Malformed { place: Place, problem: String },
    /// The bytes end too early.
    #[error("{place}: the archive ends here, cut off ({missing})")]
    Truncated { place: Place, missing: &'static str },
    /// More than a limit allows.
    #[error("{place}: {what}: {found}, and the limit is {limit}")]
    Limit { place: Place, what: &'static str, found: u64, limit: u64 },
    /// Reading or decompressing failed.
    #[error("{place}: the archive can't be read on")]
    Read { place: Place, source: std::io::Error },
    /// A compression that is not among those we read.
    #[error("this is {found}; archives are tar: plain, or in gzip, xz or zstd")]
    Compression { found: &'static str },
    /// Entries that the policy refuses: all of them.
    #[error("{}", super::policy::describe(.violations, *.count))]
    Forbidden {
        /// In archive order; at most the first thousand.
        violations: Vec<Violation>,
        /// How many there are in all.
        count: usize,
    },
    /// Something on the host that can't be part of an image.
    #[error("{} is a {kind}; only files, directories and symlinks of the host can go into an image", path.display())]
    HostKind { path: PathBuf, kind: &'static str },
    /// A file of the host that someone is writing.
    #[error("{} changed while it was read: {difference}", path.display())]
    Changed { path: PathBuf, difference: String },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What a limit on a whole archive counts.
pub(super) const WHOLE: &str = "bytes of the archive after decompression";
/// What an entry announces, against the same limit.
pub(super) const ANNOUNCED: &str = "bytes of content that its header announces";

impl ArchiveError {
    /// Tells whether the archive as a whole holds more than [`Limits::bytes`](super::Limits) allows.
    pub fn is_too_large(&self) -> bool {
        matches!(self, ArchiveError::Limit { what: WHOLE | ANNOUNCED, .. })
    }
}

/// Where in an archive something is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// Byte offset in the archive after decompression.
    pub offset: u64,
    /// The path of the entry, as the archive spells it, where one is known.
    pub path: Option<Box<[u8]>>,
}

/// Bytes of a path that a message shows: an archive may spell one of a mebibyte.
const PATH_BYTES_SHOWN: usize = 256;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => {
                let shown = &path[..path.len().min(PATH_BYTES_SHOWN)];
                let more = if shown.len() < path.len() { "…" } else { "" };
                write!(f, "{:?}{more} at byte {}", escaped(shown), self.offset)
            }
            None => write!(f, "byte {}", self.offset),
        }
    }
}

impl Place {
    /// Makes the error for bytes that break a rule here.
    pub(super) fn malformed(&self, problem: impl Into<String>) -> ArchiveError {
        ArchiveError::Malformed { place: self.clone(), problem: problem.into() }
    }

    /// Fails when `found` is more than a limit.
    pub(super) fn limit(&self, what: &'static str, found: u64, limit: u64) -> Result<(), ArchiveError> {
        if found <= limit {
            return Ok(());
        }
        Err(ArchiveError::Limit { place: self.clone(), what, found, limit })
    }
}

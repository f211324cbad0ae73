//! What can go wrong in a store.

use std::path::PathBuf;

use super::encode::Malformed;
use super::lock::Holder;
use super::refs::{Expected, RefName, RefNameError, RefValue};
use super::revision::RevisionError;
use crate::base::{Cancelled, CommitId, Digest, FileError, ImagePath};
use crate::tree::ContentError;

pub type Result<T> = std::result::Result<T, StoreError>;

/// Says why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{} holds {found:?} and no file \"format\": it is no store, and nothing was written to it", path.display())]
    NotAStore { path: PathBuf, found: String },
    #[error("{} says {found:?}, and this mkimage knows {known:?}", path.display())]
    Format { path: PathBuf, found: String, known: String },
    #[error("the store {} asks of its writers {found:?}, which this mkimage does not know; it can only read it", path.display())]
    Foreign { path: PathBuf, found: String },
    #[error("{kind} {id} is not in the store")]
    Missing { kind: Kind, id: Digest },
    #[error("{kind} {id} is malformed")]
    Malformed { kind: Kind, id: Digest, source: Malformed },
    #[error("a commit can't be stored: {problem}")]
    Commit { problem: String },
    #[error("{path}: its content {id} ({size} bytes) was not put into the store")]
    Incomplete { path: ImagePath, id: Digest, size: u64 },
    #[error("{path}: {problem}")]
    Path { path: ImagePath, problem: String },
    #[error("a tree has at most {limit} {what}, this one more")]
    TooLarge { what: &'static str, limit: u64 },
    #[error("ref {name} was moved by someone else: expected {expected}, found {}", RefValue::shown(found.as_deref()))]
    Moved { name: RefName, expected: Expected, found: Option<Box<RefValue>> },
    #[error("ref {name} can't stand beside {other}: one name must not begin with the other and \"/\"")]
    RefInTheWay { name: RefName, other: String },
    #[error("ref {name} is named twice")]
    RefTwice { name: RefName },
    #[error("{}: {problem}", path.display())]
    DamagedRef { path: PathBuf, problem: String },
    #[error(transparent)]
    RefName(#[from] RefNameError),
    #[error("nothing is called {name:?}: neither a ref nor the first digits (4 or more) of an id{}", near.as_ref().map_or(String::new(), |near| format!("; did you mean {near:?}?")))]
    Unknown { name: String, near: Option<String> },
    #[error("ref {name} was removed; {name}~1 is where it led before")]
    Removed { name: RefName },
    #[error(transparent)]
    Revision(#[from] RevisionError),
    #[error("ref {name} has moved {moves} times, so there is no {name}~{asked}")]
    NoSuchMove { name: RefName, moves: usize, asked: usize },
    #[error(
        "garbage was collected meanwhile, and with it something that this transaction relied on; nothing was published"
    )]
    Expired,
    #[error("nothing was collected: {what}: {problem}")]
    GcDoubt { what: String, problem: String },
    #[error(
        "{} is being collected or repacked by {}",
        path.display(),
        holder.as_ref().map_or("another process".to_owned(), Holder::to_string)
    )]
    Collecting {
        path: PathBuf,
        /// Known where several machines write.
        holder: Option<Holder>,
    },
    #[error("{}: a collection was cut short here, and no packs are put together before another one", path.display())]
    CutShort { path: PathBuf },
    #[error("commit {commit} has {parents} parents, so there is no {commit}^{asked}")]
    NoSuchParent { commit: CommitId, parents: usize, asked: usize },
    #[error("{name:?} begins the names of {} objects:\n  {}", found.len(), found.join("\n  "))]
    Ambiguous { name: String, found: Vec<String> },
    #[error("{name:?} names {found}, and {expected} is asked for here")]
    OtherKind { name: String, found: String, expected: &'static str },
    #[error("tag {name} leads to {commit}, and tags never move")]
    TagMoves { name: RefName, commit: CommitId },
    #[error("nothing was taken back: {} moved since that was planned", list(names))]
    MovedSince { names: Vec<RefName> },
    #[error("{asked} moves were to be taken back, and {there} can be")]
    NothingToUndo { asked: usize, there: usize },
    #[error("the last move took nothing back, so there is nothing to do again")]
    NothingToRedo,
    #[error("{} is not empty; a checkout goes into a directory of its own", path.display())]
    NotEmpty { path: PathBuf },
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl StoreError {
    /// Makes the error that ends a collection: what could not be trusted, and why.
    pub(super) fn doubt(what: impl std::fmt::Display, problem: impl std::fmt::Display) -> Self {
        StoreError::GcDoubt { what: what.to_string(), problem: problem.to_string() }
    }

    /// Tells whether the file system is full or over quota. What was there before is unharmed, and the
    /// same call succeeds once there is room.
    pub fn is_full(&self) -> bool {
        self.file().is_some_and(FileError::is_full)
    }

    /// Tells whether the store may be read but not written by this user.
    pub fn is_read_only(&self) -> bool {
        use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        self.file().is_some_and(|file| matches!(file.source.kind(), PermissionDenied | ReadOnlyFilesystem))
    }

    fn file(&self) -> Option<&FileError> {
        match self {
            StoreError::File(error) | StoreError::Content(ContentError::File(error)) => Some(error),
            _ => None,
        }
    }
}

fn list(names: &[RefName]) -> String {
    names.iter().map(RefName::to_string).collect::<Vec<_>>().join(", ")
}

/// What an object is. The numbers are part of the index format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Kind {
    Blob = 1,
    Tree = 2,
    Commit = 3,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Blob => "object",
            Kind::Tree => "tree",
            Kind::Commit => "commit",
        })
    }
}

//! What can go wrong between two stores.

use crate::base::{Cancelled, CommitId, FileError};
use crate::bundle::BundleError;
use crate::store::{RefName, StoreError};
use crate::trust::TrustError;

pub type Result<T> = std::result::Result<T, RemoteError>;

/// Says why a push or pull did not come to its end. `remote` is what the far end is called in messages.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("{address:?} is no address of a store or site: {problem}")]
    Address { address: String, problem: &'static str },
    #[error("{name:?} can't be the name of a remote: {problem}")]
    Name { name: String, problem: &'static str },
    #[error("no remote is called {name:?}")]
    Unknown { name: String },
    #[error("there is a remote {name} already: {address}")]
    Taken { name: String, address: String },
    #[error("{path}: {problem}")]
    Damaged { path: String, problem: String },
    #[error("{remote} can only be read")]
    ReadOnly { remote: String },
    #[error("{remote} is no {expected}: {problem}")]
    NotThere { remote: String, expected: &'static str, problem: String },
    #[error("{remote} has no {what}")]
    Missing { remote: String, what: String },
    /// A file could not be brought over. What is wrong may pass.
    #[error("{remote}: {path}")]
    Transfer { remote: String, path: String, source: TransferProblem },
    /// The far end says what can't be true. Nothing of it was kept.
    #[error("{remote}: {path}: {problem}; nothing of it was kept")]
    Lies { remote: String, path: String, problem: String },
    #[error("what {remote} says of itself was not accepted")]
    Untrusted { remote: String, source: TrustError },
    #[error("no key is known for {remote}, so that nobody can tell whether what it says is true")]
    NoKey { remote: String },
    #[error("no key was given to sign the index of {remote} with")]
    NoSigner { remote: String },
    #[error("{remote} is believed where {threshold} of its keys signed, and {known} of them would sign now")]
    TooFewSigners { remote: String, threshold: usize, known: usize },
    /// Two writers could overwrite each other there.
    #[error("{remote} does not keep two writers apart: {problem}")]
    Unconditional { remote: String, problem: String },
    #[error("{remote} was changed by others {tries} times while this was published")]
    Raced { remote: String, tries: u32 },
    /// A ref at the far end is elsewhere than expected.
    #[error("ref {name} at {remote} is elsewhere: expected {}, found {}", shown(expected), shown(found))]
    Moved { remote: String, name: RefName, expected: Option<CommitId>, found: Option<CommitId> },
    #[error("tag {name} leads to {commit} at {remote}, and tags never move")]
    TagMoves { remote: String, name: RefName, commit: CommitId },
    #[error(
        "ref {name} can't stand beside {other} at {remote}: one name must not begin with the other and \"/\""
    )]
    InTheWay { remote: String, name: RefName, other: String },
    /// A local ref was moved by someone else than the remote.
    #[error(
        "ref {name} was moved here since the last pull from {remote}: it would go from {} to {there}",
        shown(here)
    )]
    Diverged { remote: String, name: RefName, here: Option<CommitId>, there: CommitId },
    /// A bundle is not what it should be, or can't be made.
    #[error("{remote}: {path}")]
    Bundle { remote: String, path: String, source: Box<BundleError> },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

fn shown(commit: &Option<CommitId>) -> String {
    commit.map_or("no such ref".to_owned(), |commit| commit.to_string())
}

/// Says why bytes did not come over, or not as they should.
#[derive(Debug, thiserror::Error)]
pub enum TransferProblem {
    #[error("no connection, or it broke")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer is {status}")]
    Status { status: u16 },
    #[error("the file is not there")]
    Gone,
    #[error("access was denied ({status})")]
    Denied { status: u16 },
    #[error("it ended after {found} bytes, {expected} were expected")]
    Short { found: u64, expected: u64 },
    #[error("more than {limit} bytes came")]
    Long { limit: u64 },
    #[error("{bytes} bytes came in {seconds} s; that is too slow")]
    Slow { bytes: u64, seconds: u64 },
    #[error("it was redirected to {to:?}: {problem}")]
    Redirect { to: String, problem: &'static str },
    #[error("the answer's {header} is {found:?}, expected {expected:?}")]
    Header { header: &'static str, found: String, expected: String },
    #[error("the file was changed while it was read")]
    Changed,
    #[error("{problem}")]
    Settings { problem: String },
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the bytes could not be read")]
    Input(#[source] std::io::Error),
}

impl TransferProblem {
    /// Tells whether the same request may succeed a moment later.
    pub fn may_pass(&self) -> bool {
        match self {
            TransferProblem::Connection(_) | TransferProblem::Short { .. } | TransferProblem::Slow { .. } => {
                true
            }
            TransferProblem::Status { status } => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}

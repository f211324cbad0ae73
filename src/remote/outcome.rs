//! What is asked of a push or pull, and what came of it.

use super::error::{RemoteError, Result};
use super::transport::Traffic;
use crate::base::CommitId;
use crate::store::{RefName, Store};

/// What is to be brought here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// All refs of the far end.
    All,
    These(Vec<Want>),
}

/// One of the things that are to be brought here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// A ref: its commit comes, and the local ref moves.
    Ref(RefName),
    /// A commit by its whole id, which needs no one's signature. No ref moves.
    Commit(CommitId),
}

/// A ref that is to lead to a commit at the far end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    pub name: RefName,
    pub commit: CommitId,
    /// The local ref that was named, whose log tells where it led before.
    pub source: Option<RefName>,
}

/// Which refs may be moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Wherever they lead.
    pub force: bool,
    /// Only from there; `Some(None)`: only where there is none.
    pub expect: Option<Option<CommitId>>,
    /// Refs here that the far end does not have are removed, where all of its refs are pulled.
    pub prune: bool,
    /// Refs that a push removes at the far end, together with what it moves.
    pub remove: Vec<RefName>,
}

/// Where a ref was and is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RefOutcome {
    pub name: RefName,
    pub old: Option<CommitId>,
    /// `None` where it was removed.
    pub new: Option<CommitId>,
}

impl RefOutcome {
    /// Tells whether it was elsewhere before.
    pub fn moved(&self) -> bool {
        self.old != self.new
    }
}

/// What came of a push or pull.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    pub refs: Vec<RefOutcome>,
    pub commits: Vec<CommitId>,
    /// Objects that were not there before.
    pub objects: u64,
    /// Bytes of what was stored: the pack of a store, the bundle of a site.
    pub stored_bytes: u64,
    pub traffic: Traffic,
}

impl Rules {
    /// Tells whether a ref may leave where it is. `knows` says whether whoever moves it knew of that.
    pub(super) fn allow(&self, found: Option<&CommitId>, knows: impl Fn(&CommitId) -> bool) -> bool {
        match (&self.expect, found) {
            (Some(expected), found) => expected.as_ref() == found,
            (None, _) if self.force => true,
            (None, None) => true,
            (None, Some(found)) => knows(found),
        }
    }
}

/// Tells whether a ref of a store ever led there, as far as its log goes back.
pub(super) fn has_led(store: &Store, name: &RefName, commit: &CommitId) -> Result<bool> {
    let log = store.log(name).map_err(RemoteError::from)?;
    Ok(log.iter().any(|entry| entry.value.commit == *commit || entry.value.previous == Some(*commit)))
}

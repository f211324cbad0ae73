//! One ref of a site, for whoever keeps no refs: asked for, and brought into a transaction.

use super::error::{RemoteError, Result};
use super::far::Far;
use super::settings::Remote;
use super::site::{self, Said};
use super::site_pull;
use super::transport::{Line, Transport};
use crate::base::CommitId;
use crate::store::{RefName, Store, Transaction};
use crate::trust::Seen;

/// What a site said of a ref: signed by who is trusted, not older than what was seen, not expired.
pub struct Answer {
    transport: Box<dyn Transport>,
    said: Said,
    seen: Seen,
    commit: CommitId,
}

/// Asks a site where a ref leads. Nothing is remembered: that is the caller's, by [`Answer::seen`].
pub fn ask(remote: &Remote, name: &RefName, line: &Line) -> Result<Answer> {
    let Far::Site(transport) = Far::open(&remote.settings.address, line)? else {
        let problem = "it is a store, of which nobody can have signed what it says".to_owned();
        return Err(RemoteError::NotThere { remote: remote.shown(), expected: "site", problem });
    };
    let trusted = remote.settings.trusted()?.ok_or_else(|| RemoteError::NoKey { remote: remote.shown() })?;
    let said = site::read(&*transport, remote, &trusted, false)?.ok_or_else(|| site::no_index(remote))?;
    let seen = said.seen.clone().ok_or_else(|| RemoteError::NoKey { remote: remote.shown() })?;
    let missing = || RemoteError::Missing { remote: remote.shown(), what: format!("ref {name}") };
    let commit = *said.refs(remote)?.get(name).ok_or_else(missing)?;
    Ok(Answer { transport, said, seen, commit })
}

impl Answer {
    /// Returns where the ref leads.
    pub fn commit(&self) -> CommitId {
        self.commit
    }

    /// Returns what is to be remembered of the index, so that no older one is accepted after it.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Brings what the commit leads to into a transaction, as far as it is not there. Transfers that were cut are
    /// taken up where the store kept what came.
    pub fn fetch(
        &self,
        store: &Store,
        transaction: &Transaction<'_>,
        remote: &Remote,
        line: &Line,
    ) -> Result<()> {
        let wanted = [self.commit];
        site_pull::fetch_all(store, transaction, &*self.transport, remote, &self.said, &wanted, line)?;
        Ok(())
    }

    /// Reads a small file of the site, of at most so many bytes; `None` where there is none.
    pub fn read(&self, path: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>> {
        Ok(self.transport.read(path, limit_bytes)?.map(|found| found.bytes))
    }
}

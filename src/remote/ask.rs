//! One ref of a site, for whoever keeps no refs: asked for, and brought into a transaction.

use super::error::{RemoteError, Result};
use super::far::Far;
use super::settings::Remote;
use super::site::{self, Said};
use super::site_pull;
use super::transport::{Line, Traffic, Transport};
use crate::base::CommitId;
use crate::store::{RefName, Store, Transaction};
use crate::trust::{RELEASE_BYTES_MAX, Seen};

/// What a site said of a ref: signed by who is trusted, not older than what was seen, not expired.
pub struct Answer {
    line: Line,
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
    Ok(Answer { line: line.clone(), transport, said, seen, commit })
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
    pub fn fetch(&self, store: &Store, transaction: &Transaction<'_>, remote: &Remote) -> Result<()> {
        let (wanted, line) = ([self.commit], &self.line);
        site_pull::fetch_all(store, transaction, &*self.transport, remote, &self.said, &wanted, line)?;
        Ok(())
    }

    /// Reads the release of the commit, of which nobody has checked a byte; `None` where it has none.
    pub fn release(&self) -> Result<Option<Vec<u8>>> {
        let found = self.transport.read(&release_path(&self.commit), RELEASE_BYTES_MAX as u64)?;
        Ok(found.map(|found| found.bytes))
    }

    /// Returns what went over the wire so far.
    pub fn traffic(&self) -> Traffic {
        self.line.traffic()
    }
}

/// Publishes the signed release of a commit at a site. One that is there already stays.
pub fn publish_release(remote: &Remote, commit: &CommitId, release: Vec<u8>, line: &Line) -> Result<()> {
    if let Far::Site(transport) = Far::open_to_write(&remote.settings.address, line)? {
        transport.create(&release_path(commit), &mut std::io::Cursor::new(release))?;
    }
    Ok(())
}

/// Returns where the release of a commit lies at a site.
fn release_path(commit: &CommitId) -> String {
    format!("releases/{commit}")
}

//! The verbs: what is asked is the same, whatever the far end is.

use std::collections::{BTreeMap, BTreeSet};

use super::between;
use super::error::{RemoteError, Result};
use super::far::Far;
use super::outcome::{Outcome, Pushed, Rules, Wants};
use super::settings::Remote;
use super::site;
use super::site_prune::Pruned;
use super::site_pull;
use super::site_push::{Publishing, Push};
use super::transport::Line;
use crate::base::CommitId;
use crate::store::{RefName, Store, StoreError};

/// How often a transfer begins that a collector overtakes.
const TRIES: u32 = 3;

/// Moves refs of the far end to commits of this store, after all that these lead to, and removes those that `rules`
/// names: all of it or nothing. `publishing` is for sites.
///
/// # Errors
/// [`RemoteError::Moved`] where a ref is elsewhere than its pusher knows; nothing moved then.
pub fn push(
    store: &Store,
    remote: &mut Remote,
    pushed: &[Pushed],
    rules: &Rules,
    publishing: Option<&Publishing<'_>>,
    line: &Line,
) -> Result<Outcome> {
    let far = Far::open_to_write(&remote.settings.address, line)?;
    push_to(store, &far, remote, pushed, rules, publishing, line)
}

/// Does what [`push`] does, to a far end that is open already.
pub fn push_to(
    store: &Store,
    far: &Far,
    remote: &mut Remote,
    pushed: &[Pushed],
    rules: &Rules,
    publishing: Option<&Publishing<'_>>,
    line: &Line,
) -> Result<Outcome> {
    refuse_twice(pushed, rules)?;
    match far {
        Far::Store(far) => again(|| between::push(store, far, remote, pushed, rules, line)),
        Far::Site(transport) => {
            let nobody = || RemoteError::NoSigner { remote: remote.shown() };
            let publishing = publishing.ok_or_else(nobody)?;
            Push { store, transport: &**transport, pushed, rules, publishing, line }.run(remote)
        }
    }
}

/// Refuses to do two things to one ref.
fn refuse_twice(pushed: &[Pushed], rules: &Rules) -> Result<()> {
    let mut seen = BTreeSet::new();
    match rules.remove.iter().chain(pushed.iter().map(|wanted| &wanted.name)).find(|name| !seen.insert(*name))
    {
        Some(name) => Err(StoreError::RefTwice { name: name.clone() }.into()),
        None => Ok(()),
    }
}

/// Takes from a site what its refs don't need: out of the index now, and away once no index has named it for
/// `grace_seconds`. With `dry_run` nothing is written, and what would be done comes back.
///
/// # Errors
/// [`RemoteError::Raced`] where others publish all the time. What was done then was right, and doing it again ends it.
pub fn prune(
    store: &Store,
    remote: &mut Remote,
    publishing: &Publishing<'_>,
    grace_seconds: u64,
    dry_run: bool,
    line: &Line,
) -> Result<Pruned> {
    let far = Far::open_to_write(&remote.settings.address, line)?;
    prune_at(store, &far, remote, publishing, grace_seconds, dry_run, line)
}

/// Does what [`prune`] does, at a far end that is open already.
pub fn prune_at(
    store: &Store,
    far: &Far,
    remote: &mut Remote,
    publishing: &Publishing<'_>,
    grace_seconds: u64,
    dry_run: bool,
    line: &Line,
) -> Result<Pruned> {
    let Far::Site(transport) = far else {
        let problem = "it is a store, and has `mkimage gc` of its own".to_owned();
        return Err(RemoteError::NotThere { remote: remote.shown(), expected: "site", problem });
    };
    if publishing.signers.is_empty() && !dry_run {
        return Err(RemoteError::NoSigner { remote: remote.shown() });
    }
    let (transport, rules) = (&**transport, &Rules::default());
    Push { store, transport, pushed: &[], rules, publishing, line }.prune(remote, grace_seconds, dry_run)
}

/// Begins again where a collector took what was relied on: this process was stopped for too long.
fn again(mut attempt: impl FnMut() -> Result<Outcome>) -> Result<Outcome> {
    for _ in 1..TRIES {
        match attempt() {
            Err(RemoteError::Store(StoreError::Expired)) => {}
            done => return done,
        }
    }
    attempt()
}

/// Brings refs and commits of the far end here, and moves the local refs of the same names.
///
/// # Errors
/// [`RemoteError::Diverged`] where a local ref was moved by somebody else; nothing moved then.
pub fn pull(
    store: &Store,
    remote: &mut Remote,
    wants: &Wants,
    rules: &Rules,
    line: &Line,
) -> Result<Outcome> {
    let far = Far::open(&remote.settings.address, line)?;
    pull_from(store, &far, remote, wants, rules, line)
}

/// Does what [`pull`] does, from a far end that is open already.
pub fn pull_from(
    store: &Store,
    far: &Far,
    remote: &mut Remote,
    wants: &Wants,
    rules: &Rules,
    line: &Line,
) -> Result<Outcome> {
    match far {
        Far::Store(far) => again(|| between::pull(store, far, remote, wants, rules, line)),
        Far::Site(transport) => again(|| site_pull::pull(store, &**transport, remote, wants, rules, line)),
    }
}

/// Reads where the refs of the far end lead. Of a site, somebody who is trusted must have said so.
pub fn refs(remote: &Remote, line: &Line) -> Result<BTreeMap<RefName, CommitId>> {
    match Far::open(&remote.settings.address, line)? {
        Far::Store(far) => Ok(far.refs()?.into_iter().map(|(name, value)| (name, value.commit)).collect()),
        Far::Site(transport) => {
            let trusted = remote.settings.trusted()?;
            let trusted = trusted.ok_or_else(|| RemoteError::NoKey { remote: remote.shown() })?;
            let said = site::read(&*transport, remote, &trusted, false)?;
            said.ok_or_else(|| site::no_index(remote))?.refs(remote)
        }
    }
}

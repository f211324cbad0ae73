//! From store to store, both in directories of this machine: the reader holds what it reads, the writer takes
//! part like any other.

use super::closure;
use super::error::{RemoteError, Result};
use super::local::Moves;
use super::outcome::{Outcome, Pushed, RefOutcome, Rules, Wants, has_led};
use super::settings::Remote;
use super::transport::Line;
use crate::base::CommitId;
use crate::store::{Expected, Hold, Objects, RefName, RefUpdate, RefValue, Store, StoreError};

/// Pushes refs to the store `far`.
pub(super) fn push(
    store: &Store,
    far: &Store,
    remote: &mut Remote,
    pushed: &[Pushed],
    rules: &Rules,
    line: &Line,
) -> Result<Outcome> {
    let mut updates = Vec::new();
    let mut olds = Vec::new();
    for wanted in pushed {
        let found = far.read_ref(&wanted.name)?;
        allow_push(store, far, remote, wanted, found.as_ref(), rules)?;
        let (name, expected) = (wanted.name.clone(), Expected::of(found.as_ref()));
        updates.push(RefUpdate { name, expected, new: wanted.commit });
        olds.push(found.map(|value| value.commit));
    }
    let commits: Vec<CommitId> = pushed.iter().map(|wanted| wanted.commit).collect();
    let _hold = hold(store, &commits)?;
    let transaction = far.begin(&line.job);
    closure::copy(store, &transaction, &commits, line)?;
    let committed = transaction.commit(&updates, "push")?;
    remote.remember(store, &line.job, |settings| {
        pushed.iter().for_each(|wanted| settings.note_ref(&wanted.name, wanted.commit));
        Ok(())
    })?;
    let refs = pushed.iter().zip(olds);
    let refs =
        refs.map(|(wanted, old)| RefOutcome { name: wanted.name.clone(), old, new: Some(wanted.commit) });
    let (refs, objects, stored_bytes) = (refs.collect(), committed.objects, committed.bytes);
    Ok(Outcome { refs, commits, objects, stored_bytes, traffic: line.traffic() })
}

/// Keeps what is read from being collected meanwhile. Who may only read a store does without: a collector leaves
/// what refs led to of late in the trash, where it is still read.
fn hold(store: &Store, commits: &[CommitId]) -> Result<Option<Hold>> {
    match store.hold(commits) {
        Err(error) if error.is_read_only() || matches!(error, StoreError::Foreign { .. }) => Ok(None),
        hold => Ok(Some(hold?)),
    }
}

/// Refuses to move a ref of the far end away from where its pusher never saw it.
fn allow_push(
    store: &Store,
    far: &Store,
    remote: &Remote,
    wanted: &Pushed,
    found: Option<&RefValue>,
    rules: &Rules,
) -> Result<()> {
    let found = found.map(|value| value.commit);
    if found == Some(wanted.commit) {
        return Ok(());
    }
    let source = wanted.source.as_ref().unwrap_or(&wanted.name);
    let knows = |commit: &CommitId| {
        remote.settings.knew(&wanted.name, commit)
            || has_led(store, source, commit).unwrap_or(false)
            || closure::follows(store, &wanted.commit, commit)
            || closure::follows(far, &wanted.commit, commit)
    };
    match rules.allow(found.as_ref(), knows) {
        true => Ok(()),
        false => Err(moved(remote, wanted, found, rules)),
    }
}

pub(super) fn moved(remote: &Remote, wanted: &Pushed, found: Option<CommitId>, rules: &Rules) -> RemoteError {
    let known = remote.settings.refs.get(&wanted.name).and_then(|values| values.first().copied());
    let expected = rules.expect.unwrap_or(known);
    RemoteError::Moved { remote: remote.shown(), name: wanted.name.clone(), expected, found }
}

/// Pulls from the store `far`.
pub(super) fn pull(
    store: &Store,
    far: &Store,
    remote: &mut Remote,
    wants: &Wants,
    rules: &Rules,
    line: &Line,
) -> Result<Outcome> {
    let there = far.refs()?.into_iter().map(|(name, value)| (name, value.commit)).collect();
    let moves = Moves::new(remote, wants, rules, &there)?;
    if let Some(id) = moves.commits.iter().find(|id| !far.has(&id.0)) {
        let (remote, what) = (remote.shown(), format!("commit {id}"));
        return Err(RemoteError::Missing { remote, what });
    }
    let _hold = hold(far, &moves.commits)?;
    let transaction = store.begin(&line.job);
    closure::copy(far, &transaction, &moves.commits, line)?;
    let has_led = |name: &RefName, commit: &CommitId| has_led(far, name, commit);
    let moves = moves.plan(store, far, remote, &has_led)?;
    remote.remember(store, &line.job, |settings| {
        moves.note(settings);
        Ok(())
    })?;
    moves.make(transaction, remote, line)
}

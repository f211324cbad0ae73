//! From store to store, both in directories of this machine: the reader holds what it reads, the writer takes
//! part like any other.

use super::closure;
use super::error::{RemoteError, Result};
use super::outcome::{Outcome, Pushed, RefMove, Rules, Want, has_led};
use super::settings::Remote;
use super::transport::Line;
use crate::base::CommitId;
use crate::store::{Committed, Expected, Objects, RefName, RefUpdate, RefValue, Store};

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
        olds.push(found);
    }
    let commits: Vec<CommitId> = pushed.iter().map(|wanted| wanted.commit).collect();
    let transaction = far.begin(&line.job);
    closure::copy(store, &transaction, &commits, line)?;
    let committed = transaction.commit(&updates, "push")?;
    remote.remember(store, &line.job, |settings| {
        pushed.iter().for_each(|wanted| settings.note_ref(&wanted.name, wanted.commit));
        Ok(())
    })?;
    Ok(outcome(committed, &olds, commits, line))
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
    wants: &[Want],
    rules: &Rules,
    line: &Line,
) -> Result<Outcome> {
    let (mut refs, mut commits) = (Vec::new(), Vec::new());
    for want in wants {
        match want {
            Want::Ref(name) => {
                let value = far.read_ref(name)?.ok_or_else(|| missing(remote, name))?;
                commits.push(value.commit);
                refs.push((name.clone(), value.commit));
            }
            Want::Commit(id) if far.has(&id.0) => commits.push(*id),
            Want::Commit(id) => {
                let (remote, what) = (remote.shown(), format!("commit {id}"));
                return Err(RemoteError::Missing { remote, what });
            }
        }
    }
    let transaction = store.begin(&line.job);
    closure::copy(far, &transaction, &commits, line)?;
    let has_led = |name: &RefName, commit: &CommitId| has_led(far, name, commit);
    let (updates, olds) = updates(store, far, remote, &refs, rules, &has_led)?;
    remember(store, remote, &refs, line)?;
    let committed = transaction.commit(&updates, &format!("pull {}", remote.shown()))?;
    Ok(outcome(committed, &olds, commits, line))
}

pub(super) fn missing(remote: &Remote, name: &RefName) -> RemoteError {
    RemoteError::Missing { remote: remote.shown(), what: format!("ref {name}") }
}

/// Writes down where refs of the far end lead, before the local ones follow.
pub(super) fn remember(
    store: &Store,
    remote: &mut Remote,
    refs: &[(RefName, CommitId)],
    line: &Line,
) -> Result<()> {
    remote.remember(store, &line.job, |settings| {
        refs.iter().for_each(|(name, commit)| settings.note_ref(name, *commit));
        Ok(())
    })
}

/// Moves that a pull makes here, and where the refs were. A local ref that was moved by anybody else than this
/// remote stays where it is: its work would be lost from sight.
pub(super) fn updates(
    store: &Store,
    objects: &dyn Objects,
    remote: &Remote,
    refs: &[(RefName, CommitId)],
    rules: &Rules,
    has_led: &dyn Fn(&RefName, &CommitId) -> Result<bool>,
) -> Result<(Vec<RefUpdate>, Vec<Option<RefValue>>)> {
    let (mut updates, mut olds) = (Vec::new(), Vec::new());
    for (name, there) in refs {
        let here = store.read_ref(name)?;
        let commit = here.map(|value| value.commit);
        let knows = |here: &CommitId| {
            here == there
                || remote.settings.knew(name, here)
                || has_led(name, here).unwrap_or(false)
                || closure::follows(objects, there, here)
        };
        if !rules.allow(commit.as_ref(), knows) {
            let (remote, name) = (remote.shown(), name.clone());
            return Err(RemoteError::Diverged { remote, name, here: commit, there: *there });
        }
        updates.push(RefUpdate { name: name.clone(), expected: Expected::of(here.as_ref()), new: *there });
        olds.push(here);
    }
    Ok((updates, olds))
}

pub(super) fn outcome(
    committed: Committed,
    olds: &[Option<RefValue>],
    commits: Vec<CommitId>,
    line: &Line,
) -> Outcome {
    let refs = committed.refs.iter().zip(olds).map(|(change, old)| {
        let (name, old) = (change.name.clone(), old.map(|value| value.commit));
        RefMove { name, old, new: Some(change.value.commit) }
    });
    let (refs, objects, stored_bytes) = (refs.collect(), committed.objects, committed.bytes);
    Outcome { refs, commits, objects, stored_bytes, traffic: line.traffic() }
}

//! From store to store, both in directories of this machine: the reader holds what it reads, the writer takes
//! part like any other.

use super::closure;
use super::error::{RemoteError, Result};
use super::local::Moves;
use super::outcome::{Outcome, Pushed, RefOutcome, Rules, Wants, has_led};
use super::settings::Remote;
use super::transport::Line;
use crate::base::CommitId;
use crate::store::{Expected, RefMove, RefName, Store};

/// Pushes refs to the store `far`.
pub(super) fn push(
    store: &Store,
    far: &Store,
    remote: &mut Remote,
    pushed: &[Pushed],
    rules: &Rules,
    line: &Line,
) -> Result<Outcome> {
    let ends = Ends { store, far, remote, rules };
    let (moves, refs) = ends.moves(pushed)?;
    let commits: Vec<CommitId> = pushed.iter().map(|wanted| wanted.commit).collect();
    let _hold = store.try_hold(&commits)?;
    let transaction = far.begin(&line.job);
    closure::copy(store, &transaction, &commits, line)?;
    let committed = transaction.commit_moves(&moves, "push")?;
    remote.remember(store, &line.job, |settings| {
        pushed.iter().for_each(|wanted| settings.note_ref(&wanted.name, wanted.commit));
        rules.remove.iter().for_each(|name| drop(settings.refs.remove(name)));
        Ok(())
    })?;
    let (objects, stored_bytes) = (committed.objects, committed.bytes);
    Ok(Outcome { refs, commits, objects, stored_bytes, traffic: line.traffic() })
}

/// Both ends of a push, and what it may do.
struct Ends<'a> {
    store: &'a Store,
    far: &'a Store,
    remote: &'a Remote,
    rules: &'a Rules,
}

impl Ends<'_> {
    /// Says how the refs of the far end move, and where they were.
    fn moves(&self, pushed: &[Pushed]) -> Result<(Vec<RefMove>, Vec<RefOutcome>)> {
        let removed = self.rules.remove.iter().map(|name| (name, name, None));
        let moved = pushed.iter().map(|wanted| {
            (&wanted.name, wanted.source.as_ref().unwrap_or(&wanted.name), Some(wanted.commit))
        });
        let (mut moves, mut refs) = (Vec::new(), Vec::new());
        for (name, source, new) in removed.chain(moved) {
            let found = self.far.read_ref(name)?;
            if found.is_none() && new.is_none() {
                let (remote, what) = (self.remote.shown(), format!("ref {name}"));
                return Err(RemoteError::Missing { remote, what });
            }
            let old = found.map(|value| value.commit);
            self.allow(name, source, new, old)?;
            moves.push(RefMove { name: name.clone(), expected: Expected::of(found.as_ref()), new });
            refs.push(RefOutcome { name: name.clone(), old, new });
        }
        Ok((moves, refs))
    }

    /// Refuses to move a ref of the far end away from where its pusher never saw it.
    fn allow(
        &self,
        name: &RefName,
        source: &RefName,
        new: Option<CommitId>,
        found: Option<CommitId>,
    ) -> Result<()> {
        let follows = |commit: &CommitId| {
            new.is_some_and(|new| {
                closure::follows(self.store, &new, commit) || closure::follows(self.far, &new, commit)
            })
        };
        let knows = |commit: &CommitId| {
            self.remote.settings.knew(name, commit)
                || has_led(self.store, source, commit).unwrap_or(false)
                || follows(commit)
        };
        match found == new || self.rules.allow(found.as_ref(), knows) {
            true => Ok(()),
            false => Err(moved(self.remote, name, found, self.rules)),
        }
    }
}

pub(super) fn moved(remote: &Remote, name: &RefName, found: Option<CommitId>, rules: &Rules) -> RemoteError {
    let known = remote.settings.refs.get(name).and_then(|values| values.first().copied());
    let expected = rules.expect.unwrap_or(known);
    RemoteError::Moved { remote: remote.shown(), name: name.clone(), expected, found }
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
    if let Some(id) = moves.commits.iter().find(|id| !far.has_by_now(&id.0)) {
        let (remote, what) = (remote.shown(), format!("commit {id}"));
        return Err(RemoteError::Missing { remote, what });
    }
    let _hold = far.try_hold(&moves.commits)?;
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

//! Which refs of this store follow a far end, and which stay where somebody moved them.

use std::collections::{BTreeMap, BTreeSet};

use super::closure;
use super::error::{RemoteError, Result};
use super::outcome::{Outcome, RefOutcome, Rules, Want, Wants};
use super::settings::{Remote, RemoteSettings};
use super::transport::Line;
use crate::base::CommitId;
use crate::store::{Expected, Objects, RefMove, RefName, Store, Transaction};

/// What is asked of a far end whose refs are known.
pub(super) struct Moves<'a> {
    rules: &'a Rules,
    refs: Vec<(RefName, CommitId)>,
    /// All that is to be here afterwards.
    pub commits: Vec<CommitId>,
    prune: bool,
}

/// What is to happen to the refs here.
pub(super) struct Planned {
    moves: Vec<RefMove>,
    refs: Vec<RefOutcome>,
    commits: Vec<CommitId>,
}

impl<'a> Moves<'a> {
    /// Finds what is wanted among what is there.
    pub fn new(
        remote: &Remote,
        wants: &Wants,
        rules: &'a Rules,
        there: &BTreeMap<RefName, CommitId>,
    ) -> Result<Self> {
        let mut moves = Moves { rules, refs: Vec::new(), commits: Vec::new(), prune: false };
        match wants {
            Wants::All => {
                moves.refs = there.iter().map(|(name, commit)| (name.clone(), *commit)).collect();
                moves.prune = rules.prune;
            }
            Wants::These(wants) => {
                for want in wants {
                    match want {
                        Want::Commit(id) => moves.commits.push(*id),
                        Want::Ref(name) => {
                            let missing = || RemoteError::Missing {
                                remote: remote.shown(),
                                what: format!("ref {name}"),
                            };
                            let wanted = (name.clone(), *there.get(name).ok_or_else(missing)?);
                            if !moves.refs.contains(&wanted) {
                                moves.refs.push(wanted);
                            }
                        }
                    }
                }
            }
        }
        let mut seen: BTreeSet<CommitId> = moves.commits.iter().copied().collect();
        let of_refs = moves.refs.iter().map(|(_, commit)| *commit).filter(|commit| seen.insert(*commit));
        moves.commits.extend(of_refs);
        Ok(moves)
    }

    /// Holds the moves against where the refs are here. One that was moved by anybody else than this remote stays
    /// where it is: its work would be lost from sight. `has_led` tells of the far end's own past.
    pub fn plan(
        self,
        store: &Store,
        objects: &dyn Objects,
        remote: &Remote,
        has_led: &dyn Fn(&RefName, &CommitId) -> Result<bool>,
    ) -> Result<Planned> {
        let mut planned = Planned { moves: Vec::new(), refs: Vec::new(), commits: self.commits };
        for (name, there) in &self.refs {
            let here = store.read_ref(name)?;
            let commit = here.map(|value| value.commit);
            let knows = |here: &CommitId| {
                here == there
                    || remote.settings.knew(name, here)
                    || has_led(name, here).unwrap_or(false)
                    || closure::follows(objects, there, here)
            };
            if !self.rules.allow(commit.as_ref(), knows) {
                let (remote, name) = (remote.shown(), name.clone());
                return Err(RemoteError::Diverged { remote, name, here: commit, there: *there });
            }
            planned.add(name, Expected::of(here.as_ref()), commit, Some(*there));
        }
        if self.prune {
            for (name, value) in store.refs()? {
                if self.refs.iter().all(|(kept, _)| *kept != name) {
                    planned.add(&name, Expected::of(Some(&value)), Some(value.commit), None);
                }
            }
        }
        Ok(planned)
    }
}

impl Planned {
    fn add(&mut self, name: &RefName, expected: Expected, old: Option<CommitId>, new: Option<CommitId>) {
        self.moves.push(RefMove { name: name.clone(), expected, new });
        self.refs.push(RefOutcome { name: name.clone(), old, new });
    }

    /// Remembers where refs of the far end lead, before the local ones follow.
    pub fn note(&self, settings: &mut RemoteSettings) {
        for moved in &self.refs {
            match moved.new {
                Some(new) => settings.note_ref(&moved.name, new),
                None => drop(settings.refs.remove(&moved.name)),
            }
        }
    }

    /// Publishes what was collected and moves the refs.
    pub fn make(self, transaction: Transaction<'_>, remote: &Remote, line: &Line) -> Result<Outcome> {
        let committed = transaction.commit_moves(&self.moves, &format!("pull {}", remote.shown()))?;
        let (objects, stored_bytes, traffic) = (committed.objects, committed.bytes, line.traffic());
        Ok(Outcome { refs: self.refs, commits: self.commits, objects, stored_bytes, traffic })
    }
}

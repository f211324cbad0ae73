//! Taking moves back, and doing them again.
//!
//! An undo is a move like any other: refs lead again where they led before the oldest move that is taken
//! back, and the log says so. Undoing once more goes further back; a redo takes an undo back. Which moves
//! belonged together, and what an undo took back, stand in the logs; nothing else is kept. Commits that only
//! a log names are kept by the collector for as long as its rules say: an undo to one that is gone is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Result, StoreError};
use super::move_id::MoveId;
use super::moves::{Moves, Undoing};
use super::reflog::LogEntry;
use super::refs::{Expected, RefMove, RefName};
use super::store::Store;
use super::transaction::Committed;
use crate::base::Job;

/// Refs that moved together.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct JointMove {
    pub id: MoveId,
    /// The oldest move that this one took back.
    pub undoes: Option<MoveId>,
    /// Seconds since 1970.
    pub seconds: u64,
    pub message: String,
    /// By name.
    pub refs: Vec<(RefName, LogEntry)>,
}

/// What an undo or a redo would do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a plan changes nothing before it is carried out"]
pub struct UndoPlan {
    /// The moves that are taken back, the newest first.
    pub taken: Vec<JointMove>,
    /// Where the refs go, by name. Empty where they lead there already.
    pub moves: Vec<RefMove>,
    message: String,
    oldest: MoveId,
    /// The last move of every ref.
    tips: BTreeMap<RefName, MoveId>,
}

impl Store {
    /// Lists the moves of all refs, newest first, those of refs that were removed too. Reads all logs.
    pub fn joint_moves(&self) -> Result<Vec<JointMove>> {
        let mut found = BTreeMap::<MoveId, JointMove>::new();
        let logged: BTreeSet<RefName> =
            self.logged_refs()?.into_iter().chain(self.refs()?.into_keys()).collect();
        for name in logged {
            for entry in self.log(&name)? {
                let joint = found.entry(entry.transaction).or_insert_with(|| JointMove {
                    id: entry.transaction,
                    undoes: entry.undoes,
                    seconds: entry.value.seconds,
                    message: entry.message.clone(),
                    refs: Vec::new(),
                });
                joint.refs.push((name.clone(), entry));
            }
        }
        Ok(found.into_values().rev().collect())
    }

    /// Plans to take back the last `count` moves that were not taken back yet.
    pub fn plan_undo(&self, count: usize) -> Result<UndoPlan> {
        let all = self.joint_moves()?;
        let candidates: Vec<&JointMove> =
            Standing { left: &all }.filter(|joint| joint.undoes.is_none()).collect();
        let Some(oldest) = count.checked_sub(1).and_then(|last| candidates.get(last)) else {
            return Err(StoreError::NothingToUndo { asked: count, there: candidates.len() });
        };
        let taken: Vec<JointMove> = candidates[..count].iter().map(|joint| (*joint).clone()).collect();
        let message = match &taken[..] {
            [only] => format!("undo: {}", only.message),
            several => format!("undo of {} moves", several.len()),
        };
        Ok(plan(&all, oldest.id, taken, message))
    }

    /// Plans to take back the last undo, as long as nothing else has moved since.
    pub fn plan_redo(&self) -> Result<UndoPlan> {
        let all = self.joint_moves()?;
        let undos: BTreeSet<MoveId> = all.iter().filter(|it| it.undoes.is_some()).map(|it| it.id).collect();
        let is_redo = |joint: &JointMove| joint.undoes.is_some_and(|undone| undos.contains(&undone));
        let mut left = &all[..];
        while let Some(joint) = left.first().filter(|joint| is_redo(joint)) {
            left = before(left, joint.undoes);
        }
        match left.first().filter(|joint| joint.undoes.is_some()) {
            None => Err(StoreError::NothingToRedo),
            Some(undo) => {
                let message = format!("redo: {}", undo.message);
                Ok(plan(&all, undo.id, vec![undo.clone()], message))
            }
        }
    }

    /// Carries out a plan, as one move. Where any ref has moved since the plan was made, nothing is done: it
    /// would not be the last moves that go.
    pub fn undo(&self, job: &Job, plan: &UndoPlan) -> Result<Committed> {
        let undoes = Some(Undoing { oldest: plan.oldest, tips: &plan.tips });
        self.begin(job).commit_as(&Moves { moves: &plan.moves, message: &plan.message, undoes })
    }

    /// Refuses an undo where any ref has moved since it was planned. It may have been planned amid a move,
    /// when some of its refs had it in their logs and others not yet: that shows here too. The caller holds
    /// the lock, and journals are finished.
    pub(super) fn refuse_moved(&self, planned: &BTreeMap<RefName, MoveId>) -> Result<()> {
        let now = tips(&self.joint_moves()?);
        let all: BTreeSet<&RefName> = now.keys().chain(planned.keys()).collect();
        let moved = all.into_iter().filter(|name| now.get(*name) != planned.get(*name));
        match moved.cloned().collect::<Vec<_>>() {
            names if names.is_empty() => Ok(()),
            names => Err(StoreError::MovedSince { names }),
        }
    }
}

/// Goes back through moves, newest first, past what was taken back: an undo is seen, what it undid is not.
struct Standing<'a> {
    left: &'a [JointMove],
}

impl<'a> Iterator for Standing<'a> {
    type Item = &'a JointMove;

    fn next(&mut self) -> Option<&'a JointMove> {
        let (first, rest) = self.left.split_first()?;
        self.left = before(rest, first.undoes);
        Some(first)
    }
}

/// Leaves out the moves from `oldest` on.
fn before(moves: &[JointMove], oldest: Option<MoveId>) -> &[JointMove] {
    let Some(oldest) = oldest else { return moves };
    &moves[moves.partition_point(|joint| joint.id >= oldest)..]
}

/// Plans that refs lead again where they led before the move `oldest`.
fn plan(all: &[JointMove], oldest: MoveId, taken: Vec<JointMove>, message: String) -> UndoPlan {
    // For each ref: its newest move, and the oldest one that goes.
    let mut span = BTreeMap::<&RefName, (&LogEntry, &LogEntry)>::new();
    for joint in all.iter().take_while(|joint| joint.id >= oldest) {
        for (name, entry) in &joint.refs {
            span.entry(name).and_modify(|(_, first)| *first = entry).or_insert((entry, entry));
        }
    }
    let moves = span.into_iter().filter_map(|(name, (last, first))| {
        let now = last.state().there();
        let new = first.value.previous;
        let moves = now.map(|value| value.commit) != new;
        moves.then(|| RefMove { name: name.clone(), expected: Expected::of(now.as_ref()), new })
    });
    UndoPlan { moves: moves.collect(), taken, message, oldest, tips: tips(all) }
}

/// Returns the last move of each ref.
fn tips(all: &[JointMove]) -> BTreeMap<RefName, MoveId> {
    let mut tips = BTreeMap::new();
    for joint in all {
        for (name, _) in &joint.refs {
            tips.entry(name.clone()).or_insert(joint.id);
        }
    }
    tips
}

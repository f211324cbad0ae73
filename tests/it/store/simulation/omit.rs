//! The same record with a sync left out: something must be lost, or the sync is not needed.

use std::collections::HashSet;

use super::disk::{Piece, Protected};
use super::explore::{digest, explain, judge};
use super::record::{Recording, Step};
use crate::store::workloads::Workload;

/// Returns the kinds of sync up to the last acknowledgement, with the positions of each.
pub fn kinds(recording: &Recording) -> std::collections::BTreeMap<String, Vec<usize>> {
    let mut kinds = std::collections::BTreeMap::<String, Vec<usize>>::new();
    let end = recording.acknowledged_at.last().copied().unwrap_or(0);
    for (position, step) in recording.steps[..end].iter().enumerate() {
        if matches!(step, Step::Sync(_) | Step::SyncDirectory(_)) {
            kinds.entry(recording.label(step)).or_default().push(position);
        }
    }
    kinds
}

/// Leaves the steps at some positions out and looks for a state in which something is lost then, from the
/// position `first` on; says which.
pub fn lost_without(
    workload: &Workload,
    recording: &Recording,
    omitted: &[usize],
    first: usize,
) -> Option<String> {
    let mut disk = recording.before.clone();
    let mut at_risk = Vec::new();
    let mut known = HashSet::new();
    for position in 0..=recording.steps.len() {
        if position >= first && !at_risk.is_empty() {
            let pieces = disk.pieces();
            for choice in losses(&pieces, &at_risk) {
                let remains = disk.cut(&pieces, &choice);
                if known.insert(digest(&remains, recording.acknowledged(position)))
                    && let Err(problem) = judge(workload, recording, position, &remains, false)
                {
                    return Some(explain(recording, position, "(left out)", &problem));
                }
            }
        }
        match recording.steps.get(position) {
            Some(step) if omitted.contains(&position) => at_risk.extend(disk.protected(step)),
            Some(step) => disk.apply(step),
            None => {}
        }
    }
    None
}

/// Outcomes in which what the omitted syncs protected is lost, as a whole or piece by piece; none where it
/// has become durable all the same.
fn losses(pieces: &[Piece], at_risk: &[Protected]) -> Vec<Vec<u8>> {
    let all: Vec<u8> = pieces.iter().map(|piece| piece.options - 1).collect();
    let covered = |at: &usize| at_risk.iter().any(|protected| protected.covers(&pieces[*at]));
    let covered: Vec<usize> = (0..pieces.len()).filter(covered).collect();
    if covered.is_empty() {
        return Vec::new();
    }
    let with = |lost: &[usize]| {
        let mut choice = all.clone();
        lost.iter().for_each(|at| choice[*at] = 0);
        choice
    };
    let mut losses = vec![with(&covered), vec![0; pieces.len()]];
    losses.extend(covered.iter().map(|at| with(&[*at])));
    losses
}

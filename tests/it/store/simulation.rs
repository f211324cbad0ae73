//! A simulated directory: every state that a power cut can leave of what writers do, tried one by one.
//!
//! The changes that a run made are recorded; from the record the states are built that a disk may be in after
//! a power cut between any two of them. In each one, refs must be as before or as after, what was
//! acknowledged must be there with all that it leads to, the check must find nothing, and the same work must
//! succeed. The same record with one sync left out must fail: a sync that nothing needs is named here, with
//! the reason why it stands in the code.

mod disk;
mod explore;
mod omit;
mod record;

pub use explore::Lot;
use explore::{Bounds, every_state_from, one_state};
use omit::{kinds, lost_without};
use record::Recording;

use super::tell;
use super::workloads::{ALL, Workload};

/// Names the state that is to be looked at alone: the last line of a failure.
const STATE: &str = "MKIMAGE_CRASH_STATE";

const QUICK: Bounds = Bounds { outcomes: 8, samples: 2, rerun_of: 16 };
const THOROUGH: Bounds = Bounds { outcomes: 1024, samples: 100, rerun_of: 4 };

fn workload(name: &str) -> &'static Workload {
    ALL.iter().find(|workload| workload.name == name).expect("a row of the table")
}

/// Tries the states of one workload, or the one that the environment names.
fn simulate(workload: &Workload, bounds: &Bounds) {
    let recording = Recording::of(workload);
    if let Ok(state) = std::env::var(STATE) {
        let mut parts = state.split(' ');
        if parts.next() == Some(workload.name) {
            let position = parts.next().and_then(|part| part.parse().ok()).expect("NAME POSITION CHOICE");
            panic!("{}", one_state(workload, &recording, position, parts.next().unwrap_or("")));
        }
        return;
    }
    let summary =
        every_state_from(workload, &recording, bounds, 0).unwrap_or_else(|problem| panic!("{problem}"));
    assert!(summary.states > recording.steps.len() as u64 / 2 && summary.exhausted > 0, "{summary:?}");
    tell(&format!("{}: {summary:?}, {bounds:?}", workload.name));
}

#[test]
fn no_power_cut_during_commits_loses_anything() {
    simulate(workload("commit"), &QUICK);
}

#[test]
fn no_power_cut_while_refs_move_together_loses_anything() {
    simulate(workload("commit-of-several-refs"), &QUICK);
}

#[test]
fn no_power_cut_while_nothing_is_new_loses_anything() {
    simulate(workload("nothing-new"), &QUICK);
}

#[test]
fn no_power_cut_while_garbage_is_collected_loses_anything() {
    simulate(workload("gc"), &QUICK);
}

#[test]
fn no_power_cut_while_packs_are_put_together_loses_anything() {
    simulate(workload("repack"), &QUICK);
}

#[test]
fn no_power_cut_during_a_push_loses_anything() {
    simulate(workload("push"), &QUICK);
    simulate(workload("publish"), &QUICK);
}

#[test]
fn no_power_cut_during_a_pull_loses_anything() {
    simulate(workload("pull"), &QUICK);
    simulate(workload("pull-from-a-site"), &QUICK);
}

/// Why a single sync may be missing in a run that nobody disturbed, and nothing is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Why {
    /// The same is synced twice; without both something is lost. The second one is for those who come after
    /// a writer that was killed in between, and a test below holds that against the record.
    Twice,
    /// Nothing is ever lost, for this reason.
    Never(&'static str),
}

const MADE_BEFORE: Why =
    Why::Never("the directory was made and synced before: this is for one that a kill left");
const GARBAGE: Why =
    Why::Never("what is in the trash is garbage; where it is lost, it is gone or not yet there");
const ONE_BOOT: Why = Why::Never("it says something to processes that live, and a power cut takes them all");

/// Syncs of which no single one is missed, by workload. A row that is not true any more fails.
const SPARE: &[(&str, &str, Why)] = &[
    ("commit", "sync directory .", Why::Twice),
    ("commit-of-several-refs", "sync directory .", MADE_BEFORE),
    ("commit-of-several-refs", "sync directory store", MADE_BEFORE),
    ("commit-of-several-refs", "sync directory store/reflog", Why::Twice),
    ("gc", "sync directory store", ONE_BOOT),
    ("gc", "sync directory store/trash", GARBAGE),
    ("gc", "sync directory store/trash/1", GARBAGE),
    ("gc", "sync directory store/trash/3", GARBAGE),
    ("push", "sync store/leases/.tmp-UNIQUE", ONE_BOOT),
    ("pull", "sync directory .", Why::Twice),
    ("publish", "sync directory .", Why::Twice),
    ("pull-from-a-site", "sync directory .", Why::Twice),
    ("pull", "sync far/leases/.tmp-UNIQUE", ONE_BOOT),
];

/// Leaves out each sync in turn: something must be lost, unless [`SPARE`] says why not.
fn expect_each_sync_to_matter(workload: &Workload) {
    let wrong = wrong_about_syncs(workload);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn wrong_about_syncs(workload: &Workload) -> Vec<String> {
    let recording = Recording::of(workload);
    let kinds = kinds(&recording);
    let (mut wrong, mut told) = (Vec::new(), Vec::new());
    // What lies above the simulated place was there before: no state without it exists.
    for (kind, positions) in kinds.iter().filter(|(kind, _)| !kind.starts_with("sync directory /")) {
        let lose =
            positions.iter().filter(|at| lost_without(workload, &recording, &[**at], 0).is_some()).count();
        let together = lose > 0 || lost_without(workload, &recording, positions, 0).is_some();
        let spare = SPARE.iter().find(|(name, label, _)| *name == workload.name && label == kind);
        let right = match spare {
            None => lose > 0,
            Some((_, _, Why::Twice)) => lose == 0 && together,
            Some((_, _, Why::Never(_))) => !together,
        };
        if !right {
            let (name, count) = (workload.name, positions.len());
            wrong.push(format!("{name}: {kind}: {lose} of {count} matter, together: {together}"));
        }
        told.push(format!(
            "    {kind}: {lose} of {}{}",
            positions.len(),
            if together { "" } else { ", never" }
        ));
    }
    assert!(kinds.len() > 1, "{}: {kinds:?}", workload.name);
    tell(&format!("{}: without one sync something is lost:\n{}", workload.name, told.join("\n")));
    wrong
}

#[test]
fn a_sync_left_out_of_a_commit_loses_something() {
    expect_each_sync_to_matter(workload("commit"));
}

#[test]
fn a_sync_left_out_while_refs_move_together_loses_something() {
    expect_each_sync_to_matter(workload("commit-of-several-refs"));
}

#[test]
fn a_sync_left_out_of_a_collection_loses_something() {
    expect_each_sync_to_matter(workload("gc"));
}

#[test]
fn a_sync_left_out_while_packs_are_put_together_loses_something() {
    expect_each_sync_to_matter(workload("repack"));
}

#[test]
fn a_sync_left_out_of_a_push_or_pull_loses_something() {
    let wrong: Vec<String> = ["push", "pull"].map(workload).into_iter().flat_map(wrong_about_syncs).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What one run synced may still be missing when it was killed before: there is a kill after which each of
/// these syncs of the second run matters.
#[test]
fn a_sync_left_out_after_a_kill_loses_something() {
    let workload = workload("commit");
    let steps = Recording::of(workload).steps.len();
    let mut waiting: Vec<&str> = SPARE
        .iter()
        .filter(|(name, _, why)| *name == workload.name && *why == Why::Twice)
        .map(|row| row.1)
        .collect();
    for position in 1..steps {
        let recording = Recording::after_kill(workload, position);
        let first = recording.acknowledged_at[0];
        let kinds = kinds(&recording);
        waiting.retain(|kind| {
            let positions = kinds.get(*kind).map_or(&[][..], |positions| positions);
            !positions.iter().any(|at| lost_without(workload, &recording, &[*at], first).is_some())
        });
    }
    assert!(waiting.is_empty(), "never missed, not even after a kill: {waiting:?}");
}

/// A run that follows a killed one acknowledges nothing that a power cut can take.
#[test]
fn no_power_cut_after_a_rerun_loses_what_it_acknowledged() {
    for workload in [workload("commit"), workload("commit-of-several-refs")] {
        let steps = Recording::of(workload).steps.len();
        for position in (1..steps).step_by(if workload.name == "commit" { 13 } else { 47 }) {
            let recording = Recording::after_kill(workload, position);
            let bounds = Bounds { outcomes: 4, samples: 2, rerun_of: u64::MAX };
            every_state_from(workload, &recording, &bounds, recording.acknowledged_at[0])
                .unwrap_or_else(|problem| panic!("killed after {position} steps, then {problem}"));
        }
    }
}

mod nightly {
    use super::*;

    #[test]
    #[ignore = "some minutes: make nightly"]
    fn a_sync_left_out_of_a_push_to_a_site_or_a_pull_from_one_loses_something() {
        let workloads = ["publish", "pull-from-a-site"].map(workload);
        let wrong: Vec<String> = workloads.into_iter().flat_map(wrong_about_syncs).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    #[ignore = "half an hour of one core: make nightly"]
    fn no_power_cut_loses_anything_however_its_pieces_combine() {
        // Each on a thread of its own, whatever the others find.
        std::thread::scope(|scope| {
            let simulate = |workload| move || simulate(workload, &THOROUGH);
            ALL.iter().for_each(|workload| drop(scope.spawn(simulate(workload))));
        });
    }
}

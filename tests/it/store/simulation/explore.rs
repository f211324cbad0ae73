//! All the states that a power cut can leave, as far as they can be counted; a sample of the others.

use std::collections::HashSet;

use super::disk::{self, Piece, Remains};
use super::record::Recording;
use crate::store::workloads::{self, Workload};

/// How many states are tried at each step.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Where a power cut has at most so many outcomes, all are tried; where it has more: all that differ in
    /// one piece from everything or nothing being kept, and as many combinations of the newest pieces.
    pub outcomes: u64,
    /// So many more are drawn by lot.
    pub samples: u64,
    /// Of so many states one is worked on again.
    pub rerun_of: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Steps before which the power was cut.
    pub positions: usize,
    /// Of these, where every outcome was tried.
    pub exhausted: usize,
    pub states: u64,
    pub reruns: u64,
}

/// Names a state so that a person can ask for it again.
fn shown(workload: &Workload, position: usize, choice: &[u8]) -> String {
    let digit = |option: &u8| char::from_digit(u32::from(*option).min(35), 36).expect("below 36");
    format!("{} {position} {}", workload.name, choice.iter().map(digit).collect::<String>())
}

/// A source of numbers that look random and are always the same.
pub struct Lot(u64);

impl Lot {
    pub fn new(seed: u64) -> Lot {
        Lot((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// Returns the outcomes to try, and whether they are all there are.
fn choices(pieces: &[Piece], bounds: &Bounds, seed: u64) -> (Vec<Vec<u8>>, bool) {
    let outcomes = |pieces: &[Piece]| {
        pieces.iter().try_fold(1u64, |product, piece| {
            product.checked_mul(u64::from(piece.options)).filter(|product| *product <= bounds.outcomes)
        })
    };
    let none = vec![0; pieces.len()];
    let all: Vec<u8> = pieces.iter().map(|piece| piece.options - 1).collect();
    if let Some(count) = outcomes(pieces) {
        return ((0..count).map(|number| combination(pieces, &none, 0, number)).collect(), true);
    }
    let mut tried = vec![none.clone(), all.clone()];
    for at in 0..pieces.len() {
        for (base, option) in [(&none, all[at]), (&all, 0)] {
            let mut choice = base.clone();
            choice[at] = option;
            tried.push(choice);
        }
    }
    let newest = (0..pieces.len()).find(|at| outcomes(&pieces[*at..]).is_some()).unwrap_or(pieces.len());
    for number in 0..outcomes(&pieces[newest..]).unwrap_or(0) {
        tried.push(combination(pieces, &none, newest, number));
        tried.push(combination(pieces, &all, newest, number));
    }
    let mut lot = Lot::new(seed);
    for _ in 0..bounds.samples {
        tried.push(pieces.iter().map(|piece| lot.below(u64::from(piece.options)) as u8).collect());
    }
    (tried, false)
}

/// Returns `base` with the pieces from `first` on as the digits of a number.
fn combination(pieces: &[Piece], base: &[u8], first: usize, mut number: u64) -> Vec<u8> {
    let mut choice = base.to_vec();
    for (option, piece) in choice.iter_mut().zip(pieces).skip(first) {
        *option = (number % u64::from(piece.options)) as u8;
        number /= u64::from(piece.options);
    }
    choice
}

pub fn digest(remains: &Remains, acknowledged: usize) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&acknowledged.to_le_bytes());
    for (path, bytes) in remains {
        hasher.update(path.as_os_str().as_encoded_bytes()).update(&[0, u8::from(bytes.is_some())]);
        let bytes = bytes.as_deref().unwrap_or_default();
        hasher.update(&bytes.len().to_le_bytes()).update(bytes);
    }
    hasher.finalize()
}

/// Cuts the power before each step from `first` on and after the last, in each of the ways that the bounds
/// allow.
pub fn every_state_from(
    workload: &Workload,
    recording: &Recording,
    bounds: &Bounds,
    first: usize,
) -> Result<Summary, String> {
    let mut disk = recording.before.clone();
    let mut summary = Summary::default();
    let mut known = HashSet::new();
    for position in 0..=recording.steps.len() {
        let pieces = disk.pieces();
        let (choices, all) = choices(&pieces, bounds, position as u64);
        summary.positions += usize::from(position >= first);
        summary.exhausted += usize::from(all && position >= first);
        for choice in choices.into_iter().filter(|_| position >= first) {
            let remains = disk.cut(&pieces, &choice);
            if known.insert(digest(&remains, recording.acknowledged(position))) {
                summary.states += 1;
                let rerun = summary.states % bounds.rerun_of == 0;
                summary.reruns += u64::from(rerun);
                let state = shown(workload, position, &choice);
                judge(workload, recording, position, &remains, rerun)
                    .map_err(|problem| explain(recording, position, &state, &problem))?;
            }
        }
        if let Some(step) = recording.steps.get(position) {
            disk.apply(step);
        }
    }
    Ok(summary)
}

pub fn judge(
    workload: &Workload,
    recording: &Recording,
    position: usize,
    remains: &Remains,
    rerun: bool,
) -> Result<(), String> {
    let left = super::super::folder();
    disk::write(remains, left.path());
    workloads::judge(
        left.path(),
        workload,
        &recording.seen,
        recording.acknowledged(position),
        recording.log,
    )?;
    if rerun { workloads::judge_rerun(left.path(), workload, &recording.seen) } else { Ok(()) }
}

pub fn explain(recording: &Recording, position: usize, state: &str, problem: &str) -> String {
    let next = recording.steps.get(position);
    let next = next.map_or("the end".to_owned(), |step| recording.label(step));
    let acknowledged = recording.acknowledged(position);
    format!(
        "a power cut before \"{next}\", {acknowledged} operations acknowledged: {problem}\n\
         Look at this state alone with MKIMAGE_CRASH_STATE='{state}'"
    )
}

/// Tries one state, by its name, and keeps the folder.
pub fn one_state(workload: &Workload, recording: &Recording, position: usize, digits: &str) -> String {
    let mut disk = recording.before.clone();
    recording.steps[..position].iter().for_each(|step| disk.apply(step));
    let choice: Vec<u8> =
        digits.chars().map(|digit| digit.to_digit(36).expect("a digit of a choice") as u8).collect();
    let pieces = disk.pieces();
    assert_eq!(pieces.len(), choice.len(), "the choice is one of another run");
    let left = super::super::folder().keep();
    disk::write(&disk.cut(&pieces, &choice), &left);
    let acknowledged = recording.acknowledged(position);
    let judged = workloads::judge(&left, workload, &recording.seen, acknowledged, recording.log)
        .and_then(|()| workloads::judge_rerun(&left, workload, &recording.seen));
    format!("{}: {pieces:?}: {judged:?}", left.display())
}

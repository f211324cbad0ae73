//! All that a power cut may leave behind: of the sectors that were written since the last flush any may have
//! landed, and any may not.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::kit::Event;
use super::model::{SECTOR, State};

/// Up to so many changed sectors between two flushes every subset is looked at.
pub const ALL_SUBSETS_MAX: usize = 10;
/// Beyond that: this many prefixes, sectors lost, sectors alone, and random subsets.
pub const SAMPLES: usize = 100;

/// A sector that a write changed: its number, what it became.
type Change = (usize, [u8; SECTOR]);

/// Visits every state that a log may leave, and the last one. Returns how many there were.
pub fn explore(base: &[u8], log: &[Event], mut visit: impl FnMut(&State<'_>, &str)) -> usize {
    let mut disk = base.to_vec();
    let mut random = StdRng::seed_from_u64(1);
    let mut states = 0;
    for (number, epoch) in epochs(log).into_iter().enumerate() {
        let (changes, starts) = changes(&disk, &epoch);
        for subset in subsets(&changes, &starts, &mut random) {
            let mut state = State::whole(&disk);
            state.changed.extend(subset.iter().map(|&index| changes[index]));
            visit(&state, &format!("epoch {number}, {} of {} sectors", subset.len(), changes.len()));
            states += 1;
        }
        for (sector, bytes) in changes {
            disk[sector * SECTOR..][..SECTOR].copy_from_slice(&bytes);
        }
    }
    visit(&State::whole(&disk), "the end");
    states + 1
}

/// What differs from a disk: sectors by their number.
pub type Picked = BTreeMap<usize, [u8; SECTOR]>;

/// Returns the sectors in which a disk differs from the first one.
pub fn differing(first: &[u8], now: &[u8]) -> Picked {
    let sectors = first.chunks(SECTOR).zip(now.chunks(SECTOR)).enumerate();
    sectors
        .filter(|(_, (old, new))| old != new)
        .map(|(sector, (_, new))| (sector, new.try_into().expect("a sector")))
        .collect()
}

/// Picks about as many states of each epoch as are asked for, spread over all, each as what differs from
/// `first`. For disks too large to look at all states of.
pub fn pick(first: &[u8], base: &[u8], log: &[Event], states: usize) -> Vec<(String, Picked)> {
    let mut now = differing(first, base);
    let mut disk = base.to_vec();
    let mut random = StdRng::seed_from_u64(2);
    let mut picked = Vec::new();
    for (number, epoch) in epochs(log).into_iter().enumerate() {
        let (changes, starts) = changes(&disk, &epoch);
        let subsets = subsets(&changes, &starts, &mut random);
        for index in 0..states.min(subsets.len()) {
            let subset = &subsets[index * subsets.len() / states.min(subsets.len())];
            let mut state = now.clone();
            state.extend(subset.iter().map(|&index| changes[index]));
            picked.push((format!("epoch {number}, {} of {} sectors", subset.len(), changes.len()), state));
        }
        for (sector, bytes) in changes {
            disk[sector * SECTOR..][..SECTOR].copy_from_slice(&bytes);
            now.insert(sector, bytes);
        }
    }
    picked
}

/// Cuts a log at its flushes: what stands in one epoch lands in any order.
fn epochs(log: &[Event]) -> Vec<Vec<(u64, &[u8])>> {
    let mut epochs = vec![Vec::new()];
    for event in log {
        match event {
            Event::Write { offset, bytes } => {
                epochs.last_mut().expect("an epoch").push((*offset, &bytes[..]))
            }
            Event::Flush => epochs.push(Vec::new()),
        }
    }
    epochs.retain(|epoch| !epoch.is_empty());
    epochs
}

/// Returns the sectors that really change, in order, and where among them a write begins.
fn changes(disk: &[u8], epoch: &[(u64, &[u8])]) -> (Vec<Change>, Vec<usize>) {
    let (mut changes, mut starts, mut now) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (offset, bytes) in epoch {
        starts.push(changes.len());
        assert!(offset.is_multiple_of(SECTOR as u64) && bytes.len().is_multiple_of(SECTOR));
        for (sector, new) in (*offset as usize / SECTOR..).zip(bytes.chunks(SECTOR)) {
            let old = now.get(&sector).copied().unwrap_or(&disk[sector * SECTOR..][..SECTOR]);
            if old != new {
                changes.push((sector, new.try_into().expect("a sector")));
                now.insert(sector, new);
            }
        }
    }
    (changes, starts)
}

fn subsets(changes: &[Change], starts: &[usize], random: &mut StdRng) -> Vec<Vec<usize>> {
    let count = changes.len();
    if count <= ALL_SUBSETS_MAX {
        let subset = |mask: usize| (0..count).filter(|index| mask >> index & 1 == 1).collect();
        return (0..1 << count).map(subset).collect();
    }
    let mut subsets: Vec<Vec<usize>> = Vec::new();
    // Every prefix of whole writes, and writes that are torn at any sector.
    let torn = (0..SAMPLES).map(|_| random.gen_range(0..count)).collect::<Vec<_>>();
    subsets.extend(starts.iter().chain(&torn).chain(&[count]).map(|&end| (0..end).collect()));
    // The last sectors are where a switch stands that was not kept apart by a flush.
    let mut each = sample(count, random);
    each.extend(count.saturating_sub(8)..count);
    for &index in &each {
        subsets.push((0..count).filter(|&other| other != index).collect());
        subsets.push(vec![index]);
    }
    for _ in 0..SAMPLES {
        let share = random.gen_range(0.02..0.98);
        subsets.push((0..count).filter(|_| random.gen_bool(share)).collect());
    }
    subsets
}

fn sample(count: usize, random: &mut StdRng) -> Vec<usize> {
    match count <= SAMPLES {
        true => (0..count).collect(),
        false => (0..SAMPLES).map(|_| random.gen_range(0..count)).collect(),
    }
}

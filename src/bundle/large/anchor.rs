//! Anchors: places of a file that its content chooses.

use super::super::closure::first;
use super::super::error::Result;
use crate::base::{Job, Step};
use crate::tree::{Content, ContentSource};

/// Bytes that an anchor is made of.
pub(super) const ANCHOR_BYTES: u64 = 16;
/// Read and looked through at once. No anchor reaches over the border of two.
const READ_BYTES: u64 = 4 << 20;
/// Closer anchors are left out: what repeats itself has few.
const APART_SHARE: u64 = 4;
/// About so many anchors are made of a file, or one a kibibyte where that is fewer.
const ANCHORS_BITS: u32 = 18;
const SPACING_BITS_MIN: u32 = 10;
const SPACING_BITS_MAX: u32 = 24;

/// A place, and what its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Anchor {
    /// A hash of the bytes. Equal bytes have the same; others nearly never.
    pub hash: u64,
    /// Where they begin.
    pub place: u64,
}

/// Returns the logarithm of how far apart the anchors of a file are, on average.
pub(super) fn spacing_bits(size: u64) -> u32 {
    size.max(1).ilog2().saturating_sub(ANCHORS_BITS).clamp(SPACING_BITS_MIN, SPACING_BITS_MAX)
}

/// Finds the anchors of a file, ascending. Reads it once, in parallel, some mebibytes a worker at a time.
pub(super) fn anchors(
    source: &dyn ContentSource,
    content: &Content,
    bits: u32,
    job: &Job,
    step: &Step,
) -> Result<Vec<Anchor>> {
    let starts: Vec<u64> = (0..content.size).step_by(READ_BYTES as usize).collect();
    let found = job.workers.try_map(starts, |start| -> Result<Vec<Anchor>> {
        job.check()?;
        let mut bytes = vec![0; READ_BYTES.min(content.size - start) as usize];
        source.read_at(content, start, &mut bytes)?;
        step.advance(bytes.len() as u64);
        Ok(of(&bytes, start, bits))
    });
    Ok(found.map_err(first)?.into_iter().flatten().collect())
}

fn of(bytes: &[u8], start: u64, bits: u32) -> Vec<Anchor> {
    let apart = ((1 << bits) / APART_SHARE) as usize;
    let mut found = Vec::new();
    let (mut rolling, mut next) = (0u32, ANCHOR_BYTES as usize);
    for (at, &byte) in bytes.iter().enumerate() {
        // Each byte is shifted out after 16 others.
        rolling = (rolling << 2).wrapping_add(GEAR[byte as usize]);
        if rolling >> (32 - bits) == 0 && at + 1 >= next {
            let from = at + 1 - ANCHOR_BYTES as usize;
            found.push(Anchor { hash: hash(&bytes[from..=at]), place: start + from as u64 });
            next = at + 1 + apart;
        }
    }
    found
}

fn hash(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| word.try_into().expect("because chunks of 8 are"));
    words.fold(0x2545_f491_4f6c_dd1d, |sum, word| {
        let mixed = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 29
    })
}

/// A number for each byte: what it adds to the rolling sum. Not part of the format.
const GEAR: [u32; 256] = {
    let mut gear = [0; 256];
    let mut state = 0x853c_49e6_748f_ea9bu64;
    let mut at = 0;
    while at < 256 {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        gear[at] = (state >> 32) as u32;
        at += 1;
    }
    gear
};

/// The anchors of the old file, to be found by what they are.
pub(super) struct Known {
    sorted: Vec<Anchor>,
}

impl Known {
    pub fn new(mut anchors: Vec<Anchor>, job: &Job) -> Self {
        job.workers.sort_by_key(&mut anchors, |anchor| *anchor);
        Known { sorted: anchors }
    }

    pub fn has(&self, hash: u64, place: u64) -> bool {
        self.sorted.binary_search(&Anchor { hash, place }).is_ok()
    }

    /// Returns the place next to `near` that has the same bytes.
    pub fn nearest(&self, hash: u64, near: u64) -> Option<u64> {
        let at = self.sorted.partition_point(|anchor| *anchor < Anchor { hash, place: near });
        let behind = self.sorted.get(at);
        let before = at.checked_sub(1).map(|at| &self.sorted[at]);
        let same = [behind, before].into_iter().flatten().filter(|anchor| anchor.hash == hash);
        same.map(|anchor| anchor.place).min_by_key(|place| place.abs_diff(near))
    }
}

//! Which blocks are taken, and the search for a free unit: 2^class blocks that begin at a multiple of their number.

use super::geometry::{Geometry, Run};
use super::probe;

/// A bit for every block of a filesystem.
pub struct Space {
    blocks: u64,
    taken: Vec<u64>,
}

impl Space {
    /// Makes the space that a geometry leaves for content.
    pub fn new(geometry: &Geometry) -> Self {
        let mut space =
            Space { blocks: geometry.blocks, taken: vec![0; geometry.blocks.div_ceil(64) as usize] };
        let mut at = 0;
        for (start, length) in geometry.free().into_iter().chain([(geometry.blocks, 0)]) {
            space.take(at, start - at);
            at = start + length;
        }
        space
    }

    /// Returns the first block of a free unit: the best of those that the key names, else the next one behind the
    /// best. `None` where none is free.
    pub fn find(&self, class: u32, key: u64) -> Option<u64> {
        let units = self.blocks >> class;
        probe::find(key, units, |unit| self.is_free(unit << class, 1 << class)).map(|unit| unit << class)
    }

    pub fn take(&mut self, first: u64, count: u64) {
        for (word, mask) in words(first, count) {
            self.taken[word] |= mask;
        }
    }

    fn is_free(&self, first: u64, count: u64) -> bool {
        words(first, count).all(|(word, mask)| self.taken[word] & mask == 0)
    }

    /// Returns the runs that are left, ascending.
    pub fn free(&self) -> Vec<Run> {
        let mut free: Vec<Run> = Vec::new();
        for (word, &taken) in (0..).zip(&self.taken) {
            if taken == u64::MAX {
                continue;
            }
            for block in
                (word * 64..self.blocks.min(word * 64 + 64)).filter(|block| taken >> (block % 64) & 1 == 0)
            {
                match free.last_mut() {
                    Some((start, length)) if *start + *length == block => *length += 1,
                    _ => free.push((block, 1)),
                }
            }
        }
        free
    }
}

/// Returns the words that a run of blocks touches, each with the bits of it.
fn words(first: u64, count: u64) -> impl Iterator<Item = (usize, u64)> {
    let end = first + count;
    (first / 64..end.div_ceil(64)).filter(move |_| count > 0).map(move |word| {
        let from = first.max(word * 64) % 64;
        let length = end.min(word * 64 + 64) - first.max(word * 64);
        (word as usize, u64::MAX >> (64 - length) << from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty(blocks: u64) -> Space {
        Space { blocks, taken: vec![0; blocks.div_ceil(64) as usize] }
    }

    #[test]
    fn what_was_taken_is_not_found_again_and_all_of_it_can_be_taken() {
        for class in 0..8 {
            let mut space = empty(1000);
            let mut seen = std::collections::BTreeSet::new();
            for key in 0..1000 >> class {
                let first = space.find(class, key).expect("there is room");
                assert!(first.is_multiple_of(1 << class) && first + (1 << class) <= 1000);
                assert!(seen.insert(first), "{first} twice");
                space.take(first, 1 << class);
            }
            assert_eq!(space.find(class, 5), None, "class {class}");
            let left: u64 = space.free().iter().map(|run| run.1).sum();
            assert_eq!(left, 1000 % (1 << class));
        }
        assert_eq!(empty(5).find(3, 1), None, "no unit of eight in five blocks");
    }

    #[test]
    fn runs_that_are_left_are_those_that_nobody_took() {
        let mut space = empty(200);
        space.take(0, 1);
        space.take(60, 10);
        space.take(128, 64);
        assert_eq!(space.free(), [(1, 59), (70, 58), (192, 8)]);
    }
}

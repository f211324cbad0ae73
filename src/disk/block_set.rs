//! A set of blocks that many threads add to.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Says of each block of a device whether it is in: a bit for each.
pub struct BlockSet {
    words: Vec<AtomicU64>,
}

impl BlockSet {
    /// Makes a set with room for so many blocks, with none of them in it.
    pub fn new(count: u64) -> Self {
        BlockSet { words: (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Adds blocks, all of which there must be room for.
    pub fn add(&self, blocks: Range<u64>) {
        for block in blocks {
            self.words[(block / 64) as usize].fetch_or(1 << (block % 64), Ordering::Relaxed);
        }
    }

    /// Tells whether a block is in; one that there is no room for is not.
    pub fn has(&self, block: u64) -> bool {
        let word = self.words.get((block / 64) as usize);
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (block % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_in_and_nothing_else_is() {
        let set = BlockSet::new(130);
        set.add(62..66);
        set.add(129..130);
        let found: Vec<u64> = (0..200).filter(|&block| set.has(block)).collect();
        assert_eq!(found, [62, 63, 64, 65, 129]);
    }
}

//! A tree that is known before its blocks are written: which blocks hold what it says already, and whether what
//! is to be written is what it says.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{BLOCK, DIGEST, Hasher, READ_BLOCKS, VerityError, VerityTree};
use crate::base::Job;
use crate::base::units::BLOCK_BYTES;
use crate::disk::{BlockDevice, BlockSet};
use crate::tree::content::is_zero;

impl VerityTree {
    /// Builds the tree over the digests of all data blocks, one behind the other as [`VerityTree::leaves`] returns
    /// them. Costs a hash of 0.8 % of the data.
    pub fn from_leaves(leaves: &[u8], salt: &[u8], job: &Job) -> Result<VerityTree, VerityError> {
        let data_blocks = (leaves.len() / DIGEST) as u64;
        let mut level = Vec::with_capacity(leaves.len().next_multiple_of(BLOCK));
        level.extend_from_slice(leaves);
        level.resize(leaves.len().next_multiple_of(BLOCK), 0);
        VerityTree::over(level, data_blocks, Hasher::new(salt), job)
    }

    /// Hashes what stands above the digests of the data blocks, which fill whole hash blocks.
    pub(super) fn over(
        leaves: Vec<u8>,
        data_blocks: u64,
        hasher: Hasher,
        job: &Job,
    ) -> Result<VerityTree, VerityError> {
        if data_blocks == 0 {
            return Err(VerityError::Empty);
        }
        let zero = hasher.hash(&[0; BLOCK]);
        if data_blocks == 1 {
            let root_hash = leaves[..DIGEST].try_into().expect("because a digest has 32 bytes");
            return Ok(VerityTree { root_hash, levels: Vec::new(), data_blocks, hasher, zero });
        }
        let mut levels = vec![leaves];
        while levels[0].len() > BLOCK {
            job.check()?;
            let above = level_above(&hasher, &levels[0], job);
            levels.insert(0, above);
        }
        Ok(VerityTree { root_hash: hasher.hash(&levels[0]), levels, data_blocks, hasher, zero })
    }

    /// Returns the number of blocks that the tree stands over.
    pub fn data_blocks(&self) -> u64 {
        self.data_blocks
    }

    /// Returns the digests of all data blocks, 32 bytes each.
    pub fn leaves(&self) -> &[u8] {
        match self.levels.last() {
            Some(level) => &level[..self.data_blocks as usize * DIGEST],
            None => &self.root_hash,
        }
    }

    pub(super) fn leaf(&self, block: u64) -> &[u8] {
        &self.leaves()[block as usize * DIGEST..][..DIGEST]
    }

    /// Tells whether the tree says that a data block is zero.
    pub fn says_zero(&self, block: u64) -> bool {
        self.leaf(block) == self.zero
    }

    /// Tells whether a data block is what the tree says.
    pub fn is_right(&self, block: u64, bytes: &[u8]) -> bool {
        match is_zero(bytes) {
            true => self.says_zero(block),
            false => self.leaf(block) == self.hasher.hash(bytes),
        }
    }

    /// Returns a device that holds what is to be written against the tree, before it is.
    pub fn hold<'a>(&'a self, device: &'a dyn BlockDevice) -> Held<'a> {
        let shown = BlockSet::new(self.data_blocks);
        Held { device, tree: self, shown, is_false: AtomicBool::new(false) }
    }
}

fn level_above(hasher: &Hasher, level: &[u8], job: &Job) -> Vec<u8> {
    let piece = READ_BLOCKS as usize * BLOCK;
    let digests = job.workers.map(level.chunks(piece).collect(), |blocks: &[u8]| {
        blocks.chunks_exact(BLOCK).flat_map(|block| hasher.hash(block)).collect::<Vec<u8>>()
    });
    let mut above = digests.concat();
    above.resize(above.len().next_multiple_of(BLOCK), 0);
    above
}

/// Holds blocks that are to be written against a tree that was there before. From the first on that is another, nothing
/// is written.
pub struct Held<'a> {
    device: &'a dyn BlockDevice,
    tree: &'a VerityTree,
    shown: BlockSet,
    is_false: AtomicBool,
}

impl Held<'_> {
    /// Tells whether each block that was shown is what the tree says, and the tree says zero of each of `all` that
    /// was not.
    pub fn is_true(&self, all: impl Fn(u64) -> bool) -> bool {
        let left_out = |block: &u64| all(*block) && !self.shown.has(*block);
        !self.is_false.load(Ordering::Relaxed)
            && (0..self.tree.data_blocks).filter(left_out).all(|block| self.tree.says_zero(block))
    }
}

impl BlockDevice for Held<'_> {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset, buffer)
    }

    /// Writes whole blocks, which must lie below the tree.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        for (block, bytes) in (offset / BLOCK_BYTES..).zip(bytes.chunks_exact(BLOCK)) {
            self.shown.add(block..block + 1);
            if !self.tree.is_right(block, bytes) {
                self.is_false.store(true, Ordering::Relaxed);
            }
        }
        if self.is_false.load(Ordering::Relaxed) { Ok(()) } else { self.device.write_at(offset, bytes) }
    }

    fn flush(&self) -> io::Result<()> {
        self.device.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::VerityBuilder;
    use super::*;
    use crate::disk::{BlockObserver, MemoryDevice};

    #[test]
    fn a_tree_is_the_same_over_the_leaves_of_another() {
        let job = Job::quiet(1);
        for count in [1, 2, 128, 129, 20_000] {
            let builder = VerityBuilder::new(count, b"salt");
            builder.wrote(count / 2, &[7; BLOCK]);
            let tree = builder.finish(&job).expect("a tree");
            let again = VerityTree::from_leaves(tree.leaves(), b"salt", &job).expect("a tree");
            assert_eq!((again.root_hash, again.data_blocks()), (tree.root_hash, count));
            assert!(again.levels == tree.levels);
            for block in 0..count {
                assert_eq!(again.is_right(block, &[7; BLOCK]), block == count / 2);
                assert_eq!(again.is_right(block, &[0; BLOCK]), block != count / 2);
            }
        }
        assert!(matches!(VerityTree::from_leaves(&[], b"salt", &job), Err(VerityError::Empty)));
    }

    #[test]
    fn a_false_tree_is_found_out_by_what_is_written_and_by_what_is_not() {
        let builder = VerityBuilder::new(3, b"salt");
        builder.wrote(1, &[7; BLOCK]);
        let tree = builder.finish(&Job::quiet(1)).expect("a tree");
        let shown = |blocks: &[(u64, u8)]| {
            let device = MemoryDevice::new(3 * BLOCK_BYTES);
            let held = tree.hold(&device);
            for &(block, byte) in blocks {
                held.write_at(block * BLOCK_BYTES, &[byte; BLOCK]).expect("written");
            }
            let is_true = held.is_true(|_| true);
            (is_true, device.into_bytes().iter().filter(|&&byte| byte != 0).count() / BLOCK)
        };
        assert_eq!(shown(&[(1, 7)]), (true, 1));
        assert_eq!(shown(&[(1, 8)]), (false, 0), "another block, which is not written");
        assert_eq!(shown(&[(1, 7), (2, 7)]), (false, 1), "zero, it says");
        assert_eq!(shown(&[]), (false, 0), "not zero, it says");
    }
}

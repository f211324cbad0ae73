//! What a device holds before it is written: the digest of each block, so that a block is read once, in large pieces,
//! and yet whoever makes the new blocks in whichever order knows which of them are there already.

use std::io;
use std::sync::Mutex;

use super::{BLOCK, DIGEST, Hasher, READ_BLOCKS, VerityBuilder, VerityError, VerityTree};
use crate::base::Job;
use crate::base::job::Unit;
use crate::base::units::BLOCK_BYTES;
use crate::disk::{AlignedBuffer, BlockDevice};
use crate::tree::content::is_zero;

/// The digests of the first blocks of a device, as the last level of a verity tree over them has them.
pub struct Leaves {
    digests: Vec<u8>,
    zero: [u8; DIGEST],
}

impl Leaves {
    /// Reads so many blocks past the cache, but no holes. Takes 32 bytes of memory for each block, and a mebibyte for
    /// each thread.
    pub fn read(
        device: &dyn BlockDevice,
        data_blocks: u64,
        salt: &[u8],
        job: &Job,
    ) -> Result<Leaves, VerityError> {
        let hasher = Hasher::new(salt);
        let zero = hasher.hash(&[0; BLOCK]);
        let spare: Mutex<Vec<AlignedBuffer>> = Mutex::default();
        let step = job.step("compare", Some(data_blocks * BLOCK_BYTES), Unit::Bytes);
        let pieces = (0..data_blocks).step_by(READ_BLOCKS as usize).collect();
        let digests = job.workers.for_waiting().map(pieces, |first: u64| {
            job.check()?;
            let (count, offset) = (READ_BLOCKS.min(data_blocks - first), first * BLOCK_BYTES);
            let bytes = count as usize * BLOCK;
            step.advance(bytes as u64);
            if device.next_data(offset) >= offset + bytes as u64 {
                return Ok(zero.repeat(count as usize));
            }
            let room = spare.lock().expect("because taking a buffer can't panic").pop();
            let mut room = room.unwrap_or_else(|| AlignedBuffer::new(READ_BLOCKS as usize * BLOCK));
            let read = device.read_back_at(offset, &mut room[..bytes]);
            read.map_err(|source| VerityError::Device { doing: "reading", offset, bytes, source })?;
            let digest = |block| if is_zero(block) { zero } else { hasher.hash(block) };
            let digests: Vec<u8> = room[..bytes].chunks_exact(BLOCK).flat_map(digest).collect();
            spare.lock().expect("because giving a buffer back can't panic").push(room);
            Ok::<_, VerityError>(digests)
        });
        let digests = digests.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        Ok(Leaves { digests, zero })
    }

    fn leaf(&self, block: u64) -> &[u8] {
        &self.digests[block as usize * DIGEST..][..DIGEST]
    }

    /// Tells whether a block is zero.
    pub fn is_zero(&self, block: u64) -> bool {
        self.leaf(block) == self.zero
    }

    /// Tells whether a block is what a tree of the same salt says.
    pub fn is_right(&self, tree: &VerityTree, block: u64) -> bool {
        self.leaf(block) == tree.leaf(block)
    }
}

/// A device of which the blocks are known that it holds: those that are there already are not written. All are shown
/// to a builder, so that each is hashed once for both.
pub struct Over<'a> {
    pub device: &'a dyn BlockDevice,
    pub old: &'a Leaves,
    pub builder: &'a VerityBuilder,
}

impl BlockDevice for Over<'_> {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset, buffer)
    }

    /// Writes whole blocks, which must be among those that are known.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let first = offset / BLOCK_BYTES;
        let digests = self.builder.show(first, bytes);
        let differs = |(block, digest): &(u64, [u8; DIGEST])| self.old.leaf(*block) != digest;
        for run in digests.chunk_by(|one, next| differs(one) == differs(next)).filter(|run| differs(&run[0]))
        {
            let start = (run[0].0 - first) as usize * BLOCK;
            self.device.write_at(run[0].0 * BLOCK_BYTES, &bytes[start..start + run.len() * BLOCK])?;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.device.flush()
    }
}

//! A device of which every block that is read is held against its digest: damage costs the read that meets it.

use std::io;

use super::{BLOCK, DIGEST, READ_BLOCKS, Verifier, VerityError, check_room, levels};
use crate::base::units::BLOCK_BYTES;
use crate::disk::BlockDevice;

/// The data blocks before a verity tree, to be read only. Holds 32 bytes of memory for each of them.
///
/// Linux' own device of this kind can panic the machine at the first damaged block; this one answers with an error.
pub struct Verified<D> {
    device: D,
    salt: Vec<u8>,
    data_blocks: u64,
    leaves: Vec<u8>,
}

impl<D: BlockDevice> Verified<D> {
    /// Reads the tree at `hash_offset` and checks all of it against the root hash; of the data nothing is read yet.
    pub fn open(
        device: D,
        data_blocks: u64,
        hash_offset: u64,
        salt: &[u8],
        root_hash: &[u8; DIGEST],
    ) -> Result<Verified<D>, VerityError> {
        check_room(&device, data_blocks, hash_offset)?;
        let leaves = checked_leaves(&Verifier::new(&device, salt), data_blocks, hash_offset, root_hash)?;
        Ok(Verified { device, salt: salt.to_vec(), data_blocks, leaves })
    }

    /// Reads whole blocks from `first` on.
    fn read_blocks(&self, first: u64, blocks: &mut [u8]) -> io::Result<()> {
        self.device.read_at(first * BLOCK_BYTES, blocks)?;
        let verifier = Verifier::new(&self.device, &self.salt);
        match verifier.first_fault(blocks, &self.leaves[first as usize * DIGEST..]) {
            None => Ok(()),
            Some((position, expected, found)) => {
                let fault = VerityError::Data { block: first + position, expected, found };
                Err(io::Error::new(io::ErrorKind::InvalidData, fault))
            }
        }
    }
}

/// Checks a tree from the top down, and returns the digests of the data blocks.
pub(super) fn checked_leaves(
    verifier: &Verifier<'_>,
    data_blocks: u64,
    hash_offset: u64,
    root_hash: &[u8; DIGEST],
) -> Result<Vec<u8>, VerityError> {
    let mut expected = root_hash.to_vec();
    let mut offset = hash_offset;
    let mut first = 0;
    for width in levels(data_blocks) {
        let level = verifier.read(offset, (width * BLOCK_BYTES) as usize)?;
        if let Some((block, expected, found)) = verifier.first_fault(&level, &expected) {
            return Err(match first + block {
                0 => VerityError::Root { expected, found },
                block => {
                    VerityError::Tree { block, offset: hash_offset + block * BLOCK_BYTES, expected, found }
                }
            });
        }
        (expected, offset, first) = (level, offset + width * BLOCK_BYTES, first + width);
    }
    Ok(expected)
}

impl<D: BlockDevice> BlockDevice for Verified<D> {
    fn size(&self) -> u64 {
        self.data_blocks * BLOCK_BYTES
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.size());
        let Some(end) = end else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a read passes the last data block"));
        };
        if offset.is_multiple_of(BLOCK_BYTES) && end.is_multiple_of(BLOCK_BYTES) {
            return self.read_blocks(offset / BLOCK_BYTES, buffer);
        }
        let last = end.div_ceil(BLOCK_BYTES);
        let mut piece = vec![0; (last - offset / BLOCK_BYTES).min(READ_BLOCKS) as usize * BLOCK];
        for first in (offset / BLOCK_BYTES..last).step_by(READ_BLOCKS as usize) {
            let blocks = &mut piece[..(last - first).min(READ_BLOCKS) as usize * BLOCK];
            self.read_blocks(first, blocks)?;
            let start = first * BLOCK_BYTES;
            let (from, to) = (start.max(offset), (start + blocks.len() as u64).min(end));
            buffer[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&blocks[(from - start) as usize..(to - start) as usize]);
        }
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "what is verified is never written"))
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Job;
    use crate::disk::BlockObserver;
    use crate::disk::MemoryDevice;
    use crate::disk::verity::{VerityBuilder, tree_bytes};

    /// 300 blocks, no two alike, with their tree behind them.
    fn written() -> (MemoryDevice, Vec<u8>, [u8; DIGEST]) {
        let count = 300;
        let data: Vec<u8> = (0..count * BLOCK as u64).map(|at| (at / 512 * 31 + at) as u8).collect();
        let device = MemoryDevice::new(data.len() as u64 + tree_bytes(count));
        device.write_at(0, &data).expect("written");
        let builder = VerityBuilder::new(count, b"salt");
        builder.wrote(0, &data);
        let tree = builder.finish(&Job::quiet(1)).expect("a tree");
        tree.write(&device, data.len() as u64).expect("written");
        (device, data, tree.root_hash)
    }

    fn flip(device: &MemoryDevice, at: u64) {
        let mut byte = [0];
        device.read_at(at, &mut byte).expect("read");
        device.write_at(at, &[byte[0] ^ 1]).expect("written");
    }

    #[test]
    fn any_range_is_read_and_a_bad_block_costs_the_reads_that_meet_it() {
        let (device, data, root_hash) = written();
        flip(&device, 7 * BLOCK_BYTES + 100);
        let verified = Verified::open(device, 300, data.len() as u64, b"salt", &root_hash).expect("a tree");
        assert_eq!(verified.size(), data.len() as u64);
        let block = BLOCK_BYTES;
        for (offset, length) in [
            (0, 1),
            (0, 7 * block),
            (5 * block + 9, 2 * block - 9),
            (8 * block, 292 * block),
            (8 * block + 1, 291 * block + 5),
            (300 * block - 3, 3),
            (300 * block, 0),
        ] {
            let mut read = vec![0; length as usize];
            verified.read_at(offset, &mut read).unwrap_or_else(|error| panic!("{offset} {length}: {error}"));
            assert!(read == data[offset as usize..][..length as usize], "{offset} {length}");
        }
        for (offset, length) in
            [(7 * block + 4000, 1), (7 * block, block), (0, 300 * block), (3, 299 * block)]
        {
            let error = verified.read_at(offset, &mut vec![0; length as usize]).expect_err("a bad block");
            assert!(error.to_string().contains("data block 7 is damaged"), "{offset} {length}: {error}");
        }
        assert!(verified.read_at(300 * block - 3, &mut [0; 4]).is_err(), "the tree is no data");
        assert!(verified.write_at(0, &[0]).is_err());
    }

    #[test]
    fn a_tree_that_is_damaged_anywhere_is_refused() {
        for at in [0, BLOCK_BYTES + 40, 2 * BLOCK_BYTES, 3 * BLOCK_BYTES + 1] {
            let (device, data, root_hash) = written();
            flip(&device, data.len() as u64 + at);
            let opened = Verified::open(device, 300, data.len() as u64, b"salt", &root_hash);
            let Err(error) = opened else { panic!("byte {at} of the tree is wrong") };
            assert!(matches!(error, VerityError::Root { .. } | VerityError::Tree { .. }), "{error}");
        }
    }
}

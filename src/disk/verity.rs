//! dm-verity: a tree of SHA-256 digests over the blocks of a partition, without a superblock.
//!
//! In: blocks, as a writer shows them while they are hot ([`VerityBuilder`] is a [`BlockObserver`]), or a
//! device to check. Out: the tree and its root hash.
//!
//! On disk: what `veritysetup --no-superblock --format=1 --hash=sha256` writes and the kernel's
//! `verity` target reads (kernel documentation, `device-mapper/verity`): data and hash blocks of 4096
//! bytes; a digest is SHA-256 of salt and block, salt first; a hash block holds 128 digests, the last one
//! of a level is filled up with zeros; levels follow each other, the top one first. The root hash is the
//! digest of the top block. One data block alone has no tree: its digest is the root hash.
//!
//! Always true: a block that was never shown counts as zeros.

mod known;
mod leaves;
mod verified;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

pub use self::known::Held;
pub use self::leaves::{Leaves, Over};
pub use self::verified::Verified;
use self::verified::checked_leaves;
use super::device::{BlockDevice, BlockObserver};
use super::direct::AlignedBuffer;
use crate::base::id::hex;
use crate::base::units::BLOCK_BYTES;
use crate::base::{Blocks, Bytes, Cancelled, Job};
use crate::tree::content::is_zero;

const BLOCK: usize = BLOCK_BYTES as usize;
const DIGEST: usize = 32;
/// Digests in a hash block.
const FANOUT: u64 = (BLOCK / DIGEST) as u64;
/// Blocks that are read at once: 1 MiB.
const READ_BLOCKS: u64 = 256;

/// Says why data and tree do not belong together.
#[derive(Debug, thiserror::Error)]
pub enum VerityError {
    #[error("the root hash is {expected}, the top block of the tree hashes to {found}")]
    Root { expected: String, found: String },
    #[error(
        "block {block} of the verity tree, at byte {offset}, is damaged: expected {expected}, found {found}"
    )]
    Tree { block: u64, offset: u64, expected: String, found: String },
    #[error("data block {block} is damaged: expected {expected}, found {found}")]
    Data { block: u64, expected: String, found: String },
    #[error("a verity tree needs at least one data block")]
    Empty,
    #[error(
        "a device of {size} bytes is too short for {data_blocks} data blocks and a tree at {hash_offset}"
    )]
    TooShort { data_blocks: u64, hash_offset: u64, size: u64 },
    #[error("{doing} {bytes} bytes at {offset} for verity")]
    Device {
        doing: &'static str,
        offset: u64,
        bytes: usize,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Returns how many hash blocks each level has, the top one first.
fn levels(data_blocks: u64) -> Vec<u64> {
    let mut levels = Vec::new();
    let mut width = data_blocks;
    while width > 1 {
        width = width.div_ceil(FANOUT);
        levels.insert(0, width);
    }
    levels
}

/// Returns the length in bytes of the tree over so many data blocks.
pub fn tree_bytes(data_blocks: u64) -> u64 {
    levels(data_blocks).iter().sum::<u64>() * BLOCK_BYTES
}

/// Returns the most data blocks that have room together with their tree.
pub fn data_blocks_in(room: Bytes) -> Blocks {
    let all = room.0 / BLOCK_BYTES;
    let (mut fit, mut too_many) = (0, all + 1);
    while too_many - fit > 1 {
        let middle = fit + (too_many - fit) / 2;
        let is_fit = middle + tree_bytes(middle) / BLOCK_BYTES <= all;
        *(if is_fit { &mut fit } else { &mut too_many }) = middle;
    }
    Blocks(fit)
}

/// Hashes blocks that begin with the same salt.
struct Hasher(Sha256);

impl Hasher {
    fn new(salt: &[u8]) -> Self {
        Hasher(Sha256::new_with_prefix(salt))
    }

    fn hash(&self, block: &[u8]) -> [u8; DIGEST] {
        self.0.clone().chain_update(block).finalize().into()
    }
}

/// A hash block in the making; `None` as long as all its digests are those of zero blocks.
type HashBlock = Mutex<Option<Box<[u8; BLOCK]>>>;

/// Takes the digests of blocks while they are written, from any thread, in any order.
pub struct VerityBuilder {
    data_blocks: u64,
    hasher: Hasher,
    zero: [u8; DIGEST],
    leaves: Vec<HashBlock>,
}

impl VerityBuilder {
    /// Makes a builder for `data_blocks` blocks of 4096 bytes, all zero so far. Takes 32 bytes of memory
    /// for each of them that is shown.
    pub fn new(data_blocks: u64, salt: &[u8]) -> Self {
        let hasher = Hasher::new(salt);
        let zero = hasher.hash(&[0; BLOCK]);
        let leaves = (0..data_blocks.div_ceil(FANOUT)).map(|_| Mutex::new(None)).collect();
        VerityBuilder { data_blocks, hasher, zero, leaves }
    }

    /// Returns a hash block whose digests are all those of a zero block, of which `count` exist.
    fn zeros(&self, count: u64) -> Box<[u8; BLOCK]> {
        let mut block = Box::new([0; BLOCK]);
        block[..count as usize * DIGEST]
            .chunks_exact_mut(DIGEST)
            .for_each(|digest| digest.copy_from_slice(&self.zero));
        block
    }

    fn children(&self, leaf: u64) -> u64 {
        FANOUT.min(self.data_blocks - leaf * FANOUT)
    }

    /// Hashes what stands above the leaves.
    pub fn finish(self, job: &Job) -> Result<VerityTree, VerityError> {
        if self.data_blocks == 0 {
            return Err(VerityError::Empty);
        }
        let mut level = Vec::with_capacity(self.leaves.len() * BLOCK);
        for (leaf, block) in (0..).zip(&self.leaves) {
            let mut block = block.lock().expect("because no thread panics while it holds a hash block");
            let block = block.take().unwrap_or_else(|| self.zeros(self.children(leaf)));
            level.extend_from_slice(&block[..]);
        }
        VerityTree::over(level, self.data_blocks, self.hasher, job)
    }
}

impl VerityBuilder {
    /// Takes blocks as [`BlockObserver::wrote`] does, and returns the digest of each.
    fn show(&self, first: u64, bytes: &[u8]) -> Vec<(u64, [u8; DIGEST])> {
        let digests = (first..self.data_blocks)
            .zip(bytes.chunks_exact(BLOCK))
            .map(|(block, bytes)| (block, self.hasher.hash(bytes)))
            .collect::<Vec<_>>();
        for group in digests.chunk_by(|a, b| a.0 / FANOUT == b.0 / FANOUT) {
            let leaf = group[0].0 / FANOUT;
            let slot = &self.leaves[leaf as usize];
            let mut slot = slot.lock().expect("because no thread panics while it holds a hash block");
            let hashes = slot.get_or_insert_with(|| self.zeros(self.children(leaf)));
            for (block, digest) in group {
                let at = (*block % FANOUT) as usize * DIGEST;
                hashes[at..at + DIGEST].copy_from_slice(digest);
            }
        }
        digests
    }
}

impl BlockObserver for VerityBuilder {
    /// Blocks behind the last data block are none of its business.
    fn wrote(&self, first: u64, bytes: &[u8]) {
        self.show(first, bytes);
    }
}

/// A finished tree.
pub struct VerityTree {
    /// What the kernel command line names, and a signature covers.
    pub root_hash: [u8; DIGEST],
    levels: Vec<Vec<u8>>,
    data_blocks: u64,
    hasher: Hasher,
    zero: [u8; DIGEST],
}

impl VerityTree {
    /// Returns the length on disk: [`tree_bytes`] of the data blocks.
    pub fn size_bytes(&self) -> u64 {
        self.levels.iter().map(|level| level.len() as u64).sum()
    }

    /// Writes the tree from `offset` on.
    pub fn write(&self, device: &dyn BlockDevice, offset: u64) -> Result<(), VerityError> {
        let mut at = offset;
        for level in &self.levels {
            let written = device.write_at(at, level);
            let bytes = level.len();
            written.map_err(|source| VerityError::Device { doing: "writing", offset: at, bytes, source })?;
            at += bytes as u64;
        }
        Ok(())
    }
}

/// A tree whose blocks were all found to hash to the root hash; the data below it was not looked at.
pub struct CheckedTree<'a> {
    verifier: Verifier<'a>,
    data_blocks: u64,
    /// Where the digests of the data blocks begin on the device.
    leaves_at: u64,
    root_hash: [u8; DIGEST],
}

/// Checks the tree at `hash_offset` against the root hash, piece by piece: takes a mebibyte a worker, however
/// large the tree is. The error names the first block that is wrong, from the top down.
pub fn check_tree<'a>(
    device: &'a dyn BlockDevice,
    data_blocks: u64,
    hash_offset: u64,
    salt: &[u8],
    root_hash: &[u8; DIGEST],
    job: &Job,
) -> Result<CheckedTree<'a>, VerityError> {
    check_room(device, data_blocks, hash_offset)?;
    let verifier = Verifier::new(device, salt);
    let (mut above, mut offset, mut first) = (None, hash_offset, 0);
    for width in levels(data_blocks) {
        let pieces: Vec<u64> = (0..width).step_by(READ_BLOCKS as usize).collect();
        let checked = job.workers.map(pieces, |piece| {
            job.check()?;
            let count = READ_BLOCKS.min(width - piece);
            let at = offset + piece * BLOCK_BYTES;
            let blocks = verifier.read(at, (count * BLOCK_BYTES) as usize)?;
            let expected = match above {
                None => root_hash.to_vec(),
                Some(above) => verifier.read(above + piece * DIGEST as u64, count as usize * DIGEST)?,
            };
            let fault = verifier.first_fault(&blocks, &expected);
            fault.map_or(Ok(()), |(block, expected, found)| {
                Err(match first + piece + block {
                    0 => VerityError::Root { expected, found },
                    number => {
                        let offset = at + block * BLOCK_BYTES;
                        VerityError::Tree { block: number, offset, expected, found }
                    }
                })
            })
        });
        checked.into_iter().collect::<Result<(), VerityError>>()?;
        above = Some(offset);
        offset += width * BLOCK_BYTES;
        first += width;
    }
    let leaves_at = above.unwrap_or(hash_offset);
    Ok(CheckedTree { verifier, data_blocks, leaves_at, root_hash: *root_hash })
}

impl CheckedTree<'_> {
    /// Holds data blocks, read from block `first` on, against their digests, and returns the first that is wrong:
    /// its number, the digest expected, the one found.
    pub fn first_fault(
        &self,
        first: u64,
        blocks: &[u8],
    ) -> Result<Option<(u64, String, String)>, VerityError> {
        let count = blocks.len() / BLOCK;
        let expected = match self.data_blocks {
            1 => self.root_hash.to_vec(),
            _ => self.verifier.read(self.leaves_at + first * DIGEST as u64, count * DIGEST)?,
        };
        let fault = self.verifier.first_fault(blocks, &expected);
        Ok(fault.map(|(position, expected, found)| (first + position, expected, found)))
    }
}

/// Goes down two trees of one form and salt from their roots, and returns the blocks that differ, of the trees and of the
/// data, ascending in each: as the trees say, which must have been checked against their data. Reads what differs of the
/// trees, and takes 4 KiB beside 8 bytes for each block that differs.
pub fn differing_blocks(
    devices: [&dyn BlockDevice; 2],
    data_blocks: u64,
    hash_offset: u64,
    root_hashes: [&[u8; DIGEST]; 2],
    job: &Job,
) -> Result<Vec<u64>, VerityError> {
    devices.iter().try_for_each(|device| check_room(*device, data_blocks, hash_offset))?;
    let mut found = Vec::new();
    let mut differing: Vec<u64> = if root_hashes[0] == root_hashes[1] { Vec::new() } else { vec![0] };
    let widths = levels(data_blocks);
    let mut first = hash_offset / BLOCK_BYTES;
    for (level, width) in widths.iter().enumerate() {
        let below = widths.get(level + 1).copied().unwrap_or(data_blocks);
        let mut children = Vec::new();
        for &number in &differing {
            job.check()?;
            let [one, other] =
                devices.map(|device| Verifier::new(device, &[]).read((first + number) * BLOCK_BYTES, BLOCK));
            let (one, other) = (one?, other?);
            let digests = one.chunks_exact(DIGEST).zip(other.chunks_exact(DIGEST));
            let children_here = (number * FANOUT..below).zip(digests);
            children.extend(children_here.filter(|(_, (one, other))| one != other).map(|(child, _)| child));
        }
        found.extend(differing.iter().map(|number| first + number));
        (differing, first) = (children, first + width);
    }
    found.extend(differing);
    found.sort_unstable();
    Ok(found)
}

fn check_room(device: &dyn BlockDevice, data_blocks: u64, hash_offset: u64) -> Result<(), VerityError> {
    if data_blocks == 0 {
        return Err(VerityError::Empty);
    }
    let size = device.size();
    let room = size.saturating_sub(hash_offset);
    if data_blocks > size / BLOCK_BYTES || tree_bytes(data_blocks) > room {
        return Err(VerityError::TooShort { data_blocks, hash_offset, size });
    }
    Ok(())
}

/// Checks all data blocks from the start of a device against the tree at `hash_offset`, and the tree
/// against the root hash. The error names the first block that is wrong, from the top down.
pub fn verify(
    device: &dyn BlockDevice,
    data_blocks: u64,
    hash_offset: u64,
    salt: &[u8],
    root_hash: &[u8; 32],
    job: &Job,
) -> Result<(), VerityError> {
    check_room(device, data_blocks, hash_offset)?;
    let verifier = Verifier::new(device, salt);
    let leaves = checked_leaves(&verifier, data_blocks, hash_offset, root_hash)?;
    verifier.check_data(data_blocks, &leaves, job)
}

struct Verifier<'a> {
    device: &'a dyn BlockDevice,
    hasher: Hasher,
    zero: [u8; DIGEST],
}

impl<'a> Verifier<'a> {
    fn new(device: &'a dyn BlockDevice, salt: &[u8]) -> Self {
        let hasher = Hasher::new(salt);
        let zero = hasher.hash(&[0; BLOCK]);
        Verifier { device, hasher, zero }
    }

    fn read(&self, offset: u64, bytes: usize) -> Result<Vec<u8>, VerityError> {
        let mut buffer = vec![0; bytes];
        let read = self.device.read_at(offset, &mut buffer);
        read.map_err(|source| VerityError::Device { doing: "reading", offset, bytes, source })?;
        Ok(buffer)
    }

    /// Returns the first block whose digest is another than expected: position, expected, found.
    fn first_fault(&self, blocks: &[u8], expected: &[u8]) -> Option<(u64, String, String)> {
        let pairs = blocks.chunks_exact(BLOCK).zip(expected.chunks_exact(DIGEST));
        (0..).zip(pairs).find_map(|(position, (block, expected))| {
            let found = if is_zero(block) { self.zero } else { self.hasher.hash(block) };
            (found != expected).then(|| (position, hex(expected), hex(&found)))
        })
    }

    /// Reads a piece past what is known to be zero; `room` is as long as the piece.
    fn read_into(&self, offset: u64, room: &mut [u8]) -> Result<(), VerityError> {
        if self.device.next_data(offset) >= offset + room.len() as u64 {
            room.fill(0);
            return Ok(());
        }
        let bytes = room.len();
        let read = self.device.read_at(offset, room);
        read.map_err(|source| VerityError::Device { doing: "reading", offset, bytes, source })
    }

    fn check_data(&self, data_blocks: u64, leaves: &[u8], job: &Job) -> Result<(), VerityError> {
        let first_bad = AtomicU64::new(u64::MAX);
        let spare: Mutex<Vec<AlignedBuffer>> = Mutex::default();
        let step = job.step("check verity", Some(data_blocks * BLOCK_BYTES), crate::base::job::Unit::Bytes);
        let pieces: Vec<u64> = (0..data_blocks).step_by(READ_BLOCKS as usize).collect();
        let checked = job.workers.for_waiting().map(pieces, |first| {
            job.check()?;
            if first > first_bad.load(Ordering::Relaxed) {
                return Ok(()); // an earlier block is wrong already
            }
            let count = READ_BLOCKS.min(data_blocks - first);
            let room = spare.lock().expect("because taking a buffer can't panic").pop();
            let mut room = room.unwrap_or_else(|| AlignedBuffer::new(READ_BLOCKS as usize * BLOCK));
            let blocks = &mut room[..(count * BLOCK_BYTES) as usize];
            self.read_into(first * BLOCK_BYTES, blocks)?;
            step.advance(blocks.len() as u64);
            let fault = self.first_fault(blocks, &leaves[first as usize * DIGEST..]);
            spare.lock().expect("because giving a buffer back can't panic").push(room);
            let Some((position, expected, found)) = fault else { return Ok(()) };
            let block = first + position;
            first_bad.fetch_min(block, Ordering::Relaxed);
            Err(VerityError::Data { block, expected, found })
        });
        checked.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes data with a tree behind it, and returns the root hash.
    fn written(blocks: &[u8], job: &Job) -> (crate::disk::MemoryDevice, [u8; DIGEST]) {
        let count = blocks.len() as u64;
        let device = crate::disk::MemoryDevice::new(count * BLOCK_BYTES + tree_bytes(count));
        let builder = VerityBuilder::new(count, b"salt");
        for (number, byte) in (0..).zip(blocks) {
            let block = [*byte; BLOCK];
            device.write_at(number * BLOCK_BYTES, &block).expect("written");
            crate::disk::BlockObserver::wrote(&builder, number, &block);
        }
        let tree = builder.finish(job).expect("a tree");
        tree.write(&device, count * BLOCK_BYTES).expect("written");
        (device, tree.root_hash)
    }

    #[test]
    fn two_trees_differ_on_the_way_to_what_differs_and_nowhere_else() {
        let job = Job::quiet(1);
        for (count, changed) in [(1, 0), (2, 1), (128, 127), (129, 128), (300, 5), (300, 299)] {
            let mut blocks: Vec<u8> = (0..count).map(|number| number as u8).collect();
            let (one, root) = written(&blocks, &job);
            let differing = |other: &crate::disk::MemoryDevice, other_root: &[u8; DIGEST]| {
                let at = count as u64 * BLOCK_BYTES;
                differing_blocks([&one, other], count as u64, at, [&root, other_root], &job).expect("trees")
            };
            assert!(differing(&one, &root).is_empty());
            blocks[changed] ^= 1;
            let (other, other_root) = written(&blocks, &job);
            // Found again by looking at all of it.
            let block = |device: &crate::disk::MemoryDevice, number: u64| {
                let mut bytes = vec![0; BLOCK];
                device.read_at(number * BLOCK_BYTES, &mut bytes).expect("read");
                bytes
            };
            let all = 0..one.size() / BLOCK_BYTES;
            let expected: Vec<u64> =
                all.filter(|number| block(&one, *number) != block(&other, *number)).collect();
            assert_eq!(differing(&other, &other_root), expected, "{count} {changed}");
        }
    }

    #[test]
    fn levels_are_those_of_the_kernel() {
        assert!(levels(1).is_empty());
        assert_eq!(levels(128), [1]);
        assert_eq!(levels(129), [1, 2]);
        assert_eq!(levels(128 * 128), [1, 128]);
        assert_eq!(levels(128 * 128 + 1), [1, 2, 129]);
        assert_eq!(tree_bytes(129), 3 * 4096);
        assert_eq!(tree_bytes(0), 0);
    }

    #[test]
    fn as_many_data_blocks_as_can_be_share_a_room_with_their_tree() {
        for room in (0..70_000).step_by(37).map(|blocks| blocks * BLOCK_BYTES + 5) {
            let Blocks(most) = data_blocks_in(Bytes(room));
            assert!(most * BLOCK_BYTES + tree_bytes(most) <= room);
            assert!((most + 1) * BLOCK_BYTES + tree_bytes(most + 1) > room, "{room}");
        }
        assert_eq!(data_blocks_in(Bytes(4096)), Blocks(1), "one block has no tree");
    }
}

//! Directories: one block of entries in byte order, or leaves in the order of a hash with an index
//! above them.

use super::catalogue::{Catalogue, Entry, Listing};
use super::error::Ext4Error;
use super::format::*;
use super::hash::half_md4;
use super::numbers::Numbers;
use crate::base::Job;

/// Bytes of a block for entries: the rest holds the checksum, dressed as an entry of 12 bytes.
const ROOM: usize = BLOCK - 12;
/// Bytes of "." and "..".
const DOTS: usize = 24;
/// Where the index begins in the first block and in another, and how many places it has. The last
/// place of the block is the checksum.
const ROOT_INDEX: usize = 32;
const ROOT_PLACES: usize = (BLOCK - ROOT_INDEX) / 8 - 1;
const NODE_INDEX: usize = 8;
const NODE_PLACES: usize = (BLOCK - NODE_INDEX) / 8 - 1;
/// From so many entries on, names are hashed in parallel.
const MANY: usize = 8192;

/// The index of a directory of more than one block.
pub struct Index {
    /// Positions among the directory's entries, by hash.
    order: Vec<u32>,
    leaves: Vec<Leaf>,
}

struct Leaf {
    /// First of its entries in [`Index::order`].
    first: u32,
    /// Least hash in it; odd where the leaf before ends with the same hash.
    hash: u32,
}

impl Index {
    /// Returns how many nodes stand between the first block and the leaves.
    fn nodes(&self) -> usize {
        if self.leaves.len() <= ROOT_PLACES { 0 } else { self.leaves.len().div_ceil(NODE_PLACES) }
    }

    pub fn blocks(&self) -> usize {
        1 + self.nodes() + self.leaves.len()
    }
}

/// Shapes every directory: `None` for those of one block.
pub fn plan(catalogue: &Catalogue, seed: &[u8; 16], job: &Job) -> Result<Vec<Option<Index>>, Ext4Error> {
    let mut indexes = Vec::with_capacity(catalogue.directories.len());
    for directory in &catalogue.directories {
        let entries = catalogue.entries(directory);
        let bytes: usize = entries.iter().map(|entry| record(entry.name)).sum();
        if DOTS + bytes <= ROOM {
            indexes.push(None);
            continue;
        }
        job.check()?;
        let index = index(entries, seed, job);
        if index.nodes() > ROOT_PLACES {
            return Err(Ext4Error::DirectoryTooLarge {
                path: catalogue.path(directory.inode),
                blocks: index.leaves.len() as u64,
                limit: (ROOT_PLACES * NODE_PLACES) as u64,
            });
        }
        indexes.push(Some(index));
    }
    Ok(indexes)
}

/// Returns the length of an entry.
fn record(name: &[u8]) -> usize {
    8 + name.len().next_multiple_of(4)
}

fn index(entries: &[Entry], seed: &[u8; 16], job: &Job) -> Index {
    let hash = |(first, names): (usize, &[Entry])| -> Vec<(u32, u32, u32)> {
        let hashed = names.iter().enumerate().map(|(at, entry)| {
            let (hash, minor) = half_md4(entry.name, seed);
            (hash, minor, (first + at) as u32)
        });
        hashed.collect()
    };
    let mut hashes;
    if entries.len() < MANY {
        hashes = hash((0, entries));
        hashes.sort_unstable();
    } else {
        let pieces: Vec<_> = entries.chunks(MANY).enumerate().map(|(at, names)| (at * MANY, names)).collect();
        hashes = job.workers.map(pieces, hash).concat();
        job.workers.sort_by_key(&mut hashes, |&hash| hash);
    }
    let mut leaves: Vec<Leaf> = Vec::new();
    let mut used = ROOM;
    for (at, &(hash, _, entry)) in hashes.iter().enumerate() {
        let length = record(entries[entry as usize].name);
        if used + length > ROOM {
            let continues = at > 0 && hashes[at - 1].0 == hash;
            leaves.push(Leaf { first: at as u32, hash: hash | u32::from(continues) });
            used = 0;
        }
        used += length;
    }
    Index { order: hashes.into_iter().map(|hash| hash.2).collect(), leaves }
}

/// One directory with all that its blocks need.
pub struct Renderer<'a> {
    entries: &'a [Entry<'a>],
    numbers: &'a Numbers,
    own: u32,
    parent: u32,
    index: Option<&'a Index>,
    seed: u32,
}

impl<'a> Renderer<'a> {
    pub fn new(
        catalogue: &'a Catalogue,
        numbers: &'a Numbers,
        directory: &Listing,
        index: Option<&'a Index>,
        filesystem_seed: u32,
    ) -> Self {
        let own = numbers.number(directory.inode);
        Renderer {
            entries: catalogue.entries(directory),
            numbers,
            own,
            parent: numbers.number(directory.parent),
            index,
            seed: inode_seed(filesystem_seed, own, 0),
        }
    }

    /// Writes the blocks of the directory from `first` on.
    pub fn write(&self, first: usize, out: &mut [u8]) {
        out.fill(0);
        for (position, block) in (first..).zip(out.chunks_exact_mut(BLOCK)) {
            match self.index {
                None => self.write_only(block),
                Some(index) if position == 0 => self.write_root(index, block),
                Some(index) if position <= index.nodes() => self.write_node(index, position - 1, block),
                Some(index) => self.write_leaf(index, position - 1 - index.nodes(), block),
            }
        }
    }

    fn write_only(&self, block: &mut [u8]) {
        let mut writer = Entries::new(block);
        writer.push(b".", self.own, 2);
        writer.push(b"..", self.parent, 2);
        for entry in self.entries {
            writer.push(entry.name, self.numbers.number(entry.inode), entry.code);
        }
        writer.finish(self.seed);
    }

    fn write_leaf(&self, index: &Index, leaf: usize, block: &mut [u8]) {
        let first = index.leaves[leaf].first as usize;
        let end = index.leaves.get(leaf + 1).map_or(index.order.len(), |next| next.first as usize);
        let mut writer = Entries::new(block);
        for &position in &index.order[first..end] {
            let entry = &self.entries[position as usize];
            writer.push(entry.name, self.numbers.number(entry.inode), entry.code);
        }
        writer.finish(self.seed);
    }

    fn write_root(&self, index: &Index, block: &mut [u8]) {
        put_entry(block, 0, b".", self.own, 2, 12);
        put_entry(block, 12, b"..", self.parent, 2, BLOCK - 12);
        block[28] = 1; // half MD4
        block[29] = 8; // bytes of these facts
        let leaves = index.leaves.iter().map(|leaf| leaf.hash);
        if index.nodes() == 0 {
            self.write_places(block, ROOT_INDEX, 1, leaves);
        } else {
            block[30] = 1; // levels between this and the leaves
            self.write_places(block, ROOT_INDEX, 1, leaves.step_by(NODE_PLACES));
        }
    }

    fn write_node(&self, index: &Index, node: usize, block: &mut [u8]) {
        put_entry(block, 0, b"", 0, 0, BLOCK);
        let first = node * NODE_PLACES;
        let leaves = index.leaves.iter().skip(first).take(NODE_PLACES).map(|leaf| leaf.hash);
        self.write_places(block, NODE_INDEX, 1 + index.nodes() + first, leaves);
    }

    /// Writes an index at `at`: its blocks stand one after the other from `child` on.
    fn write_places(&self, block: &mut [u8], at: usize, child: usize, hashes: impl Iterator<Item = u32>) {
        let mut count = 0;
        for hash in hashes {
            put32(block, at + count * 8, hash);
            put32(block, at + count * 8 + 4, (child + count) as u32);
            count += 1;
        }
        let places = (BLOCK - at) / 8 - 1;
        // The first place has no hash: all that is below the second belongs to it.
        put16(block, at, places as u16);
        put16(block, at + 2, count as u16);
        let checksum = crc(crc(self.seed, &block[..at + count * 8]), &[0; 8]);
        put32(block, BLOCK - 4, checksum);
    }
}

/// Writes entries one behind the other; the last reaches to the end of the room.
struct Entries<'a> {
    block: &'a mut [u8],
    at: usize,
    last: usize,
}

impl<'a> Entries<'a> {
    fn new(block: &'a mut [u8]) -> Self {
        Entries { block, at: 0, last: 0 }
    }

    fn push(&mut self, name: &[u8], inode: u32, code: u8) {
        put_entry(self.block, self.at, name, inode, code, record(name));
        self.last = self.at;
        self.at += record(name);
    }

    fn finish(self, seed: u32) {
        put16(self.block, self.last + 4, (ROOM - self.last) as u16);
        put_entry(self.block, ROOM, b"", 0, 0xde, 12);
        let checksum = crc(seed, &self.block[..ROOM]);
        put32(self.block, BLOCK - 4, checksum);
    }
}

fn put_entry(block: &mut [u8], at: usize, name: &[u8], inode: u32, code: u8, length: usize) {
    put32(block, at, inode);
    put16(block, at + 4, length as u16);
    block[at + 6] = name.len() as u8;
    block[at + 7] = code;
    block[at + 8..at + 8 + name.len()].copy_from_slice(name);
}

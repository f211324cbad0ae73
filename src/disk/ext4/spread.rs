//! Stable places: every inode, directory, file and attribute block stands where a hash of its path (or content)
//! says, so that a change of one file moves hardly any other.
//!
//! No parent is needed: the places follow from the set of paths and sizes. What is to be placed is cut into pieces
//! of at most 8 MiB; a piece takes a free unit, a power of two of blocks that it fits in, and leaves the rest of
//! the unit to smaller ones. Large units go first: so those that are left are whole, and nothing is lost between
//! them. Among equals those with the least keys go first; each takes the first free of its own sequence of places.
//! So what comes new pushes aside only pieces of its own size or less, and only those behind it. A piece that
//! finds no unit is halved. So whatever has enough blocks is placed.
//!
//! The filesystem is roomier than it must be, and grows in steps: between 1/2 and 2/3 of it are in use, unless the
//! slot has no room for that. What nobody takes is never written.
//!
//! What an update writes where one file of a tree of 1500 comes and one goes, in the mean of 23 such changes: 14 blocks of
//! their own, 11 of files that are pushed aside, 5 of directories, 12 of inode tables, bitmaps and descriptors (mostly
//! the inodes of what is pushed aside), 13 of the verity tree above them: 220 KiB for 58. Were nothing pushed aside, it
//! would be about 140: a change is never one place, and each place has its block of the verity tree.

use super::attributes::SharedBlock;
use super::catalogue::Catalogue;
use super::extents::{Extent, tree_blocks};
use super::format::*;
use super::geometry::Geometry;
use super::numbers::Numbers;
use super::place::{Demand, Map, Placement};
use super::probe::mix;
use super::space::Space;
use crate::base::{Blocks, Cancelled, Job};

/// Pieces have at most 2^11 blocks: 8 MiB. A format constant.
const CLASS_MAX: u32 = 11;
/// Least size of a filesystem: 8 MiB. A format constant.
const BLOCKS_MIN: u64 = 2048;
/// Least number of inodes of a group. A format constant.
const GROUP_INODES_MIN: u64 = 64;
/// Keys of extent trees are other ones than those of what they map.
const TREE_DOMAIN: u64 = 0x7472_6565_0000_0000;

/// A run of blocks that wants to stand together.
#[derive(Clone, Copy)]
struct Piece {
    key: u64,
    owner: u32,
    /// First block, counted among those of the owner.
    first: u32,
    length: u32,
}

/// A piece that has its place.
struct Placed {
    owner: u32,
    first: u32,
    length: u32,
    physical: u64,
}

/// Places everything in at most `limit` blocks; `None` where that can't be done.
pub fn place(
    catalogue: &Catalogue,
    shared: &[SharedBlock],
    demand: &Demand,
    limit: Option<u64>,
    job: &Job,
) -> Result<Option<Placement>, Cancelled> {
    let Some(geometry) = shape(demand, limit) else { return Ok(None) };
    let keys = catalogue.keys();
    let inodes = geometry.inodes_per_group * u64::from(geometry.groups);
    let numbers = Numbers::spread(&keys, inodes);
    let mut space = Space::new(&geometry);
    let bodies = demand.bodies.len() as u32;
    let owners = demand.bodies.iter().map(|need| (keys[need.inode as usize], demand.blocks(need)));
    let owners = owners.chain(shared.iter().map(|block| (block.key, 1)));
    let Some(placed) = place_pieces(owners, &mut space, job)? else { return Ok(None) };
    let (placed, attributes) = placed.split_at(placed.partition_point(|piece| piece.owner < bodies));
    let attribute_blocks = attributes.iter().map(|piece| piece.physical).collect();
    let mut extents = Vec::with_capacity(demand.runs.len());
    let mut maps = vec![Map::default(); demand.inodes];
    for (pieces, need) in placed.chunk_by(|one, next| one.owner == next.owner).zip(&demand.bodies) {
        let first = extents.len() as u32;
        lay(demand.runs(need), pieces, |extent| push(&mut extents, first as usize, extent));
        let count = extents.len() as u32 - first;
        maps[need.inode as usize] = Map { first, count, ..Map::default() };
    }
    let Some(tree) = place_trees(demand, &keys, &mut maps, &mut space) else { return Ok(None) };
    let free = space.free();
    let (journal, resize) = (None, None);
    Ok(Some(Placement { geometry, numbers, extents, tree, maps, attribute_blocks, journal, resize, free }))
}

/// Rounds up to a multiple of a quarter of the power of two below: four steps to each doubling.
fn step(value: u64) -> u64 {
    value.next_multiple_of(((1 << value.max(1).ilog2()) / 4).max(1))
}

/// Decides how large the filesystem is: half as much again as is needed, in steps.
fn shape(demand: &Demand, limit: Option<u64>) -> Option<Geometry> {
    let inodes = u64::from(demand.used_inodes);
    let content: u64 = demand.runs.iter().map(|run| u64::from(run.1)).sum();
    let needed = content + demand.attribute_blocks as u64 + inodes.div_ceil(INODES_PER_BLOCK);
    let wanted = step(needed + needed / 2).max(BLOCKS_MIN);
    // As many groups as all inodes need.
    let wanted = match step(roomy_inodes(inodes)).div_ceil(GROUP_INODES_MAX) {
        0 | 1 => wanted,
        groups => wanted.max(groups * GROUP_BLOCKS),
    };
    let mut blocks = wanted.min(limit.unwrap_or(u64::MAX));
    if Blocks(blocks).bytes().0 > FILESYSTEM_BYTES_MAX {
        return None;
    }
    loop {
        let groups = blocks.div_ceil(GROUP_BLOCKS);
        let least = inodes.div_ceil(groups.max(1));
        if groups == 0 || least > GROUP_INODES_MAX {
            return None;
        }
        let roomy = step(roomy_inodes(least).max(GROUP_INODES_MIN)).next_multiple_of(INODES_PER_BLOCK);
        match Geometry::spread(blocks, roomy.min(GROUP_INODES_MAX)) {
            Some(geometry) => return Some(geometry),
            // A last group that is too short for what each group begins with is left out.
            None => blocks = (groups - 1) * GROUP_BLOCKS,
        }
    }
}

/// Leaves a quarter of the inodes free.
fn roomy_inodes(inodes: u64) -> u64 {
    inodes + inodes / 3
}

/// Places what each owner (key, number of blocks) has, and returns it by owner and place in it; `None` where there
/// are not enough blocks.
fn place_pieces(
    owners: impl Iterator<Item = (u64, u64)>,
    space: &mut Space,
    job: &Job,
) -> Result<Option<Vec<Placed>>, Cancelled> {
    let mut waiting: [Vec<Piece>; CLASS_MAX as usize + 1] = Default::default();
    let mut count = 0;
    for (owner, (key, blocks)) in (0..).zip(owners) {
        for first in (0..blocks).step_by(1 << CLASS_MAX) {
            let length = (blocks - first).min(1 << CLASS_MAX) as u32;
            let piece = Piece::new(key, owner, first as u32, length);
            waiting[piece.class() as usize].push(piece);
            count += 1;
        }
    }
    let mut placed = Vec::with_capacity(count);
    for class in (0..=CLASS_MAX).rev() {
        let mut pieces = std::mem::take(&mut waiting[class as usize]);
        pieces.sort_unstable_by_key(|piece| (piece.key, piece.owner, piece.first));
        let mut is_full = false;
        for piece in pieces {
            job.check()?;
            let found = if is_full { None } else { space.find(class, piece.key) };
            match found {
                Some(physical) => {
                    space.take(physical, piece.length.into());
                    let Piece { owner, first, length, .. } = piece;
                    placed.push(Placed { owner, first, length, physical });
                }
                None if class == 0 => return Ok(None),
                None => {
                    is_full = true;
                    piece.halves().into_iter().for_each(|half| waiting[half.class() as usize].push(half));
                }
            }
        }
    }
    placed.sort_unstable_by_key(|piece| (piece.owner, piece.first));
    Ok(Some(placed))
}

impl Piece {
    fn new(owner_key: u64, owner: u32, first: u32, length: u32) -> Self {
        Piece { key: mix(owner_key ^ u64::from(first)), owner, first, length }
    }

    /// Returns the logarithm of the unit that it needs.
    fn class(&self) -> u32 {
        self.length.next_power_of_two().ilog2()
    }

    /// Cuts it at half its unit.
    fn halves(&self) -> [Piece; 2] {
        let half = 1 << (self.class() - 1);
        let (first, length) = (self.first + half, self.length - half);
        let right = Piece { key: mix(self.key ^ u64::from(half)), first, length, ..*self };
        [Piece { length: half, ..*self }, right]
    }
}

/// Lays the runs of a file (first block in the file, number of blocks) on its pieces.
fn lay(runs: &[(u32, u32)], pieces: &[Placed], mut found: impl FnMut(Extent)) {
    let mut pieces = pieces.iter();
    let (mut physical, mut room) = (0, 0);
    for &(logical, length) in runs {
        let mut done = 0;
        while done < length {
            if room == 0 {
                let piece = pieces.next().expect("because the pieces have as many blocks as the runs");
                (physical, room) = (piece.physical, piece.length);
            }
            let count = room.min(length - done);
            found(Extent { logical: logical + done, length: count, physical });
            physical += u64::from(count);
            room -= count;
            done += count;
        }
    }
}

/// Adds an extent to those from `first` on, or makes the last one longer.
fn push(extents: &mut Vec<Extent>, first: usize, extent: Extent) {
    match extents[first..].last_mut() {
        Some(last)
            if last.logical + last.length == extent.logical
                && last.physical + u64::from(last.length) == extent.physical
                && u64::from(last.length + extent.length) <= EXTENT_BLOCKS_MAX =>
        {
            last.length += extent.length;
        }
        _ => extents.push(extent),
    }
}

/// Places the extent trees, where everything else stands already: how many blocks they have follows from that.
fn place_trees(demand: &Demand, keys: &[u64], maps: &mut [Map], space: &mut Space) -> Option<Vec<u64>> {
    let mut waiting = Vec::new();
    for need in &demand.bodies {
        let map = &mut maps[need.inode as usize];
        map.tree_first = waiting.len() as u32;
        map.tree_count = tree_blocks(map.count as usize) as u32;
        let key = keys[need.inode as usize] ^ TREE_DOMAIN;
        let place = |at| (mix(key ^ u64::from(at)), (map.tree_first + at) as usize);
        waiting.extend((0..map.tree_count).map(place));
    }
    let mut tree = vec![0; waiting.len()];
    waiting.sort_unstable();
    for (key, at) in waiting {
        let block = space.find(0, key)?;
        space.take(block, 1);
        tree[at] = block;
    }
    Some(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_few_and_small() {
        assert_eq!([1, 5, 9, 1000, 1025].map(step), [1, 5, 10, 1024, 1280]);
        assert!((1..5000u64).all(|value| (value..=value + value / 4).contains(&step(value))));
    }

    #[test]
    fn a_piece_that_finds_no_unit_is_halved_until_all_are_placed() {
        let empty = || Space::new(&Geometry::spread(2048, 64).expect("a shape"));
        let (mut space, job) = (empty(), Job::quiet(1));
        let room: u64 = space.free().iter().map(|run| run.1).sum();
        let blocks = [900, room - 900 - 9 * 60 - 1].into_iter().chain([9; 60]).chain([1]);
        let owners = (0..).zip(blocks).map(|(at, blocks)| (mix(at), blocks));
        let placed = place_pieces(owners, &mut space, &job).expect("not stopped");
        let placed = placed.expect("as much as there is room");
        assert!(space.free().is_empty());
        let mut runs: Vec<_> = placed.iter().map(|piece| (piece.physical, u64::from(piece.length))).collect();
        runs.sort_unstable();
        assert!(runs.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "two in one place");
        assert_eq!(runs.iter().map(|run| run.1).sum::<u64>(), room);
        let more = place_pieces([(1, room + 1)].into_iter(), &mut empty(), &job).expect("not stopped");
        assert!(more.is_none());
    }
}

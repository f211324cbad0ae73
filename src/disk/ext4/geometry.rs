//! Groups, and what stands in them before any content: superblocks, descriptors, bitmaps, tables.

use super::format::*;
use super::options::Ext4Options;

/// A run of blocks: first, count.
pub type Run = (u64, u64);

/// Growable filesystems can grow to this many descriptor blocks (1 TiB) before the kernel has to
/// change their shape.
const GROWN_DESCRIPTOR_BLOCKS: u64 = 128;
/// Most descriptor blocks that the resize inode's one double-indirect block can name.
const RESIZE_BLOCKS_MAX: u64 = (BLOCK / 4) as u64;
/// A writable filesystem has an inode for this many blocks (16 KiB).
const BLOCKS_PER_INODE: u64 = 4;
const JOURNAL_BLOCKS: std::ops::RangeInclusive<u64> = 1024..=16384;

/// Where a group's bitmaps and inode table stand.
#[derive(Clone, Copy, Debug)]
pub struct GroupPlaces {
    pub block_bitmap: u64,
    pub inode_bitmap: u64,
    pub inode_table: u64,
}

/// The shape of a filesystem of so many blocks.
#[derive(Debug)]
pub struct Geometry {
    pub blocks: u64,
    pub groups: u32,
    pub inodes_per_group: u64,
    /// Blocks of a group's inode table.
    pub table_blocks: u64,
    pub descriptor_blocks: u64,
    /// Blocks kept behind the descriptors for growing; 0 without a resize inode.
    pub reserved_descriptor_blocks: u64,
    pub journal_blocks: u64,
    pub places: Vec<GroupPlaces>,
}

impl Geometry {
    /// Shapes a filesystem for inodes numbered up to `last_inode`. The error says at least how many
    /// blocks more it takes.
    pub fn new(blocks: u64, last_inode: u32, options: &Ext4Options) -> Result<Self, u64> {
        let groups = blocks.div_ceil(GROUP_BLOCKS).max(1);
        let needed = u64::from(last_inode).div_ceil(groups);
        if needed > GROUP_INODES_MAX {
            let groups = u64::from(last_inode).div_ceil(GROUP_INODES_MAX);
            return Err((groups - 1) * GROUP_BLOCKS + 1 - blocks);
        }
        let spare = match (options.growable, options.journal) {
            (true, _) => GROUP_BLOCKS / BLOCKS_PER_INODE,
            (false, true) => blocks.min(GROUP_BLOCKS) / BLOCKS_PER_INODE,
            (false, false) => 0,
        };
        let inodes_per_group = needed.max(spare).next_multiple_of(INODES_PER_BLOCK);
        let descriptor_blocks = groups.div_ceil(DESCRIPTORS_PER_BLOCK);
        let reserved = GROWN_DESCRIPTOR_BLOCKS.saturating_sub(descriptor_blocks).max(16);
        let can_reserve = options.growable && descriptor_blocks + reserved <= RESIZE_BLOCKS_MAX;
        let journal = (blocks / 8 + 1).next_power_of_two() / 2;
        let mut geometry = Geometry {
            blocks,
            groups: groups as u32,
            inodes_per_group,
            table_blocks: inodes_per_group / INODES_PER_BLOCK,
            descriptor_blocks,
            reserved_descriptor_blocks: if can_reserve { reserved } else { 0 },
            journal_blocks: if options.journal {
                journal.clamp(*JOURNAL_BLOCKS.start(), *JOURNAL_BLOCKS.end())
            } else {
                0
            },
            places: Vec::with_capacity(groups as usize),
        };
        geometry.check_last_group()?;
        for first in (0..geometry.groups).step_by(FLEX_GROUPS as usize) {
            geometry.place_flex_group(first)?;
        }
        Ok(geometry)
    }

    /// Shapes a filesystem each of whose groups begins with its own bitmaps and inode table, so that a group more
    /// changes nothing in those before it. Without a journal or a reserve. `None` where the last group is too short.
    pub fn spread(blocks: u64, inodes_per_group: u64) -> Option<Self> {
        let groups = blocks.div_ceil(GROUP_BLOCKS);
        let mut geometry = Geometry {
            blocks,
            groups: groups as u32,
            inodes_per_group,
            table_blocks: inodes_per_group / INODES_PER_BLOCK,
            descriptor_blocks: groups.div_ceil(DESCRIPTORS_PER_BLOCK),
            reserved_descriptor_blocks: 0,
            journal_blocks: 0,
            places: Vec::with_capacity(groups as usize),
        };
        for group in 0..geometry.groups {
            let base = geometry.base_blocks(group);
            if geometry.group_blocks(group) < base + 2 + geometry.table_blocks {
                return None;
            }
            let block_bitmap = Self::group_start(group) + base;
            let (inode_bitmap, inode_table) = (block_bitmap + 1, block_bitmap + 2);
            geometry.places.push(GroupPlaces { block_bitmap, inode_bitmap, inode_table });
        }
        Some(geometry)
    }

    pub fn group_start(group: u32) -> u64 {
        u64::from(group) * GROUP_BLOCKS
    }

    /// Returns how many blocks a group has; only the last can have fewer than the others.
    pub fn group_blocks(&self, group: u32) -> u64 {
        (self.blocks - Self::group_start(group)).min(GROUP_BLOCKS)
    }

    /// Returns how many blocks the superblock, descriptors and their reserve take in a group.
    pub fn base_blocks(&self, group: u32) -> u64 {
        let base = 1 + self.descriptor_blocks + self.reserved_descriptor_blocks;
        if has_super(group) { base } else { 0 }
    }

    /// Returns the groups but the first that hold copies of the superblock.
    pub fn backups(&self) -> impl Iterator<Item = u32> {
        (1..self.groups).filter(|&group| has_super(group))
    }

    /// Returns the inode number that comes before a group's first.
    pub fn inodes_before(&self, group: u32) -> u64 {
        u64::from(group) * self.inodes_per_group
    }

    fn check_last_group(&self) -> Result<(), u64> {
        let last = self.groups - 1;
        let (has, needs) = (self.group_blocks(last), self.base_blocks(last));
        if has < needs { Err(needs - has) } else { Ok(()) }
    }

    fn place_flex_group(&mut self, first: u32) -> Result<(), u64> {
        let count = FLEX_GROUPS.min(self.groups - first);
        let mut at = Self::group_start(first) + self.base_blocks(first);
        let mut take = |length: u64| {
            at = self.clear_of_copies(at, length);
            at += length;
            at - length
        };
        let block_bitmaps = take(u64::from(count));
        let inode_bitmaps = take(u64::from(count));
        let tables: Vec<u64> = (0..count).map(|_| take(self.table_blocks)).collect();
        if at > self.blocks {
            return Err(at - self.blocks);
        }
        for (index, inode_table) in (0..).zip(tables) {
            let (block_bitmap, inode_bitmap) = (block_bitmaps + index, inode_bitmaps + index);
            self.places.push(GroupPlaces { block_bitmap, inode_bitmap, inode_table });
        }
        Ok(())
    }

    /// Returns the first place from `at` on where `length` blocks meet no copy of the superblock.
    fn clear_of_copies(&self, mut at: u64, length: u64) -> u64 {
        let mut group = (at / GROUP_BLOCKS) as u32;
        while Self::group_start(group) < at + length {
            let (start, base) = (Self::group_start(group), self.base_blocks(group));
            if base > 0 && at < start + base {
                at = start + base;
            }
            group += 1;
        }
        at
    }

    /// Returns what is not taken by any of this, ascending.
    pub fn free(&self) -> Vec<Run> {
        let mut taken: Vec<Run> = (0..self.groups)
            .map(|group| (Self::group_start(group), self.base_blocks(group)))
            .filter(|run| run.1 > 0)
            .collect();
        for places in &self.places {
            taken.push((places.block_bitmap, 1));
            taken.push((places.inode_bitmap, 1));
            taken.push((places.inode_table, self.table_blocks));
        }
        taken.sort_unstable();
        let mut free = Vec::new();
        let mut at = 0;
        for (start, length) in taken.into_iter().chain([(self.blocks, 0)]) {
            assert!(start >= at, "two owners of block {start}");
            if start > at {
                free.push((at, start - at));
            }
            at = start + length;
        }
        free
    }
}

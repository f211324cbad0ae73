//! Giving every block of content its place: a cursor that only goes forward, so that the order on the
//! disk is that of the tree.

use super::extents::{Extent, tree_blocks};
use super::format::EXTENT_BLOCKS_MAX;
use super::geometry::{Geometry, Run};
use super::numbers::Numbers;
use super::options::Ext4Options;

/// What has to be placed, in this order: bodies before `files_from`, attribute blocks, the journal, the
/// other bodies.
pub struct Demand {
    /// How many inodes there are.
    pub inodes: usize,
    /// How many are in use, the reserved ones too.
    pub used_inodes: u32,
    /// Inodes with blocks.
    pub bodies: Vec<Need>,
    /// Position of the first body that is a file.
    pub files_from: usize,
    /// Runs of all bodies: first block in the file, number of blocks.
    pub runs: Vec<(u32, u32)>,
    pub attribute_blocks: usize,
}

/// The blocks of one inode: a range of [`Demand::runs`].
#[derive(Clone, Copy)]
pub struct Need {
    pub inode: u32,
    pub first: u32,
    pub count: u32,
}

impl Demand {
    /// Returns the runs of a body.
    pub fn runs(&self, need: &Need) -> &[(u32, u32)] {
        &self.runs[need.first as usize..][..need.count as usize]
    }

    /// Returns how many blocks a body has, without an extent tree.
    pub fn blocks(&self, need: &Need) -> u64 {
        self.runs(need).iter().map(|run| u64::from(run.1)).sum()
    }
}

/// Where one inode's blocks stand: ranges of [`Placement::extents`] and [`Placement::tree`].
#[derive(Clone, Copy, Default)]
pub struct Map {
    pub first: u32,
    pub count: u32,
    pub tree_first: u32,
    pub tree_count: u32,
}

/// Where everything stands.
pub struct Placement {
    pub geometry: Geometry,
    pub numbers: Numbers,
    pub extents: Vec<Extent>,
    pub tree: Vec<u64>,
    /// One an inode.
    pub maps: Vec<Map>,
    pub attribute_blocks: Vec<u64>,
    pub journal: Option<Map>,
    /// The double-indirect block of the resize inode.
    pub resize: Option<u64>,
    /// What is left over, ascending.
    pub free: Vec<Run>,
}

impl Placement {
    /// Places everything in a filesystem of so many blocks. The error says at least how many blocks
    /// more it takes.
    pub fn new(blocks: u64, demand: &Demand, options: &Ext4Options) -> Result<Self, u64> {
        let geometry = Geometry::new(blocks, demand.used_inodes, options)?;
        let mut placer = Placer::new(&geometry, demand);
        let resize = (geometry.reserved_descriptor_blocks > 0).then(|| placer.block());
        let (first, files) = demand.bodies.split_at(demand.files_from);
        first.iter().for_each(|need| placer.place(need));
        let attribute_blocks = (0..demand.attribute_blocks).map(|_| placer.block()).collect();
        let journal =
            (geometry.journal_blocks > 0).then(|| placer.map(&[(0, geometry.journal_blocks as u32)]));
        files.iter().for_each(|need| placer.place(need));
        let free = placer.finish()?;
        let Placer { extents, tree, maps, .. } = placer;
        let numbers = Numbers::InOrder(demand.used_inodes);
        Ok(Placement { geometry, numbers, extents, tree, maps, attribute_blocks, journal, resize, free })
    }

    pub fn extents(&self, map: &Map) -> &[Extent] {
        &self.extents[map.first as usize..][..map.count as usize]
    }

    /// Returns the blocks of an inode's extent tree, leaves first.
    pub fn tree(&self, map: &Map) -> &[u64] {
        &self.tree[map.tree_first as usize..][..map.tree_count as usize]
    }

    /// Returns how many blocks an inode has, its extent tree's too.
    pub fn blocks(&self, map: &Map) -> u64 {
        let data: u64 = self.extents(map).iter().map(|extent| u64::from(extent.length)).sum();
        data + u64::from(map.tree_count)
    }

    pub fn free_blocks(&self) -> u64 {
        self.free.iter().map(|run| run.1).sum()
    }

    /// Returns the free runs inside a range of blocks.
    pub fn free_within(&self, start: u64, end: u64) -> impl Iterator<Item = Run> {
        let first = self.free.partition_point(|run| run.0 + run.1 <= start);
        self.free[first..].iter().take_while(move |run| run.0 < end).map(move |run| {
            let from = run.0.max(start);
            (from, (run.0 + run.1).min(end) - from)
        })
    }
}

#[derive(Clone, Copy)]
struct Cursor {
    run: usize,
    offset: u64,
}

struct Placer<'a> {
    demand: &'a Demand,
    /// Free runs, and behind the end of the filesystem one without end: what lands there is missing.
    free: Vec<Run>,
    cursor: Cursor,
    /// What the cursor passed over.
    skipped: Vec<Run>,
    extents: Vec<Extent>,
    tree: Vec<u64>,
    maps: Vec<Map>,
}

impl<'a> Placer<'a> {
    fn new(geometry: &Geometry, demand: &'a Demand) -> Self {
        let mut free = geometry.free();
        free.push((geometry.blocks, u64::MAX / 2));
        Placer {
            demand,
            free,
            cursor: Cursor { run: 0, offset: 0 },
            skipped: Vec::new(),
            extents: Vec::with_capacity(demand.runs.len() + 16),
            tree: Vec::new(),
            maps: vec![Map::default(); demand.inodes],
        }
    }

    fn place(&mut self, need: &Need) {
        let demand = self.demand;
        self.maps[need.inode as usize] = self.map(demand.runs(need));
    }

    /// Places the blocks of an inode, and before them its extent tree. How many extents there are
    /// depends on where they lie, and so on how large the tree is: it grows until it is large enough.
    fn map(&mut self, runs: &[(u32, u32)]) -> Map {
        let mut tree = 0;
        let needed = loop {
            let mut cursor = self.cursor;
            lay(&self.free, &mut cursor, &[(0, tree as u32)], |_| {});
            let mut count = 0;
            lay(&self.free, &mut cursor, runs, |_| count += 1);
            let needed = tree_blocks(count);
            if needed <= tree {
                break needed;
            }
            tree = needed;
        };
        let tree_first = self.tree.len();
        for _ in 0..needed {
            let block = self.block();
            self.tree.push(block);
        }
        for _ in needed..tree {
            let block = self.block();
            self.skipped.push((block, 1));
        }
        let first = self.extents.len();
        lay(&self.free, &mut self.cursor, runs, |extent| self.extents.push(extent));
        let count = (self.extents.len() - first) as u32;
        Map { first: first as u32, count, tree_first: tree_first as u32, tree_count: needed as u32 }
    }

    fn block(&mut self) -> u64 {
        let mut block = 0;
        lay(&self.free, &mut self.cursor, &[(0, 1)], |extent| block = extent.physical);
        block
    }

    /// Returns what is left over, or how many blocks are missing.
    fn finish(&mut self) -> Result<Vec<Run>, u64> {
        let Cursor { run, offset } = self.cursor;
        let end = self.free.len() - 1;
        if run == end && offset > 0 {
            return Err(offset);
        }
        let mut free = std::mem::take(&mut self.skipped);
        for (index, &(start, length)) in self.free[..end].iter().enumerate().skip(run) {
            let gone = if index == run { offset } else { 0 };
            if gone < length {
                free.push((start + gone, length - gone));
            }
        }
        Ok(free)
    }
}

/// Lays runs on free blocks from the cursor on.
fn lay(free: &[Run], cursor: &mut Cursor, runs: &[(u32, u32)], mut found: impl FnMut(Extent)) {
    for &(logical, length) in runs {
        let mut done = 0;
        while done < length {
            let (start, room) = free[cursor.run];
            if cursor.offset == room {
                *cursor = Cursor { run: cursor.run + 1, offset: 0 };
                continue;
            }
            let count = u64::from(length - done).min(room - cursor.offset).min(EXTENT_BLOCKS_MAX) as u32;
            found(Extent { logical: logical + done, length: count, physical: start + cursor.offset });
            cursor.offset += u64::from(count);
            done += count;
        }
    }
}

//! Writing a layout: tasks of about a mebibyte, for as many workers as there are. No two tasks touch
//! the same block, so that their order means nothing.

use std::ops::Range;
use std::sync::Mutex;

use super::catalogue::Body;
use super::directory::Renderer;
use super::error::Ext4Error;
use super::extents::{self, Extent};
use super::format::*;
use super::geometry::Geometry;
use super::layout::{Ext4Layout, content_error};
use super::superblock::{self, GroupFacts};
use super::{attributes, inode};
use crate::base::job::{Step, Unit};
use crate::base::{Blocks, Bytes, Job};
use crate::disk::device::{BlockDevice, BlockObserver};
use crate::tree::content::is_zero;
use crate::tree::{Content, ContentSource};

/// Tells of a block whether it is to be written.
type Wanted<'a> = &'a (dyn Fn(u64) -> bool + Sync);

/// Blocks that a task gathers, and the pieces in which a large file is read: 1 MiB.
const TASK_BLOCKS: usize = 256;

/// A piece of work that one worker does at once.
enum Task {
    /// Inodes of a group, in whole blocks of its table.
    Inodes { group: u32, blocks: Range<u64> },
    /// Bodies that are small, each whole: positions in the order of writing.
    Bodies(Range<usize>),
    /// One piece of a large body: its position in the demand, the first block in the file.
    Piece { body: usize, first: u32 },
    /// The extent tree of a body.
    Tree(usize),
    /// Shared blocks of attributes.
    Attributes(Range<usize>),
    /// What begins a journal, and its extent tree if it has one.
    Journal,
    /// The block of the resize inode.
    Resize,
}

impl Ext4Layout<'_> {
    /// Writes the filesystem to the start of a device that reads as zero where it was not written.
    /// Blocks of zeros are not written. Every block that is written is shown to the observer once.
    /// Needs about 2 MiB a worker.
    pub fn write(
        &self,
        device: &dyn BlockDevice,
        source: &dyn ContentSource,
        observer: Option<&dyn BlockObserver>,
        job: &Job,
    ) -> Result<(), Ext4Error> {
        self.write_where(&|_| true, device, source, observer, job)
    }

    /// Writes what [`Ext4Layout::write`] would, but only the blocks that are `wanted`. Files without one are not
    /// read.
    pub fn write_where(
        &self,
        wanted: Wanted<'_>,
        device: &dyn BlockDevice,
        source: &dyn ContentSource,
        observer: Option<&dyn BlockObserver>,
        job: &Job,
    ) -> Result<(), Ext4Error> {
        if device.size() < self.size().0 {
            return Err(Ext4Error::DeviceTooSmall { needed: self.size(), size: Bytes(device.size()) });
        }
        let free = self.placement.free_blocks();
        let total = Blocks(self.placement.geometry.blocks - free).bytes();
        let step = job.step("write ext4", Some(total.0), Unit::Bytes);
        let writer = Writer::new(self, self.demand.bodies.len(), device, source, observer, step);
        Writer { wanted, ..writer }.write(job)
    }

    /// Writes everything but the bytes of files: superblocks, descriptors, bitmaps, inodes, directories,
    /// attributes, extent trees, the journal's head. For those who have the files' bytes in place and ask whether
    /// the rest is what it must be.
    pub fn write_metadata(&self, device: &dyn BlockDevice, job: &Job) -> Result<(), Ext4Error> {
        if device.size() < self.size().0 {
            return Err(Ext4Error::DeviceTooSmall { needed: self.size(), size: Bytes(device.size()) });
        }
        let step = job.step("lay out ext4 again", None, Unit::Bytes);
        let source = &crate::tree::MemoryContents::default();
        Writer::new(self, self.demand.files_from, device, source, None, step).write(job)
    }

    /// Makes the tasks; those of bodies for these ones only.
    fn tasks(&self, order: &[u32]) -> Vec<Task> {
        let mut tasks = Vec::new();
        for group in 0..self.placement.geometry.groups {
            let blocks = superblock::group_inodes(self, group).end.div_ceil(INODES_PER_BLOCK);
            for first in (0..blocks).step_by(TASK_BLOCKS) {
                tasks.push(Task::Inodes { group, blocks: first..blocks.min(first + TASK_BLOCKS as u64) });
            }
        }
        for first in (0..self.shared.len()).step_by(TASK_BLOCKS) {
            tasks.push(Task::Attributes(first..self.shared.len().min(first + TASK_BLOCKS)));
        }
        if self.placement.journal.is_some() {
            tasks.push(Task::Journal);
        }
        if self.placement.resize.is_some() {
            tasks.push(Task::Resize);
        }
        let trees = (0..self.demand.bodies.len()).filter(|&body| {
            let inode = self.demand.bodies[body].inode;
            !self.placement.tree(&self.placement.maps[inode as usize]).is_empty()
        });
        tasks.extend(trees.map(Task::Tree));
        self.add_bodies(order, &mut tasks);
        tasks
    }

    /// Gathers small bodies to tasks of a mebibyte, and cuts large ones where a store cuts them.
    fn add_bodies(&self, order: &[u32], tasks: &mut Vec<Task>) {
        let mut first = 0;
        let mut gathered = 0;
        for (at, &body) in order.iter().enumerate() {
            let extents = self.extents(body as usize);
            let last = extents.last().expect("because a body has blocks");
            let span = (last.logical + last.length - extents[0].logical) as usize;
            let is_large = (last.logical + last.length) as usize > TASK_BLOCKS;
            if is_large || gathered + span > TASK_BLOCKS {
                tasks.extend((first < at).then_some(Task::Bodies(first..at)));
                (first, gathered) = (at, 0);
            }
            if is_large {
                add_pieces(body as usize, extents, tasks);
                first = at + 1;
            } else {
                gathered += span;
            }
        }
        let end = order.len();
        tasks.extend((first < end).then_some(Task::Bodies(first..end)));
    }

    /// Returns the first bodies in the order of their places.
    fn order(&self, bodies: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..bodies as u32).collect();
        order.sort_by_key(|&body| self.extents(body as usize)[0].physical);
        order
    }

    fn extents(&self, body: usize) -> &[Extent] {
        let inode = self.demand.bodies[body].inode;
        self.placement.extents(&self.placement.maps[inode as usize])
    }
}

/// Adds a task for every mebibyte of a file that holds data.
fn add_pieces(body: usize, extents: &[Extent], tasks: &mut Vec<Task>) {
    let piece = TASK_BLOCKS as u32;
    let mut next = 0;
    for extent in extents {
        let mut first = next.max(extent.logical / piece * piece);
        while first < extent.logical + extent.length {
            tasks.push(Task::Piece { body, first });
            first = first.saturating_add(piece);
        }
        next = first;
    }
}

/// Blocks that are ready to be written, and where they go.
struct Batch {
    bytes: Vec<u8>,
    /// Blocks of `bytes` that are in use.
    filled: usize,
    /// First block on the device, first and number of blocks in `bytes`.
    runs: Vec<(u64, usize, usize)>,
}

impl Batch {
    fn new() -> Self {
        Batch { bytes: vec![0; 2 * TASK_BLOCKS * BLOCK], filled: 0, runs: Vec::new() }
    }

    /// Notes that the next `count` blocks go to `physical`.
    fn note(&mut self, physical: u64, count: usize) {
        match self.runs.last_mut() {
            Some((first, _, length)) if *first + *length as u64 == physical => *length += count,
            _ => self.runs.push((physical, self.filled, count)),
        }
        self.filled += count;
    }
}

struct Writer<'a> {
    layout: &'a Ext4Layout<'a>,
    /// The bodies to write, as positions in the demand, in the order of their places.
    order: Vec<u32>,
    device: &'a dyn BlockDevice,
    source: &'a dyn ContentSource,
    observer: Option<&'a dyn BlockObserver>,
    wanted: Wanted<'a>,
    step: Step,
    /// Buffers that no worker holds: one a worker in the end.
    spare: Mutex<Vec<Batch>>,
}

impl<'a> Writer<'a> {
    /// Makes a writer of everything that is no body, and of the first bodies.
    fn new(
        layout: &'a Ext4Layout<'a>,
        bodies: usize,
        device: &'a dyn BlockDevice,
        source: &'a dyn ContentSource,
        observer: Option<&'a dyn BlockObserver>,
        step: Step,
    ) -> Self {
        Writer {
            layout,
            order: layout.order(bodies),
            device,
            source,
            observer,
            wanted: &|_| true,
            step,
            spare: Mutex::default(),
        }
    }

    fn write(&self, job: &Job) -> Result<(), Ext4Error> {
        let facts = self.write_bitmaps(job)?;
        self.write_descriptors(&facts, job)?;
        job.workers.for_each(self.layout.tasks(&self.order).into_iter(), |task| {
            job.check()?;
            self.run(&task)
        })
    }

    fn run(&self, task: &Task) -> Result<(), Ext4Error> {
        match task {
            Task::Inodes { group, blocks } => self.write_inodes(*group, blocks.clone()),
            Task::Bodies(range) => self.with_batch(|batch| {
                let mut bodies = self.order[range.clone()].iter();
                bodies.try_for_each(|&body| self.fill(body as usize, 0..u32::MAX, batch))
            }),
            Task::Piece { body, first } => {
                let end = first.saturating_add(TASK_BLOCKS as u32);
                self.with_batch(|batch| self.fill(*body, *first..end, batch))
            }
            Task::Tree(body) => {
                let inode = self.layout.demand.bodies[*body].inode;
                self.write_tree(
                    self.layout.placement.numbers.number(inode),
                    &self.layout.placement.maps[inode as usize],
                )
            }
            Task::Attributes(blocks) => self.write_attributes(blocks.clone()),
            Task::Journal => self.write_journal(),
            Task::Resize => self.write_resize(),
        }
    }

    fn with_batch(&self, fill: impl FnOnce(&mut Batch) -> Result<(), Ext4Error>) -> Result<(), Ext4Error> {
        let spare = self.spare.lock().expect("because taking a buffer can't panic").pop();
        let mut batch = spare.unwrap_or_else(Batch::new);
        batch.filled = 0;
        batch.runs.clear();
        fill(&mut batch)?;
        for &(physical, first, count) in &batch.runs {
            self.put(physical, &batch.bytes[first * BLOCK..(first + count) * BLOCK])?;
        }
        self.spare.lock().expect("because giving a buffer back can't panic").push(batch);
        Ok(())
    }

    /// Adds the blocks of a body that lie in a range to a batch.
    fn fill(&self, body: usize, range: Range<u32>, batch: &mut Batch) -> Result<(), Ext4Error> {
        let position = self.layout.demand.bodies[body].inode;
        let extents = self.layout.extents(body);
        let skip = extents.partition_point(|extent| extent.logical + extent.length <= range.start);
        let own = extents[skip..].iter().take_while(|extent| extent.logical < range.end).map(|extent| {
            let first = extent.logical.max(range.start);
            let end = (extent.logical + extent.length).min(range.end);
            let physical = extent.physical + u64::from(first - extent.logical);
            Extent { logical: first, length: end - first, physical }
        });
        let own: Vec<Extent> = own.collect();
        let (Some(first), Some(last)) = (own.first(), own.last()) else { return Ok(()) };
        let blocks = |extent: &Extent| extent.physical..extent.physical + u64::from(extent.length);
        if !own.iter().flat_map(blocks).any(self.wanted) {
            return Ok(());
        }
        let first = first.logical;
        let span = (last.logical + last.length - first) as usize;
        let start = batch.filled * BLOCK;
        let out = &mut batch.bytes[start..start + span * BLOCK];
        self.render(position, first, out)?;
        if let Body::File(_) = self.layout.catalogue.inodes[position as usize].body {
            self.check_map(position, first, &own, out)?;
        }
        // Close up over the holes: what stays is one behind the other.
        let mut at = 0;
        for extent in &own {
            let from = (extent.logical - first) as usize * BLOCK;
            let length = extent.length as usize * BLOCK;
            if from != at {
                out.copy_within(from..from + length, at);
            }
            at += length;
        }
        own.iter().for_each(|extent| batch.note(extent.physical, extent.length as usize));
        Ok(())
    }

    /// Writes what a body holds from a block on.
    fn render(&self, position: u32, first: u32, out: &mut [u8]) -> Result<(), Ext4Error> {
        let layout = self.layout;
        match layout.catalogue.inodes[position as usize].body {
            Body::File(content) => self.read(position, content, first, out)?,
            Body::Symlink(target) => {
                out.fill(0);
                out[..target.len()].copy_from_slice(target);
            }
            Body::Directory(directory) => {
                let listing = &layout.catalogue.directories[directory as usize];
                let index = layout.indexes[directory as usize].as_ref();
                let numbers = &layout.placement.numbers;
                let renderer = Renderer::new(&layout.catalogue, numbers, listing, index, layout.seed);
                renderer.write(first as usize, out);
            }
            Body::Device(_) | Body::Fifo | Body::Socket => unreachable!("these have no blocks"),
        }
        Ok(())
    }

    fn read(&self, position: u32, content: &Content, first: u32, out: &mut [u8]) -> Result<(), Ext4Error> {
        let offset = u64::from(first) * BLOCK as u64;
        let length = (content.size - offset).min(out.len() as u64) as usize;
        let (bytes, rest) = out.split_at_mut(length);
        rest.fill(0);
        let read = self.source.read_at(content, offset, bytes);
        read.map_err(|source| content_error(self.layout.catalogue.path(position), source))
    }

    /// Holds what was read against the map by which the file was placed: a hole must be zero, a block
    /// that has a place must not be.
    fn check_map(&self, position: u32, first: u32, own: &[Extent], bytes: &[u8]) -> Result<(), Ext4Error> {
        let fault = |block: u32, problem: &str| {
            let path = self.layout.catalogue.path(position);
            Err(Ext4Error::Map { path, problem: format!("block {block} {problem}") })
        };
        let mut own = own.iter().peekable();
        for (bytes, block) in bytes.chunks_exact(BLOCK).zip(first..) {
            while own.next_if(|extent| extent.logical + extent.length <= block).is_some() {}
            let has_place = own.peek().is_some_and(|extent| extent.logical <= block);
            match (has_place, is_zero(bytes)) {
                (true, true) => return fault(block, "is zero, and the map says that it is not"),
                (false, false) => return fault(block, "is not zero, and the map says that it is"),
                _ => {}
            }
        }
        Ok(())
    }

    fn write_tree(&self, inode: u32, map: &super::place::Map) -> Result<(), Ext4Error> {
        let placement = &self.layout.placement;
        let (extents, tree) = (placement.extents(map), placement.tree(map));
        let seed = inode_seed(self.layout.seed, inode, 0);
        for (at, blocks) in tree.chunks(TASK_BLOCKS).enumerate() {
            self.with_batch(|batch| {
                let out = &mut batch.bytes[..blocks.len() * BLOCK];
                extents::write_tree(extents, tree, at * TASK_BLOCKS, seed, out);
                blocks.iter().for_each(|&block| batch.note(block, 1));
                Ok(())
            })?;
        }
        Ok(())
    }

    fn write_attributes(&self, range: Range<usize>) -> Result<(), Ext4Error> {
        let layout = self.layout;
        self.with_batch(|batch| {
            for position in range {
                let shared = &layout.shared[position];
                let block = layout.placement.attribute_blocks[position];
                let metadata = layout.catalogue.inodes[shared.inode as usize].metadata;
                let out = &mut batch.bytes[batch.filled * BLOCK..(batch.filled + 1) * BLOCK];
                out.fill(0);
                attributes::write_block(metadata, shared.references, block, layout.seed, out);
                batch.note(block, 1);
            }
            Ok(())
        })
    }

    fn write_inodes(&self, group: u32, blocks: Range<u64>) -> Result<(), Ext4Error> {
        let geometry = &self.layout.placement.geometry;
        let before = geometry.inodes_before(group);
        let end = superblock::group_inodes(self.layout, group).end;
        let count = (blocks.end - blocks.start) as usize;
        self.with_batch(|batch| {
            let out = &mut batch.bytes[..count * BLOCK];
            out.fill(0);
            let first = blocks.start * INODES_PER_BLOCK;
            for (position, out) in (first..end).zip(out.chunks_exact_mut(INODE_BYTES)) {
                inode::write(self.layout, (before + position + 1) as u32, out);
            }
            batch.note(geometry.places[group as usize].inode_table + blocks.start, count);
            Ok(())
        })
    }

    fn write_journal(&self) -> Result<(), Ext4Error> {
        let placement = &self.layout.placement;
        let map = placement.journal.as_ref().expect("because the task is there for it");
        let mut block = vec![0; BLOCK];
        superblock::write_journal_header(self.layout, &mut block);
        self.put(placement.extents(map)[0].physical, &block)?;
        self.write_tree(JOURNAL_INODE, map)
    }

    fn write_resize(&self) -> Result<(), Ext4Error> {
        let placement = &self.layout.placement;
        let mut block = vec![0; BLOCK];
        superblock::write_resize_index(&placement.geometry, &mut block);
        self.put(placement.resize.expect("because the task is there for it"), &block)
    }

    /// Writes the bitmaps, those of 16 groups at once, and returns what the descriptors say of them.
    fn write_bitmaps(&self, job: &Job) -> Result<Vec<GroupFacts>, Ext4Error> {
        let geometry = &self.layout.placement.geometry;
        let firsts: Vec<u32> = (0..geometry.groups).step_by(FLEX_GROUPS as usize).collect();
        let written = job.workers.try_map(firsts, |first| {
            job.check()?;
            let count = FLEX_GROUPS.min(geometry.groups - first) as usize;
            let mut bitmaps = vec![0; 2 * count * BLOCK];
            let (blocks, inodes) = bitmaps.split_at_mut(count * BLOCK);
            let facts = superblock::write_bitmaps(self.layout, first, blocks, inodes);
            let places = &geometry.places[first as usize..];
            let bitmaps = blocks.chunks_exact(BLOCK).zip(inodes.chunks_exact(BLOCK));
            for (places, (blocks, inodes)) in places.iter().zip(bitmaps) {
                self.put(places.block_bitmap, blocks)?;
                self.put(places.inode_bitmap, inodes)?;
            }
            Ok(facts)
        });
        let facts = written.map_err(|mut errors: Vec<Ext4Error>| errors.swap_remove(0))?;
        let mut facts = facts.concat();
        superblock::count_directories(self.layout, &mut facts);
        Ok(facts)
    }

    /// Writes superblock and descriptors, and their copies.
    fn write_descriptors(&self, facts: &[GroupFacts], job: &Job) -> Result<(), Ext4Error> {
        let geometry = &self.layout.placement.geometry;
        let behind = BLOCK * (1 + geometry.descriptor_blocks as usize);
        let mut base = vec![0; BLOCK * geometry.base_blocks(0) as usize];
        superblock::write_descriptors(self.layout, facts, &mut base[BLOCK..behind]);
        superblock::write_superblock(self.layout, 0, &mut base[1024..2048]);
        superblock::write_reserved(geometry, &mut base[behind..]);
        self.put(0, &base)?;
        base[..BLOCK].fill(0);
        for group in geometry.backups() {
            job.check()?;
            base[..1024].fill(0);
            superblock::write_superblock(self.layout, group, &mut base[..1024]);
            self.put(Geometry::group_start(group), &base[..behind])?;
        }
        Ok(())
    }

    /// Writes whole blocks, but none that is zero or not wanted, and shows them to the observer.
    fn put(&self, first: u64, bytes: &[u8]) -> Result<(), Ext4Error> {
        let mut start = 0;
        while start < bytes.len() {
            let count = |start: usize, left_out: bool| {
                let blocks = (first + (start / BLOCK) as u64..).zip(bytes[start..].chunks_exact(BLOCK));
                let is_left_out = |(block, bytes): &(u64, &[u8])| !(self.wanted)(*block) || is_zero(bytes);
                blocks.take_while(|block| is_left_out(block) == left_out).count() * BLOCK
            };
            start += count(start, true);
            let length = count(start, false);
            if length > 0 {
                self.write_out(first + (start / BLOCK) as u64, &bytes[start..start + length])?;
            }
            start += length;
        }
        self.step.advance(bytes.len() as u64);
        Ok(())
    }

    fn write_out(&self, first: u64, bytes: &[u8]) -> Result<(), Ext4Error> {
        let offset = first * BLOCK as u64;
        let written = self.device.write_at(offset, bytes);
        written.map_err(|source| Ext4Error::Write { offset, bytes: bytes.len(), source })?;
        if let Some(observer) = self.observer {
            observer.wrote(first, bytes);
        }
        Ok(())
    }
}

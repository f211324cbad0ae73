//! From a tree to the place of every block, before any of them is written.

use super::attributes::{self, SharedBlock};
use super::catalogue::{Body, Catalogue};
use super::directory::{self, Index};
use super::error::Ext4Error;
use super::format::*;
use super::inode::is_short;
use super::options::{Ext4Options, Ext4Placement};
use super::place::{Demand, Need, Placement};
use super::spread;
use crate::base::{Blocks, Bytes, Cancelled, Job};
use crate::tree::{Content, ContentError, ContentSource, DataMap, SealedTree};

/// Files whose maps are asked for by one worker at a time.
const FILES_AT_ONCE: usize = 512;

/// Says where every block of a filesystem stands. Holds no file's bytes.
pub struct Ext4Layout<'a> {
    pub(super) options: Ext4Options,
    pub(super) catalogue: Catalogue<'a>,
    pub(super) shared: Vec<SharedBlock>,
    pub(super) indexes: Vec<Option<Index>>,
    pub(super) demand: Demand,
    pub(super) placement: Placement,
    /// Seed of all checksums.
    pub(super) seed: u32,
}

impl Ext4Layout<'_> {
    /// Returns the exact length of the filesystem. Where a size was asked for, it can be up to a group
    /// (128 MiB) less: a last group that has no room for its own metadata is left out.
    pub fn blocks(&self) -> Blocks {
        Blocks(self.placement.geometry.blocks)
    }

    /// Returns the exact length of the filesystem in bytes.
    pub fn size(&self) -> Bytes {
        self.blocks().bytes()
    }

    /// Returns how many blocks are left over.
    pub fn free_blocks(&self) -> Blocks {
        Blocks(self.placement.free_blocks())
    }

    /// Returns how many inodes there are, and how many of them are in use.
    pub fn inodes(&self) -> (u64, u64) {
        let geometry = &self.placement.geometry;
        let all = geometry.inodes_per_group * u64::from(geometry.groups);
        (all, u64::from(self.catalogue.used_inodes()))
    }
}

/// Places a tree in a filesystem. Writes nothing and reads no content, but asks for the map of each
/// file's zero blocks. What can't be stored, or doesn't fit, is an error here. Costs about a
/// microsecond an entry.
pub fn plan<'a>(
    tree: &'a SealedTree,
    source: &dyn ContentSource,
    options: &Ext4Options,
    job: &Job,
) -> Result<Ext4Layout<'a>, Ext4Error> {
    options.check()?;
    let mut catalogue = Catalogue::new(tree)?;
    let shared = attributes::plan(&mut catalogue)?;
    let indexes = directory::plan(&catalogue, &options.hash_seed, job)?;
    let demand = demand(&catalogue, &indexes, shared.len(), source, job)?;
    let is_stable = options.placement == Ext4Placement::Stable && !options.journal && !options.growable;
    let limit = options.size.map(|size| size.0 / BLOCK as u64);
    let placement = if is_stable {
        let stable = spread::place(&catalogue, &shared, &demand, limit, job)?;
        stable.map_or_else(|| smallest_within(&demand, options), Ok)?
    } else {
        fit(&demand, options)?
    };
    let seed = filesystem_seed(&options.uuid);
    Ok(Ext4Layout { options: options.clone(), catalogue, shared, indexes, demand, placement, seed })
}

fn fit(demand: &Demand, options: &Ext4Options) -> Result<Placement, Ext4Error> {
    let Some(size) = options.size else {
        return smallest(demand, options);
    };
    let blocks = size.0 / BLOCK as u64;
    // A last group that is too short for its own metadata is left out.
    let whole_groups = blocks / GROUP_BLOCKS * GROUP_BLOCKS;
    for blocks in [blocks, whole_groups] {
        match Placement::new(blocks, demand, options) {
            Ok(placement) => return Ok(placement),
            Err(_) if blocks == whole_groups => break,
            Err(_) => {}
        }
    }
    let needed = smallest(demand, options)?.geometry.blocks;
    Err(Ext4Error::DoesNotFit { needed: Blocks(needed).bytes(), size })
}

/// Places densely what has no room for stable places.
fn smallest_within(demand: &Demand, options: &Ext4Options) -> Result<Placement, Ext4Error> {
    let placement = smallest(demand, options)?;
    let needed = Blocks(placement.geometry.blocks).bytes();
    match options.size {
        Some(size) if size < needed => Err(Ext4Error::DoesNotFit { needed, size }),
        _ => Ok(placement),
    }
}

/// Grows a filesystem from nothing by what was found missing, until everything has its place.
fn smallest(demand: &Demand, options: &Ext4Options) -> Result<Placement, Ext4Error> {
    let content: u64 = demand.runs.iter().map(|run| u64::from(run.1)).sum();
    let mut blocks = 1 + content + demand.attribute_blocks as u64;
    loop {
        let size = Blocks(blocks).bytes();
        if size.0 > FILESYSTEM_BYTES_MAX {
            return Err(Ext4Error::FilesystemTooLarge { size, limit: Bytes(FILESYSTEM_BYTES_MAX) });
        }
        match Placement::new(blocks, demand, options) {
            Ok(placement) => return Ok(placement),
            Err(missing) => blocks += missing,
        }
    }
}

fn demand(
    catalogue: &Catalogue,
    indexes: &[Option<Index>],
    attribute_blocks: usize,
    source: &dyn ContentSource,
    job: &Job,
) -> Result<Demand, Ext4Error> {
    let mut demand = Demand {
        inodes: catalogue.inodes.len(),
        used_inodes: catalogue.used_inodes(),
        bodies: Vec::with_capacity(catalogue.inodes.len()),
        files_from: 0,
        runs: Vec::with_capacity(catalogue.inodes.len()),
        attribute_blocks,
    };
    for (directory, index) in catalogue.directories.iter().zip(indexes) {
        demand.push(directory.inode, [(0, index.as_ref().map_or(1, Index::blocks) as u32)]);
    }
    for (position, inode) in (0..).zip(&catalogue.inodes) {
        if matches!(inode.body, Body::Symlink(target) if !is_short(target)) {
            demand.push(position, [(0, 1)]);
        }
    }
    demand.files_from = demand.bodies.len();
    for (position, map) in file_maps(catalogue, source, job)?.into_iter().flatten() {
        demand.push(position, map.runs().iter().map(|&(first, count)| (first as u32, count as u32)));
    }
    Ok(demand)
}

impl Demand {
    fn push(&mut self, inode: u32, runs: impl IntoIterator<Item = (u32, u32)>) {
        let first = self.runs.len();
        self.runs.extend(runs);
        let count = (self.runs.len() - first) as u32;
        if count > 0 {
            self.bodies.push(Need { inode, first: first as u32, count });
        }
    }
}

type FileMaps = Vec<(u32, DataMap)>;

/// Asks for the map of every file that is not empty, in tree order.
fn file_maps(
    catalogue: &Catalogue,
    source: &dyn ContentSource,
    job: &Job,
) -> Result<Vec<FileMaps>, Ext4Error> {
    let files: Vec<(u32, &Content)> = (0..)
        .zip(&catalogue.inodes)
        .filter_map(|(position, inode)| match inode.body {
            Body::File(content) if content.size > 0 => Some((position, content)),
            _ => None,
        })
        .collect();
    let maps = job.workers.try_map(files.chunks(FILES_AT_ONCE).collect(), |files| {
        job.check()?;
        files
            .iter()
            .map(|&(position, content)| Ok((position, file_map(catalogue, position, content, source)?)))
            .collect()
    });
    maps.map_err(|mut errors| errors.swap_remove(0))
}

fn file_map(
    catalogue: &Catalogue,
    position: u32,
    content: &Content,
    source: &dyn ContentSource,
) -> Result<DataMap, Ext4Error> {
    let path = || catalogue.path(position);
    let map = source.data_map(content).map_err(|source| content_error(path(), source))?;
    let mut end = 0;
    for &(first, count) in map.runs() {
        if count == 0 || (end > 0 && first <= end) {
            let problem = format!("{count} blocks at {first} follow what ends at {end}");
            return Err(Ext4Error::Map { path: path(), problem });
        }
        end = first.saturating_add(count);
    }
    let blocks = Bytes(content.size).blocks().0;
    if end > blocks {
        let problem = format!("it reaches to block {end}, the file has {blocks}");
        return Err(Ext4Error::Map { path: path(), problem });
    }
    Ok(map)
}

/// Keeps an interruption what it is.
pub(super) fn content_error(path: crate::base::ImagePath, source: ContentError) -> Ext4Error {
    match source {
        ContentError::Cancelled(Cancelled) => Ext4Error::Cancelled(Cancelled),
        source => Ext4Error::Content { path, source },
    }
}

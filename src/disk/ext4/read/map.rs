//! The extents of an inode, from its tree.

use super::Ext4Reader;
use super::error::{Result, damaged};
use super::inode::Inode;
use crate::disk::ext4::extents::Extent;
use crate::disk::ext4::format::*;

/// Deepest tree that the kernel makes.
const DEPTH_MAX: u16 = 5;

/// Written extents, ascending. What lies between them, or is allocated but not written, is zero.
pub struct Mapping {
    extents: Vec<Extent>,
}

impl Mapping {
    /// Returns all extents, ascending.
    pub fn into_extents(self) -> Vec<Extent> {
        self.extents
    }

    /// Returns the extents that touch a range of blocks of the file.
    pub fn within(&self, first: u64, end: u64) -> impl Iterator<Item = &Extent> {
        let skip = self
            .extents
            .partition_point(|extent| u64::from(extent.logical) + u64::from(extent.length) <= first);
        self.extents[skip..].iter().take_while(move |extent| u64::from(extent.logical) < end)
    }
}

/// Reads the extent tree of an inode. Extents must ascend, so that no block of the tree is met twice
/// and the work is bounded by the device.
pub fn read(reader: &Ext4Reader, inode: &Inode) -> Result<Mapping> {
    if inode.flags & INODE_EXTENTS == 0 {
        return damaged("inode", inode.number, "it has no extents");
    }
    let mut collector = Collector { reader, inode, next: 0, extents: Vec::new() };
    let depth = header(inode, &inode.block, EXTENTS_INLINE)?.1;
    if depth > DEPTH_MAX {
        return damaged("inode", inode.number, format!("its extent tree is {depth} levels deep"));
    }
    let mut waiting = collector.node(&inode.block, depth, EXTENTS_INLINE)?;
    while let Some((block, depth)) = waiting.pop() {
        let bytes = reader.read_block(block, "extent block")?;
        let computed = crc(inode.seed, &bytes[..BLOCK - 4]);
        reader.check_sum("extent block", block, get32(&bytes, BLOCK - 4), computed)?;
        let children = collector.node(&bytes, depth, EXTENTS_PER_BLOCK)?;
        waiting.extend(children);
    }
    Ok(Mapping { extents: collector.extents })
}

struct Collector<'a> {
    reader: &'a Ext4Reader<'a>,
    inode: &'a Inode,
    /// First block of the file that the next extent may begin with.
    next: u64,
    extents: Vec<Extent>,
}

/// Returns count and depth of a node.
fn header(inode: &Inode, node: &[u8], most: usize) -> Result<(usize, u16)> {
    let (magic, count, places) = (get16(node, 0), get16(node, 2), get16(node, 4));
    if magic != EXTENT_MAGIC || usize::from(places) > most || count > places {
        let problem = format!("an extent node with magic {magic:#x} and {count} of {places} entries");
        return damaged("inode", inode.number, problem);
    }
    Ok((count.into(), get16(node, 6)))
}

impl Collector<'_> {
    /// Takes the extents of a node, or returns its children, last first.
    fn node(&mut self, node: &[u8], depth: u16, most: usize) -> Result<Vec<(u64, u16)>> {
        let (count, own_depth) = header(self.inode, node, most)?;
        if own_depth != depth || (count == 0 && (most > EXTENTS_INLINE || depth > 0)) {
            let problem = format!(
                "an extent node of depth {own_depth} with {count} entries where one of depth {depth} belongs"
            );
            return damaged("inode", self.inode.number, problem);
        }
        let entries = node[12..].chunks_exact(12).take(count);
        if depth == 0 {
            for entry in entries {
                self.extent(entry)?;
            }
            return Ok(Vec::new());
        }
        let child = |entry: &[u8]| u64::from(get32(entry, 4)) | u64::from(get16(entry, 8)) << 32;
        let mut children: Vec<_> = entries.map(|entry| (child(entry), depth - 1)).collect();
        children.reverse();
        Ok(children)
    }

    fn extent(&mut self, entry: &[u8]) -> Result<()> {
        let (logical, length) = (get32(entry, 0), u32::from(get16(entry, 4)));
        let physical = u64::from(get32(entry, 8)) | u64::from(get16(entry, 6)) << 32;
        let is_written = u64::from(length) <= EXTENT_BLOCKS_MAX;
        let length = if is_written { length } else { length - EXTENT_BLOCKS_MAX as u32 };
        let end = u64::from(logical) + u64::from(length);
        let is_inside = physical > 0 && physical + u64::from(length) <= self.reader.facts.blocks.0;
        if length == 0 || u64::from(logical) < self.next || end > u64::from(u32::MAX) || !is_inside {
            let problem =
                format!("an extent of {length} blocks at {logical}, on the disk at {physical}, can't be");
            return damaged("inode", self.inode.number, problem);
        }
        self.next = end;
        if is_written {
            self.extents.push(Extent { logical, length, physical });
        }
        Ok(())
    }
}

//! Extents: runs of blocks, and the tree that holds more than four of them.

use super::format::*;

/// Blocks of a file that lie together on the disk. All are written; holes have no extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block, counted in the file.
    pub logical: u32,
    /// At most [`EXTENT_BLOCKS_MAX`].
    pub length: u32,
    /// First block, counted in the filesystem.
    pub physical: u64,
}

/// Returns how many blocks each level of the tree takes, leaves first; none where the inode has room.
fn levels(extents: usize) -> Vec<usize> {
    let mut levels = Vec::new();
    let mut width = extents;
    while width > EXTENTS_INLINE {
        width = width.div_ceil(EXTENTS_PER_BLOCK);
        levels.push(width);
    }
    levels
}

/// Returns how many blocks the tree of so many extents takes beside the inode.
pub fn tree_blocks(extents: usize) -> usize {
    if extents <= EXTENTS_INLINE { 0 } else { levels(extents).iter().sum() }
}

/// Writes the node that stands in the inode: the extents themselves, or the top of their tree, whose
/// blocks are `tree`, leaves first.
pub fn write_root(extents: &[Extent], tree: &[u64], node: &mut [u8]) {
    let levels = levels(extents.len());
    let Some(top) = levels.last() else {
        return write_leaf(extents, EXTENTS_INLINE, node);
    };
    let children = &tree[tree.len() - top..];
    let span = EXTENTS_PER_BLOCK.saturating_pow(levels.len() as u32);
    write_index(extents.chunks(span).zip(children), EXTENTS_INLINE, levels.len(), node);
}

/// Writes the tree blocks from position `first` on, one after the other, with their checksums.
pub fn write_tree(extents: &[Extent], tree: &[u64], first: usize, seed: u32, out: &mut [u8]) {
    let levels = levels(extents.len());
    for (at, block) in out.chunks_exact_mut(BLOCK).enumerate() {
        let mut position = first + at;
        let mut start = 0;
        let mut depth = 0;
        while position >= levels[depth] {
            position -= levels[depth];
            start += levels[depth];
            depth += 1;
        }
        let span = EXTENTS_PER_BLOCK.pow(depth as u32 + 1);
        let own = extents.chunks(span).nth(position).expect("because a level covers all extents");
        block.fill(0);
        if depth == 0 {
            write_leaf(own, EXTENTS_PER_BLOCK, block);
        } else {
            let below = start - levels[depth - 1] + position * EXTENTS_PER_BLOCK;
            let children = own.chunks(span / EXTENTS_PER_BLOCK).zip(&tree[below..]);
            write_index(children, EXTENTS_PER_BLOCK, depth, block);
        }
        let checksum = crc(seed, &block[..BLOCK - 4]);
        put32(block, BLOCK - 4, checksum);
    }
}

fn write_header(node: &mut [u8], count: usize, most: usize, depth: usize) {
    put16(node, 0, EXTENT_MAGIC);
    put16(node, 2, count as u16);
    put16(node, 4, most as u16);
    put16(node, 6, depth as u16);
}

fn write_leaf(extents: &[Extent], most: usize, node: &mut [u8]) {
    write_header(node, extents.len(), most, 0);
    for (extent, entry) in extents.iter().zip(node[12..].chunks_exact_mut(12)) {
        put32(entry, 0, extent.logical);
        put16(entry, 4, extent.length as u16);
        put16(entry, 6, (extent.physical >> 32) as u16);
        put32(entry, 8, extent.physical as u32);
    }
}

fn write_index<'a>(
    children: impl Iterator<Item = (&'a [Extent], &'a u64)>,
    most: usize,
    depth: usize,
    node: &mut [u8],
) {
    let mut count = 0;
    for (extents, &block) in children {
        let entry = &mut node[12 + count * 12..];
        put32(entry, 0, extents[0].logical);
        put32(entry, 4, block as u32);
        put16(entry, 8, (block >> 32) as u16);
        count += 1;
    }
    write_header(node, count, most, depth);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_as_low_as_can_be() {
        assert_eq!(tree_blocks(4), 0);
        assert_eq!(tree_blocks(5), 1);
        assert_eq!(tree_blocks(1360), 4);
        assert_eq!(tree_blocks(1361), 5 + 1);
        assert_eq!(tree_blocks(116_000), 342 + 2);
        assert_eq!(levels(4 * 340 * 340).len(), 2);
        assert_eq!(levels(4 * 340 * 340 + 1).len(), 3);
    }
}

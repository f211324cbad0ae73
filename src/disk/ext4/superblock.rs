//! The superblock, the group descriptors, the bitmaps, and what a journal and a resize inode begin with.

use super::Ext4Layout;
use super::format::*;
use super::geometry::Geometry;
use super::inode;
use super::numbers::GroupInodes;

/// What the descriptor of a group says of its bitmaps.
#[derive(Clone, Copy, Default)]
pub struct GroupFacts {
    free_blocks: u64,
    inodes: GroupInodes,
    directories: u32,
    flags: u16,
    block_checksum: u32,
    inode_checksum: u32,
}

/// Writes the bitmap blocks of groups, `first` and those behind it, and returns what is to be said of
/// them. A bitmap that the kernel can make itself stays zero.
pub fn write_bitmaps(
    layout: &Ext4Layout,
    first: u32,
    blocks: &mut [u8],
    inodes: &mut [u8],
) -> Vec<GroupFacts> {
    let bitmaps = blocks.chunks_exact_mut(BLOCK).zip(inodes.chunks_exact_mut(BLOCK));
    (first..)
        .zip(bitmaps)
        .map(|(group, (blocks, inodes))| write_group(layout, group, blocks, inodes))
        .collect()
}

fn write_group(layout: &Ext4Layout, group: u32, blocks: &mut [u8], inodes: &mut [u8]) -> GroupFacts {
    let geometry = &layout.placement.geometry;
    let start = Geometry::group_start(group);
    let length = geometry.group_blocks(group);
    let free: Vec<_> = layout.placement.free_within(start, start + length).collect();
    let mut facts = GroupFacts { flags: GROUP_TABLE_ZEROED, ..GroupFacts::default() };
    facts.free_blocks = free.iter().map(|run| run.1).sum();
    facts.inodes = group_inodes(layout, group);
    let is_plain =
        group > 0 && group + 1 < geometry.groups && facts.free_blocks == length - geometry.base_blocks(group);
    if is_plain {
        facts.flags |= GROUP_BLOCK_UNINIT;
    } else {
        blocks.fill(0xff);
        for (first, count) in free {
            set_bits(blocks, (first - start) as usize, count as usize, false);
        }
        facts.block_checksum = crc(layout.seed, blocks);
    }
    if facts.inodes.used == 0 {
        facts.flags |= GROUP_INODE_UNINIT;
    } else {
        let (end, all) = (facts.inodes.end as usize, geometry.inodes_per_group as usize);
        if facts.inodes.used == facts.inodes.end {
            set_bits(inodes, 0, end, true);
        } else {
            let number = |at| geometry.inodes_before(group) as u32 + at as u32 + 1;
            let used = (0..end).filter(|&at| layout.placement.numbers.is_used(number(at)));
            used.for_each(|at| inodes[at / 8] |= 1 << (at % 8));
        }
        set_bits(inodes, all, BLOCK * 8 - all, true);
        facts.inode_checksum = crc(layout.seed, &inodes[..all / 8]);
    }
    facts
}

/// Returns what a group's inode table holds.
pub fn group_inodes(layout: &Ext4Layout, group: u32) -> GroupInodes {
    let geometry = &layout.placement.geometry;
    layout.placement.numbers.group(geometry.inodes_before(group), geometry.inodes_per_group)
}

fn set_bits(bitmap: &mut [u8], first: usize, count: usize, value: bool) {
    let end = first + count;
    let mut at = first;
    while at < end {
        if at.is_multiple_of(8) && at + 8 <= end {
            let bytes = (end - at) / 8;
            bitmap[at / 8..at / 8 + bytes].fill(if value { 0xff } else { 0 });
            at += bytes * 8;
        } else {
            let bit = 1 << (at % 8);
            if value {
                bitmap[at / 8] |= bit
            } else {
                bitmap[at / 8] &= !bit
            }
            at += 1;
        }
    }
}

/// Counts the directories of each group.
pub fn count_directories(layout: &Ext4Layout, facts: &mut [GroupFacts]) {
    for directory in inode::directory_numbers(layout) {
        let group = u64::from(directory - 1) / layout.placement.geometry.inodes_per_group;
        facts[group as usize].directories += 1;
    }
}

/// Writes the descriptors of all groups.
pub fn write_descriptors(layout: &Ext4Layout, facts: &[GroupFacts], out: &mut [u8]) {
    let geometry = &layout.placement.geometry;
    for (group, descriptor) in (0..geometry.groups).zip(out.chunks_exact_mut(DESCRIPTOR_BYTES)) {
        let places = geometry.places[group as usize];
        let facts = facts[group as usize];
        put_split(descriptor, 0x00, 0x20, places.block_bitmap);
        put_split(descriptor, 0x04, 0x24, places.inode_bitmap);
        put_split(descriptor, 0x08, 0x28, places.inode_table);
        let free = geometry.inodes_per_group - facts.inodes.used;
        let unused = geometry.inodes_per_group - facts.inodes.end;
        put16(descriptor, 0x0c, facts.free_blocks as u16);
        put16(descriptor, 0x0e, free as u16);
        put16(descriptor, 0x10, facts.directories as u16);
        put16(descriptor, 0x12, facts.flags);
        put16(descriptor, 0x18, facts.block_checksum as u16);
        put16(descriptor, 0x1a, facts.inode_checksum as u16);
        put16(descriptor, 0x1c, unused as u16);
        put16(descriptor, 0x38, (facts.block_checksum >> 16) as u16);
        put16(descriptor, 0x3a, (facts.inode_checksum >> 16) as u16);
        let checksum = crc(crc(layout.seed, &group.to_le_bytes()), descriptor);
        put16(descriptor, 0x1e, checksum as u16);
    }
}

/// Writes the superblock's 1024 bytes as they stand in a group.
pub fn write_superblock(layout: &Ext4Layout, group: u32, out: &mut [u8]) {
    write_counts(layout, out);
    write_features(layout, out);
    let options = &layout.options;
    put16(out, 0x5a, group as u16);
    out[0x68..0x78].copy_from_slice(&options.uuid);
    out[0x78..0x78 + options.label.len()].copy_from_slice(&options.label);
    out[0xec..0xfc].copy_from_slice(&options.hash_seed);
    // Written, last checked, made; this clock has 40 bits and no sign.
    let seconds = options.epoch_seconds.max(0) as u64;
    for (low, high) in [(0x30, 0x274), (0x40, 0x277), (0x108, 0x276)] {
        put32(out, low, seconds as u32);
        out[high] = (seconds >> 32) as u8;
    }
    if let Some(map) = &layout.placement.journal {
        put32(out, 0xe0, JOURNAL_INODE);
        out[0xfd] = 1; // the copy of the inode follows
        out[0x10c..0x150].copy_from_slice(&inode::journal_copy(layout, map));
    }
    let checksum = crc(!0, &out[..0x3fc]);
    put32(out, 0x3fc, checksum);
}

fn write_counts(layout: &Ext4Layout, out: &mut [u8]) {
    let geometry = &layout.placement.geometry;
    let inodes = geometry.inodes_per_group * u64::from(geometry.groups);
    put32(out, 0x00, inodes as u32);
    put_split(out, 0x04, 0x150, geometry.blocks);
    put_split(out, 0x0c, 0x158, layout.placement.free_blocks());
    put32(out, 0x10, inodes as u32 - layout.catalogue.used_inodes());
    put32(out, 0x18, 2); // blocks of 1024 << 2 bytes
    put32(out, 0x1c, 2);
    put32(out, 0x20, GROUP_BLOCKS as u32);
    put32(out, 0x24, GROUP_BLOCKS as u32);
    put32(out, 0x28, geometry.inodes_per_group as u32);
    put16(out, 0xce, geometry.reserved_descriptor_blocks as u16);
    put16(out, 0xfe, DESCRIPTOR_BYTES as u16);
}

fn write_features(layout: &Ext4Layout, out: &mut [u8]) {
    put16(out, 0x36, u16::MAX); // mounts before a check: no limit
    put16(out, 0x38, SUPER_MAGIC);
    put16(out, 0x3a, 1); // clean
    put16(out, 0x3c, 1); // on errors, go on
    put32(out, 0x4c, 1); // revision with features
    put32(out, 0x54, FIRST_INODE);
    put16(out, 0x58, INODE_BYTES as u16);
    let journal = if layout.placement.journal.is_some() { COMPAT_HAS_JOURNAL } else { 0 };
    let resize = if layout.placement.resize.is_some() { COMPAT_RESIZE_INODE } else { 0 };
    put32(out, 0x5c, COMPAT_EXT_ATTR | COMPAT_DIR_INDEX | journal | resize);
    put32(out, 0x60, INCOMPAT_FILETYPE | INCOMPAT_EXTENTS | INCOMPAT_64BIT | INCOMPAT_FLEX_BG);
    let read_only = RO_SPARSE_SUPER | RO_LARGE_FILE | RO_HUGE_FILE | RO_DIR_NLINK;
    put32(out, 0x64, read_only | RO_EXTRA_ISIZE | RO_METADATA_CSUM);
    out[0xfc] = 1; // half MD4
    put32(out, 0x100, 0xc); // user xattrs, ACLs
    put16(out, 0x15c, (INODE_EXTRA_END - 128) as u16);
    put16(out, 0x15e, (INODE_EXTRA_END - 128) as u16);
    put32(out, 0x160, 1); // names hash as signed bytes, on every machine
    out[0x174] = FLEX_GROUPS.trailing_zeros() as u8;
    out[0x175] = 1; // CRC-32C
}

/// Writes the first block of the journal: an empty log.
pub fn write_journal_header(layout: &Ext4Layout, out: &mut [u8]) {
    let blocks = layout.placement.geometry.journal_blocks as u32;
    // Big-endian: magic, superblock version 2, -, block size, blocks, first block, first sequence.
    for (at, value) in [(0, 0xc03b_3998), (4, 4), (12, BLOCK as u32), (16, blocks), (20, 1), (24, 1), (64, 1)]
    {
        out[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
    }
    out[48..64].copy_from_slice(&layout.options.uuid);
}

/// Writes the block of the resize inode that names the blocks kept behind the descriptors.
pub fn write_resize_index(geometry: &Geometry, out: &mut [u8]) {
    let pointers = BLOCK as u64 / 4;
    for kept in 0..geometry.reserved_descriptor_blocks {
        let position = geometry.descriptor_blocks + kept;
        put32(out, (position % pointers) as usize * 4, (1 + position) as u32);
    }
}

/// Writes the blocks kept behind the descriptors of group 0: each names its copies.
pub fn write_reserved(geometry: &Geometry, out: &mut [u8]) {
    for (kept, block) in (0..).zip(out.chunks_exact_mut(BLOCK)) {
        let own = 1 + geometry.descriptor_blocks + kept;
        for (at, group) in geometry.backups().enumerate() {
            put32(block, at * 4, (Geometry::group_start(group) + own) as u32);
        }
    }
}

//! One inode as 256 bytes.

use super::catalogue::Body;
use super::extents;
use super::format::*;
use super::geometry::Geometry;
use super::place::{Map, Placement};
use super::{Ext4Layout, attributes};
use crate::tree::Device;

/// What the fixed part of an inode says.
struct Fields {
    mode: u16,
    uid: u32,
    gid: u32,
    size: u64,
    links: u16,
    /// In filesystem blocks.
    blocks: u64,
    flags: u32,
    attribute_block: u64,
}

impl Fields {
    fn regular(size: u64, blocks: u64, flags: u32) -> Self {
        let mode = MODE_REGULAR | 0o600;
        Fields { mode, uid: 0, gid: 0, size, links: 1, blocks, flags, attribute_block: 0 }
    }

    fn write(&self, epoch_seconds: i64, out: &mut [u8]) {
        put16(out, 0x00, self.mode);
        put16(out, 0x02, self.uid as u16);
        put16(out, 0x18, self.gid as u16);
        put16(out, 0x78, (self.uid >> 16) as u16);
        put16(out, 0x7a, (self.gid >> 16) as u16);
        put_split(out, 0x04, 0x6c, self.size);
        put16(out, 0x1a, self.links);
        let sectors = self.blocks * (BLOCK as u64 / 512);
        put32(out, 0x1c, sectors as u32);
        put16(out, 0x74, (sectors >> 32) as u16);
        put32(out, 0x20, self.flags);
        put32(out, 0x68, self.attribute_block as u32);
        put16(out, 0x76, (self.attribute_block >> 32) as u16);
        put16(out, 0x80, (INODE_EXTRA_END - 128) as u16);
        let (low, extra) = encode_time(epoch_seconds);
        // Accessed, changed, modified, created.
        for (at, extra_at) in [(0x08, 0x8c), (0x0c, 0x84), (0x10, 0x88), (0x90, 0x94)] {
            put32(out, at, low);
            put32(out, extra_at, extra);
        }
    }
}

const BLOCK_FIELD: std::ops::Range<usize> = 0x28..0x64;

/// Writes the inode of a number, with its checksum; nothing for one that is not in use.
pub fn write(layout: &Ext4Layout, inode: u32, out: &mut [u8]) {
    match inode {
        JOURNAL_INODE => match &layout.placement.journal {
            Some(map) => write_journal(layout, map, out),
            None => return,
        },
        RESIZE_INODE => match layout.placement.resize {
            Some(block) => write_resize(layout, block, out),
            None => return,
        },
        _ => match layout.placement.numbers.position(inode) {
            Some(position) => write_listed(layout, position, out),
            None => return,
        },
    }
    let checksum = crc(inode_seed(layout.seed, inode, 0), out);
    put16(out, 0x7c, checksum as u16);
    put16(out, 0x82, (checksum >> 16) as u16);
}

fn write_listed(layout: &Ext4Layout, position: u32, out: &mut [u8]) {
    let inode = &layout.catalogue.inodes[position as usize];
    let map = &layout.placement.maps[position as usize];
    let shared = layout.placement.attribute_blocks.get(inode.attribute_block as usize);
    let (size, flags) = match inode.body {
        Body::Directory(directory) => match &layout.indexes[directory as usize] {
            Some(index) => ((index.blocks() * BLOCK) as u64, INODE_EXTENTS | INODE_INDEX),
            None => (BLOCK as u64, INODE_EXTENTS),
        },
        Body::File(content) => (content.size, INODE_EXTENTS),
        Body::Symlink(target) if is_short(target) => (target.len() as u64, 0),
        Body::Symlink(target) => (target.len() as u64, INODE_EXTENTS),
        Body::Device(_) | Body::Fifo | Body::Socket => (0, 0),
    };
    let permissions = match inode.body {
        Body::Symlink(_) => 0o777,
        _ => inode.metadata.mode,
    };
    let fields = Fields {
        mode: inode.body.mode() | permissions,
        uid: inode.metadata.uid,
        gid: inode.metadata.gid,
        size,
        // A directory with more says 1: "unknown" (`dir_nlink`).
        links: if inode.links > LINKS_MAX { 1 } else { inode.links as u16 },
        blocks: layout.placement.blocks(map) + u64::from(shared.is_some()),
        flags,
        attribute_block: shared.copied().unwrap_or(0),
    };
    fields.write(layout.options.epoch_seconds, out);
    match inode.body {
        Body::Symlink(target) if is_short(target) => out[BLOCK_FIELD][..target.len()].copy_from_slice(target),
        Body::Device(device) => write_device(device, &mut out[BLOCK_FIELD]),
        Body::Fifo | Body::Socket => {}
        _ => write_map(layout, map, out),
    }
    attributes::write_inode(inode.metadata, out);
}

/// Tells whether the inode itself has room for the target of a symlink and a NUL.
pub fn is_short(target: &[u8]) -> bool {
    target.len() < BLOCK_FIELD.end - BLOCK_FIELD.start
}

fn write_map(layout: &Ext4Layout, map: &Map, out: &mut [u8]) {
    let placement: &Placement = &layout.placement;
    extents::write_root(placement.extents(map), placement.tree(map), &mut out[BLOCK_FIELD]);
}

/// Old numbers (8 and 8 bits) stand in the first word, others in the second.
fn write_device(device: &Device, field: &mut [u8]) {
    let (major, minor) = (device.major, device.minor);
    if major < 256 && minor < 256 {
        put32(field, 0, major << 8 | minor);
    } else {
        put32(field, 4, minor & 0xff | major << 8 | (minor & !0xff) << 12);
    }
}

fn write_journal(layout: &Ext4Layout, map: &Map, out: &mut [u8]) {
    let size = layout.placement.geometry.journal_blocks * BLOCK as u64;
    let fields = Fields::regular(size, layout.placement.blocks(map), INODE_EXTENTS);
    fields.write(layout.options.epoch_seconds, out);
    write_map(layout, map, out);
}

/// The resize inode owns the blocks that are kept for descriptors, in old indirect blocks: the block
/// kept behind the descriptors of group 0 names its copies.
fn write_resize(layout: &Ext4Layout, block: u64, out: &mut [u8]) {
    let geometry: &Geometry = &layout.placement.geometry;
    let copies = 1 + geometry.backups().count() as u64;
    let pointers = (BLOCK / 4) as u64;
    let size = (12 + pointers + pointers * pointers) * BLOCK as u64;
    let blocks = 1 + geometry.reserved_descriptor_blocks * copies;
    Fields::regular(size, blocks, 0).write(layout.options.epoch_seconds, out);
    put32(out, BLOCK_FIELD.start + 13 * 4, block as u32);
}

/// Returns the copy of the journal's inode that the superblock keeps: its block field, size high, low.
pub fn journal_copy(layout: &Ext4Layout, map: &Map) -> [u8; 68] {
    let mut inode = [0; INODE_BYTES];
    write_journal(layout, map, &mut inode);
    let mut copy = [0; 68];
    copy[..60].copy_from_slice(&inode[BLOCK_FIELD]);
    copy[60..64].copy_from_slice(&inode[0x6c..0x70]);
    copy[64..].copy_from_slice(&inode[0x04..0x08]);
    copy
}

/// Returns the numbers of the directories' inodes.
pub fn directory_numbers(layout: &Ext4Layout) -> impl Iterator<Item = u32> {
    layout.catalogue.directories.iter().map(|directory| layout.placement.numbers.number(directory.inode))
}

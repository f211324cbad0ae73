//! One inode, checked.

use super::Ext4Reader;
use super::error::{Result, damaged};
use crate::disk::ext4::format::*;

/// The fields of an inode that a reader needs.
pub struct Inode {
    pub number: u32,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub links: u16,
    pub flags: u32,
    pub attribute_block: u64,
    /// Seconds since 1970 of the last change of the content.
    pub modified: i64,
    /// Extents, the target of a short symlink, or a device number.
    pub block: [u8; 60],
    /// What stands behind the extra fields: extended attributes.
    pub tail: Vec<u8>,
    /// Seed of the checksums of what belongs to it.
    pub seed: u32,
}

/// Flags of features that are not read here: verity, inline data, encryption, extended attribute inodes.
const FLAGS_UNKNOWN: u32 = 0x0800 | 0x0010_0000 | 0x0020_0000 | 0x1000_0000;

pub fn read(reader: &Ext4Reader, number: u32) -> Result<Inode> {
    let per_group = reader.inodes_per_group;
    let group = number.wrapping_sub(1) / per_group;
    let Some(table) = reader.tables.get(group as usize).filter(|_| number > 0) else {
        return damaged("inode", number, format!("there are {} inodes", reader.facts.inodes));
    };
    let mut bytes = [0; INODE_BYTES];
    let position = u64::from((number - 1) % per_group);
    reader.read_bytes(table * BLOCK as u64 + position * INODE_BYTES as u64, &mut bytes)?;
    let seed = inode_seed(reader.seed, number, get32(&bytes, 0x64));
    check(reader, number, seed, &bytes)?;
    Ok(decode(number, seed, &bytes))
}

fn check(reader: &Ext4Reader, number: u32, seed: u32, bytes: &[u8; INODE_BYTES]) -> Result<()> {
    let extra = usize::from(get16(bytes, 0x80));
    if !(32..=INODE_BYTES - 128).contains(&extra) || !extra.is_multiple_of(4) {
        return damaged("inode", number, format!("its extra fields have {extra} bytes"));
    }
    let stored = u32::from(get16(bytes, 0x7c)) | u32::from(get16(bytes, 0x82)) << 16;
    let mut plain = *bytes;
    put16(&mut plain, 0x7c, 0);
    put16(&mut plain, 0x82, 0);
    reader.check_sum("inode", number.into(), stored, crc(seed, &plain))?;
    let flags = get32(bytes, 0x20);
    if flags & FLAGS_UNKNOWN != 0 {
        return damaged("inode", number, format!("flags {flags:#x} are of features that it can't use"));
    }
    Ok(())
}

fn decode(number: u32, seed: u32, bytes: &[u8; INODE_BYTES]) -> Inode {
    let wide = |low, high| u32::from(get16(bytes, low)) | u32::from(get16(bytes, high)) << 16;
    let extra = usize::from(get16(bytes, 0x80));
    let epochs = i64::from(get32(bytes, 0x88) & 3) << 32;
    Inode {
        number,
        mode: get16(bytes, 0x00),
        uid: wide(0x02, 0x78),
        gid: wide(0x18, 0x7a),
        size: u64::from(get32(bytes, 0x04)) | u64::from(get32(bytes, 0x6c)) << 32,
        links: get16(bytes, 0x1a),
        flags: get32(bytes, 0x20),
        attribute_block: u64::from(get32(bytes, 0x68)) | u64::from(get16(bytes, 0x76)) << 32,
        modified: i64::from(get32(bytes, 0x10) as i32) + epochs,
        block: std::array::from_fn(|index| bytes[0x28 + index]),
        tail: bytes[128 + extra..].to_vec(),
        seed,
    }
}

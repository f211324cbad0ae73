//! Extended attributes: in the inode if all fit there, else in one block, which inodes with equal
//! attributes share; where one place is too small for all, the largest that fit go to the inode.

use std::borrow::Cow;
use std::collections::HashMap;

use super::catalogue::Catalogue;
use super::error::Ext4Error;
use super::format::*;
use crate::base::{Digest, ImagePath};
use crate::tree::{Metadata, Xattrs};

/// Bytes of a block before the first entry.
const HEADER: usize = 32;
/// Bytes of entries and values in an inode and in a block, without the word of zeros that ends a list.
const INODE_ROOM: usize = INODE_BYTES - INODE_EXTRA_END - 4 - 4;
const BLOCK_ROOM: usize = BLOCK - HEADER - 4;
/// Most inodes that share a block: the kernel's own limit.
const REFERENCES_MAX: u32 = 1024;
const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

/// A block of attributes, and how many inodes have exactly these.
pub struct SharedBlock {
    /// Position of the first inode that has them.
    pub inode: u32,
    pub references: u32,
    /// A hash of what it holds, and of how many blocks hold the same before it.
    pub key: u64,
}

struct Attribute<'a> {
    /// Stands for the namespace.
    index: u8,
    name: &'a [u8],
    value: Cow<'a, [u8]>,
}

impl Attribute<'_> {
    fn bytes(&self) -> usize {
        16 + self.name.len().next_multiple_of(4) + self.value.len().next_multiple_of(4)
    }
}

/// Decides for every inode where its attributes go; returns the blocks, in tree order.
pub fn plan(catalogue: &mut Catalogue) -> Result<Vec<SharedBlock>, Ext4Error> {
    let mut blocks = Vec::<SharedBlock>::new();
    // The last block of a content, and how many there are.
    let mut by_content = HashMap::<Digest, (u32, u64)>::new();
    for position in 0..catalogue.inodes.len() {
        let metadata = catalogue.inodes[position].metadata;
        if metadata.xattrs.is_empty() {
            continue;
        }
        let (_, block) = split(&metadata.xattrs, || catalogue.path(position as u32))?;
        if block.is_empty() {
            continue;
        }
        let mut bytes = [0; BLOCK];
        write_area(&block, &mut bytes[HEADER..], HEADER, true);
        let digest = Digest::of(&bytes);
        let (place, count) = by_content.entry(digest).or_insert((u32::MAX, 0));
        match blocks.get_mut(*place as usize) {
            Some(shared) if shared.references < REFERENCES_MAX => shared.references += 1,
            _ => {
                *place = blocks.len() as u32;
                let (key, _) = digest.as_bytes().split_first_chunk().expect("because a digest has 32 bytes");
                let key = u64::from_le_bytes(*key).wrapping_add(*count);
                blocks.push(SharedBlock { inode: position as u32, references: 1, key });
                *count += 1;
            }
        }
        catalogue.inodes[position].attribute_block = *place;
    }
    Ok(blocks)
}

/// Writes those attributes that stand in the inode.
pub fn write_inode(metadata: &Metadata, inode: &mut [u8]) {
    if metadata.xattrs.is_empty() {
        return;
    }
    let (inside, _) = planned(metadata);
    if !inside.is_empty() {
        put32(inode, INODE_EXTRA_END, XATTR_MAGIC);
        write_area(&inside, &mut inode[INODE_EXTRA_END + 4..], 0, false);
    }
}

/// Writes the block at `number` with the attributes that do not stand in the inode.
pub fn write_block(metadata: &Metadata, references: u32, number: u64, seed: u32, block: &mut [u8]) {
    let (_, outside) = planned(metadata);
    let hash = write_area(&outside, &mut block[HEADER..], HEADER, true);
    put32(block, 0, XATTR_MAGIC);
    put32(block, 4, references);
    put32(block, 8, 1);
    put32(block, 12, hash);
    let checksum = crc(crc(seed, &number.to_le_bytes()), block);
    put32(block, 16, checksum);
}

fn planned(metadata: &Metadata) -> (Vec<Attribute<'_>>, Vec<Attribute<'_>>) {
    split(&metadata.xattrs, ImagePath::root).expect("because planning split the same attributes")
}

type Split<'a> = (Vec<Attribute<'a>>, Vec<Attribute<'a>>);

/// Returns the attributes for the inode and those for a block.
fn split(xattrs: &Xattrs, path: impl Fn() -> ImagePath) -> Result<Split<'_>, Ext4Error> {
    let mut all = Vec::with_capacity(xattrs.len());
    for (name, value) in xattrs {
        all.push(attribute(name, value, &path)?);
    }
    all.sort_by(|a, b| (a.index, a.name.len(), a.name).cmp(&(b.index, b.name.len(), b.name)));
    let total: usize = all.iter().map(Attribute::bytes).sum();
    if total <= INODE_ROOM {
        return Ok((all, Vec::new()));
    }
    if total <= BLOCK_ROOM {
        return Ok((Vec::new(), all));
    }
    let mut by_size: Vec<usize> = (0..all.len()).collect();
    by_size.sort_by_key(|&index| std::cmp::Reverse(all[index].bytes()));
    let mut is_inside = vec![false; all.len()];
    let mut room = INODE_ROOM;
    for index in by_size {
        if all[index].bytes() <= room {
            room -= all[index].bytes();
            is_inside[index] = true;
        }
    }
    if total - (INODE_ROOM - room) > BLOCK_ROOM {
        let limit = INODE_ROOM + BLOCK_ROOM;
        return Err(Ext4Error::AttributesTooLarge { path: path(), bytes: total, limit });
    }
    let mut places = is_inside.into_iter();
    Ok(all.into_iter().partition(|_| places.next() == Some(true)))
}

fn attribute<'a>(
    name: &'a [u8],
    value: &'a [u8],
    path: impl Fn() -> ImagePath,
) -> Result<Attribute<'a>, Ext4Error> {
    if let Some(index) = match name {
        ACCESS => Some(2),
        DEFAULT => Some(3),
        _ => None,
    } {
        let value =
            acl(value).map_err(|problem| Ext4Error::Acl { path: path(), name: name.into(), problem })?;
        return Ok(Attribute { index, name: b"", value: value.into() });
    }
    for (index, prefix) in [(1, &b"user."[..]), (4, b"trusted."), (6, b"security.")] {
        match name.strip_prefix(prefix) {
            Some(rest) if !rest.is_empty() => {
                return Ok(Attribute { index, name: rest, value: value.into() });
            }
            _ => {}
        }
    }
    Err(Ext4Error::AttributeNamespace { path: path(), name: name.into() })
}

/// Turns an ACL from the kernel's exchange form (version 2, 8 bytes an entry) into ext4's (version 1,
/// 4 bytes for entries that need no id).
fn acl(value: &[u8]) -> Result<Vec<u8>, String> {
    if value.len() < 4 || !(value.len() - 4).is_multiple_of(8) {
        return Err(format!("{} bytes are not a header of 4 and entries of 8", value.len()));
    }
    if get32(value, 0) != 2 {
        return Err(format!("version {} instead of 2", get32(value, 0)));
    }
    let mut disk = 1u32.to_le_bytes().to_vec();
    for entry in value[4..].chunks_exact(8) {
        let (tag, permissions) = (get16(entry, 0), get16(entry, 2));
        if permissions > 7 {
            return Err(format!("permissions {permissions:#x} of an entry are more than rwx"));
        }
        match tag {
            0x01 | 0x04 | 0x10 | 0x20 => disk.extend_from_slice(&entry[..4]),
            0x02 | 0x08 => disk.extend_from_slice(entry),
            _ => return Err(format!("an entry has the unknown tag {tag:#x}")),
        }
    }
    Ok(disk)
}

/// Writes entries from the front and values from the back. Value offsets count from `origin` before
/// the area. Returns the hash of the whole list.
fn write_area(attributes: &[Attribute], area: &mut [u8], origin: usize, with_hashes: bool) -> u32 {
    let mut at = 0;
    let mut end = area.len();
    let mut all = 0u32;
    for attribute in attributes {
        let (name, value) = (attribute.name, &*attribute.value);
        if !value.is_empty() {
            end -= value.len().next_multiple_of(4);
            area[end..end + value.len()].copy_from_slice(value);
            put16(area, at + 2, (end + origin) as u16);
        }
        area[at] = name.len() as u8;
        area[at + 1] = attribute.index;
        put32(area, at + 8, value.len() as u32);
        if with_hashes {
            let hash = entry_hash(name, value);
            put32(area, at + 12, hash);
            all = all.rotate_left(16) ^ hash;
        }
        area[at + 16..at + 16 + name.len()].copy_from_slice(name);
        at += 16 + name.len().next_multiple_of(4);
    }
    all
}

fn entry_hash(name: &[u8], value: &[u8]) -> u32 {
    let named = name.iter().fold(0u32, |hash, &byte| hash.rotate_left(5) ^ u32::from(byte));
    value.chunks(4).fold(named, |hash, bytes| {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        hash.rotate_left(16) ^ u32::from_le_bytes(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acls_lose_the_ids_that_mean_nothing() {
        let mut value = 2u32.to_le_bytes().to_vec();
        for (tag, id) in [(1u16, u32::MAX), (2, 1234), (4, u32::MAX), (0x10, u32::MAX), (0x20, u32::MAX)] {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&7u16.to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        }
        let disk = acl(&value).expect("a good ACL");
        assert_eq!(disk.len(), 4 + 4 * 4 + 8);
        assert_eq!(disk[..12], [1, 0, 0, 0, 1, 0, 7, 0, 2, 0, 7, 0]);
        assert!(acl(&value[..9]).is_err());
        value[4] = 3;
        assert!(acl(&value).is_err());
        assert!(acl(&[1, 0, 0, 0]).is_err());
    }

    #[test]
    fn what_exactly_fills_the_inode_stays_there() {
        let set = |length: usize| -> Xattrs {
            [(b"user.a"[..].into(), vec![7; length].into())].into_iter().collect()
        };
        let fits = set(INODE_ROOM - 20);
        let (inside, outside) = split(&fits, ImagePath::root).expect("fits");
        assert_eq!((inside.len(), outside.len()), (1, 0));
        let larger = set(INODE_ROOM - 19);
        let (inside, outside) = split(&larger, ImagePath::root).expect("fits");
        assert_eq!((inside.len(), outside.len()), (0, 1));
        let full: Xattrs = [
            (b"user.a"[..].into(), vec![7; INODE_ROOM - 20].into()),
            (b"user.b"[..].into(), vec![7; BLOCK_ROOM - 20].into()),
        ]
        .into_iter()
        .collect();
        let (inside, outside) = split(&full, ImagePath::root).expect("fits exactly");
        assert_eq!((inside.len(), outside.len()), (1, 1));
        assert!(split(&set(5000), ImagePath::root).is_err());
    }
}

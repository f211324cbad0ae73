//! The names in a directory, checked.

use std::cell::Cell;

use super::Ext4Reader;
use super::error::{Result, damaged};
use super::inode::Inode;
use crate::base::Name;
use crate::disk::ext4::format::*;

/// Reads the names of a directory and their inodes, sorted by bytes, "." and ".." left out. Takes what
/// it reads from a budget of blocks, so that a directory that maps the same blocks again and again comes
/// to an end.
pub fn read(reader: &Ext4Reader, inode: &Inode, budget: &Cell<u64>) -> Result<Vec<(Name, u32)>> {
    let blocks = inode.size / BLOCK as u64;
    if !inode.size.is_multiple_of(BLOCK as u64) || blocks > budget.get() {
        return damaged("directory", inode.number, format!("it can't have {} bytes", inode.size));
    }
    budget.set(budget.get() - blocks);
    let mapping = reader.mapping(inode)?;
    let mut names = Vec::new();
    let mut block = vec![0; BLOCK];
    for position in 0..blocks {
        reader.read_mapped(&mapping, position * BLOCK as u64, &mut block)?;
        check_sum(reader, inode, position, &block)?;
        read_block(inode, &block, &mut names)?;
    }
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return damaged("directory", inode.number, format!("two entries {}", twice[0].0));
    }
    Ok(names)
}

/// Checks the sum of entries, or of an index that looks like one unused entry to those who don't know.
fn check_sum(reader: &Ext4Reader, inode: &Inode, position: u64, block: &[u8]) -> Result<()> {
    let is_indexed = inode.flags & INODE_INDEX != 0;
    let index = match (get32(block, 0), get16(block, 4)) {
        _ if is_indexed && position == 0 => Some(32),
        (0, 4096) if is_indexed => Some(8),
        _ => None,
    };
    let stored = get32(block, BLOCK - 4);
    let computed = match index {
        Some(at) => {
            let used = at + usize::from(get16(block, at + 2)) * 8;
            if used > BLOCK - 8 {
                return damaged("directory", inode.number, "an index passes the end of its block");
            }
            let reserved: [u8; 4] = std::array::from_fn(|index| block[BLOCK - 8 + index]);
            crc(crc(crc(inode.seed, &block[..used]), &reserved), &[0; 4])
        }
        None if block[BLOCK - 12..BLOCK - 4] != [0, 0, 0, 0, 12, 0, 0, 0xde] => {
            return damaged("directory", inode.number, format!("block {position} has no checksum"));
        }
        None => crc(inode.seed, &block[..BLOCK - 12]),
    };
    reader.check_sum("directory", inode.number.into(), stored, computed)
}

fn read_block(inode: &Inode, block: &[u8], names: &mut Vec<(Name, u32)>) -> Result<()> {
    let mut at = 0;
    while at < BLOCK {
        let rest = &block[at..];
        if rest.len() < 8 {
            return damaged("directory", inode.number, "an entry passes the end of its block");
        }
        let (number, length, name_length) =
            (get32(rest, 0), usize::from(get16(rest, 4)), usize::from(rest[6]));
        if length < 8 + name_length || length > rest.len() || !length.is_multiple_of(4) {
            return damaged("directory", inode.number, format!("an entry of {length} bytes at {at}"));
        }
        let name = &rest[8..8 + name_length];
        if number != 0 && name != b"." && name != b".." {
            let name = Name::new(name);
            match name {
                Ok(name) => names.push((name, number)),
                Err(error) => return damaged("directory", inode.number, error.to_string()),
            }
        }
        at += length;
    }
    Ok(())
}

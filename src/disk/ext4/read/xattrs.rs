//! Extended attributes, from the inode and from its block.

use super::Ext4Reader;
use super::error::{Result, damaged};
use super::inode::Inode;
use crate::disk::ext4::format::*;
use crate::tree::Xattrs;

pub fn read(reader: &Ext4Reader, inode: &Inode) -> Result<Xattrs> {
    let mut xattrs = Xattrs::new();
    if inode.tail.len() >= 8 && get32(&inode.tail, 0) == XATTR_MAGIC {
        list(inode, &inode.tail[4..], 0, &mut xattrs)?;
    }
    if inode.attribute_block != 0 {
        let mut block = reader.read_block(inode.attribute_block, "attribute block")?;
        let stored = get32(&block, 16);
        put32(&mut block, 16, 0);
        if get32(&block, 0) != XATTR_MAGIC || get32(&block, 8) != 1 {
            return damaged("attribute block", inode.attribute_block, "its header is wrong");
        }
        let computed = crc(crc(reader.seed, &inode.attribute_block.to_le_bytes()), &block);
        reader.check_sum("attribute block", inode.attribute_block, stored, computed)?;
        list(inode, &block, 32, &mut xattrs)?;
    }
    Ok(xattrs)
}

/// Reads a list of entries that begins `first` bytes into an area.
fn list(inode: &Inode, area: &[u8], first: usize, xattrs: &mut Xattrs) -> Result<()> {
    let fault = |problem: &str| damaged("attributes of inode", inode.number, problem);
    let mut at = first;
    while at + 4 <= area.len() && get32(area, at) != 0 {
        let name_length = usize::from(area[at]);
        let end = at + 16 + name_length;
        if end > area.len() {
            return fault("an entry passes the end");
        }
        let (offset, size) = (usize::from(get16(area, at + 2)), get32(area, at + 8) as usize);
        if get32(area, at + 4) != 0 {
            return fault("a value stands in an inode of its own");
        }
        let value =
            if size == 0 { Some(&[][..]) } else { area.get(offset..).and_then(|rest| rest.get(..size)) };
        let Some(value) = value else { return fault("a value passes the end") };
        let Some((name, value)) = entry(area[at + 1], &area[at + 16..end], value) else {
            return fault("an entry of an unknown namespace, or a malformed ACL");
        };
        if xattrs.insert(name, value).is_some() {
            return fault("two entries have one name");
        }
        at = end.next_multiple_of(4);
    }
    Ok(())
}

type Pair = (Box<[u8]>, Box<[u8]>);

fn entry(index: u8, name: &[u8], value: &[u8]) -> Option<Pair> {
    let prefix: &[u8] = match index {
        1 => b"user.",
        2 if name.is_empty() => return Some((b"system.posix_acl_access"[..].into(), acl(value)?)),
        3 if name.is_empty() => return Some((b"system.posix_acl_default"[..].into(), acl(value)?)),
        4 => b"trusted.",
        6 => b"security.",
        _ => return None,
    };
    Some(([prefix, name].concat().into(), value.into()))
}

/// Turns an ACL from ext4's form into the kernel's exchange form.
fn acl(disk: &[u8]) -> Option<Box<[u8]>> {
    let mut rest = disk.strip_prefix(&1u32.to_le_bytes())?;
    let mut value = 2u32.to_le_bytes().to_vec();
    while !rest.is_empty() {
        let has_id = match rest.get(..4)? {
            [0x02 | 0x08, 0, ..] => true,
            [0x01 | 0x04 | 0x10 | 0x20, 0, ..] => false,
            _ => return None,
        };
        let length = if has_id { 8 } else { 4 };
        value.extend_from_slice(rest.get(..length)?);
        if !has_id {
            value.extend_from_slice(&u32::MAX.to_le_bytes());
        }
        rest = &rest[length..];
    }
    Some(value.into())
}

//! What a file system of one owner can't hold: owners, device numbers, attributes, by inode.

use std::collections::HashMap;
use std::io;

use rustix::fs::{Statx, StatxFlags};

use super::wire::invalid;
use crate::tree::{Device, DeviceKind, Metadata, Xattrs};

/// Names one inode for ever: numbers are used again, the time of birth is not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Inode {
    /// Major and minor number of the file system.
    pub device: (u32, u32),
    pub number: u64,
    /// Seconds and nanoseconds; zero where the file system doesn't know.
    pub born: (i64, u32),
}

/// What must be asked of `statx` for [`Inode::of`].
pub const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

impl Inode {
    pub fn of(seen: &Statx) -> Inode {
        let known = seen.stx_mask & StatxFlags::BTIME.bits() != 0;
        let born = if known { (seen.stx_btime.tv_sec, seen.stx_btime.tv_nsec) } else { (0, 0) };
        Inode { device: (seen.stx_dev_major, seen.stx_dev_minor), number: seen.stx_ino, born }
    }
}

/// What is known of an inode beyond what the file system says.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Record {
    pub uid: u32,
    pub gid: u32,
    /// Whether the owner was stated, by the tree or by a command; else it follows from the directory.
    pub owned: bool,
    pub device: Option<(DeviceKind, u32, u32)>,
    pub xattrs: Xattrs,
    /// Whether the content may have changed without the file system's noticing (a shared mapping).
    pub mapped: bool,
}

impl Record {
    /// Returns the record of a node of the tree.
    pub fn of(metadata: &Metadata, device: Option<&Device>) -> Record {
        Record {
            uid: metadata.uid,
            gid: metadata.gid,
            owned: true,
            device: device.map(|device| (device.kind, device.major, device.minor)),
            xattrs: metadata.xattrs.clone(),
            mapped: false,
        }
    }

    /// Tells whether `stat` must say something else than the file system does.
    pub fn shows(&self) -> bool {
        self.uid != 0 || self.gid != 0 || self.device.is_some()
    }
}

/// The records of a run.
pub type Records = HashMap<Inode, Record>;

/// Writes the records of one file system, in the order of their inodes.
pub fn encode<'a>(records: impl Iterator<Item = (&'a Inode, &'a Record)>) -> Vec<u8> {
    let mut sorted: Vec<_> = records.collect();
    sorted.sort_by_key(|(inode, _)| **inode);
    let mut out = Vec::new();
    for (inode, record) in sorted {
        out.extend(inode.device.0.to_le_bytes());
        out.extend(inode.device.1.to_le_bytes());
        out.extend(inode.number.to_le_bytes());
        out.extend(inode.born.0.to_le_bytes());
        out.extend(inode.born.1.to_le_bytes());
        out.extend(record.uid.to_le_bytes());
        out.extend(record.gid.to_le_bytes());
        out.push(u8::from(record.owned) | u8::from(record.mapped) << 1);
        let (kind, major, minor) = match record.device {
            None => (0, 0, 0),
            Some((DeviceKind::Character, major, minor)) => (1u8, major, minor),
            Some((DeviceKind::Block, major, minor)) => (2, major, minor),
        };
        out.push(kind);
        out.extend(major.to_le_bytes());
        out.extend(minor.to_le_bytes());
        out.extend((record.xattrs.len() as u32).to_le_bytes());
        for (name, value) in &record.xattrs {
            for bytes in [name, value] {
                out.extend((bytes.len() as u32).to_le_bytes());
                out.extend_from_slice(bytes);
            }
        }
    }
    out
}

/// Reads what [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> io::Result<Records> {
    let mut rest = Cursor(bytes);
    let mut records = Records::new();
    while !rest.0.is_empty() {
        let device = (rest.u32()?, rest.u32()?);
        let inode = Inode { device, number: rest.u64()?, born: (rest.u64()? as i64, rest.u32()?) };
        let (uid, gid) = (rest.u32()?, rest.u32()?);
        let flags = rest.take(1)?[0];
        let kind = rest.take(1)?[0];
        let (major, minor) = (rest.u32()?, rest.u32()?);
        let device = match kind {
            0 => None,
            1 => Some((DeviceKind::Character, major, minor)),
            2 => Some((DeviceKind::Block, major, minor)),
            other => return Err(invalid(format!("a record with a device of kind {other}"))),
        };
        let mut xattrs = Xattrs::new();
        for _ in 0..rest.u32()? {
            let length = rest.u32()?;
            let name = rest.take(length as usize)?.into();
            let length = rest.u32()?;
            xattrs.insert(name, rest.take(length as usize)?.into());
        }
        let (owned, mapped) = (flags & 1 != 0, flags & 2 != 0);
        records.insert(inode, Record { uid, gid, owned, device, xattrs, mapped });
    }
    Ok(records)
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (head, rest) =
            self.0.split_at_checked(length).ok_or_else(|| invalid("a record that breaks off"))?;
        self.0 = rest;
        Ok(head)
    }

    fn u32(&mut self) -> io::Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn u64(&mut self) -> io::Result<u64> {
        Ok(u64::from(self.u32()?) | u64::from(self.u32()?) << 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let xattrs = [(b"user.a"[..].into(), b"\0\xff"[..].into()), (b"user.b"[..].into(), b""[..].into())];
        let device = Some((DeviceKind::Block, 8, 1));
        Record { uid: 33, gid: 4, owned: true, device, xattrs: xattrs.into(), mapped: true }
    }

    #[test]
    fn what_was_written_is_read() {
        let inode = |number| Inode { device: (0, 44), number, born: (-5, 999) };
        let records: Records = [(inode(7), record()), (inode(1), Record::default())].into();
        let bytes = encode(records.iter());
        assert_eq!(decode(&bytes).expect("decoded"), records);
    }

    #[test]
    fn broken_records_are_refused() {
        let inode = Inode { device: (0, 44), number: 1, born: (1, 2) };
        let records: Records = [(inode, record())].into();
        let bytes = encode(records.iter());
        for length in 1..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        let mut wrong = bytes;
        wrong[37] = 9;
        assert!(decode(&wrong).is_err());
    }
}

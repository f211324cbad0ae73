//! Reads a filesystem of the kind that we write, also after Linux has written to it: strict, and bounded
//! by what is on the device, whatever the bytes say.

mod entries;
mod error;
mod inode;
mod map;
mod superblock;
mod walk;
mod xattrs;

use std::collections::HashMap;

use super::format::*;
use crate::base::Job;
use crate::disk::device::BlockDevice;
use inode::Inode;
use map::Mapping;

pub use error::Ext4ReadError;
use error::{Result, damaged};
pub use superblock::Ext4Facts;
pub use walk::{Ext4Entry, Ext4Kind, Ext4Listing};

/// An open filesystem.
pub struct Ext4Reader<'a> {
    device: &'a dyn BlockDevice,
    facts: Ext4Facts,
    seed: u32,
    inodes_per_group: u32,
    /// First block of each group's inode table.
    tables: Vec<u64>,
    /// Whether checksums must be right. Only tests that look behind the checksums say no.
    checks_sums: bool,
}

impl<'a> Ext4Reader<'a> {
    /// Opens the filesystem at the start of a device. Checks superblock and group descriptors.
    pub fn open(device: &'a dyn BlockDevice) -> Result<Self> {
        Self::open_with(device, true)
    }

    fn open_with(device: &'a dyn BlockDevice, checks_sums: bool) -> Result<Self> {
        let superblock = superblock::read(device, checks_sums)?;
        let tables = superblock.read_tables(device, checks_sums)?;
        Ok(Ext4Reader {
            device,
            seed: filesystem_seed(&superblock.facts.uuid),
            inodes_per_group: superblock.inodes_per_group,
            facts: superblock.facts,
            tables,
            checks_sums,
        })
    }

    /// Returns what the superblock says.
    pub fn facts(&self) -> &Ext4Facts {
        &self.facts
    }

    /// Lists every entry, in tree order, the root first. Checks every directory block, inode, extent
    /// tree and attribute block on the way.
    pub fn walk(&self, job: &Job) -> Result<Ext4Listing> {
        walk::walk(self, job)
    }

    /// Fills a buffer with a file's bytes from `offset` on; what lies behind its end is an error.
    pub fn read_at(&self, entry: &Ext4Entry, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let inode = self.inode(entry.inode)?;
        let mapping = self.mapping(&inode)?;
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > inode.size) {
            let problem = format!("{} bytes at {offset} pass its end at {}", buffer.len(), inode.size);
            return damaged("inode", entry.inode, problem);
        }
        self.read_mapped(&mapping, offset, buffer)
    }

    /// Reads the whole filesystem as a tree, each content hashed in pieces, with no content kept.
    /// Names of one file become hard links to the first of them.
    pub fn tree(&self, job: &Job) -> Result<crate::tree::Directory> {
        let listing = self.walk(job)?;
        let files: Vec<(u32, &Ext4Entry)> = listing.files();
        let hashed = job.workers.try_map(files, |(inode, entry)| Ok((inode, self.content(entry, job)?)));
        let contents: HashMap<u32, _> =
            hashed.map_err(|mut errors: Vec<Ext4ReadError>| errors.swap_remove(0))?.into_iter().collect();
        Ok(listing.into_tree(&contents))
    }

    fn content(&self, entry: &Ext4Entry, job: &Job) -> Result<crate::tree::Content> {
        let inode = self.inode(entry.inode)?;
        let mapping = self.mapping(&inode)?;
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; inode.size.min(1 << 20) as usize];
        let mut at = 0;
        while at < inode.size {
            job.check()?;
            let length = (inode.size - at).min(piece.len() as u64) as usize;
            self.read_mapped(&mapping, at, &mut piece[..length])?;
            hasher.update(&piece[..length]);
            at += length as u64;
        }
        Ok(crate::tree::Content { id: (*hasher.finalize().as_bytes()).into(), size: inode.size })
    }

    fn read_mapped(&self, mapping: &Mapping, offset: u64, buffer: &mut [u8]) -> Result<()> {
        buffer.fill(0);
        let end = offset + buffer.len() as u64;
        for extent in mapping.within(offset / BLOCK as u64, end.div_ceil(BLOCK as u64)) {
            let start = u64::from(extent.logical) * BLOCK as u64;
            let from = start.max(offset);
            let to = (start + u64::from(extent.length) * BLOCK as u64).min(end);
            if from < to {
                let out = &mut buffer[(from - offset) as usize..(to - offset) as usize];
                self.read_bytes(extent.physical * BLOCK as u64 + (from - start), out)?;
            }
        }
        Ok(())
    }

    fn read_block(&self, block: u64, what: &'static str) -> Result<Vec<u8>> {
        if block == 0 || block >= self.facts.blocks.0 {
            return damaged(what, block, format!("lies outside of {} blocks", self.facts.blocks.0));
        }
        let mut bytes = vec![0; BLOCK];
        self.read_bytes(block * BLOCK as u64, &mut bytes)?;
        Ok(bytes)
    }

    fn read_bytes(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let bytes = out.len();
        self.device.read_at(offset, out).map_err(|source| Ext4ReadError::Device { offset, bytes, source })
    }

    fn check_sum(&self, what: &'static str, number: u64, stored: u32, computed: u32) -> Result<()> {
        if self.checks_sums && stored != computed {
            return damaged(what, number, format!("checksum {stored:#x}, its bytes give {computed:#x}"));
        }
        Ok(())
    }

    fn inode(&self, number: u32) -> Result<Inode> {
        inode::read(self, number)
    }

    fn mapping(&self, inode: &Inode) -> Result<Mapping> {
        map::read(self, inode)
    }
}

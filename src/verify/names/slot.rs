//! Names in a partition that holds an ext4 and, behind it, maybe a verity tree.

use super::Place;
use crate::base::{Job, units::BLOCK_BYTES};
use crate::disk::BlockDevice;
use crate::disk::ext4::{Ext4Listing, Ext4Names, Ext4Reader};
use crate::disk::field::Form;
use crate::disk::verity::tree_bytes;

/// The names of one partition.
pub struct SlotNames {
    names: Ext4Names,
    listing: Ext4Listing,
    /// Where the filesystem and its verity tree end, in bytes.
    ends: (u64, u64),
}

impl SlotNames {
    /// Reads the filesystem; `None` where that can't be done.
    pub fn read(device: &dyn BlockDevice, job: &Job) -> Option<Self> {
        let reader = Ext4Reader::open(device).ok()?;
        let listing = reader.walk(job).ok()?;
        let names = reader.names(&listing, job).ok()?;
        let blocks = reader.facts().blocks.0;
        let end = blocks * BLOCK_BYTES;
        Some(SlotNames { names, listing, ends: (end, end + tree_bytes(blocks)) })
    }

    /// Names an offset of the partition.
    pub fn name(&self, offset: u64) -> Place {
        if offset >= self.ends.1 {
            return Place::new("behind the filesystem", offset, 1);
        }
        if offset >= self.ends.0 {
            let block = (offset - self.ends.0) / BLOCK_BYTES;
            let place = Place::new("verity tree", self.ends.0 + block * BLOCK_BYTES, BLOCK_BYTES);
            return Place { field: Some(format!("block {block}")), derived: true, ..place };
        }
        let found = self.names.name(offset);
        let place = Place::new(format!("ext4 {}", found.what), found.offset, found.bytes);
        let place = match found.field {
            Some(field) => place.with(Some(field), found.offset - field.offset as u64),
            None => place,
        };
        let path = found.entry.map(|entry| self.listing.path(entry).to_string());
        match found.at {
            // Bytes of a file are named one by one.
            Some(at) => {
                Place { path, field: Some(format!("byte {at}")), offset, bytes: 1, form: Form::Hex, ..place }
            }
            None => Place { path, ..place },
        }
    }
}

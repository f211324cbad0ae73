//! Whether a slot is whole: its UKI can be read, and every block of its root is what the root hash says.

use std::io;

use super::error::{Result, SlotsError};
use crate::base::{Digest, Job};
use crate::boot::command_line::{VERITY_BLOCK_BYTES, VerityRoot};
use crate::boot::slots::Slot;
use crate::disk::{BlockDevice, verity};
use crate::image::{self, OpenImage, verity_in};

/// A device of which everything is read past the cache.
pub struct Fresh<'a>(pub &'a dyn BlockDevice);

impl BlockDevice for Fresh<'_> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_back_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }

    fn next_data(&self, offset: u64) -> u64 {
        self.0.next_data(offset)
    }

    fn begin_flush(&self, offset: u64, length: u64) {
        self.0.begin_flush(offset, length);
    }

    fn hole_bytes(&self, offset: u64, length: u64) -> u64 {
        self.0.hole_bytes(offset, length)
    }
}

/// Tells whether a loader that holds kernel images against their records refuses the one of a slot.
pub fn is_refused(uki: &image::Result<Vec<u8>>, disk: &OpenImage<'_>, slot: Slot) -> bool {
    let differs = |digest| !uki.as_deref().is_ok_and(|uki| digest == Digest::of(uki));
    disk.slots().digest(slot).is_some_and(differs)
}

/// Fails where the loader would refuse the UKI of a slot, or it names no root; of the root nothing is read.
pub fn check_kernel(uki: image::Result<Vec<u8>>, disk: &OpenImage<'_>, slot: Slot) -> Result<()> {
    match read_kernel(uki, disk, slot) {
        Ok(_) => Ok(()),
        Err(source) => Err(SlotsError::Damaged { slot, source: Box::new(source) }),
    }
}

/// Looks at the UKI of a slot, which must have the digest that the slot's record names, where there is one.
fn read_kernel(uki: image::Result<Vec<u8>>, disk: &OpenImage<'_>, slot: Slot) -> Result<VerityRoot> {
    if uki.is_ok() && is_refused(&uki, disk, slot) {
        return Err(SlotsError::Kernel);
    }
    Ok(verity_in(&uki?)?)
}

/// Reads a slot whole, and fails where it is damaged.
pub fn check(disk: &OpenImage<'_>, slot: Slot, job: &Job) -> Result<()> {
    check_with(disk.uki(slot), disk, slot, job)
}

/// Does so where the UKI was read already.
pub fn check_with(uki: image::Result<Vec<u8>>, disk: &OpenImage<'_>, slot: Slot, job: &Job) -> Result<()> {
    let verified = read_kernel(uki, disk, slot).and_then(|verity| {
        let offset = verity.hash_start_block.saturating_mul(VERITY_BLOCK_BYTES as u64);
        let root = disk.root(slot)?;
        verity::verify(&root, verity.data_blocks, offset, &verity.salt, &verity.root_hash, job)?;
        Ok(())
    });
    match verified {
        Ok(()) => Ok(()),
        Err(_) if job.check().is_err() => Ok(job.check()?),
        Err(source) => Err(SlotsError::Damaged { slot, source: Box::new(source) }),
    }
}

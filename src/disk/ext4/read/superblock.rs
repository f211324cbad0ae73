//! The superblock and the group descriptors, checked.

use super::error::{Ext4ReadError, Result, damaged};
use crate::base::Blocks;
use crate::disk::device::BlockDevice;
use crate::disk::ext4::format::*;

/// What a superblock says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ext4Facts {
    pub uuid: [u8; 16],
    pub hash_seed: [u8; 16],
    /// Without the NULs at its end.
    pub label: Vec<u8>,
    pub blocks: Blocks,
    pub free_blocks: Blocks,
    pub inodes: u32,
    pub free_inodes: u32,
    pub has_journal: bool,
    /// Whether the journal holds changes that are not in place yet: it was not unmounted.
    pub needs_recovery: bool,
}

pub struct Superblock {
    pub facts: Ext4Facts,
    pub inodes_per_group: u32,
    groups: u32,
}

const INCOMPAT_KNOWN: u32 =
    INCOMPAT_FILETYPE | INCOMPAT_RECOVER | INCOMPAT_EXTENTS | INCOMPAT_64BIT | INCOMPAT_FLEX_BG;
const INCOMPAT_NEEDED: u32 = INCOMPAT_FILETYPE | INCOMPAT_EXTENTS | INCOMPAT_64BIT;

pub fn read(device: &dyn BlockDevice, checks_sums: bool) -> Result<Superblock> {
    let mut bytes = [0; 1024];
    let read = device.read_at(1024, &mut bytes);
    read.map_err(|source| Ext4ReadError::Device { offset: 1024, bytes: 1024, source })?;
    if get16(&bytes, 0x38) != SUPER_MAGIC {
        return Err(Ext4ReadError::NotExt4 { found: get16(&bytes, 0x38) });
    }
    check_features(&bytes)?;
    let (stored, computed) = (get32(&bytes, 0x3fc), crc(!0, &bytes[..0x3fc]));
    if checks_sums && stored != computed {
        let problem = format!("checksum {stored:#x}, its bytes give {computed:#x}");
        return damaged("superblock", 0u64, problem);
    }
    let superblock = decode(&bytes);
    superblock.check(device.size())?;
    Ok(superblock)
}

fn check_features(bytes: &[u8]) -> Result<()> {
    let unsupported = |problem: String| Err(Ext4ReadError::Unsupported { problem });
    let (incompatible, read_only) = (get32(bytes, 0x60), get32(bytes, 0x64));
    if incompatible & !INCOMPAT_KNOWN != 0 || incompatible & INCOMPAT_NEEDED != INCOMPAT_NEEDED {
        return unsupported(format!("feature_incompat is {incompatible:#x}"));
    }
    if read_only & RO_METADATA_CSUM == 0 || bytes[0x175] != 1 {
        return unsupported("it has no metadata_csum with CRC-32C".into());
    }
    let sizes =
        [get32(bytes, 0x18), get16(bytes, 0x58).into(), get16(bytes, 0xfe).into(), get32(bytes, 0x20)];
    if sizes != [2, INODE_BYTES as u32, DESCRIPTOR_BYTES as u32, GROUP_BLOCKS as u32] {
        return unsupported(format!("block shift, inode, descriptor and group sizes are {sizes:?}"));
    }
    Ok(())
}

fn decode(bytes: &[u8]) -> Superblock {
    let split = |low, high| u64::from(get32(bytes, low)) | u64::from(get32(bytes, high)) << 32;
    let array = |at: usize| std::array::from_fn(|index| bytes[at + index]);
    let label = &bytes[0x78..0x88];
    let facts = Ext4Facts {
        uuid: array(0x68),
        hash_seed: array(0xec),
        label: label[..label.iter().position(|&byte| byte == 0).unwrap_or(label.len())].to_vec(),
        blocks: Blocks(split(0x04, 0x150)),
        free_blocks: Blocks(split(0x0c, 0x158)),
        inodes: get32(bytes, 0x00),
        free_inodes: get32(bytes, 0x10),
        has_journal: get32(bytes, 0x5c) & COMPAT_HAS_JOURNAL != 0,
        needs_recovery: get32(bytes, 0x60) & INCOMPAT_RECOVER != 0,
    };
    let groups = facts.blocks.0.div_ceil(GROUP_BLOCKS).min(u64::from(u32::MAX)) as u32;
    Superblock { facts, inodes_per_group: get32(bytes, 0x28), groups }
}

impl Superblock {
    fn check(&self, device_bytes: u64) -> Result<()> {
        let facts = &self.facts;
        let room = device_bytes / BLOCK as u64;
        if facts.blocks.0 == 0 || facts.blocks.0 > room {
            let problem = format!("it tells of {} blocks on a device of {room}", facts.blocks.0);
            return damaged("superblock", 0u64, problem);
        }
        let inodes = u64::from(self.inodes_per_group) * u64::from(self.groups);
        let is_even = self.inodes_per_group.is_multiple_of(INODES_PER_BLOCK as u32);
        let is_possible = (1..=GROUP_INODES_MAX).contains(&self.inodes_per_group.into()) && is_even;
        if !is_possible || inodes != u64::from(facts.inodes) {
            let problem = format!(
                "{} groups of {} inodes are not {}",
                self.groups, self.inodes_per_group, facts.inodes
            );
            return damaged("superblock", 0u64, problem);
        }
        if facts.free_blocks > facts.blocks || facts.free_inodes > facts.inodes {
            return damaged("superblock", 0u64, "more is free than there is");
        }
        Ok(())
    }

    /// Reads where each group's inode table begins. Takes memory for what the device has room for.
    pub fn read_tables(&self, device: &dyn BlockDevice, checks_sums: bool) -> Result<Vec<u64>> {
        let seed = filesystem_seed(&self.facts.uuid);
        let mut tables = Vec::with_capacity(self.groups as usize);
        let mut block = vec![0; BLOCK];
        for first in (0..self.groups).step_by(DESCRIPTORS_PER_BLOCK as usize) {
            let offset = (1 + u64::from(first) / DESCRIPTORS_PER_BLOCK) * BLOCK as u64;
            let read = device.read_at(offset, &mut block);
            read.map_err(|source| Ext4ReadError::Device { offset, bytes: BLOCK, source })?;
            for (group, descriptor) in (first..self.groups).zip(block.chunks_exact(DESCRIPTOR_BYTES)) {
                tables.push(self.table(group, descriptor, seed, checks_sums)?);
            }
        }
        Ok(tables)
    }

    fn table(&self, group: u32, descriptor: &[u8], seed: u32, checks_sums: bool) -> Result<u64> {
        let mut plain = [0; DESCRIPTOR_BYTES];
        plain.copy_from_slice(descriptor);
        put16(&mut plain, 0x1e, 0);
        let computed = crc(crc(seed, &group.to_le_bytes()), &plain) as u16;
        let stored = get16(descriptor, 0x1e);
        if checks_sums && stored != computed {
            let problem = format!("checksum {stored:#x}, its bytes give {computed:#x}");
            return damaged("descriptor of group", group, problem);
        }
        let table = u64::from(get32(descriptor, 0x08)) | u64::from(get32(descriptor, 0x28)) << 32;
        let length = u64::from(self.inodes_per_group) / INODES_PER_BLOCK;
        match table.checked_add(length) {
            Some(end) if table > 0 && end <= self.facts.blocks.0 => Ok(table),
            _ => damaged("descriptor of group", group, format!("its inode table at {table} lies outside")),
        }
    }
}

//! Disks that differ in a few bytes from a sound one, and the verity tree.
//!
//! A disk is too long for a fuzzer to change blindly. So the input is a list of patches, each a place (one
//! byte, which of the places that the body names), an offset from there (two bytes), a length (one byte) and
//! the bytes that go there.

use std::io;
use std::sync::{LazyLock, RwLock};

use mkimage::disk::verity::{self, VerityBuilder};
use mkimage::disk::{BlockDevice, BlockObserver, MemoryDevice};

use super::{JOB, take};

/// Reads the patches of an input.
pub fn patches(mut bytes: &[u8], places: &[u64]) -> Vec<(u64, Vec<u8>)> {
    let mut patches = Vec::new();
    while bytes.len() > 4 {
        let place = places[take(&mut bytes, 1) as usize % places.len()];
        let offset = place + take(&mut bytes, 2);
        let length = (take(&mut bytes, 1) as usize % 64 + 1).min(bytes.len());
        let (patch, rest) = bytes.split_at(length);
        patches.push((offset, patch.to_vec()));
        bytes = rest;
    }
    patches
}

/// Writes a patch as [`patches`] reads it.
pub fn patch(place: u8, offset: u16, bytes: &[u8]) -> Vec<u8> {
    let [low, high] = offset.to_le_bytes();
    [&[place, low, high, bytes.len() as u8 - 1], bytes].concat()
}

/// Makes patches out of nothing, the same in every run: seeds of a disk's target.
pub fn patch_seeds(prefix: &[u8], places: u8) -> Vec<Vec<u8>> {
    let values: [&[u8]; 4] = [&[0xff; 4], &[0; 8], &[1, 0, 0, 0x80], &[0xff, 0x7f]];
    let seed = |index: usize| {
        let offset = (index * 37 % 512) as u16;
        [prefix, &patch(index as u8 % places, offset, values[index % 4])].concat()
    };
    (0..2 * usize::from(places)).map(seed).chain([prefix.to_vec()]).collect()
}

/// Puts patches into bytes; what passes the end falls away.
pub fn apply(bytes: &mut [u8], patches: &[(u64, Vec<u8>)]) {
    for (offset, patch) in patches {
        let Some(room) = bytes.get_mut(*offset as usize..) else { continue };
        let length = room.len().min(patch.len());
        room[..length].copy_from_slice(&patch[..length]);
    }
}

/// Makes a device of bytes.
pub fn device(bytes: &[u8]) -> MemoryDevice {
    let device = MemoryDevice::new(bytes.len() as u64);
    device.write_at(0, bytes).expect("as long as the bytes");
    device
}

/// A large disk with patches laid over it; the disk itself is shared by all runs.
pub struct Patched {
    pub base: &'static [u8],
    pub patches: RwLock<Vec<(u64, Vec<u8>)>>,
}

impl BlockDevice for Patched {
    fn size(&self) -> u64 {
        self.base.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.size());
        let end = end.ok_or_else(|| io::Error::other("behind the end"))?;
        buffer.copy_from_slice(&self.base[offset as usize..end as usize]);
        for (at, patch) in self.patches.read().expect("no panic").iter() {
            let (from, to) = ((*at).max(offset), (at + patch.len() as u64).min(end));
            if from < to {
                let inside = &patch[(from - at) as usize..(to - at) as usize];
                buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(inside);
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match offset.checked_add(bytes.len() as u64) {
            Some(end) if end <= self.size() => {
                self.patches.write().expect("no panic").push((offset, bytes.to_vec()));
                Ok(())
            }
            _ => Err(io::Error::other("behind the end")),
        }
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

const DATA_BLOCKS: u64 = 130;
const SALT: &[u8] = b"salt";

/// Data, its tree behind it, and the root hash.
static VERITY: LazyLock<(Vec<u8>, [u8; 32])> = LazyLock::new(|| {
    let data: Vec<u8> = (0..DATA_BLOCKS * 4096).map(|n| (n / 4096) as u8).collect();
    let builder = VerityBuilder::new(DATA_BLOCKS, SALT);
    builder.wrote(0, &data);
    let tree = builder.finish(&JOB).expect("a tree");
    let device = MemoryDevice::new(data.len() as u64 + tree.size_bytes());
    device.write_at(0, &data).expect("inside");
    tree.write(&device, data.len() as u64).expect("inside");
    (device.into_bytes(), tree.root_hash)
});

/// Verifies with numbers that anybody may have written. Only what was signed passes.
pub fn verity(mut bytes: &[u8]) {
    let (sound, root_hash) = &*VERITY;
    let (data_blocks, hash_offset) = (take(&mut bytes, 8), take(&mut bytes, 8));
    let mut disk = sound.clone();
    apply(&mut disk, &patches(bytes, &[0, DATA_BLOCKS * 4096, DATA_BLOCKS * 4096 + 4096]));
    let result = verity::verify(&device(&disk), data_blocks, hash_offset, SALT, root_hash, &JOB);
    if result.is_ok() {
        assert_eq!((data_blocks, hash_offset), (DATA_BLOCKS, DATA_BLOCKS * 4096));
        assert!(disk == *sound, "a disk that nobody signed");
    }
}

pub fn verity_seeds() -> Vec<Vec<u8>> {
    let numbers = |blocks: u64, offset: u64| [blocks.to_le_bytes(), offset.to_le_bytes()].concat();
    let sound = numbers(DATA_BLOCKS, DATA_BLOCKS * 4096);
    let mut seeds = patch_seeds(&sound, 3);
    seeds.extend([numbers(u64::MAX, 0), numbers(1, u64::MAX), numbers(u64::MAX / 4096, 1)]);
    seeds
}

//! Finds the slot by what it contains, verifies it, mounts it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use mkimage::boot::command_line::{VERITY_BLOCK_BYTES, VerityRoot};
use sha2::{Digest, Sha256};

use crate::disks::{self, Partition};
use crate::error::{Doing, Error, Result};
use crate::loader::Loader;
use crate::logic::device_mapper;
use crate::logic::gpt::SECTOR_BYTES;
use crate::mounts;
use crate::report::now;
use crate::sys::{Request, ioctl};

const CONTROL: &str = "/dev/mapper/control";
const NAME: &str = "mkimage-root";
const POLL: Duration = Duration::from_millis(10);

/// Waits for the slot, at most `wait_seconds`; then verifies and mounts it. Two slots may hold the same
/// tree: the loader's disk and the loader's slot go first then.
pub fn mount(root: &VerityRoot, wait_seconds: u32, loader: &Loader) -> Result<Partition> {
    let deadline = now() + Duration::from_secs(wait_seconds.into());
    let slot = loop {
        let partitions = disks::partitions();
        if let Some(slot) = choose(&partitions, root, loader) {
            break slot;
        }
        if now() >= deadline {
            let seen: Vec<&str> = partitions.iter().map(|partition| partition.name.as_str()).collect();
            let seen = if seen.is_empty() { "none".to_owned() } else { seen.join(" ") };
            return Err(Error::NoSlot { root_hash: root.root_hash_hex(), seconds: wait_seconds, seen });
        }
        std::thread::sleep(POLL);
    };
    let device = verify(&slot, root)?;
    mounts::root(&device)?;
    Ok(slot)
}

fn choose(partitions: &[Partition], root: &VerityRoot, loader: &Loader) -> Option<Partition> {
    let mut slots: Vec<&Partition> = partitions.iter().filter(|partition| holds(partition, root)).collect();
    if slots.len() > 1 {
        slots.sort_by_key(|slot| loader.distance(slot));
    }
    slots.first().map(|&slot| slot.clone())
}

/// Tells whether the top block of the partition's tree has the root hash. What can't be read is no slot.
fn holds(partition: &Partition, root: &VerityRoot) -> bool {
    let tree_start = root.hash_start_block * VERITY_BLOCK_BYTES as u64;
    if tree_start + VERITY_BLOCK_BYTES as u64 > partition.sectors * SECTOR_BYTES {
        return false;
    }
    let mut block = [0; VERITY_BLOCK_BYTES];
    let read =
        File::open(disks::node(&partition.name)).and_then(|file| file.read_exact_at(&mut block, tree_start));
    let hash = Sha256::new().chain_update(&root.salt).chain_update(block).finalize();
    read.is_ok() && hash[..] == root.root_hash
}

/// Makes the device that checks every block on its way, and returns its node.
fn verify(slot: &Partition, root: &VerityRoot) -> Result<String> {
    let control = File::options().read(true).write(true).open(CONTROL).doing("open", CONTROL)?;
    let mut create = device_mapper::request(NAME);
    ioctl(&control, Request::DeviceMapperCreate, &mut create).doing("create the verified device", NAME)?;
    let (_, minor) = device_mapper::device_number(&create).ok_or(Error::NoDeviceNumber)?;
    let mut load = device_mapper::load_verity(NAME, &slot.device_number, root);
    ioctl(&control, Request::DeviceMapperLoad, &mut load).doing("load the verity table of", &slot.name)?;
    ioctl(&control, Request::DeviceMapperResume, &mut device_mapper::request(NAME))
        .doing("start the verified device over", &slot.name)?;
    Ok(format!("/dev/dm-{minor}"))
}

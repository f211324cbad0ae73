//! The data partition: grown to the end of its disk, mounted, filled with what the image holds there, and the
//! app's directory on it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};

use crate::disks::{self, Partition};
use crate::error::{Doing, Result, chain};
use crate::logic::gpt::{self, SECTOR_BYTES};
use crate::mounts;
use crate::report::say;
use crate::seed::Seed;
use crate::sys::{self, Request};

const SUPERBLOCK_OFFSET: u64 = 1024;
const EXT4_MAGIC: u16 = 0xef53;
/// Attribute of a partition's top directory that says that it was filled once. On disks in the field:
/// changing it fills them again.
const FILLED: &str = "trusted.mkimage.filled";
/// Directories that describe the image and not the machine: they are the image's own at each boot, read-only,
/// wherever the data partition is mounted.
const OF_THE_IMAGE: [&str; 2] = ["/var/lib/dpkg", "/var/lib/rpm"];

/// Finds the data partition on the slot's disk by its type, grows it, mounts it at `path`, grows its file
/// system, and makes there what the image holds and the partition lacks. Returns whether it is mounted: a
/// machine can do without, and its app says what it misses.
pub fn mount(slot: &Partition, path: &str) -> bool {
    // The image's own directory, which the mount hides.
    let hidden = File::open(path);
    let mounted = try_mount(slot, path);
    match &mounted {
        Ok(true) => match hidden.doing("open", path).and_then(|hidden| fill(&hidden, path)) {
            Ok(()) => {}
            Err(error) => say!("{}", chain(&error)),
        },
        Ok(false) => say!("no data partition on {}", slot.disk),
        Err(error) => say!("{}", chain(error)),
    }
    mounted.unwrap_or(false)
}

/// Makes the app's own directory on the data partition, where it is missing.
pub fn make_state_directory(path: &str, uid: u32, gid: u32) {
    let owner = |metadata: std::fs::Metadata| (metadata.uid(), metadata.gid());
    if std::fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.is_dir() && owner(metadata) == (uid, gid))
    {
        return;
    }
    let made = match std::fs::DirBuilder::new().mode(0o750).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => std::os::unix::fs::lchown(path, Some(uid), Some(gid)),
    };
    if let Err(error) = made.doing("make the app's directory", path) {
        say!("{}", chain(&error));
    }
}

/// Lays what the image holds onto the partition, and mounts what stays the image's own.
fn fill(hidden: &File, path: &str) -> Result<()> {
    let image = PathBuf::from(format!("/proc/self/fd/{}", hidden.as_raw_fd()));
    let of_the_image: Vec<&str> = OF_THE_IMAGE
        .iter()
        .filter_map(|own| Some(own.strip_prefix(path.trim_end_matches('/'))?.trim_start_matches('/')))
        .filter(|own| image.join(own).is_dir())
        .collect();
    let first = lgetxattr(path, FILLED, &mut [0; 1]).is_err();
    let made = Seed { image: &image, data: Path::new(path), hollow: &of_the_image, first }.lay()?;
    if made > 0 {
        say!("{path} lacked {made} entries of the image");
    }
    if first {
        lsetxattr(path, FILLED, b"1", XattrFlags::empty())
            .map_err(io::Error::from)
            .doing("note that it was filled on", path)?;
    }
    for own in of_the_image {
        mounts::bind(&image.join(own), &Path::new(path).join(own))?;
    }
    Ok(())
}

fn try_mount(slot: &Partition, path: &str) -> Result<bool> {
    let Some(table) = disks::table(&slot.disk).doing("read the partition table of", &slot.disk)? else {
        return Ok(false);
    };
    let data = table.partitions().into_iter().find(|partition| partition.type_guid == gpt::DATA_TYPE);
    let Some(data) = data else { return Ok(false) };
    let Some(seen) = disks::find(&slot.disk, data.number) else { return Ok(false) };
    // A table that can't grow now still describes a partition that can be used.
    if let Err(error) = grow_partition(slot, &table, &data) {
        say!("{}", chain(&error));
    }
    let device = disks::node(&seen.name);
    mounts::data(&device, path)?;
    if let Err(error) = grow_file_system(&seen.name, path) {
        say!("{}", chain(&error));
    }
    Ok(true)
}

fn grow_partition(slot: &Partition, table: &gpt::Table, data: &gpt::Partition) -> Result<()> {
    let Some(growth) = disks::disk_sectors(&slot.disk).and_then(|sectors| table.grow(sectors, data.number))
    else {
        return Ok(());
    };
    let node = disks::node(&slot.disk);
    let disk = File::options().read(true).write(true).open(&node).doing("open", &node)?;
    for step in &growth.steps {
        for (sector, bytes) in step {
            disk.write_all_at(bytes, sector * SECTOR_BYTES).doing("write the partition table of", &node)?;
        }
        disk.sync_all().doing("flush", &node)?;
    }
    let grown = &growth.partition;
    let size = (grown.last_sector + 1 - grown.first_sector) * SECTOR_BYTES;
    sys::resize_partition(&disk, grown.number, grown.first_sector * SECTOR_BYTES, size)
        .doing("tell the kernel the new size of the data partition on", &node)
}

/// Grows a mounted ext4 to the size of its partition, where that is larger by a mebibyte at least.
fn grow_file_system(partition: &str, path: &str) -> Result<()> {
    let node = disks::node(partition);
    let device = File::open(&node).doing("open", &node)?;
    let mut superblock = [0; 1024];
    device.read_exact_at(&mut superblock, SUPERBLOCK_OFFSET).doing("read the superblock of", &node)?;
    let word =
        |at: usize| u32::from_le_bytes(superblock[at..at + 4].try_into().expect("because it has 4 bytes"));
    if superblock[0x38..0x3a] != EXT4_MAGIC.to_le_bytes() || word(0x18) > 6 {
        return Ok(());
    }
    let block_bytes = 1024u64 << word(0x18);
    let high = if word(0x60) & 0x80 != 0 { word(0x150) } else { 0 };
    let have = u64::from(high) << 32 | u64::from(word(4));
    let want = disks::disk_sectors(partition).unwrap_or(0) * SECTOR_BYTES / block_bytes;
    if want < have + (1 << 20) / block_bytes {
        return Ok(());
    }
    let folder = File::open(path).doing("open", path)?;
    sys::ioctl(&folder, Request::Ext4Resize, &mut want.to_ne_bytes())
        .doing("grow the file system on", &node)?;
    say!("data grown from {} to {} MiB", (have * block_bytes) >> 20, (want * block_bytes) >> 20);
    Ok(())
}

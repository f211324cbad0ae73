//! A disk as a machine has it: which slot it runs from, and files with holes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mkimage::boot::slots::Slot;
use mkimage::disk::{BlockDevice, MemoryDevice};
use mkimage::image::OpenImage;
use mkimage::slots::{self, Disk, Machine, SlotsError};

use super::kit::{Kit, one};

/// A kernel that tells of a disk 8:0 with the partitions of an image.
struct Told {
    folder: tempfile::TempDir,
}

impl Told {
    fn new() -> Told {
        let folder = crate::store::folder();
        for (number, name) in [(1, "sda1"), (2, "sda2"), (3, "sda3"), (4, "sda4")] {
            let partition = folder.path().join("block/8:0").join(name);
            std::fs::create_dir_all(partition.join("holders")).expect("a folder");
            std::fs::write(partition.join("partition"), format!("{number}\n")).expect("written");
            std::fs::write(partition.join("dev"), format!("8:{number}\n")).expect("written");
        }
        std::fs::create_dir_all(folder.path().join("block/8:0/queue")).expect("a folder");
        let told = Told { folder };
        told.mount("");
        told.boot("quiet");
        told
    }

    fn hold(&self, partition: &str) {
        let holder = self.folder.path().join("block/8:0").join(partition).join("holders/dm-0");
        std::fs::write(holder, "").expect("written");
    }

    fn mount(&self, dev: &str) {
        let line = format!("22 1 0:20 / /proc rw - proc proc rw\n30 1 {dev} / /mnt ro - ext4 /dev/sda3 ro\n");
        std::fs::write(self.folder.path().join("mounts"), line).expect("written");
    }

    fn boot(&self, line: &str) {
        std::fs::write(self.folder.path().join("cmdline"), line).expect("written");
    }

    fn running(&self, disk: &dyn BlockDevice, named: Option<Slot>) -> Result<Option<Slot>, SlotsError> {
        let at = |name: &str| self.folder.path().join(name);
        let machine =
            Machine { block_devices: at("block"), mounts: at("mounts"), command_line: at("cmdline") };
        machine.running((8, 0), &OpenImage::open(disk).expect("opened"), named)
    }
}

fn disk_with_two() -> MemoryDevice {
    let bytes = Kit::of(1).fresh(1);
    let device = MemoryDevice::new(bytes.len() as u64);
    device.write_at(0, &bytes).expect("written");
    let _ = slots::stage(&device, None, &Kit::of(1).image(2), &one()).expect("staged");
    slots::confirm(&device, None, &one()).expect("confirmed");
    device
}

#[test]
fn the_slot_that_is_in_use_is_the_one_that_runs() {
    let disk = disk_with_two();
    let told = Told::new();
    assert_eq!(told.running(&disk, None).expect("known"), None);
    told.hold("sda2");
    assert_eq!(told.running(&disk, None).expect("known"), Some(Slot::A));
    assert_eq!(told.running(&disk, Some(Slot::A)).expect("known"), Some(Slot::A));
    let refused = told.running(&disk, Some(Slot::B)).expect_err("slot-a would be written");
    assert!(matches!(refused, SlotsError::Held { slot: Slot::A }), "{refused}");
    told.mount("8:3");
    let refused = told.running(&disk, None).expect_err("both are in use");
    assert!(matches!(refused, SlotsError::Held { .. }), "{refused}");
    let other = Told::new();
    other.mount("8:3");
    assert_eq!(other.running(&disk, None).expect("known"), Some(Slot::B));
}

#[test]
fn else_the_root_hash_that_was_booted_says_it() {
    let disk = disk_with_two();
    let told = Told::new();
    let verity = OpenImage::open(&disk).expect("opened").verity(Slot::B).expect("a root hash");
    told.boot(&format!("quiet mkimage.verity={verity} other=1"));
    assert_eq!(told.running(&disk, None).expect("known"), Some(Slot::B));
    told.hold("sda3");
    assert_eq!(told.running(&disk, None).expect("known"), Some(Slot::B));
}

#[test]
fn a_file_is_updated_past_the_cache_and_keeps_its_holes() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a disk");
    let path = folder.path().join("disk.img");
    sparse(&path, &Kit::of(1).fresh(1));
    let allocated = || std::fs::metadata(&path).expect("the image").blocks() * 512;
    let before = allocated();
    {
        let disk = Disk::change(&path).expect("opened");
        assert_eq!(disk.running(None).expect("a file"), None);
        let staged = slots::stage(disk.device(), None, &Kit::of(1).image(2), &one()).expect("staged");
        assert_eq!(staged.slot, Slot::B);
        slots::confirm(disk.device(), None, &one()).expect("confirmed");
        // Version 2 has a file that 3 lacks: what is left over is no block any more.
        let staged = slots::stage(disk.device(), None, &Kit::of(1).image(3), &one()).expect("staged");
        assert_eq!(staged.slot, Slot::A);
        let status = slots::status(disk.device(), true, &one()).expect("read");
        assert!(status.slots.iter().all(|slot| slot.verified == Some(true)), "{status:?}");
    }
    assert!(allocated() < before + (1 << 20), "{} bytes became {}", before, allocated());
}

/// An image file on a file system that has so many bytes left.
struct Tight<'a>(&'a dyn BlockDevice, u64);

impl BlockDevice for Tight<'_> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn flush(&self) -> std::io::Result<()> {
        self.0.flush()
    }

    fn next_data(&self, offset: u64) -> u64 {
        self.0.next_data(offset)
    }

    fn hole_bytes(&self, offset: u64, length: u64) -> u64 {
        self.0.hole_bytes(offset, length)
    }

    fn free_bytes(&self) -> Option<u64> {
        Some(self.1)
    }
}

#[test]
fn space_for_an_image_file_is_looked_for_before_anything_is_touched() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a disk");
    let path = folder.path().join("disk.img");
    sparse(&path, &Kit::of(1).fresh(1));
    let disk = Disk::change(&path).expect("opened");
    assert!(disk.device().free_bytes().is_some_and(|free| free > 0), "a file takes room");
    let stage = |free, version| {
        slots::stage(&Tight(disk.device(), free), None, &Kit::of(1).image(version), &one()).map(|it| it.slot)
    };
    let before = std::fs::read(&path).expect("read");
    match stage(20_000, 2) {
        Err(SlotsError::NoSpace { need, free }) => assert!(need > free && need.0 < 1 << 20, "{need}"),
        other => panic!("{other:?}"),
    }
    assert!(std::fs::read(&path).expect("read") == before, "slot B is what it was");
    assert_eq!(stage(1 << 20, 2).expect("staged"), Slot::B);
    slots::confirm(disk.device(), None, &one()).expect("confirmed");
    // Slot A has its room already.
    assert_eq!(stage(20_000, 3).expect("staged"), Slot::A);
}

fn sparse(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(path).expect("created");
    file.set_len(bytes.len() as u64).expect("a length");
    for (number, block) in bytes.chunks(4096).enumerate() {
        if block.iter().any(|&byte| byte != 0) {
            file.write_all_at(block, number as u64 * 4096).expect("written");
        }
    }
}

/// Publishes a version of the kit that asks for stable places.
fn with_stable_places(version: usize) -> mkimage::base::CommitId {
    use mkimage::store::{Filesystem, Objects};
    let kit = Kit::of(2);
    let mut commit = kit.store.read_commit(&kit.commits[version - 1]).expect("read");
    commit.disk.filesystem = Filesystem::Ext4Stable;
    let transaction = kit.store.begin(&one());
    let id = transaction.put_commit(&commit).expect("put");
    transaction
        .commit(&[crate::store::update(&format!("stable/v{version}"), id)], "a test")
        .expect("committed");
    id
}

#[test]
fn with_stable_places_an_update_keeps_the_files_that_it_does_not_change() {
    let store = Kit::of(2).store;
    let images = [1, 2, 3].map(|version| {
        mkimage::image::Image::of(store, with_stable_places(version), &one()).expect("an image")
    });
    let placed = images[0].place(&one()).expect("placed");
    let device = MemoryDevice::new(placed.disk.size.0);
    images[0].write(&placed, &device, &one()).expect("written");
    let _ = slots::stage(&device, Some(Slot::A), &images[1], &one()).expect("staged");
    slots::confirm(&device, Some(Slot::B), &one()).expect("confirmed");
    let staged = slots::stage(&device, Some(Slot::B), &images[2], &one()).expect("staged");
    // A file of 40,000 bytes is the same, and nothing but metadata besides.
    let (kept, written) = (staged.root.kept_bytes, staged.root.written_bytes + staged.root.erased_bytes);
    assert!(kept >= 40_000 && written <= 20 * 4096, "{kept} bytes kept, {written} written");
    slots::status(&device, true, &one()).expect("whole");
}

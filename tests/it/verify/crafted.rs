//! Images that somebody made with care: everything fits together, and something is not what the commit makes.

use super::{Changed, image};
use mkimage::boot::command_line;
use mkimage::boot::slots::Slot;
use mkimage::disk::ext4::Ext4Reader;
use mkimage::disk::verity::VerityBuilder;
use mkimage::disk::{BlockDevice, BlockObserver, MemoryDevice};
use mkimage::image::OpenImage;

/// Computes the verity tree of slot A anew, and puts tree and root hash where they belong: what an attacker does who
/// can write everything but the commit.
fn seal_again(changed: Changed) -> Changed {
    let (base, verity, uki_at) = {
        let whole = image().whole();
        let disk = OpenImage::open(&whole).expect("opens");
        let table = disk.table();
        let base = table.named("slot-a").expect("a slot").offset();
        let esp = table.named("esp").expect("an ESP").offset();
        (base, disk.verity(Slot::A).expect("a root hash"), esp + disk.map().uki_offset(Slot::A))
    };
    let builder = VerityBuilder::new(verity.data_blocks, &verity.salt);
    for block in 0..verity.data_blocks {
        builder.wrote(block, &changed.get(base + block * 4096, 4096));
    }
    let tree = builder.finish(&mkimage::base::Job::quiet(1)).expect("a tree");
    let device = MemoryDevice::new(tree.size_bytes());
    tree.write(&device, 0).expect("written");
    let mut bytes = vec![0; tree.size_bytes() as usize];
    device.read_at(0, &mut bytes).expect("read");
    let new = command_line::VerityRoot { root_hash: tree.root_hash, ..verity.clone() };
    let (old, new) = (verity.root_hash_hex(), new.root_hash_hex());
    let uki = changed.get(uki_at, 1 << 20);
    let at =
        uki.windows(64).position(|window| window == old.as_bytes()).expect("the root hash is in the UKI");
    changed.put(base + verity.data_blocks * 4096, &bytes).put(uki_at + at as u64, new.as_bytes())
}

fn slot() -> u64 {
    let whole = image().whole();
    OpenImage::open(&whole).expect("opens").table().named("slot-a").expect("a slot").offset()
}

fn findings(changed: &Changed) -> String {
    let report = changed.verify().expect("verified");
    assert!(!report.sound, "it passed");
    report.findings.iter().map(|finding| format!("{finding}\n")).collect()
}

#[test]
fn a_sealed_image_is_the_same_image() {
    assert!(seal_again(image().whole()).is_whole(), "the test's own sealing is right");
}

#[test]
fn another_file_under_a_right_verity_tree_is_another_tree() {
    let text = b"file number 5";
    let page = image().pages.iter().find(|(_, bytes)| bytes.starts_with(text)).expect("the file");
    let said = findings(&seal_again(image().whole().put(page.0 * 4096, b"FILE")));
    assert!(said.contains("its files and directories are the tree"), "{said}");
    assert!(!said.contains("verity, data block"), "{said}");
}

#[test]
fn a_superblock_that_is_sound_but_not_ours_is_named_by_its_field() {
    let at = slot() + 1024;
    let mut superblock = image().whole().get(at, 1024);
    superblock[0x3c] = 3; // panic on errors
    let sum = !super::crc32c_of(&superblock[..0x3fc]);
    superblock[0x3fc..].copy_from_slice(&sum.to_le_bytes());
    let said = findings(&seal_again(image().whole().put(at, &superblock)));
    assert!(said.contains("slot-a: ext4 superblock, errors"), "{said}");
}

#[test]
fn bytes_in_free_room_are_found() {
    let whole = image().whole();
    let report = whole.verify().expect("verified");
    for range in &report.covered {
        let middle = range.offset + range.bytes / 2;
        if whole.byte(middle) == 0 {
            assert!(whole.clone().put(middle, &[1]).is_refused(), "{}: byte {middle}", range.what);
        }
    }
}

#[test]
fn filesystems_with_loops_overlaps_and_huge_counts_are_refused_quickly() {
    let base = slot();
    let window = |changed: &Changed| {
        let bytes = changed.get(base, 8 << 20);
        let device = MemoryDevice::new(bytes.len() as u64);
        device.write_at(0, &bytes).expect("written");
        device
    };
    let whole = window(&image().whole());
    let reader = Ext4Reader::open(&whole).expect("opens");
    assert!(reader.walk(&mkimage::base::Job::quiet(1)).expect("walks").entries.len() > 120);
    let huge = |at: u64, bytes: &[u8]| {
        let mut superblock = image().whole().get(base + 1024, 1024);
        superblock[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        let sum = !super::crc32c_of(&superblock[..0x3fc]);
        superblock[0x3fc..].copy_from_slice(&sum.to_le_bytes());
        seal_again(image().whole().put(base + 1024, &superblock))
    };
    for (at, bytes) in [
        (0x04, &u32::MAX.to_le_bytes()[..]),
        (0x150, &[0xff, 0xff, 0, 0]),
        (0x00, &u32::MAX.to_le_bytes()),
        (0x28, &u32::MAX.to_le_bytes()),
        (0x18, &[60, 0, 0, 0]),
        (0x20, &[0; 4]),
    ] {
        let said = findings(&huge(at, bytes));
        assert!(said.contains("slot-a: ext4"), "{said}");
    }
}

#[test]
fn commits_and_origins_that_do_not_belong_together_are_told() {
    let whole = image().whole();
    let disk = OpenImage::open(&whole).expect("opens");
    let esp = disk.table().named("esp").expect("an ESP").offset();
    let at = esp + disk.map().uki_offset(Slot::A);
    let uki = disk.uki(Slot::A).expect("a UKI");
    let find =
        |text: &[u8]| at + uki.windows(text.len()).position(|window| window == text).expect("there") as u64;
    let cases: [(&[u8], &str); 4] = [
        (b"MKICOMM\x01", "its commit"),
        (b"MKIORIG\x01", ".origin"),
        (b"variable \"greeting\"", "disk.hcl in .origin"),
        (b"MKITREE\x01", "boot tree in .origin"),
    ];
    for (text, expected) in cases {
        let said = findings(&image().whole().flip((find(text) + 2) * 8));
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

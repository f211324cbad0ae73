//! Machines whose running slot rots: what it can't lend any more is fetched, and the update comes.

use mkimage::base::Job;
use mkimage::disk::BlockDevice;

use super::confined::Small;
use super::*;
use crate::trial::{open, sector, window};

/// Changes a byte of the running slot's root.
fn flip(small: &Small, at: u64) {
    let device = open(&small.path("disk.img"));
    let root = window(&device, "slot-a");
    let byte = sector(&root, at)[0];
    root.write_at(at, &[byte ^ 1]).expect("written");
}

/// Returns where a file's content, or the verity tree, begins in the running slot.
fn place_of(small: &Small, bytes: &[u8]) -> u64 {
    let device = open(&small.path("disk.img"));
    let root = window(&device, "slot-a");
    let mut all = vec![0; root.size() as usize];
    root.read_at(0, &mut all).expect("read");
    all.windows(bytes.len()).position(|window| window == bytes).expect("it is there") as u64
}

fn tree_of(small: &Small) -> u64 {
    let device = open(&small.path("disk.img"));
    let image = mkimage::image::OpenImage::open(&device).expect("an image");
    image.verity(mkimage::boot::slots::Slot::A).expect("a root").hash_start_block * 4096
}

#[test]
fn a_running_slot_that_rots_anywhere_does_not_keep_its_machine_from_updating() {
    let same = crate::store::noise(1000, 40_000);
    type At<'a> = Box<dyn Fn(&Small) -> u64 + 'a>;
    let cases: [(&str, At<'_>, &str); 3] = [
        ("a file", Box::new(|small| place_of(small, &same[4096..8192])), "data block"),
        ("the superblock", Box::new(|_| 1024 + 0x38), "data block 0"),
        ("the tree", Box::new(tree_of), "root hash"),
    ];
    for (what, at, told) in cases {
        let small = Small::new();
        flip(&small, at(&small));
        let output = run(&mut small.agent(&[], &["upgrade"]));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{what}: {said}");
        assert!(said.contains("the running slot is damaged") && said.contains(told), "{what}: {said}");
        let outcome: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(outcome["state"], "staged", "{what}");
        let status = mkimage::slots::status(&open(&small.path("disk.img")), true, &Job::quiet(1));
        let slot = &status.expect("a status").slots[1];
        assert_eq!((slot.verified, slot.version.as_deref()), (Some(true), Some("2.0")), "{what}: {slot:?}");
    }
}

//! Machines in QEMU whose confirmed slots rot: they go on.

use mkimage::disk::BlockDevice;

use super::show::Machine;
use super::*;
use crate::trial::{open, sector, window};

/// Changes a byte of a slot's root.
fn flip(image: &Path, partition: &str, at: u64) {
    let device = open(image);
    let root = window(&device, partition);
    let byte = sector(&root, at)[0];
    root.write_at(at, &[byte ^ 1]).expect("written");
}

/// Returns where a small file begins in a slot.
fn place_of(image: &Path, partition: &str, bytes: &[u8]) -> u64 {
    let device = open(image);
    let root = window(&device, partition);
    let holds = |at: &u64| sector(&root, *at).starts_with(bytes);
    (0..root.size()).step_by(4096).find(holds).expect("the file")
}

#[test]
fn a_machine_whose_running_root_rots_where_nobody_looks_updates_itself() {
    let farm = Farm::new("agent-rots").served();
    let from = format!("http://10.0.2.2:{}", farm.server.as_ref().expect("nginx").port);
    farm.build(&from, healthy("1"), "disk.img");
    let second = farm.build(&from, healthy("2"), "second.img");
    farm.push("agent-rots");
    let disk = farm.path("disk.img");
    flip(&disk, "slot-a", place_of(&disk, "slot-a", b"this is version 1"));
    let mut machine = Machine::start(&disk);
    machine.wait("the running slot is damaged, and what it lacks is fetched");
    machine.wait("bytes pulled");
    machine.wait(&format!("commit {} (2) in slot-b is confirmed", &second[..12]));
}

#[test]
fn a_confirmed_slot_whose_tree_rots_gives_way_to_the_other_confirmed_one() {
    let farm = Farm::new("agent-gives-way");
    farm.build("https://updates.invalid/site", healthy("1"), "disk.img");
    farm.build("https://updates.invalid/site", healthy("2"), "second.img");
    farm.push("agent-gives-way");
    assert_eq!(farm.say("disk.img", "slot-a", &["upgrade"])["state"], "staged");
    let disk = farm.path("disk.img");
    confirm(&disk);
    let device = open(&disk);
    let root = mkimage::image::OpenImage::open(&device).expect("an image");
    let root = root.verity(mkimage::boot::slots::Slot::B).expect("a root");
    flip(&disk, "slot-b", root.hash_start_block * 4096);
    let mut machine = Machine::start(&disk);
    machine.wait("this slot can't be used: slot-a boots next");
    machine.wait("cannot boot: no partition holds the tree");
    machine.wait("verified and mounted");
    machine.wait("ready after");
}

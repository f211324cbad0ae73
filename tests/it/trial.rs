//! Installs the running version again, into the second slot of an image: what an update will do.

use std::fs::OpenOptions;
use std::path::Path;

use mkimage::boot::slots::{Slot, SlotMap, SlotSector, map_offset};
use mkimage::disk::esp::EspMap;
use mkimage::disk::{BlockDevice, FileDevice, Window, gpt};

/// Fills slot B with slot A's system and puts it on trial.
pub fn install_second_slot(image: &Path, tries: u8) {
    let file = OpenOptions::new().read(true).write(true).open(image).expect("the image");
    let size = file.metadata().expect("a length").len();
    let device = FileDevice::new(file, size);
    let table = gpt::read(&device).expect("a partition table");
    let window = |name: &str| {
        let partition = table.named(name).expect("the partition");
        Window::new(&device, partition.offset(), partition.size().0).expect("inside")
    };
    copy(&window("slot-a"), &window("slot-b"));

    let esp = window("esp");
    let mut sector = [0; 512];
    esp.read_at(0, &mut sector).expect("read");
    let offset = map_offset(&sector).expect("an ESP of ours");
    esp.read_at(offset, &mut sector).expect("read");
    let map = SlotMap::parse(&sector).expect("the map");
    esp.read_at(map.directory_offset, &mut sector).expect("read");
    let slots = SlotSector::decode(&sector, &map).expect("the slot sector");

    let mut uki = vec![0; slots.state(Slot::A).size_bytes() as usize];
    esp.read_at(map.uki_offset(Slot::A), &mut uki).expect("read");
    EspMap::read(&esp).expect("the map").write_uki(&esp, Slot::B.index(), &uki).expect("written");
    let trial = slots.trial(Slot::B, uki.len() as u64, tries).expect("on trial");
    esp.write_at(map.directory_offset, &trial.encode()).expect("written");
    device.flush().expect("flushed");
}

/// Wipes the root filesystem of slot B, so that nothing in it can boot.
pub fn damage_second_slot(image: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(image).expect("the image");
    let size = file.metadata().expect("a length").len();
    let device = FileDevice::new(file, size);
    let table = gpt::read(&device).expect("a partition table");
    let slot = table.named("slot-b").expect("the partition");
    device.write_at(slot.offset(), &vec![0x5a; 1 << 20]).expect("written");
}

fn copy(from: &dyn BlockDevice, to: &dyn BlockDevice) {
    let mut piece = vec![0; 1 << 20];
    for offset in (0..from.size()).step_by(piece.len()) {
        let length = piece.len().min((from.size() - offset) as usize);
        from.read_at(offset, &mut piece[..length]).expect("read");
        if piece[..length].iter().any(|&byte| byte != 0) {
            to.write_at(offset, &piece[..length]).expect("written");
        }
    }
}

//! Installs the running version again, into the second slot of an image: what an update does.

use std::fs::OpenOptions;
use std::path::Path;

use mkimage::boot::slots::{Measured, Slot, SlotMap, SlotTable, map_offset, write_uki};
use mkimage::disk::{BlockDevice, FileDevice, Window, gpt};

/// Fills slot B with slot A's system and puts it on trial.
pub fn install_second_slot(image: &Path, tries: u8) {
    let device = open(image);
    copy(&window(&device, "slot-a"), &window(&device, "slot-b"));
    let esp = window(&device, "esp");
    let table = table(&esp);
    let uki = uki(&esp, &table, Slot::A);
    write_uki(&esp, &table, Slot::B, &uki).expect("written");
    write(&esp, &table.trial(Slot::B, Measured::of(&uki), tries).expect("on trial"));
    device.flush().expect("flushed");
}

/// Wipes the root filesystem of slot B, so that nothing in it can boot.
pub fn damage_second_slot(image: &Path) {
    window(&open(image), "slot-b").write_at(0, &vec![0x5a; 1 << 20]).expect("written");
}

/// Opens an image for writing.
pub fn open(image: &Path) -> FileDevice {
    let file = OpenOptions::new().read(true).write(true).open(image).expect("the image");
    let size = file.metadata().expect("a length").len();
    FileDevice::new(file, size)
}

/// Returns a partition by its name.
pub fn window<'a>(device: &'a FileDevice, name: &str) -> Window<'a> {
    let table = gpt::read(device).expect("a partition table");
    let partition = table.named(name).expect("the partition");
    Window::new(device, partition.offset(), partition.size().0).expect("inside")
}

pub fn sector(esp: &dyn BlockDevice, offset: u64) -> [u8; 512] {
    let mut sector = [0; 512];
    esp.read_at(offset, &mut sector).expect("read");
    sector
}

/// Reads the state of the slots.
pub fn table(esp: &dyn BlockDevice) -> SlotTable {
    let map = SlotMap::parse(&sector(esp, map_offset(&sector(esp, 0)).expect("an ESP of ours")));
    let map = map.expect("the map");
    SlotTable::read::<mkimage::boot::slots::SlotError>(&map, |at| Ok(sector(esp, at))).expect("the slots")
}

/// Reads the UKI of a slot.
pub fn uki(esp: &dyn BlockDevice, table: &SlotTable, slot: Slot) -> Vec<u8> {
    let mut uki = vec![0; table.state(slot).size_bytes() as usize];
    esp.read_at(table.map().uki_offset(slot), &mut uki).expect("read");
    uki
}

/// Makes a state of the slots that of the disk.
pub fn write(esp: &dyn BlockDevice, table: &SlotTable) {
    let (offset, sector) = table.encode();
    esp.write_at(offset, &sector).expect("written");
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

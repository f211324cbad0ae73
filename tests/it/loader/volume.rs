//! The ESP of layout 2: sound for FAT in every finished state, as it was for the record's format.

use mkimage::base::{Bytes, Digest};
use mkimage::boot::slots::{Measured, Slot, SlotMap, SlotTable, dump_records, map_offset, write_uki};
use mkimage::disk::layout::{self, Architecture, DiskLayout, DiskRequest, Role};
use mkimage::disk::{BlockDevice, MemoryDevice, Window, dump, fat};

use crate::tool::tool;
use crate::trial::{sector, table, uki, write};

fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_le_bytes()[2] ^ seed).collect()
}

/// Makes a disk with a UKI of 300,000 bytes in slot A.
fn disk() -> (DiskLayout, MemoryDevice) {
    let layout = layout::place(&DiskRequest {
        version: layout::VERSION_RECORDS,
        architecture: Architecture::X86_64,
        seed: Digest::of(b"a commit"),
        epoch_seconds: 1_700_000_001,
        loader_size: 30_000,
        uki_size: 300_000,
        uki_room: Some(Bytes::mib(1)),
        slot_content: Bytes::mib(4),
        slot_size: Some(Bytes::mib(8)),
        data_size: Bytes::mib(4),
    });
    let layout = layout.expect("places");
    let device = MemoryDevice::new(layout.size.0);
    layout.write_table(&device).expect("written");
    let (first, map) = (bytes(300_000, 2), SlotMap::parse(layout.esp.map_text()).expect("a map"));
    let state = SlotTable::first(map, Measured::of(&first)).expect("fits").encode_new(Measured::of(&first));
    let esp = layout.window(&device, Role::Esp).expect("inside");
    layout.esp.write(&esp, &bytes(30_000, 1), &first, &state).expect("written");
    (layout, device)
}

/// Demands that fsck.fat finds nothing, nor our reader, and that the files are those of the slots.
fn judge(esp: &Window<'_>, expected: [Option<&[u8]>; 2]) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut all = vec![0; esp.size() as usize];
    esp.read_at(0, &mut all).expect("read");
    std::fs::write(file.path(), &all).expect("written");
    let output = tool("fsck.fat", ["-n".as_ref(), file.path().as_os_str()]).output();
    let output = output.unwrap_or_else(|error| panic!("fsck.fat: {error}: install the package dosfstools"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.lines().count() == 2, "{said}");
    let listing = fat::read(esp).expect("our reader finds it sound");
    for (name, expected) in ["EFI/Linux/SLOT-A.EFI", "EFI/Linux/SLOT-B.EFI"].into_iter().zip(expected) {
        match expected {
            Some(expected) => {
                assert!(fat::read_file(esp, &listing, name, 1 << 20).expect(name) == expected, "{name}");
            }
            None => assert!(listing.find(name).is_none(), "{name}"),
        }
    }
}

#[test]
fn every_finished_state_of_an_update_is_sound_for_fat() {
    let (layout, device) = disk();
    let esp = layout.window(&device, Role::Esp).expect("inside");
    let mut now = [Some(bytes(300_000, 2)), None];
    judge(&esp, now.each_ref().map(Option::as_deref));
    for (round, slot) in [Slot::B, Slot::A, Slot::B].into_iter().enumerate() {
        let new = bytes([700_000, 1000, 1 << 20][round], round as u8);
        let before = table(&esp).deactivate(slot).expect("the other one is blessed");
        write(&esp, &before);
        write_uki(&esp, &before, slot, &new).expect("fits");
        let trial = before.trial(slot, Measured::of(&new), 3).expect("fits");
        write(&esp, &trial);
        write(&esp, &trial.bless(slot).expect("on trial"));
        let read = table(&esp);
        assert_eq!(
            (read.digest(slot), read.choose().map(|it| it.slot)),
            (Some(Digest::of(&new)), Some(slot))
        );
        assert_eq!(uki(&esp, &read, slot), new);
        now[slot.index()] = Some(new);
        judge(&esp, now.each_ref().map(Option::as_deref));
    }
}

#[test]
fn a_switch_writes_one_sector_in_front_of_the_fats() {
    let (layout, device) = disk();
    let esp = layout.window(&device, Role::Esp).expect("inside");
    let image = |esp: &Window<'_>| {
        let mut all = vec![0; esp.size() as usize];
        esp.read_at(0, &mut all).expect("read");
        all
    };
    let before = image(&esp);
    write(&esp, &table(&esp).trial(Slot::B, Measured::of(b"new"), 3).expect("fits"));
    let after = image(&esp);
    let changed: Vec<usize> = before
        .chunks(512)
        .zip(after.chunks(512))
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .map(|(at, _)| at)
        .collect();
    assert_eq!(changed, [16], "the older record");
    let geometry = fat::read(&esp).expect("sound").geometry;
    assert!(geometry.reserved_sectors > 32, "records and seals lie in the reserved area");
}

#[test]
fn the_dump_of_a_disk_of_layout_2_is_as_it_was() {
    let (layout, device) = disk();
    let esp = layout.window(&device, Role::Esp).expect("inside");
    let second = bytes(5000, 4);
    let first = table(&esp);
    write_uki(&esp, &first, Slot::B, &second).expect("fits");
    write(&esp, &first.trial(Slot::B, Measured::of(&second), 3).expect("fits"));
    let map = SlotMap::parse(&sector(&esp, map_offset(&sector(&esp, 0)).expect("ours"))).expect("a map");
    let base = layout.partition(Role::Esp).offset();
    let text = dump::disk(&device).expect("dumps") + &dump_records(&esp, &map, base).expect("dumps");
    let path = crate::tool::root().join("fixtures/disk/small-2.dump");
    if std::env::var_os("MKIMAGE_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, &text).expect("write the golden text");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = text.lines().zip(golden.lines()).find(|(new, old)| new != old);
    assert!(text == golden, "the layout changed: {differing:?}\nMKIMAGE_GOLDEN=write makes it anew");
}

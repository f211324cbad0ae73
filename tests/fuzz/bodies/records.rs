//! What our own loader reads, and the program that becomes it.

use mkimage::boot::elf_to_pe;
use mkimage::boot::pe::PeImage;
use mkimage::boot::slots::record::{Record, decode_seal};
use mkimage::boot::slots::{Measured, Slot, SlotMap, SlotTable};

use super::take;

const MAP: &str = r#"{"layout":2,"data_offset":550912,"directory_offset":552448,"directory_cluster":5,"parent_cluster":3,
"date":22382,"time":1234,"slots":[{"partition":"slot-a","start_cluster":256,"clusters":2048},
{"partition":"slot-b","start_cluster":2304,"clusters":2048}],"records":[8192,12288]}"#;

fn map() -> SlotMap {
    SlotMap::parse(MAP.as_bytes()).expect("a map")
}

/// Takes a sector, whose checksum is made right where the flags say so: mutations get behind it then.
fn sector(bytes: &mut &[u8], is_repaired: bool) -> [u8; 512] {
    let mut sector = [0; 512];
    let length = bytes.len().min(512);
    let (taken, rest) = bytes.split_at(length);
    sector[..length].copy_from_slice(taken);
    *bytes = rest;
    if is_repaired {
        let checksum = crc32fast::hash(&sector[..508]);
        sector[508..].copy_from_slice(&checksum.to_le_bytes());
    }
    sector
}

/// Reads two records and two seals as the loader and as the tool do, counts tries, and changes the slots in
/// every way. What is there is tried; every state comes back from its sector.
pub fn records(mut bytes: &[u8]) {
    let flags = take(&mut bytes, 1);
    let sectors: [[u8; 512]; 4] = std::array::from_fn(|index| sector(&mut bytes, flags & 1 << index != 0));
    let read = [0, 1].map(|index| Record::decode(&sectors[index]).ok());
    let seals = [2, 3].map(|index| decode_seal(&sectors[index]).ok());
    for record in read.into_iter().flatten().chain(Record::newest(read)).chain(Record::recovered(seals)) {
        assert_eq!(Record::decode(&record.encode()), Ok(record));
        for can_count in [false, true] {
            let attempts = record.attempts(can_count);
            let holds = record.entries.iter().filter(|entry| entry.size_bytes > 0).count();
            assert_eq!(attempts.iter().flatten().count(), holds);
            for attempt in attempts.into_iter().flatten() {
                let next = record.counted(attempt.slot);
                assert!(next.place() != record.place() || record.sequence == u64::MAX);
                assert_eq!(Record::decode(&next.encode()), Ok(next));
            }
        }
    }
    let map = map();
    let Ok(table) = SlotTable::decode(&sectors[..2], &map) else { return };
    let mut tables = vec![table.clone()];
    let uki = Measured::of(b"another");
    for slot in Slot::BOTH {
        tables.extend(table.deactivate(slot).and_then(|table| table.trial(slot, uki, 3)));
        tables
            .extend([table.deactivate(slot), table.bless(slot), table.rollback(slot)].into_iter().flatten());
        assert!(table.seal(slot, uki).is_some_and(|(_, seal)| decode_seal(&seal).is_ok()));
    }
    for table in tables {
        let _ = table.choose();
        let (_, sector) = table.encode();
        assert_eq!(SlotTable::decode(&[sector, [0; 512]], &map).as_ref(), Ok(&table));
    }
}

pub fn record_seeds() -> Vec<Vec<u8>> {
    let uki = Measured::of(&[7; 5000]);
    let first = SlotTable::first(map(), uki).expect("fits");
    let second = first.trial(Slot::B, uki, 3).expect("fits");
    let third = second.bless(Slot::B).and_then(|table| table.deactivate(Slot::A)).expect("allowed");
    let seals = Slot::BOTH.map(|slot| first.seal(slot, uki).expect("a seal").1);
    let seed = |flags: u8, one: &SlotTable, other: &SlotTable| {
        [&[flags][..], &one.encode().1, &other.encode().1, seals.as_flattened()].concat()
    };
    let lost = [&[12u8][..], &[0; 1024], seals.as_flattened()].concat();
    vec![seed(15, &first, &second), seed(0, &second, &third), seed(3, &third, &third), lost]
}

/// Makes a UEFI application of a program. What comes out is a PE image.
pub fn program(bytes: &[u8]) {
    if let Ok(image) = elf_to_pe(bytes) {
        let image = PeImage::parse(&image).expect("what was written can be read");
        assert!(image.section(".reloc").is_some() && image.machine == 0x8664);
    }
}

pub fn program_seeds() -> Vec<Vec<u8>> {
    vec![
        small_program(&[]),
        small_program(&[(0x2000, 8, 0x1000)]),
        small_program(&[(0x2ffc, 8, 0), (0, 1, 0)]),
    ]
}

/// Makes a program of code and data, with relocations of the data.
fn small_program(relocations: &[(u64, u64, u64)]) -> Vec<u8> {
    let table: Vec<u8> = relocations
        .iter()
        .flat_map(|(at, kind, addend)| [*at, *kind, *addend])
        .flat_map(u64::to_le_bytes)
        .collect();
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    for word in [0x1000u64, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    let dynamic = 0x2100u64;
    // Kind, flags, offset, address, physical address, bytes in the file, bytes in memory, alignment.
    for (kind, flags, at, address, size) in
        [(1u32, 5u32, 0x100u64, 0x1000u64, 16u64), (1, 6, 0x200, 0x2000, 0x400), (2, 6, 0x300, dynamic, 48)]
    {
        elf.extend(kind.to_le_bytes().into_iter().chain(flags.to_le_bytes()));
        for word in [at, address, address, size, size, 0x1000] {
            elf.extend(word.to_le_bytes());
        }
    }
    elf.resize(0x600, 0xc3);
    for (at, word) in [7u64, 0x2200, 8, table.len() as u64, 0, 0].into_iter().enumerate() {
        elf[0x300 + at * 8..][..8].copy_from_slice(&word.to_le_bytes());
    }
    elf[0x400..0x400 + table.len()].copy_from_slice(&table);
    elf
}

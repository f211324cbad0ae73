//! Our own boot loader: its records, its choice, its hash, the file that firmware loads. `loader/boots.rs` starts it
//! in real firmware.

use std::process::Command;

use goblin::pe::PE;
use mkimage::base::Digest;
use mkimage::boot::slots::record::{
    Attempt, Entry, RECORD_SECTORS, Record, SEAL_MAGIC, SEAL_SECTORS, State, decode_seal, encode,
};
use mkimage::boot::slots::{Measured, Slot, SlotExtent, SlotMap, SlotState, SlotTable};
use mkimage::boot::{elf_to_pe, loader, pe::PeImage};
use proptest::prelude::*;

mod boots;
#[path = "../../src/loader/hash.rs"]
mod hash;

// The hash

#[test]
fn the_loader_hashes_as_b3sum_does() {
    let bytes: Vec<u8> = (0..300_000u32).map(|at| (at * 7 % 251) as u8).collect();
    let edges =
        [0, 1, 63, 64, 65, 127, 128, 1023, 1024, 1025, 2047, 2048, 2049, 3072, 3073, 4096, 5120, 5121];
    for length in edges.into_iter().chain((6000..300_000).step_by(13_337)) {
        assert_eq!(hash::blake3(&bytes[..length]), Digest::of(&bytes[..length]).0, "{length} bytes");
    }
}

// The file that firmware loads

#[test]
fn the_loader_is_a_uefi_application_for_other_readers_too() {
    let image = loader::image().expect("this build has a loader");
    assert_eq!(image, loader::image().expect("the same again"));
    assert!(image.len() < 64 << 10, "{} bytes: small is what it is for", image.len());
    let theirs = PE::parse(&image).expect("goblin reads it");
    let header = theirs.header.optional_header.expect("an optional header");
    assert_eq!((theirs.header.coff_header.machine, theirs.header.coff_header.time_date_stamp), (0x8664, 0));
    assert_eq!((header.windows_fields.subsystem, header.windows_fields.check_sum), (10, 0));
    let names: Vec<&str> = theirs.sections.iter().filter_map(|section| section.name().ok()).collect();
    assert_eq!(names, [".rodata", ".text", ".data", ".reloc"]);
    let ours = PeImage::parse(&image).expect("our reader, too");
    let text = ours.section(".text").expect("code");
    let entry = header.standard_fields.address_of_entry_point;
    assert!((text.virtual_address..text.virtual_address + text.virtual_size).contains(&entry));
    for section in &ours.sections {
        let (writable, code) = (section.characteristics & 0x8000_0000, section.characteristics & 0x2000_0000);
        assert!(writable == 0 || code == 0, "{} is writable code", section.name);
    }
    let here = env!("CARGO_MANIFEST_DIR").as_bytes();
    assert!(!image.windows(here.len()).any(|part| part == here), "a path of this machine is in the loader");
}

#[test]
fn objdump_reads_the_loader_and_its_relocations() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let image = loader::image().expect("this build has a loader");
    std::fs::write(file.path(), &image).expect("written");
    let output = Command::new("objdump").arg("-p").arg(file.path()).output();
    let output = output.unwrap_or_else(|error| panic!("objdump: {error}: install the package binutils"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("(EFI application)"), "{text}");
    assert!(text.contains("PE File Base Relocations") && text.contains("DIR64"), "{text}");
}

#[test]
fn a_damaged_program_is_refused_and_never_panics() {
    let message = |bytes: &[u8]| elf_to_pe(bytes).expect_err("refused").to_string();
    assert!(message(b"").contains("no position-independent program"));
    assert!(message(b"MZ and more").contains("no position-independent program"));
    let init = std::fs::read(crate::tool::init()).expect("PID 1");
    let mut noise = 1u32;
    for round in 0..300 {
        let mut program = init[..init.len().min(4096)].to_vec();
        for _ in 0..round % 7 {
            noise = noise.wrapping_mul(1_103_515_245).wrapping_add(12345);
            let at = (noise >> 8) as usize % program.len().min(512);
            program[at] = noise as u8;
        }
        let _ = elf_to_pe(&program);
    }
}

// Records

fn map() -> SlotMap {
    let extent = |partition: &str, start_cluster| SlotExtent {
        partition: partition.into(),
        start_cluster,
        clusters: 256,
    };
    SlotMap {
        layout: 2,
        data_offset: 544_768,
        directory_offset: 544_768 + 3 * 512,
        directory_cluster: 5,
        parent_cluster: 3,
        date: 33,
        time: 0,
        slots: [extent("slot-a", 384), extent("slot-b", 640)],
        records: Some([8192, 12288]),
    }
}

fn first() -> SlotTable {
    SlotTable::first(map(), Measured::of(b"the UKI of slot A")).expect("fits")
}

fn entry() -> impl Strategy<Value = Entry> {
    let state = (0u8..4, 1u32..9, 0u32..6, 0u32..9).prop_map(|(kind, generation, left, done)| match kind {
        0 => State::Empty,
        1 => State::Inactive,
        2 => State::Trial { generation, left, done },
        _ => State::Blessed { generation },
    });
    (state, any::<[u8; 32]>(), 1u32..100_000, 1u32..=131_072).prop_map(
        |(state, digest, first_sector, size_bytes)| {
            let is_empty = state == State::Empty;
            Entry {
                state,
                first_sector,
                sectors: 256,
                size_bytes: if is_empty { 0 } else { size_bytes },
                digest: if is_empty { [0; 32] } else { digest },
            }
        },
    )
}

fn generation(entry: &Entry) -> Option<u32> {
    match entry.state {
        State::Trial { generation, .. } | State::Blessed { generation } => Some(generation),
        _ => None,
    }
}

fn record() -> impl Strategy<Value = Record> {
    (any::<u64>(), entry(), entry())
        .prop_map(|(sequence, one, other)| Record { sequence: sequence >> 1, entries: [one, other] })
        .prop_filter("generations differ", |record| {
            let [one, other] = record.entries.each_ref().map(generation);
            one.is_none() || one != other
        })
}

fn slots(attempts: [Option<Attempt>; 2]) -> Vec<usize> {
    attempts.into_iter().flatten().map(|attempt| attempt.slot).collect()
}

proptest! {
    #[test]
    fn every_record_survives_its_sector(record in record()) {
        prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn whatever_lands_of_a_torn_write_the_state_is_the_old_or_the_new_one(
        old in record(), new in record(), landed in 0usize..=512, from_end in any::<bool>(),
    ) {
        let new = Record { sequence: old.sequence + 1, ..new };
        let before = Record { sequence: old.sequence.saturating_sub(1), ..old };
        // The place of the older record, into which the new one goes.
        let mut place = before.encode();
        let written = new.encode();
        match from_end {
            true => place[512 - landed..].copy_from_slice(&written[512 - landed..]),
            false => place[..landed].copy_from_slice(&written[..landed]),
        }
        let read = [Record::decode(&place).ok(), Some(old)];
        let newest = Record::newest(read).expect("the old one is whole");
        prop_assert!(newest == old || newest == new, "{newest:?}");
        prop_assert!(landed < 512 || newest == new);
    }

    #[test]
    fn the_loader_tries_every_slot_that_may_hold_a_system_once(record in record(), can_count in any::<bool>()) {
        let tried = slots(record.attempts(can_count));
        for (slot, entry) in record.entries.iter().enumerate() {
            let times = tried.iter().filter(|&&it| it == slot).count();
            prop_assert_eq!(times, usize::from(entry.state != State::Empty), "{:?}", entry);
        }
        if let [first, second] = tried[..] {
            let (one, other) = (&record.entries[first], &record.entries[second]);
            // What is known to boot comes before what is not, unless that is newer and can be counted.
            if let State::Blessed { .. } = other.state {
                let newer = generation(one) > generation(other);
                let counts = can_count && matches!(one.state, State::Trial { left: 1.., .. });
                prop_assert!(newer && (counts || matches!(one.state, State::Blessed { .. })), "{record:?}");
            }
        }
    }

    #[test]
    fn what_the_table_says_boots_next_is_what_the_loader_tries_first(
        steps in prop::collection::vec((0usize..5, any::<bool>(), 1u8..=5), 0..24),
    ) {
        let mut table = first();
        for (step, is_b, tries) in steps {
            let slot = if is_b { Slot::B } else { Slot::A };
            let uki = Measured::of(&[tries]);
            let changed = match step {
                0 => table.deactivate(slot),
                1 => table.trial(slot, uki, tries),
                2 => table.bless(slot),
                3 => table.rollback(slot),
                _ => Ok(counted(&table)),
            };
            table = changed.unwrap_or(table);
            let SlotTable::Records(record) = &table else { panic!("records") };
            let attempt = record.record().attempts(true)[0].expect("one slot is always there");
            let choice = table.choose().expect("one slot is always selectable");
            prop_assert_eq!((attempt.slot, attempt.counts), (choice.slot.index(), choice.is_trial));
        }
    }

    #[test]
    fn noise_is_no_record_and_no_seal(noise in prop::collection::vec(any::<u8>(), 512)) {
        let mut sector: [u8; 512] = noise.try_into().expect("512 bytes");
        prop_assert!(Record::decode(&sector).is_err());
        sector[..8].copy_from_slice(&SEAL_MAGIC);
        prop_assert!(decode_seal(&sector).is_err());
    }
}

/// Counts a try of what boots next, as the loader does.
fn counted(table: &SlotTable) -> SlotTable {
    let SlotTable::Records(record) = table else { panic!("records") };
    let record = record.record();
    match record.attempts(true)[0] {
        Some(Attempt { slot, counts: true }) => {
            let sector = record.counted(slot).encode();
            SlotTable::decode(&[sector, [0; 512]], table.map()).expect("sound")
        }
        _ => table.clone(),
    }
}

#[test]
fn a_single_flipped_bit_is_always_seen() {
    let SlotTable::Records(table) = first() else { panic!("records") };
    let sector = table.encode().1;
    for bit in 0..512 * 8 {
        let mut flipped = sector;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Record::decode(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn each_change_goes_over_the_older_record() {
    let mut table = first();
    let mut disk = [[0u8; 512]; 2];
    for (offset, sector) in table.encode_new(Measured::of(b"the UKI of slot A")) {
        if let Some(place) = SlotTable::places(&map()).iter().position(|&it| it == offset) {
            disk[place] = sector;
        }
    }
    let uki = Measured::of(b"another");
    type Change<'a> = &'a dyn Fn(&SlotTable) -> Result<SlotTable, mkimage::boot::slots::SlotError>;
    let changes: [Change<'_>; 6] = [
        &|table| table.trial(Slot::B, uki, 3),
        &|table| table.bless(Slot::B),
        &|table| table.deactivate(Slot::A),
        &|table| table.trial(Slot::A, uki, 1),
        &|table| table.bless(Slot::A),
        &|table| table.rollback(Slot::B),
    ];
    for change in changes {
        assert_eq!(SlotTable::decode(&disk, &map()).as_ref(), Ok(&table), "the newer one counts");
        let changed = change(&table).expect("allowed");
        let (offset, sector) = changed.encode();
        let place = SlotTable::places(&map()).iter().position(|&it| it == offset).expect("a place");
        let kept = disk;
        disk[place] = [0x5a; 512];
        assert_eq!(
            SlotTable::decode(&disk, &map()).as_ref(),
            Ok(&table),
            "a torn write loses the change only"
        );
        disk = kept;
        disk[place] = sector;
        table = changed;
    }
    assert_eq!(table.digest(Slot::A), Some(uki.digest));
    assert_eq!(table.file_name(Slot::B).as_deref(), Some("slot-b.efi"));
    assert_eq!(table.slot_named("SLOT-A.EFI"), Some(Slot::A));
}

#[test]
fn no_number_of_failures_leaves_nothing_to_start() {
    let uki = Measured::of(b"another");
    let mut table = first().trial(Slot::B, uki, 3).expect("fits");
    let mut started = Vec::new();
    for _ in 0..8 {
        started.push(table.choose().expect("one").slot);
        table = counted(&table);
    }
    assert_eq!(started[..3], [Slot::B; 3]);
    assert_eq!(started[3..], [Slot::A; 5]);
    // Both on trial and out of tries: the newer one, for ever, and the other one where it can't start.
    let both = SlotTable::decode(&[spent().encode(), [0; 512]], &map()).expect("sound");
    let mut both = both;
    for _ in 0..40 {
        let SlotTable::Records(record) = &both else { panic!("records") };
        assert_eq!(slots(record.record().attempts(true)), [1, 0]);
        assert_eq!(slots(record.record().attempts(false)), [1, 0]);
        both = counted(&both);
    }
    assert!(matches!(both.state(Slot::B), SlotState::Trial { left: 0, done: 43, .. }), "{both:?}");
}

/// Two slots on trial that have no tries left.
fn spent() -> Record {
    let SlotTable::Records(table) = first() else { panic!("records") };
    let mut record = table.record();
    let [one, other] = &mut record.entries;
    (other.size_bytes, other.digest) = (one.size_bytes, one.digest);
    one.state = State::Trial { generation: 1, left: 0, done: 3 };
    other.state = State::Trial { generation: 2, left: 0, done: 3 };
    record
}

#[test]
fn without_a_way_to_count_a_blessed_slot_goes_first() {
    let SlotTable::Records(table) = first().trial(Slot::B, Measured::of(b"new"), 3).expect("fits") else {
        panic!("records")
    };
    assert_eq!(slots(table.record().attempts(true)), [1, 0]);
    assert_eq!(slots(table.record().attempts(false)), [0, 1]);
    assert!(table.record().attempts(false).into_iter().flatten().all(|attempt| !attempt.counts));
}

#[test]
fn a_slot_that_was_being_written_is_the_last_resort() {
    let uki = Measured::of(b"new");
    let table = first().trial(Slot::B, uki, 3).and_then(|it| it.bless(Slot::B)).expect("allowed");
    let SlotTable::Records(table) = table.deactivate(Slot::A).expect("allowed") else { panic!("records") };
    assert_eq!(slots(table.record().attempts(true)), [1, 0]);
}

#[test]
fn seals_bring_back_what_two_lost_records_knew_of() {
    let measured = [Measured::of(b"one"), Measured::of(b"the other")];
    let seals =
        Slot::BOTH.map(|slot| first().seal(slot, measured[slot.index()]).expect("layout 2 has seals"));
    let places = SEAL_SECTORS.map(|sector| sector * 512);
    assert_eq!(seals.each_ref().map(|seal| seal.0), places);
    let read = seals.each_ref().map(|seal| decode_seal(&seal.1).ok());
    let record = Record::recovered(read).expect("two seals");
    assert_eq!(slots(record.attempts(true)), [0, 1], "slot A first");
    for (entry, measured) in record.entries.iter().zip(measured) {
        assert_eq!((entry.digest, u64::from(entry.size_bytes)), (measured.digest.0, measured.size_bytes));
        assert!(matches!(entry.state, State::Trial { left: 3, .. }));
    }
    assert_eq!(Record::decode(&record.encode()), Ok(record), "it can be written down");
    let half = Record::recovered([None, read[1]]).expect("one seal");
    assert_eq!(slots(half.attempts(true)), [1]);
    assert_eq!(Record::recovered([None, None]), None);
    // A record is no seal, and a seal is no record.
    assert!(Record::decode(&seals[0].1).is_err());
    assert!(decode_seal(&record.encode()).is_err());
    assert!(decode_seal(&encode(SEAL_MAGIC, &record)).is_err());
}

#[test]
fn places_do_not_share_a_physical_block() {
    let mut blocks: Vec<u64> =
        RECORD_SECTORS.into_iter().chain(SEAL_SECTORS).map(|sector| sector / 8).collect();
    blocks.sort_unstable();
    blocks.dedup();
    assert_eq!(blocks.len(), 4);
    // The boot sector, its copy and their FSInfo sectors are elsewhere; the first FAT comes behind.
    assert!(RECORD_SECTORS.into_iter().chain(SEAL_SECTORS).all(|sector| (8..34).contains(&sector)));
}

#[test]
fn a_map_of_another_form_is_refused() {
    let text = |layout: u32, records: &str| {
        format!(
            "{{\"layout\":{layout},\"data_offset\":544768,\"directory_offset\":546304,\"directory_cluster\":5,\
             \"parent_cluster\":3,\"date\":33,\"time\":0,\"slots\":[{{\"partition\":\"slot-a\",\"start_cluster\":384,\
             \"clusters\":256}},{{\"partition\":\"slot-b\",\"start_cluster\":640,\"clusters\":256}}]{records}}}"
        )
    };
    let parse = |layout, records| SlotMap::parse(text(layout, records).as_bytes());
    assert!(parse(1, "").is_ok());
    assert_eq!(parse(2, ",\"records\":[8192,12288]"), Ok(map()));
    for (layout, records) in
        [(1, ",\"records\":[8192,12288]"), (2, ""), (2, ",\"records\":[8192,12289]"), (3, "")]
    {
        assert!(parse(layout, records).is_err(), "layout {layout} {records}");
    }
    let SlotTable::Records(table) = first() else { panic!("records") };
    let mut moved = table.record();
    moved.entries[1].first_sector += 1;
    let error = SlotTable::decode(&[moved.encode(), [0; 512]], &map()).expect_err("refused").to_string();
    assert!(error.contains("the extent of slot-b is not where the map has it"), "{error}");
    let error = SlotTable::decode(&[[0; 512]; 2], &map()).expect_err("refused").to_string();
    assert!(error.contains("the first: it does not begin as it must; the second:"), "{error}");
}

use proptest::prelude::*;

use super::*;

fn map() -> SlotMap {
    let extent = |partition: &str, start_cluster| SlotExtent {
        partition: partition.into(),
        start_cluster,
        clusters: 256,
    };
    SlotMap {
        layout: 1,
        data_offset: 544_768,
        directory_offset: 544_768 + 3 * 512,
        directory_cluster: 5,
        parent_cluster: 3,
        date: 33,
        time: 0,
        slots: [extent("slot-a", 384), extent("slot-b", 640)],
        records: None,
    }
}

fn first() -> SlotSector {
    SlotSector::first(map(), 100_000).expect("fits")
}

fn decode(sector: &SlotSector) -> SlotSector {
    SlotSector::decode(&sector.encode(), &map()).expect("decodes")
}

/// Renames an entry as EDK2 does: marks the old pair deleted, appends a new one with a short name of its
/// own making.
fn rename(sector: &mut [u8; 512], from: &str, to: &str) {
    let text = |entry: &[u8]| -> String {
        let places = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
        places.iter().map(|&at| entry[at] as char).take_while(|&letter| letter != '\0').collect()
    };
    let old = (2..16).find(|&at| {
        sector[at * 32] == 0x41 && sector[at * 32 + 11] == 0x0f && text(&sector[at * 32..]) == from
    });
    let old = old.expect("the old name is there");
    let end = (2..16).find(|&at| sector[at * 32] == 0).expect("there is room");
    let (mut long, mut short) = ([0xff; 32], [0; 32]);
    short.copy_from_slice(&sector[(old + 1) * 32..(old + 2) * 32]);
    short[..11].copy_from_slice(
        format!("{:<8}EFI", to[..to.len() - 4].replace(['+', '.'], "_").to_uppercase()).as_bytes(),
    );
    let sum = short[..11].iter().fold(0u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte));
    long[0] = 0x41;
    long[11..14].copy_from_slice(&[0x0f, 0, sum]);
    long[26..28].fill(0);
    for (at, letter) in [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30].iter().zip(to.chars().chain(['\0'])) {
        long[*at..at + 2].copy_from_slice(&(letter as u16).to_le_bytes());
    }
    sector[old * 32] = 0xe5;
    sector[(old + 1) * 32] = 0xe5;
    sector[end * 32..end * 32 + 32].copy_from_slice(&long);
    sector[end * 32 + 32..end * 32 + 64].copy_from_slice(&short);
}

#[test]
fn an_update_goes_through_its_states() {
    let first = first();
    assert_eq!(first.file_name(Slot::A).as_deref(), Some("g1.efi"));
    assert_eq!(first.choose().map(|choice| (choice.slot, choice.reason)), Some((Slot::A, Reason::Only)));
    let writing = first.deactivate(Slot::B).expect("A is blessed");
    let trial = writing.trial(Slot::B, 5000, 3).expect("fits");
    assert_eq!(trial.file_name(Slot::B).as_deref(), Some("g2+3-0.efi"));
    let choice = trial.choose().expect("one boots");
    assert_eq!((choice.slot, choice.is_trial, choice.reason), (Slot::B, true, Reason::Newest));
    let blessed = decode(&trial).bless(Slot::B).expect("was on trial");
    assert_eq!(blessed.file_name(Slot::B).as_deref(), Some("g2.efi"));
    let next = blessed.deactivate(Slot::A).expect("B is blessed");
    assert_eq!(next.file_name(Slot::A).as_deref(), Some("inactive.bin"));
    assert_eq!(next.choose().map(|choice| choice.slot), Some(Slot::B));
    let back = blessed.rollback(Slot::A).expect("A is blessed");
    assert_eq!(back.file_name(Slot::A).as_deref(), Some("g3.efi"));
    assert_eq!(back.choose().map(|choice| choice.slot), Some(Slot::A));
}

#[test]
fn changes_that_could_leave_nothing_to_boot_are_refused() {
    let first = first();
    assert!(matches!(first.deactivate(Slot::A), Err(SlotError::Refused { .. })));
    assert!(matches!(first.trial(Slot::A, 1, 3), Err(SlotError::Refused { .. })));
    assert!(matches!(first.bless(Slot::B), Err(SlotError::Refused { .. })));
    assert!(matches!(first.rollback(Slot::B), Err(SlotError::Refused { .. })));
    assert_eq!(first.bless(Slot::A).as_ref(), Ok(&first));
    let trial = first.trial(Slot::B, 1, 3).expect("fits");
    assert!(matches!(trial.rollback(Slot::B), Err(SlotError::Refused { .. })));
    assert!(matches!(trial.deactivate(Slot::A), Err(SlotError::Refused { .. })));
    assert!(trial.deactivate(Slot::B).is_ok());
}

#[test]
fn sizes_and_tries_keep_to_their_range() {
    let first = first();
    let error = first.trial(Slot::B, 256 * 512 + 1, 3).expect_err("too large");
    assert_eq!(error.to_string(), "a UKI of 131073 bytes does not fit slot-b, which has 131072 bytes");
    assert!(first.trial(Slot::B, 256 * 512, 3).is_ok());
    assert!(matches!(first.trial(Slot::B, 0, 3), Err(SlotError::Size { .. })));
    for tries in [0, MOST_TRIES + 1, 255] {
        assert_eq!(first.trial(Slot::B, 1, tries), Err(SlotError::Tries { tries }));
    }
}

#[test]
fn generations_start_anew_before_names_grow_too_long() {
    let mut sector = first();
    sector.states[0] = SlotState::Blessed { generation: MOST_GENERATION, size_bytes: 1 };
    let trial = sector.trial(Slot::B, 1, 3).expect("fits");
    assert_eq!(trial.file_name(Slot::A).as_deref(), Some("g1.efi"));
    assert_eq!(trial.file_name(Slot::B).as_deref(), Some("g2+3-0.efi"));
    sector.states[0] = SlotState::Blessed { generation: MOST_GENERATION - 1, size_bytes: 1 };
    let trial = sector.trial(Slot::B, 1, 3).expect("fits");
    assert_eq!(trial.file_name(Slot::B).as_deref(), Some("g9999+3-0.efi"));
    assert_eq!(decode(&trial), trial);
}

#[test]
fn five_renames_by_firmware_fit_and_decode() {
    let trial = first().trial(Slot::B, 5000, 5).expect("fits");
    let mut sector = trial.encode();
    for done in 1..=5u32 {
        let name = |done: u32| format!("g2+{}-{done}.efi", 5 - done);
        rename(&mut sector, &name(done - 1), &name(done));
        let read = SlotSector::decode(&sector, &map()).expect("decodes");
        let expected = SlotState::Trial { generation: 2, left: 5 - done, done, size_bytes: 5000 };
        assert_eq!(read.state(Slot::B), expected);
        assert_eq!(read.state(Slot::A), trial.state(Slot::A));
        assert_eq!(read.slot_named("g2+5-0.efi"), Some(Slot::B));
        let reason = if done == 5 { Reason::OtherFailed } else { Reason::Newest };
        assert_eq!(read.choose().map(|choice| choice.reason), Some(reason));
    }
    assert!(sector.chunks(32).all(|entry| entry[0] != 0), "the sector is full");
    let read = SlotSector::decode(&sector, &map()).expect("decodes");
    assert_eq!(decode(&read), read);
}

#[test]
fn tries_that_firmware_counts_beyond_nine_decode() {
    let mut sector = first();
    sector.states[1] = SlotState::Trial { generation: 9999, left: 0, done: 123, size_bytes: 7 };
    sector.states[0] = SlotState::Trial { generation: 9998, left: 0, done: 45, size_bytes: 7 };
    assert_eq!(decode(&sector), sector);
    assert_eq!(
        sector.choose().map(|choice| (choice.slot, choice.reason)),
        Some((Slot::B, Reason::AllFailed))
    );
}

#[test]
fn foreign_entries_are_named_in_the_error() {
    let good = first().trial(Slot::B, 5000, 3).expect("fits").encode();
    let error = |change: &dyn Fn(&mut [u8; 512])| {
        let mut sector = good;
        change(&mut sector);
        SlotSector::decode(&sector, &map()).expect_err("refused").to_string()
    };
    assert!(error(&|sector| sector[0] = b'x').contains("entry 0: expected \".\""));
    assert!(error(&|sector| sector[32 + 26] = 9).contains("leads to cluster 9, not 3"));
    assert!(error(&|sector| sector[64 + 1] = b'h').contains("\"h1.efi\" is none of our names"));
    assert!(error(&|sector| sector[96] = b'T').contains("belongs to another entry"));
    assert!(error(&|sector| sector[96 + 26] = 1).contains("where no slot does"));
    assert!(error(&|sector| sector[96 + 30] = 0xff).contains("does not fit slot-a"));
    assert!(error(&|sector| sector[96 + 11] = 0x10).contains("not those of a file"));
    assert!(error(&|sector| sector.copy_within(64..128, 192)).contains("a second entry of slot-a"));
    assert!(error(&|sector| sector[96] = 0xe5).contains("a long name has no short entry"));
    assert!(error(&|sector| sector[128 + 3] = b'1').contains("both slots have generation 1"));
}

#[test]
fn names_have_one_spelling() {
    for name in ["inactive.bin", "g1.efi", "g9999+5-0.efi", "g12+0-17.efi"] {
        assert_eq!(EntryName::parse(name).map(|parsed| parsed.to_string()).as_deref(), Some(name));
    }
    assert!(EntryName::parse("G2+3.EFI").is_some());
    for name in
        ["", "g0.efi", "g01.efi", "g10000.efi", "g1+-0.efi", "g1+3-.efi", "g+1.efi", "g1.bin", "h1.efi"]
    {
        assert_eq!(EntryName::parse(name), None, "{name}");
    }
}

fn states() -> impl Strategy<Value = [SlotState; 2]> {
    let size = 1u32..=131_072;
    let state = |odd: u32| {
        let generation = (1u32..=4999).prop_map(move |half| half * 2 - odd);
        prop_oneof![
            Just(SlotState::Empty),
            size.clone().prop_map(|size_bytes| SlotState::Inactive { size_bytes }),
            (generation.clone(), 0u32..10, 0u32..200, size.clone()).prop_map(
                |(generation, left, done, size_bytes)| {
                    SlotState::Trial { generation, left, done, size_bytes }
                }
            ),
            (generation, size.clone())
                .prop_map(|(generation, size_bytes)| SlotState::Blessed { generation, size_bytes }),
        ]
    };
    (state(0), state(1)).prop_map(|(a, b)| [a, b])
}

proptest! {
    #[test]
    fn every_state_survives_its_sector(states in states()) {
        let sector = SlotSector { map: map(), states };
        prop_assert_eq!(decode(&sector), sector);
    }

    #[test]
    fn what_boots_is_listed_and_not_worse_than_the_other(states in states()) {
        let sector = SlotSector { map: map(), states };
        let listed = Slot::BOTH.into_iter().filter(|&slot| sector.state(slot).generation().is_some());
        prop_assert_eq!(sector.choose().is_some(), listed.count() > 0);
        if let Some(choice) = sector.choose() {
            let other = sector.state(choice.slot.other());
            let failed = |slot| sector.has_failed(slot);
            let newer = other.generation() > sector.state(choice.slot).generation();
            prop_assert!(!newer || (failed(choice.slot.other()) && !failed(choice.slot)));
        }
    }

    #[test]
    fn garbage_never_panics(
        states in states(),
        changes in proptest::collection::vec((0usize..512, any::<u8>()), 1..8),
        noise in proptest::collection::vec(any::<u8>(), 512),
    ) {
        let mut sector = SlotSector { map: map(), states }.encode();
        for (at, byte) in changes {
            sector[at] = byte;
        }
        if let Ok(read) = SlotSector::decode(&sector, &map()) {
            prop_assert_eq!(decode(&read), read);
        }
        let noise: [u8; 512] = noise.try_into().expect("512 bytes");
        let _ = SlotSector::decode(&noise, &map());
        let _ = SlotMap::parse(&noise);
        let _ = map_offset(&noise);
    }
}

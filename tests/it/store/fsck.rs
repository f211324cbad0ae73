//! What a check calls a damage, what it touches, and what reading gives meanwhile.

use super::damages::*;
use super::*;
use mkimage::base::Digest;
use mkimage::store::{Damage, Objects, Spot};
use mkimage::tree::ContentSource;

#[test]
fn every_damage_is_called_by_its_name_and_changes_nothing() {
    each(|name, sample, called, _| {
        let before = tree_of(&sample.path());
        let report = sample.check();
        assert!(report.faults.iter().any(|fault| called(&fault.damage)), "{name}: {:?}", report.faults);
        assert_eq!(tree_of(&sample.path()), before, "{name}: a check wrote");
        let quick = sample.store().check_quickly(&job()).expect("checked");
        let frames = report.faults.iter().all(|fault| object(&fault.damage));
        assert!(!quick.faults.is_empty() || frames, "{name}: seen by the whole check alone");
    });
}

#[test]
fn reading_a_damaged_store_gives_the_right_bytes_or_an_error() {
    // `unreadable` fails the test on other bytes.
    each(|name, sample, called, _| {
        let wrong = sample.all_unreadable();
        let names = called(&Damage::Format)
            || called(&Damage::Generation)
            || name.starts_with("ref")
            || name.starts_with("journal");
        assert!(wrong.is_empty() || !names, "{name}: {wrong:?}");
    });
}

#[test]
fn a_fault_names_object_pack_refs_commits_and_paths() {
    let sample = Sample::new();
    let pack = sample.pack(2, "pack");
    flip(&pack, noise_at(&pack, 2));
    let faults = sample.check().faults;
    let [fault] = &faults[..] else { panic!("{faults:?}") };
    let id = Digest::of(&noise(2, 5000));
    let name = pack.file_stem().expect("a name").to_str().expect("text").parse::<Digest>().expect("an id");
    match &fault.damage {
        Damage::Object { id: found, pack, offset, size, .. } => {
            assert_eq!((*found, *pack, *size), (id, name, Some(5000)));
            assert_eq!(
                *offset as usize,
                noise_at(
                    &sample.good().join("packs").join(sample.pack(2, "pack").file_name().expect("n")),
                    2
                )
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fault.reached.refs, [super::name("web")]);
    assert_eq!(fault.reached.past, []);
    assert_eq!(fault.reached.commits, 1);
    assert_eq!(fault.reached.spots, [(sample.commits["web"], Spot::Tree(path("/usr/share/noise")))]);
    assert!(fault.is_loss() && fault.problem.contains("digest"), "{fault:?}");
}

#[test]
fn damage_that_only_an_earlier_move_leads_to_says_so_and_garbage_is_said_to_be_garbage() {
    let sample = Sample::new();
    let pack = sample.pack(1, "pack");
    flip(&pack, noise_at(&pack, 1));
    let fault = sample.check().faults.remove(0);
    assert_eq!((fault.reached.refs.len(), &fault.reached.past[..]), (0, &[super::name("web")][..]));
    // Objects that no commit names.
    let store = open(&sample.path());
    let transaction = store.begin(&job());
    transaction.put(&noise(77, 4000)).expect("put");
    transaction.commit(&[], "").expect("committed");
    let pack = files_of(&sample.path().join("packs"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "pack"))
        .find(|path| std::fs::read(path).expect("read").windows(32).any(|window| window == noise(77, 32)))
        .expect("a pack");
    flip(&pack, 100);
    let faults = sample.check().faults;
    let garbage =
        faults.iter().find(|fault| fault.object() == Some(Digest::of(&noise(77, 4000)))).expect("named");
    assert!(garbage.reached.is_unreferenced() && !garbage.is_loss(), "{garbage:?}");
}

#[test]
fn a_missing_tree_is_named_with_the_directory_that_it_was() {
    let sample = Sample::new();
    std::fs::remove_file(sample.pack(3, "idx")).expect("removed");
    let faults = sample.check().faults;
    let commit =
        faults.iter().find(|fault| fault.object() == Some(sample.commits["prod"].0)).expect("the commit");
    assert_eq!(commit.reached.refs, [super::name("env/prod")]);
    assert_eq!(commit.reached.spots, [(sample.commits["prod"], Spot::Commit)]);
}

#[test]
fn a_wrong_claim_about_a_sound_object_marks_nothing() {
    let sample = Sample::new();
    let bytes = noise(2, 5000);
    let mut content = mkimage::tree::Content::of(&bytes);
    content.size += 1;
    let store = open(&sample.path());
    assert!(store.read_all(&content).is_err());
    assert!(store.has(&content.id.0) && marks(&sample).is_empty());
}

#[test]
fn what_is_torn_and_not_damaged_is_a_note() {
    let sample = Sample::new();
    let torn = log(&sample);
    change(&torn, |bytes| bytes.truncate(bytes.len() - 70));
    let memo = files_of(&sample.path().join("memo")).remove(0);
    change(&memo, |bytes| bytes.truncate(12));
    std::fs::write(sample.path().join("packs/core"), b"what?").expect("written");
    let report = sample.check();
    assert_eq!(report.faults, []);
    for said in ["the reflog of web has a torn line", "1 memos are torn", "1 files in packs/"] {
        assert!(report.notes.iter().any(|note| note.contains(said)), "{said}: {:?}", report.notes);
    }
}

#[test]
fn a_digit_of_a_checksum_that_became_a_space_is_damage_and_no_torn_line() {
    let sample = Sample::new();
    let log = log(&sample);
    let whole = std::fs::read(&log).expect("read");
    for digit in [1, 2, 35, 62, 63] {
        let mut bytes = whole.clone();
        let at = bytes.len() - 65 + digit;
        bytes[at] = b' ';
        std::fs::write(&log, bytes).expect("written");
        let report = sample.check();
        assert!(report.faults.iter().any(|fault| reflog(&fault.damage)), "digit {digit}: {:?}", report.notes);
    }
    // What a power cut leaves is none, wherever it cut.
    for length in (1..whole.len()).rev().take(70) {
        std::fs::write(&log, &whole[..length]).expect("written");
        assert_eq!(sample.check().faults, [], "{length} bytes");
    }
}

/// Random enough, and the same in every run.
fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed | 1;
    move |limit| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit.max(1) as u64) as usize
    }
}

/// Flips one bit of one file and says what a check makes of it: a fault or a note names it, or the flip is
/// harmless. Nothing of a sound store is left out.
fn flip_anywhere(rounds: usize, seed: u64) {
    let sample = Sample::new();
    let all = files_of(&sample.path());
    let mut next = random(seed);
    for _ in 0..rounds {
        let file = &all[next(all.len())];
        let whole = std::fs::read(file).expect("read");
        if whole.is_empty() {
            continue;
        }
        let (at, bit) = (next(whole.len()), next(8));
        change(file, |bytes| bytes[at] ^= 1 << bit);
        let said = format!("{} byte {at} bit {bit}", file.display());
        let report = sample.check();
        assert!(!report.faults.is_empty() || !report.notes.is_empty(), "{said}: not seen");
        let wrong = sample.all_unreadable();
        assert!(wrong.is_empty() || !report.is_sound(), "{said}: {wrong:?}");
        let _ = std::fs::remove_dir_all(sample.path().join("state"));
        change(file, |bytes| *bytes = whole);
    }
    assert_eq!(sample.check().faults, []);
}

#[test]
fn a_flipped_bit_anywhere_is_seen() {
    flip_anywhere(400, 0x9e37_79b9);
}

mod nightly {
    #[test]
    #[ignore = "for `make nightly`"]
    fn flipped_bits_everywhere_are_seen() {
        for seed in 1..20 {
            super::flip_anywhere(2000, 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        }
    }
}

#[test]
fn a_check_beside_writers_repackers_and_collectors_finds_nothing_wrong() {
    let folder = folder();
    let root = folder.path().join("store");
    publish(&open(&root), "web", 0);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _end = SetAtEnd(&done);
            let store = open(&root);
            for version in 1..40 {
                publish(&store, ["web", "env/prod"][version as usize % 2], version);
                if version % 10 == 0 {
                    let _ = open(&root).repack(&job());
                }
            }
        });
        let mut checks = 0;
        while !done.load(Ordering::Relaxed) || checks == 0 {
            let report = open(&root).check(&job()).expect("checked");
            assert_eq!(report.faults, [], "check {checks}");
            checks += 1;
        }
    });
    assert!(open(&root).check(&job()).expect("checked").is_sound());
}

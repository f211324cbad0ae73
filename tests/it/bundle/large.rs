//! Large files: made from what they were, in pieces, at the cost of what changed.

use super::*;
use crate::store::{folder, noise, open};
use mkimage::bundle::Form;

/// What is large here, so that a test needs a few mebibytes.
fn form() -> Form {
    Form { whole_bytes: 64 << 10, piece_bytes: 512 << 10, segment_bytes: 128 << 10, ..Form::default() }
}

/// Like a program or an archive: parts that nothing packs, text, and a run of zeros.
fn large() -> Vec<u8> {
    [noise(1, 600_000), prose(2, 100_000), vec![0; 200_000], noise(3, 300_000)].concat()
}

struct Travel {
    stored: u64,
    fetched: u64,
    table: Table,
    bytes: Vec<u8>,
}

fn write(store: &Store, form: &Form, commit: CommitId, base: CommitId, workers: usize) -> (Bundle, Vec<u8>) {
    let job = mkimage::base::Job::quiet(workers);
    let contents = Contents::gather(store, &[commit], &[base], &job).expect("gathered");
    let scratch = tempfile::tempfile().expect("a scratch file");
    let mut bundle = bundle::write_as(form, store, &contents, scratch, &job).expect("written");
    let mut bytes = Vec::new();
    bundle.read_to_end(&mut bytes).expect("read");
    (bundle, bytes)
}

/// Sends a file to who has what it was, and expects it there. Files around it make it one of several.
fn send(old: &[u8], new: &[u8], form: &Form) -> Travel {
    let (from, to) = (folder(), folder());
    let (from, to) = (open(from.path()), open(to.path()));
    let around = |version: u64| {
        let files = ["/app/a.bin", "/app/z.bin"].map(|at| (at.to_owned(), noise(version / 2, 3000)));
        Files::from(files)
    };
    let with = |bytes: &[u8], mut files: Files| {
        files.insert("/app/m.bin".to_owned(), bytes.to_vec());
        files
    };
    let (before, after) = (with(old, around(0)), with(new, around(1)));
    let first = commit(&from, &before, &[]);
    assert_eq!(commit(&to, &before, &[]), first);
    let second = commit(&from, &after, &[first]);
    let (bundle, bytes) = write(&from, form, second, first, 2);
    let table = table(&bundle, &bytes);
    let (_, fetched) = receive(&to, &table, &bytes, false).expect("received");
    check(&to, second, &after);
    Travel { stored: bundle.delta_bytes(), fetched, table, bytes }
}

#[test]
fn a_change_costs_the_change_wherever_it_is_and_whatever_it_moves() {
    let old = large();
    let other = noise(9, 100_000);
    let middle = old.len() / 2;
    let changed = [&old[..middle], &noise(8, 100), &old[middle + 100..]].concat();
    let moved = [&old[900_000..], &old[..900_000]].concat();
    for (what, new, most) in [
        ("one byte at the front", [b"x", &old[..]].concat(), 400),
        ("100 bytes in the middle", changed, 500),
        ("100 kB at the end", [&old[..], &other].concat(), 100_600),
        ("100 kB cut out", [&old[..500_000], &old[600_000..]].concat(), 400),
        ("halves that changed places", moved, 400),
        (
            "bytes here and there",
            (0..old.len()).map(|at| old[at] ^ u8::from(at % 300_000 == 7)).collect(),
            700,
        ),
    ] {
        let travel = send(&old, &new, &form());
        assert!(travel.fetched < most, "{what}: {} bytes", travel.fetched);
        assert!(travel.table.file_bytes() > new.len() as u64 / 2, "who has nothing finds all of it");
    }
}

#[test]
fn a_file_that_is_new_throughout_has_no_delta_and_one_that_grew_from_little_has() {
    let old = large();
    let travel = send(&old, &noise(77, 500_000), &form());
    assert!(travel.stored < 1000 && travel.fetched > 500_000, "nothing in common");
    let travel = send(&old[..200_000], &old, &form());
    assert!(travel.fetched < old.len() as u64, "{} bytes", travel.fetched);
    let travel = send(&old, &old[1_000_000..1_050_000], &form());
    assert!(travel.fetched < 400, "a small part of a large file: {} bytes", travel.fetched);
}

#[test]
fn code_whose_addresses_all_moved_is_told_from_a_window_of_its_own() {
    // A number of four bytes in every 40 grew by the same amount: nothing long enough to copy is left.
    let old = noise(1, 120_000);
    let mut new = [&noise(5, 40_000)[..], &old].concat();
    for at in (40_000..new.len() - 4).step_by(40) {
        let number = u32::from_le_bytes(new[at..at + 4].try_into().expect("4 bytes"));
        new[at..at + 4].copy_from_slice(&number.wrapping_add(90_000).to_le_bytes());
    }
    let travel = send(&old, &new, &form());
    assert!(travel.fetched < 70_000, "{} bytes", travel.fetched);
}

#[test]
fn the_same_files_give_the_same_pieces_and_a_salt_another_id() {
    let store = folder();
    let store = open(store.path());
    let old = Files::from([("/a".to_owned(), large())]);
    let new = Files::from([("/a".to_owned(), [b"y", &large()[..]].concat())]);
    let first = commit(&store, &old, &[]);
    let second = commit(&store, &new, &[first]);
    let (one, bytes) = write(&store, &form(), second, first, 1);
    let (four, same) = write(&store, &form(), second, first, 4);
    assert!(one.id() == four.id() && bytes == same);
    let (salted, bytes) = write(&store, &Form { salt: 1, ..form() }, second, first, 2);
    assert_ne!(salted.id(), one.id());
    assert_eq!(salted.size(), one.size());
    table(&salted, &bytes);
}

#[test]
fn pieces_come_in_any_order_from_several_threads() {
    let (from, to) = (folder(), folder());
    let (from, to) = (open(from.path()), open(to.path()));
    let old = Files::from([("/a".to_owned(), large())]);
    let mut bytes = [b"y", &large()[..]].concat();
    bytes.splice(900_000..900_000, noise(4, 200_000));
    let new = Files::from([("/a".to_owned(), bytes)]);
    let first = commit(&from, &old, &[]);
    commit(&to, &old, &[]);
    let second = commit(&from, &new, &[first]);
    let (bundle, bytes) = write(&from, &form(), second, first, 2);
    let table = table(&bundle, &bytes);
    let transaction = to.begin(&job());
    let plan = table.plan(&transaction, None, &job()).expect("planned");
    assert!(plan.delta_frames() >= 3, "{} pieces", plan.delta_frames());
    receive_backwards_and_twice(&table, plan, &bytes, &transaction);
    transaction.commit(&[update("main", second)], "test").expect("committed");
    check(&to, second, &new);
}

#[test]
fn a_program_of_an_older_version_is_told_what_it_can_not_read() {
    let travel = send(&large(), &[b"x", &large()[..]].concat(), &form());
    let prefix = travel.bytes.len() - (travel.table.file_bytes() as usize - 16);
    let stored = u32::from_le_bytes(travel.bytes[12..16].try_into().expect("4 bytes")) as usize;
    let mut front = travel.bytes[..prefix + stored].to_vec();
    assert_eq!(front[7], 2, "pieces are of version 2");
    front[7] = 3;
    let id = mkimage::base::Digest::of(&front);
    let refused = Table::parse(&front, &id).err().expect("refused").to_string();
    assert!(refused.contains("version 3") && refused.contains("1 to 2"), "{refused}");
    // As version 1 it is malformed: there, frames without objects are nothing.
    front[7] = 1;
    let id = mkimage::base::Digest::of(&front);
    assert!(Table::parse(&front, &id).is_err());
}

#[test]
fn what_has_no_large_file_is_written_as_ever() {
    let store = folder();
    let store = open(store.path());
    let first = commit(&store, &Files::from([("/a".to_owned(), prose(1, 50_000))]), &[]);
    let second = commit(&store, &Files::from([("/a".to_owned(), prose(1, 50_001))]), &[first]);
    let (_, bytes) = write(&store, &form(), second, first, 1);
    assert_eq!(bytes[7], 1);
}

#[test]
fn a_patch_that_lies_is_refused_and_never_makes_another_file() {
    let old = large();
    let new = [&old[..700_000], &noise(5, 90_000), &old[700_000..]].concat();
    let (from, to) = (folder(), folder());
    let (from, to) = (open(from.path()), open(to.path()));
    let (before, after) = ([old, new]).map(|bytes| Files::from([("/a".to_owned(), bytes)])).into();
    let first = commit(&from, &before, &[]);
    commit(&to, &before, &[]);
    let second = commit(&from, &after, &[first]);
    let (bundle, bytes) = write(&from, &form(), second, first, 2);
    let honest = table(&bundle, &bytes);
    let ranges = {
        let transaction = to.begin(&job());
        honest.plan(&transaction, None, &job()).expect("planned").ranges().to_vec()
    };
    let front = bundle.table_bytes() as usize;
    for round in 0..40u64 {
        let noise = noise(round, 8);
        let range = &ranges[usize::from(noise[0]) % (ranges.len() - 2)];
        let length = (range.end - range.start).min(if round % 2 == 0 { 12 } else { 4000 });
        let at = range.start as usize + usize::from(noise[1]) * usize::from(noise[2]) % length as usize;
        let mut lie = bytes.clone();
        lie[at] ^= noise[3] | 1;
        // A table whose digest of this frame fits the lie.
        let digest = |bytes: &[u8]| {
            *mkimage::base::Digest::of(&bytes[range.start as usize..range.end as usize]).as_bytes()
        };
        let Some(place) = bytes[..front].windows(32).position(|window| window == digest(&bytes)) else {
            panic!("the table of so few objects is not compressed")
        };
        let fits = digest(&lie);
        lie[place..place + 32].copy_from_slice(&fits);
        let lying = Table::parse(&lie[..front], &mkimage::base::Digest::of(&lie[..front])).expect("parsed");
        let error = receive(&to, &lying, &lie, false).expect_err("refused").to_string();
        assert!(error.contains("object") || error.contains("ids"), "{error}");
    }
    assert!(receive(&to, &honest, &bytes, false).is_ok());
    check(&to, second, &after);
}

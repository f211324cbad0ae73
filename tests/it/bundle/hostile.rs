//! Bundles from strangers.

use super::*;
use crate::store::{folder, noise, open};
use mkimage::base::Digest;

fn small() -> Files {
    let mut files = Files::new();
    for number in 0..6u64 {
        files.insert(format!("/usr/lib/lib{number}.so"), noise(number, 3000));
        files.insert(format!("/usr/share/{number}"), prose(number, 3000));
    }
    files
}

/// A whole bundle and an update of it, with their tables' lengths.
fn sample() -> [(Vec<u8>, usize); 2] {
    let from = folder();
    let from = open(from.path());
    let old = small();
    let mut new = old.clone();
    new.get_mut("/usr/lib/lib3.so").expect("a file").splice(100..120, *b"something else");
    let first = commit(&from, &old, &[]);
    let second = commit(&from, &new, &[first]);
    [(vec![first], vec![]), (vec![second], vec![first])].map(|(commits, bases)| {
        let (bundle, bytes) = bundle(&from, &commits, &bases);
        (bytes, bundle.table_bytes() as usize)
    })
}

#[test]
fn a_table_with_another_digest_is_refused() {
    for (bytes, prefix) in sample() {
        let id = Digest::of(&bytes[..prefix]);
        assert!(Table::parse(&bytes[..prefix], &id).is_ok());
        assert!(matches!(Table::parse(&bytes[..prefix - 1], &id), Err(BundleError::OtherTable { .. })));
        assert!(matches!(Table::parse(&bytes[..prefix + 1], &id), Err(BundleError::OtherTable { .. })));
        for at in 0..prefix {
            let mut bytes = bytes[..prefix].to_vec();
            bytes[at] ^= 1;
            assert!(matches!(Table::parse(&bytes, &id), Err(BundleError::OtherTable { .. })));
        }
    }
}

#[test]
fn a_table_that_names_itself_right_is_still_held_against_its_bounds() {
    for (bytes, prefix) in sample() {
        for at in 8..prefix {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = bytes[..prefix].to_vec();
                bytes[at] = value;
                // Either refused or a table: no panic, no great memory.
                if let Ok(table) = Table::parse(&bytes, &Digest::of(&bytes)) {
                    assert!(table.ids_range().end == table.file_bytes());
                }
            }
        }
    }
}

#[test]
fn a_changed_frame_is_refused_before_it_is_decoded() {
    for (bytes, prefix) in sample() {
        let table = Table::parse(&bytes[..prefix], &Digest::of(&bytes[..prefix])).expect("parsed");
        for at in (prefix..table.ids_range().start as usize).step_by(97) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x20;
            let to = folder();
            let error = receive(&open(to.path()), &table, &bytes, false).expect_err("refused").to_string();
            assert!(error.contains("digest") || error.contains("neither"), "{error}");
        }
    }
}

#[test]
fn a_bundle_whose_frames_did_not_all_come_is_not_finished() {
    let [(bytes, prefix), _] = sample();
    let table = Table::parse(&bytes[..prefix], &Digest::of(&bytes[..prefix])).expect("parsed");
    let to = folder();
    let to = open(to.path());
    let transaction = to.begin(&job());
    let plan = table.plan(&transaction, None, &job()).expect("planned");
    let count = plan.ranges().len();
    let receiver = Receiver::new(&table, plan, &transaction, &job());
    match receiver.finish() {
        Err(BundleError::Unfinished { missing, .. }) => assert_eq!(missing, count),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ids_that_are_not_the_bundles_are_refused() {
    let [(mut bytes, prefix), _] = sample();
    let table = Table::parse(&bytes[..prefix], &Digest::of(&bytes[..prefix])).expect("parsed");
    let at = table.ids_range().start as usize;
    bytes[at] ^= 1;
    let to = folder();
    let error = receive(&open(to.path()), &table, &bytes, true).expect_err("refused").to_string();
    assert!(error.contains("digest of its ids"), "{error}");
}

#[test]
fn a_changed_base_never_gives_a_wrong_commit() {
    let (from, to) = (folder(), folder());
    let (from, to) = (open(from.path()), open(to.path()));
    let old = small();
    let mut new = old.clone();
    new.get_mut("/usr/lib/lib3.so").expect("a file").splice(100..120, *b"something else");
    let first = commit(&from, &old, &[]);
    let second = commit(&from, &new, &[first]);
    let (update, bytes) = bundle(&from, &[second], &[first]);
    let table = table(&update, &bytes);
    // A table that claims another commit as its base, with a digest that fits.
    let mut other = old.clone();
    other.insert("/usr/lib/lib3.so".to_owned(), noise(77, 3000));
    let third = commit(&to, &other, &[]);
    let prefix = update.table_bytes() as usize;
    let place = bytes[..prefix].windows(32).position(|window| window == first.as_bytes());
    let place = place.expect("the table of so few objects is not compressed");
    let mut lie = bytes.clone();
    lie[place..place + 32].copy_from_slice(third.as_bytes());
    let lying = Table::parse(&lie[..prefix], &Digest::of(&lie[..prefix])).expect("parsed");
    let error = receive(&to, &lying, &lie, false).expect_err("refused").to_string();
    assert!(error.contains("object") || error.contains("ids"), "{error}");
    assert_eq!(table.bases(), [first]);
    check(&to, third, &other);
}

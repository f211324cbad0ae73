//! Packs that others put together while they are read.

use super::super::Store;
use super::*;
use crate::base::Job;
use crate::tree::ContentSink;

/// Brings a pack of so many bytes, about.
fn add(store: &Store, length: usize) -> Digest {
    add_all(store, std::iter::once(length))[0].0
}

/// Brings a pack with objects of these lengths.
fn add_all(store: &Store, lengths: impl Iterator<Item = usize>) -> Vec<(Digest, u64)> {
    let transaction = store.begin(&Job::quiet(1));
    let put = lengths.map(|length| {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        (transaction.put(&bytes).expect("put").id.0, length as u64)
    });
    let put = put.collect();
    transaction.commit(&[], "").expect("committed");
    put
}

/// Reads an object whose pack is put together with others five times meanwhile, just when its pack was found; returns
/// the pack that gave it in the end. `also` happens each time after that.
fn read_meanwhile(folder: &Path, also: impl Fn(&Store)) -> Digest {
    let (reader, other) = [folder; 2].map(|path| Store::open(path).expect("opened")).into();
    let id = add(&other, 1000);
    let mut calls = 0;
    let read = reader.packs.with(&id, |pack, _| {
        calls += 1;
        if calls > 5 {
            return Ok(pack.name);
        }
        add(&other, 1000 << (calls - 1) | 1);
        other.repack(&Job::quiet(1)).expect("put together");
        also(&reader);
        let gone = std::fs::metadata(pack.paths().0).expect_err("the pack that was read is gone");
        Err(Problem::File(FileError::at("open", pack.paths().0)(gone)))
    });
    assert_eq!(reader.packs.find(&id).expect("found").map(|record| record.size), Some(1000));
    read.expect("found")
}

#[test]
fn a_reader_whose_pack_is_put_together_with_others_again_and_again_finds_its_object() {
    let folder = tempfile::tempdir().expect("a folder");
    let read = read_meanwhile(folder.path(), |_| ());
    assert_eq!(list_packs(&folder.path().join("packs")).expect("listed"), BTreeSet::from([read]));
}

#[test]
fn a_reader_looks_again_where_another_thread_listed_the_packs_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let read = read_meanwhile(folder.path(), |reader| reader.packs.scan().expect("listed"));
    assert_eq!(list_packs(&folder.path().join("packs")).expect("listed"), BTreeSet::from([read]));
}

#[test]
fn what_was_put_into_another_pack_is_there_also_for_whoever_only_asks() {
    let folder = tempfile::tempdir().expect("a folder");
    let (reader, other) = [folder.path(); 2].map(|path| Store::open(path).expect("opened")).into();
    let id = add(&other, 1000);
    reader.packs.scan().expect("listed");
    add(&other, 1001);
    other.repack(&Job::quiet(1)).expect("put together");
    assert!(reader.packs.has(&id));
    assert!(!reader.packs.has(&Digest::of(b"absent")));
}

#[test]
fn all_packs_are_asked_anew_where_some_were_put_together_meanwhile() {
    let folder = tempfile::tempdir().expect("a folder");
    let (reader, other) = [folder.path(); 2].map(|path| Store::open(path).expect("opened")).into();
    let mut ids = vec![add(&other, 1000)];
    let mut calls = 0;
    let ask = |pack: &Pack, found: &mut Vec<Digest>| {
        calls += 1;
        if calls < 4 {
            ids.push(add(&other, 1000 << calls | 1));
            other.repack(&Job::quiet(1)).expect("put together");
        }
        for first in 0..=255 {
            found.extend(pack.ids(first).map_err(|problem| problem.of(&pack.name))?);
        }
        Ok(())
    };
    let found = reader.packs.ask_all(ask).expect("asked");
    ids.sort_unstable();
    assert_eq!(found, ids);
}

#[test]
fn objects_of_several_packs_are_described_at_once_as_each_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    // The second pack is too small to be put together with the first.
    let mut ids = add_all(&store, (1..60).map(|number| number * number * 700));
    ids.extend(add_all(&store, (1..60).map(|number| number * 11)));
    let absent = Digest::of(b"absent");
    ids.push((absent, 0));
    ids.sort_unstable();
    let names: Vec<Digest> = ids.iter().map(|(id, _)| *id).collect();
    let one_by_one = |id: &Digest| store.packs.with(id, |_, record| Ok((record.kind, record.size))).ok();
    let expect: Vec<_> = names.iter().map(one_by_one).collect();
    assert_eq!(store.packs.count(), 2);
    assert_eq!(store.packs.describe(&names), expect);
    for ((id, size), found) in ids.iter().zip(expect) {
        assert_eq!(found, (*id != absent).then_some((Kind::Blob, *size)));
    }
    assert!(store.packs.describe(&[]).is_empty());
}

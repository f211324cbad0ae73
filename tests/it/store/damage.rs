//! Bytes that rot, and bytes that somebody planted.

use super::*;
use mkimage::store::Objects;
use mkimage::tree::{Content, ContentError, ContentSource};

/// A store with one pack; returns the pack, the index, and the contents.
fn one_pack(folder: &std::path::Path) -> (std::path::PathBuf, std::path::PathBuf, Vec<(Content, Vec<u8>)>) {
    let store = open(folder);
    let transaction = store.begin(&job());
    let mut sparse = vec![0; 70_000];
    sparse[50_000] = 9;
    let cases = [b"plain and short".to_vec(), vec![b'z'; 10_000], noise(5, 700), sparse];
    let contents = cases.map(|bytes| (transaction.put(&bytes).expect("put"), bytes)).to_vec();
    transaction.commit(&[], "").expect("committed");
    let files: Vec<_> =
        list(folder.join("packs")).iter().map(|name| folder.join("packs").join(name)).collect();
    let [index, pack] = &files[..] else { panic!("{files:?}") };
    (pack.clone(), index.clone(), contents)
}

/// Replaces a file as rot would: the store itself never does.
fn overwrite(file: &std::path::Path, bytes: &[u8]) {
    std::fs::remove_file(file).expect("removed");
    std::fs::write(file, bytes).expect("written");
}

/// Reads everything; returns how many contents came back right. Others must be errors, never other bytes.
fn read_everything(folder: &std::path::Path, contents: &[(Content, Vec<u8>)]) -> usize {
    let store = open(folder);
    let mut right = 0;
    for (content, bytes) in contents {
        let mut map = mkimage::tree::DataMap::default();
        map.scan(0, bytes);
        match (store.read_all(content), store.data_map(content)) {
            (Ok(read), found) => {
                assert!(read == *bytes, "other bytes");
                assert!(found.is_ok_and(|found| found == map), "another map");
                right += 1;
            }
            (Err(error), found) => {
                assert!(
                    matches!(error, ContentError::Damaged { .. } | ContentError::Missing { .. }),
                    "{error}"
                );
                assert!(found.is_err() || found.is_ok_and(|found| found == map), "another map");
            }
        }
    }
    right
}

#[test]
fn a_changed_byte_of_a_pack_is_detected() {
    let folder = folder();
    let (pack, _, contents) = one_pack(folder.path());
    let whole = std::fs::read(&pack).expect("read");
    // Behind the frames stands the trailer, which no reader looks at.
    let foot = &whole[whole.len() - 16..][..8];
    let entries = u64::from_le_bytes(foot.try_into().expect("8 bytes")) as usize;
    let frames = 8..whole.len() - 48 - entries;
    for index in 8..whole.len() {
        let mut changed = whole.clone();
        changed[index] ^= 0x40;
        overwrite(&pack, &changed);
        let lost = usize::from(frames.contains(&index));
        assert_eq!(read_everything(folder.path(), &contents), contents.len() - lost, "byte {index}");
        if index % 37 == 0 || lost == 0 {
            assert_eq!(open(folder.path()).check(&job()).expect("checked").faults.len(), 1, "byte {index}");
        }
    }
    overwrite(&pack, &whole[..whole.len() - 1]);
    assert_eq!(read_everything(folder.path(), &contents), 0, "a cut pack");
    assert_eq!(open(folder.path()).check(&job()).expect("checked").faults.len(), 1);
}

#[test]
fn the_error_names_pack_and_offset() {
    let folder = folder();
    let (pack, _, contents) = one_pack(folder.path());
    let mut bytes = std::fs::read(&pack).expect("read");
    bytes[10] ^= 1;
    overwrite(&pack, &bytes);
    let store = open(folder.path());
    let error =
        contents.iter().find_map(|(content, _)| store.read_all(content).err()).expect("an error").to_string();
    assert!(error.contains(pack.to_str().expect("text")) && error.contains("offset 8"), "{error}");
    let faults = store.check(&job()).expect("checked").faults;
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[test]
fn a_changed_byte_of_an_index_is_detected() {
    let folder = folder();
    let (_, index, contents) = one_pack(folder.path());
    let whole = std::fs::read(&index).expect("read");
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x04;
        overwrite(&index, &changed);
        read_everything(folder.path(), &contents);
        // The whole check reads all of it, so that no byte can change unseen.
        if at % 97 == 0 || at + 40 > whole.len() {
            let faults = open(folder.path()).check(&job()).expect("checked").faults;
            assert!(!faults.is_empty(), "byte {at}: {faults:?}");
            assert!(
                matches!(faults[0].damage, mkimage::store::Damage::Index { .. }),
                "byte {at}: {faults:?}"
            );
        }
    }
    for length in [0, 7, 100, 6199, 6200, whole.len() - 33, whole.len() - 1] {
        overwrite(&index, &whole[..length]);
        read_everything(folder.path(), &contents);
        assert!(!open(folder.path()).check(&job()).expect("checked").is_sound(), "{length} bytes");
    }
}

#[test]
fn a_lost_index_or_pack_is_a_missing_object_that_can_be_put_again() {
    let folder = folder();
    let (pack, index, contents) = one_pack(folder.path());
    for lost in [&index, &pack] {
        let kept = std::fs::read(lost).expect("read");
        std::fs::remove_file(lost).expect("removed");
        assert_eq!(read_everything(folder.path(), &contents), 0);
        std::fs::write(lost, kept).expect("written");
    }
    std::fs::remove_file(&index).expect("removed");
    let store = open(folder.path());
    let transaction = store.begin(&job());
    for (content, bytes) in &contents {
        assert!(!transaction.has(&content.id.0));
        transaction.put(bytes).expect("put");
    }
    transaction.commit(&[], "").expect("committed");
    assert_eq!(read_everything(folder.path(), &contents), contents.len());
}

#[test]
fn a_second_copy_stands_in_for_a_damaged_one() {
    let folder = folder();
    let (pack, index, contents) = one_pack(folder.path());
    // Another transaction that did not see the first: a second copy of one object, in a pack of its own.
    let hidden = (std::fs::read(&pack).expect("read"), std::fs::read(&index).expect("read"));
    std::fs::remove_file(&index).expect("removed");
    let store = open(folder.path());
    let transaction = store.begin(&job());
    for (_, bytes) in &contents[..1] {
        transaction.put(bytes).expect("put");
    }
    transaction.commit(&[], "").expect("committed");
    std::fs::write(&index, hidden.1).expect("written");
    let mut damaged = hidden.0;
    damaged[8..].fill(0);
    overwrite(&pack, &damaged);
    assert_eq!(read_everything(folder.path(), &contents), 1);
}

#[test]
fn planted_symlinks_are_not_followed() {
    let folder = folder();
    let (pack, _, contents) = one_pack(folder.path());
    let elsewhere = folder.path().join("elsewhere");
    mkimage::base::fs::rename(&pack, &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, &pack).expect("planted");
    let store = open(folder.path());
    for (content, _) in &contents {
        assert!(store.read_all(content).is_err());
    }
}

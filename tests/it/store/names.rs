//! A pack's name follows from its objects: what has the name already may be damaged, and is never taken for the new one.

use super::damages::{change, copy, flip};
use super::gc::{collect, expect_sound, read_closure, strict};
use super::*;
use mkimage::store::Objects;
use mkimage::tree::{Content, ContentSource};

/// A store with one pack that holds one content.
struct OnePack {
    folder: tempfile::TempDir,
    content: Content,
}

impl OnePack {
    fn new() -> OnePack {
        let folder = folder();
        let content = put(&open(&folder.path().join("store")));
        copy(&folder.path().join("store"), &folder.path().join("good"));
        OnePack { folder, content }
    }

    fn open(&self) -> Store {
        open(&self.folder.path().join("store"))
    }

    fn pack(&self) -> std::path::PathBuf {
        only_pack(&self.folder.path().join("store"))
    }

    /// Holds that the content is there, without a mark, and reads as it was put.
    fn expect_whole(&self) {
        let store = self.open();
        assert!(store.has(&self.content.id.0), "it is not there");
        assert!(store.read_all(&self.content).expect("read") == noise(1, 5000));
        assert_eq!(store.known_losses(), 0);
    }
}

fn put(store: &Store) -> Content {
    let transaction = store.begin(&job());
    let content = transaction.put(&noise(1, 5000)).expect("put");
    transaction.commit(&[], "").expect("committed");
    content
}

fn only_pack(store: &std::path::Path) -> std::path::PathBuf {
    let names = list(store.join("packs"));
    let mut packs = names.iter().filter(|name| name.to_string_lossy().ends_with(".pack"));
    let (Some(pack), None) = (packs.next(), packs.next()) else { panic!("{names:?}") };
    store.join("packs").join(pack)
}

#[test]
fn what_is_healed_into_the_same_pack_is_not_quarantined_with_the_damaged_one() {
    let sample = OnePack::new();
    flip(&sample.pack(), 100);
    let store = sample.open();
    let report = store.check(&job()).expect("checked");
    let good = open(&sample.folder.path().join("good"));
    let done = store.repair(&report, &[&good], &job()).expect("repaired");
    assert_eq!((done.packs.len(), done.packs[0].lost), (1, 1), "{done:?}");
    sample.expect_whole();
    expect_sound(&sample.folder.path().join("store"), "healed");
}

#[test]
fn what_is_salvaged_into_the_same_pack_is_not_quarantined_with_the_damaged_one() {
    for place in ["magic", "trailer"] {
        let sample = OnePack::new();
        let end = std::fs::metadata(sample.pack()).expect("there").len() as usize;
        flip(&sample.pack(), if place == "magic" { 0 } else { end - 30 });
        let store = sample.open();
        let report = store.check(&job()).expect("checked");
        assert_eq!(report.faults.len(), 1, "{place}: {report:?}");
        let done = store.repair(&report, &[], &job()).expect("repaired");
        assert_eq!((done.packs.len(), done.packs[0].kept), (1, 1), "{place}: {done:?}");
        sample.expect_whole();
        expect_sound(&sample.folder.path().join("store"), place);
    }
}

#[test]
fn what_is_built_again_after_damage_reads_though_its_pack_would_have_the_same_name() {
    let sample = OnePack::new();
    flip(&sample.pack(), 100);
    let damaged = std::fs::read(sample.pack()).expect("read");
    sample.open().read_all(&sample.content).expect_err("damaged");
    let rotten = sample.pack();
    assert_eq!(put(&sample.open()), sample.content);
    sample.expect_whole();
    assert!(std::fs::read(rotten).expect("read") == damaged, "nothing that was published is replaced");
    // Twice the same name, and a third time: each pack is another one.
    for pack in list(sample.folder.path().join("store/packs")) {
        let path = sample.folder.path().join("store/packs").join(pack);
        if path.extension().is_some_and(|end| end == "pack")
            && !std::fs::read(&path).expect("read").eq(&damaged)
        {
            flip(&path, 100);
        }
    }
    sample.open().read_all(&sample.content).expect_err("damaged again");
    put(&sample.open());
    sample.expect_whole();
}

/// Half a pack that a dead process left has the name that a repacked or thinned one will get.
#[test]
fn packs_that_are_put_together_or_thinned_never_take_the_bytes_of_half_a_pack() {
    for what in ["repack", "thin", "copy"] {
        let folder = folder();
        let path = folder.path().join("store");
        let store = open(&path);
        let transaction = store.begin(&job());
        let size = if what == "thin" { 3 << 20 } else { 5000 };
        transaction.put(&noise(99, 5000)).expect("put");
        let mut root = Directory::default();
        add_file(&transaction, &mut root, "/large", &noise(1, size));
        let tree = transaction.put_tree(&job(), &root.seal().expect("sealed")).expect("put");
        let commit = transaction.put_commit(&commit_of(tree)).expect("put");
        transaction.commit(&[update("main", commit)], "").expect("committed");
        if what == "repack" {
            publish(&store, "other", 2);
        }
        drop(store);
        let run = |path: &std::path::Path| {
            let store = open(path);
            match what {
                "repack" => drop(store.repack(&job()).expect("put together")),
                _ => assert_eq!(collect(&store, &strict()).expect("collected").packs_replaced, 1),
            }
        };
        copy(&path, &folder.path().join("ahead"));
        run(&folder.path().join("ahead"));
        let ahead = only_pack(&folder.path().join("ahead"));
        let half = path.join("packs").join(ahead.file_name().expect("a name"));
        assert!(!half.exists());
        std::fs::copy(&ahead, &half).expect("copied");
        change(&half, |bytes| bytes[8..].iter_mut().for_each(|byte| *byte ^= 1));
        run(&path);
        read_closure(&open(&path), &commit).unwrap_or_else(|error| panic!("{what}: {error}"));
        expect_sound(&path, what);
    }
}

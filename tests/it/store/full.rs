//! A disk without a free block: what frees room must not need more than the store set aside for it.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::gc::{collect, expect_sound, strict};
use super::*;
use mkimage::store::Expected;

/// A disk that is full until the reserve of the store is given up.
struct Full {
    reserve: PathBuf,
    is_full: AtomicBool,
}

impl Full {
    fn reserved(&self) -> u64 {
        std::fs::metadata(&self.reserve).map_or(0, |metadata| metadata.blocks())
    }
}

impl Watcher for Full {
    fn before(&self, change: &Change<'_>) -> io::Result<()> {
        let takes_room =
            matches!(change, Change::CreateDirectory(_) | Change::CreateFile(_) | Change::Write { .. });
        match takes_room && self.is_full.load(Ordering::SeqCst) && self.reserved() > 0 {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

/// Returns a store with a ref that moved, and a pack that nobody needs.
fn filled(folder: &std::path::Path) -> (Store, Arc<Full>) {
    let disk = Arc::new(Full { reserve: folder.join("gc.lock"), is_full: AtomicBool::new(false) });
    let store = Store::watched(folder, disk.clone()).expect("opened");
    for version in 1..4 {
        publish(&store, "main", version);
    }
    let dead = store.begin(&job());
    dead.put(&noise(99, 200_000)).expect("put");
    dead.commit(&[], "").expect("committed");
    assert!(disk.reserved() > 0, "no room was set aside");
    disk.is_full.store(true, Ordering::SeqCst);
    (store, disk)
}

#[test]
fn a_full_disk_can_be_collected() {
    let folder = folder();
    let (store, disk) = filled(folder.path());
    let before = list(folder.path().join("packs")).len();
    let done = collect(&store, &strict()).expect("collected");
    assert!(done.packs_trashed >= 1 && done.packs_replaced == 0, "{done:?}");
    assert!(list(folder.path().join("packs")).len() < before);
    expect_sound(folder.path(), "while the disk is full");
    disk.is_full.store(false, Ordering::SeqCst);
    let done = collect(&store, &strict()).expect("collected");
    assert!(done.packs_replaced > 0, "what did not fit is done later: {done:?}");
    assert!(disk.reserved() > 0, "the reserve is there for the next time");
    expect_sound(folder.path(), "at the end");
}

#[test]
fn refs_can_be_removed_from_a_full_disk_and_not_be_moved() {
    let folder = folder();
    let (store, disk) = filled(folder.path());
    let first = store.resolve("main~2").expect("there");
    let moved = store.begin(&job()).commit(&[update("other", first)], "more");
    assert!(moved.expect_err("the disk is full").is_full());
    assert!(disk.reserved() > 0, "who takes room leaves the reserve alone");
    store.remove_refs(&job(), &[(name("main"), Expected::Any)], "removed").expect("removed");
    assert_eq!(store.read_ref(&name("main")).expect("read"), None);
    expect_sound(folder.path(), "after the removal");
}

#[test]
fn a_full_disk_without_a_reserve_is_told_and_nothing_is_lost() {
    struct Everything;
    impl Watcher for Everything {
        fn before(&self, change: &Change<'_>) -> io::Result<()> {
            match change {
                Change::CreateFile(_) | Change::CreateDirectory(_) => Err(io::ErrorKind::StorageFull.into()),
                _ => Ok(()),
            }
        }
    }
    let folder = folder();
    drop(filled(folder.path()));
    let store = Store::watched(folder.path(), Arc::new(Everything)).expect("opened");
    assert!(collect(&store, &strict()).expect_err("the disk is full").is_full());
    expect_sound(folder.path(), "afterwards");
    collect(&open(folder.path()), &strict()).expect("with room it is done");
    expect_sound(folder.path(), "at the end");
}

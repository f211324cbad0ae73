//! What a repair makes of a damage, with a good store at hand and without.

use std::sync::Arc;

use super::damages::*;
use super::*;
use mkimage::base::Digest;
use mkimage::store::{Damage, FolderHealer, Healer, Objects, RepairReport, StoreError};
use mkimage::tree::ContentSource;

#[test]
fn with_a_good_store_at_hand_every_damage_is_healed() {
    each(|name, sample, _, _| {
        let report = sample.check();
        let good = open(&sample.good());
        let done = sample.store().repair(&report, &[&good], &job()).expect("repaired");
        assert!(done.is_whole(), "{name}: {done:?}");
        assert_eq!(sample.check().faults, [], "{name}: {done:?}");
        assert_eq!(sample.all_unreadable(), Vec::<String>::new(), "{name}");
        assert_eq!(sample.refs(), open(&sample.good()).refs().expect("refs"), "{name}");
        assert_eq!(marks(sample), Vec::<std::ffi::OsString>::new(), "{name}");
    });
}

#[test]
fn without_a_source_what_is_lost_is_isolated_and_the_rest_reads() {
    each(|name, sample, _, alone| {
        let report = sample.check();
        let before = sample.all_unreadable().len();
        let done = sample.store().repair(&report, &[], &job()).expect("repaired");
        assert_eq!(done.is_whole(), alone, "{name}: {done:?}");
        assert!(sample.all_unreadable().len() <= before, "{name}: a repair lost something");
        assert_eq!(sample.unreadable(1, &sample.commits["old"]), Vec::<String>::new(), "{name}");
        let after = sample.check();
        let lost: Vec<_> = after.faults.iter().map(|fault| &fault.damage).collect();
        assert!(lost.iter().all(|place| missing(place)), "{name}: {lost:?}");
        assert_eq!(lost.is_empty(), alone, "{name}: {lost:?}");
        assert_eq!(sample.refs(), open(&sample.good()).refs().expect("refs"), "{name}: a ref moved");
        // Again changes nothing, and a good store later heals it to the end.
        let again = sample.store().repair(&after, &[], &job()).expect("repaired");
        assert_eq!((again.is_whole(), again.packs.len()), (alone, 0), "{name}: {again:?}");
        let good = open(&sample.good());
        let healed = sample.store().repair(&after, &[&good], &job()).expect("repaired");
        assert!(healed.is_whole() && sample.check().is_sound(), "{name}: {healed:?}");
        assert_eq!(sample.all_unreadable(), Vec::<String>::new(), "{name}");
    });
}

#[test]
fn a_ref_that_no_log_knows_is_put_aside_and_the_rest_goes_on() {
    let sample = Sample::new();
    let refs = sample.refs();
    let strange = sample.path().join("refs/team");
    std::fs::create_dir_all(&strange).expect("made");
    std::fs::write(strange.join("web"), b"").expect("written");
    assert!(matches!(sample.store().refs(), Err(StoreError::DamagedRef { .. })));
    let report = sample.check();
    let done = sample.store().repair(&report, &[], &job()).expect("repaired");
    assert!(!done.is_whole(), "where it led is lost, and that is said: {done:?}");
    assert!(done.notes.iter().any(|note| note.contains("team/web")), "{done:?}");
    assert!(sample.check().is_sound());
    assert_eq!(sample.refs(), refs, "the others are listed again");
    assert!(sample.path().join("quarantine/ref.team+web").exists(), "nothing is deleted");
    super::gc::collect(&sample.store(), &super::gc::strict()).expect("collected");
    publish(&sample.store(), "team/web", 1);
}

#[test]
fn nothing_that_was_damaged_is_deleted() {
    each(|name, sample, called, _| {
        let damaged: std::collections::BTreeSet<Digest> = files_of(&sample.path())
            .iter()
            .map(|path| Digest::of(&std::fs::read(path).expect("read")))
            .collect();
        let good = open(&sample.good());
        sample.store().repair(&sample.check(), &[&good], &job()).expect("repaired");
        let kept: std::collections::BTreeSet<Digest> = files_of(&sample.path())
            .iter()
            .map(|path| Digest::of(&std::fs::read(path).expect("read")))
            .collect();
        let gone = damaged.difference(&kept).count();
        // An orphaned index may stay where it is; nothing else goes.
        assert_eq!(gone, 0, "{name}");
        let _ = called;
    });
}

#[test]
fn a_second_sound_copy_is_no_loss_and_a_repair_needs_no_source() {
    let sample = Sample::new();
    let (pack, idx) = (sample.pack(2, "pack"), sample.pack(2, "idx"));
    let hidden = std::fs::read(&idx).expect("read");
    std::fs::remove_file(&idx).expect("removed");
    let store = open(&sample.path());
    let transaction = store.begin(&job());
    transaction.put(&noise(2, 5000)).expect("put");
    transaction.commit(&[], "").expect("committed");
    std::fs::write(&idx, hidden).expect("written");
    flip(&pack, noise_at(&pack, 2));
    let report = sample.check();
    assert!(report.faults.iter().all(|fault| matches!(fault.damage, Damage::Object { has_copy: true, .. })));
    assert!(!report.has_loss() && !report.is_sound());
    let done = sample.store().repair(&report, &[], &job()).expect("repaired");
    assert!(done.is_whole() && done.packs.len() == 1 && sample.check().is_sound(), "{done:?}");
}

#[test]
fn files_of_the_host_heal_what_has_their_bytes() {
    let sample = Sample::new();
    let pack = sample.pack(2, "pack");
    flip(&pack, noise_at(&pack, 2));
    let inputs = sample.folder.path().join("inputs/deep/down");
    std::fs::create_dir_all(&inputs).expect("made");
    std::fs::write(inputs.join("same length"), noise(99, 5000)).expect("written");
    std::fs::write(inputs.join("any name"), noise(2, 5000)).expect("written");
    let healer = FolderHealer::new(&sample.folder.path().join("inputs"), &job()).expect("listed");
    let done = sample.store().repair(&sample.check(), &[&healer], &job()).expect("repaired");
    assert!(done.is_whole() && done.healed.len() == 1 && done.healed[0].from == healer.name(), "{done:?}");
    assert!(sample.check().is_sound());
}

/// A source that lies: other bytes, too many, too few, endless, or an error.
struct Liar(u8);

impl Healer for Liar {
    fn name(&self) -> String {
        format!("liar {}", self.0)
    }

    fn fetch(
        &self,
        _: mkimage::store::Kind,
        _: &Digest,
        size: Option<u64>,
    ) -> Result<Option<Box<dyn io::Read + '_>>, mkimage::store::HealError> {
        let size = size.unwrap_or(100);
        Ok(Some(match self.0 {
            0 => Box::new(io::Cursor::new(vec![7; size as usize])),
            1 => Box::new(io::repeat(7)),
            2 => Box::new(io::empty()),
            _ => return Err("no line to the source".into()),
        }))
    }
}

#[test]
fn a_source_that_lies_is_told_and_the_next_one_asked() {
    for version in [2, 3] {
        let sample = Sample::new();
        std::fs::remove_file(sample.pack(version, "pack")).expect("removed");
        let good = open(&sample.good());
        let liars = [Liar(0), Liar(1), Liar(2), Liar(3)];
        let mut sources: Vec<&dyn Healer> = liars.iter().map(|liar| liar as &dyn Healer).collect();
        let report = sample.check();
        let lost = sample.store().repair(&report, &sources, &job()).expect("repaired");
        assert!(!lost.is_whole() && lost.healed.is_empty(), "{lost:?}");
        assert!(lost.notes.iter().any(|note| note.contains("no line to the source")), "{:?}", lost.notes);
        assert!(lost.notes.iter().any(|note| note.contains("liar 0 gave other bytes")), "{:?}", lost.notes);
        sources.push(&good);
        let done = sample.store().repair(&sample.check(), &sources, &job()).expect("repaired");
        assert!(done.is_whole() && sample.check().is_sound(), "{done:?}");
        assert_eq!(sample.all_unreadable(), Vec::<String>::new());
    }
}

#[test]
fn what_a_reader_found_damaged_is_put_again_by_the_next_writer() {
    let sample = Sample::new();
    let pack = sample.pack(2, "pack");
    flip(&pack, noise_at(&pack, 2));
    let bytes = noise(2, 5000);
    let content = mkimage::tree::Content::of(&bytes);
    assert!(open(&sample.path()).read_all(&content).is_err());
    assert_eq!(marks(&sample).len(), 1);
    // Another process, later.
    let store = open(&sample.path());
    assert!(store.known_losses() == 1 && !store.has(&content.id.0));
    let transaction = store.begin(&job());
    assert_eq!(transaction.put(&bytes).expect("put"), content);
    assert_eq!(transaction.commit(&[], "").expect("committed").objects, 1);
    assert!(store.read_all(&content).expect("read") == bytes);
    assert_eq!(store.known_losses(), 0);
}

#[test]
fn a_format_that_may_be_another_versions_is_never_replaced() {
    for (from, to) in [("mkimage-store 1", "mkimage-store 3"), ("hash blake3", "hash blake5")] {
        let sample = Sample::new();
        let format = sample.path().join("format");
        let text = std::fs::read_to_string(&format).expect("text").replace(from, to);
        change(&format, |bytes| *bytes = text.clone().into_bytes());
        let report = sample.check();
        assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
        let refused = sample.store().repair(&report, &[], &job());
        assert!(matches!(refused, Err(StoreError::Format { .. })), "{refused:?}");
        assert_eq!(std::fs::read_to_string(&format).expect("text"), text);
    }
}

/// Objects of several chunks, sparse ones, and an empty pack index beside them.
#[test]
fn large_and_sparse_objects_are_checked_salvaged_and_rebuilt() {
    let folder = folder();
    let root = folder.path().join("store");
    let store = open(&root);
    let transaction = store.begin(&job());
    let mut sparse = vec![0; 3 << 20];
    sparse[2_500_000] = 1;
    let contents = [noise(1, 2_700_000), sparse, vec![0; 5000], vec![b'x'; 1 << 20], noise(2, 700)];
    let mut tree = Directory::default();
    for (index, bytes) in contents.iter().enumerate() {
        add_file(&transaction, &mut tree, &format!("/{index}"), bytes);
    }
    let tree = transaction.put_tree(&job(), &tree.seal().expect("sealed")).expect("put");
    let commit = transaction.put_commit(&commit_of(tree)).expect("put");
    transaction.commit(&[update("main", commit)], "").expect("committed");
    let report = store.check(&job()).expect("checked");
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
    assert!(report.bytes - 5_900_000 < 2_000_000);
    let names = list(root.join("packs"));
    let (idx, pack) = (root.join("packs").join(&names[0]), root.join("packs").join(&names[1]));
    // Without its index, the pack is read by its trailer: the same index comes back.
    let index = std::fs::read(&idx).expect("read");
    std::fs::remove_file(&idx).expect("removed");
    let store = open(&root);
    let report = store.check(&job()).expect("checked");
    let done = store.repair(&report, &[], &job()).expect("repaired");
    assert!(done.is_whole() && done.indexes.len() == 1, "{done:?}");
    assert!(std::fs::read(&idx).expect("read") == index, "another index");
    assert!(open(&root).check(&job()).expect("checked").is_sound());
    // One chunk of the large file is damaged: it alone is lost.
    let (bytes, wanted) = (std::fs::read(&pack).expect("read"), &contents[0][1 << 20..][..32]);
    let at = bytes.windows(32).position(|window| window == wanted);
    flip(&pack, at.expect("the second chunk"));
    let store = open(&root);
    let report = store.check(&job()).expect("checked");
    assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
    let done: RepairReport = store.repair(&report, &[], &job()).expect("repaired");
    assert_eq!((done.lost.len(), done.packs[0].lost, done.packs[0].kept), (1, 1, 6), "{done:?}");
    for bytes in &contents[1..] {
        assert!(store.read_all(&mkimage::tree::Content::of(bytes)).expect("read") == *bytes);
    }
}

#[test]
fn a_repair_that_is_stopped_anywhere_leaves_things_no_worse_and_goes_on() {
    for (name, damage, ..) in DAMAGES {
        if !["pack-frame-plain", "index-row", "index-and-frame", "ref-flip", "reflog-first-line", "pack-cut"]
            .contains(name)
        {
            continue;
        }
        for stop in 0.. {
            let sample = Sample::new();
            damage(&sample);
            let before = sample.all_unreadable().len();
            let report = sample.check();
            let good = open(&sample.good());
            let stopper = Arc::new(Stopper { left: AtomicU64::new(stop) });
            // A format that is sound: the watched door is the ordinary one.
            let store = Store::watched(sample.path(), stopper).expect("opened");
            let stopped = store.repair(&report, &[&good], &job()).is_err();
            drop(store);
            assert!(sample.all_unreadable().len() <= before, "{name}: worse after {stop} changes");
            let again = sample.store().repair(&sample.check(), &[&good], &job()).expect("repaired");
            assert!(again.is_whole() && sample.check().is_sound(), "{name}: after {stop} changes: {again:?}");
            assert_eq!(sample.all_unreadable(), Vec::<String>::new(), "{name}: after {stop} changes");
            assert_eq!(
                sample.refs(),
                open(&sample.good()).refs().expect("refs"),
                "{name}: after {stop} changes"
            );
            if !stopped {
                assert!(stop > 3, "{name}: {stop} changes");
                break;
            }
        }
    }
}

#[test]
fn a_repair_beside_a_writer_loses_nothing_of_either() {
    let sample = Sample::new();
    let pack = sample.pack(2, "pack");
    flip(&pack, noise_at(&pack, 2));
    let report = sample.check();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let store = open(&sample.path());
            for version in 10..30 {
                publish(&store, "other", version);
            }
        });
        let good = open(&sample.good());
        let done = sample.store().repair(&report, &[&good], &job()).expect("repaired");
        assert!(done.is_whole(), "{done:?}");
    });
    assert_eq!(sample.check().faults, []);
    assert_eq!(sample.all_unreadable(), Vec::<String>::new());
}

#[test]
fn a_pack_that_was_put_together_from_others_outlives_the_loss_of_its_index() {
    let sample = Sample::new();
    let store = open(&sample.path());
    store.repack(&job()).expect("repacked");
    let packs = list(sample.path().join("packs"));
    assert_eq!(packs.len(), 2, "{packs:?}");
    let index = sample.path().join("packs").join(&packs[0]);
    let bytes = std::fs::read(&index).expect("read");
    std::fs::remove_file(&index).expect("removed");
    let done = sample.store().repair(&sample.check(), &[], &job()).expect("repaired");
    assert!(done.is_whole() && done.indexes.len() == 1, "{done:?}");
    assert!(std::fs::read(&index).expect("read") == bytes, "another index");
    assert!(sample.check().is_sound());
}

/// Lets so many changes pass, then none.
struct Stopper {
    left: AtomicU64,
}

impl Watcher for Stopper {
    fn before(&self, _: &Change<'_>) -> io::Result<()> {
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::other("killed")),
        }
    }
}

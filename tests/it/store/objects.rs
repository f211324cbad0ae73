//! Putting and reading bytes.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::*;
use mkimage::base::{BlobId, Digest};
use mkimage::store::{Kind, Objects, StoreError};
use mkimage::tree::{Content, ContentError, ContentSource, DataMap};

const MIB: usize = 1 << 20;

#[test]
fn ids_are_what_b3sum_prints() {
    let folder = folder();
    let store = open(folder.path());
    let transaction = store.begin(&job());
    let counted: Vec<u8> = (0..102_400u32).map(|n| (n % 251) as u8).collect();
    for (bytes, id) in [
        (&b""[..], "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
        (b"abc", "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
        (&counted, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"),
    ] {
        assert_eq!(transaction.put(bytes).expect("put").id.to_string(), id);
        assert_eq!(transaction.put_reader(&mut &*bytes).expect("put").id.to_string(), id);
    }
}

/// Contents at every edge: empty, tiny, around a chunk, many chunks, longer than what a stream holds.
fn edge_cases() -> Vec<Vec<u8>> {
    let mut cases: Vec<Vec<u8>> = [0, 1, 47, 48, 49, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, 3 * MIB + 7]
        .iter()
        .map(|&length| noise(length as u64, length))
        .collect();
    cases.push(vec![b'a'; 2 * MIB + 5]);
    cases.push(vec![0; 1]);
    cases.push(vec![0; 5 * MIB]);
    let mut sparse = vec![0; 12 * MIB + 100];
    for at in [0, 4096 * 3 + 1, 5 * MIB, 8 * MIB - 1, 12 * MIB + 99] {
        sparse[at] = 1;
    }
    cases.push(sparse);
    let mut holes_in_a_chunk = noise(1, 40_000);
    holes_in_a_chunk[8192..20_480].fill(0);
    cases.push(holes_in_a_chunk);
    cases.push(noise(7, 9 * MIB + 3));
    cases
}

fn expect_content(source: &impl ContentSource, content: &Content, bytes: &[u8]) {
    assert!(source.read_all(content).expect("read") == bytes);
    let mut map = DataMap::default();
    map.scan(0, bytes);
    assert_eq!(source.data_map(content).expect("a map"), map);
    let end = bytes.len();
    for (from, to) in
        [(0, end.min(10)), (end / 2, end), (end / 3, end * 2 / 3), (end.min(MIB - 1), end.min(MIB + 1))]
    {
        let mut part = vec![0xee; to - from];
        source.read_at(content, from as u64, &mut part).expect("read");
        assert!(part == bytes[from..to], "{from}..{to} of {end}");
    }
    assert!(source.read_at(content, end as u64, &mut [0]).is_err());
    assert!(source.read_at(content, u64::MAX, &mut [0; 2]).is_err());
}

#[test]
fn bytes_come_back_before_the_commit_and_after_and_when_reopened() {
    let folder = folder();
    let store = open(folder.path());
    let transaction = store.begin(&job());
    let mut contents = Vec::new();
    for (index, bytes) in edge_cases().iter().enumerate() {
        let content =
            if index % 2 == 0 { transaction.put(bytes) } else { transaction.put_reader(&mut &**bytes) };
        let content = content.expect("put");
        assert_eq!(content, Content::of(bytes));
        expect_content(&transaction, &content, bytes);
        assert!(!store.has(&content.id.0), "visible before the commit");
        contents.push(content);
    }
    let committed = transaction.commit(&[], "").expect("committed");
    assert_eq!(committed.objects, contents.len() as u64);
    for store in [store, open(folder.path())] {
        for (content, bytes) in contents.iter().zip(edge_cases()) {
            expect_content(&store, content, &bytes);
        }
        assert_eq!(store.check(&job()).expect("checked").faults, []);
    }
}

#[test]
fn a_zero_chunk_takes_no_room() {
    let folder = folder();
    let store = open(folder.path());
    let transaction = store.begin(&job());
    transaction.put_reader(&mut std::io::repeat(0).take(100 * MIB as u64)).expect("put");
    assert!(transaction.commit(&[], "").expect("committed").bytes < 100);
}

#[test]
fn what_was_not_committed_is_not_there_and_leaves_nothing() {
    let folder = folder();
    let store = open(folder.path());
    let transaction = store.begin(&job());
    let content = transaction.put(b"some bytes").expect("put");
    drop(transaction);
    assert!(matches!(store.read_all(&content), Err(ContentError::Missing { .. })));
    assert_eq!(list(folder.path().join("packs")).len(), 0);
    assert_eq!(list(folder.path().join("tmp")), [".lock"]);
}

#[test]
fn bytes_that_are_there_are_not_written_again() {
    let folder = folder();
    publish(&open(folder.path()), "main", 1);
    let large = noise(3, 20 * MIB);
    let store = open(folder.path());
    let transaction = store.begin(&job());
    transaction.put(&large).expect("put");
    transaction.commit(&[], "").expect("committed");

    let counter = Arc::new(Counter::default());
    let store = Store::watched(folder.path(), counter.clone()).expect("opened");
    let transaction = store.begin(&job());
    let commit = put_version(&transaction, 1);
    transaction.put(&large).expect("put");
    let mut file = tempfile::tempfile_in(folder.path()).expect("a file");
    std::io::Write::write_all(&mut file, &large).expect("written");
    std::io::Seek::rewind(&mut file).expect("rewound");
    assert_eq!(transaction.put_file(&mut file).expect("put"), Content::of(&large));
    let committed = transaction.commit(&[update("main", commit)], "again").expect("committed");
    assert_eq!((committed.objects, committed.bytes), (0, 0));
    assert!(!committed.refs[0].moved);
    assert_eq!(
        counter.changes.load(Ordering::Relaxed),
        0,
        "a transaction with nothing new changed something"
    );
}

#[test]
fn a_long_stream_that_is_there_leaves_no_bytes_behind() {
    use std::os::unix::fs::MetadataExt;
    let folder = folder();
    let large = noise(3, 20 * MIB);
    let store = open(folder.path());
    let transaction = store.begin(&job());
    transaction.put(&large).expect("put");
    transaction.commit(&[], "").expect("committed");
    let taken = || {
        let packs = folder.path().join("packs");
        list(&packs)
            .iter()
            .map(|name| std::fs::metadata(packs.join(name)).expect("there").blocks() * 512)
            .sum::<u64>()
    };
    let before = taken();
    let transaction = store.begin(&job());
    transaction.put_reader(&mut &large[..]).expect("put");
    let new = transaction.put(b"something new").expect("put");
    assert!(transaction.commit(&[], "").expect("committed").bytes < 100);
    assert!(taken() < before + (MIB as u64) / 2, "{} bytes more", taken() - before);
    assert_eq!(open(folder.path()).read_all(&new).expect("read"), b"something new");
}

#[test]
fn many_threads_with_the_same_bytes_store_them_once() {
    let folder = folder();
    let store = open(folder.path());
    let many = Job::quiet(8);
    let transaction = store.begin(&many);
    let bytes: Vec<Vec<u8>> = (0..50).map(|seed| noise(seed, 3000)).collect();
    let items: Vec<usize> = (0..800).collect();
    let put = many.workers.try_map(items, |item| {
        let content = transaction.put(&bytes[item % 50])?;
        transaction.read_all(&content).map(|read| assert!(read == bytes[item % 50]))
    });
    put.expect("put");
    let committed = transaction.commit(&[], "").expect("committed");
    assert_eq!(committed.objects, 50);
    assert!(committed.bytes < 51 * 3000, "{} bytes", committed.bytes);
}

#[test]
fn a_build_costs_a_few_syncs_however_many_files_it_has() {
    let folder = folder();
    publish(&open(folder.path()), "main", 1);
    let counter = Arc::new(Counter::default());
    let store = Store::watched(folder.path(), counter.clone()).expect("opened");
    let transaction = store.begin(&job());
    for seed in 0..500 {
        transaction.put(&noise(seed, 100)).expect("put");
    }
    let commit = put_version(&transaction, 2);
    transaction.commit(&[update("main", commit)], "").expect("committed");
    // pack and index (at once), packs/, ref, refs/, reflog; packs/ once more before the ref.
    let syncs = counter.syncs.load(Ordering::Relaxed);
    assert!(syncs <= 7, "{syncs} syncs");
}

#[test]
fn a_wrong_size_is_an_error_not_other_bytes() {
    let folder = folder();
    let store = open(folder.path());
    let transaction = store.begin(&job());
    let content = transaction.put(b"twelve bytes").expect("put");
    transaction.commit(&[], "").expect("committed");
    for size in [0, 11, 13, 1 << 60] {
        let wrong = Content { id: content.id, size };
        assert!(matches!(store.read_all(&wrong), Err(ContentError::Damaged { .. })), "{size}");
        assert!(matches!(store.data_map(&wrong), Err(ContentError::Damaged { .. })), "{size}");
    }
}

#[test]
fn a_blob_is_never_read_as_a_tree() {
    let folder = folder();
    let store = open(folder.path());
    publish(&store, "main", 1);
    let commit = store.read_commit(&store.resolve("main").expect("there")).expect("read");
    let encoding = store.read_directory(&commit.tree).expect("read").encode();
    let transaction = store.begin(&job());
    let blob = transaction.put(&encoding).expect("put");
    transaction.commit(&[], "").expect("committed");
    assert_ne!(blob.id.0, commit.tree.id.0, "a domain of its own");
    let posing = TreeRef { id: blob.id.0.0.into(), size: blob.size };
    assert!(store.read_directory(&posing).is_err());
    let posing = Content { id: BlobId(commit.tree.id.0), size: commit.tree.size };
    assert!(store.read_all(&posing).is_err());
}

#[test]
fn a_tree_with_content_that_was_not_put_is_refused() {
    let folder = folder();
    let store = open(folder.path());
    let transaction = store.begin(&job());
    let mut root = Directory::default();
    let content = Content::of(b"nobody put this");
    let file = File { metadata: Metadata::root(0o644), content };
    root.insert(&path("/file"), Node::File(file)).expect("inserted");
    let refused = transaction.put_tree(&job(), &root.seal().expect("sealed"));
    assert!(matches!(refused, Err(StoreError::Incomplete { .. })));
    let nowhere = TreeRef { id: Digest::of(b"").0.into(), size: 20 };
    let refused = transaction.put_commit(&commit_of(nowhere));
    assert!(matches!(refused, Err(StoreError::Missing { kind: Kind::Tree, .. })));
    let refused = transaction.commit(&[update("main", CommitId(Digest::of(b"none")))], "");
    assert!(matches!(refused, Err(StoreError::Missing { kind: Kind::Commit, .. })));
}

#[test]
fn a_stopped_job_stops_the_transaction() {
    let folder = folder();
    let store = open(folder.path());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Job::new(job().workers, Arc::new(mkimage::base::job::Silent), stop.clone());
    let transaction = store.begin(&stopped);
    transaction.put(b"before").expect("put");
    stop.store(true, Ordering::Relaxed);
    assert!(matches!(transaction.put(b"after"), Err(ContentError::Cancelled(_))));
    assert!(matches!(transaction.commit(&[], ""), Err(StoreError::Cancelled(_))));
    assert!(!store.has(&Content::of(b"before").id.0));
}

#[test]
fn another_process_s_objects_are_found_without_reopening() {
    let folder = folder();
    let (ours, theirs) = (open(folder.path()), open(folder.path()));
    publish(&ours, "main", 1);
    let commit = publish(&theirs, "other", 2);
    assert!(ours.read_commit(&commit).is_ok());
    assert_eq!(ours.refs().expect("read").len(), 2);
}

#[test]
fn memo_records_come_back_and_torn_ones_do_not() {
    let folder = folder();
    let store = open(folder.path());
    let key = mkimage::base::StepKey(Digest::of(b"step"));
    assert_eq!(store.memo_get(&key), None);
    store.memo_put(&key, b"result").expect("put");
    store.memo_put(&key, b"other result").expect("put");
    assert_eq!(store.memo_get(&key).as_deref(), Some(&b"other result"[..]));
    let file = folder.path().join(format!("memo/{}/{key}", &key.to_string()[..2]));
    let whole = std::fs::read(&file).expect("read");
    for length in 0..whole.len() {
        std::fs::remove_file(&file).expect("removed");
        std::fs::write(&file, &whole[..length]).expect("written");
        assert_eq!(store.memo_get(&key), None, "{length} bytes");
    }
    store.memo_put(&key, b"result").expect("put over a torn one");
    assert_eq!(store.memo_get(&key).as_deref(), Some(&b"result"[..]));
}

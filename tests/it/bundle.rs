//! Tests of the room `bundle`.

mod hostile;
mod large;
mod travel;

use std::collections::BTreeMap;
use std::io::Read;

use mkimage::base::CommitId;
use mkimage::bundle::{self, Bundle, BundleError, Contents, FetchPlan, Received, Receiver, Table};
use mkimage::store::{Commit, Store, Transaction};
use mkimage::tree::{ContentSink, Directory, File, Metadata, Node};

use crate::store::{commit_of, job, path, update};

/// Files by path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Text that looks like text: words that come again.
pub fn prose(seed: u64, length: usize) -> Vec<u8> {
    let words = ["store", "image", "of", "the", "slot", "a", "commit", "and", "tree", "boots\n", "twice"];
    let noise = crate::store::noise(seed, length);
    let text =
        noise.iter().flat_map(|&byte| format!("{} ", words[usize::from(byte) % words.len()]).into_bytes());
    text.take(length).collect()
}

/// Puts files as a commit under the ref `main`.
pub fn commit(store: &Store, files: &Files, parents: &[CommitId]) -> CommitId {
    let transaction = store.begin(&job());
    let mut root = Directory::default();
    for (at, bytes) in files {
        let content = transaction.put_reader(&mut &bytes[..]).expect("put");
        root.insert(&path(at), Node::File(File { metadata: Metadata::root(0o644), content })).expect("made");
    }
    let tree = transaction.put_tree(&job(), &root.seal().expect("sealed")).expect("put");
    let commit = Commit { parents: parents.to_vec(), ..commit_of(tree) };
    let id = transaction.put_commit(&commit).expect("put");
    transaction.commit(&[update("main", id)], "test").expect("committed");
    id
}

/// Writes a bundle and returns its bytes.
pub fn bundle(store: &Store, commits: &[CommitId], bases: &[CommitId]) -> (Bundle, Vec<u8>) {
    let contents = Contents::gather(store, commits, bases, &job()).expect("gathered");
    let scratch = tempfile::tempfile().expect("a scratch file");
    let mut bundle = bundle::write(store, &contents, scratch, &job()).expect("written");
    let mut bytes = Vec::new();
    bundle.read_to_end(&mut bytes).expect("read");
    assert_eq!(bytes.len() as u64, bundle.size());
    (bundle, bytes)
}

pub fn table(bundle: &Bundle, bytes: &[u8]) -> Table {
    Table::parse(&bytes[..bundle.table_bytes() as usize], &bundle.id()).expect("parsed")
}

/// Fetches what is planned and moves `main` to the bundle's commit.
pub fn receive(
    store: &Store,
    table: &Table,
    bytes: &[u8],
    by_ids: bool,
) -> Result<(Received, u64), BundleError> {
    let transaction = store.begin(&job());
    let range = table.ids_range();
    let ids = by_ids.then(|| &bytes[range.start as usize..range.end as usize]);
    let plan = table.plan(&transaction, ids, &job())?;
    let (ranges, fetched) = (plan.ranges().to_vec(), plan.bytes());
    let receiver = Receiver::new(table, plan, &transaction, &job());
    for (number, range) in ranges.iter().enumerate() {
        receiver.take(number, &bytes[range.start as usize..range.end as usize])?;
    }
    let received = receiver.finish()?;
    let last = received.commits.last().expect("a commit");
    transaction.commit(&[update("main", *last)], "received").expect("committed");
    Ok((received, fetched))
}

/// Takes what is planned from the last range to the first, then two of them once more, on all threads.
pub fn receive_backwards_and_twice(
    table: &Table,
    plan: FetchPlan,
    bytes: &[u8],
    transaction: &Transaction<'_>,
) {
    let ranges = plan.ranges().to_vec();
    let receiver = Receiver::new(table, plan, transaction, &job());
    let take = |number: usize| {
        let range = &ranges[number];
        receiver.take(number, &bytes[range.start as usize..range.end as usize])
    };
    let items = (0..ranges.len()).rev().chain([0, ranges.len() - 1]);
    job().workers.for_each(items, take).expect("taken");
    receiver.finish().expect("finished");
}

/// Holds all files of a commit against what they should be.
pub fn check(store: &Store, id: CommitId, files: &Files) {
    use mkimage::store::Objects;
    use mkimage::tree::ContentSource;
    let commit = store.read_commit(&id).expect("read");
    let root = store.read_tree(&job(), &commit.tree).expect("read");
    for (at, bytes) in files {
        match root.get(&path(at)) {
            Some(Node::File(file)) => {
                assert!(store.read_all(&file.content).expect("read") == *bytes, "{at} differs")
            }
            other => panic!("{at} is {other:?}"),
        }
    }
    assert!(store.check(&job()).expect("checked").faults.is_empty());
}

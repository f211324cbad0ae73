//! What the benches of the store share: a Debian minbase tree, its ingest, and a watch.

use std::path::Path;

use mkimage::archive::{Limits, scan};
use mkimage::base::job::Job;
use mkimage::base::{CommitId, Stopwatch};
use mkimage::store::{Expected, RefName, RefUpdate, Store};

#[path = "../commit/mod.rs"]
mod commit;
#[path = "../debian/mod.rs"]
pub mod debian;

use commit::commit_of;
pub use debian::tree;

/// Walks, puts in parallel, commits: everything between the start of a process and a durable ref.
pub fn ingest(store: &Path, tree: &Path) -> CommitId {
    let job = Job::quiet(0);
    let store = Store::open(store).expect("opened");
    let transaction = store.begin(&job);
    let (root, _) = scan(tree, &Limits::default(), &transaction, &job).expect("read");
    let root = root.seal().expect("sealed");
    let tree = transaction.put_tree(&job, &root).expect("put");
    let commit = transaction.put_commit(&commit_of(tree)).expect("put");
    let name = RefName::new("bench").expect("a name");
    let update = RefUpdate { name, expected: Expected::Any, new: commit };
    transaction.commit(&[update], "bench").expect("committed");
    commit
}

/// Times work, from a disk that has nothing left to write for whoever was before.
pub fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    rustix::fs::sync();
    let watch = Stopwatch::start();
    let _result = work();
    watch.elapsed().as_secs_f64()
}

pub fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

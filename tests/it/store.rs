//! Tests of the room `store`.

mod crash;
mod damage;
pub mod damages;
mod encoding;
mod faults;
mod fsck;
mod fsck_cli;
mod full;
pub mod gc;
mod gc_cli;
mod history;
mod lease;
mod many;
mod model;
mod nfs;
mod objects;
mod races;
mod reading;
mod refs;
mod repack;
mod repair;
mod replay;
mod scale;
mod shared;
mod simulation;
mod workloads;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use mkimage::base::job::Job;
use mkimage::base::{CommitId, ImagePath};
use mkimage::store::{
    Architecture, Change, Commit, DiskSpec, Expected, Filesystem, RefName, RefUpdate, Store, Transaction,
    TreeRef, Watcher,
};
use mkimage::tree::{ContentSink, Directory, File, Metadata, Node, SealedTree, Symlink};

/// A folder that goes when dropped, in memory where the machine has such a place: the tests sync a lot.
pub fn folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a folder")
}

/// Lists the names in a directory.
pub fn list(folder: impl AsRef<std::path::Path>) -> Vec<std::ffi::OsString> {
    mkimage::base::fs::list(folder.as_ref()).expect("listed")
}

/// Sets a flag when it goes, also by a panic: what other threads wait for comes in any case, and a test that fails ends.
struct SetAtEnd<'f>(&'f std::sync::atomic::AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Counts attempts from 1 on, and panics behind the most that there can be: a test that gets nowhere ends.
fn attempts(most: u64) -> impl Iterator<Item = u64> {
    (1..).inspect(move |attempt| assert!(*attempt <= most, "no success in {most} attempts"))
}

/// Returns a time of the past, to give a file another age.
pub fn seconds_ago(seconds: u64) -> std::time::SystemTime {
    let now = mkimage::base::clock::unix_seconds();
    std::time::UNIX_EPOCH + std::time::Duration::from_secs(now - seconds)
}

/// Says a figure in the output of the test, which `--nocapture` shows.
#[allow(clippy::disallowed_macros, reason = "a test may tell its figures")]
pub fn tell(text: &str) {
    println!("{text}");
}

/// Lists the files below a directory.
pub fn files_of(root: &std::path::Path) -> Vec<std::path::PathBuf> {
    let walk = walkdir::WalkDir::new(root).sort_by_file_name().into_iter();
    walk.map(|entry| entry.expect("walked").into_path()).filter(|path| path.is_file()).collect()
}

pub fn job() -> Job {
    Job::quiet(2)
}

pub fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("a path")
}

pub fn name(text: &str) -> RefName {
    RefName::new(text).expect("a name")
}

pub fn open(path: &std::path::Path) -> Store {
    Store::open(path).expect("opened")
}

pub fn update(at: &str, new: CommitId) -> RefUpdate {
    RefUpdate { name: name(at), expected: Expected::Any, new }
}

/// Bytes that don't compress and differ by seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Puts a file into a tree and its bytes into the transaction.
pub fn add_file(transaction: &Transaction<'_>, root: &mut Directory, at: &str, bytes: &[u8]) {
    let content = transaction.put(bytes).expect("put");
    root.insert(&path(at), Node::File(File { metadata: Metadata::root(0o644), content })).expect("inserted");
}

/// Makes a small tree whose files depend on a version.
pub fn small_tree(transaction: &Transaction<'_>, version: u32) -> SealedTree {
    let mut root = Directory::default();
    add_file(transaction, &mut root, "/etc/version", format!("version {version}\n").as_bytes());
    add_file(
        transaction,
        &mut root,
        "/etc/same",
        b"the same in every version, and long enough to be compressed",
    );
    add_file(transaction, &mut root, "/usr/share/empty", b"");
    add_file(transaction, &mut root, "/usr/share/noise", &noise(u64::from(version), 5000));
    let symlink = Symlink { metadata: Metadata::root(0o777), target: b"usr/share"[..].into() };
    root.insert(&path("/share"), Node::Symlink(symlink)).expect("inserted");
    root.seal().expect("sealed")
}

pub fn commit_of(tree: TreeRef) -> Commit {
    Commit {
        tree,
        boot: None,
        disk: DiskSpec {
            layout: 1,
            architecture: Architecture::X86_64,
            filesystem: Filesystem::Ext4,
            slot_size: None,
            uki_size: Some(64 << 20),
            data_size: 16 << 20,
            data_path: "/data".to_owned(),
            tries: 3,
        },
        epoch: 315_532_800,
        name: "hello".to_owned(),
        version: Some("1.0".to_owned()),
        recipe: Vec::new(),
        variables: BTreeMap::new(),
        lock: None,
        inputs: Vec::new(),
        parents: Vec::new(),
        tool_version: "0.1.0".to_owned(),
        annotations: BTreeMap::new(),
    }
}

/// Puts a small tree and its commit.
pub fn put_version(transaction: &Transaction<'_>, version: u32) -> CommitId {
    let tree = small_tree(transaction, version);
    let tree = transaction.put_tree(&job(), &tree).expect("put");
    transaction.put_commit(&commit_of(tree)).expect("put")
}

/// Publishes a small tree under a ref.
pub fn publish(store: &Store, at: &str, version: u32) -> CommitId {
    let transaction = store.begin(&job());
    let commit = put_version(&transaction, version);
    transaction.commit(&[update(at, commit)], "a test").expect("committed");
    commit
}

/// Counts changes and syncs.
#[derive(Default)]
pub struct Counter {
    pub changes: AtomicU64,
    pub syncs: AtomicU64,
}

impl Watcher for Counter {
    fn before(&self, change: &Change<'_>) -> io::Result<()> {
        self.changes.fetch_add(1, Ordering::Relaxed);
        if matches!(change, Change::Sync(_) | Change::SyncDirectory(_)) {
            self.syncs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

//! `diff` of two commits with 100,000 files that differ in ten: the library's call, and the whole process.
//!
//! `cargo bench --bench diff`. `MKIMAGE_BENCH_ROUNDS` (20) says how often each takes its turn.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use mkimage::base::job::Job;
use mkimage::base::{CommitId, ImagePath, Stopwatch};
use mkimage::store::{Expected, Objects, RefName, RefUpdate, Store, Transaction};
use mkimage::tree::{ContentSink, Directory, File, Metadata, Node};

mod commit;
use commit::commit_of;

const DIRECTORIES: usize = 1000;
const FILES_IN_EACH: usize = 100;
/// Every how manieth directory has a file that differs: ten of them.
const STRIDE: usize = DIRECTORIES / 10;

fn main() {
    let rounds: usize =
        std::env::var("MKIMAGE_BENCH_ROUNDS").map_or(20, |text| text.parse().expect("a number"));
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let path = scratch.path().join("store");
    let [old, new] = make(&path);
    let (mut library, mut process) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        library.push(milliseconds(|| call(&path, [old, new])));
        process.push(milliseconds(|| run(&path, [old, new])));
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "diff of two commits with {} files that differ in ten, medians of {rounds}\n  \
        open the store and call   {:7.2} ms\n  the whole process         {:7.2} ms (target < 20)",
        DIRECTORIES * FILES_IN_EACH,
        median(&mut library),
        median(&mut process),
    )
    .expect("written");
}

/// Makes a store with two commits and returns them.
fn make(path: &Path) -> [CommitId; 2] {
    let job = Job::quiet(0);
    let store = Store::open(path).expect("opened");
    let transaction = store.begin(&job);
    let commits = ["one", "two"].map(|version| {
        let root = tree(&transaction, version).seal().expect("sealed");
        let tree = transaction.put_tree(&job, &root).expect("put");
        transaction.put_commit(&commit_of(tree)).expect("put")
    });
    let name = RefName::new("bench").expect("a name");
    let update = RefUpdate { name, expected: Expected::Any, new: commits[1] };
    transaction.commit(&[update], "bench").expect("committed");
    commits
}

fn tree(transaction: &Transaction<'_>, version: &str) -> Directory {
    let mut root = Directory::default();
    for directory in 0..DIRECTORIES {
        for file in 0..FILES_IN_EACH {
            let differs = directory.is_multiple_of(STRIDE) && file == 7;
            let text = format!("{directory} {file} {}", if differs { version } else { "same" });
            let content = transaction.put(text.as_bytes()).expect("put");
            // Four levels, as below /usr/share.
            let at = format!("/usr/share/{:02}/{directory:04}/{file:03}", directory / 50);
            let at = ImagePath::new(at.as_bytes()).expect("a path");
            let node = Node::File(File { metadata: Metadata::root(0o644), content });
            root.insert(&at, node).expect("inserted");
        }
    }
    root
}

fn call(path: &Path, [old, new]: [CommitId; 2]) {
    let store = Store::open(path).expect("opened");
    let [old, new] = [old, new].map(|id| store.read_commit(&id).expect("read").tree);
    let changes = store.difference(&old, &new, &Job::quiet(0)).expect("compared");
    assert_eq!(changes.len(), 10);
}

fn run(path: &Path, [old, new]: [CommitId; 2]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkimage"));
    command.args(["diff", "--store"]).arg(path).args([old, new].map(|id| id.to_string()));
    let output = command.output().expect("run");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("10 changed"));
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let watch = Stopwatch::start();
    work();
    watch.elapsed().as_secs_f64() * 1000.0
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

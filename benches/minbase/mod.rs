//! What the benches of the store share: a Debian minbase tree, its ingest, and a watch.

use std::path::{Path, PathBuf};
use std::process::Command;

use mkimage::archive::{Limits, scan};
use mkimage::base::job::Job;
use mkimage::base::{CommitId, Stopwatch};
use mkimage::store::{Architecture, Commit, DiskSpec, Expected, Filesystem, RefName, RefUpdate, Store};

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

fn commit_of(tree: mkimage::store::TreeRef) -> Commit {
    let disk = DiskSpec {
        layout: 1,
        architecture: Architecture::X86_64,
        filesystem: Filesystem::Ext4,
        slot_size: None,
        uki_size: None,
        data_size: 0,
        data_path: "/data".to_owned(),
        tries: 3,
    };
    Commit {
        tree,
        boot: None,
        disk,
        epoch: 0,
        name: "bench".to_owned(),
        version: None,
        recipe: Vec::new(),
        variables: Default::default(),
        lock: None,
        inputs: Vec::new(),
        parents: Vec::new(),
        tool_version: "bench".to_owned(),
        annotations: Default::default(),
    }
}

pub fn tree() -> PathBuf {
    if let Some(tree) = std::env::var_os("MKIMAGE_BENCH_TREE") {
        return tree.into();
    }
    let tree = std::env::temp_dir().join("mkimage-bench-minbase");
    if !tree.join("etc/debian_version").exists() {
        let _ = std::fs::remove_dir_all(&tree);
        let release = std::fs::read_to_string("/etc/os-release").expect("read");
        let suite =
            release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or("stable");
        run(Command::new("mmdebstrap").args(["--variant=minbase", suite]).arg(&tree));
    }
    // What the kernel fills at boot: device nodes of the host belong into no image.
    for name in mkimage::base::fs::list(&tree.join("dev")).expect("listed") {
        let node = tree.join("dev").join(name);
        let removed =
            if node.is_dir() { std::fs::remove_dir_all(&node) } else { std::fs::remove_file(&node) };
        removed.expect("removed");
    }
    tree
}

pub fn run(command: &mut Command) {
    let output = command.output();
    let output = output
        .unwrap_or_else(|error| panic!("{command:?}: {error} (install casync, borgbackup, mmdebstrap)"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
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

pub fn disk_bytes(folder: &Path) -> u64 {
    let files =
        walkdir::WalkDir::new(folder).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.metadata().map_or(0, |metadata| metadata.len())).sum()
}

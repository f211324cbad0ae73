//! Durable ingest of a directory tree into a store, against `casync make` and `borg create`, interleaved in
//! one run on one machine.
//!
//! `cargo bench --bench store`. `MKIMAGE_BENCH_TREE` names a directory; without it, a Debian minbase tree is
//! made once with mmdebstrap. `MKIMAGE_BENCH_ROUNDS` (5) says how often each takes its turn.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use mkimage::archive::{Limits, scan};
use mkimage::base::Stopwatch;
use mkimage::base::job::Job;
use mkimage::store::{Architecture, Commit, DiskSpec, Expected, Filesystem, RefName, RefUpdate, Store};

fn main() {
    let tree = tree();
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let rounds: usize =
        std::env::var("MKIMAGE_BENCH_ROUNDS").map_or(5, |text| text.parse().expect("a number"));
    let [mut ours, mut again, mut casync, mut borg] = [const { Vec::<f64>::new() }; 4];
    let mut sizes = [0u64; 3];
    let mut peak = 0;
    let mut processor = [0.0; 3];
    for round in 0..rounds {
        let at = |name: &str| scratch.path().join(format!("{name}-{round}"));
        let (store, chunks, archive) = (at("store"), at("casync"), at("borg"));
        warm(&tree);
        reset_peak();
        let before = processor_seconds();
        ours.push(seconds(|| ingest(&store, &tree)));
        processor[0] = processor_seconds() - before;
        peak = peak.max(peak_kib());
        again.push(seconds(|| ingest(&store, &tree)));
        warm(&tree);
        let before = processor_seconds();
        casync.push(seconds(|| {
            let index = at("index").with_extension("caidx");
            run(Command::new("casync").arg("make").arg("--store").arg(&chunks).arg(index).arg(&tree));
        }));
        processor[1] = processor_seconds() - before;
        run(Command::new("borg").args(["init", "-e", "none"]).arg(&archive));
        warm(&tree);
        let before = processor_seconds();
        borg.push(seconds(|| {
            let name = format!("{}::one", archive.display());
            run(Command::new("borg").args(["create", "-C", "zstd,3"]).arg(name).arg(".").current_dir(&tree));
        }));
        processor[2] = processor_seconds() - before;
        sizes = [&store, &chunks, &archive].map(|folder| disk_bytes(folder));
        for folder in [store, chunks, archive] {
            std::fs::remove_dir_all(folder).expect("removed");
        }
    }
    let medians = [&mut ours, &mut again, &mut casync, &mut borg].map(|times| median(times));
    report(&tree, medians, sizes, peak, processor);
}

fn report(
    tree: &Path,
    [ours, again, casync, borg]: [f64; 4],
    sizes: [u64; 3],
    peak: u64,
    processor: [f64; 3],
) {
    let mut out = std::io::stdout().lock();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let plain = disk_bytes(tree);
    let mut line = |text: String| writeln!(out, "{text}").expect("written");
    line(format!("durable ingest of {} ({:.0} MiB), medians", tree.display(), mib(plain)));
    line(format!(
        "  mkimage            {ours:7.3} s   {:6.1} MiB   peak memory {:.0} MiB, processor {:.2} s",
        mib(sizes[0]),
        peak as f64 / 1024.0,
        processor[0]
    ));
    line(format!("  mkimage, unchanged {again:7.3} s"));
    line(format!(
        "  casync make        {casync:7.3} s   {:6.1} MiB   ratio {:.3} (target < 0.35)   processor {:.2} s",
        mib(sizes[1]),
        ours / casync,
        processor[1]
    ));
    line(format!(
        "  borg -C zstd,3     {borg:7.3} s   {:6.1} MiB   ratio {:.3} (target < 0.35)   processor {:.2} s",
        mib(sizes[2]),
        ours / borg,
        processor[2]
    ));
}

/// Walks, puts in parallel, commits: everything between the start of a process and a durable ref.
fn ingest(store: &Path, tree: &Path) {
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

fn tree() -> PathBuf {
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

fn run(command: &mut Command) {
    let output = command.output();
    let output = output
        .unwrap_or_else(|error| panic!("{command:?}: {error} (install casync, borgbackup, mmdebstrap)"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Has the tree in the page cache: borg drops what it read, so that whoever comes next would read from the disk.
fn warm(tree: &Path) {
    let mut command = Command::new("find");
    command.arg(tree).args(["-type", "f", "-exec", "cat", "{}", "+"]).stdout(std::process::Stdio::null());
    assert!(command.status().expect("find").success(), "{command:?}");
}

/// Times work, from a disk that has nothing left to write for whoever was before.
fn seconds(work: impl FnOnce()) -> f64 {
    rustix::fs::sync();
    let watch = Stopwatch::start();
    work();
    watch.elapsed().as_secs_f64()
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Lets the kernel count the peak anew.
fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Returns the processor time of this process and of its children that ended, in seconds: on a busy machine
/// it says more than the time on the wall.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("read");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    (11..=14).map(ticks).sum::<f64>() / 100.0
}

fn disk_bytes(folder: &Path) -> u64 {
    let files =
        walkdir::WalkDir::new(folder).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.metadata().map_or(0, |metadata| metadata.len())).sum()
}

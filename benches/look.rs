//! `diff` of two filesystems of a Debian minbase tree that differ in ten files, against diffoscope on the same trees.
//!
//! `cargo bench --bench look` (as root, so that the tree unpacks as it is). diffoscope opens ext4 only with
//! libguestfs, and else says no more than that bytes differ: so it is given the two trees as directories, which leaves
//! it less to do than `mkimage diff` has. `MKIMAGE_BENCH_RUNS` (5) says how often we take our turn; diffoscope has one, of at most
//! `MKIMAGE_BENCH_SECONDS` (600).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use mkimage::base::job::Job;
use mkimage::base::{CommitId, Stopwatch};
use mkimage::disk::FileDevice;
use mkimage::disk::ext4::{self, Ext4Options};
use mkimage::store::{Objects, Store};

mod minbase;
use minbase::{ingest, median, seconds, tree};

/// How many files differ.
const CHANGED: usize = 10;

fn main() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
    };
    let (runs, limit) = (number("MKIMAGE_BENCH_RUNS", 5), number("MKIMAGE_BENCH_SECONDS", 600));
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let path = |name: &str| scratch.path().join(name);
    let old = tree();
    run(Command::new("cp").arg("-a").arg(&old).arg(path("new")));
    change(&path("new"));
    let store = path("store");
    for (folder, name) in [(old.as_path(), "old.ext4"), (&path("new"), "new.ext4")] {
        write(&store, ingest(&store, folder), &path(name));
    }
    let (before, after) = (path("old.ext4"), path("new.ext4"));
    let mut times: Vec<f64> = (0..runs).map(|_| seconds(|| ours(&before, &after))).collect();
    let ours = median(&mut times);
    let bytes = std::fs::metadata(&before).expect("a file").len();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "diff of two filesystems of {} MiB that differ in {CHANGED} files, warm caches",
        bytes >> 20
    )
    .expect("written");
    writeln!(out, "  mkimage diff                        {ours:9.2} s (target < 2)").expect("written");
    let (theirs, ended) = diffoscope(&old, &path("new"), limit);
    let more = if ended { "" } else { "more than " };
    let ratio = ours / theirs;
    writeln!(out, "  diffoscope on the two trees   {more:>6}{theirs:9.2} s, ratio {ratio:.4}")
        .expect("written");
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// Changes some files of a tree, each in one byte more.
fn change(folder: &Path) {
    let listed =
        Command::new("find").arg(folder.join("usr/bin")).args(["-type", "f", "-size", "+2k"]).output();
    let listed = String::from_utf8(listed.expect("find").stdout).expect("names");
    let mut files: Vec<&str> = listed.lines().collect();
    files.sort_unstable();
    assert!(files.len() > CHANGED);
    for file in files.iter().take(CHANGED) {
        let mut open = std::fs::OpenOptions::new().append(true).open(file).expect("opened");
        open.write_all(b"x").expect("written");
    }
}

/// Writes the root filesystem of a commit.
fn write(store: &Path, commit: CommitId, file: &Path) {
    let job = Job::quiet(0);
    let store = Store::open(store).expect("opened");
    let commit = store.read_commit(&commit).expect("read");
    let root = store.read_tree(&job, &commit.tree).expect("read").seal().expect("sealed");
    let options = Ext4Options {
        uuid: [1; 16],
        hash_seed: [2; 16],
        label: Vec::new(),
        epoch_seconds: 0,
        placement: ext4::Ext4Placement::Dense,
        size: None,
        journal: false,
        growable: false,
    };
    let layout = ext4::plan(&root, &store, &options, &job).expect("planned");
    let made =
        std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(file).expect("created");
    made.set_len(layout.size().0).expect("a length");
    layout.write(&FileDevice::new(made, layout.size().0), &store, None, &job).expect("written");
}

fn ours(before: &Path, after: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkimage"));
    let output = command.args(["diff", "--stat"]).args([before, after]).output().expect("run");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(&format!("{CHANGED} changed")), "{text}");
}

/// Returns how long diffoscope took, and whether it came to its end.
fn diffoscope(before: &Path, after: &Path, limit: u64) -> (f64, bool) {
    let watch = Stopwatch::start();
    let mut command = Command::new("timeout");
    command.arg(limit.to_string()).args(["diffoscope", "--text", "/dev/null"]).args([before, after]);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = status.expect("coreutils and diffoscope (package diffoscope-minimal) are there");
    assert!(matches!(status.code(), Some(1 | 124)), "diffoscope: {status}");
    (watch.elapsed().as_secs_f64(), status.code() == Some(1))
}

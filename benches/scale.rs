//! One large store: a million objects, ten thousand commits, a thousand refs. How long it takes to build, open,
//! look things up, log, diff, check and collect, and how much memory each of these needs at most.
//!
//! `cargo bench --bench scale`. `MKIMAGE_BENCH_COMMITS` (10000) says how many commits there are, of a hundred
//! objects each; `MKIMAGE_BENCH_REFS` (1000) how many refs they move in turn; `MKIMAGE_BENCH_STORE` names
//! the directory of the store, which is kept; without it, one in the temporary directory is made and removed.
//! Each step is a process of its own, so that the peak memory is its own.

use std::io::Write;
use std::path::{Path, PathBuf};

use mkimage::base::job::Job;
use mkimage::base::{Digest, ImagePath, Stopwatch};
use mkimage::store::{Expected, GcRules, Objects, RefName, RefUpdate, Store, StoreError, TreeRef};
use mkimage::tree::{ContentSink, Directory, File, Metadata, Node};

mod commit;
use commit::commit_of;

const DIRECTORIES: u64 = 10;
/// With the directories, the root and the commit: a hundred and two objects.
const FILES: u64 = 9;

const STEPS: [&str; 11] = [
    "build",
    "open",
    "has",
    "log",
    "diff",
    "fsck",
    "gc plan",
    "gc plan, most dead",
    "gc run",
    "gc empties",
    "repack",
];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    if let (Some(step), Some(store)) = (arguments.next(), arguments.next()) {
        return run(&step, Path::new(&store));
    }
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let store = std::env::var_os("MKIMAGE_BENCH_STORE").map_or(scratch.path().join("store"), PathBuf::from);
    let mut out = std::io::stdout().lock();
    writeln!(out, "a store of {} commits and {} refs", commits(), refs()).expect("written");
    for step in STEPS {
        let this = std::env::current_exe().expect("this program");
        let output = std::process::Command::new(this).arg(step).arg(&store).output().expect("run");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{step}: {text}{}", String::from_utf8_lossy(&output.stderr));
        write!(out, "{text}").expect("written");
        out.flush().expect("written");
    }
}

fn run(step: &str, path: &Path) {
    let job = Job::quiet(0);
    let watch = Stopwatch::start();
    let outcome = work(step, path, &job).unwrap_or_else(|error| panic!("{step}: {error}"));
    let seconds = watch.elapsed().as_secs_f64();
    let peak = peak_kib() as f64 / 1024.0;
    let line = format!("  {step:20} {seconds:9.4} s   peak {peak:6.1} MiB   {outcome}\n");
    std::io::stdout().write_all(line.as_bytes()).expect("written");
}

fn work(step: &str, path: &Path, job: &Job) -> Result<String, StoreError> {
    let store = Store::open(path)?;
    // Moves keep what they led to, or not; nothing is too young.
    let all_live = GcRules { grace_seconds: 0, ..GcRules::default() };
    let most_dead = GcRules::strict();
    Ok(match step {
        "build" => build(&store, job)?,
        "open" => format!("{} bytes of packs", bytes_of(&path.join("packs"))),
        "has" => look_up(&store),
        "log" => format!("{} moves", store.log(&name(0))?.len()),
        "diff" => diff(&store, job)?,
        "fsck" => {
            let report = store.check(job)?;
            assert!(report.faults.is_empty(), "{:?}", report.faults);
            format!("{} objects in {} packs, {} bytes", report.objects, report.packs, report.bytes)
        }
        "gc plan" => store.plan_gc(&all_live, job)?.describe().join("; "),
        "gc plan, most dead" => store.plan_gc(&most_dead, job)?.describe().join("; "),
        "gc run" | "gc empties" => {
            let done = store.run_gc(store.plan_gc(&most_dead, job)?, job)?;
            format!("{} objects to the trash, {} bytes freed", done.objects_trashed, done.bytes_emptied)
        }
        "repack" => format!("{:?}", store.repack(job)?),
        other => panic!("there is no step {other:?}"),
    })
}

fn build(store: &Store, job: &Job) -> Result<String, StoreError> {
    let mut objects = 0;
    for number in 0..commits() {
        let transaction = store.begin(job);
        let mut root = Directory::default();
        for directory in 0..DIRECTORIES {
            for file in 0..FILES {
                let bytes =
                    format!("commit {number}, directory {directory}, file {file}: some text of a file\n");
                let content = transaction.put(bytes.as_bytes())?;
                let path = ImagePath::new(format!("/d{directory}/f{file}").as_bytes()).expect("a path");
                let node = Node::File(File { metadata: Metadata::root(0o644), content });
                root.insert(&path, node).expect("inserted");
            }
        }
        let tree = transaction.put_tree(job, &root.seal().expect("sealed"))?;
        let commit = transaction.put_commit(&commit_of(tree))?;
        let update = RefUpdate { name: name(number % refs()), expected: Expected::Any, new: commit };
        objects += transaction.commit(&[update], "scale")?.objects;
    }
    let packs = mkimage::base::fs::list(&store.path().join("packs"))?.len() / 2;
    Ok(format!("{objects} objects in {packs} packs"))
}

/// Looks for a hundred thousand objects that are not there: the dearest answer.
fn look_up(store: &Store) -> String {
    let found = (0..100_000u32).filter(|number| store.has(&Digest::of(&number.to_le_bytes()))).count();
    format!("{found} of 100000 ids found")
}

fn diff(store: &Store, job: &Job) -> Result<String, StoreError> {
    let trees = [name(0), name(1)].map(|name| -> Result<TreeRef, StoreError> {
        let value = store.read_ref(&name)?.expect("a ref");
        Ok(store.read_commit(&value.commit)?.tree)
    });
    let [old, new] = trees;
    Ok(format!("{} changes", store.difference(&old?, &new?, job)?.len()))
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn commits() -> u64 {
    number("MKIMAGE_BENCH_COMMITS", 10_000)
}

fn refs() -> u64 {
    number("MKIMAGE_BENCH_REFS", 1000)
}

fn name(number: u64) -> RefName {
    RefName::new(&format!("team-{}/image-{number}", number % 20)).expect("a name")
}

fn bytes_of(folder: &Path) -> u64 {
    let names = mkimage::base::fs::list(folder).expect("listed");
    names.iter().map(|name| std::fs::metadata(folder.join(name)).expect("there").len()).sum()
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

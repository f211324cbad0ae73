//! From cached indexes to a solution, against `apt-get -s install` on the same indexes and an empty machine,
//! interleaved in one run on one machine.
//!
//! `cargo bench --bench solve`. The indexes are those that apt has on this machine (`apt-get update` fetches them).
//! `MKIMAGE_BENCH_ROUNDS` (5) says how often each takes its turn.
//!
//! What is measured of ours: `lock` is all that `mkimage lock` does once the indexes are in its store (signatures
//! of the Release files, which are asked of the mirror, kept indexes, parsing, solving, the lock); `parse` is from
//! the full texts of the indexes to a universe, on all cores and on one; `solve` the choice alone.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use mkimage::base::clock::unix_seconds;
use mkimage::base::parallel::Workers;
use mkimage::base::{Job, Stopwatch};
use mkimage::packages::solve::{Problem, solve};
use mkimage::packages::universe::Universe;
use mkimage::packages::{
    Fetcher, Lock, MemoryCache, Request, Root, Rules, Settings, SourceRequest, Update, resolve,
};

/// A server that boots, without the essential packages, and a desktop.
const SETS: [(&str, &str); 2] = [
    (
        "server",
        "systemd-sysv linux-image-cloud-amd64 udev dbus kmod iproute2 ca-certificates openssh-server nginx-light \
         python3-minimal base-files base-passwd bash coreutils libc-bin",
    ),
    ("gnome", "gnome"),
];

/// Milliseconds of each turn.
#[derive(Default)]
struct Times {
    apt: Vec<f64>,
    lock: Vec<f64>,
    solve: Vec<f64>,
    packages: usize,
}

fn main() {
    let rounds: usize =
        std::env::var("MKIMAGE_BENCH_ROUNDS").map_or(5, |text| text.parse().expect("a number"));
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let texts = texts();
    let (mut all, mut one) = (Vec::new(), Vec::new());
    let (every, single) = (Workers::new(0), Workers::new(1));
    let architecture = output(Command::new("dpkg").arg("--print-architecture")).trim().to_owned();
    let universe = parsed(&texts, &architecture, &every).1;
    let cache = MemoryCache::default();
    let mut times: Vec<Times> = SETS.iter().map(|_| Times::default()).collect();
    for (_, names) in SETS {
        apt(scratch.path(), names);
        lock(names, &architecture, &cache);
    }
    for _ in 0..rounds {
        all.push(parsed(&texts, &architecture, &every).0);
        one.push(parsed(&texts, &architecture, &single).0);
        for ((_, names), times) in SETS.iter().zip(&mut times) {
            times.apt.push(milliseconds(|| apt(scratch.path(), names)).0);
            times.lock.push(milliseconds(|| lock(names, &architecture, &cache)).0);
            let (time, solution) = milliseconds(|| solve(&universe, &problem(names)).expect("a solution"));
            times.solve.push(time);
            times.packages = solution.packages.len();
        }
    }
    report(&universe, &mut all, &mut one, &mut times);
}

fn report(universe: &Universe, all: &mut [f64], one: &mut [f64], times: &mut [Times]) {
    let mut out = std::io::stdout().lock();
    let mut line = |text: String| writeln!(out, "{text}").expect("written");
    let (all, one) = (median(all), median(one));
    line(format!("{} packages of apt's own indexes, medians", universe.len()));
    line(format!("  parse              {all:7.1} ms   on one core {one:.1} ms (target < 60)"));
    for ((label, _), times) in SETS.iter().zip(times) {
        let (apt, lock, solve) = (median(&mut times.apt), median(&mut times.lock), median(&mut times.solve));
        line(format!("{label}: {} packages", times.packages));
        line(format!("  solve              {solve:7.1} ms   (target < 100)"));
        line(format!("  parse and solve    {:7.1} ms   ratio {:.3}", all + solve, (all + solve) / apt));
        line(format!(
            "  lock               {lock:7.1} ms   ratio {:.3} (targets < 100 ms, < 0.3)",
            lock / apt
        ));
        line(format!("  apt-get -s         {apt:7.1} ms"));
    }
}

fn problem(names: &str) -> Problem {
    let roots = names.split_whitespace().map(|name| Root::parse(name).expect("a name")).collect();
    let rules = Rules { dependencies: true, ..Rules::default() };
    Problem { roots, rules, locked: BTreeMap::new() }
}

/// Does what `mkimage lock` does.
fn lock(names: &str, architecture: &str, cache: &MemoryCache) -> Lock {
    let job = Job::quiet(0);
    let settings = Settings::of_machine(unix_seconds(), &|name| std::env::var(name).ok()).expect("settings");
    let fetcher = Fetcher::new(settings, cache).expect("a fetcher");
    let Problem { roots, rules, .. } = problem(names);
    let suites = ["bookworm", "bookworm-updates", "bookworm-security"];
    let request = Request {
        distribution: "debian".to_owned(),
        architecture: architecture.to_owned(),
        sources: suites.map(|suite| SourceRequest::of_suite(suite, &["main"])).to_vec(),
        roots,
        rules,
        ..Request::default()
    };
    resolve(&[request], None, &Update::None, &fetcher, &job).expect("a lock")
}

/// Parses copies of the texts; returns the time that it took without the copying.
fn parsed(texts: &[String], architecture: &str, workers: &Workers) -> (f64, Universe) {
    let mut universe = Universe::new(architecture, &[]);
    let texts = texts.iter().enumerate().map(|(source, text)| (source, 500, text.clone())).collect();
    let (time, ()) = milliseconds(|| universe.add_all(texts, workers).expect("sound indexes"));
    (time, universe)
}

fn texts() -> Vec<String> {
    let list = ["indextargets", "--format", "$(FILENAME)", "Created-By: Packages"];
    let paths = output(Command::new("apt-get").args(list));
    let text = |path| output(Command::new("/usr/lib/apt/apt-helper").arg("cat-file").arg(path));
    let texts: Vec<String> = paths.lines().map(text).collect();
    assert!(!texts.is_empty(), "apt has no index on this machine: run `apt-get update`");
    texts
}

/// Lets apt choose on an empty machine, with a cache of its own that it made before.
fn apt(scratch: &Path, names: &str) {
    let status = scratch.join("status");
    std::fs::write(&status, "").expect("written");
    let mut command = Command::new("apt-get");
    command.args(["-s", "-q", "-o", "Debug::NoLocking=1", "-o", "APT::Install-Recommends=false"]);
    for (option, value) in [
        ("Dir::State::status", status.display().to_string()),
        ("Dir::Cache", scratch.display().to_string()),
        ("Dir::Cache::pkgcache", "packages.bin".to_owned()),
        ("Dir::Cache::srcpkgcache", "sources.bin".to_owned()),
    ] {
        command.arg("-o").arg(format!("{option}={value}"));
    }
    output(command.arg("install").args(names.split_whitespace()));
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn milliseconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let started = Stopwatch::start();
    let result = work();
    (started.elapsed().as_secs_f64() * 1e3, result)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

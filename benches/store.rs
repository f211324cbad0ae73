//! Durable ingest of a directory tree into a store, against `casync make` and `borg create`, interleaved in
//! one run on one machine.
//!
//! `cargo bench --bench store`. `MKIMAGE_BENCH_TREE` names a directory; without it, a Debian minbase tree is
//! made once with mmdebstrap. `MKIMAGE_BENCH_ROUNDS` (5) says how often each takes its turn.

use std::io::Write;
use std::path::Path;
use std::process::Command;

mod minbase;
mod sizes;
use minbase::debian::run;
use minbase::{ingest, median, seconds, tree};
use sizes::disk_bytes;

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

/// Has the tree in the page cache: borg drops what it read, so that whoever comes next would read from the disk.
fn warm(tree: &Path) {
    let mut command = Command::new("find");
    command.arg(tree).args(["-type", "f", "-exec", "cat", "{}", "+"]).stdout(std::process::Stdio::null());
    assert!(command.status().expect("find").success(), "{command:?}");
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

//! From downloaded packages to one tree in a store, against `mmdebstrap` on the same packages from a mirror on
//! the same disk, in one run on one machine.
//!
//! `cargo bench --bench packages`. The packages are those that apt would install on an empty root for the
//! essential set and the names below (147 of bookworm), fetched once with apt-get into a folder of the temporary
//! directory, or into `MKIMAGE_BENCH_PACKAGES`. `MKIMAGE_BENCH_ROUNDS` (3) says how often each takes its turn.
//!
//! What is measured of ours: unpacking, keeping each package whole, laying them over each other, sealing and
//! committing the tree. Finalizing has its place in [`finished`].

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use mkimage::archive::{Ar, Compression, Digesting, Limits, decompress_as};
use mkimage::base::{Job, Stopwatch};
use mkimage::packages::Sha256;
use mkimage::packages::install::{Layout, lay};
use mkimage::packages::unpack::{self, Unpacked};
use mkimage::store::{Expected, Objects, RefName, RefUpdate, Store, Transaction, TreeRef};
use mkimage::tree::{ContentSource, Directory};

mod commit;
use commit::commit_of;

const NAMES: [&str; 15] = [
    "systemd-sysv",
    "linux-image-cloud-amd64",
    "udev",
    "dbus",
    "kmod",
    "iproute2",
    "ca-certificates",
    "openssh-server",
    "nginx-light",
    "python3-minimal",
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "libc-bin",
];

fn main() {
    let folder = std::env::var_os("MKIMAGE_BENCH_PACKAGES")
        .map_or_else(|| std::env::temp_dir().join("mkimage-bench-packages"), PathBuf::from);
    let debs = debs(&folder);
    let suite = mirror(&folder, &debs);
    let rounds: usize =
        std::env::var("MKIMAGE_BENCH_ROUNDS").map_or(3, |text| text.parse().expect("a number"));
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let mut times = Times::default();
    for round in 0..rounds {
        let store = scratch.path().join(format!("store-{round}"));
        times.decode.push(seconds(|| decode(&debs)));
        times.unpack.push(seconds(|| unpack_only(&debs)));
        reset_peak();
        times.cold.push(seconds(|| cold(&store, &debs)));
        times.peak_kib = times.peak_kib.max(peak_kib());
        let trees = kept(&store, &debs);
        times.warm.push(seconds(|| warm(&store, &trees)));
        times.lay.push(lay_only(&store, &trees));
        let root =
            peer_folder(scratch.path()).join(format!("mkimage-bench-root-{}-{round}", std::process::id()));
        times.peer.push(seconds(|| mmdebstrap(&folder, &suite, &debs, &root)));
        for folder in [store, root] {
            std::fs::remove_dir_all(folder).expect("removed");
        }
    }
    report(&debs, times);
}

#[derive(Default)]
struct Times {
    decode: Vec<f64>,
    unpack: Vec<f64>,
    cold: Vec<f64>,
    warm: Vec<f64>,
    lay: Vec<f64>,
    peer: Vec<f64>,
    peak_kib: u64,
}

fn report(debs: &[PathBuf], mut times: Times) {
    let mut out = std::io::stdout().lock();
    let mut line = |text: String| writeln!(out, "{text}").expect("written");
    let size: u64 = debs.iter().map(size).sum();
    let workers = Job::quiet(0).workers.count();
    let [decode, unpack] = [median(&mut times.decode), median(&mut times.unpack)];
    let [cold, warm] = [median(&mut times.cold), median(&mut times.warm)];
    let (lay, peer) = (median(&mut times.lay), median(&mut times.peer));
    line(format!("{} packages, {:.1} MB, {workers} workers, medians", debs.len(), size as f64 / 1e6));
    line(format!("  decoder alone               {decode:7.3} s"));
    line(format!(
        "  unpacked, not kept          {unpack:7.3} s   ratio {:.3} (target > 0.85)",
        decode / unpack
    ));
    line(format!("  laid over each other        {lay:7.3} s"));
    line(format!(
        "  into an empty store         {cold:7.3} s   ratio {:.3} (target < 0.15)   peak memory {:.0} MiB",
        cold / peer,
        times.peak_kib as f64 / 1024.0
    ));
    line(format!("  all objects in the store    {warm:7.3} s   ratio {:.4} (target < 0.03)", warm / peer));
    line(format!("  mmdebstrap                  {peer:7.3} s"));
}

/// Decodes every payload and drops the bytes: what the decoder itself can do with all cores.
fn decode(debs: &[PathBuf]) {
    let job = Job::quiet(0);
    let done = unpack::largest_first(debs.to_vec(), size, &job, |deb, share| {
        let limits = Limits { xz_threads: share.threads, xz_threads_bytes: share.bytes, ..Limits::default() };
        let mut ar = Ar::new(std::fs::File::open(&deb).expect("opened"), &limits).expect("an archive");
        while let Some(member) = ar.next_member().expect("a member") {
            if member.name.ends_with(".xz") {
                let mut decoded = decompress_as(Compression::Xz, &mut ar, &limits).expect("xz");
                let mut buffer = vec![0; 128 << 10];
                while decoded.read(&mut buffer).expect("decoded") > 0 {}
            }
        }
        Ok::<(), ()>(())
    });
    done.expect("decoded");
}

fn unpack_only(debs: &[PathBuf]) {
    let job = Job::quiet(0);
    let done = unpack::largest_first(debs.to_vec(), size, &job, |deb, share| {
        unpack::deb(std::fs::File::open(&deb).expect("opened"), share, &Digesting, &job)
    });
    done.expect("unpacked");
}

/// Unpacks into an empty store, lays and commits.
fn cold(store: &Path, debs: &[PathBuf]) {
    let job = Job::quiet(0);
    let store = Store::open(store).expect("opened");
    let transaction = store.begin(&job);
    let unpacked = unpack::largest_first(debs.to_vec(), size, &job, |deb, share| {
        let unpacked = unpack::deb(std::fs::File::open(&deb).expect("opened"), share, &transaction, &job)?;
        keep(&transaction, &unpacked, &job);
        Ok::<_, mkimage::packages::deb::archive::DebError>(unpacked)
    });
    finished(transaction, unpacked.expect("unpacked"), &job);
}

fn keep(transaction: &Transaction<'_>, unpacked: &Unpacked, job: &Job) -> TreeRef {
    let sealed = unpacked.clone().to_tree().seal().expect("sealed");
    transaction.put_tree(job, &sealed).expect("put")
}

/// Returns the trees under which the packages are kept, as the memo of a pipeline would.
fn kept(store: &Path, debs: &[PathBuf]) -> Vec<TreeRef> {
    let job = Job::quiet(0);
    let store = Store::open(store).expect("opened");
    let transaction = store.begin(&job);
    let kept = unpack::largest_first(debs.to_vec(), size, &job, |deb, share| {
        let unpacked = unpack::deb(std::fs::File::open(&deb).expect("opened"), share, &transaction, &job)?;
        Ok::<_, mkimage::packages::deb::archive::DebError>(keep(&transaction, &unpacked, &job))
    });
    transaction.commit(&[], "bench").expect("committed");
    kept.expect("kept")
}

/// Takes the packages out of the store, lays and commits.
fn warm(store: &Path, trees: &[TreeRef]) {
    let job = Job::quiet(0);
    let store = Store::open(store).expect("opened");
    let transaction = store.begin(&job);
    let unpacked = taken(&transaction, trees, &job);
    finished(transaction, unpacked, &job);
}

fn taken(transaction: &Transaction<'_>, trees: &[TreeRef], job: &Job) -> Vec<Unpacked> {
    job.workers.map(trees.to_vec(), |tree| {
        let tree = transaction.read_tree(job, &tree).expect("read");
        Unpacked::from_tree(tree, transaction).expect("a package")
    })
}

fn lay_only(store: &Path, trees: &[TreeRef]) -> f64 {
    let job = Job::quiet(0);
    let store = Store::open(store).expect("opened");
    let transaction = store.begin(&job);
    let unpacked = taken(&transaction, trees, &job);
    seconds(|| drop(laid(&unpacked, &transaction, &job)))
}

fn laid(unpacked: &[Unpacked], source: &dyn ContentSource, job: &Job) -> Directory {
    let layout = Layout { usr_merge: true, architecture: "amd64", ..Layout::default() };
    lay(unpacked, &layout, source, job).expect("laid").0
}

/// Lays packages and commits the tree. Finalizing comes between the two.
fn finished(transaction: Transaction<'_>, unpacked: Vec<Unpacked>, job: &Job) {
    let tree = laid(&unpacked, &transaction, job);
    let tree = transaction.put_tree(job, &tree.seal().expect("sealed")).expect("put");
    let commit = transaction.put_commit(&commit_of(tree)).expect("put");
    let name = RefName::new("bench").expect("a name");
    let update = RefUpdate { name, expected: Expected::Any, new: commit };
    transaction.commit(&[update], "bench").expect("committed");
}

/// Fetches the packages where they are not there yet; returns them in byte order.
fn debs(folder: &Path) -> Vec<PathBuf> {
    let archives = folder.join("archives");
    if !folder.join("complete").exists() {
        std::fs::create_dir_all(archives.join("partial")).expect("a folder");
        std::fs::write(folder.join("status"), b"").expect("written");
        let mut command = Command::new("apt-get");
        command.args([
            "install",
            "--download-only",
            "--no-install-recommends",
            "-y",
            "-o",
            "Debug::NoLocking=1",
        ]);
        for (option, name) in [
            ("Dir::State::status", "status"),
            ("Dir::Cache::archives", "archives"),
            ("Dir::Cache::pkgcache", "pkgcache.bin"),
            ("Dir::Cache::srcpkgcache", "srcpkgcache.bin"),
        ] {
            command.arg("-o").arg(format!("{option}={}", folder.join(name).display()));
        }
        run(command.args(["-o", "APT::Sandbox::User=root"]).args(essential()).args(NAMES));
        std::fs::write(folder.join("complete"), b"").expect("written");
    }
    let listed = walkdir::WalkDir::new(archives).sort_by_file_name().into_iter().flatten();
    let is_deb = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    listed.map(walkdir::DirEntry::into_path).filter(is_deb).collect()
}

fn essential() -> Vec<String> {
    let listed = run(Command::new("apt-cache").arg("dumpavail"));
    let mut names = Vec::new();
    let mut name = "";
    for line in listed.lines() {
        name = line.strip_prefix("Package: ").unwrap_or(name);
        if line == "Essential: yes" {
            names.push(name.to_owned());
        }
    }
    names
}

/// Writes an index over the packages, so that the peer finds them without a network; returns its suite.
fn mirror(folder: &Path, debs: &[PathBuf]) -> String {
    let release = std::fs::read_to_string("/etc/os-release").expect("read");
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or("stable");
    let mut index = String::new();
    for deb in debs {
        let fields = run(Command::new("dpkg-deb").arg("--field").arg(deb));
        let bytes = std::fs::read(deb).expect("read");
        let name = deb.file_name().expect("a name").to_string_lossy();
        let (size, sha256) = (bytes.len(), Sha256::of(&bytes));
        writeln!(
            index,
            "{}\nFilename: ./archives/{name}\nSize: {size}\nSHA256: {sha256}\n",
            fields.trim_end()
        )
        .expect("written");
    }
    let (size, sha256) = (index.len(), Sha256::of(index.as_bytes()));
    std::fs::write(folder.join("Packages"), index).expect("written");
    let release = format!(
        "Origin: Debian\nSuite: {suite}\nCodename: {suite}\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nSHA256:\n \
         {sha256} {size} Packages\n"
    );
    std::fs::write(folder.join("Release"), release).expect("written");
    suite.to_owned()
}

/// Installs the same packages as the peer does it: with all maintainer scripts, which ours does without.
fn mmdebstrap(folder: &Path, suite: &str, debs: &[PathBuf], root: &Path) {
    let names: Vec<String> = debs
        .iter()
        .map(|deb| {
            deb.file_name().expect("a name").to_string_lossy().split('_').next().unwrap_or("").to_owned()
        })
        .collect();
    let mut command = Command::new("mmdebstrap");
    command.arg("--variant=essential").arg(format!("--include={}", names.join(",")));
    run(command.arg(suite).arg(root).arg(format!("deb [trusted=yes] copy:{} ./", folder.display())));
    let status = std::fs::read_to_string(root.join("var/lib/dpkg/status")).expect("a status file");
    let installed = status.lines().filter(|line| *line == "Status: install ok installed").count();
    assert_eq!(installed, debs.len(), "the peer installs the same packages");
}

/// Returns a folder in memory for the peer where there is one: the disk would only slow it down.
fn peer_folder(scratch: &Path) -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { scratch.to_owned() }
}

fn size(deb: &PathBuf) -> u64 {
    std::fs::metadata(deb).expect("metadata").len()
}

fn run(command: &mut Command) -> String {
    let output = command.output();
    let output =
        output.unwrap_or_else(|error| panic!("{command:?}: {error} (install mmdebstrap, apt, dpkg)"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
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

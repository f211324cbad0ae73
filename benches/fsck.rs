//! A whole check of a store, beside what this machine can hash: bytes of objects in a second.
//!
//! `cargo bench --bench fsck`. `MKIMAGE_BENCH_TREE` names a directory whose files are stored; without it, a Debian
//! minbase tree is made once with mmdebstrap. `MKIMAGE_BENCH_ROUNDS` (5) says how often each takes its turn.
//! The limit is BLAKE3 over the same files on as many threads, from memory, each file for itself: what `b3sum`
//! does. A check hashes frames as well as files, and decompresses in between: what the decoder alone takes for the
//! same files, from memory to memory, stands beside it, and what both hashes and the decoder take together, which no
//! check can go below.

use std::cell::RefCell;
use std::io::Write;
use std::path::Path;

use mkimage::base::job::Job;
use mkimage::base::{Name, Stopwatch};
use mkimage::store::{CheckReport, Expected, RefName, RefUpdate, Store};
use mkimage::tree::{ContentSink, Directory, File, Metadata, Node};

mod commit;
mod debian;
use commit::commit_of;
use debian::tree;

/// What a store cuts files into, and how hard it compresses the pieces.
const PIECE_BYTES: usize = 1 << 20;
const STORE_LEVEL: i32 = 1;

fn main() {
    let rounds: usize =
        std::env::var("MKIMAGE_BENCH_ROUNDS").map_or(5, |text| text.parse().expect("a number"));
    let tree = tree();
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let job = Job::quiet(0);
    let files = read(&tree);
    let store = ingest(scratch.path(), &files, &job);
    let frames = compressed(&files, &job);
    let [mut whole, mut quick, mut limit, mut decoder, mut floor] = [const { Vec::<f64>::new() }; 5];
    let mut report = None;
    let mut peak = 0;
    for _ in 0..rounds {
        limit.push(seconds(|| {
            job.workers.map(files.iter().collect(), |file: &Vec<u8>| blake3::hash(file));
        }));
        decoder.push(seconds(|| decompress(&frames, |_| (), &job)));
        floor.push(seconds(|| decompress(&frames, hash, &job)));
        let store = Store::open(scratch.path()).expect("opened");
        whole.push(seconds(|| report = Some(store.check(&job).expect("checked"))));
        quick.push(seconds(|| drop(store.check_quickly(&job).expect("checked"))));
    }
    drop(store);
    let plain: u64 = files.iter().map(|file| file.len() as u64).sum();
    drop((files, frames));
    reset_peak();
    let store = Store::open(scratch.path()).expect("opened");
    let before = peak_kib();
    assert!(store.check(&job).expect("checked").is_sound());
    peak = peak.max(peak_kib().saturating_sub(before));
    let report = report.expect("a round");
    assert!(report.is_sound(), "{report:?}");
    let medians = [&mut whole, &mut quick, &mut limit, &mut decoder, &mut floor].map(|times| median(times));
    tell(&report, medians, plain, peak, &job);
    tell_sizes(&sizes(&scratch.path().join("packs")), report.objects);
}

fn tell(report: &CheckReport, medians: [f64; 5], plain: u64, peak: u64, job: &Job) {
    let [whole, quick, limit, decoder, floor] = medians;
    let rate = |bytes: u64, seconds: f64| bytes as f64 / seconds / 1e9;
    let (objects, bytes) = (report.objects, report.bytes);
    line(format!(
        "check of {objects} objects, {:.0} MB, {} workers, medians",
        bytes as f64 / 1e6,
        job.workers.count()
    ));
    let checked = rate(bytes, whole);
    line(format!(
        "  mkimage fsck          {whole:7.3} s   {checked:5.2} GB/s of object data (target >= 1.5), {peak} KiB more memory"
    ));
    line(format!("  mkimage fsck --quick  {quick:7.3} s"));
    let hashed = rate(plain, limit);
    line(format!(
        "  BLAKE3 of the files   {limit:7.3} s   {hashed:5.2} GB/s, the check has {:.2} of it",
        checked / hashed
    ));
    line(format!(
        "  the decoder alone     {decoder:7.3} s   {:5.2} GB/s, the check has {:.2} of it",
        rate(plain, decoder),
        checked / rate(plain, decoder)
    ));
    line(format!(
        "  with both hashes      {floor:7.3} s   {:5.2} GB/s, the check has {:.2} of it",
        rate(plain, floor),
        checked / rate(plain, floor)
    ));
}

fn tell_sizes([packs, indexes, trailers]: &[u64; 3], objects: u64) {
    let each = |bytes: u64| bytes as f64 / objects as f64;
    line(format!(
        "  packs {packs} bytes; indexes {indexes} ({:.1} an object); trailers {trailers} ({:.1} an object, {:.2} % of the packs)",
        each(*indexes),
        each(*trailers),
        *trailers as f64 * 100.0 / *packs as f64
    ));
}

fn line(text: String) {
    writeln!(std::io::stdout(), "{text}").expect("written");
}

/// Reads all files below a directory into memory.
fn read(tree: &Path) -> Vec<Vec<u8>> {
    let walk = walkdir::WalkDir::new(tree).sort_by_file_name().into_iter().flatten();
    let files = walk.filter(|entry| entry.file_type().is_file());
    files.map(|entry| std::fs::read(entry.path()).expect("read")).collect()
}

/// The pieces that a store cuts files into, compressed as it does it, each with its plain length.
fn compressed(files: &[Vec<u8>], job: &Job) -> Vec<(Vec<u8>, usize)> {
    let pieces: Vec<&[u8]> = files.iter().flat_map(|file| file.chunks(PIECE_BYTES)).collect();
    let compress =
        |piece: &[u8]| (zstd::bulk::compress(piece, STORE_LEVEL).expect("compressed"), piece.len());
    job.workers.map(pieces, compress)
}

/// Decompresses all pieces; `look` is given the bytes of each, as they are stored and as they are.
fn decompress(frames: &[(Vec<u8>, usize)], look: impl Fn(&[u8]) + Sync, job: &Job) {
    thread_local! {
        static DECODER: RefCell<(zstd::bulk::Decompressor<'static>, Vec<u8>)> =
            RefCell::new((zstd::bulk::Decompressor::new().expect("a decoder"), vec![0; PIECE_BYTES]));
    }
    job.workers.map(frames.iter().collect(), |(frame, length): &(Vec<u8>, usize)| {
        DECODER.with_borrow_mut(|(decoder, plain)| {
            let plain = &mut plain[..*length];
            // What does not become shorter is stored as it is.
            if frame.len() < plain.len() {
                look(frame);
            }
            assert_eq!(decoder.decompress_to_buffer(frame, plain).expect("plain bytes"), *length);
            look(plain);
        });
    });
}

fn hash(bytes: &[u8]) {
    std::hint::black_box(blake3::hash(bytes));
}

/// Stores files, a thousand in a directory, under a ref.
fn ingest(store: &Path, files: &[Vec<u8>], job: &Job) -> Store {
    let store = Store::open(store).expect("opened");
    let transaction = store.begin(job);
    let contents =
        job.workers.map(files.iter().collect(), |file: &Vec<u8>| transaction.put(file).expect("put"));
    let mut root = Directory::default();
    for (number, contents) in contents.chunks(1000).enumerate() {
        let mut folder = Directory::default();
        for (index, content) in contents.iter().enumerate() {
            let file = File { metadata: Metadata::root(0o644), content: *content };
            folder.entries.insert(name(index), Node::File(file));
        }
        root.entries.insert(name(number), Node::Directory(folder));
    }
    let tree = transaction.put_tree(job, &root.seal().expect("sealed")).expect("put");
    let commit = transaction.put_commit(&commit_of(tree)).expect("put");
    let update =
        RefUpdate { name: RefName::new("bench").expect("a name"), expected: Expected::Any, new: commit };
    transaction.commit(&[update], "bench").expect("committed");
    store
}

fn name(number: usize) -> Name {
    Name::new(format!("{number:06}").as_bytes()).expect("a name")
}

/// Bytes of packs, of indexes, and of the trailers of packs.
fn sizes(packs: &Path) -> [u64; 3] {
    let [mut pack_bytes, mut index_bytes, mut trailer_bytes] = [0; 3];
    for name in mkimage::base::fs::list(packs).expect("listed") {
        let bytes = std::fs::read(packs.join(&name)).expect("read");
        if name.to_string_lossy().ends_with(".idx") {
            index_bytes += bytes.len() as u64;
        } else {
            pack_bytes += bytes.len() as u64;
            let entries = bytes[bytes.len() - 16..].first_chunk::<8>().expect("a trailer");
            trailer_bytes += u64::from_le_bytes(*entries) + 48;
        }
    }
    [pack_bytes, index_bytes, trailer_bytes]
}

fn seconds(work: impl FnOnce()) -> f64 {
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

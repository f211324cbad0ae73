//! Verifying an image of one gibibyte, beside what this machine can hash.
//!
//! `cargo bench --bench verify`. `MKIMAGE_BENCH_ROUNDS` (5) says how often each takes its turn, `MKIMAGE_BENCH_MIB`
//! (1024) how large the files are together. The limit is what no verifier can do without: SHA-256 of every block of
//! 4 KiB behind its salt, and BLAKE3 of every mebibyte, from memory, on as many threads.

use std::collections::BTreeMap;
use std::io::Write;

use mkimage::base::job::Job;
use mkimage::base::{ImagePath, Name, Stopwatch};
use mkimage::boot::origin::Origin;
use mkimage::boot::pe::PeImage;
use mkimage::disk::FileDevice;
use mkimage::image::{BootFiles, Image};
use mkimage::store::{StoredDirectory, StoredNode, TreeRef, tree_ref};
use mkimage::tree::{Content, ContentSink, Directory, File, MemoryContents, Metadata, Node};
use sha2::Digest as _;

mod commit;
use commit::commit_of;

const FILE_MIB: usize = 16;

fn main() {
    let number = |name: &str, otherwise: usize| {
        std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let (rounds, mib) = (number("MKIMAGE_BENCH_ROUNDS", 5), number("MKIMAGE_BENCH_MIB", 1024));
    let job = Job::quiet(0);
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let path = scratch.path().join("image");
    let (bytes, mut lines) = (write(&path, mib, &job), Vec::new());
    let pieces: Vec<Vec<u8>> = (0..mib).map(|seed| noise(seed as u64, 1 << 20)).collect();
    let [mut verified, mut limit] = [const { Vec::<f64>::new() }; 2];
    let salt = sha2::Sha256::new_with_prefix([7; 32]);
    for _ in 0..rounds {
        limit.push(seconds(|| {
            job.workers.map(pieces.iter().collect(), |piece: &Vec<u8>| {
                let blocks = piece.chunks(4096).map(|block| salt.clone().chain_update(block).finalize()[0]);
                (blocks.fold(0u8, u8::wrapping_add), blake3::hash(piece))
            });
        }));
        verified.push(seconds(|| {
            let file = std::fs::File::open(&path).expect("the image");
            let report = mkimage::verify::verify(&FileDevice::new(file, bytes), &job).expect("verified");
            assert!(report.sound, "{:?}", report.findings);
        }));
    }
    let [verified, limit] = [verified, limit].map(median);
    let rate = |seconds: f64| mib as f64 / 1024.0 / seconds;
    lines.push(format!(
        "verify of an image with {mib} MiB of files, {} workers, medians",
        job.workers.count()
    ));
    lines.push(format!("  mkimage verify     {verified:7.3} s   {:5.2} GiB/s", rate(verified)));
    lines.push(format!("  SHA-256 + BLAKE3   {limit:7.3} s   {:5.2} GiB/s", rate(limit)));
    lines.push(format!("  verify has {:.2} of the limit (target >= 0.8)", limit / verified));
    let mut out = std::io::stdout().lock();
    lines.iter().for_each(|line| writeln!(out, "{line}").expect("written"));
}

/// Bytes without order, the same in every run.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// Writes an image whose root has so many mebibytes of files; returns its length.
fn write(path: &std::path::Path, mib: usize, job: &Job) -> u64 {
    let contents = MemoryContents::default();
    let mut root = Directory::default();
    for number in 0..mib.div_ceil(FILE_MIB) {
        let content = contents.put(&noise(number as u64 + 1_000_000, FILE_MIB << 20)).expect("put");
        let path = ImagePath::new(format!("/srv/{number}").as_bytes()).expect("a path");
        root.insert(&path, Node::File(File { metadata: Metadata::root(0o644), content })).expect("inserted");
    }
    let root = root.seal().expect("sealed");
    let program = program();
    let parts: [(&str, &[u8]); 6] = [
        ("kernel", &program),
        ("kernel_version", b"6.1"),
        ("initrd", b"initrd"),
        ("stub", &program),
        ("loader", &program),
        ("command_line", b""),
    ];
    let entry = |(name, bytes): (&str, &[u8])| {
        let file = File { metadata: Metadata::root(0o644), content: Content::of(bytes) };
        (Name::new(name.as_bytes()).expect("a name"), StoredNode::Leaf(Node::File(file)))
    };
    let entries: BTreeMap<_, _> = parts.into_iter().map(entry).collect();
    let boot_tree = StoredDirectory { metadata: Metadata::root(0o755), entries }.encode();
    let mut commit = commit_of(tree_ref(&root, job).expect("a tree"));
    commit.boot = Some(TreeRef::of(&boot_tree));
    commit.disk.data_size = 16 << 20;
    let origin = Origin {
        commit: *commit.id().as_bytes(),
        boot_tree,
        stub_headers: PeImage::parse(&program).expect("a PE image").headers().to_vec(),
        ..Origin::default()
    };
    let boot = BootFiles {
        kernel: program.clone(),
        kernel_version: "6.1".to_owned(),
        initrd: b"initrd".to_vec(),
        stub: program.clone(),
        loader: program,
        command_line: Vec::new(),
    };
    let image = Image::assemble(&contents, commit, root, boot, origin.encode());
    let plan = image.place(job).expect("placed");
    let file = std::fs::File::create_new(path).expect("a file");
    let bytes = plan.disk.size.0;
    file.set_len(bytes).expect("a length");
    image.write(&plan, &FileDevice::new(file, bytes), job).expect("written");
    bytes
}

/// Makes the smallest PE32+ image that has a section.
fn program() -> Vec<u8> {
    let mut image = vec![0; 0x600];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664u16.to_le_bytes());
    put(0x46, &1u16.to_le_bytes());
    put(0x54, &240u16.to_le_bytes());
    put(0x58, &0x20bu16.to_le_bytes());
    for (at, value) in [(32, 0x1000u32), (36, 0x200), (56, 0x2000), (60, 0x400), (108, 16)] {
        put(0x58 + at, &value.to_le_bytes());
    }
    put(0x58 + 240, b".text");
    for (at, value) in [(8, 0x200u32), (12, 0x1000), (16, 0x200), (20, 0x400), (36, 0x6000_0020)] {
        put(0x58 + 240 + at, &value.to_le_bytes());
    }
    image
}

fn seconds(work: impl FnOnce()) -> f64 {
    let watch = Stopwatch::start();
    work();
    watch.elapsed().as_secs_f64()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

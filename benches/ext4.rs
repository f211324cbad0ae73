//! Tree to ext4 against `mke2fs -d`, on the same files in the same page cache, in interleaved runs.
//!
//! `cargo bench --bench ext4` prints medians and ratios of wall and CPU time. Needs e2fsprogs and mmdebstrap
//! (or the variable `MKIMAGE_BENCH_MINBASE` with the path of a root filesystem as a tar), and root, so that
//! the tar unpacks as it is. `MKIMAGE_BENCH_RUNS` sets the number of runs (5).
//!
//! "packed" is what a build does: the tree and the maps of zero blocks are known, contents come from one
//! file. "stable" is the same with stable places. "scanned" starts with the directory, as mke2fs does, and reads each file twice (once for its map).
#![allow(clippy::disallowed_macros, reason = "a bench prints its results")]

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use mkimage::base::{BlobId, Bytes, Digest, Job, Name, Stopwatch};
use mkimage::disk::FileDevice;
use mkimage::disk::ext4::{self, Ext4Options, Ext4Placement};
use mkimage::tree::{
    self, Content, ContentError, ContentSource, DataMap, Directory, Metadata, Node, SealedTree,
};

struct Case {
    name: &'static str,
    target: f64,
    folder: PathBuf,
    runs: usize,
}

fn main() {
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("ext4-bench");
    let runs = std::env::var("MKIMAGE_BENCH_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let cases = [
        Case { name: "a: Debian minbase", target: 0.35, folder: minbase(&cache), runs },
        Case {
            name: "c: 100,000 files in 1,000 directories",
            target: 0.25,
            folder: many_files(&cache),
            runs,
        },
        Case {
            name: "h: 20,000 entries in one directory",
            target: 0.02,
            folder: one_directory(&cache),
            runs: 2.min(runs),
        },
    ];
    for case in &cases {
        compare(case);
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// Makes a folder once; `fill` gets it under another name until it is whole.
fn cached(cache: &Path, name: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    let whole = cache.join(name);
    if !whole.exists() {
        let partial = cache.join(format!("{name}.partial"));
        run(Command::new("rm").arg("-rf").arg(&partial));
        std::fs::create_dir_all(&partial).expect("a folder");
        fill(&partial);
        mkimage::base::fs::rename(&partial, &whole).expect("renamed");
    }
    whole
}

fn minbase(cache: &Path) -> PathBuf {
    cached(cache, "a", |folder| {
        let given = std::env::var_os("MKIMAGE_BENCH_MINBASE").map(PathBuf::from);
        let tar = given.unwrap_or_else(|| {
            let tar = cache.join("minbase.tar");
            run(Command::new("mmdebstrap").args(["--quiet", "--variant=minbase", "bookworm"]).arg(&tar));
            tar
        });
        run(Command::new("tar")
            .arg("-C")
            .arg(folder)
            .args(["--xattrs", "--numeric-owner", "-xpf"])
            .arg(&tar));
    })
}

fn many_files(cache: &Path) -> PathBuf {
    cached(cache, "c", |folder| {
        let mut bytes: Vec<u8> = (0..20_000u32).map(|n| (n % 251) as u8 + 1).collect();
        for directory in 0..1000 {
            let at = folder.join(format!("dir{directory:04}"));
            std::fs::create_dir(&at).expect("a folder");
            for file in 0..100 {
                // 8 bytes to about 10 KiB, 2.5 KiB in the middle, no two alike.
                let number: usize = directory * 100 + file;
                bytes[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
                let length = number * 7919 % 100;
                std::fs::write(at.join(format!("file{file:03}")), &bytes[..8 + length * length])
                    .expect("a file");
            }
        }
    })
}

fn one_directory(cache: &Path) -> PathBuf {
    cached(cache, "h", |folder| {
        std::fs::create_dir(folder.join("flat")).expect("a folder");
        for file in 0..20_000 {
            std::fs::write(folder.join(format!("flat/entry-number-{file:06}")), b"").expect("a file");
        }
    })
}

/// What a run took.
#[derive(Clone, Copy)]
struct Taken {
    wall: f64,
    cpu: f64,
}

/// Returns the CPU seconds of this process and of the children it waited for.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("procfs");
    let fields = text.rsplit(')').next().expect("fields behind the name");
    let ticks: f64 =
        fields.split_whitespace().skip(11).take(4).map(|tick| tick.parse::<f64>().expect("ticks")).sum();
    ticks / 100.0
}

fn measure(work: impl FnOnce()) -> Taken {
    let (cpu, wall) = (cpu_seconds(), Stopwatch::start());
    work();
    Taken { wall: wall.elapsed().as_secs_f64(), cpu: cpu_seconds() - cpu }
}

fn median(runs: &[Taken], of: impl Fn(&Taken) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn compare(case: &Case) {
    let scratch = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" });
    let scratch = scratch.expect("a scratch folder");
    let image = scratch.path().join("image");
    let packed = Packed::new(&case.folder, &scratch.path().join("pack"));
    let entries = packed.tree.walk().count();
    let size = written(&packed.tree, &packed, &image, Ext4Placement::Dense);
    let mut taken = [const { Vec::new() }; 4];
    for _ in 0..case.runs {
        taken[0].push(measure(|| mke2fs(&case.folder, &image, size, entries)));
        for (placement, taken) in
            [Ext4Placement::Dense, Ext4Placement::Stable].into_iter().zip(&mut taken[1..])
        {
            taken.push(measure(|| {
                written(&packed.tree, &packed, &image, placement);
            }));
        }
        taken[3].push(measure(|| {
            let scanned = Scanned::new(&case.folder);
            written(&scanned.tree, &scanned, &image, Ext4Placement::Dense);
        }));
    }
    let peer = [median(&taken[0], |run| run.wall), median(&taken[0], |run| run.cpu)];
    println!("{} ({entries} entries, {size} bytes, {} runs)", case.name, case.runs);
    for (name, runs) in ["mke2fs -d", "packed", "stable", "scanned"].iter().zip(&taken) {
        let own = [median(runs, |run| run.wall), median(runs, |run| run.cpu)];
        println!(
            "  {name:10} wall {:8.3} s, ratio {:.4}   cpu {:8.2} s, ratio {:.4}",
            own[0],
            own[0] / peer[0],
            own[1],
            own[1] / peer[1]
        );
    }
    let job = Job::quiet(0);
    let plan = (0..case.runs)
        .map(|_| measure(|| drop(ext4::plan(&packed.tree, &packed, &options(Ext4Placement::Dense), &job))));
    println!("  of it, plan {:.3} s", median(&plan.collect::<Vec<_>>(), |run| run.wall));
    let stable = median(&taken[2], |run| run.wall) / median(&taken[1], |run| run.wall);
    println!("  stable places take {stable:.2} of the time of dense ones");
    let ratio = median(&taken[1], |run| run.wall) / peer[0];
    println!("  target {:.2}: {}", case.target, if ratio <= case.target { "met" } else { "MISSED" });
}

fn mke2fs(folder: &Path, image: &Path, size: u64, entries: usize) {
    new_image(image, size + size / 8 + (64 << 20));
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-N"]).arg((entries + 1000).to_string());
    run(command.arg("-d").arg(folder).arg(image));
}

fn new_image(image: &Path, size: u64) -> File {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(image);
    let file = file.expect("an image");
    file.set_len(size).expect("a sparse file");
    file
}

fn options(placement: Ext4Placement) -> Ext4Options {
    Ext4Options {
        uuid: [1; 16],
        hash_seed: [2; 16],
        label: b"bench".to_vec(),
        epoch_seconds: 1_700_000_000,
        placement,
        size: None,
        journal: false,
        growable: false,
    }
}

/// Plans and writes a filesystem, and returns its size.
fn written(tree: &SealedTree, source: &dyn ContentSource, image: &Path, placement: Ext4Placement) -> u64 {
    let job = Job::quiet(0);
    let layout = ext4::plan(tree, source, &options(placement), &job).expect("planned");
    let Bytes(size) = layout.size();
    layout.write(&FileDevice::new(new_image(image, size), size), source, None, &job).expect("written");
    size
}

/// Scans a directory of the host; `content` names the bytes of each file.
fn scan(folder: &Path, content: &mut dyn FnMut(&Path, u64) -> Content) -> Directory {
    let mut root = Directory {
        metadata: metadata(&std::fs::symlink_metadata(folder).expect("a folder")),
        ..Directory::default()
    };
    for name in mkimage::base::fs::list(folder).expect("listed") {
        let path = folder.join(&name);
        let found = std::fs::symlink_metadata(&path).expect("an entry");
        let kind = found.file_type();
        let node = if kind.is_dir() {
            Node::Directory(scan(&path, content))
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path).expect("a target").as_os_str().as_bytes().into();
            Node::Symlink(tree::Symlink { metadata: metadata(&found), target })
        } else if kind.is_file() {
            Node::File(tree::File { metadata: metadata(&found), content: content(&path, found.len()) })
        } else {
            continue; // the few device nodes of a minbase make no difference
        };
        root.entries.insert(Name::new(OsStr::as_bytes(&name)).expect("a name"), node);
    }
    root
}

fn metadata(found: &std::fs::Metadata) -> Metadata {
    Metadata {
        mode: (found.mode() & 0o7777) as u16,
        uid: found.uid(),
        gid: found.gid(),
        ..Metadata::default()
    }
}

fn map_of(bytes: &[u8]) -> DataMap {
    let mut map = DataMap::default();
    map.scan(0, bytes);
    map
}

/// All contents in one file, as a store holds them, without its compression.
struct Packed {
    tree: SealedTree,
    pack: File,
    places: HashMap<BlobId, (u64, DataMap)>,
}

impl Packed {
    fn new(folder: &Path, pack: &Path) -> Self {
        let mut file = new_image(pack, 0);
        let mut places = HashMap::new();
        let mut at = 0;
        let root = scan(folder, &mut |path, _| {
            let bytes = std::fs::read(path).expect("a file");
            let content = Content::of(&bytes);
            places.entry(content.id).or_insert_with(|| {
                file.write_all(&bytes).expect("packed");
                at += bytes.len() as u64;
                (at - bytes.len() as u64, map_of(&bytes))
            });
            content
        });
        Packed { tree: root.seal().expect("sealed"), pack: file, places }
    }
}

impl ContentSource for Packed {
    fn data_map(&self, content: &Content) -> Result<DataMap, ContentError> {
        Ok(self.places[&content.id].1.clone())
    }

    fn read_at(&self, content: &Content, offset: u64, buffer: &mut [u8]) -> Result<(), ContentError> {
        self.pack.read_exact_at(buffer, self.places[&content.id].0 + offset).map_err(ContentError::Input)
    }
}

/// A directory whose files are opened when they are needed.
struct Scanned {
    tree: SealedTree,
    paths: HashMap<BlobId, PathBuf>,
}

impl Scanned {
    fn new(folder: &Path) -> Self {
        let mut paths = HashMap::new();
        let root = scan(folder, &mut |path, size| {
            let id = BlobId(Digest::of(path.as_os_str().as_bytes()));
            paths.insert(id, path.to_owned());
            Content { id, size }
        });
        Scanned { tree: root.seal().expect("sealed"), paths }
    }
}

impl ContentSource for Scanned {
    fn data_map(&self, content: &Content) -> Result<DataMap, ContentError> {
        Ok(map_of(&std::fs::read(&self.paths[&content.id]).map_err(ContentError::Input)?))
    }

    fn read_at(&self, content: &Content, offset: u64, buffer: &mut [u8]) -> Result<(), ContentError> {
        let file = File::open(&self.paths[&content.id]).map_err(ContentError::Input)?;
        file.read_exact_at(buffer, offset).map_err(ContentError::Input)
    }
}

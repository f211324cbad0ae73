//! Updating the slot of a disk image in a file, against the time that writing the changed bytes takes, and beside
//! casync with the old slot as its seed and RAUC with its block hash index, on the same pair of images.
//!
//! `cargo bench --bench update`. The pair is a Debian minbase tree (or `MKIMAGE_BENCH_TREE`) with the oldest and
//! the newest version of a package that the mirror has (`MKIMAGE_BENCH_PACKAGES`). `MKIMAGE_BENCH_ROUNDS` (5) says
//! how often each takes its turn. Needs casync, rauc, squashfs-tools and openssl.
//!
//! RAUC installs a bundle through dm-verity, a loop device and a D-Bus service, which builders lack: what it would
//! fetch is counted with the index that it makes, and `rauc write-slot` shows how it writes a slot.
//!
//! "stable" slots keep files where they were, "dense" ones don't. "known" means that the store remembers the verity
//! tree of the new slot, because its image was built or written with it before; "new" that it was not.
//!
//! What an update promises takes more than writing: what was written is read back past the cache, and both slots are read
//! past it before, the one that stays to know that it would boot, the other to know what is right in it. What each of
//! these takes alone, the slots with SHA-256 of what is no hole, on all cores, stands beside the writing, and a ratio to
//! the sum. `MKIMAGE_BENCH_STEPS=1` says how long the steps of the last round took. `MKIMAGE_BENCH_FOLDER` is where the
//! disks are made.
//!
//! "layout" says what the layouts of the filesystem come to: a dense one, as commits make it and with the identifiers
//! and the salt of the version before; stable places; and at best nothing but the blocks of changed files.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use mkimage::archive::{Limits, scan};
use mkimage::base::job::{Event, Reporter, Silent};
use mkimage::base::parallel::Workers;
use mkimage::base::{CommitId, Digest, ImagePath, Job};
use mkimage::boot::slots::Slot;
use mkimage::bundle::{self, Contents, Table};
use mkimage::disk::ext4::{self, Ext4Options};
use mkimage::disk::{AlignedBuffer, BlockDevice, FileDevice, MemoryDevice};
use mkimage::image::{Image, slot_bytes};
use mkimage::slots::{self, Disk, Staged};
use mkimage::store::{
    Commit, DiskSpec, Expected, Filesystem, Objects, RefName, RefUpdate, Store, Transaction, TreeRef,
};
use mkimage::tree::{ContentSink, Directory, Metadata, Node, SealedTree};

#[path = "commit/mod.rs"]
mod commit;
#[path = "debian/mod.rs"]
mod debian;
#[path = "versions/mod.rs"]
mod versions;

use commit::commit_of;
use debian::{run, tree};

const BLOCK: usize = 4096;

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let rounds = std::env::var("MKIMAGE_BENCH_ROUNDS").map_or(5, |text| text.parse().expect("a number"));
    let packages = std::env::var("MKIMAGE_BENCH_PACKAGES");
    let packages = packages.unwrap_or_else(|_| "tzdata libc6".to_owned());
    let tree = tree();
    for package in packages.split_whitespace() {
        let folder = std::env::var("MKIMAGE_BENCH_FOLDER");
        let folder = folder.as_deref().unwrap_or(env!("CARGO_TARGET_TMPDIR"));
        let scratch = tempfile::tempdir_in(folder).expect("a scratch folder on a disk");
        if let Some(pair) = Pair::make(scratch.path(), &tree, package) {
            pair.compare(rounds);
        }
    }
}

fn say(text: String) {
    writeln!(io::stdout().lock(), "{text}").expect("written");
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Times work, from a disk that has nothing left to write for whoever was before.
fn seconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    rustix::fs::sync();
    let watch = mkimage::base::Stopwatch::start();
    let done = work();
    (watch.elapsed().as_secs_f64(), done)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Two versions in a store, as commits with dense and with stable slots.
struct Pair {
    folder: PathBuf,
    store: PathBuf,
    commits: [CommitId; 2],
    stable: [CommitId; 2],
}

/// How a disk was before, and what the store knew.
struct Case {
    what: &'static str,
    disk: &'static str,
    is_stable: bool,
    is_known: bool,
}

/// What is updated, each in its turn.
const CASES: [Case; 6] = [
    Case {
        what: "stable, known, over the version before",
        disk: "stable-both.img",
        is_stable: true,
        is_known: true,
    },
    Case {
        what: "stable, new, over the version before",
        disk: "stable-both.img",
        is_stable: true,
        is_known: false,
    },
    Case {
        what: "dense, known, over the version before",
        disk: "dense-both.img",
        is_stable: false,
        is_known: true,
    },
    Case {
        what: "dense, new, over the version before",
        disk: "dense-both.img",
        is_stable: false,
        is_known: false,
    },
    Case {
        what: "dense, known, into an empty slot",
        disk: "dense-one.img",
        is_stable: false,
        is_known: true,
    },
    Case { what: "dense, new, into an empty slot", disk: "dense-one.img", is_stable: false, is_known: false },
];

impl Pair {
    fn make(folder: &Path, tree: &Path, package: &str) -> Option<Pair> {
        let found = versions::of(package);
        let [old, .., new] = &found[..] else {
            say(format!("{package}: the mirror has fewer than two versions, left out"));
            return None;
        };
        say(format!("{package} from {old} to {new}"));
        let store = folder.join("store");
        let commits = [old, new].map(|version| {
            let own = folder.join("tree");
            run(Command::new("cp").arg("-a").arg(tree).arg(&own));
            versions::install(folder, package, version, &own);
            let commit = ingest(&store, &own, version);
            fs::remove_dir_all(&own).expect("removed");
            commit
        });
        let stable = commits.map(|commit| with_stable_slots(&Store::open(&store).expect("opened"), commit));
        Some(Pair { folder: folder.to_owned(), store, commits, stable })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn open(&self) -> Store {
        Store::open(&self.store).expect("opened")
    }

    fn compare(&self, rounds: usize) {
        self.write_disks("dense", &self.commits);
        self.write_disks("stable", &self.stable);
        let images = [self.slot_image(0), self.slot_image(1)];
        let fetched = self.fetched();
        let mut times = [const { [const { Vec::new() }; 4] }; CASES.len()];
        let mut staged = [const { None }; CASES.len()];
        for _ in 0..rounds {
            for (at, case) in CASES.iter().enumerate() {
                let (time, (done, ranges, steps)) = self.update(case);
                let [alone, back] = self.write_ranges(case.disk, &ranges);
                let round = [time, alone, back, self.read_slots(case.disk)];
                times[at].iter_mut().zip(round).for_each(|(times, time)| times.push(time));
                staged[at] = Some((done, steps));
            }
        }
        for ((case, staged), times) in CASES.iter().zip(&staged).zip(&mut times) {
            let (staged, steps) = staged.as_ref().expect("a round");
            let written = staged.root.written_bytes + staged.root.erased_bytes + staged.esp.written_bytes;
            let [ours, alone, back, read] = times.each_mut().map(|times| median(times));
            say(format!(
                "  mkimage update, {:40} {ours:6.3} s, {:6.1} MiB written ({:6.1} right already); writing these alone \
                 {alone:6.3} s: ratio {:.2}; reading them back alone {back:6.3} s, reading and hashing what both slots held \
                 {read:6.3} s: ratio to all three {:.2}",
                case.what,
                mib(written),
                mib(staged.root.kept_bytes + staged.esp.kept_bytes),
                ours / alone,
                ours / (alone + back + read)
            ));
            if std::env::var_os("MKIMAGE_BENCH_STEPS").is_some() {
                say(format!("    {}", steps.join(", ")));
            }
        }
        say(format!("  mkimage fetches {:.2} MiB of objects", mib(fetched)));
        self.casync(&images, rounds);
        self.rauc(&images);
        self.layouts();
    }

    /// Makes `PLACES-both.img`, with the first version in both slots, and `PLACES-one.img`, with an empty second slot.
    fn write_disks(&self, places: &str, commits: &[CommitId; 2]) {
        let (store, job) = (self.open(), Job::quiet(0));
        let image = Image::of(&store, commits[0], &job).expect("an image");
        let placed = image.place(&job).expect("placed");
        let [path, both] = ["one", "both"].map(|name| self.at(&format!("{places}-{name}.img")));
        let file = File::create_new(&path).expect("created");
        file.set_len(placed.disk.size.0).expect("a length");
        image.write(&placed, &FileDevice::new(file, placed.disk.size.0), &job).expect("written");
        run(&mut copy(&path, &both));
        let disk = Disk::change(&both).expect("opened");
        // The same version once more: from a commit that differs in nothing but a note.
        let again = again(&store, commits[0]);
        let image = Image::of(&store, again, &job).expect("an image");
        let _ = slots::stage(disk.device(), None, &image, &job).expect("staged");
        slots::confirm(disk.device(), None, &job).expect("confirmed");
    }

    /// Writes what a slot holds with a version into a file of its own.
    fn slot_image(&self, version: usize) -> PathBuf {
        let (store, job) = (self.open(), Job::quiet(0));
        let image = Image::of(&store, self.commits[version], &job).expect("an image");
        let root = image.place_root(&job).expect("placed");
        let path = self.at(&format!("slot{version}.img"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("created");
        file.set_len(slot_bytes(&root)).expect("a length");
        image.write_slot(&root, &FileDevice::new(file, slot_bytes(&root)), &job).expect("written");
        path
    }

    /// Updates a fresh copy of a disk; everything from the opening of the store on. Returns what was written where, and
    /// how long the steps took.
    fn update(&self, case: &Case) -> (f64, (Staged, Vec<(u64, usize)>, Vec<String>)) {
        let path = self.at("disk.img");
        let _ = fs::remove_file(&path);
        run(&mut copy(&self.at(case.disk), &path));
        let commit = if case.is_stable { self.stable[1] } else { self.commits[1] };
        self.know(case.is_known, commit);
        let steps = Arc::new(Steps::default());
        let reporter: Arc<dyn Reporter> = match std::env::var_os("MKIMAGE_BENCH_STEPS") {
            Some(_) => steps.clone(),
            None => Arc::new(Silent),
        };
        seconds(|| {
            let job = Job::new(Workers::new(0), reporter, Arc::default());
            let store = self.open();
            let disk = Disk::change(&path).expect("opened");
            let device = Watched { inner: disk.device(), ranges: Mutex::default() };
            let image = Image::of(&store, commit, &job).expect("an image");
            let staged = slots::stage(&device, None, &image, &job).expect("staged");
            (staged, device.ranges.into_inner().expect("ranges"), steps.0.lock().expect("steps").clone())
        })
    }

    /// Has the store remember the tree of a commit, or nothing at all.
    fn know(&self, is_known: bool, commit: CommitId) {
        let _ = fs::remove_dir_all(self.store.join("memo"));
        if is_known {
            let (store, job) = (self.open(), Job::quiet(0));
            let image = Image::of(&store, commit, &job).expect("an image");
            let root = image.place_root(&job).expect("placed");
            image.slot_content(&root, &job).expect("computed");
        }
    }

    /// Reads what both slots hold past the cache, and hashes it, on all cores.
    fn read_slots(&self, disk: &str) -> f64 {
        use sha2::Digest as _;
        let path = self.at("disk.img");
        let _ = fs::remove_file(&path);
        run(&mut copy(&self.at(disk), &path));
        let job = Job::quiet(0);
        let device = mkimage::image::open(&path).expect("opened");
        let disk = mkimage::image::OpenImage::open(&device).expect("a disk");
        const PIECE: u64 = 1 << 20;
        let pieces: Vec<u64> = Slot::BOTH
            .iter()
            .flat_map(|slot| {
                let root = disk.table().named(&disk.map().slots[slot.index()].partition).expect("a slot");
                (root.offset()..root.offset() + root.size().0).step_by(PIECE as usize)
            })
            .filter(|&offset| device.next_data(offset) < offset + PIECE)
            .collect();
        let spare: Mutex<Vec<AlignedBuffer>> = Mutex::default();
        let time = seconds(|| {
            job.workers.for_waiting().map(pieces, |offset| {
                let room = spare.lock().expect("buffers").pop();
                let mut room = room.unwrap_or_else(|| AlignedBuffer::new(PIECE as usize));
                device.read_back_at(offset, &mut room).expect("read");
                for block in room.chunks(BLOCK).filter(|block| block.iter().any(|&byte| byte != 0)) {
                    std::hint::black_box(sha2::Sha256::digest(block));
                }
                spare.lock().expect("buffers").push(room);
            })
        });
        time.0
    }

    /// Writes the same bytes at the same places of a fresh copy, and flushes once; then reads them past the cache.
    fn write_ranges(&self, disk: &str, ranges: &[(u64, usize)]) -> [f64; 2] {
        let updated = File::open(self.at("disk.img")).expect("opened");
        let mut ranges = ranges.to_vec();
        ranges.sort_unstable();
        let read = |&(offset, length): &(u64, usize)| {
            let mut bytes = vec![0; length];
            updated.read_exact_at(&mut bytes, offset).expect("read");
            (offset, bytes)
        };
        let pieces: Vec<(u64, Vec<u8>)> = ranges.iter().map(read).collect();
        let path = self.at("alone.img");
        let _ = fs::remove_file(&path);
        run(&mut copy(&self.at(disk), &path));
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("opened");
        let (alone, ()) = seconds(|| {
            for (offset, bytes) in &pieces {
                file.write_all_at(bytes, *offset).expect("written");
            }
            file.sync_data().expect("synced");
        });
        let size = file.metadata().expect("read").len();
        let (device, job) = (FileDevice::new(file, size), Job::quiet(0));
        let spare: Mutex<Vec<AlignedBuffer>> = Mutex::default();
        let (back, _) = seconds(|| {
            job.workers.for_waiting().map(pieces, |(offset, bytes)| {
                let room = spare.lock().expect("buffers").pop();
                let mut room = room.unwrap_or_else(|| AlignedBuffer::new(1 << 20));
                for (piece, at) in bytes.chunks(1 << 20).zip((offset..).step_by(1 << 20)) {
                    device.read_back_at(at, &mut room[..piece.len()]).expect("read");
                    assert!(room[..piece.len()] == *piece);
                }
                spare.lock().expect("buffers").push(room);
            })
        });
        [alone, back]
    }

    /// Returns how many bytes of a bundle a device fetches that has the first version.
    fn fetched(&self) -> u64 {
        let (store, job) = (self.open(), Job::quiet(0));
        let device = Store::open(self.at("device")).expect("opened");
        let scratch = tempfile::tempfile().expect("a file");
        let first = Contents::gather(&store, &self.commits[..1], &[], &job).expect("gathered");
        let mut whole = bundle::write(&store, &first, scratch, &job).expect("written");
        take(&device, &mut whole, &job);
        let second =
            Contents::gather(&store, &self.commits[1..], &self.commits[..1], &job).expect("gathered");
        let mut delta =
            bundle::write(&store, &second, tempfile::tempfile().expect("a file"), &job).expect("written");
        take(&device, &mut delta, &job)
    }

    /// Extracts the second slot with the first as seed: casync writes it whole.
    fn casync(&self, images: &[PathBuf; 2], rounds: usize) {
        let mut times = Vec::new();
        let castr = [self.at("castr0"), self.at("castr1")];
        for (image, store) in images.iter().zip(&castr) {
            let mut command = Command::new("casync");
            run(command.args(["make", "--store"]).arg(store).arg(image.with_extension("caibx")).arg(image));
        }
        let chunks = |store: &Path| {
            let files = walkdir::WalkDir::new(store)
                .into_iter()
                .flatten()
                .filter(|entry| entry.file_type().is_file());
            let size = |entry: walkdir::DirEntry| {
                (entry.file_name().to_owned(), entry.metadata().expect("read").len())
            };
            files.map(size).collect::<std::collections::HashMap<_, _>>()
        };
        let (old, new) = (chunks(&castr[0]), chunks(&castr[1]));
        let fetched: u64 =
            new.iter().filter(|(name, _)| !old.contains_key(*name)).map(|(_, size)| size).sum();
        let out = self.at("casync.img");
        for _ in 0..rounds {
            let _ = fs::remove_file(&out);
            let (time, ()) = seconds(|| {
                let mut command = Command::new("casync");
                command.args(["extract", "--store"]).arg(&castr[1]).arg("--seed").arg(&images[0]);
                run(command.arg(images[1].with_extension("caibx")).arg(&out));
                File::open(&out).expect("opened").sync_all().expect("synced");
            });
            times.push(time);
        }
        let written = fs::metadata(&out).expect("read").blocks() * 512;
        say(format!(
            "  casync extract --seed                        {:7.3} s, {:6.1} MiB written, fetches {:.2} MiB",
            median(&mut times),
            mib(written),
            mib(fetched)
        ));
    }

    /// Makes bundles with a block hash index, and counts what the index finds missing.
    fn rauc(&self, images: &[PathBuf; 2]) {
        let [key, certificate] = [self.at("key.pem"), self.at("certificate.pem")];
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bench", "-keyout"]);
        run(command.arg(&key).arg("-out").arg(&certificate));
        let indexes: Vec<Vec<u8>> =
            (0..2).map(|version| self.index(version, images, &key, &certificate)).collect();
        let known: HashSet<&[u8]> = indexes[0].chunks(32).collect();
        let image = fs::read(&images[1]).expect("read");
        let missing: Vec<&[u8]> = indexes[1]
            .chunks(32)
            .zip(image.chunks(BLOCK))
            .filter(|(digest, _)| !known.contains(digest))
            .map(|(_, block)| block)
            .collect();
        let packed = zstd::bulk::compress(&missing.concat(), 3).expect("packed").len();
        let time = self.rauc_write(&images[1], &certificate);
        say(format!(
            "  RAUC, block-hash-index: fetches {:.2} MiB ({:.2} as zstd would pack it) and the index of {:.2} MiB; \
             `rauc write-slot` writes all {:.1} MiB in {time:.3} s",
            mib((missing.len() * BLOCK) as u64),
            mib(packed as u64),
            mib(indexes[1].len() as u64),
            mib(image.len() as u64)
        ));
        let mapper = Path::new("/dev/mapper/control").exists();
        say(format!(
            "    (its installer needs dm-verity, which is {} here)",
            if mapper { "there" } else { "not" }
        ));
    }

    fn index(&self, version: usize, images: &[PathBuf; 2], key: &Path, certificate: &Path) -> Vec<u8> {
        let content = self.at(&format!("rauc{version}"));
        fs::create_dir(&content).expect("created");
        fs::copy(&images[version], content.join("root.img")).expect("copied");
        let manifest = "[update]\ncompatible=bench\nversion=1\n[bundle]\nformat=verity\n[image.rootfs]\n\
                        filename=root.img\nadaptive=block-hash-index\n";
        fs::write(content.join("manifest.raucm"), manifest).expect("written");
        let bundle = content.with_extension("raucb");
        let mut command = Command::new("rauc");
        command.arg("--cert").arg(certificate).arg("--key").arg(key).arg("bundle").arg(&content);
        run(command.arg(&bundle));
        let unpacked = content.with_extension("unpacked");
        let mut command = Command::new("unsquashfs");
        run(command.args(["-q", "-n", "-d"]).arg(&unpacked).arg(&bundle));
        fs::read(unpacked.join("root.img.block-hash-index")).expect("an index")
    }

    fn rauc_write(&self, image: &Path, certificate: &Path) -> f64 {
        let slot = self.at("rauc-slot");
        let length = fs::metadata(image).expect("read").len();
        File::create(&slot).expect("created").set_len(length).expect("a length");
        let configuration = self.at("system.conf");
        let text = format!(
            "[system]\ncompatible=bench\nbootloader=noop\n[keyring]\npath={}\n[slot.rootfs.0]\ndevice={}\nbootname=A\n",
            certificate.display(),
            slot.display()
        );
        fs::write(&configuration, text).expect("written");
        let (time, ()) = seconds(|| {
            let mut command = Command::new("rauc");
            run(command.arg("-c").arg(&configuration).args(["write-slot", "rootfs.0"]).arg(image));
            File::open(&slot).expect("opened").sync_all().expect("synced");
        });
        time
    }

    /// Says what a version more costs with today's layout, with stable identifiers, and at best.
    fn layouts(&self) {
        let (store, job) = (self.open(), Job::quiet(0));
        let images = self.commits.map(|commit| Image::of(&store, commit, &job).expect("an image"));
        let today: Vec<Vec<u8>> =
            (0..2).map(|version| fs::read(self.at(&format!("slot{version}.img"))).expect("read")).collect();
        let named: Vec<Vec<u8>> = images.iter().map(|image| with_seed(image, &store, &job)).collect();
        let stable = self.stable.map(|commit| slot_of(&store, commit, &job));
        let changed = changed_files(&images);
        let blocks: u64 = changed.iter().map(|(_, size)| size.div_ceil(BLOCK as u64)).sum();
        say(format!(
            "  layout: of {:.1} MiB an update writes {:.1} densely, {:.1} with the same names; of {:.1} MiB {:.1} with \
             stable places; {} changed files take {:.1}",
            mib(today[1].len() as u64),
            mib(differing(&today[0], &today[1])),
            mib(differing(&named[0], &named[1])),
            mib(stable[1].len() as u64),
            mib(differing(&stable[0], &stable[1])),
            changed.len(),
            mib(blocks * BLOCK as u64)
        ));
    }
}

/// Returns how many bytes of whole blocks differ.
fn differing(old: &[u8], new: &[u8]) -> u64 {
    let old = old.chunks(BLOCK).map(Some).chain(std::iter::repeat(None));
    let differs = new
        .chunks(BLOCK)
        .zip(old)
        .filter(|(new, old)| Some(*new) != *old && (old.is_some() || new.iter().any(|&byte| byte != 0)));
    differs.count() as u64 * BLOCK as u64
}

/// Writes the root of an image with identifiers that don't change from version to version.
fn with_seed(image: &Image<'_>, store: &Store, job: &Job) -> Vec<u8> {
    let seed = Digest::of(b"one name for all versions");
    let options = Ext4Options {
        uuid: seed.uuid("slot filesystem"),
        hash_seed: seed.uuid("slot directory hash"),
        label: b"root".to_vec(),
        epoch_seconds: 0,
        placement: ext4::Ext4Placement::Dense,
        size: None,
        journal: false,
        growable: false,
    };
    let layout = ext4::plan(image.root(), store, &options, job).expect("placed");
    let device = MemoryDevice::new(slot_bytes(&layout));
    let builder = mkimage::disk::verity::VerityBuilder::new(layout.blocks().0, &[7; 32]);
    layout.write(&device, store, Some(&builder), job).expect("written");
    builder.finish(job).expect("hashed").write(&device, layout.size().0).expect("written");
    device.into_bytes()
}

/// Puts the same commit with stable places in its slots.
fn with_stable_slots(store: &Store, commit: CommitId) -> CommitId {
    let commit = store.read_commit(&commit).expect("read");
    let disk = DiskSpec { filesystem: Filesystem::Ext4Stable, ..commit.disk };
    publish(store.begin(&Job::quiet(0)), &Commit { disk, ..commit })
}

/// Writes the slot that a commit makes.
fn slot_of(store: &Store, commit: CommitId, job: &Job) -> Vec<u8> {
    let image = Image::of(store, commit, job).expect("an image");
    let root = image.place_root(job).expect("placed");
    let device = MemoryDevice::new(slot_bytes(&root));
    image.write_slot(&root, &device, job).expect("written");
    device.into_bytes()
}

/// Returns the files of the second tree that the first has not, or has with other bytes.
fn changed_files(images: &[Image<'_>; 2]) -> Vec<(ImagePath, u64)> {
    let files = |image: &Image<'_>| {
        let walk = image.root().paths().filter_map(|(path, node)| match node {
            Node::File(file) => Some((path, file.content)),
            _ => None,
        });
        walk.collect::<std::collections::BTreeMap<_, _>>()
    };
    let (old, new) = (files(&images[0]), files(&images[1]));
    let changed = new.into_iter().filter(|(path, content)| old.get(path) != Some(content));
    changed.map(|(path, content)| (path, content.size)).collect()
}

/// Prepares a copy that keeps holes, and forgets what it read.
fn copy(from: &Path, to: &Path) -> Command {
    let mut command = Command::new("cp");
    command.arg("--sparse=always").arg(from).arg(to);
    command
}

/// Puts a tree and a commit around it whose kernel is as large as Debian's, and the same in every version.
fn ingest(store: &Path, tree: &Path, version: &str) -> CommitId {
    let job = Job::quiet(0);
    let store = Store::open(store).expect("opened");
    let transaction = store.begin(&job);
    let (root, _) = scan(tree, &Limits::default(), &transaction, &job).expect("read");
    let tree = transaction.put_tree(&job, &root.seal().expect("sealed")).expect("put");
    let boot = transaction.put_tree(&job, &boot_files(&transaction)).expect("put");
    let commit = commit_with(commit_of(tree), boot, version);
    publish(transaction, &commit)
}

fn commit_with(commit: Commit, boot: TreeRef, version: &str) -> Commit {
    let disk = DiskSpec { data_size: 16 << 20, ..commit.disk };
    Commit { boot: Some(boot), disk, epoch: 315_532_800, version: Some(version.to_owned()), ..commit }
}

fn publish(transaction: Transaction<'_>, commit: &Commit) -> CommitId {
    let id = transaction.put_commit(commit).expect("put");
    let name = RefName::new("bench").expect("a name");
    let update = RefUpdate { name, expected: Expected::Any, new: id };
    transaction.commit(&[update], "bench").expect("committed");
    id
}

/// Puts a commit that makes the same slot and is another one.
fn again(store: &Store, commit: CommitId) -> CommitId {
    let mut commit = store.read_commit(&commit).expect("read");
    commit.annotations.insert("again".to_owned(), "yes".to_owned());
    publish(store.begin(&Job::quiet(0)), &commit)
}

fn boot_files(transaction: &Transaction<'_>) -> SealedTree {
    let noise = |seed: u8, length: usize| {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes
    };
    let files: [(&str, Vec<u8>); 6] = [
        ("/kernel", program(&noise(1, 14 << 20))),
        ("/kernel_version", b"6.1.0-bench".to_vec()),
        ("/initrd", noise(2, 600 << 10)),
        ("/stub", program(&noise(3, 60 << 10))),
        ("/loader", program(&noise(4, 90 << 10))),
        ("/command_line", Vec::new()),
    ];
    let mut boot = Directory::default();
    for (at, bytes) in files {
        let content = transaction.put(&bytes).expect("put");
        let node = Node::File(mkimage::tree::File { metadata: Metadata::root(0o644), content });
        boot.insert(&ImagePath::new(at.as_bytes()).expect("a path"), node).expect("inserted");
    }
    boot.seal().expect("sealed")
}

/// Makes a UEFI program of one section, which every reader can read and no machine could run.
fn program(contents: &[u8]) -> Vec<u8> {
    let raw = contents.len().next_multiple_of(512);
    let mut image = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    let words: [(usize, u32); 9] = [
        (0x3c, 0x40),
        (0x44, 0x0001_8664),
        (0x54, 240),
        (0x58 + 32, 4096),
        (0x58 + 36, 512),
        (0x58 + 56, 4096 + raw.next_multiple_of(4096) as u32),
        (0x58 + 60, 0x400),
        (0x58 + 108, 16),
        (0x148 + 20, 0x400),
    ];
    words.iter().for_each(|(at, word)| put(*at, &word.to_le_bytes()));
    put(0, b"MZ");
    put(0x40, b"PE\0\0");
    put(0x58, &0x20bu16.to_le_bytes());
    put(0x148, b".text");
    put(0x148 + 8, &(contents.len() as u32).to_le_bytes());
    put(0x148 + 12, &4096u32.to_le_bytes());
    put(0x148 + 16, &(raw as u32).to_le_bytes());
    image.extend_from_slice(contents);
    image.resize(0x400 + raw, 0);
    image
}

/// Takes a bundle into a store, and returns how many bytes of it were needed.
fn take(store: &Store, written: &mut bundle::Bundle, job: &Job) -> u64 {
    let (id, table_bytes) = (written.id(), written.table_bytes());
    let mut bytes = Vec::new();
    written.read_to_end(&mut bytes).expect("read");
    let table = Table::parse(&bytes[..table_bytes as usize], &id).expect("parsed");
    let transaction = store.begin(job);
    let plan = table.plan(&transaction, None, job).expect("planned");
    let ranges = plan.ranges().to_vec();
    let receiver = bundle::Receiver::new(&table, plan, &transaction, job);
    for (frame, range) in ranges.iter().enumerate() {
        receiver.take(frame, &bytes[range.start as usize..range.end as usize]).expect("taken");
    }
    let commit = receiver.finish().expect("finished").commits[0];
    let name = RefName::new("bench").expect("a name");
    transaction
        .commit(&[RefUpdate { name, expected: Expected::Any, new: commit }], "pull")
        .expect("committed");
    table_bytes + ranges.iter().map(|range| range.end - range.start).sum::<u64>()
}

/// Notes how long steps took.
#[derive(Default)]
struct Steps(Mutex<Vec<String>>);

impl Reporter for Steps {
    fn report(&self, event: Event) {
        if let Event::Finished { step, milliseconds, .. } = event {
            self.0.lock().expect("steps").push(format!("{step} {milliseconds} ms"));
        }
    }
}

/// Notes where is written.
struct Watched<'a> {
    inner: &'a FileDevice,
    ranges: Mutex<Vec<(u64, usize)>>,
}

impl BlockDevice for Watched<'_> {
    fn size(&self) -> u64 {
        self.inner.size()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.ranges.lock().expect("ranges").push((offset, bytes.len()));
        self.inner.write_at(offset, bytes)
    }
    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }
    fn read_back_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_back_at(offset, buffer)
    }
    fn erase_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.ranges.lock().expect("ranges").push((offset, length as usize));
        self.inner.erase_at(offset, length)
    }
    fn next_data(&self, offset: u64) -> u64 {
        self.inner.next_data(offset)
    }
    fn begin_flush(&self, offset: u64, length: u64) {
        self.inner.begin_flush(offset, length);
    }
}

//! Images against themselves: sound ones, ones with flipped bits, cut ones, crafted ones; rebuilt from what they say
//! of themselves; read in a child that can do nothing else.

mod confined;
mod crafted;
mod mutated;
mod named;
mod rebuilt;
mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use mkimage::base::Job;
use mkimage::disk::BlockDevice;
use mkimage::verify::{Report, verify};

use crate::adversary::uefi_program;
use crate::tool::{mkimage, succeed};

/// A folder with a recipe whose kernel, loader and PID 1 are none, but look it.
struct Site {
    folder: tempfile::TempDir,
}

const RECIPE: &str = r#"
variable "greeting" {
  default = "hello \"you\""
}

image "disk" {
  version = "1"
}

app "app" {
  source      = "app"
  ports       = [80]
  environment = { GREETING = var.greeting }
}

file "/etc/motd" {
  content = "welcome\n"
}

tree "data" {
  source = "data"
  path   = "/srv"
}

symlink "/etc/localtime" {
  target = "/usr/share/zoneinfo/UTC"
}

kernel "file" {
  image = "kernel"
}

boot {
  loader_file = "loader"
  stub_file   = "stub"
}

disk {
  data_size = "8MiB"
}
"#;

impl Site {
    fn new() -> Site {
        let site = Site { folder: tempfile::tempdir().expect("a folder") };
        for name in ["kernel", "loader", "stub"] {
            site.write(name, &uefi_program());
        }
        site.write("init", b"\x7fELF but no more");
        site.write("app", b"#!/bin/sh\necho hello\n");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(site.path("app"), mode).expect("a mode");
        std::fs::create_dir_all(site.path("data/many")).expect("a folder");
        // Two mebibytes and a bit, with a hole; and a directory that needs an index.
        let mut large: Vec<u8> = (0..(2 << 20) + 777u32).map(|at| ((at * 31) >> 4) as u8 | 1).collect();
        large[65_536..196_608].fill(0);
        site.write("data/large", &large);
        for number in 0..120 {
            let text = format!("file number {number}");
            site.write(&format!("data/many/a-name-that-is-not-short-{number}"), text.as_bytes());
        }
        site.write("disk.hcl", RECIPE.as_bytes());
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    /// Prepares a call of mkimage in the folder, with its store and PID 1.
    fn mkimage(&self, arguments: &[&str]) -> Command {
        let mut command = mkimage(arguments);
        command.env("MKIMAGE_STORE", self.path("store")).env("MKIMAGE_INIT", self.path("init"));
        command.env_remove("MKIMAGE_MIRROR").current_dir(self.folder.path());
        command
    }

    fn build(&self, output: &str) -> PathBuf {
        succeed(&mut self.mkimage(&["build", "disk.hcl", "-o", output]));
        self.path(output)
    }
}

/// The image of the small recipe, made once a test run.
fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| Image::read(&Site::new().build("disk.img")))
}

/// The same with our own loader, whose slot table lies elsewhere.
fn image_of_own_loader() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let site = Site::new();
        let recipe = RECIPE.replace("loader_file = \"loader\"", "loader = \"mkimage\"");
        site.write("disk.hcl", recipe.as_bytes());
        Image::read(&site.build("disk.img"))
    })
}

/// An image in memory, by its pages that are not zero.
struct Image {
    size: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

const PAGE: u64 = 4096;

impl Image {
    fn read(path: &Path) -> Image {
        let bytes = std::fs::read(path).expect("an image");
        let pages = bytes.chunks(PAGE as usize).zip(0..);
        let pages = pages.filter(|(page, _)| page.iter().any(|&byte| byte != 0));
        Image { size: bytes.len() as u64, pages: pages.map(|(page, at)| (at, page.into())).collect() }
    }

    /// Returns offsets of bytes that are not zero, spread over all pages.
    fn used(&self) -> Vec<u64> {
        let of = |(page, bytes): (&u64, &[u8])| {
            let used: Vec<u64> =
                (0..).zip(bytes.iter()).filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
            let step = used.len().div_ceil(64).max(1);
            used.into_iter().step_by(step).map(move |at| page * PAGE + at).collect::<Vec<_>>()
        };
        self.pages.iter().map(|(page, bytes)| (page, &**bytes)).flat_map(of).collect()
    }

    fn whole(&'static self) -> Changed {
        Changed { image: self, bytes: BTreeMap::new(), size: self.size }
    }
}

/// An image with some bytes changed, or its end cut off.
#[derive(Clone)]
struct Changed {
    image: &'static Image,
    bytes: BTreeMap<u64, u8>,
    size: u64,
}

impl Changed {
    fn byte(&self, at: u64) -> u8 {
        let own = || self.image.pages.get(&(at / PAGE)).map_or(0, |page| page[(at % PAGE) as usize]);
        self.bytes.get(&at).copied().unwrap_or_else(own)
    }

    fn flip(mut self, bit: u64) -> Self {
        let at = bit / 8;
        let byte = self.byte(at) ^ 1 << (bit % 8);
        self.bytes.insert(at, byte);
        self
    }

    fn put(mut self, at: u64, bytes: &[u8]) -> Self {
        self.bytes.extend((at..).zip(bytes.iter().copied()));
        self
    }

    fn cut(mut self, size: u64) -> Self {
        self.size = size;
        self
    }

    fn get(&self, at: u64, count: usize) -> Vec<u8> {
        (at..).take(count).map(|at| self.byte(at)).collect()
    }

    /// Tells whether nothing was changed after all.
    fn is_whole(&self) -> bool {
        let own = |at: u64| self.image.pages.get(&(at / PAGE)).map_or(0, |page| page[(at % PAGE) as usize]);
        self.size == self.image.size && self.bytes.iter().all(|(at, byte)| own(*at) == *byte)
    }

    /// Writes the image to a file, zeros as holes.
    fn write(&self, path: &Path) {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::create(path).expect("a file");
        file.set_len(self.size).expect("a length");
        let pages: BTreeSet<u64> =
            self.image.pages.keys().copied().chain(self.bytes.keys().map(|at| at / PAGE)).collect();
        for page in pages.into_iter().filter(|page| page * PAGE < self.size) {
            let count = PAGE.min(self.size - page * PAGE) as usize;
            file.write_all_at(&self.get(page * PAGE, count), page * PAGE).expect("written");
        }
    }

    fn verify(&self) -> Result<Report, mkimage::verify::VerifyError> {
        verify(self, &Job::quiet(1))
    }

    /// Tells whether verifying says that something is wrong, in whatever words.
    fn is_refused(&self) -> bool {
        self.verify().is_ok_and(|report| !report.sound) || self.verify().is_err()
    }
}

impl BlockDevice for Changed {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.size);
        let end = end.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        buffer.fill(0);
        for (page, bytes) in self.image.pages.range(offset / PAGE..end.div_ceil(PAGE)) {
            let start = page * PAGE;
            let (from, to) = (start.max(offset), (start + bytes.len() as u64).min(end));
            if from < to {
                buffer[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
            }
        }
        for (at, byte) in self.bytes.range(offset..end) {
            buffer[(at - offset) as usize] = *byte;
        }
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem))
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn next_data(&self, offset: u64) -> u64 {
        let page = self.image.pages.range(offset / PAGE..).next().map(|(page, _)| (page * PAGE).max(offset));
        let byte = self.bytes.range(offset..).next().map(|(at, _)| *at);
        [page, byte].into_iter().flatten().min().unwrap_or(self.size).max(offset)
    }
}

/// Numbers without an order that a reader could see, the same ones every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

#[test]
fn a_fresh_image_is_sound_and_covered_to_the_last_byte() {
    let report = image().whole().verify().expect("verified");
    assert!(report.sound && report.fresh, "{:?}", report.findings);
    assert_eq!(report.uncovered, [], "everything follows from the commit");
    let mut ranges = report.covered.clone();
    ranges.sort_by_key(|range| range.offset);
    let mut at = 0;
    for range in &ranges {
        assert_eq!(range.offset, at, "a gap or an overlap");
        at += range.bytes;
    }
    assert_eq!(at, image().size);
    assert_eq!(report.slots[0].files, 129);
}

#[test]
fn memory_and_file_and_all_numbers_of_workers_tell_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("disk.img");
    image().whole().write(&path);
    let said = succeed(&mut mkimage(["verify".as_ref(), "--json".as_ref(), path.as_os_str()]));
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    for workers in [1, 3] {
        let report = verify(&image().whole(), &Job::quiet(workers)).expect("verified");
        assert_eq!(serde_json::to_value(&report).expect("JSON"), said);
    }
}

#[test]
fn each_of_a_thousand_flipped_bits_is_caught() {
    flip(image(), 1000);
}

#[test]
fn the_slot_records_of_our_loader_are_covered_and_named() {
    let whole = image_of_own_loader();
    let report = whole.whole().verify().expect("verified");
    assert!(report.sound && report.fresh && report.uncovered.is_empty(), "{:?}", report.findings);
    flip(whole, 200);
    let esp =
        mkimage::disk::gpt::read(&whole.whole()).expect("a table").named("esp").expect("an ESP").offset();
    for (sector, expected) in [(16, "slot record"), (24, "slot record"), (8, "seal of a UKI")] {
        let report = whole.whole().flip((esp + sector * 512 + 20) * 8).verify().expect("verified");
        let said: Vec<&str> = report.findings.iter().map(|finding| finding.structure.as_str()).collect();
        assert!(said.iter().any(|structure| structure.contains(expected)), "{expected}: {said:?}");
    }
}

/// Flips bits, two thirds where something stands, one third anywhere: zeros are covered, too.
fn flip(whole: &'static Image, count: u64) {
    let used = whole.used();
    let job = Job::quiet(0);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let bits: Vec<u64> = (0..count)
        .map(|number| match number % 3 {
            0 => random.below(whole.size * 8),
            _ => used[random.below(used.len() as u64) as usize] * 8 + random.below(8),
        })
        .collect();
    let missed = job.workers.map(bits, |bit| {
        let changed = whole.whole().flip(bit);
        (!changed.is_refused()).then_some(bit)
    });
    let missed: Vec<u64> = missed.into_iter().flatten().collect();
    assert!(missed.is_empty(), "bits that nobody missed: {missed:?}");
}

#[test]
fn an_image_that_is_cut_anywhere_is_not_sound() {
    let whole = image();
    let mut random = Random(77);
    let mut sizes: Vec<u64> = (0..120).map(|_| random.below(whole.size)).collect();
    sizes.extend([0, 1, 511, 512, 513, 1023, 1024, 2047, 4096, 17_408, 34_816, 1 << 20]);
    sizes.extend([1, 512, 513, 33 * 512, 34 * 512].map(|short| whole.size - short));
    for size in sizes {
        assert!(whole.whole().cut(size).is_refused(), "cut at {size}");
    }
}

#[test]
fn what_was_booted_or_grew_is_said_to_be_uncovered_and_the_rest_is_still_checked() {
    let whole = image();
    let report = whole.whole().verify().expect("verified");
    let data = report.covered.iter().find(|range| range.what.contains("data partition")).expect("covered");
    // What a mount leaves: the time and the number of mounts, with the checksum set right.
    let superblock = data.offset + 1024;
    let mut bytes = whole.whole().get(superblock, 1024);
    bytes[0x2c..0x30].copy_from_slice(&1_700_000_000u32.to_le_bytes());
    bytes[0x34] = 1;
    let sum = !crc32c_of(&bytes[..0x3fc]);
    bytes[0x3fc..].copy_from_slice(&sum.to_le_bytes());
    let used = whole.whole().put(superblock, &bytes);
    let report = used.verify().expect("verified");
    assert!(report.sound, "{:?}", report.findings);
    let uncovered = &report.uncovered[0];
    assert_eq!((uncovered.offset, report.uncovered.len()), (data.offset, 1));
    assert!(uncovered.what.contains("written since"), "{}", uncovered.what);
    assert!(used.clone().flip((data.offset + (1 << 20)) * 8).verify().expect("verified").sound);
    let slot = report.covered.iter().find(|range| range.what.starts_with("slot: files")).expect("covered");
    assert!(used.flip((slot.offset + 5000) * 8).is_refused());
}

/// CRC-32C without the final inversion, bit by bit: nobody else's code.
fn crc32c_of(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, step)
}

#[test]
fn what_is_no_image_is_an_error_with_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in [("empty", &b""[..]), ("text", b"hello\n"), ("zeros", &[0; 100_000])] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        let said = crate::tool::fail_with(6, &mut mkimage(["verify".as_ref(), path.as_os_str()]));
        assert!(said.contains(name) && said.contains("neither a disk"), "{said}");
    }
    let missing = folder.path().join("missing");
    crate::tool::fail_with(5, &mut mkimage(["verify".as_ref(), missing.as_os_str()]));
    let said = crate::tool::run(&mut mkimage(["verify", "/dev/null"]));
    assert_eq!(said.status.code(), Some(6), "what is no image is refused unopened, as by every verb");
}

#[test]
fn two_slots_of_different_content_are_both_checked() {
    let site = Site::new();
    let path = site.build("disk.img");
    crate::trial::install_second_slot(&path, 3);
    let said = succeed(&mut mkimage(["verify".as_ref(), "--json".as_ref(), path.as_os_str()]));
    let report: Report = serde_json::from_str(&said).expect("JSON");
    assert!(report.sound && !report.fresh);
    assert_eq!(report.slots[1].commit, report.slots[0].commit);
    assert!(report.uncovered.iter().any(|range| range.what.contains("after an update")));
    let slot =
        report.covered.iter().filter(|range| range.what.starts_with("slot: files")).nth(1).expect("slot b");
    let changed = Image::read(&path);
    let changed = Box::leak(Box::new(changed)).whole().flip((slot.offset + 4096) * 8);
    let report = changed.verify().expect("verified");
    assert!(report.findings.iter().any(|finding| finding.structure == "verity"), "{:?}", report.findings);
}

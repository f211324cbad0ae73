//! Archives and compressed streams.

use std::io::Read;

use mkimage::archive::{Ar, Limits, Options, allow_all, decompress, is_archive, read_archive};
use mkimage::base::ImagePath;
use mkimage::tree::{ContentSource, MemoryContents, Node};

use super::build::{self, entry, record};
use super::{JOB, take};

pub const WORDS: &[&str] = &[
    "path=",
    "linkpath=",
    "size=",
    "SCHILY.xattr.user.",
    "LIBARCHIVE.xattr.user.",
    "ustar\0",
    "ustar  \0",
    "../",
    "./",
    "//",
    "data.tar",
    "control.tar",
    "debian-binary",
    "`\n",
    "!<arch>\n",
    "\u{1f}\u{8b}",
];

/// What a small image may cost.
fn limits() -> Limits {
    Limits {
        entries: 2000,
        bytes: 4 << 20,
        extended_header_bytes: 64 << 10,
        metadata_bytes: 1 << 20,
        zstd_window_log: 20,
        xz_dictionary_bytes: 1 << 20,
        ..Limits::default()
    }
}

/// Reads an archive in two ways. What is read can be sealed, its contents are there, and how it was read
/// makes no difference.
pub fn tar(bytes: &[u8]) {
    let bytes = &summed(bytes)[..];
    let _ = is_archive(bytes, &limits());
    let read = |parallel: bool, strip_components: u32| {
        let contents = MemoryContents::default();
        let prefix = ImagePath::new(if strip_components == 0 { b"/" } else { b"/opt/app" }).expect("a path");
        let owner = (strip_components > 0).then_some((1, 2));
        let limits = limits();
        let options = Options {
            prefix,
            strip_components,
            owner,
            policy: &allow_all,
            parallel,
            limits,
            ..Options::default()
        };
        read_archive(bytes, &options, &contents, &JOB).map(|tree| (tree, contents)).ok()
    };
    let _ = read_archive(
        bytes,
        &Options { limits: limits(), ..Options::default() },
        &MemoryContents::default(),
        &JOB,
    );
    for strip in [0, 1] {
        let (Some((tree, contents)), Some((alone, _))) = (read(true, strip), read(false, strip)) else {
            continue;
        };
        assert_eq!(tree, alone, "batches make no difference");
        for (path, node) in tree.paths() {
            if let Node::File(file) = node {
                let bytes =
                    contents.read_all(&file.content).unwrap_or_else(|error| panic!("{path}: {error}"));
                assert_eq!(bytes.len() as u64, file.content.size, "{path}");
            }
        }
        tree.seal().expect("what was read can be sealed");
    }
}

/// Corrects the checksums of blocks that look like headers.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            build::sum(block);
        }
    }
    bytes
}

fn example() -> Vec<u8> {
    let records =
        [record("path", "long/\u{e9}"), record("SCHILY.xattr.user.a%3D", "v"), record("mtime", "1.5")]
            .concat();
    build::tar(&[
        entry("./", b'5', "", b""),
        entry("./a/", b'5', "", b""),
        entry("./a/file", b'0', "", b"content"),
        entry("./a/link", b'2', "file", b""),
        entry("./a/hard", b'1', "./a/file", b""),
        entry("./a/null", b'3', "", b""),
        entry("./a/fifo", b'6', "", b""),
        entry("pax", b'x', "", records.as_bytes()),
        entry("./short", b'0', "", b"x"),
        entry("././@LongLink", b'L', "", b"./a/a-longer-name\0"),
        entry("./a/a-long", b'0', "", &[7; 600]),
        entry("././@LongLink", b'K', "", b"a-longer-name\0"),
        entry("./a/to", b'2', "a-long", b""),
    ])
}

pub fn tar_seeds() -> Vec<Vec<u8>> {
    let tar = example();
    vec![build::gzip(&tar), build::xz(&tar), build::zstd(&tar), build::tar(&[]), tar]
}

/// Unpacks up to a mebibyte.
pub fn decompressed(bytes: &[u8]) {
    let mut first = Vec::new();
    let mut second = Vec::new();
    let Ok((compression, reader)) = decompress(bytes, &limits()) else { return };
    let whole = reader.take(1 << 20).read_to_end(&mut first);
    let (again, reader) = decompress(Slow(bytes), &limits()).expect("as before");
    let bytewise = reader.take(1 << 20).read_to_end(&mut second);
    assert_eq!(compression, again);
    // How much of a damaged stream comes before its error is nobody's promise.
    if whole.is_err() {
        first.truncate(0);
        second.truncate(0);
    }
    assert_eq!(
        (whole.is_ok(), &first),
        (bytewise.is_ok(), &second),
        "{compression:?}, whatever comes at a time"
    );
}

/// Gives seven bytes at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(7);
        self.0.read(&mut buffer[..length])
    }
}

pub fn packed_seeds() -> Vec<Vec<u8>> {
    let plain: Vec<u8> = (0..3000u32).map(|n| (n % 251) as u8).collect();
    let [gzip, xz, zstd] = [build::gzip(&plain), build::xz(&plain), build::zstd(&plain)];
    let twice = [gzip.clone(), gzip.clone(), xz.clone()].concat();
    let skipped = [b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec(), zstd.clone()].concat();
    vec![gzip, xz, zstd, twice, skipped, b"plain".to_vec()]
}

/// Reads the members, some of them to their end. What is left of the first byte says which.
pub fn ar(mut bytes: &[u8]) {
    let mut chosen = take(&mut bytes, 1);
    let limits = limits();
    let Ok(mut ar) = Ar::new(bytes, &limits) else { return };
    while let Ok(Some(member)) = ar.next_member() {
        assert!(member.offset <= bytes.len() as u64);
        let mut content = Vec::new();
        if chosen & 1 == 0 && ar.read_to_end(&mut content).is_ok() {
            assert_eq!(content.len() as u64, member.size);
        }
        chosen >>= 1;
    }
}

pub fn ar_seeds() -> Vec<Vec<u8>> {
    let archive = build::ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar/", b"")]);
    vec![[vec![0], archive.clone()].concat(), [vec![0b101], archive].concat()]
}

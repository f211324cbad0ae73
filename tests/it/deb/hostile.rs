//! What a package must not be. Each case has its fixture, its generator, and its reason in the message.

use std::io::{Cursor, Write};
use std::process::Command;

use mkimage::archive::Digesting;

use super::generate::{self, Hostile};
use super::*;
use crate::tool;

fn fixture(case: &Hostile) -> std::path::PathBuf {
    tool::root().join("fixtures/deb/hostile").join(format!("{}.deb", case.name))
}

#[test]
fn the_fixtures_are_what_their_generator_makes() {
    for case in generate::hostile() {
        if std::env::var_os("MKIMAGE_BLESS").is_some() {
            std::fs::create_dir_all(fixture(&case).parent().expect("a folder")).expect("made");
            std::fs::write(fixture(&case), kept(&case)).expect("written");
        }
        let bytes = std::fs::read(fixture(&case)).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert!(
            bytes == kept(&case),
            "{}: run `MKIMAGE_BLESS=1 cargo test --test it deb::hostile`",
            case.name
        );
    }
}

/// What is kept of a case: the long one is its beginning only, which is as wrong.
fn kept(case: &Hostile) -> &[u8] {
    &case.bytes[..case.bytes.len().min(16 << 10)]
}

#[test]
fn hostile_packages_are_refused_with_the_reason() {
    let cases = generate::hostile();
    assert!(cases.len() > 80, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let message = match unpack(&case.bytes, &MemoryContents::default()) {
            Ok(_) => "it was unpacked".to_owned(),
            Err(message) => message,
        };
        if !message.contains(case.expected) || message.len() > 600 || message.contains(['\n', '\0']) {
            wrong.push(format!("{}: expected {:?}: {message}", case.name, case.expected));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_breaks_no_rule_is_unpacked() {
    use generate::{directory, entry, file, hard_link, symlink};
    let capability = "\u{1}\u{0}\u{0}\u{2}\u{0}\u{4}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}";
    let record = generate::record("SCHILY.xattr.security.capability", capability);
    let data = generate::tar(&[
        directory("./"),
        directory("./usr"),
        file("./usr/su", b"x").mode(0o4755),
        file("./usr/ping", b"x").pax(&record),
        hard_link("./usr/pong", "./usr/ping"),
        symlink("./usr/out", "../../../etc/passwd"),
        hard_link("./usr/out2", "./usr/out"),
        entry("./usr/fifo", b'6', "", b""),
    ]);
    let unpacked = unpack(&generate::package(&data), &MemoryContents::default()).expect("unpacked");
    let mode = unpacked.tree.get(&path("/usr/su")).and_then(|node| node.metadata()).map(|found| found.mode);
    assert_eq!(mode, Some(0o4755));
    let ping = unpacked.tree.get(&path("/usr/ping")).and_then(|node| node.metadata()).expect("a file");
    assert_eq!(ping.xattrs.len(), 1);
    unpacked.to_tree().seal().expect("sealed");
}

type Pack = fn(&[u8]) -> Vec<u8>;

/// Every compression that a payload may have, with the suffix that says so.
const PACKS: [(&str, Pack); 6] =
    [("", <[u8]>::to_vec), (".gz", gzip), (".xz", xz), (".zst", zstd), (".bz2", bzip2), (".lzma", lzma)];

fn written<W: Write>(mut encoder: W, bytes: &[u8]) -> W {
    encoder.write_all(bytes).expect("compressed");
    encoder
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    written(encoder, bytes).finish().expect("compressed")
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    written(liblzma::write::XzEncoder::new(Vec::new(), 1), bytes).finish().expect("compressed")
}

/// Writes xz as dpkg does for large members: in blocks that can be decoded side by side.
fn xz_blocks(bytes: &[u8]) -> Vec<u8> {
    let mut builder = liblzma::stream::MtStreamBuilder::new();
    let check = liblzma::stream::Check::Crc64;
    let stream = builder.threads(2).preset(0).block_size(1 << 20).check(check).encoder().expect("an encoder");
    written(liblzma::write::XzEncoder::new_stream(Vec::new(), stream), bytes).finish().expect("compressed")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("compressed")
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    written(encoder, bytes).finish().expect("compressed")
}

fn lzma(bytes: &[u8]) -> Vec<u8> {
    let options = liblzma::stream::LzmaOptions::new_preset(1).expect("a preset");
    let stream = liblzma::stream::Stream::new_lzma_encoder(&options).expect("an encoder");
    written(liblzma::write::XzEncoder::new_stream(Vec::new(), stream), bytes).finish().expect("compressed")
}

fn packed(suffix: &str, control: &[u8], data: &[u8]) -> Vec<u8> {
    let [control_name, data_name] = ["control.tar", "data.tar"].map(|name| format!("{name}{suffix}"));
    generate::ar(&[("debian-binary", b"2.0\n"), (&control_name, control), (&data_name, data)])
}

fn sound(bytes: u32) -> (Vec<u8>, Vec<u8>) {
    let control = generate::control(generate::FIELDS.as_bytes(), &[]);
    let noise: Vec<u8> = (0..bytes).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let data = generate::tar(&[
        generate::directory("./"),
        generate::file("./a", &noise),
        generate::file("./b", b"b"),
    ]);
    (control, data)
}

#[test]
fn every_compression_gives_the_same_and_is_torn_nowhere_unnoticed() {
    let (control, data) = sound(100_000);
    let plain = unpack(&packed("", &control, &data), &MemoryContents::default()).expect("unpacked");
    for (suffix, pack) in PACKS {
        let bytes = packed(suffix, &pack(&control), &pack(&data));
        assert_eq!(unpack(&bytes, &MemoryContents::default()).as_ref(), Ok(&plain), "{suffix}");
        let step = bytes.len() / 60;
        for length in (0..bytes.len()).step_by(step).chain(bytes.len().saturating_sub(70)..bytes.len()) {
            let torn = unpack(&bytes[..length], &Digesting);
            assert!(torn.is_err(), "{suffix}: {length} of {} bytes", bytes.len());
        }
        // The outer archive is whole, and what is in it is torn.
        let inner = pack(&data);
        for cut in [1, 2, 7, 100, inner.len() / 2] {
            let torn = unpack(&packed(suffix, &pack(&control), &inner[..inner.len() - cut]), &Digesting);
            assert!(torn.is_err(), "{suffix}: {cut} bytes are missing");
        }
        if !suffix.is_empty() {
            let more = unpack(&packed(suffix, &pack(&control), &[&inner[..], b"more"].concat()), &Digesting);
            assert!(more.is_err(), "{suffix}: bytes behind the end");
        }
    }
}

#[test]
fn threads_of_the_decoder_change_nothing() {
    let (control, data) = sound(3 << 20);
    let blocks = xz_blocks(&data);
    let padded = [&blocks[..], &[0; 8]].concat();
    let two = [xz_blocks(&data[..1 << 20]), vec![0; 4], xz_blocks(&data[1 << 20..])].concat();
    let plain = unpack(&packed("", &control, &data), &MemoryContents::default()).expect("unpacked");
    let threaded = |bytes: &[u8]| {
        let share = Share { threads: 4, bytes: 64 << 20 };
        unpack::deb(bytes, share, &MemoryContents::default(), &Job::quiet(2)).map_err(|error| whole(&error))
    };
    for (why, payload) in [("blocks", &blocks), ("padding", &padded), ("two streams", &two)] {
        let bytes = packed(".xz", &xz(&control), payload);
        assert_eq!(unpack(&bytes, &MemoryContents::default()).as_ref(), Ok(&plain), "{why}");
        assert_eq!(threaded(&bytes).as_ref(), Ok(&plain), "{why}");
    }
    let odd = [&blocks[..], &[0; 3]].concat();
    let foreign = [&blocks[..], b"more"].concat();
    let mut flipped = blocks.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for (why, payload) in [
        ("odd padding", odd),
        ("foreign end", foreign),
        ("flipped", flipped),
        ("torn", blocks[..middle].to_vec()),
    ] {
        let bytes = packed(".xz", &xz(&control), &payload);
        assert!(unpack(&bytes, &Digesting).is_err(), "{why}");
        assert!(threaded(&bytes).is_err(), "{why}");
    }
}

#[test]
fn windows_and_dictionaries_that_would_take_the_memory_are_refused() {
    let (control, data) = sound(3 << 20);
    let options = liblzma::stream::LzmaOptions::new_preset(0).map(|mut options| {
        options.dict_size(256 << 20);
        options
    });
    let mut filters = liblzma::stream::Filters::new();
    filters.lzma2(options.as_ref().expect("options"));
    let check = liblzma::stream::Check::Crc32;
    let stream = liblzma::stream::Stream::new_stream_encoder(&filters, check).expect("an encoder");
    let encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    let large = written(encoder, &data).finish().expect("compressed");
    let message = unpack(&packed(".xz", &xz(&control), &large), &Digesting).expect_err("a large dictionary");
    assert!(message.contains("needs a dictionary of more than"), "{message}");
    let share = Share { threads: 4, bytes: 64 << 20 };
    let bytes = packed(".xz", &xz(&control), &large);
    assert!(unpack::deb(&bytes[..], share, &Digesting, &Job::quiet(2)).is_err());
    // A zstd frame whose window is 2 GiB: descriptor 0, window exponent 21.
    let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3][..], &[1, 0, 0]].concat();
    let message = unpack(&packed(".zst", &zstd(&control), &frame), &Digesting).expect_err("a large window");
    assert!(message.contains("too much memory"), "{message}");
}

const CHILD: &str = "MKIMAGE_TEST_BOMBS";

/// Bombs are stopped at what the control file says, in a process that could not hold them.
#[test]
fn bombs_are_stopped_in_bounded_memory() {
    if std::env::var_os(CHILD).is_some() {
        return explode();
    }
    let program = std::env::current_exe().expect("this program");
    let arguments = ["deb::hostile::bombs_are_stopped_in_bounded_memory", "--exact", "--test-threads=1"];
    let line = "ulimit -v 700000; exec \"$@\"";
    let mut command = Command::new("bash");
    command.args(["-c", line, "bash"]).arg(program).args(arguments).env(CHILD, "1");
    tool::succeed(&mut command);
}

fn explode() {
    let control = generate::control(generate::FIELDS.as_bytes(), &[]);
    for (suffix, pack) in PACKS {
        let mut bombs = vec![announced(suffix, pack, &control)];
        if matches!(suffix, ".xz" | ".zst") {
            bombs.push(zeros_behind_the_end(suffix, pack, &control));
        }
        for bytes in bombs {
            let unpacked = unpack::deb(bytes, Share::ONE, &Digesting, &Job::quiet(1));
            let message = unpacked.map_err(|error| whole(&error)).expect_err("a bomb");
            let expected = "holds more than 1073745920 bytes, and the control file says 1 KiB";
            assert!(message.contains(expected), "{suffix}: {message}");
        }
    }
    // The control archive has a limit of its own.
    let zeros = zstd(&generate::control(
        generate::FIELDS.as_bytes(),
        &[generate::file("./md5sums", &vec![0; 65 << 20])],
    ));
    let message = unpack(&packed(".zst", &zeros, &zstd(&[])), &Digesting).expect_err("a bomb");
    assert!(message.contains("the limit is 67106816"), "{message}");
}

/// A file of 4 GiB, as its header says.
fn announced(suffix: &str, pack: Pack, control: &[u8]) -> Cursor<Vec<u8>> {
    let mut head = generate::file("./zeros", b"");
    head.size_field = Some(*b"40000000000\0");
    Cursor::new(packed(suffix, &pack(control), &pack(&head.bytes())))
}

/// Zeros where an archive may have some.
fn zeros_behind_the_end(suffix: &str, pack: Pack, control: &[u8]) -> Cursor<Vec<u8>> {
    let start = generate::tar(&[generate::directory("./")]);
    // 1.25 GiB, in small frames behind each other.
    let payload = [pack(&start), pack(&vec![0; 64 << 20]).repeat(20)].concat();
    Cursor::new(packed(suffix, &pack(control), &payload))
}

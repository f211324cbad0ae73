//! Packages that lie: cut off, changed, with digests made to fit, with paths that lead elsewhere.

use std::io::{Read, Write};

use mkimage::base::Job;
use mkimage::base::id::hex;
use mkimage::packages::Sha256;
use mkimage::packages::rpm::{self, Package};
use mkimage::tree::{Directory, MemoryContents, Node};

use super::kit::{Kit, Spec, path};

fn package() -> Vec<u8> {
    let kit = Kit::new();
    let file = kit.build("x", Spec {
        name: "victim",
        evr: "1-1",
        install: "mkdir -p $R/d; echo first > $R/d/a; ln $R/d/a $R/d/b; ln -s target $R/d/c; echo second > $R/d/e",
        files: "/d",
        ..Spec::default()
    });
    std::fs::read(file).expect("a package")
}

fn unpack(bytes: &[u8]) -> Result<Directory, String> {
    let unpacked = rpm::unpack(bytes, &MemoryContents::default(), &Job::quiet(1));
    unpacked.map(|unpacked| unpacked.tree).map_err(|error| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    })
}

fn payload(bytes: &[u8]) -> Vec<u8> {
    let package = Package::parse(bytes).expect("a package");
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(package.payload).read_to_end(&mut plain).expect("gzip");
    plain
}

/// Replaces the only place where bytes stand; both must be of one length.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from).expect("the bytes are there");
    bytes[at..at + to.len()].copy_from_slice(to);
}

/// Makes a package with another payload, or with a changed header, whose digests and sizes fit again.
fn forged(bytes: &[u8], plain: &[u8], edit: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let package = Package::parse(bytes).expect("a package");
    let mut header = package.header.as_bytes().to_vec();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(plain).expect("written");
    let compressed = gzip.finish().expect("gzip");
    let (old, new) = (Sha256::of(package.payload), Sha256::of(&compressed));
    replace(&mut header, old.to_string().as_bytes(), new.to_string().as_bytes());
    edit(&mut header);
    let start = bytes.len() - package.payload.len() - package.header.as_bytes().len();
    let mut front = bytes[..start].to_vec();
    let old = Sha256::of(package.header.as_bytes()).to_string();
    replace(&mut front, old.as_bytes(), Sha256::of(&header).to_string().as_bytes());
    let size = |header: &[u8], payload: &[u8]| ((header.len() + payload.len()) as u32).to_be_bytes();
    replace(&mut front, &size(package.header.as_bytes(), package.payload), &size(&header, &compressed));
    [front, header, compressed].concat()
}

#[test]
fn packages_that_are_cut_off_are_refused() {
    let bytes = package();
    unpack(&bytes).expect("good");
    for length in (0..bytes.len()).step_by(7) {
        assert!(unpack(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
    }
    assert!(unpack(&[&bytes[..], b"x"].concat()).is_err());
}

#[test]
fn changed_bits_are_noticed_or_mean_nothing() {
    let bytes = package();
    let good = unpack(&bytes).expect("good");
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        if let Ok(tree) = unpack(&bad) {
            // The lead's name and the parts of the signature header that nobody reads.
            assert_eq!(tree, good, "at {at}");
        }
    }
}

#[test]
fn a_payload_that_fits_its_digest_must_fit_the_header_too() {
    let bytes = package();
    let plain = payload(&bytes);
    let good = unpack(&bytes).expect("good");
    let same = forged(&bytes, &plain, |_| {});
    assert_eq!(unpack(&same).as_ref(), Ok(&good));
    for (from, to, part) in [
        (&b"./d/e\0"[..], &b"./../e"[..], "name"),
        (b"./d/e\0", b"./d/f\0", "not in the header's list"),
        (b"./d/e\0", b"./d/b\0", ""),
        (b"second\n", b"secund\n", "SHA-256"),
        (b"target", b"tarpit", "leads elsewhere"),
        (b"070701", b"070707", "no header"),
        (b"TRAILER!!!", b"TRAILED!!!", "not in the header's list"),
    ] {
        let mut changed = plain.clone();
        replace(&mut changed, from, to);
        let said = unpack(&forged(&bytes, &changed, |_| {})).expect_err("refused");
        assert!(said.contains(part), "{said}");
    }
    for length in (0..plain.len() - 4).step_by(3) {
        // Zeros behind the end count as nothing.
        let cut = &plain[..length];
        if plain[length..].iter().any(|byte| *byte != 0) {
            assert!(unpack(&forged(&bytes, cut, |_| {})).is_err(), "{length}");
        }
    }
    let more = [&plain[..], b"more"].concat();
    assert!(unpack(&forged(&bytes, &more, |_| {})).is_err_and(|said| said.contains("behind the end")));
}

#[test]
fn changed_payloads_and_headers_never_panic() {
    let bytes = package();
    let plain = payload(&bytes);
    for at in 0..plain.len() {
        let mut changed = plain.clone();
        changed[at] = changed[at].wrapping_add(1 + (at % 7) as u8);
        let _ = unpack(&forged(&bytes, &changed, |_| {}));
    }
    let length = Package::parse(&bytes).expect("a package").header.as_bytes().len();
    for at in 0..length {
        let _ = unpack(&forged(&bytes, &plain, |header| header[at] ^= 0x80 >> (at % 8)));
        let _ = unpack(&forged(&bytes, &plain, |header| header[at] = 0xff));
    }
}

#[test]
fn paths_of_the_header_cannot_leave_the_tree() {
    let bytes = package();
    let plain = payload(&bytes);
    for (from, to) in
        [(&b"\0/d/\0"[..], &b"\0../\0"[..]), (b"\0/d/\0", b"\0d//\0"), (b"\0/d/\0", b"\0/d\0\0")]
    {
        let said = unpack(&forged(&bytes, &plain, |header| replace(header, from, to)));
        assert!(said.is_err(), "{}", hex(to));
    }
}

/// Rewrites a payload in rpm's own form, which names files by number.
fn stripped(plain: &[u8], numbers: &[(&str, u32)]) -> Vec<u8> {
    let field = |at: usize, index: usize| {
        let digits = std::str::from_utf8(&plain[at + 6 + 8 * index..][..8]).expect("digits");
        usize::from_str_radix(digits, 16).expect("a number")
    };
    let (mut out, mut at) = (Vec::new(), 0);
    loop {
        let (size, name_size) = (field(at, 6), field(at, 11));
        let name = std::str::from_utf8(&plain[at + 110..at + 109 + name_size]).expect("a name");
        let start = (at + 110 + name_size).next_multiple_of(4);
        if name == "TRAILER!!!" {
            out.extend_from_slice(&plain[at..]);
            return out;
        }
        let number = numbers.iter().find(|number| number.0 == name).expect("a file").1;
        out.extend(format!("07070X{number:08x}\0\0").bytes());
        out.extend_from_slice(&plain[start..start + size]);
        out.resize(out.len().next_multiple_of(4), 0);
        at = (start + size).next_multiple_of(4);
    }
}

#[test]
fn payloads_that_name_files_by_number_are_read_as_the_others() {
    let bytes = package();
    let good = unpack(&bytes).expect("good");
    let numbers = [("./d", 0), ("./d/a", 1), ("./d/b", 2), ("./d/c", 3), ("./d/e", 4)];
    let plain = stripped(&payload(&bytes), &numbers);
    // The trailer stands where alignment puts it.
    assert_eq!(unpack(&forged(&bytes, &plain, |_| {})).as_ref(), Ok(&good));
    assert!(matches!(good.get(&path("/d/b")), Some(Node::HardLink(_))));
    let wrong =
        stripped(&payload(&bytes), &[("./d", 0), ("./d/a", 1), ("./d/b", 2), ("./d/c", 3), ("./d/e", 99)]);
    assert!(unpack(&forged(&bytes, &wrong, |_| {})).is_err());
}

#[test]
fn counts_and_sizes_that_nobody_could_hold_are_refused_early() {
    let bytes = package();
    let main = bytes.len() - {
        let package = Package::parse(&bytes).expect("a package");
        package.payload.len() + package.header.as_bytes().len()
    };
    for start in [96, main] {
        for at in [8, 12] {
            let mut bad = bytes.clone();
            bad[start + at..start + at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
            assert!(unpack(&bad).is_err_and(|said| said.contains("more than")), "{start} {at}");
        }
    }
    assert!(unpack(&[0xed, 0xab, 0xee, 0xdb, 3, 0, 0, 1]).is_err());
}

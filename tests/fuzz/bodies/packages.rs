//! Debian's formats and the lock.

use std::io::Read;

use mkimage::archive::Digesting;
use mkimage::packages::deb::release::Release;
use mkimage::packages::deb::{control, version};
use mkimage::packages::install::{Layout, lay};
use mkimage::packages::unpack::{self, Share};
use mkimage::packages::{Lock, Sha256, Unpacked, parse_deb822, parse_one_line};
use mkimage::tree::{Content, ContentError, ContentSink, MemoryContents, Node};

use super::JOB;
use super::build::{self, entry};

pub const WORDS: &[&str] = &[
    "Package: ",
    "Version: ",
    "Size: ",
    "SHA256: ",
    "Filename: ",
    "Architecture: ",
    "\n\n",
    "\n ",
    ":",
    "\n.\n",
    "Date: ",
    "Sat, 11 Jul 2026 10:16:37 UTC",
    "request debian amd64 ",
    "source ",
    "package ",
    " asked",
    " depends:hello",
    " bare:linux-image-amd64",
    " local:",
    "mkimage-lock 2\n",
    "deb ",
    "deb-src ",
    "[",
    "] ",
    "Types: deb\n",
    "Signed-By:",
    "Enabled: no",
    "-----BEGIN PGP PUBLIC KEY BLOCK-----",
    "99999999999999999999",
    "1:",
    "~",
    "-1",
    "+b1",
    "(= 1)",
    " | ",
    ", ",
    "\r\n",
    "\u{a0}",
    "#",
    "Depends: ",
];

/// Unpacks a package with one thread and with more: the same. What comes out can be kept and taken back, and
/// laid into a tree, which can be sealed.
pub fn deb(bytes: &[u8]) {
    let contents = Small::default();
    let unpacked = unpack::deb(bytes, Share::ONE, &contents, &JOB).ok();
    let threaded = unpack::deb(bytes, Share { threads: 2, bytes: 16 << 20 }, &contents, &JOB).ok();
    assert_eq!(unpacked, threaded);
    let Some(unpacked) = unpacked else { return };
    let kept = unpacked.clone().to_tree().seal().expect("what was unpacked can be sealed");
    if unpacked
        .info
        .entries
        .values()
        .all(|node| matches!(node, Node::File(file) if file.content.size < SMALL))
    {
        let back = Unpacked::from_tree((*kept).clone(), &contents.0).expect("what was kept comes back");
        assert_eq!(back.control, unpacked.control);
        let mut packages = [back, unpacked];
        "other".clone_into(&mut packages[0].control.name);
        for usr_merge in [false, true] {
            let layout = Layout { usr_merge, ..Layout::default() };
            if let Ok((tree, owners)) = lay(&packages, &layout, &contents.0, &JOB) {
                tree.seal().expect("what was laid can be sealed");
                assert_eq!(owners.packages().len(), 2);
            }
        }
    }
}

const SMALL: u64 = 1 << 20;

/// Keeps what is small and names the rest: a few bytes can stand for gigabytes.
#[derive(Default)]
struct Small(MemoryContents);

impl ContentSink for Small {
    fn put(&self, bytes: &[u8]) -> Result<Content, ContentError> {
        if (bytes.len() as u64) < SMALL { self.0.put(bytes) } else { Ok(Content::of(bytes)) }
    }

    fn put_reader(&self, reader: &mut dyn Read) -> Result<Content, ContentError> {
        let mut start = Vec::new();
        reader.take(SMALL).read_to_end(&mut start).map_err(ContentError::Input)?;
        if (start.len() as u64) < SMALL {
            self.0.put(&start)
        } else {
            Digesting.put_reader(&mut start.chain(reader))
        }
    }
}

const CONTROL: &str = "Package: hello\nVersion: 1:2.10-3+b1\nArchitecture: amd64\nDepends: libc6 (>= 2.34), a | b\nDescription: x\n y\n .\n z\n";

fn package(pack: fn(&[u8]) -> Vec<u8>, suffix: &str) -> Vec<u8> {
    let control = build::tar(&[
        entry("./", b'5', "", b""),
        entry("./control", b'0', "", CONTROL.as_bytes()),
        entry("./conffiles", b'0', "", b"/etc/hello\n"),
        entry("./postinst", b'0', "", b"#!/bin/sh\n"),
        entry(
            "./preinst",
            b'0',
            "",
            b"#!/bin/sh\ndpkg-divert --add --rename --divert /b/x \\\n  '/bin/hi'\n",
        ),
    ]);
    let data = build::tar(&[
        entry("./", b'5', "", b""),
        entry("./bin/", b'5', "", b""),
        entry("./bin/hello", b'0', "", b"program"),
        entry("./bin/hi", b'1', "./bin/hello", b""),
        entry("./usr/bin/other", b'0', "", b"other"),
        entry("./lib", b'2', "usr/lib", b""),
    ]);
    let (control_name, data_name) = (format!("control.tar{suffix}"), format!("data.tar{suffix}"));
    build::ar(&[("debian-binary", b"2.0\n"), (&control_name, &pack(&control)), (&data_name, &pack(&data))])
}

pub fn deb_seeds() -> Vec<Vec<u8>> {
    vec![
        package(<[u8]>::to_vec, ""),
        package(build::xz, ".xz"),
        package(build::zstd, ".zst"),
        package(build::gzip, ".gz"),
        package(build::lzma, ".lzma"),
    ]
}

/// A lock that is read prints as the text that it was read from.
pub fn lock(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(lock) = Lock::parse(text) {
        assert_eq!(lock.to_string(), text);
        for package in lock.packages() {
            let _ = lock.why(&package.name).expect("what is there has a reason");
        }
        assert_eq!(Lock::changes(&lock, &lock), []);
        let _ = Lock::changes(&lock, &Lock::default());
        let _ = lock.find("debian", "hello:amd64");
    }
}

pub fn lock_seeds() -> Vec<Vec<u8>> {
    let sha256 = Sha256::of(b"x");
    let text = format!(
        "mkimage-lock 2\nrequest debian amd64 {sha256}\nsource debian bookworm bookworm 2026-07-11T10:16:37Z \
         {sha256}\nsource debian third bookworm/updates 1970-01-01T00:00:00Z {sha256}\npackage debian hello all \
         1:2.10-3+b1 bookworm 53080 {sha256} pool/main/h/hello.deb asked\npackage debian libx i386 1 local 7 \
         {sha256} local:libx.deb depends:hello\npackage debian linux-image-6.1 amd64 6.1.176-1 third 70000000 \
         {sha256} pool/main/l/linux.deb bare:linux-image-6.1 bare:linux-image-amd64\n"
    );
    assert!(Lock::parse(&text).is_ok());
    vec![text.into_bytes(), b"mkimage-lock 2\n".to_vec()]
}

/// Reads a text as paragraphs and as a Release file.
pub fn control(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(stanzas) = control::stanzas(text) {
        for stanza in &stanzas {
            let printed = stanza.to_string();
            assert_eq!(control::stanza(&printed).as_ref(), Ok(stanza), "{printed:?}");
        }
    }
    let _ = Release::parse(text);
}

pub fn control_seeds() -> Vec<Vec<u8>> {
    let sha256 = Sha256::of(b"x");
    let index =
        format!("{CONTROL}Filename: pool/a.deb\nSize: 3\nSHA256: {sha256}\n\npackage: b\nVersion: 2\n");
    let release = format!(
        "Origin: Debian\nSuite: stable\nCodename: bookworm\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nValid-Until: \
         Sat, 18 Jul 2026 10:16:37 UTC\nAcquire-By-Hash: yes\nSHA256:\n {sha256} 12 main/binary-amd64/Packages\n \
         {sha256} 9 main/binary-amd64/Packages.xz\n"
    );
    vec![CONTROL.as_bytes().to_vec(), index.into_bytes(), release.into_bytes()]
}

/// Reads a text as both forms of apt's sources.
pub fn sources(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for source in [parse_deb822(text), parse_one_line(text)].into_iter().flatten().flatten() {
        let _ = source.offers("bookworm", &["main".to_owned()], "amd64");
    }
}

pub fn source_seeds() -> Vec<Vec<u8>> {
    let deb822 = "# c\nTypes: deb deb-src\nURIs: http://mirror.invalid/debian\nSuites: bookworm bookworm-updates\n\
        Components: main\n contrib\nSigned-By: /usr/share/keyrings/a.gpg, ABCD!\n\nTypes: deb\nEnabled: no\nURIs: x\n\
        Suites: y\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----\n";
    let one_line =
        "deb [ arch=amd64,arm64 signed-by=/k.gpg ] http://mirror.invalid/d bookworm main # c\ndeb-src a b\n";
    vec![deb822.as_bytes().to_vec(), one_line.as_bytes().to_vec()]
}

/// Orders the lines of a text: the order must be one.
pub fn version(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines: Vec<&str> = text.lines().take(4).collect();
    for a in &lines {
        assert!(version::compare(a, a).is_eq() || !version::is_version(a), "{a:?}");
        for b in &lines {
            assert_eq!(version::compare(a, b), version::compare(b, a).reverse(), "{a:?} {b:?}");
            for c in &lines {
                if version::compare(a, b).is_le() && version::compare(b, c).is_le() {
                    assert!(version::compare(a, c).is_le(), "{a:?} {b:?} {c:?}");
                }
            }
        }
    }
}

pub fn version_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "0:1~rc1-1\n1-1\n1-1+b1\n1.9",
        "1.10\n1:0.1\n6.1.176-1\n2.10-3+b1",
        "99999999999999999999:1\n1\n00001",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

//! Tests of the room `packages`.
//!
//! Archives, keys, mirrors and lies are made in process; nothing here needs a network or a tool.
#![allow(clippy::disallowed_methods, reason = "a test measures how long it was kept waiting")]

mod archives;
mod fetching;
pub mod keys;
mod parsers;
mod payloads;
mod server;
mod signatures;
mod suites;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use archives::{Deb, Entry, directory, file, link, package};
use keys::{DAY, GOOD, MADE, Make, NOW, SIGNED, Sign, TestKey};
use mkimage::base::{ImagePath, Job};
use mkimage::packages::deb::{control, index, release};
use mkimage::packages::{
    Fetcher, Keyring, Lock, LockedPackage, LockedSuite, MemoryCache, PackageCache, PackagesError, Patience,
    Proxies, Request, Settings, Sha256, SignatureProblem, SignedBy, Source, Unpacked, parse_deb822,
    parse_one_line, resolve, unpack, verify_cleartext,
};
use mkimage::tree::{ContentSource, MemoryContents, Node};
use pgp::crypto::hash::HashAlgorithm;
use proptest::prelude::*;
use server::{Answer, Server};

fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("a path")
}

/// Writes an error with all that led to it.
fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// An archive with one suite, `tested`, signed by a key that the machine's keyring holds.
struct Archive {
    folder: tempfile::TempDir,
    key: TestKey,
    packages: Vec<Deb>,
}

const DATES: &str = "Date: Sat, 11 Jul 2026 10:16:37 UTC\nValid-Until: Sat, 18 Jul 2026 10:16:37 UTC\n";

impl Archive {
    fn new(packages: Vec<Deb>) -> Archive {
        let archive =
            Archive { folder: tempfile::tempdir().expect("a folder"), key: keys::make(GOOD), packages };
        let keyring = archive.folder.path().join("keys/debian-archive-keyring.gpg");
        write(&keyring, &archive.key.binary());
        archive.publish(DATES);
        archive
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("archive")
    }

    fn suite(&self) -> std::path::PathBuf {
        self.root().join("dists/tested")
    }

    fn publish(&self, dates: &str) {
        self.publish_text(&archives::release("tested", dates, &self.index()), &self.key);
    }

    fn index(&self) -> String {
        archives::index(&self.packages)
    }

    fn publish_text(&self, release: &str, key: &TestKey) {
        let packed = archives::xz(self.index().as_bytes());
        let by_hash = format!("main/binary-amd64/by-hash/SHA256/{}", Sha256::of(&packed));
        write(&self.suite().join(by_hash), &packed);
        write(&self.suite().join("InRelease"), key.sign(release).as_bytes());
        for package in &self.packages {
            write(&self.root().join(package.filename()), &package.bytes());
        }
    }

    fn settings(&self) -> Settings {
        let mirror = Some(format!("file:{}", self.root().display()));
        Settings {
            mirror,
            ..Settings::bare(self.folder.path().join("apt"), self.folder.path().join("keys"), NOW)
        }
    }

    fn lock(&self, names: &[&str]) -> Result<Lock, PackagesError> {
        let cache = MemoryCache::default();
        let fetcher = Fetcher::new(self.settings(), &cache).expect("a fetcher");
        resolve(&[request(names)], None, None, &fetcher, &Job::quiet(2))
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
    std::fs::write(path, bytes).expect("written");
}

fn request(names: &[&str]) -> Request {
    Request {
        distribution: "debian".into(),
        suite: "tested".into(),
        components: vec!["main".into()],
        architecture: "amd64".into(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        mirror: None,
        signed_by: None,
    }
}

fn hello(version: &str) -> Deb {
    package("hello", version, vec![directory("./usr"), file("./usr/hello", 0o755, version.as_bytes())])
}

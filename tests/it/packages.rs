//! Tests of the room `packages`.
//!
//! Archives, keys, mirrors and lies are made in process; nothing here needs a network or a tool.
#![allow(clippy::disallowed_methods, reason = "a test measures how long it was kept waiting")]

mod archives;
mod fetching;
pub mod keys;
mod locks;
mod parsers;
mod payloads;
mod secure;
mod server;
mod signatures;
mod sources;
mod suites;
mod updates;
mod vendoring;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use archives::{Deb, Entry, directory, file, link, package};
use keys::{DAY, GOOD, MADE, Make, NOW, SIGNED, Sign, TestKey};
use mkimage::base::{ImagePath, Job};
use mkimage::packages::deb::{control, relation, release, scan};
use mkimage::packages::{
    Fetcher, Keyring, Lock, LockedPackage, LockedRequest, LockedSource, MemoryCache, MirrorRule,
    PackageCache, PackagesError, Patience, Proxies, Request, Root, Settings, Sha256, SignatureProblem,
    SignedBy, Source, SourceRequest, Unpacked, Update, parse_deb822, parse_one_line, resolve, unpack, vendor,
    verify_cleartext, verify_detached,
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
        let mirrors = MirrorRule::parse_list(&format!("file:{}", self.root().display())).expect("a mirror");
        Settings {
            mirrors,
            ..Settings::bare(self.folder.path().join("apt"), self.folder.path().join("keys"), NOW)
        }
    }

    fn lock(&self, names: &[&str]) -> Result<Lock, PackagesError> {
        lock_with(self.settings(), &[request(names)], None, Update::None)
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
    std::fs::write(path, bytes).expect("written");
}

/// Asks for packages by their exact names, from the one suite.
fn request(names: &[&str]) -> Request {
    Request {
        distribution: "debian".into(),
        architecture: "amd64".into(),
        sources: vec![SourceRequest::of_suite("tested", &["main"])],
        roots: names.iter().map(|name| Root::parse(name).expect("a root")).collect(),
        ..Request::default()
    }
}

/// Settings that name one mirror for everything, and nothing of this machine.
fn at(address: &str) -> Settings {
    let mirrors = MirrorRule::parse_list(address).expect("mirrors");
    Settings { mirrors, ..Settings::bare("/nowhere".into(), "/nowhere".into(), NOW) }
}

/// Locks with settings and an empty cache.
fn lock_with(
    settings: Settings,
    requests: &[Request],
    previous: Option<&Lock>,
    update: Update,
) -> Result<Lock, PackagesError> {
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(settings, &cache).expect("a fetcher");
    resolve(requests, previous, &update, &fetcher, &Job::quiet(2))
}

/// Names and versions of what is locked.
fn versions(lock: &Lock) -> Vec<String> {
    lock.packages().map(ToString::to_string).collect()
}

fn hello(version: &str) -> Deb {
    package("hello", version, vec![directory("./usr"), file("./usr/hello", 0o755, version.as_bytes())])
}

/// Lays an archive of Debian packages into a folder, for recipes: `archive/`, signed by the key in `archive.gpg`. Each
/// package has a name, what it depends on, and one file of so many bytes, `/usr/share/NAME`.
pub fn lay_archive(folder: &Path, packages: &[(&str, &str, usize)]) {
    let deb = |(name, depends, bytes): &(&str, &str, usize)| {
        let data = vec![
            directory("./usr/"),
            directory("./usr/share/"),
            file(&format!("./usr/share/{name}"), 0o644, &vec![b'x'; *bytes]),
        ];
        Deb { depends: (*depends).to_owned(), ..package(name, "1.0", data) }
    };
    let (packages, key) = (packages.iter().map(deb).collect::<Vec<_>>(), keys::make(GOOD));
    let (root, index) = (folder.join("archive"), archives::index(&packages));
    let dates = "Date: Sat, 11 Jul 2026 10:16:37 UTC\n";
    let suite = root.join("dists/tested");
    write(&folder.join("archive.gpg"), &key.binary());
    write(&suite.join("main/binary-amd64/Packages.xz"), &archives::xz(index.as_bytes()));
    write(&suite.join("InRelease"), key.sign(&archives::release("tested", dates, &index)).as_bytes());
    packages.iter().for_each(|package| write(&root.join(package.filename()), &package.bytes()));
}

//! The lock: which version of each package a recipe gets, and why, as a text for people and for `diff`.
//!
//! # Format, version 2
//!
//! UTF-8 lines, each ended by `\n`; words parted by one blank. The first line is `mkimage-lock 2`. Then come
//! the requests, the sources and the packages, each kind sorted by its words in the order given here (packages
//! by distribution, name and architecture), none twice:
//!
//! ```text
//! request DISTRIBUTION ARCHITECTURE DIGEST
//! source DISTRIBUTION SOURCE SUITE DATE INRELEASE
//! package DISTRIBUTION NAME ARCHITECTURE VERSION SOURCE SIZE SHA256 FILENAME WHY …
//! ```
//!
//! - `DIGEST` is a SHA-256 of what the recipe asks of the distribution: packages, sources, rules. A lock with
//!   another one does not fit the recipe any more. `ARCHITECTURE` is the native one.
//! - `DATE` is that of the suite's Release file (`2026-07-11T10:16:37Z`) and `INRELEASE` the SHA-256 of the
//!   `InRelease` file (or of `Release`, where its signature lies apart): hints at the state of the archive that
//!   was asked, by which a later one is known to be no step back. They bind nothing.
//! - `SOURCE` is the name that the recipe gives a source, the suite's own where it gives none, or `local` for a
//!   file of the recipe's machine.
//! - `SIZE` in bytes and `SHA256` are those of the `.deb`; they bind. `FILENAME` is its path below the root of
//!   any mirror, or `local:NAME.deb`.
//! - `WHY` says why the package is there, in sorted words: `asked` by its own name, `asked:NAME` by another one,
//!   `essential`, or `pre-depends:NAME`, `depends:NAME`, `recommends:NAME` of another package, which has a line of
//!   its own; and `bare:NAME` for a kernel or loader that is asked for by a name and is no part of the root
//!   filesystem. Names of foreign architectures are `NAME:ARCHITECTURE`.
//!
//! Every distribution of a line has its request, every source its line. A text that says the same in another
//! way is refused, so that equal locks are equal bytes. Changing any of this is a format break and needs a new
//! number in the first line.

mod changes;
mod reason;
mod text;
mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use changes::{Change, Kind as ChangeKind};
pub use reason::{Dependency, Reason};

use super::date;
use super::digest::Sha256;
use super::error::PackagesError;
use super::request::{LOCAL, Request, SourceRequest};

/// Longest lock that is read, in bytes.
pub const LOCK_BYTES_MAX: usize = 64 << 20;

/// Holds what was locked. Prints as the text of the lock.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lock {
    /// By distribution.
    requests: BTreeMap<String, LockedRequest>,
    /// By distribution and name.
    sources: BTreeMap<(String, String), LockedSource>,
    packages: BTreeMap<Key, LockedPackage>,
}

/// Distribution, name, architecture.
type Key = (String, String, String);

/// Says for what request a lock was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockedRequest {
    /// The native architecture.
    pub architecture: String,
    pub digest: Sha256,
}

impl LockedRequest {
    /// Says what a lock that is made for a request holds of it.
    pub fn of(request: &Request) -> Self {
        LockedRequest { architecture: request.architecture.clone(), digest: request.digest() }
    }
}

/// Says what state of a suite was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockedSource {
    pub suite: String,
    /// Date of the Release file, in seconds since 1970, before the year 10000.
    pub date_seconds: u64,
    pub inrelease: Sha256,
}

/// Pins one package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockedPackage {
    pub distribution: String,
    pub name: String,
    /// Its own: `all` where it fits every architecture.
    pub architecture: String,
    pub version: String,
    /// The name of the source, or `local`.
    pub source: String,
    pub size_bytes: u64,
    pub sha256: Sha256,
    /// Path below the root of a mirror, or `local:NAME.deb`.
    pub filename: String,
    /// Never empty.
    pub why: BTreeSet<Reason>,
}

impl fmt::Display for LockedPackage {
    /// Names the package for people: `systemd-boot-efi 252.39-1~deb12u2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl LockedPackage {
    /// Tells whether the package is a part of the root filesystem.
    pub fn is_installed(&self) -> bool {
        self.why.iter().any(|reason| !matches!(reason, Reason::Bare(_)))
    }

    /// Returns the base name of a file of the recipe's machine; `None` for what an archive has.
    pub fn local_name(&self) -> Option<&str> {
        if self.source == LOCAL { self.filename.strip_prefix("local:") } else { None }
    }

    fn key(&self) -> Key {
        (self.distribution.clone(), self.name.clone(), self.architecture.clone())
    }
}

/// A locked package, and where it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub request: &'a Request,
    /// `None` for a local file.
    pub source: Option<&'a SourceRequest>,
    pub package: &'a LockedPackage,
    /// Date of the state of the source that was asked, in seconds since 1970.
    pub date_seconds: u64,
}

/// Says in which line of a lock what is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("line {line}: {problem}")]
pub struct LockError {
    /// From 1 on.
    pub line: usize,
    pub problem: String,
}

impl Lock {
    /// Returns all packages, sorted by distribution, name and architecture.
    pub fn packages(&self) -> impl Iterator<Item = &LockedPackage> {
        self.packages.values()
    }

    /// Returns the packages of a distribution that the root filesystem holds, sorted by name and architecture.
    pub fn installed(&self, distribution: &str) -> impl Iterator<Item = &LockedPackage> {
        self.of(distribution).filter(|package| package.is_installed())
    }

    /// Returns the kernel or loader package that is asked for by a name.
    pub fn bare(&self, distribution: &str, asked: &str) -> Option<&LockedPackage> {
        self.of(distribution).find(|package| package.why.contains(&Reason::Bare(asked.to_owned())))
    }

    /// Returns a package by `name` or `name:architecture`; without an architecture the native one wins.
    pub fn find(&self, distribution: &str, name: &str) -> Option<&LockedPackage> {
        let native = &self.requests.get(distribution)?.architecture;
        let get = |name: &str, architecture: &str| {
            self.packages.get(&(distribution.to_owned(), name.to_owned(), architecture.to_owned()))
        };
        match name.split_once(':') {
            Some((name, architecture)) => get(name, architecture),
            None => get(name, native)
                .or_else(|| get(name, "all"))
                .or_else(|| self.of(distribution).find(|package| package.name == name)),
        }
    }

    /// Returns for what request of a distribution the lock was made.
    pub fn request(&self, distribution: &str) -> Option<&LockedRequest> {
        self.requests.get(distribution)
    }

    /// Returns the state of a source.
    pub fn source(&self, distribution: &str, name: &str) -> Option<&LockedSource> {
        self.sources.get(&(distribution.to_owned(), name.to_owned()))
    }

    /// Returns all packages that requests need, sorted within each. Fails where the lock does not fit a request.
    pub fn select<'a>(&'a self, requests: &'a [Request]) -> Result<Vec<Wanted<'a>>, PackagesError> {
        let mut wanted = Vec::new();
        for request in requests {
            self.check(request)?;
            for package in self.of(&request.distribution) {
                let source = request.source(&package.source);
                let state = self.source(&package.distribution, &package.source);
                let date_seconds = state.map_or(0, |state| state.date_seconds);
                wanted.push(Wanted { request, source, package, date_seconds });
            }
        }
        Ok(wanted)
    }

    /// Tells whether the lock was made for a request as it is.
    pub fn fits(&self, request: &Request) -> bool {
        self.requests.get(&request.distribution) == Some(&LockedRequest::of(request))
    }

    fn check(&self, request: &Request) -> Result<(), PackagesError> {
        let Request { distribution, architecture, .. } = request;
        if self.fits(request) {
            return Ok(());
        }
        let not_locked = |name: &str| PackagesError::NotLocked {
            name: name.to_owned(),
            distribution: distribution.clone(),
            architecture: architecture.clone(),
        };
        let is_other = self.requests.get(distribution).is_none_or(|it| it.architecture != *architecture);
        let is_missing = |name: &&str| is_other || self.find(distribution, name).is_none();
        let is_missing_bare = |name: &&String| is_other || self.bare(distribution, name).is_none();
        if let Some(root) = request.roots.iter().map(|root| &*root.name).find(is_missing) {
            return Err(not_locked(root));
        }
        match request.bare.iter().find(is_missing_bare) {
            Some(name) => Err(not_locked(name)),
            None => Err(PackagesError::Stale { distribution: distribution.clone() }),
        }
    }

    fn of(&self, distribution: &str) -> impl Iterator<Item = &LockedPackage> {
        let distribution = distribution.to_owned();
        let first = (distribution.clone(), String::new(), String::new());
        let ours = move |(key, _): &(&Key, &LockedPackage)| key.0 == distribution;
        self.packages.range(first..).take_while(ours).map(|(_, package)| package)
    }

    /// Sets for what request of a distribution the lock is made.
    pub fn put_request(&mut self, distribution: &str, request: LockedRequest) {
        self.requests.insert(distribution.to_owned(), request);
    }

    /// Adds a source, or changes its state.
    pub fn put_source(&mut self, distribution: &str, name: &str, state: LockedSource) {
        let date_seconds = state.date_seconds.min(date::LATEST_SECONDS);
        let state = LockedSource { date_seconds, ..state };
        self.sources.insert((distribution.to_owned(), name.to_owned()), state);
    }

    /// Adds a package; one that is there under the same name and architecture is replaced, and keeps its
    /// reasons.
    pub fn put_package(&mut self, mut package: LockedPackage) {
        if let Some(there) = self.packages.remove(&package.key()) {
            package.why.extend(there.why);
        }
        self.packages.insert(package.key(), package);
    }

    /// Adds a package; one that is there under the same name and architecture stays, and takes the reasons.
    pub(super) fn join_package(&mut self, package: LockedPackage) {
        match self.packages.get_mut(&package.key()) {
            Some(there) => there.why.extend(package.why),
            None => self.put_package(package),
        }
    }

    /// Takes over everything that another lock says of a distribution.
    pub(super) fn copy(&mut self, other: &Lock, distribution: &str) {
        if let Some(request) = other.requests.get(distribution) {
            self.put_request(distribution, request.clone());
        }
        for ((of, name), state) in &other.sources {
            if of == distribution {
                self.put_source(of, name, state.clone());
            }
        }
        other.of(distribution).for_each(|package| self.put_package(package.clone()));
    }
}

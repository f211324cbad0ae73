//! The lock: which version of each package a recipe gets, as a text for people and for `diff`.
//!
//! # Format, version 1
//!
//! UTF-8 lines, each ended by `\n`; words parted by one blank. The first line is `mkimage-lock 1`. Then come
//! the suites, then the packages, each sorted by their words in the order given here, none twice:
//!
//! ```text
//! suite DISTRIBUTION SUITE DATE INRELEASE
//! package DISTRIBUTION SUITE ARCHITECTURE NAME VERSION SIZE SHA256 FILENAME ASKED
//! ```
//!
//! - `DATE` is that of the suite's Release file (`2026-07-11T10:16:37Z`) and `INRELEASE` the SHA-256 of the
//!   `InRelease` file: hints at the state of the archive that was asked, by which a later one is known to be
//!   no step back. They bind nothing.
//! - `SIZE` in bytes and `SHA256` are those of the `.deb`; they bind. `FILENAME` is its path below the root of
//!   any mirror.
//! - `ASKED` holds the names by which recipes ask for the package, sorted, parted by `,`: its own name, or that
//!   of a metapackage that stands for it.
//!
//! Every suite of a package has its line. A text that says the same in another way is refused, so that equal
//! locks are equal bytes. Changing any of this is a format break and needs a new number in the first line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::date;
use super::deb::{name, version};
use super::digest::Sha256;
use super::error::PackagesError;
use super::request::Request;

/// The first line. Changing it is a format break.
const HEADER: &str = "mkimage-lock 1";
/// Longest lock that is read, in bytes.
pub const LOCK_BYTES_MAX: usize = 64 << 20;

/// Holds what was locked. Prints as the text of the lock.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lock {
    /// By distribution and suite.
    suites: BTreeMap<(String, String), LockedSuite>,
    packages: BTreeMap<Key, LockedPackage>,
}

/// Distribution, suite, architecture, name.
type Key = (String, String, String, String);

/// Says what state of a suite was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockedSuite {
    /// Date of the Release file, in seconds since 1970, before the year 10000.
    pub date_seconds: u64,
    pub inrelease: Sha256,
}

/// Pins one package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockedPackage {
    pub distribution: String,
    pub suite: String,
    /// Its own: `all` where it fits every architecture.
    pub architecture: String,
    pub name: String,
    pub version: String,
    pub size_bytes: u64,
    pub sha256: Sha256,
    /// Path below the root of a mirror.
    pub filename: String,
    /// The names by which recipes ask for it.
    pub asked: BTreeSet<String>,
}

impl fmt::Display for LockedPackage {
    /// Names the package for people: `systemd-boot-efi 252.39-1~deb12u2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// A locked package, and the request that asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub request: &'a Request,
    /// The name by which the request asks.
    pub asked: &'a str,
    pub package: &'a LockedPackage,
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
    /// Reads the text of a lock. Strict: see the [format](self).
    pub fn parse(text: &str) -> Result<Lock, LockError> {
        let at = |line: usize, problem: String| LockError { line, problem };
        if text.len() > LOCK_BYTES_MAX {
            return Err(at(1, format!("the lock has {} bytes, more than {LOCK_BYTES_MAX}", text.len())));
        }
        let mut lines = text.split_inclusive('\n').enumerate();
        match lines.next() {
            Some((_, first)) if first.trim_end_matches('\n') == HEADER => {}
            other => {
                let found = other.map_or("", |other| other.1.trim_end());
                return Err(at(1, format!("expected {HEADER:?}, found {:?}", shown(found))));
            }
        }
        let mut lock = Lock::default();
        let mut last = None;
        for (index, line) in lines {
            let entry = line
                .strip_suffix('\n')
                .ok_or_else(|| "the line is cut off: it does not end".to_owned())
                .and_then(parse_line)
                .map_err(|problem| at(index + 1, problem))?;
            let rank = entry.rank();
            if last.as_ref().is_some_and(|last| *last >= rank) {
                let problem = format!("{} is out of order, or there twice; entries are sorted", rank.shown());
                return Err(at(index + 1, problem));
            }
            last = Some(rank);
            lock.add_line(entry).map_err(|problem| at(index + 1, problem))?;
        }
        if !text.ends_with('\n') {
            return Err(at(1, "the line is cut off: it does not end".to_owned()));
        }
        Ok(lock)
    }

    fn add_line(&mut self, entry: Line) -> Result<(), String> {
        match entry {
            Line::Suite(distribution, suite, state) => {
                self.suites.insert((distribution, suite), state);
            }
            Line::Package(package) => {
                if self.suite(&package.distribution, &package.suite).is_none() {
                    return Err(format!("suite {} {} has no line", package.distribution, package.suite));
                }
                self.packages.insert(key(&package), package);
            }
        }
        Ok(())
    }

    /// Returns what state of a suite was asked.
    pub fn suite(&self, distribution: &str, suite: &str) -> Option<&LockedSuite> {
        self.suites.get(&(distribution.to_owned(), suite.to_owned()))
    }

    /// Returns every package, sorted.
    pub fn packages(&self) -> impl Iterator<Item = &LockedPackage> {
        self.packages.values()
    }

    /// Returns the package that a recipe means by a name: the one that it asked for by it, or that has it.
    /// `architecture` is the image's; packages for all architectures fit.
    pub fn find(
        &self,
        distribution: &str,
        suite: &str,
        architecture: &str,
        name: &str,
    ) -> Option<&LockedPackage> {
        let of_suite = |package: &&LockedPackage| {
            package.distribution == distribution
                && package.suite == suite
                && (package.architecture == architecture || package.architecture == "all")
        };
        let is_asked = |package: &&LockedPackage| package.asked.contains(name);
        self.packages().filter(of_suite).find(is_asked)
    }

    /// Returns the packages of all requests, in their order, or names the first that is not locked.
    pub fn select<'a>(&'a self, requests: &'a [Request]) -> Result<Vec<Wanted<'a>>, PackagesError> {
        let mut wanted = Vec::new();
        for request in requests {
            let Request { distribution, suite, architecture, .. } = request;
            for asked in &request.names {
                let package = self.find(distribution, suite, architecture, asked).ok_or_else(|| {
                    PackagesError::NotLocked {
                        name: asked.clone(),
                        distribution: distribution.clone(),
                        suite: suite.clone(),
                        architecture: architecture.clone(),
                    }
                })?;
                wanted.push(Wanted { request, asked, package });
            }
        }
        Ok(wanted)
    }

    /// Adds a suite, or changes its state.
    pub fn put_suite(&mut self, distribution: &str, suite: &str, state: LockedSuite) {
        let date_seconds = state.date_seconds.min(date::LATEST_SECONDS);
        let state = LockedSuite { date_seconds, ..state };
        self.suites.insert((distribution.to_owned(), suite.to_owned()), state);
    }

    /// Adds a package; one that is there under the same key is replaced, and keeps its names.
    pub fn put_package(&mut self, mut package: LockedPackage) {
        if let Some(there) = self.packages.remove(&key(&package)) {
            package.asked.extend(there.asked);
        }
        self.packages.insert(key(&package), package);
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        for ((distribution, suite), state) in &self.suites {
            let date = date::print(state.date_seconds);
            writeln!(f, "suite {distribution} {suite} {date} {}", state.inrelease)?;
        }
        for ((distribution, suite, architecture, name), package) in &self.packages {
            let LockedPackage { version, size_bytes, sha256, filename, asked, .. } = package;
            let asked = asked.iter().map(String::as_str).collect::<Vec<_>>().join(",");
            write!(f, "package {distribution} {suite} {architecture} {name} {version} ")?;
            writeln!(f, "{size_bytes} {sha256} {filename} {asked}")?;
        }
        Ok(())
    }
}

fn key(package: &LockedPackage) -> Key {
    let LockedPackage { distribution, suite, architecture, name, .. } = package;
    (distribution.clone(), suite.clone(), architecture.clone(), name.clone())
}

enum Line {
    Suite(String, String, LockedSuite),
    Package(LockedPackage),
}

/// Where a line stands: suites before packages.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Suite(String, String),
    Package(Key),
}

impl Rank {
    fn shown(&self) -> String {
        match self {
            Rank::Suite(_, suite) => format!("suite {suite}"),
            Rank::Package(key) => format!("package {}", key.3),
        }
    }
}

impl Line {
    fn rank(&self) -> Rank {
        match self {
            Line::Suite(distribution, suite, _) => Rank::Suite(distribution.clone(), suite.clone()),
            Line::Package(package) => Rank::Package(key(package)),
        }
    }
}

fn parse_line(line: &str) -> Result<Line, String> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["suite", distribution, suite, date, inrelease] => {
            word("name of a distribution", distribution, name::is_distribution)?;
            word("name of a suite", suite, name::is_suite)?;
            let date_seconds = date::parse(date)
                .ok_or_else(|| format!("{:?} is no date such as 2026-07-11T10:16:37Z", shown(date)))?;
            let state = LockedSuite { date_seconds, inrelease: digest(inrelease)? };
            Ok(Line::Suite(distribution.to_owned(), suite.to_owned(), state))
        }
        ["package", distribution, suite, architecture, name, version, size, sha256, filename, asked] => {
            word("name of a distribution", distribution, name::is_distribution)?;
            word("name of a suite", suite, name::is_suite)?;
            word("name of an architecture", architecture, name::is_architecture)?;
            word("name of a package", name, name::is_package)?;
            word("version", version, version::is_version)?;
            word("path below an archive's root", filename, name::is_archive_path)?;
            Ok(Line::Package(LockedPackage {
                distribution: distribution.to_owned(),
                suite: suite.to_owned(),
                architecture: architecture.to_owned(),
                name: name.to_owned(),
                version: version.to_owned(),
                size_bytes: number(size)?,
                sha256: digest(sha256)?,
                filename: filename.to_owned(),
                asked: names(asked)?,
            }))
        }
        ["suite", ..] => Err(format!("a suite's line has 5 words, this one {}", words.len())),
        ["package", ..] => Err(format!("a package's line has 10 words, this one {}", words.len())),
        _ => Err(format!("expected \"suite …\" or \"package …\", found {:?}", shown(line))),
    }
}

fn word(kind: &str, text: &str, is_good: fn(&str) -> bool) -> Result<(), String> {
    if is_good(text) { Ok(()) } else { Err(format!("{:?} is no {kind}", shown(text))) }
}

fn digest(text: &str) -> Result<Sha256, String> {
    text.parse().map_err(|_| format!("expected a SHA-256 of 64 hexadecimal digits, found {:?}", shown(text)))
}

/// Reads a number in its one spelling.
fn number(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(number) if number.to_string() == text => Ok(number),
        _ => Err(format!("expected a size in bytes, found {:?}", shown(text))),
    }
}

fn names(text: &str) -> Result<BTreeSet<String>, String> {
    let names: Vec<&str> = text.split(',').collect();
    names.iter().try_for_each(|one| word("name of a package", one, name::is_package))?;
    match names.windows(2).all(|pair| pair[0] < pair[1]) {
        true => Ok(names.into_iter().map(str::to_owned).collect()),
        false => Err(format!("the names {:?} are not sorted, or one is there twice", shown(text))),
    }
}

/// Cuts foreign text for a message.
fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

//! The lock's text: see the [format](super).

use std::collections::BTreeSet;
use std::fmt;

use super::super::deb::{name, version};
use super::super::{date, digest::Sha256, rpm};
use super::{
    Key, LOCAL, LOCK_BYTES_MAX, Lock, LockError, LockedPackage, LockedRequest, LockedSource, Reason,
};

/// The first line. Changing it is a format break.
const HEADER: &str = "mkimage-lock 2";

impl Lock {
    /// Reads the text of a lock. Strict: see the [format](super).
    pub fn parse(text: &str) -> Result<Lock, LockError> {
        let at = |line: usize, problem: String| LockError { line, problem };
        if text.len() > LOCK_BYTES_MAX {
            return Err(at(1, format!("the lock has {} bytes, more than {LOCK_BYTES_MAX}", text.len())));
        }
        let mut lines = text.split_inclusive('\n').enumerate();
        let first = lines.next().map_or("", |(_, line)| line);
        if first.trim_end_matches('\n') != HEADER {
            return Err(at(1, header_problem(first.trim_end())));
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
        lock.check_reasons().map_err(|(package, problem)| at(lock.line_of(&package), problem))?;
        Ok(lock)
    }

    fn add_line(&mut self, entry: Line) -> Result<(), String> {
        let has_request = |lock: &Lock, distribution: &str| match lock.requests.contains_key(distribution) {
            true => Ok(()),
            false => Err(format!("distribution {distribution} has no line \"request {distribution} …\"")),
        };
        match entry {
            Line::Request(distribution, request) => {
                self.requests.insert(distribution, request);
            }
            Line::Source(distribution, name, state) => {
                has_request(self, &distribution)?;
                self.sources.insert((distribution, name), state);
            }
            Line::Package(package) => {
                let LockedPackage { distribution, source, .. } = &package;
                has_request(self, distribution)?;
                if source != LOCAL && self.source(distribution, source).is_none() {
                    return Err(format!("source {source} has no line \"source {distribution} {source} …\""));
                }
                self.packages.insert(package.key(), package);
            }
        }
        Ok(())
    }

    /// Checks that packages that need others are there.
    fn check_reasons(&self) -> Result<(), (Key, String)> {
        for (key, package) in &self.packages {
            for reason in &package.why {
                if let Reason::Needed { by, .. } = reason
                    && self.find(&package.distribution, by).is_none()
                {
                    let problem = format!("{} is there for {}, which is not", package.name, shown(by));
                    return Err((key.clone(), problem));
                }
            }
        }
        Ok(())
    }

    fn line_of(&self, package: &Key) -> usize {
        let before = self.packages.keys().take_while(|key| *key != package).count();
        self.requests.len() + self.sources.len() + before + 2
    }
}

fn header_problem(found: &str) -> String {
    match found.strip_prefix("mkimage-lock ") {
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => format!(
            "this is a lock of format {}, and only format 2 is read: remove the file, then run `mkimage lock`",
            shown(number)
        ),
        _ => format!("expected {HEADER:?}, found {:?}", shown(found)),
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        for (distribution, LockedRequest { architecture, digest }) in &self.requests {
            writeln!(f, "request {distribution} {architecture} {digest}")?;
        }
        for ((distribution, name), LockedSource { suite, date_seconds, inrelease }) in &self.sources {
            let date = date::print(*date_seconds);
            writeln!(f, "source {distribution} {name} {suite} {date} {inrelease}")?;
        }
        for ((distribution, name, architecture), package) in &self.packages {
            let LockedPackage { version, source, size_bytes, sha256, filename, why, .. } = package;
            write!(f, "package {distribution} {name} {architecture} {version} {source} ")?;
            write!(f, "{size_bytes} {sha256} {filename}")?;
            let words: BTreeSet<String> = why.iter().map(|reason| reason.word(name)).collect();
            words.iter().try_for_each(|word| write!(f, " {word}"))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

enum Line {
    Request(String, LockedRequest),
    Source(String, String, LockedSource),
    Package(LockedPackage),
}

/// Where a line stands.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Request(String),
    Source(String, String),
    Package(Key),
}

impl Rank {
    fn shown(&self) -> String {
        match self {
            Rank::Request(distribution) => format!("request {distribution}"),
            Rank::Source(_, name) => format!("source {name}"),
            Rank::Package(key) => format!("package {}", key.1),
        }
    }
}

impl Line {
    fn rank(&self) -> Rank {
        match self {
            Line::Request(distribution, _) => Rank::Request(distribution.clone()),
            Line::Source(distribution, name, _) => Rank::Source(distribution.clone(), name.clone()),
            Line::Package(package) => Rank::Package(package.key()),
        }
    }
}

fn parse_line(line: &str) -> Result<Line, String> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["request", distribution, architecture, digest] => parse_request(distribution, architecture, digest),
        ["source", distribution, name, suite, date, inrelease] => {
            parse_source(distribution, name, suite, date, inrelease)
        }
        [
            "package",
            distribution,
            name,
            architecture,
            version,
            source,
            size,
            sha256,
            filename,
            ref why @ ..,
        ] => Ok(Line::Package(parse_package(
            [distribution, name, architecture, version, source],
            [size, sha256, filename],
            why,
        )?)),
        ["request", ..] => Err(format!("a request's line has 4 words, this one {}", words.len())),
        ["source", ..] => Err(format!("a source's line has 6 words, this one {}", words.len())),
        ["package", ..] => Err(format!("a package's line has 10 words or more, this one {}", words.len())),
        _ => {
            let found = shown(line);
            Err(format!("expected \"request …\", \"source …\" or \"package …\", found {found:?}"))
        }
    }
}

fn parse_request(distribution: &str, architecture: &str, sha256: &str) -> Result<Line, String> {
    word("name of a distribution", distribution, name::is_distribution)?;
    word("name of an architecture", architecture, name::is_architecture)?;
    let request = LockedRequest { architecture: architecture.to_owned(), digest: digest(sha256)? };
    Ok(Line::Request(distribution.to_owned(), request))
}

fn parse_source(
    distribution: &str,
    name: &str,
    suite: &str,
    date: &str,
    inrelease: &str,
) -> Result<Line, String> {
    word("name of a distribution", distribution, name::is_distribution)?;
    word("name of a source", name, |name| name::is_suite(name) && name != LOCAL)?;
    word("name of a suite", suite, name::is_suite)?;
    let date_seconds = date::parse(date)
        .ok_or_else(|| format!("{:?} is no date such as 2026-07-11T10:16:37Z", shown(date)))?;
    let state = LockedSource { suite: suite.to_owned(), date_seconds, inrelease: digest(inrelease)? };
    Ok(Line::Source(distribution.to_owned(), name.to_owned(), state))
}

fn parse_package(
    [distribution, name, architecture, version, source]: [&str; 5],
    [size, sha256, filename]: [&str; 3],
    why: &[&str],
) -> Result<LockedPackage, String> {
    word("name of a distribution", distribution, name::is_distribution)?;
    let is_rpm = distribution == rpm::DISTRIBUTION;
    let pick = |rpm: fn(&str) -> bool, deb: fn(&str) -> bool| if is_rpm { rpm } else { deb };
    word("name of a package", name, pick(rpm::is_name, name::is_package))?;
    word("name of an architecture", architecture, pick(rpm::is_architecture, name::is_architecture))?;
    word("version", version, pick(rpm::is_version_text, version::is_version))?;
    word("name of a source", source, name::is_suite)?;
    match filename.strip_prefix("local:") {
        Some(file) if source == LOCAL && !file.contains('/') && name::is_archive_path(file) => {}
        None if source != LOCAL => word("path below an archive's root", filename, name::is_archive_path)?,
        _ => return Err(format!("{:?} does not go with source {source}", shown(filename))),
    }
    Ok(LockedPackage {
        distribution: distribution.to_owned(),
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        version: version.to_owned(),
        source: source.to_owned(),
        size_bytes: number(size)?,
        sha256: digest(sha256)?,
        filename: filename.to_owned(),
        why: reasons(why, name, is_rpm)?,
    })
}

fn reasons(words: &[&str], package: &str, is_rpm: bool) -> Result<BTreeSet<Reason>, String> {
    if words.is_empty() {
        return Err("the line does not say why the package is there".to_owned());
    }
    if !words.windows(2).all(|pair| pair[0] < pair[1]) {
        return Err("the reasons at the end are not sorted, or one is there twice".to_owned());
    }
    let reason = |word: &&str| {
        Reason::parse(word, package, is_rpm).ok_or_else(|| format!("{:?} is no reason", shown(word)))
    };
    words.iter().map(reason).collect()
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

/// Cuts foreign text for a message.
fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

//! The `Release` file of a suite: dates, names, and the digests of its indexes.

use std::collections::BTreeMap;

use super::super::digest::Sha256;
use super::super::{date, deb::name};
use super::control::{self, ControlError};

/// Largest `InRelease` that is read, in bytes; Debian's largest has 0.2 MiB.
pub const RELEASE_BYTES_MAX: u64 = 16 << 20;

/// Holds what a suite says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Release {
    pub origin: Option<String>,
    pub suite: Option<String>,
    pub codename: Option<String>,
    /// When it was made, in seconds since 1970.
    pub date_seconds: u64,
    /// Until when it may be used, in seconds since 1970.
    pub valid_until_seconds: Option<u64>,
    /// Packages for all architectures stand in indexes of their own, not in those of each architecture.
    pub lists_all_apart: bool,
    /// Files can also be had by their digest.
    pub by_hash: bool,
    /// SHA-256 and size of each file, by path relative to the suite's folder.
    pub files: BTreeMap<String, (Sha256, u64)>,
}

/// Says why a text is no Release file.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum ReleaseError {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("has no field {0}")]
    Missing(&'static str),
    #[error("field {field} must be a date such as \"Sat, 11 Jul 2026 10:16:37 UTC\", found {found:?}")]
    Date { field: &'static str, found: String },
    #[error("field SHA256 holds a line that is not \"digest size path\": {found:?}")]
    File { found: String },
    #[error("field SHA256 gives two digests or sizes for {path}")]
    Twice { path: String },
}

impl Release {
    /// Reads the text of a Release file. Only text that a signature covers belongs here.
    pub fn parse(text: &str) -> Result<Release, ReleaseError> {
        let stanza = control::stanza(text)?;
        let get = |name: &str| stanza.get(name).map(str::to_owned);
        let date = |field: &'static str| match stanza.get(field) {
            None => Ok(None),
            Some(found) => date::parse_release(found)
                .map(Some)
                .ok_or_else(|| ReleaseError::Date { field, found: found.to_owned() }),
        };
        let has_word = |field: &str, word: &str| {
            stanza.get(field).is_some_and(|value| value.split_ascii_whitespace().any(|one| one == word))
        };
        Ok(Release {
            lists_all_apart: has_word("Architectures", "all")
                && !has_word("No-Support-for-Architecture-all", "Packages"),
            origin: get("Origin"),
            suite: get("Suite"),
            codename: get("Codename"),
            date_seconds: date("Date")?.ok_or(ReleaseError::Missing("Date"))?,
            valid_until_seconds: date("Valid-Until")?,
            by_hash: stanza.get("Acquire-By-Hash").is_some_and(|value| value.eq_ignore_ascii_case("yes")),
            files: files(stanza.get("SHA256").ok_or(ReleaseError::Missing("SHA256"))?)?,
        })
    }

    /// Tells whether this is the suite of that name or code name. A suite beside a main one that shares its code
    /// name (`jammy-proposed`, code name `jammy`) is only known by its own name: it must not pass for the main one.
    pub fn is_suite(&self, name: &str) -> bool {
        let codename = self.codename.as_deref();
        let beside = |suite: &str| {
            let rest = codename.and_then(|codename| suite.strip_prefix(codename));
            rest.is_some_and(|rest| rest.starts_with(['-', '/']))
        };
        let is_beside = self.suite.as_deref().is_some_and(beside);
        self.suite.as_deref() == Some(name) || (codename == Some(name) && !is_beside)
    }
}

fn files(field: &str) -> Result<BTreeMap<String, (Sha256, u64)>, ReleaseError> {
    let mut files = BTreeMap::new();
    for line in field.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let file =
            file(line).ok_or_else(|| ReleaseError::File { found: line.chars().take(100).collect() })?;
        if let Some(there) = files.insert(file.0.to_owned(), file.1)
            && there != file.1
        {
            return Err(ReleaseError::Twice { path: file.0.to_owned() });
        }
    }
    Ok(files)
}

fn file(line: &str) -> Option<(&str, (Sha256, u64))> {
    let mut words = line.split_ascii_whitespace();
    let digest = words.next()?.parse().ok()?;
    let size = words.next().filter(|size| size.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    let path = words.next().filter(|path| name::is_archive_path(path))?;
    words.next().is_none().then_some((path, (digest, size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_beside_another_one_does_not_pass_for_it() {
        let digest = "0".repeat(64);
        let release = |suite: &str, codename: &str| {
            let text = format!(
                "Suite: {suite}\nCodename: {codename}\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nArchitectures: all amd64\n\
                 SHA256:\n {digest} 0 main/binary-amd64/Packages\n"
            );
            Release::parse(&text).expect("parsed")
        };
        for (suite, codename, name, is_it) in [
            ("oldstable", "bookworm", "bookworm", true),
            ("oldstable", "bookworm", "oldstable", true),
            ("oldstable-security", "bookworm-security", "bookworm-security", true),
            ("oldstable-security", "bookworm-security", "bookworm", false),
            ("jammy", "jammy", "jammy", true),
            ("jammy-proposed", "jammy", "jammy", false),
            ("jammy-updates", "jammy", "jammy-updates", true),
            ("stable", "bookworm", "sid", false),
        ] {
            assert_eq!(release(suite, codename).is_suite(name), is_it, "{suite} {codename} {name}");
        }
        assert!(release("a", "b").lists_all_apart);
    }
}

//! The `Packages` index: a paragraph for each package that an archive offers.

use std::collections::BTreeSet;

use super::super::digest::Sha256;
use super::control::{self, ControlError, Stanza};
use super::{name, version};

/// Largest index that is read, in bytes after decompression; Debian's largest has 50 MiB.
pub const INDEX_BYTES_MAX: u64 = 1 << 30;

/// Holds what an index says of one package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexEntry {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// Path below the archive's root.
    pub filename: String,
    pub size_bytes: u64,
    pub sha256: Sha256,
    pub depends: String,
}

/// Says why a paragraph of an index can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum IndexError {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("package {package}: field {field} is missing or malformed: {found:?}")]
    Field { package: String, field: &'static str, found: String },
    #[error("holds a paragraph that does not say its package: {found:?}")]
    Nameless { found: String },
}

/// Returns the entries of the named packages, in the order of the index. Costs one pass over the text:
/// other paragraphs are skipped, not parsed.
pub fn find(text: &str, names: &BTreeSet<&str>) -> Result<Vec<IndexEntry>, IndexError> {
    let mut entries = Vec::new();
    for paragraph in text.split("\n\n") {
        let paragraph = paragraph.trim_matches('\n');
        if paragraph.is_empty() {
            continue;
        }
        let Some(name) = package_name(paragraph) else {
            return Err(IndexError::Nameless { found: paragraph.chars().take(60).collect() });
        };
        if names.contains(name) {
            entries.push(entry(&control::stanza(paragraph)?)?);
        }
    }
    Ok(entries)
}

/// Returns names of the index that a person may have meant, best first, at most three.
pub fn similar<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let mut near: Vec<(usize, &str)> = text
        .split("\n\n")
        .filter_map(|paragraph| package_name(paragraph.trim_matches('\n')))
        .filter_map(|other| Some((distance(name, other, 2)?, other)))
        .collect();
    near.sort();
    near.dedup();
    near.into_iter().take(3).map(|near| near.1).collect()
}

fn package_name(paragraph: &str) -> Option<&str> {
    match paragraph.strip_prefix("Package: ") {
        Some(rest) => rest.lines().next().map(str::trim),
        None => {
            let line = paragraph
                .lines()
                .find(|line| line.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("package:")))?;
            line.get(8..).map(str::trim)
        }
    }
}

fn entry(stanza: &Stanza<'_>) -> Result<IndexEntry, IndexError> {
    let package = stanza.get("Package").unwrap_or_default();
    let field = |field: &'static str, is_good: &dyn Fn(&str) -> bool| {
        let found = stanza.get(field).unwrap_or_default();
        let error = || IndexError::Field { package: package.to_owned(), field, found: found.to_owned() };
        if is_good(found) { Ok(found.to_owned()) } else { Err(error()) }
    };
    let is_digest = |text: &str| text.parse::<Sha256>().is_ok();
    let is_size = |text: &str| text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u64>().is_ok();
    Ok(IndexEntry {
        name: field("Package", &name::is_package)?,
        version: field("Version", &version::is_version)?,
        architecture: field("Architecture", &name::is_architecture)?,
        filename: field("Filename", &name::is_archive_path)?,
        size_bytes: field("Size", &is_size)?.parse().unwrap_or_default(),
        sha256: field("SHA256", &is_digest)?.parse().unwrap_or(Sha256([0; 32])),
        depends: stanza.get("Depends").unwrap_or_default().to_owned(),
    })
}

/// Returns how many letters differ (inserted, removed or changed); `None` where more than `most`.
fn distance(a: &str, b: &str, most: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > most {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
        if row.iter().all(|&cost| cost > most) {
            return None;
        }
    }
    row.last().copied().filter(|&cost| cost <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "Package: abc\nVersion: 1\nArchitecture: all\nFilename: pool/a.deb\nSize: 3\nSHA256: \
        ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\nDepends: x,\n y\n\nPackage: broken\nSize: -1\n";

    #[test]
    fn only_the_named_paragraphs_are_parsed() {
        let entries = find(INDEX, &BTreeSet::from(["abc", "none"])).expect("found");
        assert_eq!(entries.len(), 1);
        assert_eq!(
            (&*entries[0].filename, entries[0].size_bytes, &*entries[0].depends),
            ("pool/a.deb", 3, "x,\n y")
        );
        let error = find(INDEX, &BTreeSet::from(["broken"])).expect_err("broken");
        assert!(matches!(error, IndexError::Field { field: "Version", .. }), "{error}");
        assert_eq!(similar(INDEX, "abd"), ["abc"]);
        assert!(find("Foo: bar\n", &BTreeSet::new()).is_err());
    }
}

//! The `Packages` index: a paragraph for each package that an archive offers.
//!
//! [`super::scan`] looks at every line once and copies nothing: fields stay places in the text. Fields that only matter
//! for chosen packages are read when asked for, by [`field`] and [`relations`].

use super::super::digest::Sha256;
use super::{name, version};

/// Largest index that is read, in bytes after decompression; Debian's largest has 50 MiB.
pub const INDEX_BYTES_MAX: u64 = 1 << 30;

/// Holds what an index says of one package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexEntry {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// Path below the archive's root; `local:NAME.deb` for a file of the host.
    pub filename: String,
    pub size_bytes: u64,
    pub sha256: Sha256,
    /// The source package, which is the package's own name where none is given.
    pub source: String,
    /// The source package's version, which is the package's own where none is given.
    pub source_version: String,
    pub section: String,
}

/// Says why a paragraph of an index can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum IndexError {
    #[error("package {package}: field {field} is missing or malformed: {found:?}")]
    Field { package: String, field: &'static str, found: String },
    #[error("holds a paragraph that does not say its package: {found:?}")]
    Nameless { found: String },
}

/// Returns the names that differ least from another one, best first, at most three.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut near: Vec<(usize, &str)> =
        names.filter_map(|other| Some((distance(name, other, 2)?, other))).collect();
    near.sort();
    near.dedup();
    near.into_iter().take(3).map(|near| near.1).collect()
}

/// Reads the `Source` field: `NAME` or `NAME (VERSION)`; what is missing is the package's own.
pub fn source(field: &str, name: &str, version: &str) -> (String, String) {
    let (source, behind) = field.split_once(' ').unwrap_or((field, ""));
    let source_version =
        behind.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).map(str::trim);
    let source = if name::is_package(source) { source } else { name };
    (source.to_owned(), source_version.filter(|text| version::is_version(text)).unwrap_or(version).to_owned())
}

pub(super) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

pub(super) fn size(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// Marks a place in an index, in bytes. An index has less than 4 GiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Span { start: start as u32, end: end as u32 }
    }

    /// Returns the place of a part that was cut from a text; an empty one for any other part.
    pub fn within(text: &str, part: &str) -> Self {
        match (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize) {
            Some(start) if start + part.len() <= text.len() => Span::new(start, start + part.len()),
            _ => Span::default(),
        }
    }

    /// Returns the text at the place.
    pub fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Says how packages of several architectures stand to each other (`Multi-Arch`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MultiArch {
    #[default]
    No,
    /// Several architectures of it can be installed side by side.
    Same,
    /// It serves packages of every architecture.
    Foreign,
    /// It serves those of every architecture that say so, by `:any`.
    Allowed,
}

/// Orders packages by their `Priority` field.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Priority {
    Required,
    Important,
    Standard,
    #[default]
    Optional,
    Extra,
}

/// Holds what choosing needs to know of a package, as places in the text of its index.
#[derive(Clone, Copy, Debug, Default)]
pub struct Paragraph {
    pub whole: Span,
    pub name: Span,
    pub version: Span,
    pub architecture: Span,
    pub provides: Span,
    pub filename: Span,
    pub sha256: Span,
    pub size: Span,
    pub multi_arch: MultiArch,
    pub priority: Priority,
    pub is_essential: bool,
    /// `Protected: yes`, or its older name `Important: yes`.
    pub is_protected: bool,
}

/// Returns the value of a field of one paragraph, continuation lines and all, without the blanks around it.
pub fn field<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    fields(paragraph).find(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1)
}

/// The fields of relations that choosing follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Relations<'a> {
    pub pre_depends: &'a str,
    pub depends: &'a str,
    pub recommends: &'a str,
    pub conflicts: &'a str,
    pub breaks: &'a str,
}

/// Returns the relations of a paragraph, in one pass.
pub fn relations(paragraph: &str) -> Relations<'_> {
    let mut relations = Relations::default();
    for (name, value) in fields(paragraph) {
        let place = match name.len() {
            11 if name.eq_ignore_ascii_case("Pre-Depends") => &mut relations.pre_depends,
            7 if name.eq_ignore_ascii_case("Depends") => &mut relations.depends,
            10 if name.eq_ignore_ascii_case("Recommends") => &mut relations.recommends,
            9 if name.eq_ignore_ascii_case("Conflicts") => &mut relations.conflicts,
            6 if name.eq_ignore_ascii_case("Breaks") => &mut relations.breaks,
            _ => continue,
        };
        *place = value;
    }
    relations
}

/// Walks the fields of one paragraph; lines that are none are passed over.
pub fn fields(paragraph: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < paragraph.len() {
            let start = at;
            let mut end = line_end(paragraph, start);
            while paragraph.as_bytes().get(end + 1).is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
                end = line_end(paragraph, end + 1);
            }
            at = end + 1;
            if let Some((name, value)) = paragraph[start..end].split_once(':') {
                return Some((name, value.trim()));
            }
        }
        None
    })
}

fn line_end(text: &str, start: usize) -> usize {
    text[start..].find('\n').map_or(text.len(), |length| start + length)
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

    #[test]
    fn names_that_were_meant_are_near() {
        let names = ["linux-image-amd64", "nginx", "nginx-light", "ngin", "n\u{e9}inx"];
        assert_eq!(nearest("ngimx", names.into_iter()), ["nginx", "ngin"]);
        assert_eq!(nearest("", names.into_iter()), [""; 0]);
    }

    #[test]
    fn the_source_is_the_package_itself_unless_said() {
        let own = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(source("", "aa", "1"), own("aa", "1"));
        assert_eq!(source("bb", "aa", "1"), own("bb", "1"));
        assert_eq!(source("bb (2)", "aa", "1"), own("bb", "2"));
        assert_eq!(source("B (", "aa", "1"), own("aa", "1"));
    }
}

//! What verifying found: values that cross the pipe from the confined child, and are printed.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::proof::Proofs;

/// Findings that are told one by one; further ones are counted.
const FINDINGS_MAX: usize = 64;

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A whole disk.
    Disk,
    /// An EFI system partition alone.
    Esp,
    /// A slot's partition alone: a filesystem and its verity tree.
    Slot,
}

/// The result of looking at an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub kind: Kind,
    pub size_bytes: u64,
    /// Whether nothing was found to be wrong.
    pub sound: bool,
    /// The commit that boots next, or that the only slot holds.
    pub commit: Option<String>,
    /// Whether every byte is as the commit alone makes it: nothing was booted or updated.
    pub fresh: bool,
    pub slots: Vec<SlotReport>,
    pub findings: Vec<Finding>,
    /// How many findings were not listed.
    pub more_findings: u64,
    /// Byte ranges of the image that a digest or a computation covers, ascending.
    pub covered: Vec<Range>,
    /// Byte ranges that nothing covers, and why.
    pub uncovered: Vec<Range>,
    /// What comparing need not read again. It is known to who verified, and to nobody else.
    #[serde(skip)]
    pub proofs: Proofs,
}

/// What a slot holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SlotReport {
    pub slot: String,
    /// `empty`, `inactive`, `trial` or `blessed`.
    pub state: String,
    pub commit: Option<String>,
    pub name: Option<String>,
    pub version: Option<String>,
    /// The id of the tree as its files and directories give it.
    pub tree: Option<String>,
    pub root_hash: Option<String>,
    pub files: u64,
    /// Bytes of all files.
    pub file_bytes: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong: partition and structure.
    pub structure: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// The file or directory of the image that it touches.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// Where, in bytes from the beginning of the image.
    pub offset: u64,
    pub problem: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.structure)?;
        if let Some(field) = &self.field {
            write!(f, ", {field}")?;
        }
        if let Some(path) = &self.path {
            write!(f, " ({path})")?;
        }
        write!(f, ", at byte {}: {}", self.offset, self.problem)
    }
}

/// Bytes of the image, and what they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    pub offset: u64,
    pub bytes: u64,
    /// What covers it, or why nothing does.
    pub what: String,
}

/// Gathers findings from any thread.
#[derive(Default)]
pub struct Findings(Mutex<(Vec<Finding>, u64)>);

impl Findings {
    pub fn add(&self, finding: Finding) {
        let mut found = self.0.lock().expect("because nothing panics while it notes a finding");
        if found.0.contains(&finding) {
            return;
        }
        match found.0.len() < FINDINGS_MAX {
            true => found.0.push(finding),
            false => found.1 += 1,
        }
    }

    /// Adds a finding without field and path.
    pub fn note(&self, structure: impl Into<String>, offset: u64, problem: impl Into<String>) {
        let (structure, problem) = (structure.into(), problem.into());
        self.add(Finding { structure, field: None, path: None, offset, problem });
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().expect("because nothing panics while it notes a finding").0.is_empty()
    }

    /// Tells whether anything was found in a structure, or too much to know.
    pub fn may_be_of(&self, structure: &str) -> bool {
        let found = self.0.lock().expect("because nothing panics while it notes a finding");
        found.1 > 0 || found.0.iter().any(|finding| finding.structure == structure)
    }

    /// Returns all, by place, and how many were only counted.
    pub fn into_inner(self) -> (Vec<Finding>, u64) {
        let (mut found, more) = self.0.into_inner().expect("because nothing panics while it notes a finding");
        found.sort_by(|a, b| (a.offset, &a.structure).cmp(&(b.offset, &b.structure)));
        (found, more)
    }
}

/// Which bytes are covered, and which are not.
#[derive(Default)]
pub struct Coverage {
    pub covered: Vec<Range>,
    pub uncovered: Vec<Range>,
    /// Ranges that were seen to hold zeros only: begin, end.
    pub zeros: Vec<(u64, u64)>,
}

impl Coverage {
    pub fn cover(&mut self, offset: u64, bytes: u64, what: &str) {
        add(&mut self.covered, offset, bytes, what);
    }

    pub fn miss(&mut self, offset: u64, bytes: u64, why: &str) {
        add(&mut self.uncovered, offset, bytes, why);
    }

    /// Sorts both lists, and takes out of the covered ranges what some part said to be uncovered.
    pub fn finish(mut self) -> (Vec<Range>, Vec<Range>) {
        self.uncovered.sort_by_key(|range| range.offset);
        let mut covered = Vec::new();
        for range in self.covered {
            let (mut at, end) = (range.offset, range.offset + range.bytes);
            for hole in &self.uncovered {
                let hole_end = hole.offset + hole.bytes;
                if hole_end <= at || hole.offset >= end {
                    continue;
                }
                if hole.offset > at {
                    add(&mut covered, at, hole.offset - at, &range.what);
                }
                at = hole_end.min(end);
            }
            add(&mut covered, at, end - at, &range.what);
        }
        covered.sort_by_key(|range| range.offset);
        (covered, self.uncovered)
    }
}

fn add(list: &mut Vec<Range>, offset: u64, bytes: u64, what: &str) {
    if bytes > 0 {
        list.push(Range { offset, bytes, what: what.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_be_uncovered_is_in_no_covered_range() {
        let mut coverage = Coverage::default();
        coverage.cover(0, 100, "a");
        coverage.cover(100, 50, "b");
        coverage.miss(90, 20, "why");
        coverage.miss(0, 5, "why");
        let (covered, uncovered) = coverage.finish();
        let places: Vec<_> = covered.iter().map(|range| (range.offset, range.bytes)).collect();
        assert_eq!(places, [(5, 85), (110, 40)]);
        assert_eq!(uncovered.len(), 2);
    }

    #[test]
    fn findings_are_bounded_and_none_is_said_twice() {
        let findings = Findings::default();
        for offset in 0..1000 {
            findings.note("x", offset, "y");
            findings.note("x", offset.min(10), "y");
        }
        let (found, more) = findings.into_inner();
        assert_eq!(found.len(), FINDINGS_MAX);
        assert_eq!(more, 1000 - FINDINGS_MAX as u64);
    }
}

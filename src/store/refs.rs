//! Refs: names that lead to commits and can be moved.
//!
//! ```text
//! refs/NAME = "1 GENERATION COMMIT PREVIOUS SECONDS CHECK\n"
//! ```
//!
//! The generation counts the moves, from 1, and goes on after a removal; PREVIOUS is the commit before the
//! move, or `-`; SECONDS is the time of the move since 1970 (for people, never for an image); CHECK is BLAKE3
//! of the line before it, in derive-key mode, context `mkimage 2026 ref v1`. In a journal COMMIT may be `-`:
//! then the ref goes. Refs below `tag/` never move: they are made and removed.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::error::{Result, StoreError};
use super::line;
use super::store::Store;
use crate::base::{CommitId, Digest};

const CONTEXT: &str = "mkimage 2026 ref v1";
const REF_BYTES_MAX: u64 = 1024;
const COMPONENTS_MAX: usize = 8;
/// What the names of tags begin with.
pub const TAGS: &str = "tag/";

/// Holds the name of a ref: one to eight components of 1 to 64 characters `a-z`, `0-9`, `.`, `_`, `-`,
/// with `/` between them. Each begins with a letter or digit, none holds "..", ends in ".lock" or looks
/// like an id. The same everywhere: on the command line, in remotes, in signed documents.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(String);

/// Says why a text is no name of a ref.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no name of a ref: {problem}")]
pub struct RefNameError {
    pub name: String,
    pub problem: &'static str,
}

impl RefName {
    /// Checks and takes a name.
    pub fn new(name: &str) -> std::result::Result<Self, RefNameError> {
        let problem = if name.split('/').count() > COMPONENTS_MAX {
            Some("it has more than 8 components")
        } else {
            name.split('/').find_map(component_problem)
        };
        match problem {
            Some(problem) => Err(RefNameError { name: name.to_owned(), problem }),
            None => Ok(RefName(name.to_owned())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether it is the name of a tag: below `tag/`. Tags never move.
    pub fn is_tag(&self) -> bool {
        self.0.starts_with(TAGS)
    }

    /// Tells whether one of the names is a directory of the other.
    pub(super) fn collides(&self, other: &RefName) -> bool {
        let below =
            |long: &str, short: &str| long.strip_prefix(short).is_some_and(|rest| rest.starts_with('/'));
        self == other || below(&self.0, &other.0) || below(&other.0, &self.0)
    }
}

fn component_problem(component: &str) -> Option<&'static str> {
    let bytes = component.as_bytes();
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match bytes {
        [] => Some("a component is empty"),
        _ if bytes.len() > 64 => Some("a component has more than 64 characters"),
        [first, ..] if !letter(*first) => Some("each component begins with a-z or 0-9"),
        _ if bytes.iter().any(|&byte| !letter(byte) && !b"._-".contains(&byte)) => {
            Some("only a-z, 0-9, \".\", \"_\", \"-\" and \"/\" may occur")
        }
        _ if component.contains("..") => Some("\"..\" must not occur"),
        _ if component.ends_with(".lock") => Some("no component ends in \".lock\""),
        _ if component.parse::<Digest>().is_ok() => Some("a component looks like an id"),
        _ => None,
    }
}

impl FromStr for RefName {
    type Err = RefNameError;

    fn from_str(name: &str) -> std::result::Result<Self, RefNameError> {
        RefName::new(name)
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl serde::Serialize for RefName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What a ref leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RefValue {
    /// Counts the moves, from 1.
    pub generation: u64,
    pub commit: CommitId,
    /// Where the ref led before its last move.
    pub previous: Option<CommitId>,
    /// Seconds since 1970 at the last move. Never reaches an image.
    pub seconds: u64,
}

impl RefValue {
    pub(super) fn shown(value: Option<&RefValue>) -> String {
        value
            .map_or("no such ref".to_owned(), |value| format!("{} (move {})", value.commit, value.generation))
    }

    pub(super) fn encode(&self) -> String {
        RefState { value: *self, removed: false }.encode()
    }

    pub(super) fn decode(line: &str) -> std::result::Result<Self, String> {
        let state = RefState::decode(line)?;
        state.there().ok_or_else(|| "it leads nowhere".to_owned())
    }
}

/// A ref after a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RefState {
    /// Of a ref that was removed: `commit` is where it led before, like `previous`.
    pub value: RefValue,
    pub removed: bool,
}

impl RefState {
    /// Returns where the ref leads; `None` where it was removed.
    pub fn there(self) -> Option<RefValue> {
        (!self.removed).then_some(self.value)
    }

    /// Writes what refs, journals and logs say of a move: `GENERATION COMMIT PREVIOUS SECONDS`.
    pub fn fields(&self) -> String {
        let RefValue { generation, commit, previous, seconds } = &self.value;
        let commit = optional((!self.removed).then_some(commit));
        format!("{generation} {commit} {} {seconds}", optional(previous.as_ref()))
    }

    /// Reads what [`RefState::fields`] wrote.
    pub fn of_fields([generation, commit, previous, seconds]: [&str; 4]) -> Option<Self> {
        let previous: Option<CommitId> = if previous == "-" { None } else { Some(previous.parse().ok()?) };
        let removed = commit == "-";
        let commit = if removed { previous? } else { commit.parse().ok()? };
        let (generation, seconds) = (generation.parse().ok()?, seconds.parse().ok()?);
        Some(RefState { value: RefValue { generation, commit, previous, seconds }, removed })
    }

    pub fn encode(&self) -> String {
        with_check(format!("1 {} ", self.fields()))
    }

    pub fn decode(line: &str) -> std::result::Result<Self, String> {
        let body = checked(line)?;
        let fields: Vec<&str> = body.split(' ').collect();
        let state = match fields[..] {
            ["1", generation, commit, previous, seconds, ""] => {
                RefState::of_fields([generation, commit, previous, seconds])
            }
            _ => None,
        };
        state
            .filter(|state| state.encode().trim_end() == line)
            .ok_or_else(|| format!("{body:?} is no value of a ref"))
    }
}

/// Prints a name, or `-` where there is none.
pub(super) fn optional<T: fmt::Display>(name: Option<&T>) -> String {
    name.map_or("-".to_owned(), T::to_string)
}

/// Ends a line with its check.
pub(super) fn with_check(body: String) -> String {
    line::seal(CONTEXT, body)
}

/// Returns a line without its check, which must be right.
pub(super) fn checked(text: &str) -> std::result::Result<&str, String> {
    line::open(CONTEXT, text)
}

/// What a ref must lead to for it to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Any,
    /// There must be no such ref.
    Missing,
    /// This generation and commit.
    Value(u64, CommitId),
}

impl Expected {
    /// Returns what expects a ref to be as it was read.
    pub fn of(value: Option<&RefValue>) -> Self {
        value.map_or(Expected::Missing, |value| Expected::Value(value.generation, value.commit))
    }

    pub(super) fn allows(&self, value: Option<&RefValue>) -> bool {
        *self == Expected::Any || *self == Expected::of(value)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Any => f.write_str("anything"),
            Expected::Missing => f.write_str("no such ref"),
            Expected::Value(generation, commit) => write!(f, "{commit} (move {generation})"),
        }
    }
}

/// Asks for a ref to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUpdate {
    pub name: RefName,
    pub expected: Expected,
    pub new: CommitId,
}

/// Asks for a ref to be moved or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefMove {
    pub name: RefName,
    pub expected: Expected,
    /// Where it is to lead. `None`: it is to go; one that is not there is an error.
    pub new: Option<CommitId>,
}

impl From<&RefUpdate> for RefMove {
    fn from(update: &RefUpdate) -> Self {
        let RefUpdate { name, expected, new } = update.clone();
        RefMove { name, expected, new: Some(new) }
    }
}

/// What came of an update.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RefChange {
    pub name: RefName,
    /// Of a ref that was removed: `commit` is where it led before.
    pub value: RefValue,
    /// False where the ref had the value already: then nothing was written.
    pub moved: bool,
    pub removed: bool,
}

/// How often a ref is looked for that is not there: its file may be replaced each time.
const REPLACED_MAX: usize = 8;

impl Store {
    /// Reads a ref; `None` where there is none.
    pub fn read_ref(&self, name: &RefName) -> Result<Option<RefValue>> {
        // While the file is not there, on NFS, the move stands in the journal, which was looked at before.
        for _ in 1..if self.is_shared() { REPLACED_MAX } else { 1 } {
            if let Some(state) = self.read_ref_once(name)? {
                return Ok(state.there());
            }
        }
        Ok(self.read_ref_once(name)?.and_then(RefState::there))
    }

    fn read_ref_once(&self, name: &RefName) -> Result<Option<RefState>> {
        let decided = self.decided()?.remove(name).map(|entry| entry.state());
        let written = self.read_ref_file(name)?.map(|value| RefState { value, removed: false });
        Ok(decided.into_iter().chain(written).max_by_key(|state| state.value.generation))
    }

    /// Reads all refs, by name.
    pub fn refs(&self) -> Result<BTreeMap<RefName, RefValue>> {
        let mut refs = self.listed_refs()?;
        if self.is_shared() {
            // A file that was just being replaced is not listed, on NFS; its log is.
            for name in
                self.logged_refs()?.into_iter().filter(|name| !refs.contains_key(name)).collect::<Vec<_>>()
            {
                if self.last_logged(&name)?.is_some_and(|entry| !entry.removed)
                    && let Some(value) = self.read_ref(&name)?
                {
                    refs.insert(name, value);
                }
            }
        }
        Ok(refs)
    }

    fn listed_refs(&self) -> Result<BTreeMap<RefName, RefValue>> {
        let decided = self.decided()?.into_iter().map(|(name, entry)| (name, entry.state()));
        let mut refs: BTreeMap<RefName, RefState> = decided.collect();
        let mut waiting = vec![String::new()];
        while let Some(prefix) = waiting.pop() {
            for name in self.list_refs(&prefix)? {
                // Whatever is in a directory that was just listed is looked up anew.
                if self.layout.refs().join(name.as_str()).is_dir() {
                    waiting.push(format!("{name}/"));
                } else if let Some(value) = self.read_ref_listed(&name)? {
                    let state = RefState { value, removed: false };
                    let newest = refs.entry(name).or_insert(state);
                    if newest.value.generation < value.generation {
                        *newest = state;
                    }
                }
            }
        }
        Ok(refs.into_iter().filter_map(|(name, state)| Some((name, state.there()?))).collect())
    }

    fn list_refs(&self, prefix: &str) -> Result<Vec<RefName>> {
        match crate::base::fs::list(&self.layout.refs().join(prefix)) {
            Err(error) if error.is_missing() => Ok(Vec::new()),
            names => {
                let names = names?;
                Ok(names
                    .iter()
                    .filter_map(|name| RefName::new(&format!("{prefix}{}", name.to_str()?)).ok())
                    .collect())
            }
        }
    }

    /// Reads what stands in a ref's file.
    pub(super) fn read_ref_file(&self, name: &RefName) -> Result<Option<RefValue>> {
        self.look_afresh(&self.layout.reference(name));
        self.read_ref_listed(name)
    }

    /// Reads what stands in the file of a ref whose directory was listed just now.
    fn read_ref_listed(&self, name: &RefName) -> Result<Option<RefValue>> {
        let path = self.layout.reference(name);
        let bytes = match crate::base::fs::read_at_most(&path, REF_BYTES_MAX) {
            Err(error) if error.is_missing() || is_no_file(&error) => return Ok(None),
            bytes => bytes?,
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| "it is no text".to_owned());
        let line = text.and_then(|text| text.strip_suffix('\n').ok_or("its line has no end".to_owned()));
        let value = line.and_then(RefValue::decode);
        value.map(Some).map_err(|problem| StoreError::DamagedRef { path, problem })
    }
}

/// Tells whether a directory stands in the way: the name is a prefix of another ref's, or the reverse.
fn is_no_file(error: &crate::base::FileError) -> bool {
    use std::io::ErrorKind::{IsADirectory, NotADirectory};
    matches!(error.source.kind(), IsADirectory | NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for right in ["hello", "0", "a.b-c_d", "a/b/c/d/e/f/g/h", &"x".repeat(64), "team/web-1.2"] {
            assert_eq!(RefName::new(right).map(|name| name.to_string()), Ok(right.to_owned()));
        }
        let id = Digest::of(b"").to_string();
        for wrong in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "ä",
            ".a",
            "-a",
            "_a",
            "a..b",
            "a.lock",
            "a.lock/b",
            "a b",
            "a\n",
            "a/b/c/d/e/f/g/h/i",
            "a\0",
            "a~1",
            &"x".repeat(65),
            &id,
            &format!("a/{id}"),
        ] {
            assert!(RefName::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_value_has_one_line_and_a_changed_line_is_no_value() {
        let value = RefValue {
            generation: 7,
            commit: CommitId(Digest::of(b"new")),
            previous: Some(CommitId(Digest::of(b"old"))),
            seconds: 1_700_000_000,
        };
        let line = value.encode();
        let line = line.trim_end();
        assert_eq!(RefValue::decode(line), Ok(value));
        for index in 0..line.len() {
            let mut changed = line.as_bytes().to_vec();
            changed[index] ^= 1;
            let changed = String::from_utf8(changed).expect("text");
            assert!(RefValue::decode(&changed).is_err(), "{changed}");
            assert!(RefValue::decode(&line[..index]).is_err());
        }
    }

    #[test]
    fn a_removal_is_a_state_and_no_value() {
        let old = CommitId(Digest::of(b"old"));
        let value = RefValue { generation: 8, commit: old, previous: Some(old), seconds: 1_700_000_000 };
        let state = RefState { value, removed: true };
        let line = state.encode();
        assert_eq!(RefState::decode(line.trim_end()), Ok(state));
        assert!(RefValue::decode(line.trim_end()).is_err());
        let nothing = with_check("1 8 - - 1700000000 ".to_owned());
        assert!(RefState::decode(nothing.trim_end()).is_err(), "what was never there can't be removed");
    }
}

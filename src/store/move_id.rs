//! Names of moves: refs that moved together have the same one in their logs.
//!
//! ```text
//! move = time[16] random[8]      digits 0-9a-f: nanoseconds since 1970, and what parts moves of one time
//! ```
//!
//! The time is the clock's, but always later than that of the moves before of the same refs. So the names of
//! a ref's moves ascend, also where the clock was set back.

use std::fmt;
use std::str::FromStr;

use super::refs::RefValue;
use crate::base::{Digest, clock, publish};

const DIGITS: usize = 24;
const NANOSECONDS: u64 = 1_000_000_000;

/// Names a move of one or more refs. Later moves are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MoveId {
    nanoseconds: u64,
    random: u32,
}

impl MoveId {
    /// Makes a new name, greater than that of an earlier move.
    pub(super) fn new(after: Option<MoveId>) -> Self {
        let least = after.map_or(0, |after| after.nanoseconds.saturating_add(1));
        let random = u32::from_str_radix(&publish::unique()[..8], 16).unwrap_or(0);
        MoveId { nanoseconds: clock::unix_nanoseconds().max(least), random }
    }

    /// Returns the name of a move whose line in the log is of version 1, or was lost: always the same, and
    /// greater than that of the ref's move before.
    pub(super) fn of(value: &RefValue, after: Option<MoveId>) -> Self {
        let digest = Digest::of(value.encode().as_bytes());
        let random = u32::from_be_bytes([0, 1, 2, 3].map(|index: usize| digest.0[index]));
        let least = after.map_or(0, |after| after.nanoseconds.saturating_add(1));
        MoveId { nanoseconds: value.seconds.saturating_mul(NANOSECONDS).max(least), random }
    }
}

impl fmt::Display for MoveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:08x}", self.nanoseconds, self.random)
    }
}

impl fmt::Debug for MoveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Says that a text is no name of a move.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 24 hexadecimal digits (0-9, a-f), found {found:?}")]
pub struct MoveIdError {
    pub found: String,
}

impl FromStr for MoveId {
    type Err = MoveIdError;

    fn from_str(text: &str) -> Result<Self, MoveIdError> {
        let error = || MoveIdError { found: text.to_owned() };
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != DIGITS || !text.bytes().all(is_digit) {
            return Err(error());
        }
        let nanoseconds = u64::from_str_radix(&text[..16], 16).map_err(|_| error())?;
        let random = u32::from_str_radix(&text[16..], 16).map_err(|_| error())?;
        Ok(MoveId { nanoseconds, random })
    }
}

impl serde::Serialize for MoveId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ascend_even_where_the_clock_was_set_back() {
        let first = MoveId::new(None);
        let second = MoveId::new(Some(first));
        assert!(second > first);
        let tomorrow = MoveId { nanoseconds: first.nanoseconds + 86_400 * NANOSECONDS, random: 7 };
        assert!(MoveId::new(Some(tomorrow)) > tomorrow);
        let last = MoveId { nanoseconds: u64::MAX, random: 0 };
        assert_eq!(MoveId::new(Some(last)).nanoseconds, u64::MAX);
    }

    #[test]
    fn moves_of_one_second_without_names_ascend_too() {
        let commit = crate::base::CommitId(Digest::of(b"c"));
        let value = |generation| RefValue { generation, commit, previous: None, seconds: 7 };
        let mut last = None;
        for generation in 1..20 {
            let name = MoveId::of(&value(generation), last);
            assert!(Some(name) > last);
            assert_eq!(name, MoveId::of(&value(generation), last));
            last = Some(name);
        }
    }

    #[test]
    fn a_name_has_one_spelling() {
        let name = MoveId::new(None);
        assert_eq!(name.to_string().parse(), Ok(name));
        let text = name.to_string();
        for wrong in [
            "",
            "-",
            &text[1..],
            &text.to_uppercase(),
            &format!("+{}", &text[1..]),
            "é23456789012345678901234",
        ] {
            if wrong != text {
                assert!(wrong.parse::<MoveId>().is_err(), "{wrong}");
            }
        }
    }
}

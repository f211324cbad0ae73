//! The journal: refs that move together stand in it, while they move.
//!
//! ```text
//! journal/UNIQUE = head, then for each ref: NAME, a space, and its new line as in `refs`
//! head           = "2 MOVE UNDOES MESSAGE CHECK\n"      MOVE and UNDOES as in `reflog`
//!                | "MESSAGE CHECK\n"                    written before moves had names
//! ```
//!
//! Once a journal has its name, its moves are decided: readers count them at once, and whoever writes next
//! finishes what a dead process left. A removal is always written here first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{Result, StoreError};
use super::move_id::MoveId;
use super::reflog::LogEntry;
use super::refs::{RefName, RefState, checked, optional, with_check};
use super::store::Store;

const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// Refs that move together.
pub(super) struct Journal {
    pub id: MoveId,
    pub undoes: Option<MoveId>,
    /// On one line.
    pub message: String,
    pub moves: Vec<(RefName, RefState)>,
}

impl Journal {
    /// Returns the line of the log that belongs to a ref.
    pub fn entry(&self, state: &RefState) -> LogEntry {
        let RefState { value, removed } = *state;
        let message = self.message.clone();
        LogEntry { value, removed, message, transaction: self.id, undoes: self.undoes }
    }

    pub fn encode(&self) -> String {
        let Journal { id, undoes, message, moves } = self;
        let mut text = with_check(format!("2 {id} {} {message} ", optional(undoes.as_ref())));
        for (name, state) in moves {
            text.push_str(&format!("{name} {}", state.encode()));
        }
        text
    }

    fn decode(text: &str) -> std::result::Result<Self, String> {
        let mut lines = text.lines();
        let head = checked(lines.next().unwrap_or(""))?;
        let moves = lines.map(|line| {
            let (name, state) = line.split_once(' ').ok_or("a line without a space")?;
            Ok((RefName::new(name).map_err(|error| error.to_string())?, RefState::decode(state)?))
        });
        let moves: Vec<_> = moves.collect::<std::result::Result<_, String>>()?;
        let first = moves.first().ok_or("it moves nothing")?;
        Ok(match Self::head(head) {
            Some((id, undoes, message)) => Journal { id, undoes, message, moves },
            None => {
                let (id, message) = (MoveId::of(&first.1.value, None), head.trim_end().to_owned());
                Journal { id, undoes: None, message, moves }
            }
        })
    }

    fn head(head: &str) -> Option<(MoveId, Option<MoveId>, String)> {
        let mut fields = head.strip_suffix(' ')?.strip_prefix("2 ")?.splitn(3, ' ');
        let id = fields.next()?.parse().ok()?;
        let undoes = match fields.next()? {
            "-" => None,
            undoes => Some(undoes.parse().ok()?),
        };
        Some((id, undoes, fields.next()?.to_owned()))
    }
}

impl Store {
    /// Returns the newest moves that are decided but may not be in the refs' files yet.
    pub(super) fn decided(&self) -> Result<BTreeMap<RefName, LogEntry>> {
        let mut decided = BTreeMap::<RefName, LogEntry>::new();
        for path in self.journals()? {
            let Some(journal) = read(&path)? else { continue };
            for (name, state) in &journal.moves {
                let known = decided.get(name);
                if known.is_none_or(|known| known.value.generation < state.value.generation) {
                    decided.insert(name.clone(), journal.entry(state));
                }
            }
        }
        Ok(decided)
    }

    pub(super) fn journals(&self) -> Result<Vec<PathBuf>> {
        let names = match crate::base::fs::list(&self.layout.journals()) {
            Err(error) if error.is_missing() => return Ok(Vec::new()),
            names => names?,
        };
        let named = names.into_iter().filter(|name| !name.as_encoded_bytes().starts_with(b"."));
        Ok(named.map(|name| self.layout.journals().join(name)).collect())
    }
}

/// Reads a journal; `None` for one that was finished and removed in the meantime.
pub(super) fn read(path: &Path) -> Result<Option<Journal>> {
    let bytes = match crate::base::fs::read_at_most(path, JOURNAL_BYTES_MAX) {
        Err(error) if error.is_missing() => return Ok(None),
        bytes => bytes?,
    };
    let journal = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned());
    let journal = journal.and_then(|text| Journal::decode(&text));
    journal.map(Some).map_err(|problem| StoreError::DamagedRef { path: path.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{CommitId, Digest};
    use crate::store::RefValue;

    fn state(generation: u64, removed: bool) -> RefState {
        let commit = CommitId(Digest::of(b"commit"));
        RefState { value: RefValue { generation, commit, previous: Some(commit), seconds: 9 }, removed }
    }

    fn name(text: &str) -> RefName {
        RefName::new(text).expect("a name")
    }

    #[test]
    fn moves_and_removals_come_back_with_who_they_belong_to() {
        let id = MoveId::new(None);
        let moves = vec![(name("a"), state(1, false)), (name("b/c"), state(7, true))];
        for undoes in [None, Some(MoveId::new(None))] {
            for message in ["two at once", "", "2 words", "-"] {
                let journal = Journal { id, undoes, message: message.to_owned(), moves: moves.clone() };
                let text = journal.encode();
                let read = Journal::decode(&text).expect("decoded");
                assert_eq!((read.id, read.undoes, &*read.message), (id, undoes, message));
                assert_eq!(read.moves, moves);
                assert!(Journal::decode(&text[..text.len() - 2]).is_err(), "a torn journal decides nothing");
                assert!(Journal::decode(&text.replacen('2', "3", 1)).is_err(), "a changed head");
            }
        }
    }

    #[test]
    fn a_journal_of_an_older_program_is_finished_as_it_was_meant() {
        let move_state = state(3, false);
        let text = format!("{}a {}", with_check("2 refs moved ".to_owned()), move_state.encode());
        let read = Journal::decode(&text).expect("decoded");
        assert_eq!((&*read.message, read.undoes), ("2 refs moved", None));
        assert_eq!(read.id, MoveId::of(&move_state.value, None));
    }
}

//! From what people type to a commit.

use std::collections::BTreeSet;

use super::error::{Kind, Result, StoreError};
use super::objects::Objects;
use super::refs::RefName;
use super::store::Store;
use crate::base::{CommitId, Digest};

/// Fewest digits of an id that stand for it.
const PREFIX_DIGITS_MIN: usize = 4;

impl Store {
    /// Finds the commit that a text names: a ref (`hello`), where a ref led N moves ago (`hello~1`), a whole
    /// id, or the first digits of one, at least four, that no other commit begins with. A ref goes before
    /// an id.
    pub fn resolve(&self, text: &str) -> Result<CommitId> {
        let unknown = || StoreError::Unknown { name: text.to_owned() };
        if let Some((name, moves)) = text.split_once('~') {
            let moves = moves.parse().map_err(|_| unknown())?;
            return self.before(&RefName::new(name)?, moves);
        }
        if let Ok(name) = RefName::new(text)
            && let Some(value) = self.read_ref(&name)?
        {
            return Ok(value.commit);
        }
        if let Ok(id) = text.parse::<CommitId>() {
            let found = self.has(&id.0);
            return if found { Ok(id) } else { Err(StoreError::Missing { kind: Kind::Commit, id: id.0 }) };
        }
        let found = self.commits_from(text)?;
        match &found[..] {
            [] => Err(unknown()),
            [id] => Ok(*id),
            _ => Err(StoreError::Ambiguous { name: text.to_owned(), found }),
        }
    }

    fn before(&self, name: &RefName, moves: usize) -> Result<CommitId> {
        let log = self.log(name)?;
        if log.is_empty() {
            return Err(StoreError::Unknown { name: name.to_string() });
        }
        match log.get(moves) {
            Some(entry) => Ok(entry.value.commit),
            None => Err(StoreError::NoSuchMove { name: name.clone(), moves: log.len() - 1, asked: moves }),
        }
    }

    /// Lists the commits whose ids begin with these digits.
    fn commits_from(&self, digits: &str) -> Result<Vec<CommitId>> {
        let first = digits.get(..2).and_then(crate::base::id::unhex);
        let (Some(first), true) = (first, (PREFIX_DIGITS_MIN..64).contains(&digits.len())) else {
            return Ok(Vec::new());
        };
        let mut found = BTreeSet::new();
        for pack in self.packs.all()?.iter() {
            let ids = pack.ids(first[0]).map_err(|problem| problem.of(&Digest([0; 32])))?;
            for id in ids.filter(|id| id.to_string().starts_with(digits)) {
                let record = pack.record(&id).map_err(|problem| problem.of(&id))?;
                if record.is_some_and(|record| record.kind == Kind::Commit) {
                    found.insert(CommitId(id));
                }
            }
        }
        Ok(found.into_iter().collect())
    }
}

//! From what people type to objects.

use std::collections::BTreeSet;

use super::directory::TreeRef;
use super::error::{Kind, Result, StoreError};
use super::objects::{Lookup, Objects};
use super::refs::RefName;
use super::revision::{Base, DIGITS_MIN, Place, Revision};
use super::store::Store;
use crate::base::nearest::closest;
use crate::base::{BlobId, CommitId, Digest, ImagePath, TreeId};
use crate::tree::{Content, ContentError};

/// Most objects that an ambiguous id is told to begin.
const LISTED_MAX: usize = 10;

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    Commit(CommitId),
    Tree(TreeRef),
    Blob(Content),
}

impl Named {
    fn of(kind: Kind, id: Digest, size: u64) -> Self {
        match kind {
            Kind::Commit => Named::Commit(CommitId(id)),
            Kind::Tree => Named::Tree(TreeRef { id: TreeId(id), size }),
            Kind::Blob => Named::Blob(Content { id: BlobId(id), size }),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Named::Commit(_) => Kind::Commit,
            Named::Tree(_) => Kind::Tree,
            Named::Blob(_) => Kind::Blob,
        }
    }

    fn id(&self) -> Digest {
        match self {
            Named::Commit(id) => id.0,
            Named::Tree(tree) => tree.id.0,
            Named::Blob(content) => content.id.0,
        }
    }
}

impl Store {
    /// Finds the commit that a text names: a ref (`hello`), where a ref led N moves ago (`hello~1`), a whole
    /// id, the first digits of one, at least four, that no other commit begins with, or a parent (`hello^`).
    /// A ref goes before an id. See `revision` for the grammar.
    pub fn resolve(&self, text: &str) -> Result<CommitId> {
        self.resolve_revision(&text.parse()?)
    }

    /// Finds the commit that a text names, and the path that it names inside: `hello:/etc/motd`.
    pub fn resolve_path(&self, text: &str) -> Result<(CommitId, Option<ImagePath>)> {
        let place: Place = text.parse()?;
        Ok((self.resolve_revision(&place.revision)?, place.path))
    }

    /// Finds what a text names, like [`Store::resolve`], where ids of trees and files count as well; and the
    /// path that it names inside.
    pub fn resolve_any(&self, text: &str) -> Result<(Named, Option<ImagePath>)> {
        let place: Place = text.parse()?;
        let Revision { base, moves, parents } = &place.revision;
        if *moves > 0 || !parents.is_empty() || self.find_ref(base)?.is_some() {
            return Ok((Named::Commit(self.resolve_revision(&place.revision)?), place.path));
        }
        Ok((self.by_digits(base, |_| true)?, place.path))
    }

    /// Finds the commit that a revision names.
    pub fn resolve_revision(&self, revision: &Revision) -> Result<CommitId> {
        let base = &revision.base;
        let mut commit = match (&base.name, self.find_ref(base)?) {
            (Some(name), _) if revision.moves > 0 => self.before(name, base, revision.moves)?,
            (_, Some(commit)) => commit,
            _ => match self.by_digits(base, |named| named.kind() == Kind::Commit)? {
                Named::Commit(id) => id,
                other => {
                    let found = self.describe(&other);
                    return Err(StoreError::OtherKind {
                        name: base.text.clone(),
                        found,
                        expected: "a commit",
                    });
                }
            },
        };
        for &asked in &revision.parents {
            let parents = self.read_commit(&commit)?.parents;
            let no_such = StoreError::NoSuchParent { commit, parents: parents.len(), asked };
            commit = *parents.get(asked - 1).ok_or(no_such)?;
        }
        Ok(commit)
    }

    fn find_ref(&self, base: &Base) -> Result<Option<CommitId>> {
        let value = base.name.as_ref().map(|name| self.read_ref(name)).transpose()?;
        Ok(value.flatten().map(|value| value.commit))
    }

    fn before(&self, name: &RefName, base: &Base, moves: usize) -> Result<CommitId> {
        let log = self.log(name)?;
        match log.get(moves) {
            Some(entry) if entry.removed => Err(StoreError::Removed { name: name.clone() }),
            Some(entry) => Ok(entry.value.commit),
            None if log.is_empty() => Err(self.unknown(base)),
            None => Err(StoreError::NoSuchMove { name: name.clone(), moves: log.len() - 1, asked: moves }),
        }
    }

    /// Finds the one object whose id begins with some digits. Where several do, those that are preferred
    /// count; where no other is, the rest.
    fn by_digits(&self, base: &Base, prefer: impl Fn(&Named) -> bool) -> Result<Named> {
        if !base.is_digits {
            return Err(self.unknown(base));
        }
        if let Ok(id) = base.text.parse::<Digest>() {
            let found = self.with(&id, |_, record| Ok(Named::of(record.kind, id, record.size)));
            return found.map_err(|error| match error {
                ContentError::Missing { .. } => StoreError::Missing { kind: Kind::Blob, id },
                other => other.into(),
            });
        }
        let all = self.beginning_with(&base.text)?;
        let preferred: Vec<Named> = all.iter().copied().filter(prefer).collect();
        let found = if preferred.is_empty() { all } else { preferred };
        match &found[..] {
            [] => Err(self.unknown(base)),
            [one] => Ok(*one),
            several => {
                let mut found: Vec<String> =
                    several.iter().take(LISTED_MAX).map(|named| self.describe(named)).collect();
                if several.len() > LISTED_MAX {
                    found.push(format!("and {} more", several.len() - LISTED_MAX));
                }
                Err(StoreError::Ambiguous { name: base.text.clone(), found })
            }
        }
    }

    /// Lists the objects whose ids begin with these digits, by id.
    fn beginning_with(&self, digits: &str) -> Result<Vec<Named>> {
        let first = digits.get(..2).and_then(crate::base::id::unhex);
        let (Some(first), true) = (first, digits.len() >= DIGITS_MIN) else { return Ok(Vec::new()) };
        let found = self.packs.ask_all(|pack, found: &mut BTreeSet<(Digest, Kind, u64)>| {
            let ids = pack.ids(first[0]).map_err(|problem| problem.of(&Digest([0; 32])))?;
            for id in ids.filter(|id| id.to_string().starts_with(digits)) {
                let record = pack.record(&id).map_err(|problem| problem.of(&id))?;
                found.extend(record.map(|record| (id, record.kind, record.size)));
            }
            Ok(())
        })?;
        Ok(found.into_iter().map(|(id, kind, size)| Named::of(kind, id, size)).collect())
    }

    /// Says what an object is, for people.
    fn describe(&self, named: &Named) -> String {
        let (kind, id) = (named.kind(), named.id());
        match named {
            Named::Commit(commit) => match self.read_commit(commit) {
                Ok(commit) => format!("{kind} {id} {} {}", commit.name, commit.version.unwrap_or_default()),
                Err(_) => format!("{kind} {id}"),
            },
            Named::Tree(_) => format!("{kind} {id}"),
            Named::Blob(content) => format!("{kind} {id} of {} bytes", content.size),
        }
        .trim_end()
        .to_owned()
    }

    /// Says that nothing has a name: it was removed, or never was there, but maybe one like it is.
    fn unknown(&self, base: &Base) -> StoreError {
        if let Some(name) = &base.name
            && self.log(name).is_ok_and(|log| log.first().is_some_and(|newest| newest.removed))
        {
            return StoreError::Removed { name: name.clone() };
        }
        StoreError::Unknown { name: base.text.clone(), near: self.near(&base.text) }
    }

    /// Finds the ref whose name is most like a text: the whole of it, or its last component.
    pub fn near(&self, text: &str) -> Option<String> {
        let refs = self.refs().ok()?;
        let names = || refs.keys().map(RefName::as_str);
        let last = |name: &'_ str| name.rsplit('/').next() == Some(text);
        let found = names().find(|name| last(name)).or_else(|| closest(text, names()));
        found.map(str::to_owned)
    }
}

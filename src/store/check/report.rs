//! What a check finds: faults, each with what it touches.

use std::fmt;

use super::super::error::Kind;
use super::super::record::Record;
use super::super::refs::RefName;
use crate::base::{CommitId, Digest, ImagePath};

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CheckReport {
    pub packs: u64,
    /// Copies of objects in packs.
    pub objects: u64,
    /// Plain bytes of the objects.
    pub bytes: u64,
    /// Commits, trees and files that refs lead to, each counted once.
    pub reachable: u64,
    /// False where frames were not read.
    pub whole: bool,
    /// Empty where the store is sound.
    pub faults: Vec<Fault>,
    /// What is worth knowing and no damage: lines that a power cut tore, files that nobody needs.
    pub notes: Vec<String>,
}

impl CheckReport {
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    /// Tells whether something that a ref leads to can't be read: what no other copy in the store makes good.
    pub fn has_loss(&self) -> bool {
        self.faults.iter().any(|fault| fault.is_loss())
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    #[serde(flatten)]
    pub damage: Damage,
    pub problem: String,
    pub reached: Reached,
}

impl Fault {
    pub(in super::super) fn new(damage: Damage, problem: impl Into<String>) -> Self {
        Fault { damage, problem: problem.into(), reached: Reached::default() }
    }

    /// Returns the object that is damaged or missing.
    pub fn object(&self) -> Option<Digest> {
        match &self.damage {
            Damage::Object { id, .. } | Damage::Missing { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// Tells whether something that a ref leads to is lost, as far as this store knows.
    pub fn is_loss(&self) -> bool {
        match &self.damage {
            Damage::Object { has_copy, .. } => !has_copy && self.reached.commits > 0,
            Damage::Missing { .. } => true,
            _ => false,
        }
    }
}

/// What is damaged.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "damage", rename_all = "snake_case")]
pub enum Damage {
    /// A copy of an object.
    Object {
        /// `None` where the index does not tell.
        kind: Option<Kind>,
        #[serde(serialize_with = "digest")]
        id: Digest,
        /// Plain length in bytes, where the index tells.
        size: Option<u64>,
        #[serde(serialize_with = "digest")]
        pack: Digest,
        /// Where its first frame lies in the pack.
        offset: u64,
        /// Another pack holds a sound copy: nothing is lost.
        has_copy: bool,
    },
    /// An object that something names and that is in no pack, or is not what its parent says.
    Missing {
        kind: Kind,
        #[serde(serialize_with = "digest")]
        id: Digest,
        size: u64,
    },
    /// The index of a pack. Objects that it still tells of can be read.
    Index {
        #[serde(serialize_with = "digest")]
        pack: Digest,
    },
    /// A pack, outside of its frames, or in its length.
    Pack {
        #[serde(serialize_with = "digest")]
        pack: Digest,
    },
    Ref {
        name: RefName,
    },
    /// Lines of a reflog, counted from 1.
    Log {
        name: RefName,
        lines: Vec<u64>,
    },
    /// A file of refs that move together.
    Journal {
        name: String,
    },
    Format,
    /// The file that counts collections.
    Generation,
}

fn digest<S: serde::Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Object { kind: Some(kind), id, .. } => write!(f, "{kind} {id}"),
            Damage::Object { kind: None, id, .. } => write!(f, "object {id} (of unknown kind)"),
            Damage::Missing { kind, id, .. } => write!(f, "{kind} {id}"),
            Damage::Index { pack } => write!(f, "index of pack {pack}"),
            Damage::Pack { pack } => write!(f, "pack {pack}"),
            Damage::Ref { name } => write!(f, "ref {name}"),
            Damage::Log { name, .. } => write!(f, "reflog of {name}"),
            Damage::Journal { name } => write!(f, "journal {name}"),
            Damage::Format => f.write_str("file \"format\""),
            Damage::Generation => f.write_str("file \"gc-generation\""),
        }
    }
}

/// What leads to something damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Reached {
    /// Refs from whose commit, or one that it descends from, the damage is reached.
    pub refs: Vec<RefName>,
    /// Refs that led there before their last move.
    pub past: Vec<RefName>,
    /// Commits whose own trees or texts hold it.
    pub commits: u64,
    /// Where it stands in some of those commits, at most [`SPOTS_MAX`].
    pub spots: Vec<(CommitId, Spot)>,
}

impl Reached {
    /// Tells that nothing leads there.
    pub fn is_unreferenced(&self) -> bool {
        self.refs.is_empty() && self.past.is_empty()
    }
}

/// Most places that a fault names.
pub const SPOTS_MAX: usize = 8;

/// A place in a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spot {
    /// The commit itself.
    Commit,
    /// In the root filesystem.
    Tree(ImagePath),
    /// Among what boots.
    Boot(ImagePath),
    /// The text of a recipe, by its name.
    Recipe(String),
    Lock,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spot::Commit => f.write_str("the commit itself"),
            Spot::Tree(path) => write!(f, "{path}"),
            Spot::Boot(path) => write!(f, "boot files: {path}"),
            Spot::Recipe(name) => write!(f, "recipe {name}"),
            Spot::Lock => f.write_str("lock"),
        }
    }
}

impl serde::Serialize for Spot {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A damaged copy, before anybody knows what leads to it.
pub struct Bad {
    pub id: Digest,
    pub kind: Option<Kind>,
    pub size: Option<u64>,
    pub pack: Digest,
    pub offset: u64,
    pub problem: String,
}

impl Bad {
    pub fn copy(id: Digest, record: &Record, pack: Digest, problem: String) -> Self {
        let offset = record.chunks.first().map_or(0, |chunk| chunk.offset);
        Bad { id, kind: Some(record.kind), size: Some(record.size), pack, offset, problem }
    }

    /// A copy whose record can't be read.
    pub fn unknown(id: Digest, pack: Digest, problem: String) -> Self {
        Bad { id, kind: None, size: None, pack, offset: 0, problem }
    }
}

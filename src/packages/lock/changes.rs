//! What differs between two locks, as a changelog would say it.

use std::fmt;

use super::super::deb::version;
use super::{Key, LOCAL, Lock, LockedPackage};

/// Says what became of one package. Prints as a line of a changelog.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Change {
    pub distribution: String,
    /// With the architecture behind it where that is a foreign one.
    pub package: String,
    #[serde(flatten)]
    pub kind: Kind,
    /// The suite that the package comes from, or came from; `local` for a local file.
    pub suite: String,
}

/// Says what kind of change it is.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Kind {
    Added {
        version: String,
    },
    Removed {
        version: String,
    },
    Updated {
        from: String,
        to: String,
    },
    Downgraded {
        from: String,
        to: String,
    },
    /// The same version with other bytes.
    Rebuilt {
        version: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { package, suite, .. } = self;
        match &self.kind {
            Kind::Added { version } => write!(f, "{package} {version} added ({suite})"),
            Kind::Removed { version } => write!(f, "{package} {version} removed"),
            Kind::Updated { from, to } => write!(f, "{package} {from} → {to} ({suite})"),
            Kind::Downgraded { from, to } => write!(f, "{package} {from} → {to}, downgraded ({suite})"),
            Kind::Rebuilt { version } => {
                write!(f, "{package} {version}: the same version, other bytes ({suite})")
            }
        }
    }
}

impl Lock {
    /// Returns what differs between two locks, sorted by distribution and name. Packages that moved to another
    /// source unchanged, and new states of sources, are no change.
    pub fn changes(old: &Lock, new: &Lock) -> Vec<Change> {
        let mut keys: Vec<&Key> = old.packages.keys().chain(new.packages.keys()).collect();
        keys.sort();
        keys.dedup();
        let mut changes = Vec::new();
        let mut keys = keys.into_iter().peekable();
        while let Some(key) = keys.next() {
            let (before, after) = (old.packages.get(key), new.packages.get(key));
            // A package that became one for all architectures, or ceased to be, is one package.
            let moved =
                keys.next_if(|next| next.0 == key.0 && next.1 == key.1 && is_moved(old, new, key, next));
            let before = before.or_else(|| old.packages.get(moved?));
            let after = after.or_else(|| new.packages.get(moved?));
            changes.extend(change(old, new, before, after));
        }
        changes
    }

    /// Names a package, with its architecture where that is neither the native one nor `all`.
    pub(super) fn qualified(&self, package: &LockedPackage) -> String {
        let LockedPackage { distribution, name, architecture, .. } = package;
        let native = self.request(distribution).map(|request| &request.architecture);
        match architecture == "all" || native == Some(architecture) {
            true => name.clone(),
            false => format!("{name}:{architecture}"),
        }
    }

    pub(super) fn suite_of(&self, package: &LockedPackage) -> String {
        let source = self.source(&package.distribution, &package.source);
        source.map_or_else(|| LOCAL.to_owned(), |source| source.suite.clone())
    }
}

/// Tells whether a package has one architecture before and the other one behind, one of them `all`.
fn is_moved(old: &Lock, new: &Lock, one: &Key, other: &Key) -> bool {
    let is_there = |key: &Key| (old.packages.contains_key(key), new.packages.contains_key(key));
    let sides = [is_there(one), is_there(other)];
    (one.2 == "all" || other.2 == "all")
        && (sides == [(true, false), (false, true)] || sides == [(false, true), (true, false)])
}

fn change(
    old: &Lock,
    new: &Lock,
    before: Option<&LockedPackage>,
    after: Option<&LockedPackage>,
) -> Option<Change> {
    let kind = match (before, after) {
        (None, None) => return None,
        (None, Some(after)) => Kind::Added { version: after.version.clone() },
        (Some(before), None) => Kind::Removed { version: before.version.clone() },
        (Some(before), Some(after)) if before.version == after.version => match before.sha256 == after.sha256
        {
            true => return None,
            false => Kind::Rebuilt { version: after.version.clone() },
        },
        (Some(before), Some(after)) => {
            let (from, to) = (before.version.clone(), after.version.clone());
            match version::compare(&to, &from).is_lt() {
                true => Kind::Downgraded { from, to },
                false => Kind::Updated { from, to },
            }
        }
    };
    let (lock, package) = after.map(|after| (new, after)).or(before.map(|before| (old, before)))?;
    Some(Change {
        distribution: package.distribution.clone(),
        package: lock.qualified(package),
        kind,
        suite: lock.suite_of(package),
    })
}

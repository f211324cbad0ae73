//! Why a package is locked: one word each.

use super::super::deb::name;
use super::super::request::is_qualified;

/// Says why a package is locked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// The recipe asks for it, by its own name or another one.
    Asked(String),
    /// The recipe asks for it as a kernel or loader, by its own name or that of a metapackage.
    Bare(String),
    /// Every system must have it.
    Essential,
    /// Another package needs it: its name, with the architecture where that is a foreign one.
    Needed { by: String, kind: Dependency },
}

/// Says how a package needs another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Dependency {
    Depends,
    PreDepends,
    Recommends,
}

impl Dependency {
    const ALL: [Dependency; 3] = [Dependency::Depends, Dependency::PreDepends, Dependency::Recommends];

    fn word(self) -> &'static str {
        match self {
            Dependency::Depends => "depends",
            Dependency::PreDepends => "pre-depends",
            Dependency::Recommends => "recommends",
        }
    }
}

impl Reason {
    /// Returns the word that a lock holds in the line of a package.
    pub(super) fn word(&self, package: &str) -> String {
        match self {
            Reason::Asked(name) if name == package => "asked".to_owned(),
            Reason::Asked(name) => format!("asked:{name}"),
            Reason::Bare(name) => format!("bare:{name}"),
            Reason::Essential => "essential".to_owned(),
            Reason::Needed { by, kind } => format!("{}:{by}", kind.word()),
        }
    }

    /// Reads the word of a package's line.
    pub(super) fn parse(word: &str, package: &str, is_rpm: bool) -> Option<Reason> {
        let is_qualified = |name: &str| if is_rpm { !name.is_empty() } else { is_qualified(name) };
        let (kind, name) = match word.split_once(':') {
            Some((kind, name)) if is_qualified(name) => (kind, name.to_owned()),
            Some(_) => return None,
            None if word == "asked" => return Some(Reason::Asked(package.to_owned())),
            None => return (word == "essential").then_some(Reason::Essential),
        };
        match kind {
            "asked" => (name != package).then_some(Reason::Asked(name)),
            "bare" => name::is_package(&name).then_some(Reason::Bare(name)),
            _ => {
                let kind = Dependency::ALL.into_iter().find(|known| known.word() == kind)?;
                Some(Reason::Needed { by: name, kind })
            }
        }
    }
}

use std::fmt;
use std::path::PathBuf;

use crate::archive::ArchiveError;
use crate::base::{Cancelled, ImagePath};
use crate::elf::ElfError;
use crate::recipe::plan::Origin;
use crate::tree::{ContentError, TreeError};

/// Says which block of a recipe could not become files, and why.
///
/// It prints as `app "hello" (hello.hcl:3): …`; what is behind it follows as its source.
#[derive(Debug)]
pub struct ComposeError {
    /// The block.
    pub origin: Origin,
    pub problem: Problem,
}

impl fmt::Display for ComposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.problem)
    }
}

/// The problem is in the text already, so the chain goes on behind it.
impl std::error::Error for ComposeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.problem.source()
    }
}

/// What stands in the way.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("cannot take {}", path.display())]
    Source { path: PathBuf, source: ArchiveError },
    #[error("{} changed between being looked at and being used; run the build again", path.display())]
    Changed { path: PathBuf },
    #[error("{key}: {problem}")]
    Setting { key: &'static str, problem: String },
    #[error("{path}: {problem}")]
    Place { path: ImagePath, problem: String },
    #[error("there is no {what} {name:?}; {}", list(.known))]
    UnknownAccount { what: &'static str, name: String, known: Vec<String> },
    #[error("{what} {name:?} has id {id}, but {other}")]
    AccountClash { what: &'static str, name: String, id: u32, other: String },
    #[error("closure")]
    Library(#[source] ElfError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl ComposeError {
    /// Tells whether this is no fault of the recipe: the work was stopped from outside.
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self.problem,
            Problem::Cancelled(_)
                | Problem::Content(ContentError::Cancelled(_))
                | Problem::Source {
                    source: ArchiveError::Cancelled(_) | ArchiveError::Content(ContentError::Cancelled(_)),
                    ..
                }
        )
    }
}

impl Problem {
    /// Adds the block that the problem is about.
    pub(super) fn at(self, origin: &Origin) -> ComposeError {
        ComposeError { origin: origin.clone(), problem: self }
    }
}

fn list(names: &[String]) -> String {
    format!("the recipe has {}", names.join(", "))
}

//! Why a tree could not be finished.

use crate::base::{Cancelled, ImagePath};
use crate::tree::{ContentError, TreeError};

/// Says why a tree could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum FinalizeError {
    /// Two accounts want one number, or one account two.
    #[error(
        "{what} {name:?} would get id {id}, but {other}; `{what} {name:?} {{ {key} = … }}` in the recipe settles it"
    )]
    Account { what: &'static str, key: &'static str, name: String, id: u32, other: String },
    /// A maintainer script does something that nothing here stands in for.
    #[error(
        "package {package}: its {script} does what mkimage does not know:\n{}\n\
         either `scripts = {{ {package} = \"ignore\" }}` (what it does is not needed), \
         or `scripts = {{ {package} = \"run\" }}` (in the sandbox), \
         or an entry in mkimage's own table of known scripts",
        lines(.unknown)
    )]
    Script { package: String, script: String, unknown: Vec<UnknownLine> },
    /// Something stands where something else must be put.
    #[error("{path}: {problem}")]
    Place { path: ImagePath, problem: String },
    /// A file that a finalizer reads is not what it must be.
    #[error("{path}, line {line}: {problem}")]
    Input { path: ImagePath, line: usize, problem: String },
    /// A package's field or control file can't be used.
    #[error("package {package}: {file}: {problem}")]
    Package { package: String, file: String, problem: String },
    /// A cache could not be written.
    #[error("{cache}: {path}: {problem}")]
    Cache { cache: &'static str, path: ImagePath, problem: String },
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Names a line of a script that was not understood, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLine {
    /// From 1 on.
    pub line: usize,
    pub text: String,
    pub problem: String,
}

/// Most lines of a script that a message shows.
const LINES_MAX: usize = 8;

fn lines(unknown: &[UnknownLine]) -> String {
    let shown = unknown.iter().take(LINES_MAX);
    let mut lines: Vec<String> =
        shown.map(|line| format!("  line {}: {} ({})", line.line, line.text, line.problem)).collect();
    if unknown.len() > LINES_MAX {
        lines.push(format!("  and {} more", unknown.len() - LINES_MAX));
    }
    lines.join("\n")
}

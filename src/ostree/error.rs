use std::path::PathBuf;

use super::loss::{self, Loss};
use super::name::ObjectName;
use super::variant::Malformed;
use crate::base::{Cancelled, FileError};
use crate::store::{RefNameError, StoreError};
use crate::tree::{ContentError, TreeError};

pub type Result<T> = std::result::Result<T, OstreeError>;

/// Says why nothing was exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum OstreeError {
    #[error("{}: the program that knows OSTree's library is not there", path.display())]
    NoHelper { path: PathBuf },
    #[error("cannot start {}", path.display())]
    Start { path: PathBuf, source: std::io::Error },
    #[error("{} ended while it was to {doing} ({status}){}", path.display(), shown(said))]
    Ended { path: PathBuf, doing: String, status: String, said: String },
    #[error("cannot {doing} with {}: {problem}", path.display())]
    Protocol { path: PathBuf, doing: String, problem: String },
    #[error("{}: cannot {doing}: {problem}", repository.display())]
    Library { repository: PathBuf, doing: String, problem: String },
    #[error("{} holds {found:?} and no file \"config\": it is no OSTree repository, and nothing was written to it", path.display())]
    NotARepository { path: PathBuf, found: String },
    #[error("{} is not there", path.display())]
    NoRepository { path: PathBuf },
    #[error("the repository {} is {found}, not {wanted}", path.display())]
    Mode { path: PathBuf, found: String, wanted: &'static str },
    #[error("the repository {} is {mode}: that keeps neither owners nor attributes", path.display())]
    Forgetful { path: PathBuf, mode: String },
    #[error("OSTree can't hold {} of the tree:{}", loss::count(losses), loss::list(losses))]
    CannotHold { losses: Vec<Loss> },
    #[error("{name:?} is no ref of {}", repository.display())]
    UnknownRef { name: String, repository: PathBuf },
    #[error("object {object} is not in {}", repository.display())]
    Missing { object: ObjectName, repository: PathBuf },
    #[error("object {object} is damaged")]
    Malformed { object: ObjectName, source: Malformed },
    #[error("object {object} is damaged: {problem}")]
    Damaged { object: ObjectName, problem: String },
    #[error("object {object}: a tree has at most {limit} {what}, this one more")]
    TooLarge { object: ObjectName, what: &'static str, limit: u64 },
    #[error("{name:?} can't be the name of the commit; another one must be given")]
    Name { name: String, source: RefNameError },
    #[error(
        "the time stamp of the commit, {seconds} seconds since 1970, lies outside of what an image can have (0 to {limit})"
    )]
    Epoch { seconds: u64, limit: u64 },
    #[error(
        "the tree of the OSTree commit can't be one of ours:{}",
        .0.iter().take(20).map(|error| format!("\n  {error}")).collect::<String>()
    )]
    Tree(Vec<TreeError>),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Shows what a program said before it ended.
fn shown(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

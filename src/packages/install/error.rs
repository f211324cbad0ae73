use crate::base::path::escaped;
use crate::base::{Cancelled, ImagePath};
use crate::tree::{ContentError, Node};

/// Says why packages can't lie in one tree.
#[derive(Debug, thiserror::Error)]
pub enum LayError {
    #[error(
        "{path}: packages {first} and {second} both bring it, they differ ({difference}), and neither says \
         that it replaces the other: leave one out with `exclude`, or drop the path"
    )]
    Conflict { path: ImagePath, first: String, second: String, difference: String },
    #[error("{path}: package {package} brings it twice, and the two differ ({difference})")]
    Twice { path: ImagePath, package: String, difference: String },
    #[error("{path}: package {first} brings a {kind}, package {second} a directory")]
    NotADirectory { path: ImagePath, first: String, kind: &'static str, second: String },
    #[error(
        "{path}: package {package} brings a symlink to {target:?}, another one a directory, and the link leads \
         to no directory of the tree"
    )]
    Link { path: ImagePath, package: String, target: String },
    #[error(
        "{path} is the link into the merged /usr, and package {package} brings something else there: {found}"
    )]
    MergedLink { path: ImagePath, package: String, found: String },
    #[error("symlinks that stand in for directories lead through each other, more than {rounds} deep")]
    TooManyLinks { rounds: usize },
    #[error(
        "package {package}: its preinst diverts files in a way that can't be read (line {line}: {text}): \
         {problem}; a diversion moves other packages' files, so look at it; to leave it out: scripts = {{ \
         {package:?} = \"ignore\" }}"
    )]
    Diversion { package: String, line: usize, text: String, problem: &'static str },
    #[error("{path}: both {first} and {second} divert it")]
    DivertedTwice { path: ImagePath, first: String, second: String },
    #[error("{key}: {pattern:?} is no glob of paths: {problem}")]
    Pattern { key: &'static str, pattern: String, problem: String },
    #[error("package {package} comes twice, in versions {first} and {second}")]
    SamePackage { package: String, first: String, second: String },
    #[error("the preinst of {package}")]
    Content {
        package: String,
        #[source]
        problem: ContentError,
    },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Says in what two nodes differ, both values shown.
pub(super) fn difference(first: &Node, second: &Node) -> String {
    match (first, second) {
        (first, second) if first.kind() != second.kind() => {
            format!("a {} and a {}", first.kind(), second.kind())
        }
        (Node::File(first), Node::File(second)) if first.content != second.content => {
            let short = |id: String| id[..12].to_owned();
            let [one, two] = [first.content, second.content].map(|content| short(content.id.to_string()));
            format!("content {one} of {} bytes, {two} of {}", first.content.size, second.content.size)
        }
        (Node::Symlink(first), Node::Symlink(second)) if first.target != second.target => {
            format!("targets {:?} and {:?}", escaped(&first.target), escaped(&second.target))
        }
        _ => match (first.metadata(), second.metadata()) {
            (Some(first), Some(second)) if first.mode != second.mode => {
                format!("modes {:04o} and {:04o}", first.mode, second.mode)
            }
            (Some(first), Some(second)) if (first.uid, first.gid) != (second.uid, second.gid) => {
                format!("owners {}:{} and {}:{}", first.uid, first.gid, second.uid, second.gid)
            }
            _ => "attributes or device numbers".to_owned(),
        },
    }
}

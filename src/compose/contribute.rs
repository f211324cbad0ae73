//! From a part of a plan to what it brings.

use super::accounts::Accounts;
use super::error::{ComposeError, Problem};
use super::step::Prepared;
use super::{app, files, tree};
use crate::archive::Limits;
use crate::base::{ImagePath, Job};
use crate::recipe::plan::{InodePlan, Part};
use crate::tree::{ContentSink, Contribution, Directory};

/// What every contributor is handed.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Takes the bytes of files.
    pub sink: &'a dyn ContentSink,
    pub accounts: &'a Accounts,
    pub limits: &'a Limits,
    pub job: &'a Job,
}

/// Makes what a part brings; `None` for packages, which need more than a recipe and the host. `prepared` is
/// what [`super::prepare`] returned for the part: if the host's files are no longer those that were
/// digested, that is an error, never a wrong result under a right key.
pub fn contribute(
    part: &Part,
    prepared: &Prepared,
    context: &Context<'_>,
) -> Result<Option<Contribution>, Vec<ComposeError>> {
    let tree = match part {
        Part::App(part) => app::contribute(part, prepared, context),
        Part::Tree(part) => tree::contribute(part, prepared, context),
        Part::File(part) => files::file(part, prepared, context),
        Part::Directory(part) => files::directory(part, context),
        Part::Symlink(part) => files::symlink(part, context),
        Part::HardLink(part) => files::hard_link(part),
        Part::Device(part) => files::device(part, context),
        Part::Packages(_) | Part::Run(_) => return Ok(None),
    };
    let contributed = tree.map(|tree| remembered(part, tree));
    contributed.map(Some).map_err(|problems| at(part, problems))
}

/// Makes the contribution of a part whose tree is known from an earlier run.
pub fn remembered(part: &Part, tree: Directory) -> Contribution {
    let replacing = |inode: &InodePlan| if inode.replace { vec![inode.path.clone()] } else { Vec::new() };
    let mut explicit = Vec::new();
    let replaces: Vec<ImagePath> = match part {
        Part::App(part) => part.source.replace.clone(),
        Part::Tree(part) => part.source.replace.clone(),
        Part::File(part) => replacing(&part.inode),
        Part::Directory(part) => {
            explicit.push(part.inode.path.clone());
            replacing(&part.inode)
        }
        Part::Symlink(part) => replacing(&part.inode),
        Part::HardLink(part) if part.replace => vec![part.path.clone()],
        Part::HardLink(_) => Vec::new(),
        Part::Device(part) => replacing(&part.inode),
        Part::Packages(part) => part.replace.clone(),
        Part::Run(_) => Vec::new(),
    };
    Contribution { origin: part.origin().to_string(), tree, replaces, explicit }
}

pub(super) fn at(part: &Part, problems: Vec<Problem>) -> Vec<ComposeError> {
    problems.into_iter().map(|problem| problem.at(part.origin())).collect()
}

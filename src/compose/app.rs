//! `app "NAME" { … }`: the files of what the machine runs. How it runs is told to PID 1, not to the tree;
//! its user comes with the accounts. With `closure`, what it needs of this machine comes along.

use super::closure;
use super::contribute::Context;
use super::error::Problem;
use super::source;
use super::step::Prepared;
use crate::recipe::plan::AppPlan;
use crate::tree::Directory;

pub(super) fn contribute(
    part: &AppPlan,
    prepared: &Prepared,
    context: &Context<'_>,
) -> Result<Directory, Vec<Problem>> {
    let mut tree = source::read(&part.source, &part.origin, prepared, context)?;
    closure::add(&prepared.along, &mut tree, context)?;
    Ok(tree)
}

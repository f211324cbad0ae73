//! `tree "NAME" { … }`: a directory or archive laid into the image.

use super::contribute::Context;
use super::error::Problem;
use super::source;
use super::step::Prepared;
use crate::recipe::plan::TreePlan;
use crate::tree::Directory;

pub(super) fn contribute(
    part: &TreePlan,
    prepared: &Prepared,
    context: &Context<'_>,
) -> Result<Directory, Vec<Problem>> {
    source::read(&part.source, &part.origin, prepared, context)
}

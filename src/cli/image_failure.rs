//! What the command line says when a commit can't be written as a disk, or a disk not be read as an image.

use std::error::Error;

use super::failure::{Failure, Kind, comes_from_host, content_kind, store_kind};
use crate::boot::slots::SlotError;
use crate::image::ImageError;

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Store(error) => error.into(),
            ImageError::File(error) => error.into(),
            error => {
                let failure = Failure::of(kind(&error), &error);
                match hint(&error) {
                    Some(hint) if failure.hint.is_none() => failure.hint(hint),
                    _ => failure,
                }
            }
        }
    }
}

/// Returns the kind of a failure to write or read an image.
pub(super) fn kind(error: &ImageError) -> Kind {
    match error {
        ImageError::NoKernel
        | ImageError::Tree(_)
        | ImageError::CommandLine(_)
        | ImageError::Ext4 { .. }
        | ImageError::Layout(_) => Kind::Recipe,
        ImageError::Boot(_) => Kind::Input,
        ImageError::Reading { source, .. } => kind(source),
        ImageError::Content(error) => content_kind(error),
        ImageError::Store(error) => store_kind(error),
        ImageError::Cancelled(_) => Kind::Interrupted,
        ImageError::File(error) if error.is_missing() => Kind::NotFound,
        ImageError::File(_) | ImageError::Device { .. } => Kind::Failed,
        ImageError::NotAnImage { .. }
        | ImageError::NoPartition { .. }
        | ImageError::NotBootable { .. }
        | ImageError::Slots(_)
        | ImageError::UkiDigest { .. }
        | ImageError::Commit(_)
        | ImageError::Ext4Read(_)
        | ImageError::Verity(_)
        | ImageError::Fat(_)
        | ImageError::Gpt(_)
        | ImageError::Dump(_) => Kind::Damaged,
    }
}

/// Returns the kind of a failure to write an image to a file: what was right may not have been taken by
/// the host.
pub(super) fn writing_kind(error: &ImageError) -> Kind {
    let source: &(dyn Error + 'static) = error;
    if comes_from_host(source) { Kind::Failed } else { kind(error) }
}

pub(super) fn hint(error: &ImageError) -> Option<&'static str> {
    match error {
        ImageError::Reading { source, .. } => hint(source),
        ImageError::NoKernel => Some("add a `kernel` block to the recipe, or use `mkimage compose`"),
        ImageError::Slots(SlotError::Lost { .. }) => Some(
            "`mkimage status DISK` says what is left; `mkimage switch DISK SLOT` writes the records anew, and so does a boot",
        ),
        ImageError::Slots(_)
        | ImageError::Fat(_)
        | ImageError::Gpt(_)
        | ImageError::Commit(_)
        | ImageError::NoPartition { .. } => {
            Some("is this an image that mkimage made? `mkimage build` makes it again")
        }
        _ => None,
    }
}

//! What is said where something can't be looked into.

use super::failure::{Failure, Kind};
use crate::confine::ConfineError;
use crate::pipeline::PipelineError;
use crate::view::ViewError;

impl From<ViewError> for Failure {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Store(error) => error.into(),
            ViewError::File(error) => error.into(),
            ViewError::Content(error) => PipelineError::Content(error).into(),
            ViewError::Confined { source } => source.into(),
            ViewError::Cancelled(error) => Failure::of(Kind::Interrupted, &error),
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

fn kind(error: &ViewError) -> Kind {
    match error {
        ViewError::Place { .. } | ViewError::NoStore { .. } | ViewError::NoPartition { .. } => Kind::Usage,
        ViewError::NotAnImage { .. }
        | ViewError::NothingBoots { .. }
        | ViewError::Unread { source: ConfineError::Child { .. }, .. }
        | ViewError::Ext4 { .. }
        | ViewError::Fat { .. }
        | ViewError::Image { .. } => Kind::Damaged,
        ViewError::Path { .. } | ViewError::Kind { .. } | ViewError::EmptySlot { .. } => Kind::NotFound,
        _ => Kind::Failed,
    }
}

fn hint(error: &ViewError) -> Option<String> {
    let hint = match error {
        ViewError::Place { .. } => "IMAGE:/PATH, IMAGE:slot-b:/PATH (slot-a, slot-b, esp, data), or REV:PATH",
        ViewError::NoPartition { .. } => {
            "write IMAGE:PART:/PATH, or IMAGE:/PATH for the slot that boots next"
        }
        ViewError::NothingBoots { .. } => {
            "name the slot: IMAGE:slot-a or IMAGE:slot-b; `mkimage inspect` lists them"
        }
        ViewError::NotAnImage { .. } | ViewError::Image { .. } => {
            "`mkimage inspect --dump` shows each field that can be read; a ref of this name is meant by NAME~0"
        }
        ViewError::Exists { .. } => "name a target that isn't there yet",
        ViewError::Mount { source, .. } => match source.kind() {
            std::io::ErrorKind::NotFound => "it needs /dev/fuse, and fusermount3 (package fuse3) or root",
            std::io::ErrorKind::PermissionDenied => {
                "it needs fusermount3 (package fuse3) or root; `mkimage cp` needs neither"
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(hint.to_owned())
}

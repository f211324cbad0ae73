//! What the command line says when a disk can't be updated or switched.

use std::path::Path;

use super::failure::{ACCESS_HINT, Failure, Kind};
use crate::image::ImageError;
use crate::slots::SlotsError;

impl From<SlotsError> for Failure {
    fn from(error: SlotsError) -> Self {
        let failure = match error {
            SlotsError::File(error) => error.into(),
            SlotsError::Image(error) => error.into(),
            error => {
                let failure = Failure::of(kind(&error), &error);
                match hint(&error) {
                    Some(hint) if failure.hint.is_none() => failure.hint(hint),
                    _ => failure,
                }
            }
        };
        // It is about the disk, never about the store.
        match failure.hint.as_deref() {
            Some(ACCESS_HINT) => failure.hint("is the disk read-only, or somebody else's?"),
            _ => failure,
        }
    }
}

impl Failure {
    /// Says first which disk it is about, unless the message names a file already.
    pub fn about(mut self, disk: &Path) -> Failure {
        let name = disk.display().to_string();
        if self.kind != Kind::Interrupted && !self.message.contains(&name) {
            self.message = format!("{name}: {}", self.message);
        }
        self
    }
}

fn kind(error: &SlotsError) -> Kind {
    match error {
        SlotsError::NotADisk { .. } | SlotsError::OtherName { .. } => Kind::Usage,
        SlotsError::Architecture { .. } => Kind::Input,
        SlotsError::TooLarge { .. } | SlotsError::NoSpace { .. } => Kind::NoSpace,
        SlotsError::ReadBack { .. }
        | SlotsError::Damaged { .. }
        | SlotsError::Sector(_)
        | SlotsError::Verity(_)
        | SlotsError::Fat(_) => Kind::Damaged,
        SlotsError::Cancelled(_) | SlotsError::Image(ImageError::Cancelled(_)) => Kind::Interrupted,
        _ => Kind::Failed,
    }
}

fn hint(error: &SlotsError) -> Option<&'static str> {
    Some(match error {
        SlotsError::OnTrial { .. } => {
            "`mkimage confirm DISK` confirms the slot that runs; else reboot, and after its tries the other slot boots"
        }
        SlotsError::NothingConfirmed => {
            "`mkimage status DISK` says what is there; `mkimage confirm DISK` confirms what is on trial"
        }
        SlotsError::NotConfirmed { .. } => {
            "`mkimage switch DISK SLOT` tries it once more; `mkimage status DISK` says what boots next"
        }
        SlotsError::OtherRuns { .. } => {
            "a slot is confirmed after it has booted; --running SLOT says which one runs"
        }
        SlotsError::NothingThere { .. } => "`mkimage update DISK COMMIT` writes it",
        SlotsError::Held { .. } => "unmount it first; `mkimage status DISK` says which slot runs",
        SlotsError::OtherName { .. } => "--other-image takes it all the same",
        SlotsError::Architecture { .. } => "`mkimage build` makes a new disk for it",
        SlotsError::TooLarge { .. } => {
            "slots keep the size that the disk was made with: disk.slot_size and disk.uki_size in its recipe"
        }
        SlotsError::NoSpace { .. } => "nothing was changed; free some space, then run the same command again",
        SlotsError::ReadBack { .. } | SlotsError::Device { .. } => {
            "the other slot was not touched; run the same command again, and mistrust this medium"
        }
        SlotsError::Damaged { .. } => "`mkimage status DISK --verify` says what is whole",
        SlotsError::Locked { .. } => "wait until it is done, then run the command again",
        SlotsError::OpenInMachine { .. } => {
            "stop the machine first, or run the update inside of it: both would write the same file"
        }
        SlotsError::Sector(_) | SlotsError::Fat(_) => {
            "is this a disk that mkimage made? `mkimage inspect DISK --dump` shows its structures"
        }
        _ => return None,
    })
}

//! From a file to the partition that is meant, and to the commit that its slot says it is.
//!
//! This is the one place where the view meets a stranger's file: whoever confines the reading of images does it
//! here.

use std::path::Path;
use std::sync::Arc;

use super::error::{Result, ViewError};
use super::partition::Partition;
use crate::base::{CommitId, Job};
use crate::boot::slots::{Slot, SlotState};
use crate::disk::{BlockDevice, FileDevice};
use crate::image::{self, ImageError, OpenImage};
use crate::store::Commit;

/// Opens the partition that is meant, with the commit of its slot where a UKI names one.
pub(super) fn open(
    file: &Path,
    part: Option<&str>,
    job: &Job,
) -> Result<(Partition, Option<(CommitId, Commit)>)> {
    job.check()?;
    let device = Arc::new(image::open(file).map_err(|error| of_image(file, error))?);
    let whole =
        |name: &str| Partition::new(file.to_owned(), name.to_owned(), device.clone(), 0, device.size());
    if is_ext4(&device) || (is_fat(&*device) && !has_table(&device)) {
        return match part {
            None => Ok((whole("the filesystem"), None)),
            Some(part) => Err(ViewError::NotAnImage {
                file: file.to_owned(),
                problem: format!("it is one filesystem, without partitions and so without {part:?}"),
            }),
        };
    }
    let image = OpenImage::open(&*device).map_err(|error| of_image(file, error))?;
    let (name, slot) = named(&image, file, part)?;
    let Some(entry) = image.table().named(&name) else {
        let known = image.table().partitions.iter().map(|partition| partition.name.clone()).collect();
        return Err(ViewError::NoPartition { file: file.to_owned(), part: name, known });
    };
    let partition =
        Partition::new(file.to_owned(), name.clone(), device.clone(), entry.offset(), entry.size().0);
    if slot.is_some_and(|slot| matches!(image.sector().state(slot), SlotState::Empty)) {
        return Err(ViewError::EmptySlot { file: file.to_owned(), part: name });
    }
    // A slot that is inactive or damaged has no commit, and its files can be looked at nevertheless.
    let commit = slot.and_then(|slot| image.commit(slot).ok());
    Ok((partition, commit.map(|commit| (commit.id(), commit))))
}

/// Returns the name of the partition that is meant, and the slot where it is one.
fn named(image: &OpenImage<'_>, file: &Path, part: Option<&str>) -> Result<(String, Option<Slot>)> {
    let of = |slot: Slot| image.map().slots[slot.index()].partition.clone();
    match part {
        Some(part) => {
            let slot = Slot::BOTH.into_iter().find(|slot| of(*slot) == part);
            Ok((part.to_owned(), slot))
        }
        None => match image.sector().choose() {
            Some(choice) => Ok((of(choice.slot), Some(choice.slot))),
            None => Err(ViewError::NothingBoots { file: file.to_owned() }),
        },
    }
}

fn of_image(file: &Path, error: ImageError) -> ViewError {
    match error {
        ImageError::File(error) => error.into(),
        ImageError::Cancelled(error) => error.into(),
        ImageError::NotAnImage { path, problem } => ViewError::NotAnImage { file: path, problem },
        error => ViewError::Image { file: file.to_owned(), source: Box::new(error) },
    }
}

fn has(device: &dyn BlockDevice, offset: u64, magic: &[u8]) -> bool {
    let mut found = vec![0; magic.len()];
    device.size() >= offset + magic.len() as u64
        && device.read_at(offset, &mut found).is_ok()
        && found == magic
}

fn is_ext4(device: &FileDevice) -> bool {
    has(device, 1080, &[0x53, 0xef]) && !has_table(device)
}

fn has_table(device: &FileDevice) -> bool {
    has(device, 512, b"EFI PART")
}

/// Tells whether a device begins like a FAT32 volume.
pub(super) fn is_fat(device: &dyn BlockDevice) -> bool {
    has(device, 510, &[0x55, 0xaa]) && has(device, 82, b"FAT32")
}

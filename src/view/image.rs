//! From a file to the partition that is meant, and to the commit that its slot says it is. All of it happens in the
//! confined child.

use std::path::Path;
use std::sync::Arc;

use super::error::{Result, ViewError};
use super::partition::Partition;
use crate::base::Job;
use crate::boot::origin::Origin;
use crate::boot::slots::{Slot, SlotState};
use crate::boot::uki;
use crate::disk::{BlockDevice, FileDevice};
use crate::image::{self, ImageError, OpenImage};
use crate::store::Commit;

/// What an image says of the tree in a slot. Nobody has checked it here.
pub(super) struct Said {
    pub commit: Commit,
    /// Recipe texts and the lock, where the image has them.
    pub carried: Option<Origin>,
}

/// Opens the partition that is meant, with the commit of its slot where a UKI names one.
pub(super) fn open(
    device: FileDevice,
    file: &Path,
    part: Option<&str>,
    job: &Job,
) -> Result<(Partition, Option<Said>)> {
    job.check()?;
    let device = Arc::new(device);
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
    if slot.is_some_and(|slot| matches!(image.slots().state(slot), SlotState::Empty)) {
        return Err(ViewError::EmptySlot { file: file.to_owned(), part: name });
    }
    // A slot that is inactive or damaged has no commit, and its files can be looked at nevertheless.
    let said = slot.and_then(|slot| said(&image, slot).ok());
    Ok((partition, said))
}

/// Reads what the UKI of a slot says of where the slot comes from.
fn said(image: &OpenImage<'_>, slot: Slot) -> image::Result<Said> {
    let uki = image.uki(slot)?;
    let sections = uki::read(&uki)?;
    let commit = Commit::decode(sections.commit)?;
    // Images of before carry nothing more, and one that is cut short tells nothing more.
    let carried = Origin::decode(sections.origin).ok();
    Ok(Said { commit, carried })
}

/// Returns the name of the partition that is meant, and the slot where it is one.
fn named(image: &OpenImage<'_>, file: &Path, part: Option<&str>) -> Result<(String, Option<Slot>)> {
    let of = |slot: Slot| image.map().slots[slot.index()].partition.clone();
    match part {
        Some(part) => {
            let slot = Slot::BOTH.into_iter().find(|slot| of(*slot) == part);
            Ok((part.to_owned(), slot))
        }
        None => match image.slots().choose() {
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

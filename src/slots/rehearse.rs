//! Reading of a disk what the verbs that change it will read, for the sake of what it may do to its reader.

use super::switch::{self, Switch};
use crate::boot::slots::Slot;
use crate::disk::BlockDevice;
use crate::disk::esp::EspMap;
use crate::image::{OpenImage, commit_in, verity_in};

/// Takes everything of a disk apart that an update, a rollback, a switch or a confirmation takes apart: partition table,
/// ESP, map, slot records, both kernel images with the commits that they carry. What is wrong with it is not told: the
/// verb finds the same, and says it. Nothing is written; of the slots' blocks, which are hashed and compared only,
/// nothing is read.
pub fn rehearse(device: &dyn BlockDevice) {
    let Ok(disk) = OpenImage::salvage(device) else { return };
    for slot in Slot::BOTH {
        if let Ok(image) = disk.uki(slot) {
            let _ = (commit_in(&image), verity_in(&image));
        }
    }
    if let Ok(esp) = switch::esp(device, &disk) {
        let _ = EspMap::read(&esp);
        let _ = Switch::read(&esp);
    }
}

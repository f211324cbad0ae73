//! Where two images differ, by what stands there: partition, structure, field, path.

use serde::{Deserialize, Serialize};

use super::error::{Result, VerifyError};
use super::expected::{RUNS_MAX, differences, read};
use super::names::{Names, Place};
use super::proof::{Side, unproven};
use super::report::Report;
use crate::base::Job;
use crate::base::units::BLOCK_BYTES;
use crate::disk::BlockDevice;

/// Divergences that are told; further ones are not looked at.
const DIVERGENCES_MAX: usize = 1000;

/// Something in which two images differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    pub partition: Option<String>,
    /// What stands there, such as `ext4 inode 12` or `UKI of slot-a: .cmdline`.
    pub structure: String,
    pub field: Option<String>,
    /// The file or directory that it is of.
    pub path: Option<String>,
    /// Where the first difference is, in bytes of the image.
    pub offset: u64,
    /// How many bytes of the structure differ, counted in runs.
    pub bytes: u64,
    /// What stands in the first image, and in the second.
    pub a: String,
    pub b: String,
    /// Whether it follows from another difference, as checksums and hashes do.
    pub derived: bool,
}

impl std::fmt::Display for Divergence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(partition) = &self.partition {
            write!(f, "{partition} → ")?;
        }
        write!(f, "{}", self.structure)?;
        if let Some(path) = &self.path {
            write!(f, " ({path})")?;
        }
        if let Some(field) = &self.field {
            write!(f, " → {field}")?;
        }
        write!(f, ": {} and {}, at byte {}", self.a, self.b, self.offset)
    }
}

/// Compares two images and names what differs: causes before what follows from them, each in the order of the disk.
/// Nothing differs exactly where the list is empty. Both images are read once, side by side; what bytes belong to is read
/// where they differ.
pub fn compare(a: &dyn BlockDevice, b: &dyn BlockDevice, job: &Job) -> Result<Vec<Divergence>> {
    compare_sides(Side::unread(a), Side::unread(b), job)
}

/// An image that was verified, and held against another one that was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Against {
    pub report: Report,
    /// What is to be said of the other one; `None` where it is no image.
    pub other: Option<Report>,
    pub differences: Vec<Divergence>,
}

/// Verifies two images, each against itself, and compares them as [`compare`] does. What verifying has proved to be equal
/// is not read again: slots by their verity trees, where these were right to the last block and have one salt, else files
/// by their ids. So each image is read once, and further only where they differ or nothing is proved.
pub fn verify_against(a: &dyn BlockDevice, b: &dyn BlockDevice, job: &Job) -> Result<Against> {
    let report = super::verify(a, job)?;
    let other = match super::verify(b, job) {
        Ok(report) => Some(report),
        Err(VerifyError::NotAnImage { .. }) => None,
        Err(error) => return Err(error),
    };
    let side = other.as_ref().map_or_else(|| Side::unread(b), |other| Side::verified(b, other));
    let differences = compare_sides(Side::verified(a, &report), side, job)?;
    Ok(Against { report, other, differences })
}

fn compare_sides(one: Side<'_>, other: Side<'_>, job: &Job) -> Result<Vec<Divergence>> {
    let (a, b) = (one.device, other.device);
    let mut found = Vec::new();
    let common = a.size().min(b.size());
    if a.size() != b.size() {
        found.push(Divergence {
            partition: None,
            structure: "disk".to_owned(),
            field: Some("size".to_owned()),
            path: None,
            offset: common,
            bytes: a.size().abs_diff(b.size()),
            a: format!("{} bytes", a.size()),
            b: format!("{} bytes", b.size()),
            derived: false,
        });
    }
    let runs = differences(a, b, &unproven(one, other, common, job)?, job)?;
    if runs.is_empty() {
        return Ok(found);
    }
    let names = [Names::of(a, job), Names::of(b, job)];
    for run in &runs {
        job.check()?;
        if found.len() >= DIVERGENCES_MAX {
            break;
        }
        let (mut at, end) = (run.offset, run.offset + run.bytes);
        while at < end && found.len() < DIVERGENCES_MAX {
            let place = best(&names, at);
            let stop = (place.offset + place.bytes).clamp(at + 1, end);
            let stop = if is_stream(&place) { end.min(block_end(at)) } else { stop };
            add(&mut found, place, at, stop - at, a, b)?;
            at = stop;
        }
    }
    if runs.len() >= RUNS_MAX {
        job.note(format!("more than {RUNS_MAX} runs of bytes differ: only the first ones were named"));
    }
    found.sort_by_key(|divergence| (divergence.derived, divergence.offset));
    Ok(found)
}

fn block_end(at: u64) -> u64 {
    (at / BLOCK_BYTES + 1) * BLOCK_BYTES
}

/// Bytes of files are a stream: one divergence for all of a file.
fn is_stream(place: &Place) -> bool {
    place.field.as_ref().is_some_and(|field| field.starts_with("byte "))
}

/// Names an offset by the image that knows more of it.
fn best(names: &[Names<'_>; 2], at: u64) -> Place {
    let [first, second] = names;
    let place = first.name(at);
    match place.path.is_some() || place.field.is_some() {
        true => place,
        false => {
            let other = second.name(at);
            if other.path.is_some() || other.field.is_some() { other } else { place }
        }
    }
}

fn add(
    found: &mut Vec<Divergence>,
    place: Place,
    at: u64,
    bytes: u64,
    a: &dyn BlockDevice,
    b: &dyn BlockDevice,
) -> Result<()> {
    let stream = is_stream(&place);
    let is_same = |one: &&mut Divergence| {
        let fields = one.field == place.field || stream;
        one.partition == place.partition && one.structure == place.what && one.path == place.path && fields
    };
    if let Some(same) = found.iter_mut().rev().take(16).find(is_same) {
        same.bytes += bytes;
        return Ok(());
    }
    let length = if stream { bytes.min(16) } else { place.bytes.min(64) } as usize;
    let start = if stream { at } else { place.offset };
    let value = |device: &dyn BlockDevice| -> Result<String> {
        let mut bytes = vec![0; length.min(device.size().saturating_sub(start) as usize)];
        read(device, start, &mut bytes)?;
        Ok(place.value(&bytes))
    };
    let (a, b) = (value(a)?, value(b)?);
    found.push(Divergence {
        partition: place.partition,
        structure: place.what,
        field: place.field,
        path: place.path,
        offset: at,
        bytes,
        a,
        b,
        derived: place.derived,
    });
    Ok(())
}

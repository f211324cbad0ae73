//! The partition table: both copies, and every byte in front of and behind the partitions.

use super::error::Result;
use super::expected::{Expected, differences};
use super::names::Names;
use super::report::{Coverage, Findings};
use super::slot;
use crate::base::units::SECTOR_BYTES;
use crate::base::{Job, whole};
use crate::disk::BlockDevice;
use crate::disk::gpt::{self, BACK_SECTORS, GptError, PartitionTable, TableCopy};
use crate::disk::layout::{DiskLayout, Role};

/// Reads the table; what is wrong with it is a finding.
pub fn read(device: &dyn BlockDevice, findings: &Findings) -> Option<PartitionTable> {
    gpt::read(device)
        .map_err(|error| {
            let offset = match &error {
                GptError::Damaged { copy: TableCopy::Backup, .. } => {
                    device.size().saturating_sub(SECTOR_BYTES)
                }
                GptError::NotProtected { .. } => 0,
                GptError::Damaged { .. } => SECTOR_BYTES,
                _ => 2 * SECTOR_BYTES,
            };
            findings.note("partition table", offset, whole(&error));
        })
        .ok()
}

/// Compares the table and all that no partition covers with what a writer makes of it. Where the layout that the
/// commit asks for is given, it is that layout's table; a data partition that grew since is known as one.
pub fn check(
    device: &dyn BlockDevice,
    found: &PartitionTable,
    layout: Option<&DiskLayout>,
    names: &Names<'_>,
    findings: &Findings,
    coverage: &mut Coverage,
    job: &Job,
) -> Result<()> {
    let mut table = layout.map_or_else(|| found.clone(), |layout| layout.table.clone());
    if let Some(data) = grown(found, layout) {
        table.disk_sectors = found.disk_sectors;
        if let Some(own) = table.partitions.iter_mut().find(|one| one.name == Role::Data.name()) {
            own.sectors = data;
        }
    }
    let end = table.disk_sectors.saturating_mul(SECTOR_BYTES);
    if end > device.size() {
        let problem = format!("the commit's disk has {end} bytes, this one {}", device.size());
        findings.note("partition table", SECTOR_BYTES + 32, problem);
        return Ok(());
    }
    let expected = Expected::new(end);
    if let Err(error) = gpt::write(&expected, &table) {
        findings.note("partition table", SECTOR_BYTES, whole(&error));
        return Ok(());
    }
    let ranges = outside(found, end);
    let window = slot::window(device, 0, end)?;
    for run in differences(&expected, &window, &ranges, job)? {
        slot::report(&expected, &window, run, 0, names, findings)?;
    }
    for (offset, bytes) in ranges {
        coverage.cover(offset, bytes, "partition table: written again");
    }
    coverage.miss(end, device.size() - end, "behind the end of the partition table");
    Ok(())
}

/// Returns the sectors of the data partition where it is larger than it was made.
pub fn grown(found: &PartitionTable, layout: Option<&DiskLayout>) -> Option<u64> {
    let data = found.named(Role::Data.name())?;
    let made = layout?.partition(Role::Data);
    (data.first_sector == made.first_sector && data.sectors > made.sectors).then_some(data.sectors)
}

/// Returns what lies outside of all partitions.
fn outside(table: &PartitionTable, end: u64) -> Vec<(u64, u64)> {
    let mut inside: Vec<(u64, u64)> =
        table.partitions.iter().map(|one| (one.offset(), one.offset() + one.size().0)).collect();
    inside.sort_unstable();
    let (mut ranges, mut at) = (Vec::new(), 0);
    for (start, stop) in inside {
        if start > at {
            ranges.push((at, start - at));
        }
        at = stop;
    }
    debug_assert!(at + BACK_SECTORS * SECTOR_BYTES <= end || table.partitions.is_empty());
    if at < end {
        ranges.push((at, end - at));
    }
    ranges
}

//! The EFI system partition: all of it where nothing has changed it, else what its own rules cover.

use super::error::Result;
use super::expected::{Expected, differences};
use super::names::Names;
use super::origin::Carried;
use super::report::{Coverage, Findings};
use super::slot::{self, Root};
use crate::base::{Job, whole};
use crate::disk::fat;
use crate::disk::layout::Architecture;
use crate::image::{Image, Placed};
use crate::store;
use crate::tree::Content;

/// Largest loader that is read.
const LOADER_BYTES_MAX: u32 = 64 << 20;

/// Reads the program that firmware starts; `None` where the volume can't be read, which is a finding.
pub fn loader(esp: &Root<'_>, commit: &store::Commit, findings: &Findings) -> Option<Vec<u8>> {
    let architecture = match commit.disk.architecture {
        store::Architecture::X86_64 => Architecture::X86_64,
        store::Architecture::Aarch64 => Architecture::Aarch64,
    };
    let path = format!("EFI/BOOT/{}", architecture.loader_name());
    let read = fat::read(esp.device)
        .and_then(|listing| fat::read_file(esp.device, &listing, &path, LOADER_BYTES_MAX));
    read.map_err(|error| findings.note("esp: FAT volume", esp.base, whole(&error))).ok()
}

/// Returns the loader where it is the commit's, else nothing.
pub fn loader_of(carried: &Carried, loader: Option<Vec<u8>>) -> Vec<u8> {
    let is_own = |bytes: &Vec<u8>| carried.part("loader") == Some(&Content::of(bytes));
    loader.filter(is_own).unwrap_or_default()
}

/// Writes the whole volume again and compares every byte.
#[allow(clippy::too_many_arguments, reason = "each is a part of the one question")]
pub fn check_fresh(
    esp: &Root<'_>,
    image: &Image<'_>,
    plan: &Placed<'_>,
    uki: &[u8],
    names: &Names<'_>,
    findings: &Findings,
    coverage: &mut Coverage,
    job: &Job,
) -> Result<()> {
    let size = esp.device.size();
    if plan.disk.esp.size().0 != size {
        let problem = format!("it has {size} bytes, and as the commit makes it {}", plan.disk.esp.size().0);
        findings.note("esp", esp.base, problem);
        return Ok(());
    }
    let expected = Expected::new(size);
    if let Err(error) = image.write_esp(plan, uki, &expected) {
        findings.note("esp", esp.base, format!("it can't be written again: {}", whole(&error)));
        return Ok(());
    }
    for run in differences(&expected, esp.device, &[(0, size)], job)? {
        slot::report(&expected, esp.device, run, esp.base, names, findings)?;
    }
    coverage.cover(esp.base, size, "EFI system partition: written again");
    Ok(())
}

/// Checks the volume by its own rules: equal FATs, chains, the count of free clusters.
pub fn check_changed(esp: &Root<'_>, findings: &Findings, coverage: &mut Coverage) {
    if let Err(error) = fat::read(esp.device) {
        findings.note("esp: FAT volume", esp.base, whole(&error));
    }
    coverage.miss(
        esp.base,
        esp.device.size(),
        "EFI system partition after an update or a boot: checked by its rules, and the UKIs byte by byte",
    );
}

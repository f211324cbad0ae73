//! The whole image: what kind of bytes they are, then each part, then what binds the parts together.

use super::error::{Result, VerifyError};
use super::expected::{Expected, differences, first_byte, read};
use super::names::Names;
use super::proof::Proofs;
use super::report::{Coverage, Findings, Kind, Report, SlotReport};
use super::slot::{self, Looked, Root};
use super::{esp, table};
use crate::base::{Job, whole};
use crate::boot::slots::{Slot, SlotState, map_offset};
use crate::disk::ext4::Ext4Reader;
use crate::disk::layout::Role;
use crate::disk::{BlockDevice, Window};
use crate::image::{Image, OpenImage, Placed};

/// Checks an image against itself: all that it claims, and all that follows from what it claims.
///
/// Reads every byte that is not a hole, those of a slot once; keeps a few megabytes, a few words for each file and
/// extent, and the UKIs. What is wrong is in the report; an error is what kept it from looking.
pub fn verify(device: &dyn BlockDevice, job: &Job) -> Result<Report> {
    let findings = Findings::default();
    let mut coverage = Coverage::default();
    let kind = kind(device)?;
    let mut report = Report {
        kind,
        size_bytes: device.size(),
        sound: false,
        commit: None,
        fresh: false,
        slots: Vec::new(),
        findings: Vec::new(),
        more_findings: 0,
        covered: Vec::new(),
        uncovered: Vec::new(),
        proofs: Proofs::default(),
    };
    match kind {
        Kind::Disk => disk(device, &mut report, &findings, &mut coverage, job)?,
        Kind::Esp => super::same::esp_alone(device, &mut report, &findings, &mut coverage, job)?,
        Kind::Slot => slot_alone(device, &mut report, &findings, &mut coverage, job)?,
    }
    (report.findings, report.more_findings) = findings.into_inner();
    report.proofs.zeros = std::mem::take(&mut coverage.zeros);
    (report.covered, report.uncovered) = coverage.finish();
    report.sound = report.findings.is_empty();
    Ok(report)
}

/// Tells what bytes are by what stands at their beginning.
pub fn kind(device: &dyn BlockDevice) -> Result<Kind> {
    let mut start = [0; 2048];
    let length = device.size().min(start.len() as u64) as usize;
    read(device, 0, &mut start[..length])?;
    let first: [u8; 512] = start[..512].try_into().expect("because 512 bytes were taken");
    if &start[512..520] == b"EFI PART" || (first[510..] == [0x55, 0xaa] && first[450] == 0xee) {
        Ok(Kind::Disk)
    } else if map_offset(&first).is_ok() {
        Ok(Kind::Esp)
    } else if start[1080..1082] == [0x53, 0xef] {
        Ok(Kind::Slot)
    } else {
        let problem =
            "it is neither a disk with a partition table, nor an ESP of ours, nor a slot's ext4".to_owned();
        Err(VerifyError::NotAnImage { problem })
    }
}

/// A part of the disk by the name of its partition.
fn part<'a>(disk: &OpenImage<'_>, window: &'a Window<'a>, name: &str) -> Root<'a> {
    let base = disk.table().named(name).map_or(0, |partition| partition.offset());
    Root { device: window, base, name: name.to_owned() }
}

fn disk(
    device: &dyn BlockDevice,
    report: &mut Report,
    findings: &Findings,
    coverage: &mut Coverage,
    job: &Job,
) -> Result<()> {
    let Some(found) = table::read(device, findings) else { return Ok(()) };
    let disk = match OpenImage::open(device) {
        Ok(disk) => disk,
        Err(error) => {
            let at = found.named(Role::Esp.name()).map_or(0, |esp| esp.offset());
            findings.note("esp", at, whole(&error));
            return Ok(());
        }
    };
    let names = Names::of(device, job);
    report.fresh = is_fresh(&disk);
    let mut made = None;
    for slot in Slot::BOTH {
        let state = disk.slots().state(slot);
        if matches!(state, SlotState::Empty | SlotState::Inactive { .. }) {
            let state = slot::state(state);
            report.slots.push(SlotReport { slot: slot.to_string(), state, ..SlotReport::default() });
            continue;
        }
        let mut looked = slot::look(&disk, slot, findings, job)?;
        report.proofs.slots.extend(looked.filesystem.as_mut().and_then(|filesystem| filesystem.proof.take()));
        report.slots.push(looked.report.clone());
        let fresh = report.fresh && slot == Slot::A;
        let checked = check_slot(&disk, slot, &looked, fresh, &names, findings, coverage, job)?;
        if fresh {
            made = checked;
        }
    }
    let next = disk.slots().choose().map(|choice| choice.slot.to_string());
    let next = report.slots.iter().find(|slot| Some(&slot.slot) == next.as_ref());
    report.commit = next.and_then(|slot| slot.commit.clone());
    if report.commit.is_none() {
        findings.note("slot sector", disk.map().directory_offset, "no slot is selectable");
    }
    if !report.fresh || made != Some(true) {
        table::check(device, &found, None, &names, findings, coverage, job)?;
        check_changed(&disk, findings, coverage)?;
    }
    Ok(())
}

/// Tells whether the slot sector is that of an image that was never updated.
fn is_fresh(disk: &OpenImage<'_>) -> bool {
    let states = Slot::BOTH.map(|slot| disk.slots().state(slot));
    matches!(states, [SlotState::Blessed { generation: 1, .. }, SlotState::Empty])
}

/// Makes a slot's image again and compares. Returns whether the whole disk was compared: a fresh one.
#[allow(clippy::too_many_arguments, reason = "each is a part of the one question")]
fn check_slot(
    disk: &OpenImage<'_>,
    slot: Slot,
    looked: &Looked,
    fresh: bool,
    names: &Names<'_>,
    findings: &Findings,
    coverage: &mut Coverage,
    job: &Job,
) -> Result<Option<bool>> {
    let (Some(carried), Some(filesystem)) = (&looked.carried, &looked.filesystem) else { return Ok(None) };
    let windows = (disk.partition("esp"), disk.root(slot));
    let (Ok(esp_window), Ok(root_window)) = windows else { return Ok(None) };
    let esp_part = part(disk, &esp_window, "esp");
    let loader = esp::loader(&esp_part, &carried.commit, findings);
    let at = esp_part.base + disk.map().uki_offset(slot);
    let Some(image) = slot::image(looked, filesystem, loader, at, findings) else { return Ok(None) };
    let root = part(disk, &root_window, &disk.map().slots[slot.index()].partition);
    slot::check_layout(&image, &root, filesystem, names, findings, job)?;
    let made = image.uki(&carried.verity);
    let note = |error| {
        findings.note(format!("UKI of {slot}"), at, format!("it can't be built again: {}", whole(&error)))
    };
    let Some(uki) = made.map_err(note).ok() else { return Ok(None) };
    let content = image.place_root(job).map_or(0, |layout| crate::image::slot_bytes(&layout));
    coverage.cover(
        root.base,
        content.min(root_window.size()),
        "slot: files by their ids, blocks by the verity tree",
    );
    if fresh {
        return fresh_disk(disk, &image, &uki, &esp_part, &root, content, names, findings, coverage, job);
    }
    check_uki(
        &esp_window,
        esp_part.base,
        disk.map().uki_offset(slot),
        &uki,
        &looked.bytes,
        names,
        findings,
        job,
    )?;
    let slack = root_window.size().saturating_sub(content);
    coverage.miss(
        root.base + content,
        slack,
        "slot: behind its verity tree, where an earlier version may have stood",
    );
    Ok(None)
}

#[allow(clippy::too_many_arguments, reason = "each is a part of the one question")]
fn check_uki(
    esp: &Window<'_>,
    base: u64,
    offset: u64,
    expected: &[u8],
    found: &[u8],
    names: &Names<'_>,
    findings: &Findings,
    job: &Job,
) -> Result<()> {
    if expected.len() != found.len() {
        let problem = format!("it has {} bytes, and as its commit makes it {}", found.len(), expected.len());
        findings.note("UKI", base + offset, problem);
        return Ok(());
    }
    let device = Expected::new(esp.size());
    device.write_at(offset, expected).expect("because the UKI was read from there");
    for run in differences(&device, esp, &[(offset, expected.len() as u64)], job)? {
        slot::report(&device, esp, run, base, names, findings)?;
    }
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "each is a part of the one question")]
fn fresh_disk(
    disk: &OpenImage<'_>,
    image: &Image<'_>,
    uki: &[u8],
    esp_part: &Root<'_>,
    root: &Root<'_>,
    content: u64,
    names: &Names<'_>,
    findings: &Findings,
    coverage: &mut Coverage,
    job: &Job,
) -> Result<Option<bool>> {
    let plan = match image.place(job) {
        Ok(plan) => plan,
        Err(error) => {
            job.check()?;
            findings.note("disk", 0, format!("its commit makes no disk: {}", whole(&error)));
            return Ok(None);
        }
    };
    table::check(disk.device(), disk.table(), Some(&plan.disk), names, findings, coverage, job)?;
    esp::check_fresh(esp_part, image, &plan, uki, names, findings, coverage, job)?;
    let size = root.device.size();
    match first_byte(root.device, content.min(size), size.saturating_sub(content), job)? {
        None => coverage.zeros.push((root.base + content.min(size), root.base + size)),
        Some(at) => {
            let structure = format!("{}: behind the verity tree", root.name);
            findings.note(structure, root.base + at, "a byte that is not zero, where a fresh image has none");
        }
    }
    coverage.cover(root.base + content.min(size), size.saturating_sub(content), "slot: zeros");
    if let Ok(other) = disk.root(Slot::B) {
        let other = part(disk, &other, &disk.map().slots[Slot::B.index()].partition);
        match first_byte(other.device, 0, other.device.size(), job)? {
            None => coverage.zeros.push((other.base, other.base + other.device.size())),
            Some(at) => {
                let problem = "a byte that is not zero, where a fresh image has none";
                findings.note(format!("{}: empty slot", other.name), other.base + at, problem);
            }
        }
        coverage.cover(other.base, other.device.size(), "empty slot: zeros");
    }
    check_data(disk, image, &plan, names, findings, coverage, job)?;
    Ok(Some(true))
}

/// Compares the data partition with what the commit makes, unless it was mounted since.
fn check_data(
    disk: &OpenImage<'_>,
    image: &Image<'_>,
    plan: &Placed<'_>,
    names: &Names<'_>,
    findings: &Findings,
    coverage: &mut Coverage,
    job: &Job,
) -> Result<()> {
    let Ok(window) = disk.partition(Role::Data.name()) else { return Ok(()) };
    let data = part(disk, &window, Role::Data.name());
    let size = window.size();
    if table::grown(disk.table(), Some(&plan.disk)).is_some() || was_mounted(&window)? {
        coverage.miss(data.base, size, "data partition: it was written since the image was made");
        return Ok(());
    }
    if size != plan.disk.partition(Role::Data).size().0 {
        return Ok(()); // the table was found to differ
    }
    let expected = Expected::new(size);
    if let Err(error) = image.write_data(plan, &expected, job) {
        job.check()?;
        findings.note("data", data.base, whole(&error));
        return Ok(());
    }
    for run in differences(&expected, &window, &[(0, size)], job)? {
        slot::report(&expected, &window, run, data.base, names, findings)?;
    }
    coverage.cover(data.base, size, "data partition, never mounted: written again");
    Ok(())
}

/// Tells whether a sound superblock says that the filesystem was mounted.
fn was_mounted(device: &dyn BlockDevice) -> Result<bool> {
    if Ext4Reader::open(device).is_err() {
        return Ok(false);
    }
    let mut fields = [0; 12];
    read(device, 1024 + 0x2c, &mut fields)?;
    // Last mount, last write, number of mounts.
    Ok(fields[..4] != [0; 4] || fields[8..10] != [0; 2])
}

/// Checks what an update or a boot has changed, by the rules of each format.
fn check_changed(disk: &OpenImage<'_>, findings: &Findings, coverage: &mut Coverage) -> Result<()> {
    if let Ok(window) = disk.partition("esp") {
        esp::check_changed(&part(disk, &window, "esp"), findings, coverage);
    }
    for (name, why) in [("slot-a", "slot"), ("slot-b", "slot"), ("data", "data partition: the machine's own")]
    {
        let Some(partition) = disk.table().named(name) else { continue };
        let inside = |range: &super::report::Range| range.offset == partition.offset();
        if !coverage.covered.iter().any(inside) {
            coverage.miss(partition.offset(), partition.size().0, why);
        }
    }
    Ok(())
}

/// Reads the tree of a slot's partition that comes alone. What names its root hash is elsewhere.
fn slot_alone(
    device: &dyn BlockDevice,
    report: &mut Report,
    findings: &Findings,
    coverage: &mut Coverage,
    job: &Job,
) -> Result<()> {
    let root = Root { device, base: 0, name: "slot".to_owned() };
    let mut slot = SlotReport { slot: root.name.clone(), ..SlotReport::default() };
    if let Some(mut filesystem) = slot::filesystem(&root, None, None, findings, job)? {
        report.proofs.slots.extend(filesystem.proof.take());
        slot.tree = Some(filesystem.id.id.to_string());
        (slot.files, slot.file_bytes) = (filesystem.files, filesystem.file_bytes);
    }
    report.slots.push(slot);
    coverage.miss(
        0,
        device.size(),
        "a slot alone: its files give the tree's id; the commit and the root hash are in the UKI",
    );
    Ok(())
}

//! Whether two images hold the same commit, whatever file, size or container they came in.

use serde::{Deserialize, Serialize};

use super::error::Result;
use super::origin::Carried;
use super::report::{Coverage, Finding, Findings, Kind, Report, SlotReport};
use super::slot;
use crate::base::{Job, whole};
use crate::boot::slots::{Slot, SlotError, SlotMap, SlotState, SlotTable, map_offset};
use crate::disk::{BlockDevice, fat};

/// Largest UKI that is read.
const UKI_BYTES_MAX: u32 = 1 << 30;

/// What an image is, as far as its own bytes prove it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Identity {
    pub kind: Kind,
    pub commit: Option<String>,
    /// The tree that the slot's files give.
    pub tree: Option<String>,
    pub root_hash: Option<String>,
    /// What keeps the bytes from proving anything.
    pub findings: Vec<Finding>,
}

/// What two identities have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sameness {
    pub same: bool,
    /// What was compared, and how it came out.
    pub reason: String,
}

/// Finds out what an image is: checks all of it, and takes the slot that boots next.
pub fn identify(device: &dyn BlockDevice, job: &Job) -> Result<Identity> {
    Ok(Identity::of(&super::verify(device, job)?))
}

impl Identity {
    /// Takes the identity out of a report.
    pub fn of(report: &Report) -> Self {
        let slot = report.slots.iter().find(|slot| slot.commit.is_some() && slot.commit == report.commit);
        let slot = slot.or(report.slots.first());
        Identity {
            kind: report.kind,
            commit: report.commit.clone(),
            tree: slot.and_then(|slot| slot.tree.clone()),
            root_hash: slot.and_then(|slot| slot.root_hash.clone()),
            findings: report.findings.clone(),
        }
    }
}

/// Compares two identities. Damaged images prove nothing and are the same as nothing.
pub fn same(a: &Identity, b: &Identity) -> Sameness {
    let no = |reason: String| Sameness { same: false, reason };
    for (which, one) in [("first", a), ("second", b)] {
        if let Some(finding) = one.findings.first() {
            return no(format!("the {which} is damaged: {finding}"));
        }
    }
    match ((&a.commit, &b.commit), (&a.tree, &b.tree)) {
        ((Some(one), Some(other)), _) if one == other => {
            Sameness { same: true, reason: format!("both hold the commit {one}") }
        }
        ((Some(one), Some(other)), _) => no(format!("one holds the commit {one}, the other {other}")),
        (_, (Some(one), Some(other))) if one == other => Sameness {
            same: true,
            reason: format!("both hold the tree {one}; one of them is a slot alone and names no commit"),
        },
        (_, (Some(one), Some(other))) => no(format!("one holds the tree {one}, the other {other}")),
        _ => {
            no("they have nothing in common that could be compared: one is an ESP, the other a slot"
                .to_owned())
        }
    }
}

/// Reads the UKIs of an ESP that comes alone. The trees are elsewhere.
pub fn esp_alone(
    device: &dyn BlockDevice,
    report: &mut Report,
    findings: &Findings,
    coverage: &mut Coverage,
    job: &Job,
) -> Result<()> {
    if let Err(error) = fat::read(device) {
        findings.note("FAT volume", 0, whole(&error));
        return Ok(());
    }
    let sector = match slots(device) {
        Ok(sector) => sector,
        Err(problem) => {
            findings.note("slot sector", 0, problem);
            return Ok(());
        }
    };
    let next = sector.choose().map(|choice| choice.slot);
    for slot in Slot::BOTH {
        job.check()?;
        let state = sector.state(slot);
        let mut found =
            SlotReport { slot: slot.to_string(), state: slot::state(state), ..SlotReport::default() };
        if !matches!(state, SlotState::Empty | SlotState::Inactive { .. }) {
            let at = sector.map().uki_offset(slot);
            match uki(device, at, state.size_bytes()) {
                Ok(carried) => {
                    found.commit = Some(carried.id.to_string());
                    found.root_hash = Some(carried.verity.root_hash_hex());
                    found.name = Some(carried.commit.name);
                    found.version = carried.commit.version;
                }
                Err(problem) => findings.note(format!("UKI of {slot}"), at, problem),
            }
        }
        if next == Some(slot) {
            report.commit.clone_from(&found.commit);
        }
        report.slots.push(found);
    }
    coverage.miss(
        0,
        device.size(),
        "an ESP alone: its UKIs name commit and root hash, the slots are elsewhere",
    );
    Ok(())
}

fn slots(device: &dyn BlockDevice) -> std::result::Result<SlotTable, String> {
    let read = |at: u64| {
        let mut sector = [0; 512];
        device.read_at(at, &mut sector).map(|()| sector).map_err(|error| error.to_string())
    };
    let map = read(map_offset(&read(0)?).map_err(|error| error.to_string())?)?;
    let map = SlotMap::parse(&map).map_err(|error| error.to_string())?;
    let sector = |at| read(at).map_err(|problem| SlotError::Records { problem });
    SlotTable::read(&map, sector).map_err(|error| error.to_string())
}

fn uki(device: &dyn BlockDevice, at: u64, size: u32) -> std::result::Result<Carried, String> {
    if size > UKI_BYTES_MAX || at.saturating_add(size.into()) > device.size() {
        return Err(format!("its {size} bytes don't lie on the volume"));
    }
    let mut bytes = vec![0; size as usize];
    device.read_at(at, &mut bytes).map_err(|error| error.to_string())?;
    Carried::read(&bytes).map_err(|error| whole(&error))
}

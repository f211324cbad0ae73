//! What an image says of itself, read strictly and without mounting anything.

use std::borrow::Cow;
use std::path::Path;

use super::error::{ImageError, Result};
use super::opened::{OpenImage, partition, read_map};
use crate::base::{CommitId, Digest, Job, whole};
use crate::boot::command_line;
use crate::boot::slots::{Slot, SlotState, SlotTable, dump_records};
use crate::boot::uki;
use crate::disk::ext4::Ext4Reader;
use crate::disk::gpt::{self, Partition};
use crate::disk::verity;
use crate::disk::{self, BlockDevice};
use crate::store::Commit;

/// The annotation that lists the TCP ports of the app, with spaces between.
pub const PORTS: &str = "ports";

/// What an image holds.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Inspection {
    pub size_bytes: u64,
    /// The disk's GUID.
    pub disk: String,
    pub layout: u32,
    /// What is lost, where what follows could only be read in part.
    pub damage: Option<String>,
    pub partitions: Vec<PartitionFacts>,
    pub slots: Vec<SlotFacts>,
    /// What boots next, and why; absent where nothing would.
    pub next: Option<Next>,
    pub data: Option<FilesystemFacts>,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct PartitionFacts {
    pub number: u32,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub guid: String,
    pub attributes: u64,
    pub start_bytes: u64,
    pub size_bytes: u64,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Next {
    pub slot: String,
    pub trial: bool,
    pub why: String,
}

/// What is known of a slot. Fields that only a slot with a UKI has are absent elsewhere.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct SlotFacts {
    pub slot: String,
    /// `empty`, `inactive`, `trial` or `blessed`.
    pub state: Cow<'static, str>,
    pub file: Option<String>,
    pub generation: Option<u32>,
    pub tries_left: Option<u32>,
    pub uki_bytes: Option<u64>,
    /// BLAKE3 that the loader demands of the UKI; absent where it demands none.
    pub uki_digest: Option<String>,
    /// What the UKI can't be read for, where it can't.
    pub problem: Option<String>,
    pub commit: Option<CommitId>,
    pub name: Option<String>,
    pub version: Option<String>,
    pub epoch: Option<u64>,
    /// TCP ports that the app serves.
    pub ports: Vec<u16>,
    pub kernel: Option<String>,
    pub command_line: Option<String>,
    pub root_hash: Option<String>,
    pub salt: Option<String>,
    pub data_blocks: Option<u64>,
    pub hash_start_block: Option<u64>,
    pub filesystem: Option<FilesystemFacts>,
    /// Whether every block of the slot was read and is what the root hash says; absent where nobody asked.
    pub verified: Option<bool>,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct FilesystemFacts {
    pub kind: Cow<'static, str>,
    pub uuid: String,
    pub label: String,
    pub blocks: u64,
    pub free_blocks: u64,
}

/// Reads what an image or a disk holds, whose name is for messages. With `check`, each slot is read whole and held
/// against its root hash.
pub fn inspect(path: &Path, device: &dyn BlockDevice, check: bool, job: &Job) -> Result<Inspection> {
    inspect_disk(device, check, job).map_err(|error| match error {
        ImageError::NoPartition { .. } => {
            ImageError::NotAnImage { path: path.to_owned(), problem: error.to_string() }
        }
        ImageError::Cancelled(_) => error,
        error => ImageError::Reading { path: path.to_owned(), source: Box::new(error) },
    })
}

fn inspect_disk(device: &dyn BlockDevice, check: bool, job: &Job) -> Result<Inspection> {
    let image = OpenImage::salvage(device)?;
    let mut slots = Vec::new();
    let mut refused = [true; 2];
    for slot in Slot::BOTH {
        let mut facts = state_facts(image.slots(), slot);
        if image.slots().state(slot).size_bytes() > 0 {
            let described = describe(&image, slot, check, &mut facts, job);
            refused[slot.index()] = matches!(described, Err(ImageError::UkiDigest { .. }));
            match described {
                Err(error @ ImageError::Cancelled(_)) => return Err(error),
                Err(error) => facts.problem = Some(whole(&error)),
                Ok(()) => {}
            }
        }
        slots.push(facts);
    }
    let next = image.next(refused);
    let next = next.map(|(choice, why)| Next { slot: choice.slot.to_string(), trial: choice.is_trial, why });
    let data = image.partition("data").ok().and_then(|data| filesystem(&data).ok());
    Ok(Inspection {
        size_bytes: device.size(),
        disk: image.table().disk.to_string(),
        layout: image.map().layout,
        damage: image.lost().map(ToString::to_string),
        partitions: image.table().partitions.iter().map(PartitionFacts::from).collect(),
        slots,
        next,
        data,
    })
}

/// Returns every field of the partition table, the ESP and the slot state as text, each with its offset. The
/// name of the image is for messages.
pub fn dump(path: &Path, device: &dyn BlockDevice) -> Result<String> {
    let problem =
        |error| ImageError::NotAnImage { path: path.to_owned(), problem: whole(&ImageError::Dump(error)) };
    let text = disk::dump::disk(device).map_err(problem)?;
    Ok(text + &dump_slot_records(device)?)
}

fn dump_slot_records(device: &dyn BlockDevice) -> Result<String> {
    let table = gpt::read(device)?;
    let esp = partition(device, &table, "esp")?;
    let base = table.named("esp").map_or(0, Partition::offset);
    let failed = |source| ImageError::Device { doing: "read the slot records", source };
    dump_records(&esp, &read_map(&esp)?, base).map_err(failed)
}

impl From<&Partition> for PartitionFacts {
    fn from(partition: &Partition) -> Self {
        PartitionFacts {
            number: partition.number,
            name: partition.name.clone(),
            kind: partition.kind.to_string(),
            guid: partition.id.to_string(),
            attributes: partition.attributes,
            start_bytes: partition.offset(),
            size_bytes: partition.size().0,
        }
    }
}

fn state_facts(slots: &SlotTable, slot: Slot) -> SlotFacts {
    let state = slots.state(slot);
    let (name, tries_left) = match state {
        SlotState::Empty => ("empty", None),
        SlotState::Inactive { .. } => ("inactive", None),
        SlotState::Trial { left, .. } => ("trial", Some(left)),
        SlotState::Blessed { .. } => ("blessed", None),
    };
    SlotFacts {
        slot: slot.to_string(),
        state: name.into(),
        file: slots.file_name(slot),
        generation: state.generation(),
        tries_left,
        ..SlotFacts::default()
    }
}

/// Adds what a slot's UKI and filesystem say. What was found before a failure stays.
fn describe(disk: &OpenImage<'_>, slot: Slot, check: bool, facts: &mut SlotFacts, job: &Job) -> Result<()> {
    let image = disk.uki(slot)?;
    facts.uki_bytes = Some(image.len() as u64);
    let expected = disk.slots().digest(slot);
    facts.uki_digest = expected.map(|digest| digest.to_string());
    let described = describe_content(disk, slot, &image, check, facts, job);
    let found = Digest::of(&image);
    match expected.filter(|expected| *expected != found) {
        // What a loader refuses to start matters more than what can be read of it.
        Some(expected) => {
            facts.verified = check.then_some(false);
            described
                .or_else(|error| if let ImageError::Cancelled(_) = error { Err(error) } else { Ok(()) })?;
            Err(ImageError::UkiDigest { slot, expected, found })
        }
        None => described,
    }
}

fn describe_content(
    disk: &OpenImage<'_>,
    slot: Slot,
    image: &[u8],
    check: bool,
    facts: &mut SlotFacts,
    job: &Job,
) -> Result<()> {
    let sections = uki::read(image)?;
    facts.kernel = Some(sections.uname.to_owned());
    facts.command_line = Some(sections.command_line.to_owned());
    if let Ok(commit) = Commit::decode(sections.commit) {
        commit_facts(commit, facts);
    }
    let verity = command_line::parse(sections.command_line)?.verity;
    facts.root_hash = Some(verity.root_hash_hex());
    facts.salt = Some(verity.salt_hex());
    facts.data_blocks = Some(verity.data_blocks);
    facts.hash_start_block = Some(verity.hash_start_block);
    let root = disk.root(slot)?;
    if check {
        let offset = verity.hash_start_block.saturating_mul(command_line::VERITY_BLOCK_BYTES as u64);
        facts.verified = Some(false);
        verity::verify(&root, verity.data_blocks, offset, &verity.salt, &verity.root_hash, job)?;
        facts.verified = Some(true);
    }
    facts.filesystem = Some(filesystem(&root)?);
    Ok(())
}

fn commit_facts(commit: Commit, facts: &mut SlotFacts) {
    facts.commit = Some(commit.id());
    let ports = commit.annotations.get(PORTS).map(String::as_str).unwrap_or_default();
    facts.ports = ports.split(' ').filter_map(|port| port.parse().ok()).collect();
    facts.name = Some(commit.name);
    facts.version = commit.version;
    facts.epoch = Some(commit.epoch);
}

fn filesystem(device: &dyn BlockDevice) -> Result<FilesystemFacts> {
    let reader = Ext4Reader::open(device)?;
    let facts = reader.facts();
    Ok(FilesystemFacts {
        kind: "ext4".into(),
        uuid: uuid_text(&facts.uuid),
        label: String::from_utf8_lossy(&facts.label).into_owned(),
        blocks: facts.blocks.0,
        free_blocks: facts.free_blocks.0,
    })
}

/// Prints a UUID's bytes in the order in which they stand.
fn uuid_text(bytes: &[u8; 16]) -> String {
    let hex = crate::base::id::hex(bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

//! What an image says of itself, read strictly and without mounting anything.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::compose::PORTS;
use super::error::{PipelineError, Result, whole};
use crate::base::{CommitId, FileError, Job, fs};
use crate::boot::command_line;
use crate::boot::slots::{Slot, SlotMap, SlotSector, SlotState};
use crate::boot::uki;
use crate::disk::ext4::Ext4Reader;
use crate::disk::gpt::{self, Partition, PartitionTable};
use crate::disk::verity;
use crate::disk::{self, BlockDevice, FileDevice, Window};
use crate::store::Commit;

/// What an image holds.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Inspection {
    pub size_bytes: u64,
    /// The disk's GUID.
    pub disk: String,
    pub layout: u32,
    pub partitions: Vec<PartitionFacts>,
    pub slots: Vec<SlotFacts>,
    /// What boots next, and why; absent where nothing would.
    pub next: Option<Next>,
    pub data: Option<FilesystemFacts>,
}

#[derive(Clone, Debug, serde::Serialize)]
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

#[derive(Clone, Debug, serde::Serialize)]
pub struct Next {
    pub slot: String,
    pub trial: bool,
    pub why: String,
}

/// What is known of a slot. Fields that only a slot with a UKI has are absent elsewhere.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct SlotFacts {
    pub slot: String,
    /// `empty`, `inactive`, `trial` or `blessed`.
    pub state: &'static str,
    pub file: Option<String>,
    pub generation: Option<u32>,
    pub tries_left: Option<u32>,
    pub uki_bytes: Option<u64>,
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

#[derive(Clone, Debug, serde::Serialize)]
pub struct FilesystemFacts {
    pub kind: &'static str,
    pub uuid: String,
    pub label: String,
    pub blocks: u64,
    pub free_blocks: u64,
}

/// Reads what an image or a disk holds. With `check`, each slot is read whole and held against its root
/// hash.
pub fn inspect(path: &Path, check: bool, job: &Job) -> Result<Inspection> {
    let device = open(path)?;
    inspect_disk(&device, path, check, job).map_err(|error| match error {
        PipelineError::NotAnImage { .. } | PipelineError::Cancelled(_) => error,
        error => PipelineError::Image { path: path.to_owned(), source: Box::new(error) },
    })
}

fn inspect_disk(device: &FileDevice, path: &Path, check: bool, job: &Job) -> Result<Inspection> {
    let table = gpt::read(device)?;
    let esp = window(device, &table, "esp", path)?;
    let map = read_map(&esp)?;
    let mut sector = [0; 512];
    read(&esp, map.directory_offset, &mut sector)?;
    let sector = SlotSector::decode(&sector, &map).map_err(PipelineError::Slots)?;
    let disk = Disk { device, table: &table, esp: &esp, sector: &sector };
    let mut slots = Vec::new();
    for slot in Slot::BOTH {
        let mut facts = state_facts(&sector, slot);
        if sector.state(slot).size_bytes() > 0
            && let Err(error) = disk.describe(slot, check, &mut facts, job)
        {
            if let PipelineError::Cancelled(_) = error {
                return Err(error);
            }
            facts.problem = Some(whole(&error));
        }
        slots.push(facts);
    }
    let next = sector.choose().map(|choice| Next {
        slot: choice.slot.to_string(),
        trial: choice.is_trial,
        why: choice.reason.to_string(),
    });
    let data = window(device, &table, "data", path).ok().and_then(|data| filesystem(&data).ok());
    Ok(Inspection {
        size_bytes: device.size(),
        disk: table.disk.to_string(),
        layout: map.layout,
        partitions: table.partitions.iter().map(partition_facts).collect(),
        slots,
        next,
        data,
    })
}

/// Returns every field of the partition table, the ESP and the slot sector as text, each with its offset.
pub fn dump(path: &Path) -> Result<String> {
    let device = open(path)?;
    let problem = |error: disk::dump::DumpError| PipelineError::NotAnImage {
        path: path.to_owned(),
        problem: whole(&error),
    };
    disk::dump::disk(&device).map_err(problem)
}

/// Opens an image or a disk for reading; anything else is refused.
pub fn open(path: &Path) -> Result<FileDevice> {
    use std::io::{Seek, SeekFrom};
    // Looked at before it is opened: opening a fifo would wait.
    let kind = std::fs::metadata(path).map_err(FileError::at("open", path))?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        let problem = "it is neither a file nor a block device".to_owned();
        return Err(PipelineError::NotAnImage { path: path.to_owned(), problem });
    }
    let mut file = fs::open(path)?;
    let size = file.seek(SeekFrom::End(0)).map_err(FileError::at("read", path))?;
    Ok(FileDevice::new(file, size))
}

fn window<'a>(
    device: &'a dyn BlockDevice,
    table: &PartitionTable,
    name: &str,
    path: &Path,
) -> Result<Window<'a>> {
    let missing = || PipelineError::NotAnImage {
        path: path.to_owned(),
        problem: format!("it has no partition {name:?}: it was not made by mkimage"),
    };
    let partition = table.named(name).ok_or_else(missing)?;
    let failed = |source| PipelineError::Device { doing: "open a partition", source };
    Window::new(device, partition.offset(), partition.size().0).map_err(failed)
}

fn read(device: &dyn BlockDevice, offset: u64, buffer: &mut [u8]) -> Result<()> {
    device.read_at(offset, buffer).map_err(|source| PipelineError::Device { doing: "read the disk", source })
}

fn read_map(esp: &dyn BlockDevice) -> Result<SlotMap> {
    let mut sector = [0; 512];
    read(esp, 0, &mut sector)?;
    let offset = crate::boot::slots::map_offset(&sector).map_err(PipelineError::Slots)?;
    read(esp, offset, &mut sector)?;
    SlotMap::parse(&sector).map_err(PipelineError::Slots)
}

fn partition_facts(partition: &Partition) -> PartitionFacts {
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

fn state_facts(sector: &SlotSector, slot: Slot) -> SlotFacts {
    let state = sector.state(slot);
    let (name, tries_left) = match state {
        SlotState::Empty => ("empty", None),
        SlotState::Inactive { .. } => ("inactive", None),
        SlotState::Trial { left, .. } => ("trial", Some(left)),
        SlotState::Blessed { .. } => ("blessed", None),
    };
    SlotFacts {
        slot: slot.to_string(),
        state: name,
        file: sector.file_name(slot),
        generation: state.generation(),
        tries_left,
        ..SlotFacts::default()
    }
}

/// A disk whose table, ESP and slot sector were read.
struct Disk<'a> {
    device: &'a FileDevice,
    table: &'a PartitionTable,
    esp: &'a Window<'a>,
    sector: &'a SlotSector,
}

impl Disk<'_> {
    /// Adds what a slot's UKI and filesystem say. What was found before a failure stays.
    fn describe(&self, slot: Slot, check: bool, facts: &mut SlotFacts, job: &Job) -> Result<()> {
        let image = self.uki(slot)?;
        facts.uki_bytes = Some(image.len() as u64);
        let sections = uki::read(&image)?;
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
        let partition = &self.sector.map().slots[slot.index()].partition;
        let root = window(self.device, self.table, partition, Path::new(partition))?;
        if check {
            let offset = verity.hash_start_block.saturating_mul(command_line::VERITY_BLOCK_BYTES as u64);
            facts.verified = Some(false);
            verity::verify(&root, verity.data_blocks, offset, &verity.salt, &verity.root_hash, job)?;
            facts.verified = Some(true);
        }
        facts.filesystem = Some(filesystem(&root)?);
        Ok(())
    }

    /// Reads the UKI of a slot, whose size must lie inside the ESP before anything is allocated for it.
    fn uki(&self, slot: Slot) -> Result<Vec<u8>> {
        let size = self.sector.state(slot).size_bytes();
        let offset = self.sector.map().uki_offset(slot);
        let failed = |source| PipelineError::Device { doing: "read the UKI of a slot", source };
        Window::new(self.esp, offset, u64::from(size)).map_err(failed)?;
        let mut image = vec![0; size as usize];
        read(self.esp, offset, &mut image)?;
        Ok(image)
    }
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
    let problem = |error: crate::disk::ext4::Ext4ReadError| PipelineError::NotAnImage {
        path: "partition".into(),
        problem: error.to_string(),
    };
    let reader = Ext4Reader::open(device).map_err(problem)?;
    let facts = reader.facts();
    Ok(FilesystemFacts {
        kind: "ext4",
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

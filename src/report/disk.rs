//! Where the bytes of a disk are: of the disk that a commit makes, or of one that is there.

use super::error::Result;
use super::page::{DiskMap, MappedPartition};
use crate::base::{Blocks, CommitId, Job};
use crate::disk::verity;
use crate::image::{FilesystemFacts, Image, Inspection, PartitionFacts, SlotFacts, slot_bytes};
use crate::store::Store;

impl DiskMap {
    /// Maps the disk that a commit makes. Places everything and writes nothing; fails where nothing boots.
    pub fn of_commit(store: &Store, id: CommitId, job: &Job) -> Result<DiskMap> {
        let image = Image::of(store, id, job)?;
        let placed = image.place(job)?;
        let root = placed.root.size().0;
        let data = placed.data.size().0 - placed.data.free_blocks().bytes().0;
        let partition = |partition: &crate::disk::gpt::Partition| {
            let (pieces, note) = match partition.name.as_str() {
                "esp" => {
                    let loader = image.boot_files().loader.len() as u64;
                    let uki = image.uki_bytes(&placed.root)?;
                    (vec![piece("loader", loader), piece("UKI a", uki)], "what boots")
                }
                "slot-a" => {
                    let tree = slot_bytes(&placed.root) - root;
                    (vec![piece("root filesystem", root), piece("verity tree", tree)], "this commit")
                }
                "slot-b" => (Vec::new(), "empty until an update"),
                "data" => (vec![piece("filesystem", data)], "kept across updates; grows at first boot"),
                _ => (Vec::new(), ""),
            };
            let (name, note) = (partition.name.clone(), note.to_owned());
            let (start, bytes) = (partition.offset(), partition.size().0);
            Ok(MappedPartition { name, start, bytes, pieces, note })
        };
        let partitions = placed.disk.table.partitions.iter().map(partition).collect::<Result<_>>()?;
        Ok(DiskMap { bytes: placed.disk.size.0, partitions })
    }

    /// Maps a disk that was inspected.
    pub fn of_image(inspection: &Inspection) -> DiskMap {
        let partitions = inspection.partitions.iter().map(|partition| mapped(inspection, partition));
        DiskMap { bytes: inspection.size_bytes, partitions: partitions.collect() }
    }
}

fn piece(name: &str, bytes: u64) -> (String, u64) {
    (name.to_owned(), bytes)
}

fn mapped(inspection: &Inspection, partition: &PartitionFacts) -> MappedPartition {
    let slot = inspection.slots.iter().find(|slot| partition.name == slot.slot);
    let (pieces, note) = match (partition.name.as_str(), slot) {
        ("esp", _) => {
            let ukis = inspection.slots.iter();
            let ukis = ukis.filter_map(|slot| Some((format!("UKI of {}", slot.slot), slot.uki_bytes?)));
            (ukis.collect(), "what boots".to_owned())
        }
        (_, Some(slot)) => (slot_pieces(slot), slot_note(slot)),
        ("data", None) => {
            let used = inspection.data.as_ref().map(used);
            (used.map(|used| piece("filesystem", used)).into_iter().collect(), String::new())
        }
        _ => Default::default(),
    };
    let (start, bytes) = (partition.start_bytes, partition.size_bytes);
    MappedPartition { name: partition.name.clone(), start, bytes, pieces, note }
}

fn slot_pieces(slot: &SlotFacts) -> Vec<(String, u64)> {
    let Some(blocks) = slot.data_blocks else { return Vec::new() };
    let tree = verity::tree_bytes(blocks);
    vec![piece("root filesystem", Blocks(blocks).bytes().0), piece("verity tree", tree)]
}

fn slot_note(slot: &SlotFacts) -> String {
    let name =
        slot.name.as_ref().map(|name| format!("{name} {}", slot.version.as_deref().unwrap_or_default()));
    let commit = slot.commit.map(|commit| commit.to_string().chars().take(12).collect::<String>());
    let words = [Some(slot.state.to_string()), name.map(|name| name.trim().to_owned()), commit];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn used(facts: &FilesystemFacts) -> u64 {
    Blocks(facts.blocks.saturating_sub(facts.free_blocks)).bytes().0
}

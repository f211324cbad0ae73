//! One slot: its UKI, its filesystem and verity tree, each held against the commit in the UKI.

use std::collections::HashMap;

use super::error::{Result, VerifyError};
use super::esp::loader_of;
use super::expected::{Expected, differences};
use super::names::Names;
use super::origin::Carried;
use super::pass::{self, Map};
use super::proof::{Proof, ProvenFile};
use super::report::{Finding, Findings, SlotReport};
use crate::base::units::BLOCK_BYTES;
use crate::base::{Job, whole};
use crate::boot::command_line::VerityRoot;
use crate::boot::slots::{Slot, SlotState};
use crate::disk::ext4::{Ext4Listing, Ext4Reader};
use crate::disk::verity::{self, CheckedTree};
use crate::disk::{BlockDevice, Window};
use crate::image::{Image, OpenImage};
use crate::store::{Commit, TreeRef, tree_ref};
use crate::tree::{Content, ContentError, ContentSource, DataMap, Directory, Metadata, Node, SealedTree};

/// Largest UKI that is read: far above any that boots.
const UKI_BYTES_MAX: u64 = 1 << 30;

/// A slot's partition, and where it begins in the image.
pub struct Root<'a> {
    pub device: &'a dyn BlockDevice,
    pub base: u64,
    pub name: String,
}

/// What a slot's filesystem holds, as far as it could be read.
pub struct Filesystem {
    pub tree: SealedTree,
    pub id: TreeRef,
    pub contents: Contents,
    pub map: Map,
    pub proof: Option<Proof>,
    pub files: u64,
    pub file_bytes: u64,
}

/// The files of a filesystem by their ids: enough to lay them out again.
pub struct Contents(HashMap<Content, DataMap>);

impl ContentSource for Contents {
    fn data_map(&self, content: &Content) -> std::result::Result<DataMap, ContentError> {
        self.0.get(content).cloned().ok_or(ContentError::Missing { id: content.id })
    }

    /// Bytes of files are never asked for: what is written again is everything else.
    fn read_at(&self, content: &Content, _: u64, _: &mut [u8]) -> std::result::Result<(), ContentError> {
        Err(ContentError::Missing { id: content.id })
    }
}

/// A slot that was looked at: what is to be said of it, and the image of its commit where it could be had.
pub struct Looked {
    pub report: SlotReport,
    pub bytes: Vec<u8>,
    pub carried: Option<Carried>,
    pub filesystem: Option<Filesystem>,
}

/// Checks a slot that has a UKI.
pub fn look(disk: &OpenImage<'_>, slot: Slot, findings: &Findings, job: &Job) -> Result<Looked> {
    let mut report =
        SlotReport { slot: slot.to_string(), state: state(disk.slots().state(slot)), ..Default::default() };
    let esp = disk.table().named("esp").map_or(0, |esp| esp.offset());
    let at = esp + disk.map().uki_offset(slot);
    let size = u64::from(disk.slots().state(slot).size_bytes());
    let mut looked = Looked { report: report.clone(), bytes: Vec::new(), carried: None, filesystem: None };
    if size > UKI_BYTES_MAX {
        findings.note(
            format!("UKI of {slot}"),
            at,
            format!("it has {size} bytes, more than {UKI_BYTES_MAX}"),
        );
        return Ok(looked);
    }
    looked.bytes = match disk.uki(slot) {
        Ok(bytes) => bytes,
        Err(error) => {
            findings.note(format!("UKI of {slot}"), at, whole(&error));
            return Ok(looked);
        }
    };
    let carried = match Carried::read(&looked.bytes) {
        Ok(carried) => carried,
        Err(error) => {
            findings.note(format!("UKI of {slot}"), at, whole(&error));
            return Ok(looked);
        }
    };
    report.commit = Some(carried.id.to_string());
    report.name = Some(carried.commit.name.clone());
    report.version.clone_from(&carried.commit.version);
    report.root_hash = Some(carried.verity.root_hash_hex());
    let name = disk.map().slots[slot.index()].partition.clone();
    let window = match disk.partition(&name) {
        Ok(window) => window,
        Err(error) => {
            findings.note(format!("partition {name}"), 0, whole(&error));
            return Ok(looked);
        }
    };
    let base = disk.table().named(&name).map_or(0, |partition| partition.offset());
    let root = Root { device: &window, base, name };
    looked.filesystem = filesystem(&root, Some(&carried.verity), Some(carried.commit.tree), findings, job)?;
    if let Some(filesystem) = &looked.filesystem {
        report.tree = Some(filesystem.id.id.to_string());
        (report.files, report.file_bytes) = (filesystem.files, filesystem.file_bytes);
        check_tree(&root, filesystem.id, carried.commit.tree, findings);
    }
    looked.report = report;
    looked.carried = Some(carried);
    Ok(looked)
}

fn check_tree(root: &Root<'_>, found: TreeRef, expected: TreeRef, findings: &Findings) {
    if found != expected {
        let (found, expected) = (found.id, expected.id);
        let problem = format!("its files and directories are the tree {found}, the commit names {expected}");
        findings.note(format!("{}: ext4", root.name), root.base, problem);
    }
}

/// Names the state of a slot.
pub fn state(state: SlotState) -> String {
    match state {
        SlotState::Empty => "empty",
        SlotState::Inactive { .. } => "inactive",
        SlotState::Trial { .. } => "trial",
        SlotState::Blessed { .. } => "blessed",
    }
    .to_owned()
}

/// Reads a slot's filesystem in one pass; `None` where it can't be read as a tree.
pub fn filesystem(
    root: &Root<'_>,
    verity: Option<&VerityRoot>,
    wanted: Option<TreeRef>,
    findings: &Findings,
    job: &Job,
) -> Result<Option<Filesystem>> {
    let checked = verity.map(|verity| check_verity(root, verity, findings, job)).transpose()?.flatten();
    let structure = format!("{}: ext4", root.name);
    let read = || -> std::result::Result<_, crate::disk::ext4::Ext4ReadError> {
        let reader = Ext4Reader::open(root.device)?;
        let listing = reader.walk(job)?;
        let map = Map::new(&reader, &listing, job)?;
        Ok((listing, map))
    };
    let (listing, map) = match read() {
        Ok(read) => read,
        Err(error) => {
            job.check()?;
            findings.note(structure, root.base + 1024, whole(&error));
            if let (Some(checked), Some(verity)) = (&checked, verity) {
                check_blocks(root, checked, verity.data_blocks, findings, job)?;
            }
            return Ok(None);
        }
    };
    if let Some(verity) = verity.filter(|verity| verity.data_blocks != map.blocks) {
        let problem = format!("it has {} blocks, the command line names {}", map.blocks, verity.data_blocks);
        findings.note(structure.clone(), root.base + 1028, problem);
        return Ok(None);
    }
    let contents = pass::run(root.device, root.base, &map, &listing, checked.as_ref(), findings, job)?;
    let proof = Some(Proof {
        base: root.base,
        bytes: root.device.size(),
        // Told from a fault in any slot: one that is not ours costs reading, and no more.
        verity: verity.filter(|_| checked.is_some() && !findings.may_be_of(pass::VERITY)).cloned(),
        files: proven(&map, &contents),
        ends_in_zeros: findings.is_empty(),
    });
    let maps = map.files.iter().map(|file| (contents[&file.inode], data_map(file)));
    let maps = Contents(maps.collect());
    let files = map.files.len() as u64;
    let file_bytes = map.files.iter().map(|file| file.size).sum();
    match tree(listing, &contents, wanted, job) {
        Ok((tree, id)) => Ok(Some(Filesystem { tree, id, contents: maps, map, proof, files, file_bytes })),
        Err(problem) => {
            findings.note(structure, root.base, problem);
            Ok(None)
        }
    }
}

/// Holds the blocks of a filesystem that can't be read against its verity tree: which are damaged is worth knowing
/// all the same.
fn check_blocks(
    root: &Root<'_>,
    checked: &CheckedTree<'_>,
    blocks: u64,
    findings: &Findings,
    job: &Job,
) -> Result<()> {
    let map = Map { blocks, files: Vec::new(), rest: vec![(0, blocks)] };
    let none = Ext4Listing { entries: Vec::new() };
    pass::run(root.device, root.base, &map, &none, Some(checked), findings, job)?;
    Ok(())
}

/// Lists the files by what was read of them.
fn proven(map: &Map, contents: &HashMap<u32, Content>) -> Vec<ProvenFile> {
    let file =
        |file: &pass::FileMap| ProvenFile { content: contents[&file.inode], extents: file.extents.clone() };
    map.files.iter().map(file).collect()
}

fn check_verity<'a>(
    root: &Root<'a>,
    verity: &VerityRoot,
    findings: &Findings,
    job: &Job,
) -> Result<Option<CheckedTree<'a>>> {
    let offset = verity.hash_start_block.saturating_mul(BLOCK_BYTES);
    let checked =
        verity::check_tree(root.device, verity.data_blocks, offset, &verity.salt, &verity.root_hash, job);
    match checked {
        Ok(tree) => Ok(Some(tree)),
        Err(error) => {
            job.check()?;
            let at = match &error {
                verity::VerityError::Tree { offset, .. } => *offset,
                _ => offset,
            };
            findings.note(format!("{}: verity tree", root.name), root.base.saturating_add(at), whole(&error));
            Ok(None)
        }
    }
}

fn data_map(file: &pass::FileMap) -> DataMap {
    let mut map = DataMap::default();
    for extent in &file.extents {
        map.push_run(extent.logical.into(), extent.length.into());
    }
    map
}

/// Makes the tree and its id. `lost+found` is there in every ext4, and in few trees.
fn tree(
    listing: Ext4Listing,
    contents: &HashMap<u32, Content>,
    wanted: Option<TreeRef>,
    job: &Job,
) -> std::result::Result<(SealedTree, TreeRef), String> {
    let mut tree = listing.into_tree(contents);
    let name = crate::base::Name::new(b"lost+found").expect("because it is a name");
    let is_plain = |node: &Node| match node {
        Node::Directory(directory) => {
            *directory == Directory { metadata: Metadata::root(0o700), ..Directory::default() }
        }
        _ => false,
    };
    let seal = |tree: Directory| {
        let faults = |errors: Vec<crate::tree::TreeError>| {
            errors.first().map(|error| whole(error)).unwrap_or_default()
        };
        let sealed = tree.seal().map_err(faults)?;
        let id = tree_ref(&sealed, job).map_err(|error| whole(&error))?;
        Ok((sealed, id))
    };
    if !tree.entries.get(&name).is_some_and(is_plain) {
        return seal(tree);
    }
    let own = tree.entries.remove(&name);
    let without = seal(tree)?;
    if wanted.is_none_or(|wanted| wanted == without.1) {
        return Ok(without);
    }
    let mut tree = (*without.0).clone();
    tree.entries.extend(own.map(|own| (name, own)));
    let with = seal(tree)?;
    Ok(if wanted == Some(with.1) { with } else { without })
}

/// Puts together the image that the slot's commit makes, of what the image itself holds.
pub fn image<'a>(
    looked: &Looked,
    filesystem: &'a Filesystem,
    loader: Option<Vec<u8>>,
    at: u64,
    findings: &Findings,
) -> Option<Image<'a>> {
    let carried = looked.carried.as_ref()?;
    let loader = loader_of(carried, loader);
    let boot = carried.boot_files(&looked.bytes, at, loader, findings)?;
    let origin = carried.origin.encode();
    let commit: Commit = carried.commit.clone();
    Some(Image::assemble(&filesystem.contents, commit, filesystem.tree.clone(), boot, origin))
}

/// Lays the filesystem out again and compares all but the bytes of files, which the pass has seen.
pub fn check_layout(
    image: &Image<'_>,
    root: &Root<'_>,
    filesystem: &Filesystem,
    names: &Names<'_>,
    findings: &Findings,
    job: &Job,
) -> Result<()> {
    let structure = format!("{}: ext4", root.name);
    let layout = match image.place_root(job) {
        Ok(layout) => layout,
        Err(error) => {
            job.check()?;
            findings.note(
                structure,
                root.base,
                format!("its tree can't be laid out again: {}", whole(&error)),
            );
            return Ok(());
        }
    };
    if layout.blocks().0 != filesystem.map.blocks {
        let problem = format!(
            "it has {} blocks, and as its commit makes it {}",
            filesystem.map.blocks,
            layout.blocks().0
        );
        findings.note(structure, root.base + 1028, problem);
        return Ok(());
    }
    let expected = Expected::new(layout.size().0);
    if let Err(error) = layout.write_metadata(&expected, job) {
        job.check()?;
        findings.note(structure, root.base, whole(&error));
        return Ok(());
    }
    let ranges: Vec<(u64, u64)> = filesystem
        .map
        .rest
        .iter()
        .map(|&(first, count)| (first * BLOCK_BYTES, count * BLOCK_BYTES))
        .collect();
    for run in differences(&expected, root.device, &ranges, job)? {
        report(&expected, root.device, run, root.base, names, findings)?;
    }
    Ok(())
}

/// Notes a run of bytes that are not as the commit makes them, by name.
pub fn report(
    expected: &dyn BlockDevice,
    found: &dyn BlockDevice,
    run: super::expected::Run,
    base: u64,
    names: &Names<'_>,
    findings: &Findings,
) -> Result<()> {
    let mut at = run.offset;
    let end = run.offset + run.bytes;
    while at < end {
        let place = names.name(base + at);
        let stop = (place.offset + place.bytes).saturating_sub(base).clamp(at + 1, end);
        let start = place.offset.saturating_sub(base);
        let length = place.bytes.min(64) as usize;
        let value = |device: &dyn BlockDevice| -> Result<String> {
            let length = length.min(device.size().saturating_sub(start) as usize);
            let mut bytes = vec![0; length];
            super::expected::read(device, start, &mut bytes)?;
            Ok(place.value(&bytes))
        };
        let problem = format!("it is {}, and as the commit makes it {}", value(found)?, value(expected)?);
        findings.add(Finding {
            structure: place.structure(),
            field: place.field.clone(),
            path: place.path.clone(),
            offset: base + at,
            problem,
        });
        at = stop;
    }
    Ok(())
}

/// Opens a window of a device.
pub fn window<'a>(device: &'a dyn BlockDevice, offset: u64, bytes: u64) -> Result<Window<'a>> {
    let failed = |source| VerifyError::Device { doing: "open", offset, bytes, source };
    Window::new(device, offset, bytes).map_err(failed)
}

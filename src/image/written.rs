//! From a commit to a disk: a pure function. Every GUID, serial, salt and time stamp follows from the
//! commit's identity and epoch; every byte of content comes out of the objects. Where the commit asks for stable
//! places, the identifiers inside of a slot follow from the image's name alone, so that a new version has the same.

use std::sync::Arc;

use super::boot_files::BootFiles;
use super::error::{ImageError, Result};
use super::known::Known;
use crate::base::job::Unit;
use crate::base::{Blocks, Bytes, CommitId, Digest, Job};
use crate::boot::command_line::{self, VerityRoot};
use crate::boot::origin::Origin;
use crate::boot::pe::PeImage;
use crate::boot::slots::{Measured, SlotMap, SlotTable};
use crate::boot::uki::{self, UkiParts};
use crate::disk::BlockDevice;
use crate::disk::ext4::{self, Ext4Error, Ext4Layout, Ext4Options, Ext4Placement};
use crate::disk::layout::{self, Architecture, DiskLayout, DiskRequest, Role};
use crate::disk::verity::{self, Leaves, Over, VerityBuilder, VerityError, VerityTree};
use crate::store::{self, Commit, Filesystem, Objects};
use crate::tree::{ContentSource, Directory, SealedTree};

/// Consoles of every image; the last one becomes `/dev/console`.
const CONSOLES: [&str; 2] = ["tty0", "ttyS0"];

/// Domain of the identifiers of slots with stable places. Changing it is a format break.
const STABLE_CONTEXT: &str = "mkimage 2026 stable slot v1";

/// Everything that the bytes of an image follow from, at hand.
pub struct Image<'a> {
    contents: &'a dyn ContentSource,
    commit: Commit,
    encoded: Vec<u8>,
    /// What the UKI carries so that the image can be built again.
    origin: Vec<u8>,
    /// What all identifiers derive from, and those inside of a slot.
    seed: Digest,
    slot_seed: Digest,
    root: SealedTree,
    boot: BootFiles,
    pub(super) known: Known<'a>,
}

/// Where everything goes, decided before the first byte is written.
pub struct Placed<'a> {
    pub root: Ext4Layout<'a>,
    pub data: Ext4Layout<'a>,
    pub disk: DiskLayout,
}

/// What a slot that was written takes on the ESP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotContent {
    /// The kernel image that boots the slot, and no other one.
    pub uki: Vec<u8>,
    pub verity: VerityRoot,
}

impl<'a> Image<'a> {
    /// Reads a commit, its tree and its boot files: some tens of megabytes. File contents stay where they are.
    pub fn of(objects: &'a dyn Objects, id: CommitId, job: &Job) -> Result<Self> {
        let commit = objects.read_commit(&id)?;
        let step = job.step("read the commit", None, Unit::Items);
        let boot = commit.boot.as_ref().ok_or(ImageError::NoKernel)?;
        let boot = BootFiles::read(objects, boot)?;
        let root = objects.read_tree(job, &commit.tree)?;
        let root = root.seal().map_err(ImageError::Tree)?;
        let origin = origin(objects, &commit, &boot)?.encode();
        drop(step);
        let image = Image::assemble(objects, commit, root, boot, origin);
        Ok(Image { known: Known::in_objects(objects, id), ..image })
    }

    /// Takes the parts of an image that come from elsewhere than a store, such as from an image. `contents` has
    /// the files of the root; `origin` is an encoded [`Origin`]. Whether the parts belong together is the caller's.
    pub fn assemble(
        contents: &'a dyn ContentSource,
        commit: Commit,
        root: SealedTree,
        boot: BootFiles,
        origin: Vec<u8>,
    ) -> Self {
        let (seed, encoded) = (commit.identity(), commit.encode());
        let slot_seed = match commit.disk.filesystem {
            Filesystem::Ext4 => seed,
            Filesystem::Ext4Stable => Digest::derive(STABLE_CONTEXT, commit.name.as_bytes()),
        };
        Image { contents, commit, encoded, origin, seed, slot_seed, root, boot, known: Known::default() }
    }

    pub fn commit(&self) -> &Commit {
        &self.commit
    }

    /// Returns the files that the commit boots.
    pub fn boot_files(&self) -> &BootFiles {
        &self.boot
    }

    /// Returns the tree of the root.
    pub fn root(&self) -> &SealedTree {
        &self.root
    }

    /// Decides where everything goes on a fresh disk. Writes nothing.
    pub fn place(&self, job: &Job) -> Result<Placed<'_>> {
        let root = self.place_root(job)?;
        let disk = layout::place(&DiskRequest {
            version: self.commit.disk.layout,
            architecture: architecture(&self.commit),
            seed: self.seed,
            epoch_seconds: self.commit.epoch,
            loader_size: self.boot.loader.len() as u64,
            uki_size: self.uki_bytes(&root)?,
            uki_room: self.commit.disk.uki_size.map(Bytes),
            slot_content: Bytes(slot_bytes(&root)),
            slot_size: self.commit.disk.slot_size.map(Bytes),
            data_size: Bytes(self.commit.disk.data_size),
        })?;
        let data =
            ext4::plan(empty_tree(), self.contents, &self.data_options(&disk), job).map_err(in_data)?;
        Ok(Placed { root, data, disk })
    }

    /// Decides where everything goes inside a slot: what a slot holds does not depend on the disk.
    pub fn place_root(&self, job: &Job) -> Result<Ext4Layout<'_>> {
        ext4::plan(&self.root, self.contents, &self.root_options(), job).map_err(in_slot)
    }

    /// Returns the size of the UKI that boots a slot of this layout, in bytes. The root hash is not known
    /// before the slot is written, and has the same length for every slot.
    pub fn uki_bytes(&self, root: &Ext4Layout<'_>) -> Result<u64> {
        Ok(self.uki(&self.verity_root(root, [0; 32]))?.len() as u64)
    }

    /// Writes a whole disk, which reads as zero so far.
    pub fn write(&self, plan: &Placed<'_>, device: &dyn BlockDevice, job: &Job) -> Result<()> {
        let slot = plan.disk.window(device, Role::SlotA).map_err(no_window)?;
        let content = self.write_slot(&plan.root, &slot, job)?;
        self.write_esp(plan, &content.uki, &plan.disk.window(device, Role::Esp).map_err(no_window)?)?;
        self.write_data(plan, &plan.disk.window(device, Role::Data).map_err(no_window)?, job)?;
        plan.disk.write_table(device)?;
        Ok(())
    }

    /// Writes the EFI system partition of a fresh disk, which reads as zero so far.
    pub fn write_esp(&self, plan: &Placed<'_>, uki: &[u8], esp: &dyn BlockDevice) -> Result<()> {
        let map = SlotMap::parse(plan.disk.esp.map_text())?;
        let measured = Measured::of(uki);
        let state = SlotTable::first(map, measured)?.encode_new(measured);
        plan.disk.esp.write(esp, &self.boot.loader, uki, &state)?;
        Ok(())
    }

    /// Writes the data partition of a fresh disk, which reads as zero so far.
    pub fn write_data(&self, plan: &Placed<'_>, data: &dyn BlockDevice, job: &Job) -> Result<()> {
        plan.data.write(data, self.contents, None, job).map_err(in_data)
    }

    /// Writes root file system and verity tree into a slot, [`slot_bytes`] from its begin, and returns what
    /// boots it. Blocks of the file system that are zero are not written: the caller hands in a device that
    /// reads as zero there, or one that takes care of it.
    pub fn write_slot(
        &self,
        root: &Ext4Layout<'_>,
        slot: &dyn BlockDevice,
        job: &Job,
    ) -> Result<SlotContent> {
        let salt = self.salt();
        let builder = VerityBuilder::new(root.blocks().0, &salt);
        root.write(slot, self.contents, Some(&builder), job).map_err(in_slot)?;
        let tree = builder.finish(job)?;
        tree.write(slot, root.size().0)?;
        let verity = self.verity_root(root, tree.root_hash);
        self.known.set(tree);
        Ok(SlotContent { uki: self.uki(&verity)?, verity })
    }

    /// Reads what stands in a slot where the filesystem will be, past the cache.
    pub fn look(
        &self,
        root: &Ext4Layout<'_>,
        slot: &dyn BlockDevice,
        job: &Job,
    ) -> std::result::Result<Leaves, VerityError> {
        Leaves::read(slot, root.blocks().0, &self.salt(), job)
    }

    /// Does what [`Image::write_slot`] does where it is known what the slot holds: blocks of the filesystem that are
    /// there already are not written. The tree is written as a whole. Returns it too: what it says is zero, and was not,
    /// the caller clears.
    pub fn write_over(
        &self,
        root: &Ext4Layout<'_>,
        old: &Leaves,
        slot: &dyn BlockDevice,
        job: &Job,
    ) -> Result<(SlotContent, Arc<VerityTree>)> {
        let builder = VerityBuilder::new(root.blocks().0, &self.salt());
        let over = Over { device: slot, old, builder: &builder };
        root.write(&over, self.contents, None, job).map_err(in_slot)?;
        let tree = builder.finish(job)?;
        tree.write(slot, root.size().0)?;
        let verity = self.verity_root(root, tree.root_hash);
        let tree = self.known.set(tree);
        Ok((SlotContent { uki: self.uki(&verity)?, verity }, tree))
    }

    /// Returns the verity tree of the slot, where it was computed before: by this image, or by a build or an update
    /// with the store that it comes from.
    pub fn known_tree(&self, root: &Ext4Layout<'_>, job: &Job) -> Option<Arc<VerityTree>> {
        self.known.tree(root.blocks().0, &self.salt(), job)
    }

    /// Does what [`Image::write_slot`] does where the slot's verity tree is known, and the device holds all blocks of
    /// the filesystem already but the `wanted` ones. Reads no other files than theirs. Where what is to be written is
    /// not what the tree says it stops writing and returns `None`: then the tree is of another image, and whoever said so
    /// was wrong.
    pub fn write_wanted(
        &self,
        root: &Ext4Layout<'_>,
        tree: &VerityTree,
        wanted: &(dyn Fn(u64) -> bool + Sync),
        slot: &dyn BlockDevice,
        job: &Job,
    ) -> Result<Option<SlotContent>> {
        let held = tree.hold(slot);
        root.write_where(wanted, &held, self.contents, None, job).map_err(in_slot)?;
        if !held.is_true(wanted) {
            return Ok(None);
        }
        tree.write(slot, root.size().0)?;
        let verity = self.verity_root(root, tree.root_hash);
        Ok(Some(SlotContent { uki: self.uki(&verity)?, verity }))
    }

    /// Computes what [`Image::write_slot`] returns, and writes nothing. Reads every content once.
    pub fn slot_content(&self, root: &Ext4Layout<'_>, job: &Job) -> Result<SlotContent> {
        self.write_slot(root, &Nowhere(slot_bytes(root)), job)
    }

    fn root_options(&self) -> Ext4Options {
        let (placement, size) = match self.commit.disk.filesystem {
            Filesystem::Ext4 => (Ext4Placement::Dense, None),
            Filesystem::Ext4Stable => {
                let blocks = self.commit.disk.slot_size.map(|size| verity::data_blocks_in(Bytes(size)));
                (Ext4Placement::Stable, blocks.map(Blocks::bytes))
            }
        };
        Ext4Options {
            uuid: self.slot_seed.uuid("slot filesystem"),
            hash_seed: self.slot_seed.uuid("slot directory hash"),
            label: b"root".to_vec(),
            epoch_seconds: self.epoch(),
            placement,
            size,
            journal: false,
            growable: false,
        }
    }

    fn data_options(&self, disk: &DiskLayout) -> Ext4Options {
        Ext4Options {
            uuid: self.seed.uuid("data filesystem"),
            hash_seed: self.seed.uuid("data directory hash"),
            label: b"data".to_vec(),
            epoch_seconds: self.epoch(),
            placement: Ext4Placement::Dense,
            size: Some(disk.partition(Role::Data).size()),
            journal: true,
            growable: true,
        }
    }

    fn epoch(&self) -> i64 {
        i64::try_from(self.commit.epoch).unwrap_or(i64::MAX)
    }

    /// Two derived identifiers side by side: 32 bytes.
    fn salt(&self) -> Vec<u8> {
        [self.slot_seed.uuid("verity salt 0"), self.slot_seed.uuid("verity salt 1")].concat()
    }

    fn verity_root(&self, root: &Ext4Layout<'_>, root_hash: [u8; 32]) -> VerityRoot {
        let data_blocks = root.blocks().0;
        VerityRoot { root_hash, salt: self.salt(), data_blocks, hash_start_block: data_blocks }
    }

    /// Builds the UKI that boots a slot with this root hash.
    pub fn uki(&self, verity: &VerityRoot) -> Result<Vec<u8>> {
        let command_line = command_line::encode(&CONSOLES, verity, &self.boot.command_line)?;
        Ok(uki::build(&UkiParts {
            stub: &self.boot.stub,
            os_release: &uki::os_release(&self.commit.name, self.commit.version.as_deref()),
            uname: &self.boot.kernel_version,
            command_line: &command_line,
            initrd: &self.boot.initrd,
            kernel: &self.boot.kernel,
            commit: &self.encoded,
            origin: &self.origin,
        })?)
    }
}

/// A device of some length that keeps nothing.
struct Nowhere(u64);

impl BlockDevice for Nowhere {
    fn size(&self) -> u64 {
        self.0
    }

    fn read_at(&self, _: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        buffer.fill(0);
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Gathers what an image says of where it came from.
fn origin(objects: &dyn Objects, commit: &Commit, boot: &BootFiles) -> Result<Origin> {
    let tree = commit.boot.as_ref().ok_or(ImageError::NoKernel)?;
    let texts = commit.recipe.iter().map(|(_, text)| objects.read_all(text));
    Ok(Origin {
        commit: *commit.id().as_bytes(),
        boot_tree: objects.read_directory(tree)?.encode(),
        stub_headers: PeImage::parse(&boot.stub)?.headers().to_vec(),
        recipe: texts.collect::<std::result::Result<_, _>>()?,
        lock: commit.lock.as_ref().map(|lock| objects.read_all(lock)).transpose()?,
    })
}

/// Returns what file system and verity tree take in a slot, in bytes.
pub fn slot_bytes(root: &Ext4Layout<'_>) -> u64 {
    root.size().0 + verity::tree_bytes(root.blocks().0)
}

fn no_window(source: std::io::Error) -> ImageError {
    ImageError::Device { doing: "open a partition of the image", source }
}

fn in_slot(source: Ext4Error) -> ImageError {
    ImageError::Ext4 { partition: "the slot (disk.slot_size)", source }
}

fn in_data(source: Ext4Error) -> ImageError {
    ImageError::Ext4 { partition: "the data partition (disk.data_size)", source }
}

fn architecture(commit: &Commit) -> Architecture {
    match commit.disk.architecture {
        store::Architecture::X86_64 => Architecture::X86_64,
        store::Architecture::Aarch64 => Architecture::Aarch64,
    }
}

/// Returns the tree of a fresh data partition.
fn empty_tree() -> &'static SealedTree {
    static EMPTY: std::sync::OnceLock<SealedTree> = std::sync::OnceLock::new();
    EMPTY.get_or_init(|| Directory::default().seal().expect("because an empty tree has no fault"))
}

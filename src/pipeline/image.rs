//! From a commit to a disk image: a pure function. Every GUID, serial, salt and time stamp follows from
//! the commit's identity and epoch; every byte of content comes out of the store.

use std::path::Path;

use super::boot_files::BootFiles;
use super::error::{PipelineError, Result, whole};
use super::output;
use crate::base::job::Unit;
use crate::base::publish::Publication;
use crate::base::{Bytes, CommitId, Digest, FileError, Job};
use crate::boot::command_line::{self, VerityRoot};
use crate::boot::slots::{SlotMap, SlotSector};
use crate::boot::uki::{self, UkiParts};
use crate::disk::ext4::{self, Ext4Layout, Ext4Options};
use crate::disk::layout::{self, Architecture, DiskLayout, DiskRequest, Role};
use crate::disk::verity::{self, VerityBuilder};
use crate::disk::{BlockDevice, FileDevice};
use crate::store::{self, Commit, Objects, Store};
use crate::tree::{Directory, SealedTree};

/// Consoles of every image; the last one becomes `/dev/console`.
const CONSOLES: [&str; 2] = ["tty0", "ttyS0"];

/// What became of an image.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Written {
    pub commit: CommitId,
    /// False where the bytes were there already: then the file was not touched.
    pub changed: bool,
    /// Length of the disk.
    pub size_bytes: u64,
    /// What the file takes on the host's disk.
    pub allocated_bytes: u64,
}

/// Writes the image of a commit to a file, in one rename at the end; on failure nothing is left. Where
/// the file holds these bytes already it is not touched.
pub fn write(store: &Store, id: CommitId, output: &Path, job: &Job) -> Result<Written> {
    if let Some(written) = output::known(store, id, output) {
        return Ok(written);
    }
    let publication = Publication::create(output)?;
    let size = {
        let image = Image::of(store, id, job)?;
        let plan = image.place(job)?;
        let length = plan.disk.size.0;
        let file = publication.file();
        file.set_len(length).map_err(FileError::at("set the length of", output))?;
        let file = file.try_clone().map_err(FileError::at("open", output))?;
        image.write(&plan, &FileDevice::new(file, length), job)?;
        length
    };
    let changed = output::publish(publication, output, job)?;
    // Only so that the next build need not compare: a store that may not be written is no reason to fail.
    if let Err(error) = output::remember(store, id, output) {
        job.warn(format!("the store can't note what {} holds: {}", output.display(), whole(&error)));
    }
    Ok(Written { commit: id, changed, size_bytes: size, allocated_bytes: output::allocated(output)? })
}

/// Everything that the bytes of an image follow from, at hand.
struct Image<'a> {
    store: &'a Store,
    commit: Commit,
    encoded: Vec<u8>,
    /// What all identifiers derive from.
    seed: Digest,
    root: SealedTree,
    boot: BootFiles,
}

/// Where everything goes, decided before the first byte is written.
struct Placed<'a> {
    root: Ext4Layout<'a>,
    data: Ext4Layout<'a>,
    disk: DiskLayout,
}

impl<'a> Image<'a> {
    fn of(store: &'a Store, id: CommitId, job: &Job) -> Result<Self> {
        let commit = store.read_commit(&id)?;
        let step = job.step("read the commit", None, Unit::Items);
        let boot = commit.boot.as_ref().ok_or(PipelineError::NoKernel)?;
        let boot = BootFiles::read(store, boot)?;
        let root = store.read_tree(job, &commit.tree)?;
        let root = root.seal().map_err(PipelineError::Tree)?;
        drop(step);
        let (seed, encoded) = (commit.identity(), commit.encode());
        Ok(Image { store, commit, encoded, seed, root, boot })
    }

    fn place(&self, job: &Job) -> Result<Placed<'_>> {
        let root = ext4::plan(&self.root, self.store, &self.root_options(), job)?;
        let uki_size = self.uki(&self.verity_root(&root, [0; 32]))?.len() as u64;
        let tree_bytes = verity::tree_bytes(root.blocks().0);
        let disk = layout::place(&DiskRequest {
            version: self.commit.disk.layout,
            architecture: architecture(&self.commit),
            seed: self.seed,
            epoch_seconds: self.commit.epoch,
            loader_size: self.boot.loader.len() as u64,
            uki_size,
            uki_room: self.commit.disk.uki_size.map(Bytes),
            slot_content: Bytes(root.size().0 + tree_bytes),
            slot_size: self.commit.disk.slot_size.map(Bytes),
            data_size: Bytes(self.commit.disk.data_size),
        })?;
        let data = ext4::plan(empty_tree(), self.store, &self.data_options(&disk), job)?;
        Ok(Placed { root, data, disk })
    }

    fn write(&self, plan: &Placed<'_>, device: &dyn BlockDevice, job: &Job) -> Result<()> {
        let failed = |source| PipelineError::Device { doing: "open a partition of the image", source };
        let slot = plan.disk.window(device, Role::SlotA).map_err(failed)?;
        let salt = self.salt();
        let builder = VerityBuilder::new(plan.root.blocks().0, &salt);
        plan.root.write(&slot, self.store, Some(&builder), job)?;
        let tree = builder.finish(job)?;
        tree.write(&slot, plan.root.size().0)?;

        let uki = self.uki(&self.verity_root(&plan.root, tree.root_hash))?;
        let map = SlotMap::parse(plan.disk.esp.map_text()).map_err(PipelineError::Slots)?;
        let sector = SlotSector::first(map, uki.len() as u64).map_err(PipelineError::Slots)?;
        let failed = |source| PipelineError::Device { doing: "open a partition of the image", source };
        let esp = plan.disk.window(device, Role::Esp).map_err(failed)?;
        plan.disk.esp.write(&esp, &self.boot.loader, &uki, &sector.encode())?;

        let data = plan.disk.window(device, Role::Data).map_err(failed)?;
        plan.data.write(&data, self.store, None, job)?;
        plan.disk.write_table(device)?;
        Ok(())
    }

    fn root_options(&self) -> Ext4Options {
        Ext4Options {
            uuid: self.seed.uuid("slot filesystem"),
            hash_seed: self.seed.uuid("slot directory hash"),
            label: b"root".to_vec(),
            epoch_seconds: self.epoch(),
            size: None,
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
        [self.seed.uuid("verity salt 0"), self.seed.uuid("verity salt 1")].concat()
    }

    fn verity_root(&self, root: &Ext4Layout<'_>, root_hash: [u8; 32]) -> VerityRoot {
        let data_blocks = root.blocks().0;
        VerityRoot { root_hash, salt: self.salt(), data_blocks, hash_start_block: data_blocks }
    }

    fn uki(&self, verity: &VerityRoot) -> Result<Vec<u8>> {
        let command_line = command_line::encode(&CONSOLES, verity, &self.boot.command_line)?;
        Ok(uki::build(&UkiParts {
            stub: &self.boot.stub,
            os_release: &uki::os_release(&self.commit.name, self.commit.version.as_deref()),
            uname: &self.boot.kernel_version,
            command_line: &command_line,
            initrd: &self.boot.initrd,
            kernel: &self.boot.kernel,
            commit: &self.encoded,
        })?)
    }
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

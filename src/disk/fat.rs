//! FAT32 (Microsoft's "FAT: General Overview of On-Disk Format", 1.03): own writer, own strict reader.
//!
//! In: a list of [`Item`]s, placed by [`Tree::place`]; the bytes come when it is written. On disk: boot
//! sector, FSInfo and their copies, two FATs, directories from cluster 2 on, files behind them.
//!
//! Always true
//! - The same items give the same bytes. Each directory and file is one run of clusters, in the order
//!   of the items.
//! - Only sectors that hold something are written: the device must read as zero elsewhere.
//! - Long names have long entries with a short alias of their own; "." and ".." have none.
//! - FSInfo holds the true count of free clusters, and a hint that leads allocation to the room behind
//!   the directories, not into what the layout keeps for slots.

mod entry;
mod geometry;
mod name;
mod place;
mod read;
mod write;

pub use entry::Stamp;
pub use geometry::Geometry;
pub use place::{Item, Tree};
pub use read::{Listed, Listing, read, read_file};
pub use write::{Volume, count_free, write_chain};

pub(in crate::disk) use entry::{ENTRY_BYTES, dot_entries, dump_entry, file_entry};
pub(in crate::disk) use geometry::dump_boot_sector;

use std::io;

use crate::base::Bytes;

/// A run of clusters that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Extent {
    pub start_cluster: u32,
    pub clusters: u32,
}

impl Extent {
    /// Returns the first cluster behind the run.
    pub fn end(&self) -> u32 {
        self.start_cluster.saturating_add(self.clusters)
    }
}

/// The first cluster: the format has no 0 and 1.
pub const FIRST_CLUSTER: u32 = 2;
/// Clusters whose FAT entries share one 512-byte sector.
pub const CLUSTERS_PER_FAT_SECTOR: u32 = 128;

/// Says why a FAT volume can't be written, or is none that we trust.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
    #[error("cannot {doing} the FAT volume")]
    Device { doing: &'static str, source: io::Error },
    #[error("{clusters} clusters: FAT32 has 65525 to 268435444 of them")]
    ClusterCount { clusters: u64 },
    #[error("{need} clusters are needed, the volume has {have}")]
    Full { need: u64, have: u64 },
    #[error("the volume is {volume}, its device {device}")]
    WrongDevice { volume: Bytes, device: Bytes },
    #[error("{path} can't be on a FAT volume: {problem}")]
    Name { path: String, problem: &'static str },
    #[error("{path} and {other} are the same name for FAT")]
    SameName { path: String, other: String },
    #[error("{path}: its directory comes not before it")]
    NoParent { path: String },
    #[error("{path} is {size}: a FAT file has at most 4294967295 bytes")]
    FileTooLarge { path: String, size: Bytes },
    #[error("directory {path} has {entries} entries: at most 65535 fit")]
    DirectoryTooLarge { path: String, entries: usize },
    #[error("{path} was placed with {placed} bytes, {given} are given")]
    WrongLength { path: String, placed: u64, given: u64 },
    #[error("{seconds} seconds since 1970 are behind the last day of FAT, 2107-12-31")]
    Epoch { seconds: u64 },
    #[error("the boot sector is none of FAT32 as we know it: {field} is {found}")]
    BootSector { field: &'static str, found: u64 },
    #[error("the FAT volume is damaged: {problem}")]
    Damaged { problem: String },
    #[error("no file {path} on the FAT volume")]
    Missing { path: String },
    #[error("{clusters} clusters from {start} on are no place for {need} clusters of data")]
    Extent { start: u32, clusters: u32, need: u64 },
}

impl FatError {
    fn damaged(problem: impl Into<String>) -> FatError {
        FatError::Damaged { problem: problem.into() }
    }

    pub(in crate::disk) fn device(doing: &'static str) -> impl FnOnce(io::Error) -> FatError {
        move |source| FatError::Device { doing, source }
    }
}

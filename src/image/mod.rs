//! Commits as disks, and disks as commits: what an image's bytes are, and what an image says it is.
//!
//! In: a commit and the objects that it leads to. Out: a whole disk, or one slot of a disk that is there
//! already; nothing else than the commit decides a byte of either. In: a disk, whoever wrote it. Out: its
//! partitions, slots, UKIs and the commits in these, read strictly and without mounting anything.
//!
//! Always true
//! - Every GUID, serial, salt and time stamp follows from the commit's identity and epoch; every byte of
//!   content comes out of the objects. In slots with stable places, identifiers and salt follow from the name.
//! - What doesn't fit is an error before the first byte is written.
//! - Sizes that a disk claims are held against the disk before anything is allocated for them.
//!
//! Not here: formats (`disk/`, `boot/`), output files and what is remembered of them (`pipeline/`), which
//! slot is written when (`slots/`).
//!
//! Read first: [`Image`], [`OpenImage`].
#![forbid(unsafe_code)]

mod boot_files;
mod error;
mod inspect;
mod known;
mod opened;
mod written;

pub use boot_files::BootFiles;
pub use error::{ImageError, Result};
pub use inspect::{FilesystemFacts, Inspection, Next, PORTS, PartitionFacts, SlotFacts, dump, inspect};
pub use opened::{OpenImage, commit_in, open, verity_in};
pub use written::{Image, Placed, SlotContent, slot_bytes};

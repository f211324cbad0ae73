//! A disk with two slots, from outside or from inside: status, update, rollback, switch, confirm.
//!
//! In: a [`BlockDevice`](crate::disk::BlockDevice) — an image file, the disk of a running machine, a test disk
//! that records — and an [`Image`](crate::image::Image). Out: the other slot holds that image and is on trial.
//!
//! On disk: what `disk/` and `boot/slots` write. An update goes in this order:
//!
//! ```text
//! U0  sizes, processor, name and room are checked; the slot that stays is confirmed, and whole (where it runs, of it
//!     the kernel image is read); what the target holds is read past the cache
//! U1  the target is not selectable any more; flush
//! U2  root filesystem, verity tree, UKI and its FAT chain, each block only where it differs; flush
//! U3  what was written is read back past the cache and compared
//! U4  one sector: the target is on trial, the newest; flush
//! ```
//!
//! The system is told to begin with what was written while the next is made: the flush finds little left to do.
//!
//! Always true
//! - Until U4 has landed the slot that stays boots; from then on the target is whole. What lands of unflushed
//!   writes, and in which order, makes no difference.
//! - Each step can be done again. An update that was cut goes on when the same one is started again, and does
//!   not write what is there already.
//! - Every block of a slot that becomes selectable was read from the medium: when it was found right, or after
//!   it was written. Each is read once.
//! - Which blocks are right is told by the image's bytes, or by the verity tree that this user computed with the same
//!   store for the same commit before: then files that are there already are not unpacked. Never by what the slot says
//!   of itself.
//! - The slot that runs is never written. Memory: some megabytes, 0.8 % of the slot for its verity tree, and as much for
//!   what it held.
//! - [`status`] can be asked for in a process that can only read. What the verbs that write take apart of a disk,
//!   [`rehearse`] takes apart first, in such a process, where the caller has one: the command line does, and begins
//!   nothing where that process dies; where none can be started it warns and goes on. The verb reads the disk again by
//!   itself, so that who changes it in between is not held by this, and what is only hashed and compared (the slots'
//!   blocks) is not read twice. The agent is a process of few rights as a whole, and needs no other.
//!
//! Not here: what the slot sector means (`boot/slots`), what an image holds (`image/`), who decides to update
//! (`cli/`, the agent), the first boot of the new slot and its blessing (PID 1).
//!
//! Read first: [`stage`], `stage.rs`, `renewal.rs`.
#![forbid(unsafe_code)]

mod disk;
mod error;
mod rehearse;
mod renewal;
mod running;
mod stage;
mod status;
mod switch;
mod turn;
mod whole;

pub use disk::Disk;
pub use error::{Result, SlotsError};
pub use rehearse::rehearse;
pub use renewal::Renewed;
pub use running::{Machine, Marks, Sides};
pub use stage::{Outcome, Request, Staged, stage};
pub use status::{Next, SlotStatus, Standing, Status, status, table};
pub use switch::Switch;
pub use turn::{Turned, confirm, rollback, switch};

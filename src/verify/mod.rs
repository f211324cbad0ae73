//! Whether an image is what it claims to be, without trusting who built it: nothing is mounted, nothing is run.
//!
//! In: a [`BlockDevice`](crate::disk::BlockDevice) that holds anything. Out: a [`Report`] of what the image is,
//! what is wrong with it and which of its bytes were covered; a list of [`Divergence`]s between two images, each
//! named as partition, structure, field and path; signed [`statement`]s that somebody built or rebuilt it.
//!
//! ```text
//! verify   table ── esp ── UKI ── commit ── boot tree ── kernel, initrd, stub, loader      all by digest
//!                           └── root hash ── verity tree ── blocks ── files ── tree id ── commit
//!          and the rest is computed again from the commit: superblocks, bitmaps, GUIDs, FATs, padding
//! compare  two images, by what stands where they differ; what verifying both has proved to be equal is not read again
//! ```
//!
//! Always true
//! - Foreign bytes decide nothing but the verdict: memory follows from what is really there, in pieces; what is
//!   wrong is named with its structure and offset; nothing panics, loops or is followed without end.
//! - What no digest covers is written again by our own writers, into memory, and compared. A fresh image is covered
//!   to the last byte; what an update or a first boot changes is said to be uncovered, never passed over.
//! - One pass over a slot feeds the verity digests and the files' ids.
//!
//! Not here: the child that Landlock, seccomp and limits hold, where all of it is done to foreign images (`confine/`);
//! building again (`pipeline/rebuild`), which keys to trust (`trust/`), printing.
//!
//! Read first: `image.rs`, `slot.rs`, `pass.rs`; for differences `compare.rs` and `names/`.
#![forbid(unsafe_code)]

mod compare;
mod error;
mod esp;
mod expected;
mod image;
mod names;
mod origin;
mod pass;
mod proof;
mod report;
mod same;
mod slot;

pub mod statement;
mod table;

pub use compare::{Against, Divergence, compare, verify_against};
pub use error::{Result, VerifyError};
pub use image::verify;
pub use origin::{Carried, carried};
pub use report::{Finding, Kind, Range, Report, SlotReport};
pub use same::{Identity, Sameness, identify, same};

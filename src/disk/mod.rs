//! Bytes of block images. Knows trees, not stores: contents come in through `tree::ContentSource`.
//!
//! In: sizes, which [`layout::place`] turns into a [`layout::DiskLayout`]; then trees and bytes, which
//! each writer puts into its [`Window`] of a [`BlockDevice`]. Out: an image; or, read back strictly,
//! what an image says of itself ([`gpt::read`], [`fat::read`], [`dump`]).
//!
//! On disk: [`layout`] (partitions), [`gpt`], [`esp`] over [`fat`], [`ext4`], [`verity`].
//!
//! Always true
//! - The same values in, the same bytes out: identifiers derive from a digest, times from one epoch.
//! - What doesn't fit is an error before the first byte, with the numbers.
//! - Writers leave holes where nothing is; a fresh device reads as zero.
//! - Readers take any bytes: they answer with an error, never with a panic or a huge allocation.
//!
//! Not here: what the slot sector says and which slot boots (`boot/slots`), file formats of virtual
//! machines, the store.
//!
//! Read first: [`layout`], [`esp`].
#![forbid(unsafe_code)]

mod block_set;
mod device;
mod direct;
pub mod dump;
pub mod esp;
pub mod ext4;
pub mod fat;
pub mod field;
pub mod gpt;
pub mod layout;
mod sparse;
pub mod verity;

pub use block_set::BlockSet;
pub use device::{BlockDevice, BlockObserver, FileDevice, MemoryDevice, Window};
pub use direct::AlignedBuffer;

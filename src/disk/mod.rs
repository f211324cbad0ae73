//! Bytes of block images. Knows trees, not stores: contents come in through `tree::ContentSource`.
//!
//! Stub card: the disk room's authors complete it.
#![forbid(unsafe_code)]

mod device;
pub mod ext4;
pub mod verity;

pub use device::{BlockDevice, BlockObserver, FileDevice, MemoryDevice, Window};

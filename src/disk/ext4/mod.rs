//! Writes a tree as an ext4 filesystem, and reads one back: our own, because every byte has to follow
//! from the tree and the options alone.
//!
//! In: a [`SealedTree`](crate::tree::SealedTree), a [`ContentSource`](crate::tree::ContentSource),
//! [`Ext4Options`]. Out: [`plan`] gives an [`Ext4Layout`] (its exact size is known, nothing was
//! written), whose `write` fills a device that reads as zero. [`Ext4Reader`] opens what stands on one.
//!
//! On disk: the ext4 disk layout of the Linux kernel's documentation (`filesystems/ext4`): 4096-byte
//! blocks, 256-byte inodes, extents, `metadata_csum`, `64bit`, `flex_bg`, `sparse_super`, indexed
//! directories (half MD4). In this order: superblock and descriptors, bitmaps and inode tables of each 16
//! groups, directories, long symlinks, attribute blocks, journal, files in tree order, each extent tree
//! before its file. With stable places ([`Ext4Placement`]) each group has its own bitmaps and inode table at its
//! begin, and all else stands where hashes say: see [`spread`].
//!
//! Always true
//! - Inode numbers follow tree order, or the hash of the path; `lost+found` is 11 and always there.
//! - Holes are the zero blocks of the content, whatever the host thought of it.
//! - A block of the device is written at most once, a block of zeros never. Every written block is shown
//!   to the observer.
//! - No byte depends on the number of workers, the clock, the machine or the order of a host directory.
//!
//! Not here: partitions (`gpt`), hashing (`verity`), where the tree comes from.
//!
//! Read first: [`layout`], [`place`], [`spread`], `write.rs`.

mod attributes;
mod catalogue;
mod directory;
mod error;
mod extents;
mod format;
mod geometry;
mod hash;
mod inode;
mod layout;
mod numbers;
mod options;
mod place;
mod probe;
mod read;
mod space;
mod spread;
mod superblock;
mod write;

pub use error::Ext4Error;
pub use extents::Extent as Ext4Extent;
pub use layout::{Ext4Layout, plan};
pub use options::{Ext4Options, Ext4Placement};
pub use read::{
    Ext4Entry, Ext4Facts, Ext4Kind, Ext4Listing, Ext4Names, Ext4Place, Ext4ReadError, Ext4Reader,
};

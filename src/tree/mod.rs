//! The filesystem as a value: what an image holds, before anything knows of blocks or packs.
//!
//! In: paths, metadata, ids of contents. Out: a [`SealedTree`], which every writer may trust.
//!
//! Always true
//! - A tree holds no time stamps, inode numbers or anything else of a host: the same content is the
//!   same tree. All times of an image are one epoch, which the commit names.
//! - A file's content is an id and an exact size; the bytes come through a [`ContentSource`].
//! - In a [`SealedTree`] every hard link leads to a file-like node (never to a directory or another
//!   link), and the node itself stands at the path that comes first in tree order.
//!
//! Not here: how a tree is stored (`store/`), written to a disk (`disk/`) or read from an archive
//! (`archive/`).
//!
//! Read first: [`node`], [`content`], [`mod@merge`].

#![forbid(unsafe_code)]

pub mod content;
pub mod diff;
pub mod dump;
mod edit;
mod error;
pub mod follow;
pub mod merge;
pub mod node;
mod seal;
mod walk;

pub use content::{Content, ContentError, ContentSink, ContentSource, DataMap, MemoryContents};
pub use error::TreeError;
pub use merge::{Contribution, Merging, Origins, merge};
pub use node::{Device, DeviceKind, Directory, File, Metadata, Node, Special, Symlink, Xattrs};
pub use seal::SealedTree;
pub use walk::Visit;

//! OSTree at the door: commits into real OSTree repositories, and out of them.
//!
//! In: a commit of the store and a repository's directory, or the reverse. Out: an OSTree commit that stock
//! clients check, pull and check out; a commit of the store, the very same one where it came from here.
//!
//! ```text
//! export   tree without what OSTree can't hold → objects by checksum → those that are missing → commit, ref
//! import   ref → commit → directories, level by level → files, once each → tree → the commit it was, or a new one
//! ```
//!
//! Objects are encoded, read and hashed here (`object`, `variant`); the repository is libostree's alone. It
//! can't be linked into a static program, so it lives in a program of its own, `mkimage-ostree` (`libostree/`,
//! feature `ostree`), which this room starts and talks to over a pipe (`library`, [`wire`]).
//!
//! Always true
//! - The same commit under the same branch name is the same OSTree commit, whoever exports it, wherever.
//! - What OSTree can't hold is named by path, and refused unless the caller wants to do without it.
//! - Each object that comes in has the SHA-256 that names it, before anything of it is kept. An import is one
//!   transaction: nothing half-imported. Sizes, depth and counts are bounded.
//! - Contents pass in pieces; in memory is what a tree without them takes.
//!
//! Not here: remotes, static deltas, signatures: the stock tools have them, and what we export is theirs to use.
//!
//! Read first: `export`, `import`, `object`.
#![forbid(unsafe_code)]

#[cfg(feature = "tool")]
mod carried;
#[cfg(feature = "tool")]
mod error;
#[cfg(feature = "tool")]
mod export;
#[cfg(feature = "tool")]
mod import;
#[cfg(feature = "tool")]
mod incoming;
#[cfg(feature = "tool")]
mod library;
#[cfg(feature = "tool")]
mod loss;
mod name;
#[cfg(feature = "tool")]
mod object;
#[cfg(feature = "tool")]
mod restore;
#[cfg(feature = "tool")]
mod variant;
pub mod wire;

#[cfg(feature = "tool")]
pub use error::OstreeError;
#[cfg(feature = "tool")]
pub use export::{Export, Exported, export};
#[cfg(feature = "tool")]
pub use import::{Import, Imported, import};
#[cfg(feature = "tool")]
pub use library::Library;
#[cfg(feature = "tool")]
pub use loss::Loss;
#[cfg(feature = "tool")]
pub use object::{DirTree, FileHeader, OstreeCommit, encode_dirmeta, parse_dirmeta};
#[cfg(feature = "tool")]
pub use variant::Malformed;

pub use name::{Checksum, ChecksumError, ObjectKind, ObjectName};

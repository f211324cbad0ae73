//! What a dynamic program needs: which loader it names, which libraries that loader would open, and where.
//!
//! In: bytes of ELF files, through [`Bytes`]; files by path, through a [`Library`] (a tree with its contents,
//! or a root of the host). Out: an [`Image`] of one file, the [`closure()`] of programs, the directories of
//! `/etc/ld.so.conf`.
//!
//! Always true
//! - Foreign bytes are errors, never panics: all offsets are checked, nothing is allocated by a number
//!   that the file has not the bytes for.
//! - The search order is that of `ld.so(8)` without environment variables. Where the loader would look at
//!   the CPU (`glibc-hwcaps`), the plain library is taken: it runs everywhere.
//! - The result depends on the files alone, not on the order of a host's directories.
//!
//! Not here: libraries that a program opens by name while it runs (`dlopen`): no file says so, a recipe has
//! to name them. The cache of the loader is written by `finalize/`.
//!
//! Read first: [`image`], [`mod@closure`].
#![forbid(unsafe_code)]

mod bytes;
pub mod closure;
mod configuration;
mod error;
pub mod image;
mod library;
mod machine;
pub mod module;
mod packed;
mod pattern;
mod section;

pub use bytes::{Bytes, ContentBytes};
pub use closure::closure;
pub use configuration::{Files, configured_directories};
pub use error::ElfError;
pub use image::{Class, Image, Kind};
pub use library::{HostLibrary, Library, TreeLibrary};
pub use machine::Machine;
pub use module::Module;
pub use packed::unpack;
pub use section::section;

//! Archives and directories of the host become trees, without anything being unpacked onto the host.
//!
//! In: bytes that nobody vouches for (tar in its four dialects, plain or in gzip, xz or zstd, in bzip2 or bare
//! lzma where the caller says so; `ar`), or
//! a directory of the host. Out: a [`tree::Directory`](crate::tree::Directory) whose contents went into
//! a [`ContentSink`](crate::tree::ContentSink), or an error with the place.
//!
//! Always true
//! - The input is read once, from front to back, in memory that the [`Limits`] bound, not the input.
//! - What two readers of one archive could understand differently is refused, never guessed: duplicate
//!   paths, sizes that disagree, records nobody knows, links to what isn't there yet, bytes behind the
//!   end. So what a person saw in a listing is what the image holds.
//! - A path of an archive is only ever a key of a map. It can't leave the tree, whatever it says.
//! - Setuid and setgid bits, devices, file capabilities and `trusted.*` attributes come in only where
//!   the caller's policy names the path.
//! - Of the host, contents, symlinks and the owner's executable bit count; owners, other mode bits, times,
//!   extended attributes, hard links and the order of listings are accidents.
//!
//! Not here: what a part of a recipe does with the tree (`compose/`), what a `.deb` means (`packages/`).
//!
//! Read first: [`read_archive`], `tar.rs`, `import.rs`, `scan.rs`.
#![forbid(unsafe_code)]

mod ar;
mod decompress;
mod error;
mod header;
mod import;
mod limits;
mod pax;
mod place;
mod policy;
mod scan;
mod stream;
mod tar;

pub use ar::{Ar, Member};
pub use decompress::{Compression, decompress, decompress_as, is_archive};
pub use error::{ArchiveError, Place};
pub use import::{Options, read_archive, read_tar, set_owner};
pub use limits::Limits;
pub use policy::{Policy, Violation, allow_all, allow_list, allow_nothing};
pub use scan::{Digesting, Input, InputKind, Inputs, read_host_file, refuse, scan};

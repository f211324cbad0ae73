//! One way to look into anything that holds a tree: a commit of a store, an image, a partition of one, a partition
//! in a file of its own.
//!
//! In: a text as people type it ([`open`]), a store where the text names a commit. Out: a [`View`]: a tree, and
//! the bytes of its files through [`ContentSource`](crate::tree::ContentSource); copies on the host
//! ([`View::copy`]); what takes the space ([`usage`]); a read-only file system ([`mount`]).
//!
//! ```text
//! place = FILE [":" PART] [":" PATH]      PART: slot-a, slot-b, esp, data; else the slot that boots next
//!       | REVISION [":" PATH]             as everywhere: REF, REF~N, an id or its beginning
//! ```
//!
//! A text, or its beginning up to a colon, is a FILE where such a file or block device is there and its name has a
//! slash, or it begins like an image or a filesystem; else a REVISION. A PATH inside a file begins with `/`. So a
//! ref never changes its meaning by a file that happens to lie in the folder, and `./NAME` always is the file.
//!
//! Always true
//! - The same tree is the same view, whether it comes out of a store, an image or a partition; only what a
//!   filesystem adds itself (an empty `lost+found`) is left out.
//! - Foreign bytes are read strictly, in memory that follows from the size of the device, and in a confined child
//!   (`confine/`): to us it sends names, numbers and the bytes of files. Contents are read in pieces. Nothing is written
//!   to what is looked at.
//! - Nothing that is copied out of a view leaves the directory that it is copied into.
//!
//! Not here: what differs and why something is there (`pipeline/`), whether an image is right (`verify/`).
//!
//! Read first: [`location`], [`View`]; for images `stranger.rs` (our side) and `serve.rs` (the child's).
#![forbid(unsafe_code)]

mod contents;
mod copy;
mod error;
mod image;
pub mod location;
pub mod mount;
mod outline;
mod partition;
mod pieces;
mod serve;
mod stranger;
mod subtree;
pub mod usage;
#[allow(clippy::module_inception, reason = "the room is named after what stands in it")]
mod view;
mod wire;

pub use copy::Copied;
pub use error::{Result, ViewError};
pub use location::{Location, begins_like_an_image, needs_store};
pub use serve::{VERB, serve};
pub use view::{Found, View, open};

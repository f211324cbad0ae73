//! Foreign bytes are read in a child of ourselves that can do nothing else: no file, no network, no other process,
//! bounded memory and time.
//!
//! In: images as open files, and the name of a verb of the child. Out: the verb's answer, once ([`confine`]) or
//! question by question ([`Session`]).
//!
//! ```text
//! parent ── starts /proc/self/exe CHILD_VERB REQUEST, images as inherited descriptors ──▶ child
//!                                     child: opens them by number, then locks itself in:
//!                                            rlimits, Landlock (no path at all), seccomp (reading, threads, memory)
//! parent ◀── frames: warnings, parts, at last a value or an error (`frame.rs`) ──▶ questions, where a verb takes some
//! ```
//!
//! Always true
//! - The child has its two pipes and the images, and where an image is compressed a scratch file of its own. It can't
//!   open, connect, start or signal anything, whatever takes it over.
//! - A child that takes too long, dies, or passes a limit is an error that says so. It is killed when nobody waits for it
//!   any more; where its asker was killed, it ends when it next speaks or listens.
//! - What reads past the cache does so in the child, too: the image is opened for it before the child locks itself in.
//! - Where the kernel has no Landlock or no seccomp, that is a warning, and it goes on with what there is: an address
//!   space limit and our own readers still stand.
//!
//! Not here: what is read (`verify/`, `view/`, `image/`, `slots/`), which verbs there are (`cli/confined.rs`). Whoever calls this
//! from another program must answer [`CHILD_VERB`] with [`child`], as `mkimage` does.
//!
//! Read first: `session.rs`, `child.rs`.
#![forbid(unsafe_code)]

mod child;
mod error;
mod filter;
mod frame;
mod input;
mod session;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::Job;

pub use child::{Verb, child, plain};
pub use error::{ConfineError, Result, Said};
pub use frame::{Channel, QUESTION_BYTES_MAX};
pub use input::Input;
pub use session::{Session, Term};

/// The hidden verb of the command line that is [`child`].
pub const CHILD_VERB: &str = "confined-child";

/// What the child is asked to do.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    verb: String,
    arguments: Value,
    images: Vec<Handed>,
    workers: usize,
    limits: Limits,
}

/// An image by the numbers of its descriptors.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Handed {
    image: i32,
    /// A file that the child may write: for what is inside of a compressed image.
    scratch: Option<i32>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Limits {
    memory_bytes: u64,
    /// Processor time; `None` for a child that serves as long as somebody asks.
    seconds: Option<u64>,
    file_bytes: u64,
}

/// Runs a verb on images in a confined child, and returns what it answers.
///
/// # Errors
/// A child that dies, takes too long, or passes a limit is [`ConfineError::Child`]; what the verb itself refuses is
/// [`ConfineError::Said`].
pub fn confine(verb: &str, arguments: &Value, images: &[Input], job: &Job) -> Result<Value> {
    Session::start(verb, arguments, images, Term::Short, job)?.value()
}

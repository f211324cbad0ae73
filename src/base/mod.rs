//! Ground that every room stands on: digests and ids, units, image paths, the only clock,
//! the worker pool, jobs (progress and cancellation), durable publishing, I/O errors with paths.
//!
//! In: nothing of this crate. Out: small types without policy.
//!
//! Always true
//! - The clock, `rename`, directory listing and threads are named here and nowhere else
//!   (`clippy.toml` disallows the rest).
//! - An id can't be mistaken for another kind of id; a length carries its unit.
//! - An [`ImagePath`] is absolute and normal: no empty, `.` or `..` component, no NUL.
//!
//! Not here: formats, policies, printing.
//!
//! Read first: [`id`], [`path`], [`job`].
#![forbid(unsafe_code)]

pub mod base64;
pub mod capability;
pub mod clock;
pub mod endpoint;
pub mod event;
pub mod fs;
pub mod heartbeat;
pub mod id;
pub mod job;
pub mod jobserver;
pub mod message;
pub mod nearest;
pub mod parallel;
pub mod path;
pub mod process;
pub mod publish;
pub mod units;

pub use clock::Stopwatch;
pub use endpoint::{Endpoint, Scheme};
pub use event::{Event, Reporter};
pub use fs::FileError;
pub use heartbeat::Heartbeat;
pub use id::{BlobId, CommitId, Digest, StepKey, TreeId};
pub use job::{Cancelled, Job, Step};
pub use message::whole;
pub use path::{ImagePath, Name, PathError};
pub use process::ProcessName;
pub use units::{Blocks, Bytes, Sectors};

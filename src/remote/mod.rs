//! Moving commits between stores: push, pull, clone, mirror; and pruning a site of what its refs do not need.
//!
//! In: a [`Store`](crate::store::Store), an [`Address`], names of refs. Out: the same commits at the other
//! end, then refs that lead to them, and what went over the wire.
//!
//! Two kinds of far ends. A **store** in a directory takes part like any other writer: frames are copied as
//! they are. A **site** is a set of files that never change, and one small signed index; it lies in a
//! directory, behind any web server, or in a bucket, and a [`Transport`] is all that differs.
//!
//! On disk: `site` (what lies where at a site), `site_prune` (marks of what leaves one), `settings` (`remotes/NAME` in the store: address, keys, what
//! was seen last).
//!
//! Always true
//! - What travels is what is missing. Objects first, refs last, by compare-and-swap; stopped at any point,
//!   both ends are as before or as after, and doing it again costs what is still missing.
//! - Nothing from a stranger is kept before its digest is right, and nothing is remembered of a site whose
//!   index was refused.
//! - What an index names is never removed from its site, whoever prunes and pushes at once (`site_prune`).
//! - Sizes are bounded by what a checked parent says, requests and redirects by constants, time by a lowest
//!   rate.
//!
//! Not here: who may sign (`trust/`), how objects are bundled (`bundle/`), printing (`cli/`).
//!
//! Read first: `transport`, `site`, `transfer`.
#![forbid(unsafe_code)]

mod address;
mod agent;
mod ask;
mod between;
mod closure;
mod directory;
mod error;
mod far;
mod heal;
mod http;
mod local;
mod outcome;
#[cfg(feature = "s3")]
mod s3;
mod settings;
mod site;
mod site_prune;
mod site_pull;
mod site_push;
mod transfer;
mod transport;

pub use crate::web::Patience;
pub use address::Address;
pub use ask::{Answer, ask, publish_release};
pub use directory::DirectorySite;
pub use error::{RemoteError, Result, TransferProblem};
pub use far::Far;
pub use heal::healer;
pub use http::HttpSite;
pub use outcome::{Outcome, Pushed, RefOutcome, Rules, Want, Wants};
#[cfg(feature = "s3")]
pub use s3::BucketSite;
pub use settings::{Remote, RemoteName, RemoteSettings};
pub use site_prune::{MARKS_STAY_SECONDS, Pruned};
pub use site_push::Publishing;
pub use transfer::{prune, prune_at, pull, pull_from, push, push_to, refs};
pub use transport::{Created, FileBody, Line, Replaced, Sink, SizedRead, Traffic, Transport, Versioned};

//! Bundles: what travels between stores over a file host, as few bytes as we can make it.
//!
//! In: commits, and the commits that the receiver has ([`Contents::gather`]). Out: one immutable file
//! ([`write()`]); of it, the ranges that a receiver needs ([`Table::plan`]); from these, objects in a
//! [`Transaction`](crate::store::Transaction) ([`Receiver`]).
//!
//! On disk: `table` (the file), `delta` and `large` (its first frames), `names` and `closure` (why no ids travel).
//!
//! Always true
//! - A bundle is named by its table, which holds the digest of each frame: every byte is held against a digest
//!   before a decoder sees it, and every object is named by what came out.
//! - The same contents give the same bytes.
//! - An update reads two ranges: the table, and what follows it. A first pull reads the table and the rest.
//! - Foreign bytes end in an error, in memory that the table's bounds allow.
//!
//! Not here: how bytes travel (`remote/`), who may be trusted (`trust/`), refs.
//!
//! Read first: `table`, `delta`, `large`, `receive`.

#![forbid(unsafe_code)]

mod closure;
mod contents;
mod delta;
mod error;
mod form;
mod frame;
mod large;
mod names;
mod plan;
mod receive;
mod single;
mod table;
mod varint;
mod write;

pub use closure::ObjectName;
pub use contents::Contents;
pub use error::{BundleError, Result};
pub use form::Form;
pub use plan::FetchPlan;
pub use receive::{Received, Receiver};
pub use single::Single;
pub use table::Table;
pub use write::{Bundle, write, write_as};

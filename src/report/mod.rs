//! What an image holds, for people and for programs: bills of materials, a page of pictures, a timeline.
//!
//! In: a [`Subject`]: a tree and its contents, with what else is known of them (commit, lock, parts of the recipe, a
//! store that may still have the packages). Out: a [`Bill`], written as SPDX or CycloneDX; a [`Page`] of HTML that needs
//! nothing but itself; a [`Timeline`] as a Chrome trace.
//!
//! Always true
//! - A document is a function of its subject: no clock, no host, no order of threads reaches it. Its time is the
//!   commit's epoch, its identifiers derive from the commit's id.
//! - Nothing is guessed: what no database, lock or machine-readable file states is left open, and what could not be
//!   read is said in the document.
//! - Names are foreign: they reach a page as text only, whatever they hold.
//! - Files are hashed on all workers, a mebibyte at a time; a page has a bound, and says what it left out.
//!
//! Not here: where subjects come from (`view/`, `pipeline/`), how packages are read (`packages/`), printing.
//!
//! Read first: [`bill`], `components.rs`, `page.rs`.
#![forbid(unsafe_code)]

pub mod bill;
mod changes;
mod components;
mod cyclonedx;
mod database;
mod disk;
mod error;
mod hashes;
mod kept;
mod licence;
mod owners;
mod page;
mod programs;
mod purl;
mod release;
mod sizes;
mod spdx;
mod text;
mod timeline;

use std::io::Write;

pub use bill::{Bill, BilledFile, Component, Family, Part, PartKind, Subject, What};
pub use error::{ReportError, Result};
pub use page::{DiskMap, MappedPartition, Page};
pub use timeline::{Lanes, SPANS_MAX, Span, TIMELINE_BYTES_MAX, Timeline};

/// The form of a bill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// SPDX 2.3, JSON.
    Spdx,
    /// CycloneDX 1.6, JSON.
    CycloneDx,
}

/// Writes a bill in a format of others. Fails where the writer does.
pub fn write(bill: &Bill, format: Format, out: &mut dyn Write) -> std::io::Result<()> {
    match format {
        Format::Spdx => spdx::write(bill, out),
        Format::CycloneDx => cyclonedx::write(bill, out),
    }
}

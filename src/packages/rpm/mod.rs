//! RPM as a second input: repositories, packages and the database of the rpm family.
//!
//! In: repositories (repomd, signed), names. Out: packages to lock, trees, and the finished tree with the database
//! that `rpm -qa` reads.
//!
//! Always true
//! - No byte is parsed before its SHA-256 is one that a signature covers.
//!
//! Not here: fetching over a network.
//!
//! Read first: [`unpack`].

mod accounts;
mod capability;
mod clause;
mod database;
mod error;
mod explain;
mod files;
mod finalize;
mod header;
mod lay;
mod package;
mod payload;
mod primary;
pub mod relation;
mod repository;
mod request;
mod resolve;
mod scripts;
mod shell;
mod signature;
mod solve;
mod sqlite;
mod tags;
mod units;
mod universe;
mod unpack;
pub mod version;
mod xml;

pub use accounts::KnownAccount;
pub use error::{FinalizeError, HeaderError, RepositoryError, RpmError};
pub use finalize::{Report, ScriptPolicy, Settings, finalize};
pub use lay::{Layout, Ownership, lay};
pub use package::Package;
pub use repository::{Metadata, RepositoryFiles, RepositoryState};
pub use request::{Request, Source};
pub use resolve::{Chosen, LocalFiles, Resolved, read_package, resolve};
pub use scripts::Script;
pub use signature::{verify_detached, verify_package};
pub use unpack::{Unpacked, locked, unpack, unpack_key};

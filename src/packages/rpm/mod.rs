//! RPM as a second input: repositories, packages, and the database of packages of that family.
//!
//! In: repositories (`repodata/`, signed), names. Out: what a lock pins ([`resolve`]), a tree a package ([`unpack`]),
//! one tree of many ([`lay`]), and that tree finished ([`finalize`]): accounts, owners, units, and the database from
//! which `rpm -qa --root` reads and by which `rpm -Va` judges.
//!
//! On disk: nothing of ours. Packages, `primary.xml` and `rpmdb.sqlite` are RPM's formats, read and written by hand;
//! each file of this folder names the document that it follows.
//!
//! Always true
//! - No index and no package is parsed before its SHA-256 is one that a signature or a lock covers. Where a repository
//!   does not sign its metadata, each package that is chosen must be signed itself.
//! - A header's every value lies where its index says, and digests cover all of it, or it is refused. No count or size
//!   of a package is believed before there are bytes for it.
//! - All names of a request are one problem, and the choice is a function of it: no order of anything else counts.
//! - No script runs here. One that is not understood is an error with its lines, unless the recipe says otherwise.
//! - The database is a pure function of the packages, the tree and the epoch.
//!
//! Not here: caches that more than one family needs (`ld.so.cache`: [`Report::caches`] says which are wanted), running
//! what [`Report::to_run`] hands back, the text of the lock.
//!
//! Read first: `resolve.rs`, `unpack.rs`, `finalize.rs`.

mod accounts;
mod capability;
mod clause;
mod database;
mod error;
mod explain;
mod fetch;
mod files;
mod finalize;
mod header;
mod installed;
mod lay;
mod package;
mod payload;
mod primary;
mod provider;
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
mod words;
mod xml;

/// What recipes and locks call this family.
pub const DISTRIBUTION: &str = "rpm";

pub use accounts::KnownAccount;
pub use error::{FinalizeError, HeaderError, RepositoryError, RpmError};
pub use finalize::{Report, ScriptPolicy, Settings, finalize};
pub use installed::{InstalledPackage, read_database};
pub use lay::{Layout, Ownership, lay};
pub use package::Package;
pub use primary::{Wanted, is_architecture, is_name, is_version_text, read as read_primary, read_files};
pub use repository::{Metadata, RepositoryFiles, RepositoryState};
pub use request::{Request, Source};
pub use resolve::{Chosen, Resolved, read_package, resolve};
pub use scripts::{Script, classify};
pub use shell::Effect;
pub use signature::{verify_detached, verify_package};
pub use universe::{PackageId, Universe};
pub use unpack::{Unpacked, locked, unpack, unpack_key};

//! Names of packages become file trees: found, verified, pinned, fetched and unpacked, in memory.
//!
//! In: [`Request`]s (distribution, suite, exact names), a [`Lock`] where there is one, the caller's time.
//! Out: a [`Lock`] (text beside the recipe), and for each locked package an [`unpack::Unpacked`] tree whose
//! contents went into a [`crate::tree::ContentSink`].
//!
//! The way of a package: [`Settings`] and apt's configuration give a mirror; its `InRelease` is checked
//! against a keyring ([`Verified`]); the index that it names is checked by hash; the lock pins what the
//! index says; the `.deb` is checked against the lock and kept in a [`PackageCache`]; its payload becomes
//! tree objects.
//!
//! On disk: the lock, described in [`lock`]. The cache belongs to the caller.
//!
//! Always true
//! - No byte of an index or a package is parsed before its size and SHA-256 are those that something
//!   signed or locked says; no field of a Release is read that the signature does not cover.
//! - With a lock no index is consulted. With everything in the cache no mirror is looked for.
//! - The address of a mirror reaches neither the lock nor a tree: it is the machine's affair.
//! - No host name is built in. The room has no clock: time comes in through [`Settings`].
//!
//! Not here: dependencies (a kernel's metapackage apart, see [`solve`]), maintainer scripts (they come
//! back as bytes), the layout of the cache, the merging of trees.
//!
//! Read first: [`lock`], [`fetch`], [`unpack`].

#![forbid(unsafe_code)]

mod agents;
mod apt_conf;
mod cache;
mod date;
pub mod deb;
mod digest;
mod download;
mod error;
pub mod fetch;
mod gone;
mod http;
mod index_text;
pub mod install;
mod kept;
mod keyring;
mod local;
pub mod lock;
mod mirror;
mod proxy;
mod request;
mod resolve;
pub mod rpm;
mod settings;
pub mod solve;
mod sources;
mod suite;
mod trust;
pub mod universe;
pub mod unpack;
pub mod vendor;

pub use crate::web::Patience;
pub use cache::{MemoryCache, PackageCache};
pub use digest::Sha256;
pub use error::{Ending, FetchProblem, PackagesError, SuiteProblem};
pub use fetch::{Fetched, Fetcher};
pub use keyring::Keyring;
pub use lock::{
    Change as LockChange, ChangeKind as LockChangeKind, Lock, LockError, LockedPackage, LockedRequest,
    LockedSource, Reason, Wanted,
};
pub use mirror::MirrorRule;
pub use proxy::Proxies;
pub use request::{DEFAULT_PRIORITY, Request, Root, Rules, SourceRequest};
pub use resolve::{Update, resolve};
pub use settings::Settings;
pub use sources::{SignedBy, Source, parse_deb822, parse_one_line};
pub use trust::{SignatureProblem, Verified, verify_cleartext, verify_detached};
pub use unpack::{Unpacked, unpack_key};
pub use vendor::Vendored;

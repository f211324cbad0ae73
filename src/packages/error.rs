use std::path::PathBuf;

use super::deb::archive::DebError;
use super::deb::index::IndexError;
use super::deb::release::ReleaseError;
use super::digest::Sha256;
use super::lock::LockError;
use super::rpm::{RepositoryError, RpmError};
use super::solve::Unsolvable;
use super::trust::SignatureProblem;
use super::universe::BareError;
use crate::base::{Cancelled, FileError, whole};
use crate::tree::ContentError;
use crate::web::WebError;

/// Says why packages could not be found, verified, fetched or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    #[error(
        "no mirror is known for {distribution} {suite} ({}): name one with --mirror ADDRESS or --mirror \
         {suite}=ADDRESS, MKIMAGE_MIRROR, or `mirror` in the packages block; a directory is named as \
         file:/path{notes}",
        components.join(" ")
    )]
    NoMirror {
        distribution: String,
        suite: String,
        components: Vec<String>,
        /// What of apt's configuration was passed over, a line each.
        notes: String,
    },
    #[error("{address:?} is no address of a mirror: {problem}")]
    Address { address: String, problem: String },
    #[error("{address:?} is no address of a proxy: {problem}")]
    Proxy { address: String, problem: String },
    #[error("{what:?} is no {kind}")]
    Request { kind: &'static str, what: String },
    #[error("keyring {}: {problem}", path.display())]
    Keyring { path: PathBuf, problem: String },
    #[error("the keyring for {distribution} is missing: {} (package {distribution}-archive-keyring), or name one with `signed_by`", path.display())]
    NoKeyring { distribution: String, path: PathBuf },
    #[error("suite {suite} on {mirror}")]
    Suite {
        suite: String,
        mirror: String,
        #[source]
        problem: Box<SuiteProblem>,
    },
    #[error("{distribution}: {problem}")]
    Unsolvable { distribution: String, problem: Box<Unsolvable> },
    #[error("{distribution}: {problem}")]
    Bare { distribution: String, problem: BareError },
    #[error("the indexes of {distribution}")]
    Index {
        distribution: String,
        #[source]
        problem: IndexError,
    },
    #[error("the file {}", path.display())]
    Local {
        path: PathBuf,
        #[source]
        problem: IndexError,
    },
    #[error(transparent)]
    Rpm(Box<RepositoryError>),
    #[error("{package}")]
    UnpackRpm {
        package: String,
        #[source]
        problem: Box<RpmError>,
    },
    #[error("the lock")]
    Lock(#[from] LockError),
    #[error("the lock has no package {name} of {distribution} for {architecture}: run `mkimage lock`")]
    NotLocked { name: String, distribution: String, architecture: String },
    #[error(
        "the lock was made for other packages, sources or rules of {distribution} than the recipe asks for now: \
         run `mkimage lock`"
    )]
    Stale { distribution: String },
    #[error("the lock has no package {name}{}", did_you_mean(similar))]
    NotInLock { name: String, similar: Vec<String> },
    #[error(
        "{} is not the file of {package} that was locked: run `mkimage lock --update` to take it as it is",
        path.display()
    )]
    LocalChanged { path: PathBuf, package: String },
    #[error("fetching {what} from {address}")]
    Fetch {
        what: String,
        address: String,
        #[source]
        problem: FetchProblem,
    },
    #[error(
        "{name} {version} is not in the store and the network is off (SHA-256 {sha256}): run once without \
         --offline, or name a directory that holds {filename} with --vendor /path or --mirror file:/path"
    )]
    Offline { name: String, version: String, sha256: Sha256, filename: String },
    #[error(
        "{package} is locked, but {mirror} no longer has it{}: take what is there now with `mkimage lock \
         --update {name}`, name a mirror that keeps old versions with --mirror {suite}=ADDRESS (where `{{date}}` \
         stands for {date}), or name a directory that `mkimage vendor` filled while {filename} was there with \
         --vendor /path",
        there_now(now, suite)
    )]
    Gone {
        /// Name and version.
        package: String,
        name: String,
        filename: String,
        suite: String,
        /// When the lock saw the suite, as archives of old states spell it.
        date: String,
        mirror: String,
        /// The version that the mirror's index offers, where it could be read.
        now: Option<String>,
    },
    #[error("{package}")]
    Unpack {
        package: String,
        #[source]
        problem: Box<DebError>,
    },
    #[error("the cache of packages")]
    Cache(#[source] ContentError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    #[error("{}", .0.iter().map(|error| whole(error)).collect::<Vec<_>>().join("; "))]
    Several(Vec<PackagesError>),
}

impl PackagesError {
    /// Makes one error of one or several.
    pub(super) fn of(mut errors: Vec<PackagesError>) -> PackagesError {
        match errors.len() {
            1 => errors.remove(0),
            _ => PackagesError::Several(errors),
        }
    }
}

fn did_you_mean(similar: &[String]) -> String {
    if similar.is_empty() { String::new() } else { format!("; did you mean {}?", similar.join(" or ")) }
}

fn there_now(now: &Option<String>, suite: &str) -> String {
    now.as_ref().map_or_else(String::new, |version| format!(" (there now, in {suite}: {version})"))
}

/// Says why what a mirror offers of a suite can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SuiteProblem {
    #[error("its InRelease is not to be trusted")]
    Signature(#[source] SignatureProblem),
    #[error("it is not signed: there is neither InRelease nor Release.gpg")]
    Unsigned,
    #[error("its InRelease is no Release file")]
    Release(#[source] ReleaseError),
    #[error("its InRelease is for suite {found}: the mirror mixes suites up, or someone does")]
    OtherSuite { found: String },
    #[error("it comes from {found:?}, not from {distribution}")]
    OtherOrigin { found: String, distribution: String },
    #[error("it was valid until {until}, and it is {now}: the mirror is out of date")]
    Expired { until: String, now: String },
    #[error("it is dated {date}, and it is only {now}: this machine's clock is wrong, or the file")]
    FromTheFuture { date: String, now: String },
    #[error("it is dated {date}, but the lock was made from one of {locked}: the mirror went back in time")]
    OlderThanLock { date: String, locked: String },
    #[error("it offers no index for component {component}, architecture {architecture}")]
    NoIndex { component: String, architecture: String },
    #[error("index {path} can't be decompressed: {problem}")]
    Compression { path: String, problem: String },
}

/// Says what went wrong with one address.
#[derive(Debug, thiserror::Error)]
pub enum FetchProblem {
    #[error("nothing is there")]
    Missing,
    #[error("the server answered with status {0}")]
    Status(u16),
    #[error("the server announces {declared} bytes, {expected} were expected")]
    Length { declared: u64, expected: u64 },
    #[error("the server sends more than the {limit} bytes that were expected")]
    TooLarge { limit: u64 },
    #[error("{found} bytes came, {expected} were expected")]
    Size { found: u64, expected: u64 },
    #[error("the bytes have SHA-256 {found}, {expected} was expected")]
    Digest { found: Box<Sha256>, expected: Box<Sha256> },
    #[error("only {bytes} bytes came in {seconds} seconds")]
    Slow { bytes: u64, seconds: u64 },
    #[error("the server sends us on to {to:?}: {problem}")]
    Redirect { to: String, problem: &'static str },
    #[error("the network is off (--offline)")]
    Offline,
    #[error(transparent)]
    Web(#[from] WebError),
    #[error("the cache of packages")]
    Cache(#[source] Box<ContentError>),
    #[error("reading failed")]
    Reading(#[source] std::io::Error),
    #[error("the connection failed")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Says how a try to fetch ended, for those who may try again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The same request may succeed in a moment.
    Passing,
    /// It won't.
    Final,
}

impl FetchProblem {
    /// Takes the problem out of an error of reading.
    pub(super) fn of_reading(error: std::io::Error) -> FetchProblem {
        match error.downcast::<FetchProblem>() {
            Ok(problem) => problem,
            Err(error) => FetchProblem::Reading(error),
        }
    }

    /// Tells whether the same request may succeed in a moment.
    pub fn ending(&self) -> Ending {
        match self {
            FetchProblem::Status(status) if *status >= 500 || *status == 429 || *status == 408 => {
                Ending::Passing
            }
            FetchProblem::Connection(_) | FetchProblem::Size { .. } => Ending::Passing,
            _ => Ending::Final,
        }
    }
}

//! Why a key, a signature or a signed document is refused.

use std::path::PathBuf;

use super::key::KeyId;
use crate::base::{Digest, FileError};

pub type Result<T> = std::result::Result<T, TrustError>;

/// Says why something is not trusted. Nothing of what was refused may be kept.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} is there already: a key is never written over", path.display())]
    KeyExists { path: PathBuf },
    #[error(
        "{} can be read by others (mode {mode:04o}); a secret key must be its owner's alone (0600)",
        path.display()
    )]
    LooseMode { path: PathBuf, mode: u32 },
    #[error("{place} holds no key that can be used: {problem}")]
    Key { place: String, problem: &'static str },
    /// A set of keys without a key trusts nobody; it is never taken as trusting everybody.
    #[error("{place} names no key to trust")]
    NoKeys { place: String },
    #[error(
        "{threshold} signatures are asked for, and {keys} different keys are trusted: from 1 to {keys} is possible"
    )]
    Threshold { threshold: usize, keys: usize },
    #[error("the system gave no random bytes")]
    Random { source: std::io::Error },
    #[error("the signer {command:?} made no signature: {problem}")]
    Signer { command: String, problem: String },
    #[error("{what} has more than {limit} bytes")]
    TooLarge { what: &'static str, limit: usize },
    #[error("it is no signed envelope: {problem}")]
    Envelope { problem: String },
    #[error("the signature that names the key {key} was not made by it, or what it signed was changed")]
    BadSignature { key: KeyId },
    #[error(
        "{valid} of the {threshold} signatures that are asked for are there (trusted: {}; signed by: {})",
        list(trusted),
        list(found)
    )]
    NotSigned { threshold: usize, valid: usize, trusted: Vec<String>, found: Vec<String> },
    #[error("a document of type {expected:?} was asked for, and the signed one is of type {found:?}")]
    PayloadType { expected: String, found: String },
    #[error("the signed document can't be read: {problem}")]
    Document { problem: String },
    #[error("the document belongs to the site {found:?}, and {expected:?} was asked for")]
    OtherSite { expected: String, found: String },
    #[error("the site went back to version {found}, after version {seen} was seen: someone serves old data")]
    Rollback { found: u64, seen: u64 },
    #[error(
        "two different documents were signed as version {version} of the site (digest {found} after {seen}): \
         its signer was misused, or two publishers don't know of each other"
    )]
    Equivocation { version: u64, found: Digest, seen: Digest },
    #[error("the document was signed at {created} (seconds since 1970), and this machine's clock says {now}")]
    FromTheFuture { created: u64, now: u64 },
    #[error("the document expired at {expires} (seconds since 1970), {} ago", age(*now - *expires))]
    Expired { expires: u64, now: u64 },
}

fn list(keys: &[String]) -> String {
    if keys.is_empty() { "nobody".to_owned() } else { keys.join(", ") }
}

/// Prints a length of time in its largest unit.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

//! Who may say what a site holds: keys, signatures, signed documents, and the order of the checks.
//!
//! In: bytes from strangers, keys that the user chose to trust, what was seen before, the time.
//! Out: [`Verified`] documents; [`SecretKey`]s and external [`Signer`]s that make signatures.
//!
//! On disk: `key` (one line a key), `envelope` (DSSE v1, payload and signatures in one file), `site` (the
//! index of a site: what its refs lead to, which files hold the objects, until when this is true), `release` (what
//! the image of a commit must come out as).
//!
//! Always true
//! - Signatures are checked over the payload's bytes as they came, before anything in them is read; a document
//!   has one encoding, and nothing is encoded again to be checked.
//! - The type of a document is signed with it: an index can't pass for something else.
//! - A threshold counts different keys, each by its own bytes: neither a signature that stands there twice nor
//!   one key under two names counts twice.
//! - No keys, unreadable keys, a threshold of 0: errors, never "nothing to check".
//! - An older version than was seen, another document under the same version, an expired document: refused.
//!   What to remember is handed out only by a document that has passed every check.
//!
//! Not here: where files come from (`remote/`), what a commit holds (`store/`), certificates of UEFI
//! (`boot/`), OpenPGP of distributions (`packages/`), the clock (the caller says what time it is).
//!
//! Read first: `envelope`, `site`, `key`.

#![forbid(unsafe_code)]

mod envelope;
mod error;
mod json;
mod key;
mod release;
mod sign;
mod site;
mod ssh;
mod trusted;

pub use envelope::{ENVELOPE_BYTES_MAX, Envelope, SIGNATURES_MAX, Verified, pre_authentication_encoding};
pub use error::{Result, TrustError};
pub use key::{KeyId, KeyKind, PublicKey, SecretKey};
pub use release::{RELEASE_BYTES_MAX, RELEASE_TYPE, Release};
pub use sign::{CommandSigner, Signer};
pub use site::{
    BundleEntry, Expectation, REFS_MAX, SITE_INDEX_BYTES_MAX, SITE_INDEX_TYPE, Seen, SiteIndex, SiteName,
    SiteRef,
};
pub use ssh::{SSH_NAMESPACE, SshSignature};
pub use trusted::Trusted;

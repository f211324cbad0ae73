//! Keyrings: OpenPGP certificates in binary form or ASCII armour.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgp::composed::{Deserializable, SignedPublicKey};
use pgp::types::KeyDetails;

use super::error::PackagesError;
use super::fetch::Fetcher;
use super::mirror::Mirror;
use super::request::{Request, SourceRequest};
use super::sources::SignedBy;
use crate::base::fs;
use crate::base::id::hex;

/// Largest keyring that is read, in bytes.
const KEYRING_BYTES_MAX: u64 = 16 << 20;

const BLOCK_START: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const BLOCK_END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// Holds the certificates that may sign a suite.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    pub(super) keys: Vec<SignedPublicKey>,
}

impl Keyring {
    /// Reads certificates, binary or one or several armoured blocks. Those of kinds that nobody here can
    /// read are left out; none at all is an error.
    pub fn parse(bytes: &[u8]) -> Result<Keyring, String> {
        let mut keys = Vec::new();
        match std::str::from_utf8(bytes) {
            Ok(text) if text.contains(BLOCK_START) => {
                for block in text.split(BLOCK_START).skip(1) {
                    let Some((inside, _)) = block.split_once(BLOCK_END) else {
                        return Err(format!("a key block without \"{BLOCK_END}\""));
                    };
                    let block = format!("{BLOCK_START}{inside}{BLOCK_END}\n");
                    let (parsed, _) = SignedPublicKey::from_armor_many(block.as_bytes())
                        .map_err(|error| error.to_string())?;
                    keys.extend(parsed.flatten());
                }
            }
            _ if bytes.starts_with(b"KBXf") || bytes.get(8..12) == Some(b"KBXf") => {
                return Err("is a keybox; export it with gpg --export".to_owned());
            }
            _ => {
                let parsed = SignedPublicKey::from_bytes_many(bytes).map_err(|error| error.to_string())?;
                keys.extend(parsed.flatten());
            }
        }
        if keys.is_empty() { Err("holds no OpenPGP key".to_owned()) } else { Ok(Keyring { keys }) }
    }

    /// Reads a keyring file.
    pub fn open(path: &Path) -> Result<Keyring, PackagesError> {
        let bytes = fs::read_at_most(path, KEYRING_BYTES_MAX)?;
        Keyring::parse(&bytes).map_err(|problem| PackagesError::Keyring { path: path.to_owned(), problem })
    }

    /// Returns the keys that may sign a source on a mirror: those that the recipe names, else those that
    /// apt's entry of the mirror names, else the distribution's.
    pub(super) fn of(
        request: &Request,
        source: &SourceRequest,
        mirror: &Mirror,
        fetcher: &Fetcher<'_>,
    ) -> Result<Arc<Keyring>, PackagesError> {
        if let Some(path) = &source.signed_by {
            return fetcher.keyring(path);
        }
        if mirror.signed_by.is_empty() {
            return Keyring::of_distribution(request, fetcher);
        }
        let mut keyring = Keyring::default();
        for signed_by in &mirror.signed_by {
            match signed_by {
                SignedBy::Path(path) => keyring.keys.extend(fetcher.keyring(path)?.keys.iter().cloned()),
                SignedBy::Fingerprint(fingerprint) => {
                    let whole = Keyring::of_distribution(request, fetcher)?;
                    let named = whole.keys.iter().filter(|key| has_fingerprint(key, fingerprint));
                    keyring.keys.extend(named.cloned());
                }
                SignedBy::Block(block) => {
                    let path = PathBuf::from("Signed-By in apt's sources");
                    let parsed = Keyring::parse(block.as_bytes());
                    keyring
                        .keys
                        .extend(parsed.map_err(|problem| PackagesError::Keyring { path, problem })?.keys);
                }
            }
        }
        Ok(Arc::new(keyring))
    }

    fn of_distribution(request: &Request, fetcher: &Fetcher<'_>) -> Result<Arc<Keyring>, PackagesError> {
        let distribution = &request.distribution;
        let path = |suffix: &str| {
            fetcher.settings().keyrings.join(format!("{distribution}-archive-keyring.{suffix}"))
        };
        for suffix in ["gpg", "pgp"] {
            match fetcher.keyring(&path(suffix)) {
                Err(PackagesError::File(error)) if error.is_missing() => {}
                result => return result,
            }
        }
        Err(PackagesError::NoKeyring { distribution: distribution.clone(), path: path("gpg") })
    }
}

/// Tells whether a certificate's primary key or one of its subkeys has a fingerprint (upper case).
fn has_fingerprint(key: &SignedPublicKey, fingerprint: &str) -> bool {
    let is_it = |found: &[u8]| hex(found).eq_ignore_ascii_case(fingerprint);
    is_it(key.primary_key.fingerprint().as_bytes())
        || key.public_subkeys.iter().any(|subkey| is_it(subkey.key.fingerprint().as_bytes()))
}

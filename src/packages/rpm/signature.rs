//! OpenPGP signatures beside a file and inside a package, under the same policy as Debian's (`packages/trust.rs`).

use pgp::composed::{Deserializable, DetachedSignature};

use super::super::keyring::Keyring;
use super::super::trust;
use super::error::RpmError;
use super::package::Package;
use super::tags;
use crate::base::base64;

/// Most signatures that are looked at.
const SIGNATURES_MAX: usize = 16;

/// Checks data against signatures, armoured or binary; returns the fingerprint of the first good one's key, or why
/// each was refused.
pub fn verify_detached(
    signatures: &[u8],
    data: &[u8],
    keyring: &Keyring,
    now_seconds: u64,
) -> Result<String, Vec<String>> {
    let unreadable = |error: pgp::errors::Error| vec![error.to_string()];
    let parsed: Vec<_> = match signatures.trim_ascii_start().starts_with(b"-----BEGIN") {
        true => DetachedSignature::from_armor_many(signatures)
            .map_err(unreadable)?
            .0
            .take(SIGNATURES_MAX)
            .collect(),
        false => {
            DetachedSignature::from_bytes_many(signatures).map_err(unreadable)?.take(SIGNATURES_MAX).collect()
        }
    };
    let mut reasons = Vec::new();
    for one in parsed {
        let checked = one.map_err(|error| error.to_string());
        let checked = checked.and_then(|one| trust::verify(&one.signature, data, keyring, now_seconds));
        match checked {
            Ok(signer) => return Ok(signer),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(reasons)
}

/// Checks that a key of the keyring signed a package's main header, which names the payload's digest: so all of it.
/// Returns the key's fingerprint.
pub fn verify_package(
    package: &Package<'_>,
    keyring: &Keyring,
    now_seconds: u64,
) -> Result<String, RpmError> {
    let mut reasons = Vec::new();
    let binary = [tags::SIG_RSA, tags::SIG_DSA].into_iter().filter_map(|tag| package.signatures.binary(tag));
    let texts = package.signatures.texts(tags::SIG_OPENPGP).into_iter();
    let texts = texts.filter_map(base64::decode);
    let all = binary.map(<[u8]>::to_vec).chain(texts).take(SIGNATURES_MAX);
    if package.header.text(tags::PAYLOADDIGEST).is_none() {
        reasons.push(
            "its header does not name the payload's SHA-256, so no signature covers the payload".to_owned(),
        );
        return Err(RpmError::Signature { reasons });
    }
    for signature in all {
        match verify_detached(&signature, package.header.as_bytes(), keyring, now_seconds) {
            Ok(signer) => return Ok(signer),
            Err(more) => reasons.extend(more),
        }
    }
    Err(RpmError::Signature { reasons })
}

//! OpenPGP signatures of a suite's `InRelease`, or of `Release` by `Release.gpg`, with the policy that the library
//! leaves to its users (RFC 9580; cleartext framework: section 7).
//!
//! One good signature suffices, as for apt. A signature is good when
//! - its hash is SHA-256 or better, and it has neither expired nor comes from the future,
//! - a key of the keyring made it: a primary key, or a subkey that the primary key bound and that bound
//!   itself back, with the flag to sign, neither expired nor revoked, of an algorithm and size that hold,
//! - the primary key has not expired, is not revoked, and vouches for itself with a hash that holds.
//!
//! Certifications by others are ignored. A revocation counts whatever its reason.

use std::ops::Deref;

use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SignatureVersion, Subpacket, SubpacketData};
use pgp::types::{KeyDetails, PublicParams, Tag, Timestamp};
use rsa_size::is_large_enough;

use super::date;
use super::keyring::Keyring;
use crate::base::id::hex;

/// How far a signature's time may lie ahead of ours, in seconds: clocks differ.
pub(super) const CLOCK_LEEWAY_SECONDS: u64 = 3600;

/// Most signatures that are looked at; Debian's suites have three.
const SIGNATURES_MAX: usize = 32;

/// Holds a value that was read from text under a good signature, and nothing else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified<T> {
    value: T,
    signer: String,
}

impl<T> Verified<T> {
    /// Returns the fingerprint of the key that signed, in lower-case hexadecimal digits.
    pub fn signer(&self) -> &str {
        &self.signer
    }

    /// Reads something else from the value alone: what comes of it is as good as the value.
    pub(super) fn try_map<U, E>(self, read: impl FnOnce(T) -> Result<U, E>) -> Result<Verified<U>, E> {
        Ok(Verified { value: read(self.value)?, signer: self.signer })
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Says why a signed file is not to be trusted.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum SignatureProblem {
    #[error("it is not one cleartext-signed block and nothing else: {0}")]
    Form(String),
    #[error("its signature can't be read: {0}")]
    Detached(String),
    #[error("none of its signatures is good ({})", reasons.join("; "))]
    NoneGood {
        /// Why each signature was refused.
        reasons: Vec<String>,
    },
}

/// Checks a cleartext-signed text and returns what the signature covers, with `\n` at the line ends. `now`
/// is in seconds since 1970.
pub fn verify_cleartext(
    bytes: &[u8],
    keyring: &Keyring,
    now_seconds: u64,
) -> Result<Verified<String>, SignatureProblem> {
    let (text, armour) = parse(bytes).map_err(SignatureProblem::Form)?;
    let signatures = parse_signatures(armour.as_bytes()).map_err(SignatureProblem::Form)?;
    let signer = one_good(&signatures, text.as_bytes(), keyring, now_seconds)?;
    Ok(Verified { value: text.replace("\r\n", "\n"), signer })
}

/// Checks a text by signatures that lie apart, in ASCII armour or binary, and returns the text. `now` is in
/// seconds since 1970.
pub fn verify_detached(
    bytes: &[u8],
    signatures: &[u8],
    keyring: &Keyring,
    now_seconds: u64,
) -> Result<Verified<String>, SignatureProblem> {
    let failed = |problem: String| SignatureProblem::Detached(problem);
    let text = plain_text(bytes).map_err(SignatureProblem::Form)?;
    let parsed = parse_signatures(signatures).map_err(failed)?;
    let signer = one_good(&parsed, bytes, keyring, now_seconds)?;
    Ok(Verified { value: text.replace("\r\n", "\n"), signer })
}

/// Returns the signer of the first good signature.
fn one_good(
    signatures: &[Signature],
    content: &[u8],
    keyring: &Keyring,
    now: u64,
) -> Result<String, SignatureProblem> {
    if signatures.len() > SIGNATURES_MAX {
        return Err(SignatureProblem::Form(format!("it has more than {SIGNATURES_MAX} signatures")));
    }
    let mut reasons = Vec::new();
    for signature in signatures {
        match verify(signature, content, keyring, now) {
            Ok(signer) => return Ok(signer),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(SignatureProblem::NoneGood { reasons })
}

fn parse_signatures(bytes: &[u8]) -> Result<Vec<Signature>, String> {
    const START: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
    let is_armoured = bytes.trim_ascii_start().starts_with(START);
    let parsed: Vec<_> = match is_armoured {
        true => DetachedSignature::from_armor_many(bytes.trim_ascii_start())
            .map_err(|error| error.to_string())?
            .0
            .take(SIGNATURES_MAX + 1)
            .collect(),
        false => DetachedSignature::from_bytes_many(bytes)
            .map_err(|error| error.to_string())?
            .take(SIGNATURES_MAX + 1)
            .collect(),
    };
    let signatures: Vec<Signature> =
        parsed.into_iter().flatten().map(|detached| detached.signature).collect();
    if signatures.is_empty() { Err("it holds no OpenPGP signature".to_owned()) } else { Ok(signatures) }
}

/// Reads text, without what could hide something from a reader.
fn plain_text(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8 text".to_owned())?;
    if let Some(control) = text.chars().find(|c| c.is_control() && !"\n\r\t".contains(*c)) {
        return Err(format!("it holds the control character {:?}", control));
    }
    match text.replace("\r\n", "\n").contains('\r') {
        true => Err("it holds a carriage return inside a line".to_owned()),
        false => Ok(text),
    }
}

/// Parts the message, after seeing that the file is exactly one block: what stands outside of the armour is
/// anybody's. Returns what is signed, with CR LF at the line ends, and the armoured signatures.
fn parse(bytes: &[u8]) -> Result<(String, &str), String> {
    const START: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
    const MIDDLE: &str = "-----BEGIN PGP SIGNATURE-----";
    const END: &str = "-----END PGP SIGNATURE-----";
    let text = plain_text(bytes)?;
    let armour: Vec<&str> =
        text.lines().map(str::trim_end).filter(|line| line.starts_with("-----")).collect();
    if armour != [START, MIDDLE, END] {
        return Err(format!(
            "expected the lines {START}, {MIDDLE} and {END}, each once, found {}",
            armour.len()
        ));
    }
    let mut lines = text.lines();
    if lines.next().map(str::trim_end) != Some(START) {
        return Err("text stands before the signed block".to_owned());
    }
    if text.trim_end().lines().next_back() != Some(END) {
        return Err("text stands behind the signed block".to_owned());
    }
    if let Some(header) =
        lines.by_ref().take_while(|line| !line.trim_end().is_empty()).find(|line| !is_hash(line))
    {
        return Err(format!("expected the header \"Hash: …\", then an empty line, found {header:?}"));
    }
    let signed =
        lines.take_while(|line| line.trim_end() != MIDDLE).map(unescaped).collect::<Result<Vec<_>, _>>()?;
    let (_, signatures) =
        text.split_once(&format!("\n{MIDDLE}")).ok_or("the signature does not begin a line")?;
    let start = text.len() - signatures.len() - MIDDLE.len();
    Ok((signed.join("\r\n"), &text[start..]))
}

/// Tells whether a line is the only armour header that may stand there (RFC 9580, section 7).
fn is_hash(line: &str) -> bool {
    line.strip_prefix("Hash: ").is_some_and(|names| !names.trim().is_empty())
}

/// Undoes the escape of dashes, and takes white space from the end: it is not signed (RFC 9580, section 7.2).
fn unescaped(line: &str) -> Result<&str, String> {
    match line.strip_prefix("- ") {
        None if line.starts_with('-') => {
            Err(format!("a line that begins with a dash is not escaped: {line:?}"))
        }
        rest => Ok(rest.unwrap_or(line).trim_end_matches([' ', '\t'])),
    }
}

/// Checks one signature; returns the signer's fingerprint, or why it is no good.
pub(super) fn verify(
    signature: &Signature,
    text: &[u8],
    keyring: &Keyring,
    now: u64,
) -> Result<String, String> {
    if !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)) {
        return Err("a signature that is not over a text".to_owned());
    }
    check_signature(signature, now)?;
    let mut reason = format!("signed by {}, which is not in the keyring", issuer(signature));
    for certificate in &keyring.keys {
        for candidate in candidates(certificate, signature) {
            match candidate.verify(certificate, signature, text, now) {
                Ok(()) => return Ok(candidate.fingerprint()),
                Err(problem) => reason = format!("key {}: {problem}", candidate.fingerprint()),
            }
        }
    }
    Err(reason)
}

/// A key that a signature names as its maker.
enum Candidate<'a> {
    Primary(&'a SignedPublicKey),
    Subkey(&'a SignedPublicSubKey),
}

fn candidates<'a>(certificate: &'a SignedPublicKey, signature: &Signature) -> Vec<Candidate<'a>> {
    let is_named = |key: &dyn KeyDetails| {
        let (fingerprint, id) = (key.fingerprint(), key.legacy_key_id());
        let fingerprints = signature.issuer_fingerprint();
        match fingerprints.is_empty() {
            true => signature.issuer_key_id().contains(&&id),
            false => fingerprints.contains(&&fingerprint),
        }
    };
    let primary = is_named(&certificate.primary_key).then_some(Candidate::Primary(certificate));
    let subkeys = certificate.public_subkeys.iter().filter(|subkey| is_named(&subkey.key));
    primary.into_iter().chain(subkeys.map(Candidate::Subkey)).collect()
}

impl Candidate<'_> {
    fn fingerprint(&self) -> String {
        match self {
            Candidate::Primary(certificate) => hex(certificate.primary_key.fingerprint().as_bytes()),
            Candidate::Subkey(subkey) => hex(subkey.key.fingerprint().as_bytes()),
        }
    }

    fn verify(
        &self,
        certificate: &SignedPublicKey,
        signature: &Signature,
        text: &[u8],
        now: u64,
    ) -> Result<(), String> {
        let (created, result) = match self {
            Candidate::Primary(certificate) => {
                check_strength(certificate.primary_key.public_params())?;
                (certificate.primary_key.created_at(), signature.verify(&certificate.primary_key, text))
            }
            Candidate::Subkey(subkey) => {
                check_strength(subkey.key.public_params())?;
                (subkey.key.created_at(), signature.verify(&subkey.key, text))
            }
        };
        result.map_err(|_| "the signature does not fit the text".to_owned())?;
        if signature.created().is_none_or(|signed| signed < created) {
            return Err("the signature is older than its key".to_owned());
        }
        let own = check_primary(certificate, now)?;
        match self {
            Candidate::Primary(_) if may_sign(own) => Ok(()),
            Candidate::Primary(_) => Err("the key may not sign (key flags)".to_owned()),
            Candidate::Subkey(subkey) => check_subkey(certificate, subkey, now),
        }
    }
}

/// Checks what every signature must be: made with a hash that holds, in the past, not expired, without
/// conditions that we don't know.
fn check_signature(signature: &Signature, now: u64) -> Result<(), String> {
    if !matches!(signature.version(), SignatureVersion::V4 | SignatureVersion::V6) {
        return Err(format!("a signature of version {:?}", signature.version()));
    }
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => {}
        Some(hash) => return Err(format!("a signature over the weak hash {hash}")),
        None => return Err("a signature of an unknown kind".to_owned()),
    }
    let config = signature.config().ok_or("a signature of an unknown kind")?;
    if config.hashed_subpackets().any(is_unknown_condition) {
        return Err("a signature with a critical condition that is not known".to_owned());
    }
    let created = signature.created().map(seconds).ok_or("a signature without a date")?;
    if created > now + CLOCK_LEEWAY_SECONDS {
        return Err(format!(
            "a signature made at {}, and it is only {}",
            date::print(created),
            date::print(now)
        ));
    }
    match signature.signature_expiration_time().map(|lifetime| u64::from(lifetime.as_secs())) {
        Some(lifetime) if lifetime != 0 && created + lifetime <= now => {
            Err(format!("a signature that expired at {}", date::print(created + lifetime)))
        }
        _ => Ok(()),
    }
}

fn is_unknown_condition(subpacket: &Subpacket) -> bool {
    let is_unknown = matches!(
        subpacket.data,
        SubpacketData::Other(..) | SubpacketData::Experimental(..) | SubpacketData::Notation(_)
    );
    subpacket.is_critical && is_unknown
}

/// Checks a primary key and returns the newest statement that it makes of itself.
fn check_primary(certificate: &SignedPublicKey, now: u64) -> Result<&Signature, String> {
    let key = &certificate.primary_key;
    let details = &certificate.details;
    check_strength(key.public_params())?;
    if details.revocation_signatures.iter().any(|signature| signature.verify_key(key).is_ok()) {
        return Err("the key is revoked".to_owned());
    }
    let direct = details
        .direct_signatures
        .iter()
        .filter(|signature| signature.typ() == Some(SignatureType::Key) && signature.verify_key(key).is_ok());
    let users = details.users.iter().flat_map(|user| {
        let own = |signature: &&Signature| signature.verify_certification(key, Tag::UserId, &user.id).is_ok();
        let is_revocation = |signature: &&Signature| signature.typ() == Some(SignatureType::CertRevocation);
        let revoked =
            user.signatures.iter().filter(is_revocation).filter(own).filter_map(Signature::created).max();
        let is_standing = move |signature: &&Signature| signature.created() > revoked;
        user.signatures
            .iter()
            .filter(move |signature| !is_revocation(signature))
            .filter(own)
            .filter(is_standing)
    });
    let own = newest(direct.chain(users), now).ok_or("the key does not vouch for itself")?;
    check_lifetime(key.created_at(), own, now)?;
    Ok(own)
}

/// Checks that a subkey belongs to its primary key, both ways, may sign, and is in force.
fn check_subkey(certificate: &SignedPublicKey, subkey: &SignedPublicSubKey, now: u64) -> Result<(), String> {
    let primary = &certificate.primary_key;
    let is_own = |signature: &&Signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok();
    let is_revocation = |signature: &&Signature| signature.typ() == Some(SignatureType::SubkeyRevocation);
    if subkey.signatures.iter().filter(is_revocation).any(|signature| is_own(&signature)) {
        return Err("the subkey is revoked".to_owned());
    }
    let bindings = subkey.signatures.iter().filter(|signature| !is_revocation(signature)).filter(is_own);
    let binding = newest(bindings, now).ok_or("the subkey is not bound to its primary key")?;
    if !binding.key_flags().sign() {
        return Err("the subkey may not sign (key flags)".to_owned());
    }
    let back = binding.embedded_signature().ok_or("the subkey does not bind itself to its primary key")?;
    check_signature(back, now)?;
    back.verify_primary_key_binding(&subkey.key, primary)
        .map_err(|_| "the subkey does not bind itself to its primary key".to_owned())?;
    check_lifetime(subkey.key.created_at(), binding, now)
}

/// Returns the newest signature that is in force.
fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>, now: u64) -> Option<&'a Signature> {
    signatures
        .filter(|signature| check_signature(signature, now).is_ok())
        .max_by_key(|signature| signature.created())
}

fn check_lifetime(created: Timestamp, statement: &Signature, now: u64) -> Result<(), String> {
    let created = seconds(created);
    if created > now + CLOCK_LEEWAY_SECONDS {
        return Err(format!("the key is of {}, and it is only {}", date::print(created), date::print(now)));
    }
    match statement.key_expiration_time().map(|lifetime| u64::from(lifetime.as_secs())) {
        Some(lifetime) if lifetime != 0 && created + lifetime <= now => {
            Err(format!("the key expired at {}", date::print(created + lifetime)))
        }
        _ => Ok(()),
    }
}

/// A key without flags is an old one that may do what its algorithm can.
fn may_sign(own: &Signature) -> bool {
    let mut subpackets = own.config().into_iter().flat_map(|config| config.hashed_subpackets());
    let has_flags = subpackets.any(|subpacket| matches!(subpacket.data, SubpacketData::KeyFlags(_)));
    !has_flags || own.key_flags().sign()
}

fn check_strength(params: &PublicParams) -> Result<(), String> {
    match params {
        PublicParams::RSA(rsa) if is_large_enough(rsa) => Ok(()),
        PublicParams::RSA(_) => Err("an RSA key of fewer than 2048 bits".to_owned()),
        PublicParams::ECDSA(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::Ed448(_) => Ok(()),
        _ => Err("a key of an algorithm that is not accepted".to_owned()),
    }
}

/// The length of an RSA modulus, from the form in which it is written: two bytes that count its bits.
mod rsa_size {
    use pgp::ser::Serialize;

    pub fn is_large_enough(params: &impl Serialize) -> bool {
        let mut bytes = Vec::new();
        params.to_writer(&mut bytes).is_ok()
            && bytes.get(..2).is_some_and(|bits| u16::from_be_bytes([bits[0], bits[1]]) >= 2048)
    }
}

fn seconds(timestamp: Timestamp) -> u64 {
    u64::from(timestamp.as_secs())
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|fingerprint| hex(fingerprint.as_bytes()));
    let id = || signature.issuer_key_id().first().map(|id| hex(id.as_ref()));
    fingerprint.or_else(id).unwrap_or_else(|| "a key that it does not name".to_owned())
}

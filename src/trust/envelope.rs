//! Signed envelopes: DSSE v1 (Dead Simple Signing Envelope), payload and signatures in one file.
//!
//! ```text
//! {"payloadType":TYPE,"payload":BASE64,"signatures":[{"keyid":KEYID,"sig":BASE64}, …]}
//! PAE = "DSSEv1" SP bytes of TYPE SP TYPE SP bytes of PAYLOAD SP PAYLOAD     (what each key signs)
//! ```
//!
//! Lengths are decimal. The key id is that of [`KeyId`]; it only says which key to try. Stricter than DSSE:
//! members that are not above are refused, not overlooked; base64 is the standard one with its padding; a key
//! id stands there once; a signature that names a trusted key and is not of it fails the whole envelope.

use std::collections::BTreeSet;

use super::error::{Result, TrustError};
use super::json::{self, Object};
use super::key::{KeyId, PublicKey};
use super::sign::Signer;
use super::trusted::Trusted;
use crate::base::base64;

/// Largest envelope that is read, unless its document says otherwise.
pub const ENVELOPE_BYTES_MAX: usize = 1 << 20;
/// Signatures that one envelope may hold.
pub const SIGNATURES_MAX: usize = 64;

/// Holds a payload and signatures that nobody has verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<(String, Vec<u8>)>,
}

/// Holds what enough trusted keys have signed. Made by verification only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    signers: Vec<KeyId>,
}

impl<T> Verified<T> {
    /// Returns the trusted keys that signed, each once, in the order of their ids.
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }

    pub fn into_inner(self) -> T {
        self.value
    }

    pub(super) fn map<U>(self, read: impl FnOnce(T) -> Result<U>) -> Result<Verified<U>> {
        Ok(Verified { value: read(self.value)?, signers: self.signers })
    }
}

impl<T> std::ops::Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Returns what the keys sign: the type and the payload, each with its length, so that no two pairs read alike.
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

impl Envelope {
    /// Signs a payload with each signer. Two signers of one key are an error: it would count once.
    pub fn sign(payload_type: &str, payload: &[u8], signers: &[&dyn Signer]) -> Result<Self> {
        let different: BTreeSet<&[u8; 32]> = signers.iter().map(|signer| signer.public().bytes()).collect();
        if different.len() != signers.len() || !(1..=SIGNATURES_MAX).contains(&signers.len()) {
            let problem = format!("it takes 1 to {SIGNATURES_MAX} different keys to sign");
            return Err(TrustError::Envelope { problem });
        }
        let message = pre_authentication_encoding(payload_type, payload);
        let sign = |signer: &&dyn Signer| Ok((signer.public().id().to_string(), signer.sign(&message)?));
        Ok(Envelope {
            payload_type: payload_type.to_owned(),
            payload: payload.to_vec(),
            signatures: signers.iter().map(sign).collect::<Result<_>>()?,
        })
    }

    /// Writes the envelope as one line of JSON.
    pub fn encode(&self) -> Vec<u8> {
        let signatures: Vec<String> = self
            .signatures
            .iter()
            .map(|(id, bytes)| {
                format!("{{\"keyid\":{},\"sig\":\"{}\"}}", json::quoted(id), base64::encode(bytes))
            })
            .collect();
        let line = format!(
            "{{\"payloadType\":{},\"payload\":\"{}\",\"signatures\":[{}]}}\n",
            json::quoted(&self.payload_type),
            base64::encode(&self.payload),
            signatures.join(",")
        );
        line.into_bytes()
    }

    /// Reads an envelope of at most `limit` bytes. Nothing in it is verified, nothing may be believed.
    pub fn parse(bytes: &[u8], limit: usize) -> Result<Self> {
        if bytes.len() > limit {
            return Err(TrustError::TooLarge { what: "the signed envelope", limit });
        }
        read(bytes).map_err(|problem| TrustError::Envelope { problem })
    }

    /// Returns the payload, which nobody has verified: for what is held against digests from elsewhere.
    pub fn unverified(&self) -> &[u8] {
        &self.payload
    }

    /// Reads an envelope of at most [`ENVELOPE_BYTES_MAX`] bytes and returns its payload, if enough trusted keys
    /// signed it as `payload_type`.
    pub fn open(bytes: &[u8], payload_type: &str, trusted: &Trusted) -> Result<Verified<Vec<u8>>> {
        Envelope::parse(bytes, ENVELOPE_BYTES_MAX)?.verify(payload_type, trusted)
    }

    /// Returns the payload, if enough trusted keys signed it as `payload_type`. First the signatures, then the
    /// type: what is said about the type is said about a signed one.
    pub fn verify(self, payload_type: &str, trusted: &Trusted) -> Result<Verified<Vec<u8>>> {
        let signers = self.signers(trusted)?;
        let different: BTreeSet<&[u8; 32]> = signers.iter().map(|key| key.bytes()).collect();
        if different.len() < trusted.threshold() {
            return Err(TrustError::NotSigned {
                threshold: trusted.threshold(),
                valid: different.len(),
                trusted: trusted.keys().map(|key| key.id().to_string()).collect(),
                found: self.signatures.iter().map(|(id, _)| shown(id)).collect(),
            });
        }
        if self.payload_type != payload_type {
            let expected = payload_type.to_owned();
            return Err(TrustError::PayloadType { expected, found: self.payload_type });
        }
        let signers: BTreeSet<KeyId> = signers.iter().map(|key| key.id()).collect();
        Ok(Verified { value: self.payload, signers: signers.into_iter().collect() })
    }

    /// Returns the trusted keys whose signatures stand. Those of others count for nothing.
    fn signers<'a>(&self, trusted: &'a Trusted) -> Result<Vec<&'a PublicKey>> {
        let message = pre_authentication_encoding(&self.payload_type, &self.payload);
        let mut signers = Vec::new();
        for (id, signature) in &self.signatures {
            let Some(key) = id.parse().ok().and_then(|id| trusted.get(&id)) else { continue };
            if !key.verifies(&message, signature) {
                return Err(TrustError::BadSignature { key: key.id() });
            }
            signers.push(key);
        }
        Ok(signers)
    }
}

/// Prints the id of a stranger's key, at most as long as ours are.
fn shown(id: &str) -> String {
    match id.parse::<KeyId>() {
        Ok(id) => id.to_string(),
        Err(()) => format!("{:?}", id.chars().take(64).collect::<String>()),
    }
}

fn read(bytes: &[u8]) -> json::Read<Envelope> {
    let mut members = json::parse(bytes)?.object("the envelope")?;
    let payload_type = members.text("payloadType")?;
    let payload = binary(&mut members, "payload")?;
    let list = members.list("signatures")?;
    members.finish()?;
    if list.len() > SIGNATURES_MAX {
        return Err(format!("it has {} signatures, and {SIGNATURES_MAX} are possible", list.len()));
    }
    let mut signatures = Vec::new();
    let mut seen = BTreeSet::new();
    for signature in list {
        let mut members = signature.object("a signature")?;
        let id = members.text("keyid")?;
        if !seen.insert(id.clone()) {
            return Err(format!("the key {} stands there twice", shown(&id)));
        }
        signatures.push((id, binary(&mut members, "sig")?));
        members.finish()?;
    }
    Ok(Envelope { payload_type, payload, signatures })
}

fn binary(members: &mut Object, name: &str) -> json::Read<Vec<u8>> {
    let text = members.text(name)?;
    let padded = text.len().is_multiple_of(4);
    let bytes = padded.then(|| base64::decode(text.as_bytes())).flatten();
    bytes.ok_or_else(|| format!("{name:?} is no base64 with its padding"))
}

#[cfg(test)]
mod tests;

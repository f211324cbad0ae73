//! The release of a commit: what its image must come out as, signed by who publishes it.
//!
//! ```text
//! {"commit":ID,"root_hash":HASH,"uki":DIGEST,"uki_bytes":N}
//! ```
//!
//! in one line, members in this order, no space anywhere, in an [`Envelope`](super::Envelope) of type
//! [`RELEASE_TYPE`]. A change to any of this is a new type. An image follows from its commit, so that a release says
//! nothing new: it lets a machine find out, before it boots anything, that it would boot something else than the
//! publisher did, because its memory, its disk or its program is faulty.

use super::envelope::Envelope;
use super::error::{Result, TrustError};
use super::json;
use super::sign::Signer;
use super::trusted::Trusted;
use crate::base::id::{hex, unhex};
use crate::base::{CommitId, Digest};

/// Type of the signed document. Changing it is a format break.
pub const RELEASE_TYPE: &str = "application/vnd.mkimage.release.v1+json";
/// Largest release, with its signatures.
pub const RELEASE_BYTES_MAX: usize = 64 << 10;

/// What a slot of a commit must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    pub commit: CommitId,
    /// Of the slot's verity tree.
    pub root_hash: [u8; 32],
    /// BLAKE3 of the kernel image that boots the slot.
    pub uki: Digest,
    pub uki_bytes: u64,
}

impl Release {
    /// Reads the release of a commit from its signed envelope: signatures first, then type, form and commit.
    pub fn accept(envelope: &[u8], trusted: &Trusted, commit: &CommitId) -> Result<Release> {
        let payload = Envelope::open(envelope_within(envelope)?, RELEASE_TYPE, trusted)?.into_inner();
        let release = Release::decode(&payload).map_err(|problem| TrustError::Document { problem })?;
        match release.commit == *commit {
            true => Ok(release),
            false => {
                let problem = format!("it is the release of commit {}", release.commit);
                Err(TrustError::Document { problem })
            }
        }
    }

    /// Signs the release, and returns the envelope that is published.
    pub fn sign(&self, signers: &[&dyn Signer]) -> Result<Vec<u8>> {
        Ok(Envelope::sign(RELEASE_TYPE, self.written().as_bytes(), signers)?.encode())
    }

    fn decode(bytes: &[u8]) -> json::Read<Release> {
        let mut members = json::parse(bytes)?.object("the release")?;
        let root_hash = unhex(&members.text("root_hash")?).and_then(|bytes| bytes.try_into().ok());
        let release = Release {
            commit: members.text("commit")?.parse().map_err(|error| format!("\"commit\": {error}"))?,
            root_hash: root_hash.ok_or("\"root_hash\" is no hash")?,
            uki: members.text("uki")?.parse().map_err(|error| format!("\"uki\": {error}"))?,
            uki_bytes: members.number("uki_bytes")?,
        };
        members.finish()?;
        match release.written().as_bytes() == bytes {
            true => Ok(release),
            false => Err("it is not in its one encoding (order, spaces, escapes)".to_owned()),
        }
    }

    fn written(&self) -> String {
        format!(
            "{{\"commit\":\"{}\",\"root_hash\":\"{}\",\"uki\":\"{}\",\"uki_bytes\":{}}}",
            self.commit,
            hex(&self.root_hash),
            self.uki,
            self.uki_bytes
        )
    }
}

fn envelope_within(bytes: &[u8]) -> Result<&[u8]> {
    match bytes.len() <= RELEASE_BYTES_MAX {
        true => Ok(bytes),
        false => Err(TrustError::TooLarge { what: "the release", limit: RELEASE_BYTES_MAX }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::SecretKey;

    fn release() -> Release {
        let commit = CommitId(Digest::of(b"commit"));
        Release { commit, root_hash: [7; 32], uki: Digest::of(b"uki"), uki_bytes: 9 }
    }

    #[test]
    fn a_release_is_accepted_for_its_commit_and_by_its_signer_only() {
        let key = |seed| SecretKey::from_seed(&[seed; 32], "").expect("a key");
        let (ours, other) = (key(1), key(2));
        let bytes = release().sign(&[&ours]).expect("signed");
        let trusted = Trusted::one(ours.public().clone());
        assert_eq!(Release::accept(&bytes, &trusted, &release().commit).expect("accepted"), release());
        let another = CommitId(Digest::of(b"another"));
        assert!(Release::accept(&bytes, &trusted, &another).is_err());
        let stranger = Trusted::one(other.public().clone());
        assert!(matches!(
            Release::accept(&bytes, &stranger, &release().commit),
            Err(TrustError::NotSigned { .. })
        ));
        assert!(Release::accept(&vec![b'x'; RELEASE_BYTES_MAX + 1], &trusted, &release().commit).is_err());
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            let accepted = Release::accept(&flipped, &trusted, &release().commit);
            assert!(accepted.is_err() || accepted.is_ok_and(|found| found == release()), "byte {at}");
        }
    }

    #[test]
    fn a_release_has_one_encoding() {
        let text = release().written();
        assert_eq!(Release::decode(text.as_bytes()).expect("read"), release());
        for wrong in [
            text.replace(",", ", "),
            text.replace("\"uki_bytes\":9", "\"uki_bytes\":9,\"more\":1"),
            text.replace("0707", "07zz"),
            text.replacen("{", "{\"uki_bytes\":9,", 1),
        ] {
            assert!(Release::decode(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}

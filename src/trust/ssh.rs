//! Public keys and signatures of OpenSSH: RFC 4251 §5 and RFC 8709 (keys), PROTOCOL.sshsig (signatures).
//!
//! A signature is what `ssh-keygen -Y sign -n mkimage` makes of the bytes on its standard input:
//!
//! ```text
//! SSHSIG  u32 1  string KEY  string NAMESPACE  string ""  string "sha512"  string SIGNATURE
//! ```
//!
//! where KEY and SIGNATURE are again strings: `ssh-ed25519` and 32 or 64 bytes. What the key signs is `SSHSIG`,
//! the namespace, an empty string, the name of the hash, and the hash of the message. Only SHA-512, only the
//! namespace of mkimage: a signature made for git or for a login is none here.

use sha2::{Digest as _, Sha512};

use crate::base::base64;

/// Namespace of our signatures: changing it is a format break.
pub const SSH_NAMESPACE: &str = "mkimage";
/// First word of a public key's line, and name of the kind inside its blob.
pub(super) const KEY_WORD: &str = "ssh-ed25519";

const MAGIC: &[u8] = b"SSHSIG";
const VERSION: u32 = 1;
const HASH: &[u8] = b"sha512";
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
/// A signature of this kind has about 180 bytes.
const BLOB_BYTES_MAX: usize = 1024;

/// Holds the parts of a signature that vary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshSignature {
    pub key: [u8; 32],
    pub signature: [u8; 64],
}

impl SshSignature {
    /// Reads the blob of a signature, which must be in the namespace of mkimage.
    pub fn parse(blob: &[u8]) -> Result<Self, &'static str> {
        const SHORT: &str = "the signature ends too early";
        if blob.len() > BLOB_BYTES_MAX {
            return Err("the signature is too long");
        }
        let mut rest = blob.strip_prefix(MAGIC).ok_or("it does not begin with SSHSIG")?;
        let version = rest.split_off(..4).ok_or(SHORT)?;
        if version != VERSION.to_be_bytes() {
            return Err("its version is not 1");
        }
        let key = string(&mut rest).ok_or(SHORT)?;
        let key = public_key(key).ok_or("its key is not of kind ssh-ed25519")?;
        if string(&mut rest).ok_or(SHORT)? != SSH_NAMESPACE.as_bytes() {
            return Err("its namespace is not mkimage");
        }
        if !string(&mut rest).ok_or(SHORT)?.is_empty() {
            return Err("its reserved field is not empty");
        }
        if string(&mut rest).ok_or(SHORT)? != HASH {
            return Err("its hash is not sha512");
        }
        let signature = string(&mut rest).ok_or(SHORT)?;
        let signature = named(signature).ok_or("its signature is not of kind ssh-ed25519")?;
        if !rest.is_empty() {
            return Err("something stands behind it");
        }
        Ok(SshSignature { key, signature })
    }

    /// Reads a signature in the lines that `ssh-keygen` prints, and returns its blob.
    pub fn unarmored(text: &str) -> Result<Vec<u8>, &'static str> {
        let body = text.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
        let body = body.ok_or("it does not stand between the lines of an SSH signature")?;
        let letters: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let blob = base64::decode(&letters).ok_or("its lines are no base64")?;
        SshSignature::parse(&blob).map(|_| blob)
    }

    /// Returns what the key signs for a message.
    pub fn signed_bytes(&self, message: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for part in [SSH_NAMESPACE.as_bytes(), b"", HASH, &Sha512::digest(message)] {
            put(&mut bytes, part);
        }
        bytes
    }
}

/// Reads the blob of a public key.
pub(super) fn public_key(blob: &[u8]) -> Option<[u8; 32]> {
    named(blob)
}

/// Writes the blob of a public key.
pub(super) fn public_blob(key: &[u8; 32]) -> Vec<u8> {
    let mut blob = Vec::new();
    put(&mut blob, KEY_WORD.as_bytes());
    put(&mut blob, key);
    blob
}

/// Reads two strings and nothing else: the name of the kind, and so many bytes.
fn named<const SIZE: usize>(mut bytes: &[u8]) -> Option<[u8; SIZE]> {
    let kind = string(&mut bytes)?;
    let body = string(&mut bytes)?;
    (kind == KEY_WORD.as_bytes() && bytes.is_empty()).then_some(())?;
    body.try_into().ok()
}

/// Takes a string off the front: its length as four bytes, then so many bytes.
fn string<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = bytes.split_off(..4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    bytes.split_off(..usize::try_from(length).ok()?)
}

fn put(bytes: &mut Vec<u8>, string: &[u8]) {
    let length = u32::try_from(string.len()).expect("because we write names, keys and digests");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(string);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob() -> Vec<u8> {
        let mut blob = MAGIC.to_vec();
        blob.extend_from_slice(&VERSION.to_be_bytes());
        put(&mut blob, &public_blob(&[5; 32]));
        for part in [SSH_NAMESPACE.as_bytes(), b"", HASH] {
            put(&mut blob, part);
        }
        let mut signature = Vec::new();
        put(&mut signature, KEY_WORD.as_bytes());
        put(&mut signature, &[6; 64]);
        put(&mut blob, &signature);
        blob
    }

    #[test]
    fn a_signature_is_read_and_no_other_bytes_are_one() {
        let blob = blob();
        assert_eq!(SshSignature::parse(&blob), Ok(SshSignature { key: [5; 32], signature: [6; 64] }));
        for length in 0..blob.len() {
            assert!(SshSignature::parse(&blob[..length]).is_err(), "{length} bytes");
        }
        assert!(SshSignature::parse(&[&blob[..], b"x"].concat()).is_err());
        assert!(SshSignature::parse(&[0; BLOB_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn another_namespace_hash_or_version_is_no_signature_here() {
        let blob = blob();
        let swap = |from: &[u8], to: &[u8]| {
            let at = blob.windows(from.len()).position(|window| window == from).expect("it is there");
            let mut changed = blob.clone();
            changed.splice(at..at + from.len(), to.iter().copied());
            changed
        };
        let changed = [
            swap(b"\0\0\0\x07mkimage", b"\0\0\0\x03git"),
            swap(b"\0\0\0\x06sha512", b"\0\0\0\x06sha256"),
            swap(b"SSHSIG\0\0\0\x01", b"SSHSIG\0\0\0\x02"),
            swap(b"ssh-ed25519", b"ssh-ed25518"),
            swap(b"\0\0\0\x00", b"\0\0\0\x01x"),
            swap(b"\0\0\0\x07mkimage", b"\xff\xff\xff\xffmkimage"),
        ];
        for changed in changed {
            assert!(SshSignature::parse(&changed).is_err());
        }
    }

    #[test]
    fn lines_of_a_signature_give_its_blob() {
        let text = base64::encode(&blob());
        let lines: Vec<&str> =
            text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).expect("text")).collect();
        let armored = format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"));
        assert_eq!(SshSignature::unarmored(&armored), Ok(blob()));
        assert!(SshSignature::unarmored(&armored.replace(END, "")).is_err());
        assert!(SshSignature::unarmored(&text).is_err());
    }
}

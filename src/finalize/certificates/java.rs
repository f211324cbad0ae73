//! The key store in which Java looks for authorities (format JKS, as `sun.security.provider.JavaKeyStore`
//! reads it): numbers are big-endian, texts are UTF-8 with a length of 16 bits.

use sha1::{Digest as _, Sha1};

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
/// An entry that holds a certificate and no key.
const TRUSTED: u32 = 2;
/// Password of the store of every Java; it guards nothing.
const PASSWORD: &str = "changeit";
/// What the format mixes into its checksum.
const SALT: &[u8] = b"Mighty Aphrodite";

/// Writes a store of certificates under their aliases, each dated `epoch` seconds since 1970.
pub(super) fn store(certificates: &[(String, Vec<u8>)], epoch: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(MAGIC.to_be_bytes());
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend((certificates.len() as u32).to_be_bytes());
    for (alias, certificate) in certificates {
        bytes.extend(TRUSTED.to_be_bytes());
        text(alias, &mut bytes);
        bytes.extend(epoch.saturating_mul(1000).to_be_bytes());
        text("X.509", &mut bytes);
        bytes.extend((certificate.len() as u32).to_be_bytes());
        bytes.extend_from_slice(certificate);
    }
    let sum = checksum(&bytes);
    bytes.extend(sum);
    bytes
}

fn text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend((text.len() as u16).to_be_bytes());
    bytes.extend(text.as_bytes());
}

fn checksum(bytes: &[u8]) -> [u8; 20] {
    let mut hasher = Sha1::new();
    for unit in PASSWORD.encode_utf16() {
        hasher.update(unit.to_be_bytes());
    }
    hasher.update(SALT);
    hasher.update(bytes);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_ends_with_its_checksum() {
        let hex = "feedfeed0000000200000000e2686e45fb43dfa4d992dd41ceb6b21c6330d792";
        assert_eq!(crate::base::id::hex(&store(&[], 0)), hex);
    }
}

//! Files that `gzip -9n` has packed: documentation and manual pages of every Debian package. What is in them
//! changes little, what is packed changes from the first change on. So the plain text travels, and is packed
//! again where it arrives, when that gives the same file.

use std::io::Read;

use super::deflate::deflate;

/// No name, no time, best compression, Unix (RFC 1952, section 2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3];
const TRAILER_BYTES: usize = 8;

/// Returns what is in such a file, if it is one and holds no more than `limit` bytes.
pub(super) fn open(bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
    let body = bytes.strip_prefix(&HEADER)?;
    let (body, trailer) = body.split_at_checked(body.len().checked_sub(TRAILER_BYTES)?)?;
    let mut plain = Vec::new();
    let mut decoder = flate2::bufread::DeflateDecoder::new(body);
    decoder.by_ref().take(limit as u64 + 1).read_to_end(&mut plain).ok()?;
    let is_whole = decoder.into_inner().is_empty() && plain.len() <= limit;
    (is_whole && trailer == self::trailer(&plain)).then_some(plain)
}

/// Packs a content as `gzip -9n` does.
pub(super) fn close(plain: &[u8]) -> Vec<u8> {
    [&HEADER[..], &deflate(plain), &trailer(plain)].concat()
}

fn trailer(plain: &[u8]) -> [u8; TRAILER_BYTES] {
    let mut trailer = [0; TRAILER_BYTES];
    trailer[..4].copy_from_slice(&crc32fast::hash(plain).to_le_bytes());
    trailer[4..].copy_from_slice(&(plain.len() as u32).to_le_bytes());
    trailer
}

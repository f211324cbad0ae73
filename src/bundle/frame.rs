//! Plain frames: zstd, or the bytes themselves where they don't compress.

use std::cell::RefCell;

/// Chosen by measurement on the 168 MB of files of a Debian minbase tree, in frames of 1 MiB: level 3 makes 53.5 MB
/// of them, 6 makes 50.6, 9 makes 50.1, 12 makes 49.9, at 77, some 40, 18 to 40 and 12 MB/s a core, and all decode
/// alike. casync, ostree and restic send 61.8 to 63.7 MB of the same tree. Not part of the format.
const LEVEL: i32 = 9;

thread_local! {
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses bytes; what comes back as long as them is them.
pub(super) fn pack(plain: &[u8]) -> Vec<u8> {
    let packed = COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(zstd::bulk::Compressor::new(LEVEL)?),
        };
        compressor.compress(plain)
    });
    match packed {
        Ok(packed) if packed.len() < plain.len() => packed,
        _ => plain.to_vec(),
    }
}

/// Decompresses bytes whose digest is right into exactly `plain` bytes, which the caller has bounded.
pub(super) fn unpack(stored: &[u8], plain: u64) -> Result<Vec<u8>, String> {
    if stored.len() as u64 == plain {
        return Ok(stored.to_vec());
    }
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(zstd::bulk::Decompressor::new().map_err(|error| error.to_string())?),
        };
        match decompressor.decompress(stored, plain as usize) {
            Ok(bytes) if bytes.len() as u64 == plain => Ok(bytes),
            Ok(bytes) => Err(format!("a frame holds {} bytes, expected {plain}", bytes.len())),
            Err(error) => Err(format!("a frame does not decompress: {error}")),
        }
    })
}

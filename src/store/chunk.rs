//! One mebibyte of an object as it lies in a pack: an independent zstd frame, or the plain bytes where they
//! don't compress. Frames depend on nothing before them, so that any can be fetched and read alone.

use std::cell::RefCell;

use crate::base::Digest;
use crate::tree::content::PIECE_BYTES;

/// Plain bytes of every chunk of an object but the last, which holds what is left. Part of the index format.
pub(super) const CHUNK_BYTES: u64 = PIECE_BYTES;

/// Chosen by measurement: on the files of a Debian tree, level 2 takes 12 % more time than 1 for 3 % less
/// space, level 3 takes 47 % more for 6 % less. Not part of any format.
const LEVEL: i32 = 1;

/// Shorter chunks are not tried: a frame's own header would eat what is won.
const COMPRESS_FROM_BYTES: usize = 48;

/// Where a stored chunk lies in its pack and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Position in the object, counted in chunks. Chunks that are all zero are not stored.
    pub number: u32,
    /// Offset in the pack, in bytes.
    pub offset: u64,
    /// Length in the pack, in bytes: 1 to [`CHUNK_BYTES`].
    pub length: u32,
    /// The bytes are plain.
    pub raw: bool,
    /// BLAKE3 of the bytes in the pack: they are checked before the decompressor sees them.
    pub frame: Digest,
}

thread_local! {
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Compresses a chunk and hands the bytes for the pack to `store`, with whether they are plain.
pub(super) fn compress<T>(plain: &[u8], store: impl FnOnce(&[u8], bool) -> T) -> T {
    if plain.len() < COMPRESS_FROM_BYTES {
        return store(plain, true);
    }
    FRAME.with_borrow_mut(|frame| {
        frame.clear();
        // A frame that is not shorter than the plain bytes is of no use: no room for one.
        frame.reserve(plain.len() - 1);
        let limit = frame.capacity().min(plain.len() - 1);
        match compress_into(plain, frame) {
            Ok(length) if length <= limit => store(frame, false),
            _ => store(plain, true),
        }
    })
}

fn compress_into(plain: &[u8], frame: &mut Vec<u8>) -> std::io::Result<usize> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(zstd::bulk::Compressor::new(LEVEL)?),
        };
        compressor.compress_to_buffer(plain, frame)
    })
}

/// Decompresses the bytes of a chunk into exactly `plain`; the frame's digest is checked first. The
/// decompressor writes nowhere but into `plain` and needs no window of its own.
pub(super) fn decompress(chunk: &Chunk, stored: &[u8], plain: &mut [u8]) -> Result<(), String> {
    let found = Digest::of(stored);
    if found != chunk.frame {
        return Err(format!("its frame's digest is {found}, expected {}", chunk.frame));
    }
    if chunk.raw {
        if stored.len() != plain.len() {
            return Err(format!("{} plain bytes, expected {}", stored.len(), plain.len()));
        }
        plain.copy_from_slice(stored);
        return Ok(());
    }
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(zstd::bulk::Decompressor::new().map_err(|error| error.to_string())?),
        };
        match decompressor.decompress_to_buffer(stored, plain) {
            Ok(length) if length == plain.len() => Ok(()),
            Ok(length) => Err(format!("its frame holds {length} bytes, expected {}", plain.len())),
            Err(error) => Err(format!("its frame does not decompress: {error}")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(plain: &[u8]) -> (usize, bool) {
        let (stored, raw) = compress(plain, |stored, raw| (stored.to_vec(), raw));
        let length = stored.len() as u32;
        let chunk = Chunk { number: 0, offset: 0, length, raw, frame: Digest::of(&stored) };
        let mut read = vec![0xaa; plain.len()];
        assert_eq!(decompress(&chunk, &stored, &mut read), Ok(()));
        assert!(read == plain);
        assert!(decompress(&chunk, &stored, &mut vec![0; plain.len() + 1]).is_err());
        assert!(decompress(&chunk, &stored, &mut vec![0; plain.len() - 1]).is_err());
        (stored.len(), raw)
    }

    #[test]
    fn chunks_come_back_and_never_grow() {
        assert_eq!(round_trip(b"x"), (1, true));
        let (length, raw) = round_trip(&vec![7; CHUNK_BYTES as usize]);
        assert!(length < 1000 && !raw);
        let mut noise = vec![0; CHUNK_BYTES as usize];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        assert_eq!(round_trip(&noise), (noise.len(), true));
    }

    #[test]
    fn a_changed_frame_never_reaches_the_decompressor() {
        let (mut stored, raw) = compress(&[1; 5000], |stored, raw| (stored.to_vec(), raw));
        let chunk =
            Chunk { number: 0, offset: 0, length: stored.len() as u32, raw, frame: Digest::of(&stored) };
        for index in 0..stored.len() {
            stored[index] ^= 0x10;
            let problem = decompress(&chunk, &stored, &mut [0; 5000]).expect_err("refused");
            assert!(problem.contains("digest"), "{problem}");
            stored[index] ^= 0x10;
        }
    }
}

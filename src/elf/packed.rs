//! Kernel modules may be compressed: by gzip, xz or Zstandard, told apart by their first bytes.

use std::borrow::Cow;
use std::io::Read;

/// Memory that decompressing one file may take, in bytes.
const DECOMPRESSOR_BYTES_MAX: u64 = 128 << 20;

/// Returns the plain bytes of a file that may be compressed. More than `limit` plain bytes are an error.
pub fn unpack(packed: &[u8], limit: u64) -> std::io::Result<Cow<'_, [u8]>> {
    let mut bytes = Vec::new();
    let length = if packed.starts_with(b"\xfd7zXZ\0") {
        let stream = liblzma::stream::Stream::new_stream_decoder(DECOMPRESSOR_BYTES_MAX, 0)?;
        liblzma::read::XzDecoder::new_stream(packed, stream).take(limit + 1).read_to_end(&mut bytes)?
    } else if packed.starts_with(b"\x28\xb5\x2f\xfd") {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
        decoder.window_log_max(DECOMPRESSOR_BYTES_MAX.ilog2())?;
        decoder.take(limit + 1).read_to_end(&mut bytes)?
    } else if packed.starts_with(b"\x1f\x8b") {
        flate2::read::GzDecoder::new(packed).take(limit + 1).read_to_end(&mut bytes)?
    } else {
        return Ok(Cow::Borrowed(packed));
    };
    if length as u64 > limit {
        return Err(std::io::Error::other(format!("unpacked, it has more than {limit} bytes")));
    }
    Ok(Cow::Owned(bytes))
}

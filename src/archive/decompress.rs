//! Which compression bytes have, by their magic, and what is inside, in bounded memory.

use std::io::{BufRead, BufReader, Cursor, Read};

use liblzma::stream::{CONCATENATED, TELL_UNSUPPORTED_CHECK};

use super::error::{ArchiveError, Place};
use super::header::Header;
use super::limits::Limits;

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
}

/// Bytes that a magic needs at most.
const MAGIC_BYTES: usize = 6;

/// What the xz decoder needs besides its dictionary, in bytes: less than a tenth of this.
const XZ_STATE_BYTES: u64 = 512 << 10;

/// Compressions and archives that people have but that we don't read, by their first bytes.
const FOREIGN: [(&[u8], &str); 7] = [
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"]\0\0", "lzma (without xz's container)"),
    (b"PK\x03\x04", "a zip file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z file"),
    (b"070701", "a cpio archive"),
    (b"!<arch>\n", "an ar archive"),
];

impl Compression {
    /// Tells the compression of bytes from their beginning; what has no known magic is not compressed.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            // A frame, or a frame to be skipped (RFC 8878, 3.1.1 and 3.1.2).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            _ => Compression::None,
        }
    }
}

/// Wraps a reader in what its first bytes ask for. Several gzip members, xz streams or zstd frames behind
/// each other are one content; one that is cut off is an error at its end, of kind `UnexpectedEof` or
/// `InvalidData`. Windows and dictionaries larger than the limits are errors, so memory is bounded.
pub fn decompress<'a>(
    reader: impl Read + Send + 'a,
    limits: &Limits,
) -> Result<(Compression, Box<dyn Read + Send + 'a>), ArchiveError> {
    let mut reader = reader;
    let start = start(&mut reader, MAGIC_BYTES)?;
    let compression = Compression::of(&start);
    if compression == Compression::None
        && let Some((_, found)) = FOREIGN.iter().find(|(magic, _)| start.starts_with(magic))
    {
        return Err(ArchiveError::Compression { found });
    }
    let whole = Cursor::new(start).chain(reader);
    let unpacked: Box<dyn Read + Send + 'a> = match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(Gzip(flate2::bufread::MultiGzDecoder::new(BufReader::new(whole)))),
        Compression::Xz => Box::new(xz(BufReader::with_capacity(64 << 10, whole), limits)?),
        Compression::Zstd => Box::new(zstd(whole, limits)?),
    };
    Ok((compression, unpacked))
}

/// Tells whether bytes are a tar archive, plain or compressed. Looks at the first 512 bytes only; what
/// can't be read as one is none.
pub fn is_archive(reader: impl Read + Send, limits: &Limits) -> bool {
    let Ok((_, mut unpacked)) = decompress(reader, limits) else { return false };
    match start(&mut unpacked, 512) {
        Ok(block) => <[u8; 512]>::try_from(block).is_ok_and(|block| {
            let header = Header::new(block);
            !header.is_zero() && header.check().is_ok()
        }),
        Err(_) => false,
    }
}

/// Reads the first bytes, fewer where there are no more.
fn start(reader: &mut impl Read, length: usize) -> Result<Vec<u8>, ArchiveError> {
    let mut start = Vec::with_capacity(length);
    reader.take(length as u64).read_to_end(&mut start).map_err(failed)?;
    Ok(start)
}

fn failed(source: std::io::Error) -> ArchiveError {
    ArchiveError::Read { place: Place::default(), source }
}

fn xz<'a, R: BufRead + Send + 'a>(reader: R, limits: &Limits) -> Result<impl Read + Send + 'a, ArchiveError> {
    let memory = limits.xz_dictionary_bytes.saturating_add(XZ_STATE_BYTES);
    let stream = liblzma::stream::Stream::new_stream_decoder(memory, CONCATENATED | TELL_UNSUPPORTED_CHECK)
        .map_err(|error| failed(error.into()))?;
    let decoder = liblzma::bufread::XzDecoder::new_stream(reader, stream);
    Ok(Xz { decoder, dictionary_bytes: limits.xz_dictionary_bytes })
}

fn zstd<'a, R: Read + Send + 'a>(reader: R, limits: &Limits) -> Result<impl Read + Send + 'a, ArchiveError> {
    let mut decoder = zstd::stream::read::Decoder::new(reader).map_err(failed)?;
    decoder.window_log_max(limits.zstd_window_log).map_err(failed)?;
    Ok(decoder)
}

/// Says what kind of bytes an error is about.
struct Gzip<R>(flate2::bufread::MultiGzDecoder<R>);

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer).map_err(|error| std::io::Error::new(error.kind(), format!("gzip: {error}")))
    }
}

/// Says what kind of bytes an error is about, and what a refused dictionary would have needed.
struct Xz<R> {
    decoder: liblzma::bufread::XzDecoder<R>,
    dictionary_bytes: u64,
}

impl<R: BufRead> Read for Xz<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.decoder.read(buffer).map_err(|error| {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<liblzma::stream::Error>());
            let text = match cause {
                Some(liblzma::stream::Error::MemLimit) => {
                    format!("xz: needs a dictionary of more than {} bytes", self.dictionary_bytes)
                }
                _ => format!("xz: {error}"),
            };
            std::io::Error::new(error.kind(), text)
        })
    }
}

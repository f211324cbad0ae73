//! Which compression bytes have, by their magic, and what is inside, in bounded memory.

use std::io::{BufRead, BufReader, Cursor, Read};

use liblzma::stream::{CONCATENATED, MtStreamBuilder, TELL_UNSUPPORTED_CHECK};

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
    Bzip2,
    /// The form before xz, without a container.
    Lzma,
}

/// Bytes that a magic needs at most, and the flags of an xz stream behind it.
const MAGIC_BYTES: usize = 8;

/// What the xz decoder needs besides its dictionary, in bytes: less than a tenth of this.
const XZ_STATE_BYTES: u64 = 512 << 10;

/// Integrity checks that every liblzma knows: none, CRC32, CRC64, SHA-256.
const XZ_CHECKS: [u8; 4] = [0, 1, 4, 10];

/// Archives that people have but that we don't read, by their first bytes.
const FOREIGN: [(&[u8], &str); 5] = [
    (b"\x04\x22\x4d\x18", "lz4"),
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
            [b'B', b'Z', b'h', ..] => Compression::Bzip2,
            // The properties that every writer uses, and a dictionary of whole 64 KiB.
            [b']', 0, 0, ..] => Compression::Lzma,
            _ => Compression::None,
        }
    }

    /// Names the compression for people.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "not compressed",
            Compression::Gzip => "gzip",
            Compression::Xz => "xz",
            Compression::Zstd => "zstd",
            Compression::Bzip2 => "bzip2",
            Compression::Lzma => "lzma (without xz's container)",
        }
    }
}

/// Wraps a reader in what its first bytes ask for. Several gzip members, xz streams or zstd frames behind
/// each other are one content; one that is cut off is an error at its end, of kind `UnexpectedEof` or
/// `InvalidData`. Windows and dictionaries larger than the limits are errors, so memory is bounded. bzip2 and
/// bare lzma are refused: only [`decompress_as`] reads them.
pub fn decompress<'a>(
    reader: impl Read + Send + 'a,
    limits: &Limits,
) -> Result<(Compression, Box<dyn Read + Send + 'a>), ArchiveError> {
    let mut reader = reader;
    let start = start(&mut reader, MAGIC_BYTES)?;
    let compression = Compression::of(&start);
    let foreign = match compression {
        Compression::Bzip2 | Compression::Lzma => Some(compression.name()),
        Compression::None => FOREIGN.iter().find(|(magic, _)| start.starts_with(magic)).map(|found| found.1),
        _ => None,
    };
    match foreign {
        Some(found) => Err(ArchiveError::Compression { found }),
        None => Ok((compression, unpacked(start, reader, compression, limits)?)),
    }
}

/// Wraps a reader in the decompression that someone says it needs. Bytes that begin otherwise are refused.
pub fn decompress_as<'a>(
    compression: Compression,
    reader: impl Read + Send + 'a,
    limits: &Limits,
) -> Result<Box<dyn Read + Send + 'a>, ArchiveError> {
    let mut reader = reader;
    let start = start(&mut reader, MAGIC_BYTES)?;
    match Compression::of(&start) {
        found if found == compression => unpacked(start, reader, compression, limits),
        found => {
            let problem = format!("expected {}, found {}", compression.name(), found.name());
            Err(Place::default().malformed(problem))
        }
    }
}

fn unpacked<'a>(
    start: Vec<u8>,
    rest: impl Read + Send + 'a,
    compression: Compression,
    limits: &Limits,
) -> Result<Box<dyn Read + Send + 'a>, ArchiveError> {
    let check = start.get(7).copied();
    let whole = BufReader::with_capacity(64 << 10, Cursor::new(start).chain(rest));
    Ok(match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => {
            Box::new(Named { kind: "gzip", inner: flate2::bufread::MultiGzDecoder::new(whole) })
        }
        Compression::Xz if limits.xz_threads > 1 && check.is_some_and(|check| XZ_CHECKS.contains(&check)) => {
            Box::new(ThreadedXz::new(whole, limits)?)
        }
        Compression::Xz => Box::new(xz(whole, limits)?),
        Compression::Zstd => Box::new(zstd(whole, limits)?),
        Compression::Bzip2 => {
            Box::new(Named { kind: "bzip2", inner: bzip2::bufread::MultiBzDecoder::new(whole) })
        }
        Compression::Lzma => Box::new(lzma(whole, limits)?),
    })
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

fn memory(limits: &Limits) -> u64 {
    limits.xz_dictionary_bytes.saturating_add(XZ_STATE_BYTES)
}

fn xz<R: BufRead>(reader: R, limits: &Limits) -> Result<Xz<R>, ArchiveError> {
    let flags = CONCATENATED | TELL_UNSUPPORTED_CHECK;
    let stream = liblzma::stream::Stream::new_stream_decoder(memory(limits), flags)
        .map_err(|error| failed(error.into()))?;
    let decoder = liblzma::bufread::XzDecoder::new_stream(reader, stream);
    Ok(Xz { kind: "xz", decoder, dictionary_bytes: limits.xz_dictionary_bytes })
}

fn lzma<R: BufRead>(reader: R, limits: &Limits) -> Result<Whole<Xz<R>>, ArchiveError> {
    let stream = liblzma::stream::Stream::new_lzma_decoder(memory(limits));
    let stream = stream.map_err(|error| failed(error.into()))?;
    let decoder = liblzma::bufread::XzDecoder::new_stream(reader, stream);
    Ok(Whole(Xz { kind: "lzma", decoder, dictionary_bytes: limits.xz_dictionary_bytes }))
}

fn zstd<'a, R: BufRead + Send + 'a>(
    reader: R,
    limits: &Limits,
) -> Result<impl Read + Send + 'a, ArchiveError> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(reader).map_err(failed)?;
    decoder.window_log_max(limits.zstd_window_log).map_err(failed)?;
    Ok(decoder)
}

/// Says what kind of bytes an error is about.
struct Named<R> {
    kind: &'static str,
    inner: R,
}

impl<R: Read> Read for Named<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let kind = self.kind;
        self.inner.read(buffer).map_err(|error| std::io::Error::new(error.kind(), format!("{kind}: {error}")))
    }
}

/// Says what kind of bytes an error is about, and what a refused dictionary would have needed.
struct Xz<R> {
    kind: &'static str,
    decoder: liblzma::bufread::XzDecoder<R>,
    dictionary_bytes: u64,
}

impl<R: BufRead> Read for Xz<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let kind = self.kind;
        self.decoder.read(buffer).map_err(|error| {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<liblzma::stream::Error>());
            let text = match cause {
                Some(liblzma::stream::Error::MemLimit) => {
                    format!("{kind}: needs a dictionary of more than {} bytes", self.dictionary_bytes)
                }
                _ => format!("{kind}: {error}"),
            };
            std::io::Error::new(error.kind(), text)
        })
    }
}

/// A stream behind whose end nothing may come.
struct Whole<R>(R);

impl<R: BufRead> Read for Whole<Xz<R>> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(buffer)?;
        if read == 0 && !buffer.is_empty() && !self.0.decoder.get_mut().fill_buf()?.is_empty() {
            return Err(invalid("lzma: bytes behind the end"));
        }
        Ok(read)
    }
}

/// An xz stream whose blocks are decoded side by side, by threads of liblzma's own, where their headers say
/// how long they are. What follows the first stream is read as without threads, so that the same bytes are
/// accepted, and give the same, whatever the number of threads.
struct ThreadedXz<R> {
    state: Threaded<R>,
    limits: Limits,
}

enum Threaded<R> {
    First(Xz<R>),
    Rest(Xz<R>),
    Ended,
}

impl<R: BufRead> ThreadedXz<R> {
    fn new(reader: R, limits: &Limits) -> Result<Self, ArchiveError> {
        let mut builder = MtStreamBuilder::new();
        builder.threads(limits.xz_threads).memlimit_threading(limits.xz_threads_bytes);
        builder.memlimit_stop(memory(limits));
        let stream = builder.decoder().map_err(|error| failed(error.into()))?;
        let decoder = liblzma::bufread::XzDecoder::new_stream(reader, stream);
        let first = Xz { kind: "xz", decoder, dictionary_bytes: limits.xz_dictionary_bytes };
        Ok(ThreadedXz { state: Threaded::First(first), limits: limits.clone() })
    }

    /// Passes over the padding behind the first stream, and begins another where there is one.
    fn rest(&mut self, mut reader: R) -> std::io::Result<()> {
        let mut padding = 0;
        let another = loop {
            let bytes = reader.fill_buf()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let is_end = bytes.is_empty();
            let more = zeros < bytes.len();
            padding += zeros;
            reader.consume(zeros);
            if is_end || more {
                break more;
            }
        };
        if padding % 4 != 0 {
            return Err(invalid("xz: padding of a stream that is not a multiple of four bytes"));
        }
        if another {
            self.state = Threaded::Rest(xz(reader, &self.limits).map_err(std::io::Error::other)?);
        }
        Ok(())
    }
}

impl<R: BufRead> Read for ThreadedXz<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.state {
            Threaded::Ended => return Ok(0),
            Threaded::Rest(rest) => return rest.read(buffer),
            Threaded::First(first) => match first.read(buffer)? {
                0 if !buffer.is_empty() => {}
                read => return Ok(read),
            },
        }
        let Threaded::First(first) = std::mem::replace(&mut self.state, Threaded::Ended) else {
            return Ok(0);
        };
        self.rest(first.decoder.into_inner())?;
        self.read(buffer)
    }
}

fn invalid(problem: &'static str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, problem)
}

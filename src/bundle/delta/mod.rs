//! Deltas: new content told by what it was made from.
//!
//! A stream makes a few objects, one after the other, each from an old one:
//!
//! 1. The sender lays the new content on the old one ([`align`]) and sends the pieces, so that both know which
//!    part of the old content lies where in the new one.
//! 2. From the old content alone both find the addresses in programs ([`address`]), and foretell what each of
//!    them must be now: a function that grew moves all behind it, and changes every call to that; of all this
//!    only the pieces travel.
//! 3. Where `gzip -9n` packed a file, this is done with what is in it ([`gzip`]).
//! 4. Each byte is then told by a model ([`model`], [`mixer`]): first whether it is the foretold one, then,
//!    where it isn't, which. The bits go through an arithmetic coder ([`coder`]).
//!
//! Integers only, no clock, no threads: every machine decodes the same. All of it is part of the format.

mod address;
mod align;
mod coder;
mod deflate;
mod gzip;
mod huffman;
mod mixer;
mod model;
mod stream;
mod suffix;

use std::borrow::Cow;

use align::Piece;
use coder::{Reader, Writer};
use stream::{Source, Stream};

/// How new content lies on old content.
#[derive(Default)]
pub(super) struct Alignment {
    pieces: Vec<Piece>,
    shifts: Vec<i64>,
    /// The new content is packed: what is in it is laid on what is in the old one.
    packed: bool,
}

/// Longest content of a packed file that is unpacked, in bytes. Part of the format: a packed base that holds
/// more is taken as it is.
const PACKED_BYTES_MAX: usize = 32 << 20;
/// Most bytes that a stream makes before they are packed.
const STREAM_BYTES_MAX: usize = 128 << 20;

fn opened(bytes: &[u8]) -> Cow<'_, [u8]> {
    gzip::open(bytes, PACKED_BYTES_MAX).map_or(Cow::Borrowed(bytes), Cow::Owned)
}

impl Alignment {
    /// Compares two contents. Takes some microseconds a kilobyte, and memory for 16 times the old one.
    pub fn of(old: &[u8], new: &[u8]) -> Self {
        let open = gzip::open(new, PACKED_BYTES_MAX).filter(|plain| gzip::close(plain) == new);
        match open {
            Some(plain) => {
                Alignment { pieces: align::align(&opened(old), &plain), shifts: Vec::new(), packed: true }
            }
            None => {
                let (pieces, shifts) = (align::align(old, new), address::shifts(old, new));
                Alignment { pieces, shifts, packed: false }
            }
        }
    }

    /// Returns how many bytes lie on some of the old content.
    pub fn covered(&self) -> usize {
        self.pieces.iter().map(|piece| piece.length).sum()
    }
}

/// Writes a stream of deltas.
pub(super) struct Encoder {
    writer: Writer,
    stream: Stream,
}

impl Encoder {
    pub fn new() -> Self {
        Encoder { writer: Writer::new(), stream: Stream::new() }
    }

    /// Adds an object. The alignment must be that of these contents, or empty.
    pub fn object(&mut self, old: &[u8], new: &[u8], alignment: &Alignment) {
        let (old, new) = match alignment.packed {
            true => (opened(old), opened(new)),
            false => (Cow::Borrowed(old), Cow::Borrowed(new)),
        };
        let source = Source { new: &new, pieces: &alignment.pieces, shifts: &alignment.shifts };
        self.stream.form(&mut self.writer, alignment.packed.then_some(new.len()));
        let made = self.stream.object(&mut self.writer, &old, new.len(), Some(&source));
        debug_assert!(made.is_ok(), "what is written is inside by its making");
    }

    pub fn finish(self) -> Vec<u8> {
        self.writer.finish()
    }
}

/// Reads a stream of deltas. Total: any bytes give some content or an error, in time and memory that the sizes
/// bound.
pub(super) struct Decoder<'a> {
    reader: Reader<'a>,
    stream: Stream,
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Decoder { reader: Reader::new(bytes), stream: Stream::new() }
    }

    /// Makes the next object from its base; its size is known from the table.
    pub fn object(&mut self, old: &[u8], size: usize) -> Result<Vec<u8>, String> {
        let packed = self.stream.form(&mut self.reader, None);
        let plain = packed.unwrap_or(size);
        let room = STREAM_BYTES_MAX.saturating_sub(self.stream.made());
        if plain > room || packed.is_some_and(|plain| plain > PACKED_BYTES_MAX) {
            return Err(format!("{plain} bytes, where {room} are possible"));
        }
        if packed.is_none() {
            return self.stream.object(&mut self.reader, old, size, None);
        }
        let made = gzip::close(&self.stream.object(&mut self.reader, &opened(old), plain, None)?);
        if made.len() == size {
            Ok(made)
        } else {
            Err(format!("{} packed bytes, expected {size}", made.len()))
        }
    }
}

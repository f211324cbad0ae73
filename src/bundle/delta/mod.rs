//! Deltas: new content told by what it was made from.
//!
//! A stream makes a few objects, one after the other, each from an old one:
//!
//! 1. The sender lays the new content on the old one ([`align`]) and sends the pieces, so that both know which
//!    part of the old content lies where in the new one.
//! 2. From the old content alone both find the addresses in programs ([`address`]), and foretell what each of
//!    them must be now: a function that grew moves all behind it, and changes every call to that; of all this
//!    only the pieces travel.
//! 3. Each byte is then told by a model ([`model`], [`mixer`]): first whether it is the foretold one, then,
//!    where it isn't, which. The bits go through an arithmetic coder ([`coder`]).
//!
//! Integers only, no clock, no threads: every machine decodes the same. All of it is part of the format.

mod address;
mod align;
mod coder;
mod mixer;
mod model;
mod stream;
mod suffix;

use align::Piece;
use coder::{Reader, Writer};
use stream::{Source, Stream};

/// How new content lies on old content.
#[derive(Default)]
pub(super) struct Alignment {
    pieces: Vec<Piece>,
    shifts: Vec<i64>,
}

impl Alignment {
    /// Compares two contents. Takes some microseconds a kilobyte, and memory for 16 times the old one.
    pub fn of(old: &[u8], new: &[u8]) -> Self {
        Alignment { pieces: align::align(old, new), shifts: address::shifts(old, new) }
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
        let source = Source { new, pieces: &alignment.pieces, shifts: &alignment.shifts };
        let made = self.stream.object(&mut self.writer, old, new.len(), Some(&source));
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
        self.stream.object(&mut self.reader, old, size, None)
    }
}

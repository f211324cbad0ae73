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
//!
//! # Why not what there is
//!
//! Measured on files of Debian 12 between two versions of their package, in bytes:
//!
//! | file | size | zstd -19 --patch-from | xdelta3 -9 -S lzma | bsdiff | this |
//! |---|---|---|---|---|---|
//! | libcrypto.so.3 (3.0.20 to 3.0.22) | 4 742 424 | 420 936 | 592 958 | 204 087 | 82 010 |
//! | libssl.so.3 | 688 160 | 52 262 | 81 068 | 28 004 | 7 900 |
//! | perl (one fix) | 3 808 560 | 119 113 | 152 421 | 73 486 | 42 007 |
//! | libsystemd.so.0 (252.38 to 252.39) | 844 736 | 34 825 | 57 339 | 15 718 | 1 027 |
//! | libc.so.6 (deb12u7 to u14) | 1 926 232 | 111 455 | 169 546 | 54 976 | 14 896 |
//! | libm.so.6 | 911 904 | 54 514 | 84 254 | 23 292 | 4 833 |
//!
//! Whole packages against `ostree static-delta generate`, which has bsdiff and LZMA: libssl3 95 056 of 486 984
//! (half of ostree's is a changelog that gzip packed), libsystemd0 1 411 of 49 452, libc6 49 789 of 329 896,
//! tzdata 8 752 of 197 128, apt 4 658 of 630 696. General compressors with a dictionary can't help themselves
//! where every call differs; the differences of bsdiff compress well, but each changed address is told.
//!
//! Cost on one core: aligning 4 MB/s (the suffix array), telling 5 to 9 MB/s of the new content in both
//! directions. So deltas are for what changed; a first pull is zstd.

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

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write as _};

    use super::*;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn encode(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut encoder = Encoder::new();
        for (old, new) in pairs {
            encoder.object(old, new, &Alignment::of(old, new));
        }
        encoder.finish()
    }

    fn gzip(plain: &[u8], arguments: &[&str]) -> Vec<u8> {
        let mut input = tempfile::tempfile().expect("a file");
        input.write_all(plain).expect("written");
        input.rewind().expect("rewound");
        let output = std::process::Command::new("gzip").args(arguments).stdin(input).output();
        let output = output.expect("gzip runs");
        assert!(output.status.success());
        output.stdout
    }

    /// Two programs of the system that have much in common.
    fn programs() -> [Vec<u8>; 2] {
        ["/bin/true", "/bin/false"].map(|path| std::fs::read(path).expect("a program"))
    }

    fn pairs() -> Vec<(Vec<u8>, Vec<u8>)> {
        let [yes, no] = programs();
        let text: Vec<u8> =
            (0..3000).flat_map(|n: u32| format!("line {} of many\n", n * n % 77).into_bytes()).collect();
        let other = [&text[..5000], b"a new line\n", &text[5000..]].concat();
        let inserted = [&noise(1, 3000)[..], b"x", &noise(1, 9000)[3000..]].concat();
        vec![
            (yes, no),
            (gzip(&text, &["-9nc"]), gzip(&other, &["-9nc"])),
            (text.clone(), gzip(&other, &["-9nc"])),
            (gzip(&text, &["-9nc"]), gzip(&other, &["-1nc"])),
            (noise(1, 9000), inserted),
            (Vec::new(), text),
            (noise(2, 100), Vec::new()),
            (noise(3, 500), b"short".to_vec()),
            (vec![0; 20_000], vec![0; 30_000]),
        ]
    }

    #[test]
    fn objects_come_back_one_after_the_other() {
        let pairs = pairs();
        let bytes = encode(&pairs);
        let mut decoder = Decoder::new(&bytes);
        for (old, new) in &pairs {
            assert!(decoder.object(old, new.len()).as_ref() == Ok(new));
        }
        for (old, new) in pairs[..3].iter().chain(&pairs[4..5]) {
            let bytes = encode(&[(old.clone(), new.clone())]);
            assert!(bytes.len() < new.len() / 2, "{} bytes for {}", bytes.len(), new.len());
        }
        assert!(encode(&pairs[1..2]).len() < 60, "a packed text of which one line is new");
    }

    #[test]
    fn what_gzip_packs_is_packed_again_to_the_same_bytes() {
        let mixed =
            [noise(1, 70_000), b"again and again ".repeat(9000), noise(2, 300), vec![0; 100_000]].concat();
        let text: Vec<u8> =
            (0..60_000u32).flat_map(|n| format!("{:x} ", n.wrapping_mul(n) % 7919).into_bytes()).collect();
        for plain in [b"".to_vec(), b"a".to_vec(), b"abcabcabcabc".to_vec(), mixed, text] {
            let packed = gzip(&plain, &["-9nc"]);
            assert_eq!(gzip::open(&packed, plain.len()).as_ref(), Some(&plain));
            assert_eq!(
                gzip::open(&packed, plain.len().wrapping_sub(1).min(plain.len())).is_some(),
                plain.is_empty()
            );
            assert!(gzip::close(&plain) == packed, "{} bytes", plain.len());
            assert!(gzip::open(&[&packed[..], b"x"].concat(), 1 << 20).is_none());
        }
    }

    #[test]
    fn any_bytes_end_in_some_content_or_an_error() {
        let pairs = pairs();
        let sound = encode(&pairs);
        for round in 0..300u64 {
            let mut bytes = sound.clone();
            let noise = noise(round, 16);
            let at = usize::from(noise[0]) * usize::from(noise[1]) % bytes.len();
            match round % 3 {
                0 => bytes[at] ^= noise[2],
                1 => bytes.truncate(at),
                _ => bytes = [&noise[..], &bytes[at..]].concat(),
            }
            let mut decoder = Decoder::new(&bytes);
            for (old, new) in &pairs[..5] {
                match decoder.object(old, new.len()) {
                    Ok(made) => assert_eq!(made.len(), new.len()),
                    Err(_) => break,
                }
            }
        }
    }

    #[test]
    fn a_stream_that_asks_for_too_much_is_refused() {
        let zeros = vec![0; PACKED_BYTES_MAX + 1];
        let mut writer = Writer::new();
        let mut stream = Stream::new();
        stream.form(&mut writer, Some(zeros.len()));
        let bytes = writer.finish();
        assert!(Decoder::new(&bytes).object(&[], 100).is_err());
    }
}

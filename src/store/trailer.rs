//! The trailer of a pack: where its objects begin and end, so that a pack whose index is lost can be read.
//!
//! ```text
//! trailer = entry*   check[32]   length u64   "MKITAIL" 01         at the very end of the pack
//! entry   = kind u8 (1 blob, 2 tree, 3 commit)   size n   chunks n, (number n, length n, gap n)*
//! n       = unsigned LEB128, shortest form, at most 64 bits
//! ```
//!
//! Entries are sorted by the offset of their first chunk. `number` counts on from the chunk before it (0: the
//! next), `length` is twice the bytes in the pack, plus one where they are plain. `gap` is the distance from
//! the end of the object's chunk before; of a first chunk, from the first offset of the entry before that has
//! one. `length` of the trailer counts the entries; `check` is BLAKE3 over them in derive-key mode, context
//! `mkimage 2026 pack trailer v1`.
//!
//! It holds no digest: ids and frames are hashed anew from the bytes that it delimits, and when the index
//! that this gives has the pack's name as its digest, every byte is as it was. So it costs ten bytes an
//! object where an index takes 122. Packs without one can be read all the same.

use std::sync::Arc;

use super::chunk::{CHUNK_BYTES, Chunk};
use super::encode::{Decoded, Decoder, Malformed};
use super::error::Kind;
use super::record::Record;
use crate::base::Digest;

const MAGIC: &[u8; 8] = b"MKITAIL\x01";
const CONTEXT: &str = "mkimage 2026 pack trailer v1";
/// Bytes of check, length and magic.
pub(super) const FOOT_BYTES: u64 = 32 + 8 + 8;

/// An object as a trailer delimits it: its id and its frames' digests are not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub kind: Kind,
    pub size: u64,
    /// Their frames' digests are zero.
    pub chunks: Vec<Chunk>,
}

/// Writes the trailer of a pack that holds these objects; nothing where the chunks of one lie out of order.
pub(super) fn build(objects: &[(Digest, Arc<Record>)]) -> Vec<u8> {
    let first = |record: &Record| record.chunks.first().map_or(0, |chunk| chunk.offset);
    let mut records: Vec<(u64, &Digest, &Record)> =
        objects.iter().map(|(id, record)| (first(record), id, &**record)).collect();
    records.sort_unstable_by_key(|(offset, id, _)| (*offset, **id));
    let mut builder = Builder::default();
    records.iter().for_each(|(_, _, record)| builder.push(record));
    builder.finish()
}

/// A trailer in the making.
#[derive(Default)]
pub(super) struct Builder {
    bytes: Vec<u8>,
    /// Offset of the first chunk of the last object that has one.
    start: u64,
    out_of_order: bool,
}

impl Builder {
    /// Adds an object; those with chunks come in the order in which they lie.
    pub fn push(&mut self, record: &Record) {
        self.out_of_order |= !encode(&mut self.bytes, self.start, record);
        self.start = record.chunks.first().map_or(self.start, |chunk| chunk.offset);
    }

    /// Ends the trailer; empty where chunks came out of order.
    pub fn finish(mut self) -> Vec<u8> {
        if self.out_of_order {
            return Vec::new();
        }
        let length = self.bytes.len() as u64;
        let check = Digest::derive(CONTEXT, &self.bytes);
        self.bytes.extend_from_slice(check.as_bytes());
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(MAGIC);
        self.bytes
    }
}

/// Writes an entry; returns false where its chunks lie out of order.
fn encode(bytes: &mut Vec<u8>, start: u64, record: &Record) -> bool {
    bytes.push(record.kind as u8);
    put(bytes, record.size);
    put(bytes, record.chunks.len() as u64);
    let (mut end, mut next) = (start, 0);
    for chunk in &record.chunks {
        let Some(gap) = chunk.offset.checked_sub(end) else { return false };
        put(bytes, u64::from(chunk.number) - next);
        put(bytes, u64::from(chunk.length) * 2 + u64::from(chunk.raw));
        put(bytes, gap);
        (end, next) = (chunk.offset + u64::from(chunk.length), u64::from(chunk.number) + 1);
    }
    true
}

/// Reads the last [`FOOT_BYTES`] of a pack: the length of the entries before them and their check; `None`
/// where they are no foot of a trailer.
pub(super) fn foot(bytes: &[u8]) -> Option<(u64, Digest)> {
    let (check, rest) = bytes.split_first_chunk::<32>()?;
    let (length, magic) = rest.split_first_chunk::<8>()?;
    (magic == MAGIC).then_some((u64::from_le_bytes(*length), Digest(*check)))
}

/// Tells whether these are the entries that a foot speaks of.
pub(super) fn fits(entries: &[u8], check: &Digest) -> bool {
    Digest::derive(CONTEXT, entries) == *check
}

/// Reads the entries of a pack whose frames end at `frames_end`. Memory grows with the bytes that are there.
pub(super) fn decode(bytes: &[u8], frames_end: u64) -> Result<Vec<Entry>, Malformed> {
    let mut input = Decoder::without_magic(bytes);
    let mut entries = Vec::new();
    let mut start = 0;
    while !input.is_at_end() {
        let kind = match input.u8()? {
            1 => Kind::Blob,
            2 => Kind::Tree,
            3 => Kind::Commit,
            other => return input.fail(format!("unknown kind of object {other}")),
        };
        let size = number(&mut input)?;
        if size > CHUNK_BYTES << 32 {
            return input.fail(format!("an object of {size} bytes is too large"));
        }
        let chunks = chunks(&mut input, size, start, frames_end)?;
        start = chunks.first().map_or(start, |chunk| chunk.offset);
        entries.push(Entry { kind, size, chunks });
    }
    Ok(entries)
}

fn chunks(input: &mut Decoder<'_>, size: u64, start: u64, frames_end: u64) -> Decoded<Vec<Chunk>> {
    let (mut end, mut next) = (start, 0);
    let mut chunks = Vec::new();
    for _ in 0..number(input)? {
        let (step, length, gap) = (number(input)?, number(input)?, number(input)?);
        let (length, raw) = (length / 2, length % 2 == 1);
        let number = u64::checked_add(next, step).filter(|number| *number < size.div_ceil(CHUNK_BYTES));
        let Some(number) = number else { return input.fail("a chunk behind the end of its object") };
        let plain = CHUNK_BYTES.min(size - number * CHUNK_BYTES);
        let offset = u64::checked_add(end, gap);
        let behind = offset.and_then(|offset| offset.checked_add(length)).filter(|end| *end <= frames_end);
        let (Some(offset), Some(behind)) = (offset, behind) else {
            return input.fail(format!("{length} bytes outside of {frames_end}"));
        };
        if length == 0 || length > plain {
            return input.fail(format!("a frame of {length} bytes for {plain} plain ones"));
        }
        let number = u32::try_from(number).expect("because the size bounds it");
        chunks.push(Chunk { number, offset, length: length as u32, raw, frame: Digest([0; 32]) });
        (end, next) = (behind, u64::from(number) + 1);
    }
    Ok(chunks)
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn number(input: &mut Decoder<'_>) -> Decoded<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = input.u8()?;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part || (byte == 0 && shift > 0) {
            return input.fail("a number that is too large, or not in its shortest form");
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    input.fail("a number without end")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: Kind, size: u64, chunks: &[(u32, u64, u32, bool)]) -> Arc<Record> {
        let chunk = |&(number, offset, length, raw): &(u32, u64, u32, bool)| Chunk {
            number,
            offset,
            length,
            raw,
            frame: Digest([0; 32]),
        };
        Arc::new(Record { kind, size, chunks: chunks.iter().map(chunk).collect(), map: None })
    }

    fn sample() -> Vec<(Digest, Arc<Record>)> {
        let mib = CHUNK_BYTES;
        [
            record(Kind::Commit, 300, &[(0, 900, 120, false)]),
            record(Kind::Blob, 3 * mib, &[(0, 8, 300, false), (2, 500, 400, false)]),
            record(Kind::Tree, 100, &[(0, 308, 100, true)]),
            record(Kind::Blob, 5 << 40, &[]),
            record(Kind::Blob, 0, &[]),
        ]
        .into_iter()
        .enumerate()
        .map(|(index, record)| (Digest::of(&[index as u8]), record))
        .collect()
    }

    #[test]
    fn what_was_written_comes_back_in_the_order_of_the_pack() {
        let bytes = build(&sample());
        let body = bytes.len() - FOOT_BYTES as usize;
        let (length, check) = foot(&bytes[body..]).expect("a foot");
        assert_eq!(length, body as u64);
        assert!(fits(&bytes[..body], &check));
        let entries = decode(&bytes[..body], 1020).expect("decoded");
        let firsts: Vec<_> = entries.iter().map(|entry| entry.chunks.first().map(|c| c.offset)).collect();
        assert_eq!(firsts, [None, None, Some(8), Some(308), Some(900)]);
        for entry in &entries {
            let sample = sample();
            let same = |record: &Record| *record.chunks == *entry.chunks && record.size == entry.size;
            assert!(sample.iter().any(|(_, record)| record.kind == entry.kind && same(record)));
        }
        assert!(decode(&bytes[..body], 1019).is_err(), "a frame behind the end");
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_an_error_or_another_list_but_never_a_panic() {
        let bytes = build(&sample());
        let body = &bytes[..bytes.len() - FOOT_BYTES as usize];
        let (_, check) = foot(&bytes[body.len()..]).expect("a foot");
        for index in 0..body.len() {
            let _ = decode(&body[..index], 1020);
            for change in [0x01, 0x80, 0xff] {
                let mut changed = body.to_vec();
                changed[index] ^= change;
                let _ = decode(&changed, 1020);
                assert!(!fits(&changed, &check));
            }
        }
    }

    #[test]
    fn numbers_have_one_form() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            assert_eq!(number(&mut Decoder::without_magic(&bytes)), Ok(value));
        }
        for wrong in
            [&[0x80, 0][..], &[0x80], &[0xff; 10], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
        {
            assert!(number(&mut Decoder::without_magic(wrong)).is_err(), "{wrong:?}");
        }
    }
}

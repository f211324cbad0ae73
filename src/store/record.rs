//! What an index says of one object.
//!
//! ```text
//! record = kind u8 (1 blob, 2 tree, 3 commit)   flags u8 (1: has runs)   size u64
//!          count u32, (number u32, length u32 (top bit: plain), offset u64, frame[32])*   ascending
//!          if flagged: count u32, (first block u64, blocks u64)*   ascending, neither empty nor touching
//!          check[16]: the first half of BLAKE3 over the object's id and all before
//! ```
//!
//! A record without runs tells that no block of the object is zero. Every number is held against the bytes
//! that are there before anything is allocated by it.

use super::chunk::{CHUNK_BYTES, Chunk};
use super::encode::{Decoded, Decoder, Encoder, Malformed};
use super::error::Kind;
use crate::base::Digest;
use crate::base::units::BLOCK_BYTES;
use crate::tree::DataMap;

const HAS_RUNS: u8 = 1;
const RAW: u32 = 1 << 31;
const CHECK_BYTES: usize = 16;
/// Chunks are numbered in 32 bits.
const OBJECT_BYTES_MAX: u64 = CHUNK_BYTES << 32;

/// What is known of an object: what it is, how long, where its chunks lie, which blocks hold data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub kind: Kind,
    /// Plain length in bytes.
    pub size: u64,
    /// Ascending by number; those that are all zero are left out.
    pub chunks: Box<[Chunk]>,
    /// `None` where no block is zero.
    pub map: Option<DataMap>,
}

impl Record {
    /// Returns the plain length of a chunk.
    pub fn plain_bytes(&self, number: u32) -> u64 {
        CHUNK_BYTES.min(self.size - u64::from(number) * CHUNK_BYTES)
    }

    pub fn data_map(&self) -> DataMap {
        self.map.clone().unwrap_or_else(|| DataMap::dense(self.size))
    }

    /// Returns the bytes that the chunks take in the pack.
    pub fn stored_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.length)).sum()
    }

    pub fn encode(&self, id: &Digest) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u8(self.kind as u8);
        out.u8(if self.map.is_some() { HAS_RUNS } else { 0 });
        out.u64(self.size);
        out.count(self.chunks.len());
        for chunk in &self.chunks {
            out.u32(chunk.number);
            out.u32(chunk.length | if chunk.raw { RAW } else { 0 });
            out.u64(chunk.offset);
            out.raw(chunk.frame.as_bytes());
        }
        if let Some(map) = &self.map {
            out.count(map.runs().len());
            for (first, blocks) in map.runs() {
                out.u64(*first);
                out.u64(*blocks);
            }
        }
        let mut bytes = out.finish();
        let check = check(id, &bytes);
        bytes.extend_from_slice(&check);
        bytes
    }

    /// Reads the record of object `id` in a pack of `pack_bytes`.
    pub fn decode(id: &Digest, bytes: &[u8], pack_bytes: u64) -> Result<Self, Malformed> {
        let at_end = |problem: &str| Malformed { offset: bytes.len(), problem: problem.to_owned() };
        let body = bytes.len().checked_sub(CHECK_BYTES).ok_or_else(|| at_end("too short for a record"))?;
        if check(id, &bytes[..body]) != bytes[body..] {
            return Err(at_end("the record's checksum is wrong"));
        }
        let mut input = Decoder::without_magic(&bytes[..body]);
        let kind = match input.u8()? {
            1 => Kind::Blob,
            2 => Kind::Tree,
            3 => Kind::Commit,
            other => return input.fail(format!("unknown kind of object {other}")),
        };
        let flags = input.u8()?;
        let size = input.u64()?;
        if size > OBJECT_BYTES_MAX {
            return input.fail(format!("an object of {size} bytes, at most {OBJECT_BYTES_MAX} are possible"));
        }
        let chunks = decode_chunks(&mut input, size, pack_bytes)?;
        let map = match flags {
            0 => None,
            HAS_RUNS => Some(decode_runs(&mut input, size, &chunks)?),
            other => return input.fail(format!("unknown flags {other}")),
        };
        if map.is_none() && chunks.len() as u64 != size.div_ceil(CHUNK_BYTES) {
            return input.fail("chunks are missing of an object without zero blocks");
        }
        input.end()?;
        Ok(Record { kind, size, chunks, map })
    }
}

fn check(id: &Digest, body: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(id.as_bytes());
    hasher.update(body);
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK_BYTES]);
    check
}

fn decode_chunks(input: &mut Decoder<'_>, size: u64, pack_bytes: u64) -> Decoded<Box<[Chunk]>> {
    let limit = size.div_ceil(CHUNK_BYTES);
    let mut next = 0;
    let chunks = input.list(|input| {
        let (number, length, offset) = (input.u32()?, input.u32()?, input.u64()?);
        let frame = Digest(input.digest()?);
        let (raw, length) = (length & RAW != 0, length & !RAW);
        if u64::from(number) < next || u64::from(number) >= limit {
            return input.fail(format!("chunk {number} where {next} to {limit} are possible"));
        }
        next = u64::from(number) + 1;
        let plain = CHUNK_BYTES.min(size - u64::from(number) * CHUNK_BYTES);
        if length == 0 || u64::from(length) > plain {
            return input.fail(format!("a frame of {length} bytes for {plain} plain ones"));
        }
        if offset.checked_add(u64::from(length)).is_none_or(|end| end > pack_bytes) {
            return input.fail(format!("{length} bytes at {offset} lie outside a pack of {pack_bytes}"));
        }
        Ok(Chunk { number, offset, length, raw, frame })
    })?;
    Ok(chunks.into())
}

/// Reads the runs of blocks with data. Each lies within stored chunks, so that the work done is bounded by
/// the bytes of the record.
fn decode_runs(input: &mut Decoder<'_>, size: u64, chunks: &[Chunk]) -> Decoded<DataMap> {
    const BLOCKS: u64 = CHUNK_BYTES / BLOCK_BYTES;
    let blocks = size.div_ceil(BLOCK_BYTES);
    let mut stored = chunks.iter().map(|chunk| u64::from(chunk.number)).peekable();
    let mut map = DataMap::default();
    let mut next = 0;
    for _ in 0..input.u32()? {
        let (first, count) = (input.u64()?, input.u64()?);
        let end = first.checked_add(count).filter(|end| *end <= blocks);
        let Some(end) = end.filter(|_| count > 0 && first >= next) else {
            return input.fail(format!("a run of {count} blocks at {first}, of {blocks}"));
        };
        for block in first..end {
            while stored.peek().is_some_and(|chunk| *chunk < block / BLOCKS) {
                stored.next();
            }
            if stored.peek() != Some(&(block / BLOCKS)) {
                return input.fail(format!("block {block} has data but no chunk"));
            }
            map.push(block);
        }
        next = end + 1;
    }
    if map.is_dense(size) {
        return input.fail("runs of an object without zero blocks");
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = CHUNK_BYTES;

    fn chunk(number: u32, offset: u64, length: u32) -> Chunk {
        Chunk { number, offset, length, raw: number == 3, frame: Digest::of(b"frame") }
    }

    fn sparse() -> Record {
        let mut map = DataMap::default();
        for block in [0, 1, 5, 768, 1000] {
            map.push(block);
        }
        let chunks = Box::new([chunk(0, 16, 100), chunk(3, 116, 200)]);
        Record { kind: Kind::Blob, size: 3 * MIB + 900_000 + 100_000, chunks, map: Some(map) }
    }

    #[test]
    fn records_come_back() {
        let id = Digest::of(b"id");
        let record = sparse();
        assert_eq!(Record::decode(&id, &record.encode(&id), 316), Ok(record.clone()));
        assert!(Record::decode(&id, &record.encode(&id), 315).is_err(), "a chunk behind the pack's end");
        assert!(Record::decode(&Digest::of(b"other"), &record.encode(&id), 316).is_err());
    }

    #[test]
    fn a_changed_byte_anywhere_is_seen() {
        let id = Digest::of(b"id");
        let mut bytes = sparse().encode(&id);
        for index in 0..bytes.len() {
            bytes[index] ^= 1;
            assert!(Record::decode(&id, &bytes, 316).is_err(), "byte {index}");
            bytes[index] ^= 1;
        }
    }

    #[test]
    fn hostile_numbers_with_a_right_checksum_are_refused_at_once() {
        let id = Digest::of(b"id");
        let refuse = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = sparse().encode(&id);
            bytes.truncate(bytes.len() - CHECK_BYTES);
            change(&mut bytes);
            let sum = check(&id, &bytes);
            bytes.extend_from_slice(&sum);
            assert!(Record::decode(&id, &bytes, 316).is_err());
        };
        refuse(&|bytes| bytes[10..14].fill(0xff)); // count of chunks
        refuse(&|bytes| bytes[14..18].fill(0xff)); // number of a chunk
        refuse(&|bytes| bytes[18..22].fill(0xff)); // length of a chunk
        refuse(&|bytes| bytes[22..30].fill(0xff)); // offset of a chunk
        let runs = 14 + 2 * 48;
        refuse(&|bytes| bytes[runs..runs + 4].fill(0xff)); // count of runs
        refuse(&|bytes| bytes[runs + 4..runs + 12].fill(0xff)); // first block of a run
        refuse(&|bytes| bytes[runs + 12..runs + 20].fill(0xff)); // length of a run
        refuse(&|bytes| bytes[0] = 9);
        refuse(&|bytes| bytes[1] = 9);
        refuse(&|bytes| bytes.push(0));
    }
}

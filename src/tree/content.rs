//! The bytes of files: named by id and size, put through a sink, read through a source.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Mutex;

use crate::base::units::BLOCK_BYTES;
use crate::base::{BlobId, FileError};

/// Names the bytes of a file: their id and exact length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub struct Content {
    pub id: BlobId,
    /// Length in bytes.
    pub size: u64,
}

impl Content {
    /// Names bytes that are at hand.
    pub fn of(bytes: &[u8]) -> Self {
        Content { id: BlobId::of(bytes), size: bytes.len() as u64 }
    }
}

/// Says why bytes could not be read or put.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    #[error("object {id} is not in the store")]
    Missing { id: BlobId },
    #[error("object {id} is damaged: {problem}")]
    Damaged { id: BlobId, problem: String },
    #[error("reading bytes for the store")]
    Input(#[source] std::io::Error),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cancelled(#[from] crate::base::Cancelled),
}

/// Tells which 4096-byte blocks of a file hold a byte other than zero. It follows from the content
/// alone, never from what a host's file system says of holes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DataMap {
    /// Runs of blocks with data: (first block, number of blocks), ascending, neither empty nor touching.
    runs: Vec<(u64, u64)>,
}

impl DataMap {
    /// Makes the map of a file of `size` bytes without a zero block.
    pub fn dense(size: u64) -> Self {
        let blocks = size.div_ceil(BLOCK_BYTES);
        DataMap { runs: if blocks == 0 { Vec::new() } else { vec![(0, blocks)] } }
    }

    /// Returns the runs: (first block, number of blocks), ascending, neither empty nor touching.
    pub fn runs(&self) -> &[(u64, u64)] {
        &self.runs
    }

    /// Returns how many blocks hold data.
    pub fn blocks(&self) -> u64 {
        self.runs.iter().map(|run| run.1).sum()
    }

    /// Tells whether no block of a file of `size` bytes is zero.
    pub fn is_dense(&self, size: u64) -> bool {
        self.blocks() == size.div_ceil(BLOCK_BYTES)
    }

    /// Adds a block with data behind all that were added.
    pub fn push(&mut self, block: u64) {
        match self.runs.last_mut() {
            Some((first, count)) if *first + *count == block => *count += 1,
            _ => self.runs.push((block, 1)),
        }
    }

    /// Adds a run of blocks with data behind all that were added.
    pub fn push_run(&mut self, first: u64, count: u64) {
        match self.runs.last_mut() {
            _ if count == 0 => {}
            Some((start, length)) if *start + *length == first => *length += count,
            _ => self.runs.push((first, count)),
        }
    }

    /// Adds the blocks of `bytes`, which lie in the file from block `first` on.
    pub fn scan(&mut self, first: u64, bytes: &[u8]) {
        for (index, block) in bytes.chunks(BLOCK_BYTES as usize).enumerate() {
            if !is_zero(block) {
                self.push(first + index as u64);
            }
        }
    }
}

/// Tells whether all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (head, words, tail) = (bytes.len() % 64, bytes.chunks_exact(64), bytes.chunks_exact(64).remainder());
    debug_assert_eq!(head, tail.len());
    for chunk in words {
        if chunk.iter().fold(0, |all, byte| all | byte) != 0 {
            return false;
        }
    }
    tail.iter().all(|&byte| byte == 0)
}

/// Gives the bytes of files. Readers on any thread, at once.
pub trait ContentSource: Sync {
    /// Returns which blocks of the file hold data.
    fn data_map(&self, content: &Content) -> Result<DataMap, ContentError>;

    /// Fills `buffer` with the file's bytes from `offset` on. The range must lie inside the file.
    /// What is read was checked against a digest. Cheapest where offset and length are multiples of
    /// 1 MiB or cover the whole file.
    fn read_at(&self, content: &Content, offset: u64, buffer: &mut [u8]) -> Result<(), ContentError>;

    /// Returns all bytes of a file. For small ones: the result is as large as the file.
    fn read_all(&self, content: &Content) -> Result<Vec<u8>, ContentError> {
        let mut bytes = vec![0; content.size as usize];
        self.read_at(content, 0, &mut bytes)?;
        Ok(bytes)
    }
}

/// Takes the bytes of files. Writers on any thread, at once.
pub trait ContentSink: Sync {
    /// Puts bytes and returns their name. Bytes that are there already cost a hash and no write.
    fn put(&self, bytes: &[u8]) -> Result<Content, ContentError>;

    /// Puts what a reader gives, to its end, in bounded memory.
    fn put_reader(&self, reader: &mut dyn Read) -> Result<Content, ContentError>;
}

/// Gives the bytes of a file one mebibyte at a time, as a stream.
pub struct ContentReader<'a> {
    source: &'a dyn ContentSource,
    content: Content,
    position: u64,
    buffer: Vec<u8>,
    taken: usize,
}

/// Length of the pieces in which streams are read: those in which a store keeps large files.
pub const PIECE_BYTES: u64 = 1 << 20;

impl<'a> ContentReader<'a> {
    pub fn new(source: &'a dyn ContentSource, content: Content) -> Self {
        ContentReader { source, content, position: 0, buffer: Vec::new(), taken: 0 }
    }
}

impl Read for ContentReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.taken == self.buffer.len() {
            let length = PIECE_BYTES.min(self.content.size - self.position);
            self.buffer.resize(length as usize, 0);
            self.taken = 0;
            let read = self.source.read_at(&self.content, self.position, &mut self.buffer);
            read.map_err(std::io::Error::other)?;
            self.position += length;
        }
        let length = out.len().min(self.buffer.len() - self.taken);
        out[..length].copy_from_slice(&self.buffer[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

/// Keeps contents in memory: a source and sink for tests and small things.
#[derive(Default)]
pub struct MemoryContents {
    blobs: Mutex<HashMap<BlobId, std::sync::Arc<Vec<u8>>>>,
}

impl MemoryContents {
    fn get(&self, content: &Content) -> Result<std::sync::Arc<Vec<u8>>, ContentError> {
        let blobs = self.blobs.lock().expect("because no thread panics while it holds the map");
        blobs.get(&content.id).cloned().ok_or(ContentError::Missing { id: content.id })
    }
}

impl ContentSource for MemoryContents {
    fn data_map(&self, content: &Content) -> Result<DataMap, ContentError> {
        let mut map = DataMap::default();
        map.scan(0, &self.get(content)?);
        Ok(map)
    }

    fn read_at(&self, content: &Content, offset: u64, buffer: &mut [u8]) -> Result<(), ContentError> {
        let bytes = self.get(content)?;
        let range = bytes.get(offset as usize..).and_then(|rest| rest.get(..buffer.len()));
        let range = range.ok_or_else(|| ContentError::Damaged {
            id: content.id,
            problem: format!("has {} bytes, fewer than were asked for", bytes.len()),
        })?;
        buffer.copy_from_slice(range);
        Ok(())
    }
}

impl ContentSink for MemoryContents {
    fn put(&self, bytes: &[u8]) -> Result<Content, ContentError> {
        let content = Content::of(bytes);
        let mut blobs = self.blobs.lock().expect("because no thread panics while it holds the map");
        blobs.entry(content.id).or_insert_with(|| std::sync::Arc::new(bytes.to_vec()));
        Ok(content)
    }

    fn put_reader(&self, reader: &mut dyn Read) -> Result<Content, ContentError> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(ContentError::Input)?;
        self.put(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_follows_from_the_bytes() {
        let mut bytes = vec![0u8; 4096 * 5 + 10];
        bytes[4096] = 1;
        bytes[4096 * 3 - 1] = 1;
        bytes[4096 * 5 + 9] = 1;
        let mut map = DataMap::default();
        map.scan(0, &bytes);
        assert_eq!(map.runs(), [(1, 2), (5, 1)]);
        assert!(!map.is_dense(bytes.len() as u64));
        assert!(DataMap::dense(4097).is_dense(4097));
        assert_eq!(DataMap::dense(0).runs(), []);
    }

    #[test]
    fn a_reader_gives_the_bytes_in_order() {
        let contents = MemoryContents::default();
        let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let content = contents.put(&bytes).expect("put");
        let mut read = Vec::new();
        ContentReader::new(&contents, content).read_to_end(&mut read).expect("read");
        assert!(read == bytes);
    }
}

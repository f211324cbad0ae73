//! What was fetched, kept by its digest, and readers that check what goes in.

use std::collections::HashMap;
use std::io::{self, Cursor, Read};
use std::sync::Mutex;

use sha2::Digest as _;

use super::digest::Sha256;
use super::error::FetchProblem;
use crate::tree::ContentError;

/// Keeps what was fetched, by SHA-256, so that builds run offline once fetched. Used from several threads at
/// once.
pub trait PackageCache: Sync {
    /// Tells whether the bytes of this digest and size are there, without reading them.
    fn holds(&self, sha256: &[u8; 32], size_bytes: u64) -> Result<bool, ContentError>;

    /// Returns the bytes of this digest and size; `None` where they are not there. What comes back is checked
    /// against the digest by the caller.
    fn get(&self, sha256: &[u8; 32], size_bytes: u64) -> Result<Option<Vec<u8>>, ContentError>;

    /// Returns a reader of the bytes of this digest and size, to be checked by the caller as those of
    /// [`PackageCache::get`] are. Memory is bounded where the cache can do that.
    fn open(
        &self,
        sha256: &[u8; 32],
        size_bytes: u64,
    ) -> Result<Option<Box<dyn Read + Send + '_>>, ContentError> {
        let bytes = self.get(sha256, size_bytes)?;
        Ok(bytes.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Read + Send>))
    }

    /// Keeps bytes that have this digest.
    fn put(&self, sha256: &[u8; 32], bytes: &[u8]) -> Result<(), ContentError>;

    /// Keeps what a reader gives to its end, in bounded memory. The reader fails where its bytes are not those
    /// of the digest: then nothing is kept, and the reader's error comes back as [`ContentError::Input`].
    fn put_stream(&self, sha256: &[u8; 32], reader: &mut dyn Read) -> Result<(), ContentError>;

    /// Returns what was made of some checked input, by a key that names both; `None` where it is not there. The
    /// cache vouches that it returns what was put.
    fn derived(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>, ContentError>;

    /// Keeps what was made of some checked input.
    fn put_derived(&self, key: &[u8; 32], bytes: &[u8]) -> Result<(), ContentError>;
}

/// Keeps packages in memory.
#[derive(Default)]
pub struct MemoryCache {
    entries: Mutex<HashMap<[u8; 32], Vec<u8>>>,
    derived: Mutex<HashMap<[u8; 32], Vec<u8>>>,
}

impl PackageCache for MemoryCache {
    fn holds(&self, sha256: &[u8; 32], size_bytes: u64) -> Result<bool, ContentError> {
        let entries = self.entries.lock().expect("because no thread panics while it holds the map");
        Ok(entries.get(sha256).is_some_and(|bytes| bytes.len() as u64 == size_bytes))
    }

    fn get(&self, sha256: &[u8; 32], size_bytes: u64) -> Result<Option<Vec<u8>>, ContentError> {
        let entries = self.entries.lock().expect("because no thread panics while it holds the map");
        Ok(entries.get(sha256).filter(|bytes| bytes.len() as u64 == size_bytes).cloned())
    }

    fn put(&self, sha256: &[u8; 32], bytes: &[u8]) -> Result<(), ContentError> {
        let mut entries = self.entries.lock().expect("because no thread panics while it holds the map");
        entries.insert(*sha256, bytes.to_vec());
        Ok(())
    }

    fn put_stream(&self, sha256: &[u8; 32], reader: &mut dyn Read) -> Result<(), ContentError> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(ContentError::Input)?;
        self.put(sha256, &bytes)
    }

    fn derived(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>, ContentError> {
        let derived = self.derived.lock().expect("because no thread panics while it holds the map");
        Ok(derived.get(key).cloned())
    }

    fn put_derived(&self, key: &[u8; 32], bytes: &[u8]) -> Result<(), ContentError> {
        let mut derived = self.derived.lock().expect("because no thread panics while it holds the map");
        derived.insert(*key, bytes.to_vec());
        Ok(())
    }
}

/// Reads on, and fails at the end unless the bytes were those of a digest and size. Errors carry a
/// [`FetchProblem`].
pub(super) struct Checked<R> {
    reader: R,
    hasher: sha2::Sha256,
    bytes: u64,
    expected: (Sha256, u64),
    is_good: bool,
}

impl<R: Read> Checked<R> {
    pub(super) fn new(reader: R, expected: (Sha256, u64)) -> Self {
        Checked { reader, hasher: sha2::Sha256::default(), bytes: 0, expected, is_good: false }
    }

    /// Returns what was read from.
    pub(super) fn get(&self) -> &R {
        &self.reader
    }

    fn check(&self) -> Result<(), FetchProblem> {
        let (sha256, size) = self.expected;
        if self.bytes != size {
            return Err(FetchProblem::Size { found: self.bytes, expected: size });
        }
        match Sha256(self.hasher.clone().finalize().into()) {
            found if found == sha256 => Ok(()),
            found => Err(FetchProblem::Digest { found: Box::new(found), expected: Box::new(sha256) }),
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.is_good || out.is_empty() {
            return Ok(0);
        }
        let read = self.reader.read(out)?;
        self.bytes += read as u64;
        self.hasher.update(&out[..read]);
        if self.bytes > self.expected.1 {
            return Err(io::Error::other(FetchProblem::TooLarge { limit: self.expected.1 }));
        }
        if read == 0 {
            self.check().map_err(io::Error::other)?;
            self.is_good = true;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_what_was_promised_fails_at_its_end() {
        let bytes = b"some bytes";
        let promised = (Sha256::of(bytes), bytes.len() as u64);
        let read = |found: &[u8], promised| {
            let mut all = Vec::new();
            Checked::new(found, promised).read_to_end(&mut all).map(|_| all)
        };
        assert_eq!(read(bytes, promised).expect("read"), bytes);
        for wrong in [&b"some bytez"[..], b"some byte", b"some bytes more", b""] {
            assert!(read(wrong, promised).is_err());
        }
        assert_eq!(read(b"", (Sha256::of(b""), 0)).expect("read"), b"");
    }
}

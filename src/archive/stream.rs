//! The decompressed bytes of an archive, counted and bounded.

use std::io::{BufRead, BufReader, Read};

use super::error::{ArchiveError, Place, WHOLE};

/// Reads an archive from front to back and knows where it is.
pub(super) struct Stream<R> {
    inner: BufReader<R>,
    position: u64,
    limit: u64,
}

impl<R: Read> Stream<R> {
    /// Makes a stream that gives at most `limit` bytes.
    pub(super) fn new(inner: R, limit: u64) -> Self {
        Stream { inner: BufReader::with_capacity(128 << 10, inner), position: 0, limit }
    }

    /// Returns how many bytes were read so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Reads some bytes; 0 only at the end.
    pub(super) fn read_some(&mut self, buffer: &mut [u8], place: &Place) -> Result<usize, ArchiveError> {
        loop {
            match self.inner.read(buffer) {
                Ok(read) => {
                    self.position += read as u64;
                    place.limit(WHOLE, self.position, self.limit)?;
                    return Ok(read);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.failed(source, place)),
            }
        }
    }

    /// Fills the buffer. The end before is an error that names what is missing.
    pub(super) fn fill(
        &mut self,
        buffer: &mut [u8],
        place: &Place,
        missing: &'static str,
    ) -> Result<(), ArchiveError> {
        match self.fill_or_end(buffer, place)? {
            read if read == buffer.len() => Ok(()),
            _ => Err(ArchiveError::Truncated { place: self.here(place), missing }),
        }
    }

    /// Fills the buffer as far as there are bytes, and returns how far that is.
    pub(super) fn fill_or_end(&mut self, buffer: &mut [u8], place: &Place) -> Result<usize, ArchiveError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_some(&mut buffer[filled..], place)? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    /// Passes over bytes. The end before is an error that names what is missing.
    pub(super) fn skip(
        &mut self,
        count: u64,
        place: &Place,
        missing: &'static str,
    ) -> Result<(), ArchiveError> {
        let mut buffer = [0; 8192];
        let mut left = count;
        while left > 0 {
            let length = left.min(buffer.len() as u64) as usize;
            self.fill(&mut buffer[..length], place, missing)?;
            left -= length as u64;
        }
        Ok(())
    }

    /// Reads to the end and fails at the first byte that is not zero.
    pub(super) fn expect_zeros_to_the_end(&mut self) -> Result<(), ArchiveError> {
        loop {
            let place = Place { offset: self.position, path: None };
            let bytes = match self.inner.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(self.failed(source, &place)),
            };
            if bytes.is_empty() {
                return Ok(());
            }
            if let Some(index) = bytes.iter().position(|&byte| byte != 0) {
                let place = Place { offset: self.position + index as u64, path: None };
                return Err(place.malformed("bytes behind the archive's end that are not zero"));
            }
            let length = bytes.len();
            self.inner.consume(length);
            self.position += length as u64;
            place.limit(WHOLE, self.position, self.limit)?;
        }
    }

    fn here(&self, place: &Place) -> Place {
        Place { offset: self.position, path: place.path.clone() }
    }

    fn failed(&self, source: std::io::Error, place: &Place) -> ArchiveError {
        ArchiveError::Read { place: self.here(place), source }
    }
}

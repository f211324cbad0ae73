//! The bytes of one file, by ranges: a library of a hundred megabytes is understood from three of them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::tree::content::PIECE_BYTES;
use crate::tree::{Content, ContentError, ContentSource};

/// Gives ranges of a file's bytes.
pub trait Bytes {
    /// Returns the file's length in bytes.
    fn size(&self) -> u64;

    /// Returns `length` bytes from `offset` on; `None` where they are not all inside the file.
    fn range(&self, offset: u64, length: u64) -> Option<Cow<'_, [u8]>>;
}

impl Bytes for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn range(&self, offset: u64, length: u64) -> Option<Cow<'_, [u8]>> {
        let end = offset.checked_add(length)?;
        self.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?).map(Cow::Borrowed)
    }
}

/// Gives ranges of a file of the host.
pub(super) struct HostBytes {
    file: File,
    size: u64,
}

impl HostBytes {
    /// Opens a regular file; `None` where there is none that may be read.
    pub(super) fn open(path: &Path) -> Option<HostBytes> {
        let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        Some(HostBytes { file: File::open(path).ok()?, size: metadata.len() })
    }
}

impl Bytes for HostBytes {
    fn size(&self) -> u64 {
        self.size
    }

    fn range(&self, offset: u64, length: u64) -> Option<Cow<'_, [u8]>> {
        offset.checked_add(length).filter(|&end| end <= self.size)?;
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        Some(Cow::Owned(bytes))
    }
}

/// Gives ranges of a content, reading the pieces that are asked for and no others. An error of the source
/// is kept: ask [`ContentBytes::failure`] when a parser says that bytes are missing.
pub struct ContentBytes<'a> {
    source: &'a dyn ContentSource,
    content: Content,
    pieces: RefCell<Vec<(u64, Vec<u8>)>>,
    failure: RefCell<Option<ContentError>>,
}

impl<'a> ContentBytes<'a> {
    pub fn new(source: &'a dyn ContentSource, content: Content) -> Self {
        ContentBytes { source, content, pieces: RefCell::default(), failure: RefCell::default() }
    }

    /// Returns the error that made a range unreadable, if one did.
    pub fn failure(self) -> Option<ContentError> {
        self.failure.into_inner()
    }

    /// Copies one range out of one piece, reading the piece at its first use.
    fn copy(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<(), ContentError> {
        let start = offset - offset % PIECE_BYTES;
        let mut pieces = self.pieces.borrow_mut();
        if !pieces.iter().any(|piece| piece.0 == start) {
            let mut piece = vec![0; PIECE_BYTES.min(self.content.size - start) as usize];
            self.source.read_at(&self.content, start, &mut piece)?;
            pieces.push((start, piece));
        }
        let piece = pieces.iter().find(|piece| piece.0 == start).expect("because it was just put there");
        let at = (offset - start) as usize;
        out.extend_from_slice(&piece.1[at..at + length]);
        Ok(())
    }
}

impl Bytes for ContentBytes<'_> {
    fn size(&self) -> u64 {
        self.content.size
    }

    fn range(&self, offset: u64, length: u64) -> Option<Cow<'_, [u8]>> {
        let end = offset.checked_add(length).filter(|&end| end <= self.content.size)?;
        let mut bytes = Vec::new();
        let mut at = offset;
        while at < end {
            let piece_end = (at - at % PIECE_BYTES + PIECE_BYTES).min(end);
            if let Err(error) = self.copy(at, (piece_end - at) as usize, &mut bytes) {
                self.failure.borrow_mut().get_or_insert(error);
                return None;
            }
            at = piece_end;
        }
        Some(Cow::Owned(bytes))
    }
}

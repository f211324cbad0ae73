//! The pieces that were read last: whoever reads a file front to back in small steps reads each piece once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::tree::content::PIECE_BYTES;
use crate::tree::{Content, ContentError, ContentSource};

/// How many pieces of a mebibyte are kept.
const PIECES_KEPT: usize = 16;

/// A piece of a file: its content, its number, its bytes.
type Piece = (Content, u64, Arc<Vec<u8>>);

/// Keeps the pieces that were used last; takes at most 16 MiB.
#[derive(Default)]
pub(super) struct Pieces {
    kept: Mutex<VecDeque<Piece>>,
}

impl Pieces {
    /// Returns bytes of a file from `offset` on: at most `length`, fewer at its end.
    pub fn read(
        &self,
        source: &dyn ContentSource,
        content: &Content,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, ContentError> {
        let end = content.size.min(offset.saturating_add(length as u64));
        let mut bytes = Vec::new();
        let mut at = offset;
        while at < end {
            let number = at / PIECE_BYTES;
            let piece = self.piece(source, content, number)?;
            let from = (at - number * PIECE_BYTES) as usize;
            let to = piece.len().min((end - number * PIECE_BYTES) as usize);
            bytes.extend_from_slice(&piece[from..to]);
            at = number * PIECE_BYTES + to as u64;
        }
        Ok(bytes)
    }

    fn piece(
        &self,
        source: &dyn ContentSource,
        content: &Content,
        number: u64,
    ) -> Result<Arc<Vec<u8>>, ContentError> {
        if let Some(piece) = self.known(content, number) {
            return Ok(piece);
        }
        let offset = number * PIECE_BYTES;
        let mut bytes = vec![0; PIECE_BYTES.min(content.size - offset) as usize];
        source.read_at(content, offset, &mut bytes)?;
        let bytes = Arc::new(bytes);
        let mut kept = self.kept.lock().expect("because no thread panics while it holds the pieces");
        kept.push_front((*content, number, bytes.clone()));
        kept.truncate(PIECES_KEPT);
        Ok(bytes)
    }

    fn known(&self, content: &Content, number: u64) -> Option<Arc<Vec<u8>>> {
        let mut kept = self.kept.lock().expect("because no thread panics while it holds the pieces");
        let at = kept.iter().position(|piece| piece.0 == *content && piece.1 == number)?;
        let piece = kept.remove(at)?;
        kept.push_front(piece);
        kept.front().map(|piece| piece.2.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{ContentSink, MemoryContents};

    #[test]
    fn any_range_is_read_right_and_little_is_kept() {
        let contents = MemoryContents::default();
        let bytes: Vec<u8> = (0..20 * PIECE_BYTES + 5).map(|n| (n % 251) as u8).collect();
        let content = contents.put(&bytes).expect("put");
        let pieces = Pieces::default();
        for (offset, length) in [
            (0, 10),
            (PIECE_BYTES - 3, 7),
            (5, 2 * PIECE_BYTES as usize + 9),
            (20 * PIECE_BYTES, 100),
            (bytes.len() as u64, 1),
            (u64::MAX, 1),
            (0, 0),
        ] {
            let read = pieces.read(&contents, &content, offset, length).expect("read");
            let from = (offset as usize).min(bytes.len());
            let to = from.saturating_add(length).min(bytes.len());
            assert!(read == bytes[from..to], "{offset} {length}");
        }
        pieces.read(&contents, &content, 0, bytes.len()).expect("read");
        assert_eq!(pieces.kept.lock().expect("free").len(), PIECES_KEPT);
    }
}

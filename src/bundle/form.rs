//! How a bundle is made, where it can be made in more than one way.

use super::table::DELTA_BYTES_MAX;

/// Longer files are laid on what they were in pieces: a writer's memory for a whole one is some 16 times as much.
const DELTA_OBJECT_BYTES: u64 = 24 << 20;
/// Bytes of a large file that are told at once, from a window of twice as much.
const SEGMENT_BYTES: u64 = 4 << 20;

/// How a bundle is made. No part of the format: any form can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// The same contents have another id with another salt; 0 for none.
    pub salt: u64,
    /// Files that are longer, or are made from longer ones, are told in pieces.
    pub whole_bytes: u64,
    /// Most bytes of such a piece, at most 64 MiB.
    pub piece_bytes: u64,
    /// Most bytes that are told at once.
    pub segment_bytes: u64,
}

impl Default for Form {
    fn default() -> Self {
        Form {
            salt: 0,
            whole_bytes: DELTA_OBJECT_BYTES,
            piece_bytes: DELTA_BYTES_MAX,
            segment_bytes: SEGMENT_BYTES,
        }
    }
}

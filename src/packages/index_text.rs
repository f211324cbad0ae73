//! The text of an index, unpacked once: only the fields that a solver reads are kept, which is less than half
//! of the bytes, so that a second look at an unchanged index neither decompresses nor skips the rest.

use std::io::{BufRead, BufReader, Read};

use super::digest::Sha256;
use crate::archive;
use crate::base::{Digest, Job};

/// Names what is kept of an index. Raise it whenever [`FIELDS`] or what is done with them changes.
const CONTEXT: &str = "mkimage 2026 packages index v2";

/// The fields that are kept.
const FIELDS: [&[u8]; 22] = [
    b"Package",
    b"Version",
    b"Architecture",
    b"Multi-Arch",
    b"Essential",
    b"Protected",
    b"Important",
    b"Priority",
    b"Section",
    b"Source",
    b"Pre-Depends",
    b"Depends",
    b"Recommends",
    b"Suggests",
    b"Enhances",
    b"Provides",
    b"Conflicts",
    b"Breaks",
    b"Replaces",
    b"Filename",
    b"Size",
    b"SHA256",
];

/// Bytes that are decompressed at once.
const PIECE_BYTES: usize = 256 << 10;
/// Lines between two looks at whether the work was stopped.
const LINES_AT_ONCE: usize = 1 << 16;

/// Returns the key under which a cache keeps the text of an index file of this digest.
pub(super) fn key(sha256: &Sha256) -> [u8; 32] {
    Digest::derive(CONTEXT, &sha256.0).0
}

/// Unpacks an index of at most `size_max` bytes and keeps the fields that are read.
pub(super) fn read(packed: &[u8], size_max: u64, job: &Job) -> Result<String, String> {
    let shown = |error: &dyn std::error::Error| error.to_string();
    let (_, unpacked) =
        archive::decompress(packed, &archive::Limits::default()).map_err(|error| shown(&error))?;
    let mut reader = BufReader::with_capacity(PIECE_BYTES, unpacked.take(size_max + 1));
    let (mut kept, mut line) = (Vec::new(), Vec::new());
    let (mut size, mut lines, mut is_kept) = (0, 0usize, true);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(|error| shown(&error))?;
        if read == 0 {
            break;
        }
        size += read as u64;
        if size > size_max {
            return Err(format!("it is larger than the {size_max} bytes that the Release file gives it"));
        }
        if !matches!(line[0], b' ' | b'\t') {
            is_kept = is_read(&line);
        }
        if is_kept {
            kept.extend_from_slice(&line);
        }
        lines += 1;
        if lines.is_multiple_of(LINES_AT_ONCE) {
            job.check().map_err(|error| shown(&error))?;
        }
    }
    String::from_utf8(kept).map_err(|_| "it is no UTF-8 text".to_owned())
}

/// Tells whether a line that starts a field is kept. One that is no field is, so that a parser sees it.
fn is_read(line: &[u8]) -> bool {
    match line.iter().position(|&byte| byte == b':') {
        Some(end) => {
            FIELDS.iter().any(|field| field.len() == end && field.eq_ignore_ascii_case(&line[..end]))
        }
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_nobody_reads_go_with_their_further_lines() {
        let text = "Package: a\nDescription: x\n Depends: no\n .\nDepends: b,\n c\nTag: z\n\nnonsense\nMD5sum: 1\npackage: b\n";
        let kept = read(text.as_bytes(), 1000, &Job::quiet(1)).expect("read");
        assert_eq!(kept, "Package: a\nDepends: b,\n c\n\nnonsense\npackage: b\n");
        assert!(read(text.as_bytes(), 20, &Job::quiet(1)).expect_err("large").contains("larger than the 20"));
        assert!(read(b"Package: \xff\n", 1000, &Job::quiet(1)).is_err());
    }
}

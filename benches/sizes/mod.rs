//! What a folder takes.

use std::path::Path;

/// Returns the lengths of all files below a folder, in bytes.
pub fn disk_bytes(folder: &Path) -> u64 {
    let files =
        walkdir::WalkDir::new(folder).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.metadata().map_or(0, |metadata| metadata.len())).sum()
}

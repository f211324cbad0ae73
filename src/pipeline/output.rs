//! The output file: left alone where it holds the right bytes, replaced in one rename where not.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::{PipelineError, Result};
use super::image::Written;
use crate::base::publish::Publication;
use crate::base::{CommitId, Digest, FileError, Job, StepKey};
use crate::store::Store;

/// Bytes that are compared at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// Tells what is known of an output: `Some` where this file, by all that the system says of it, is the
/// one that we wrote for this commit.
pub fn known(store: &Store, commit: CommitId, output: &Path) -> Option<Written> {
    let metadata = std::fs::metadata(output).ok()?;
    let record = store.memo_get(&key(commit, output)?)?;
    (record == identity(&metadata)).then(|| Written {
        commit,
        changed: false,
        size_bytes: metadata.len(),
        allocated_bytes: metadata.blocks() * 512,
    })
}

/// Remembers that a file holds the image of a commit.
pub fn remember(store: &Store, commit: CommitId, output: &Path) -> Result<()> {
    let metadata = std::fs::metadata(output).map_err(FileError::at("read", output))?;
    if let Some(key) = key(commit, output) {
        store.memo_put(&key, &identity(&metadata))?;
    }
    Ok(())
}

/// Refuses what can't be an output: a directory, a device, a file in a folder that isn't there. Building
/// may take minutes, and nobody wants to hear it then.
pub fn check(output: &Path) -> Result<()> {
    let wrong = |problem| Err(PipelineError::Output { path: output.to_owned(), problem });
    match std::fs::metadata(output) {
        Ok(metadata) if metadata.is_dir() => return wrong("it is a directory; name a file in it"),
        Ok(metadata) if !metadata.is_file() => {
            return wrong("it is no file; build into a file, then copy that onto the device");
        }
        _ => {}
    }
    match output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            wrong("there is no such folder; make it first")
        }
        _ => Ok(()),
    }
}

/// Returns what a file takes on the host's disk, in bytes.
pub fn allocated(output: &Path) -> Result<u64> {
    Ok(std::fs::metadata(output).map_err(FileError::at("read", output))?.blocks() * 512)
}

/// Gives a finished file its name, unless the file of that name holds the same bytes. Returns whether it
/// was replaced.
pub fn publish(publication: Publication, output: &Path, job: &Job) -> Result<bool> {
    job.check()?;
    if let Ok(there) = File::open(output)
        && same(publication.file(), &there, job).map_err(FileError::at("compare with", output))?
    {
        return Ok(false);
    }
    publication.publish()?;
    Ok(true)
}

fn key(commit: CommitId, output: &Path) -> Option<StepKey> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::path::absolute(output).ok()?;
    let bytes = [&commit.as_bytes()[..], path.as_os_str().as_bytes()].concat();
    Some(StepKey(Digest::derive("mkimage 2026 output v1", &bytes)))
}

/// What the system says of a file that changes whenever the file does.
fn identity(metadata: &std::fs::Metadata) -> Vec<u8> {
    let numbers = [
        metadata.dev() as i64,
        metadata.ino() as i64,
        metadata.len() as i64,
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ];
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn same(ours: &File, theirs: &File, job: &Job) -> io::Result<bool> {
    let length = ours.metadata()?.len();
    let metadata = theirs.metadata()?;
    if !metadata.is_file() || metadata.len() != length {
        return Ok(false);
    }
    let differs = AtomicBool::new(false);
    let pieces = (0..length.div_ceil(PIECE_BYTES)).map(|piece| piece * PIECE_BYTES);
    job.workers.for_each(pieces, |offset| {
        if differs.load(Ordering::Relaxed) {
            return Ok(());
        }
        let size = PIECE_BYTES.min(length - offset) as usize;
        let mut buffers = [vec![0; size], vec![0; size]];
        ours.read_exact_at(&mut buffers[0], offset)?;
        theirs.read_exact_at(&mut buffers[1], offset)?;
        if buffers[0] != buffers[1] {
            differs.store(true, Ordering::Relaxed);
        }
        io::Result::Ok(())
    })?;
    Ok(!differs.into_inner())
}

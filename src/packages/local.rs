//! `.deb` files of the recipe's machine: what they say of themselves.

use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::deb::archive::DebError;
use super::digest::Sha256;
use super::error::PackagesError;
use super::request::Request;
use crate::archive::{Ar, Limits, Options, decompress, read_tar};
use crate::base::Job;
use crate::base::fs::{self, FileError};
use crate::tree::{ContentSource, MemoryContents, Node};

/// Most bytes of `control.tar` after decompression.
const CONTROL_BYTES_MAX: u64 = 64 << 20;
/// Most entries of `control.tar`.
const CONTROL_ENTRIES_MAX: u64 = 1000;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 20;

/// Holds what a package file says of itself.
pub(super) struct LocalDeb {
    pub path: PathBuf,
    /// Base name of the file.
    pub file: String,
    pub size_bytes: u64,
    pub sha256: Sha256,
    /// The control file.
    pub control: String,
}

/// Reads the local files of a request, in its order.
pub(super) fn read_all(request: &Request, job: &Job) -> Result<Vec<LocalDeb>, PackagesError> {
    let files = request.rules.local.iter().collect();
    job.workers.try_map(files, |path: &PathBuf| read(path, job)).map_err(PackagesError::of)
}

fn read(path: &Path, job: &Job) -> Result<LocalDeb, PackagesError> {
    let mut file = fs::open(path)?;
    let (sha256, size_bytes) = digest(&mut file, path, job)?;
    file.rewind().map_err(FileError::at("read", path))?;
    let failed =
        |problem| PackagesError::Unpack { package: path.display().to_string(), problem: Box::new(problem) };
    let control = control_text(file, job).map_err(failed)?;
    let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default().to_owned();
    Ok(LocalDeb { path: path.to_owned(), file, size_bytes, sha256, control })
}

fn digest(file: &mut std::fs::File, path: &Path, job: &Job) -> Result<(Sha256, u64), PackagesError> {
    let mut hasher = sha2::Sha256::default();
    let mut piece = vec![0; PIECE_BYTES];
    let mut size = 0;
    loop {
        job.check()?;
        let read = file.read(&mut piece).map_err(FileError::at("read", path))?;
        if read == 0 {
            return Ok((Sha256(hasher.finalize().into()), size));
        }
        hasher.update(&piece[..read]);
        size += read as u64;
    }
}

/// Reads the control file of a package; its payload is not looked at.
pub(super) fn control_text(file: impl Read + Send, job: &Job) -> Result<String, DebError> {
    let limits = Limits { bytes: CONTROL_BYTES_MAX, entries: CONTROL_ENTRIES_MAX, ..Limits::default() };
    let mut ar = Ar::new(file, &Limits::default()).map_err(DebError::Outer)?;
    for expected in ["debian-binary", "control.tar"] {
        let member = ar.next_member().map_err(DebError::Outer)?;
        let found = member.map_or_else(|| "its end".to_owned(), |member| member.name);
        if !found.starts_with(expected) {
            return Err(DebError::Member { expected, found });
        }
    }
    let inner = |problem| DebError::Inner { member: "control.tar".to_owned(), problem };
    let contents = MemoryContents::default();
    let (_, unpacked) = decompress(&mut ar, &limits).map_err(inner)?;
    let options = Options { label: "control.tar".to_owned(), limits, ..Options::default() };
    let tree = read_tar(unpacked, &options, &contents, job).map_err(inner)?;
    match tree.entries.get(&b"control"[..]) {
        Some(Node::File(file)) => {
            String::from_utf8(contents.read_all(&file.content)?).map_err(|_| DebError::NotText("control"))
        }
        _ => Err(DebError::MissingFile("control")),
    }
}

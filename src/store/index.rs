//! The index of a pack: where each object lies in it.
//!
//! ```text
//! index  = "MKINDEX" 01   objects u64   pack_bytes u64
//!          (end u64, check[16])[256]    rows of ids up to this first byte; half of BLAKE3 over those rows
//!          head[32]                     BLAKE3 of all before
//!          row[objects]                 id[32] offset u64 length u32   strictly ascending by id
//!          record*                      see `record`; where the rows say
//!          name[32]                     BLAKE3 of all before: the name of index and pack
//! ```
//!
//! Integers are little-endian. The name covers each frame's digest, hence every byte of the pack that
//! anybody reads. A reader takes the head (6 KiB), then only the rows and records that it needs; each part
//! has a check of its own, so that opening costs the same however many objects there are.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::encode::{Decoder, Encoder, Malformed};
use super::format::Layout;
use super::record::Record;
use super::trailer;
use crate::base::{BlobId, Digest, FileError};
use crate::tree::ContentError;
use crate::tree::content::is_zero;

const MAGIC: &[u8; 8] = b"MKINDEX\x01";
/// What a pack begins with; frames follow.
pub(super) const PACK_MAGIC: &[u8; 8] = b"MKIPACK\x01";
const ROW_BYTES: u64 = 44;
const HEAD_BYTES: u64 = 8 + 8 + 8 + 256 * 24 + 32;
const NAME_BYTES: u64 = 32;
/// Bytes that are read at once where all of a file is.
const RUN_BYTES: u64 = 1 << 20;

/// Writes the index of a pack. Objects come in any order; returns the bytes and the pack's name.
pub(super) fn build(mut objects: Vec<(Digest, Arc<Record>)>, pack_bytes: u64) -> (Vec<u8>, Digest) {
    objects.sort_unstable_by_key(|object| object.0);
    let mut rows = Vec::with_capacity(objects.len() * ROW_BYTES as usize);
    let mut records = Vec::new();
    let mut ends = [0u64; 256];
    let records_start = HEAD_BYTES + objects.len() as u64 * ROW_BYTES;
    for (position, (id, record)) in objects.iter().enumerate() {
        let bytes = record.encode(id);
        rows.extend_from_slice(id.as_bytes());
        rows.extend_from_slice(&(records_start + records.len() as u64).to_le_bytes());
        rows.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        records.extend_from_slice(&bytes);
        ends[usize::from(id.0[0])] = position as u64 + 1;
    }
    let mut out = Encoder::new(MAGIC);
    out.u64(objects.len() as u64);
    out.u64(pack_bytes);
    let mut start = 0;
    for end in ends {
        let end = end.max(start);
        out.u64(end);
        out.raw(&check(&rows[(start * ROW_BYTES) as usize..(end * ROW_BYTES) as usize]));
        start = end;
    }
    let mut bytes = out.finish();
    bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
    bytes.extend_from_slice(&rows);
    bytes.extend_from_slice(&records);
    let name = Digest::of(&bytes);
    bytes.extend_from_slice(name.as_bytes());
    (bytes, name)
}

fn check(rows: &[u8]) -> [u8; 16] {
    let mut check = [0; 16];
    check.copy_from_slice(&blake3::hash(rows).as_bytes()[..16]);
    check
}

/// Says why a pack could not be read.
#[derive(Debug)]
pub(super) enum Problem {
    File(FileError),
    Damaged(String),
    /// The copy is sound, but not what was asked for: whoever names it is wrong.
    Unexpected(String),
}

impl Problem {
    /// Says which object could not be read because of it.
    pub fn of(self, id: &Digest) -> ContentError {
        match self {
            Problem::File(error) => ContentError::File(error),
            Problem::Damaged(problem) | Problem::Unexpected(problem) => {
                ContentError::Damaged { id: BlobId(*id), problem }
            }
        }
    }
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        Problem::File(error)
    }
}

/// Open files that packs keep for the next read; above this many, files are opened for each read.
const OPEN_FILES_MAX: usize = 128;

/// A published pack and its index, read as far as was needed.
pub(super) struct Pack {
    pub name: Digest,
    index_path: PathBuf,
    pack_path: PathBuf,
    index: Mutex<Option<Arc<File>>>,
    pack: Mutex<Option<Arc<File>>>,
    opened: Arc<AtomicUsize>,
    head: OnceLock<Head>,
    buckets: Box<[OnceLock<Box<[Row]>>]>,
}

struct Head {
    pack_bytes: u64,
    index_bytes: u64,
    buckets: Vec<(u64, [u8; 16])>,
}

#[derive(Clone, Copy)]
struct Row {
    id: Digest,
    offset: u64,
    length: u32,
}

impl Pack {
    pub fn new(layout: &Layout, name: Digest, opened: Arc<AtomicUsize>) -> Self {
        Pack {
            name,
            index_path: layout.index(&name),
            pack_path: layout.pack(&name),
            index: Mutex::default(),
            pack: Mutex::default(),
            opened,
            head: OnceLock::new(),
            buckets: (0..256).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Tells whether the index names the object and the pack is as long as it should be.
    pub fn has(&self, id: &Digest) -> Result<bool, Problem> {
        Ok(self.row(id)?.is_some())
    }

    /// Returns the record of an object; `None` where the pack doesn't hold it.
    pub fn record(&self, id: &Digest) -> Result<Option<Record>, Problem> {
        let Some(row) = self.row(id)? else { return Ok(None) };
        let head = self.head()?;
        self.bounds(head, &row)?;
        let mut bytes = vec![0; row.length as usize];
        self.read_index(row.offset, &mut bytes)?;
        self.decode(head, &row, &bytes).map(Some)
    }

    /// Returns all objects whose ids begin with a byte, with their records, in a few large reads. Nothing of
    /// it is remembered.
    pub fn entries(&self, first: u8) -> Result<Vec<(Digest, Result<Record, Problem>)>, Problem> {
        let head = self.head()?;
        let rows = self.read_bucket(first)?;
        let mut entries = Vec::with_capacity(rows.len());
        let mut rest = &rows[..];
        while let [row, ..] = rest {
            // Records lie in the order of their rows: as many as fit are read at once.
            let mut end = row.offset;
            let run = rest.iter().take_while(|row| {
                let next =
                    row.offset == end && self.bounds(head, row).is_ok() && end - rest[0].offset < RUN_BYTES;
                end += u64::from(row.length);
                next
            });
            let run = run.count();
            if run == 0 {
                let outside = self.bounds(head, row).and(Err(self.damaged("rows overlap".to_owned())));
                entries.push((row.id, outside));
                rest = &rest[1..];
                continue;
            }
            self.read_run(head, &rest[..run], &mut entries)?;
            rest = &rest[run..];
        }
        Ok(entries)
    }

    /// Reads the records of rows, which lie one behind the other.
    fn read_run(
        &self,
        head: &Head,
        rows: &[Row],
        entries: &mut Vec<(Digest, Result<Record, Problem>)>,
    ) -> Result<(), Problem> {
        let mut bytes = vec![0; rows.iter().map(|row| row.length as usize).sum()];
        self.read_index(rows[0].offset, &mut bytes)?;
        let mut left = &bytes[..];
        for row in rows {
            let (bytes, behind) = left.split_at(row.length as usize);
            entries.push((row.id, self.decode(head, row, bytes)));
            left = behind;
        }
        Ok(())
    }

    fn bounds(&self, head: &Head, row: &Row) -> Result<(), Problem> {
        let end = row.offset.checked_add(u64::from(row.length));
        if row.offset < HEAD_BYTES || end.is_none_or(|end| end > head.index_bytes - NAME_BYTES) {
            return Err(self.damaged(format!("{} bytes at {} are outside", row.length, row.offset)));
        }
        Ok(())
    }

    fn decode(&self, head: &Head, row: &Row, bytes: &[u8]) -> Result<Record, Problem> {
        let record = Record::decode(&row.id, bytes, head.pack_bytes);
        record.map_err(|error| self.damaged(format!("record at {}: {error}", row.offset)))
    }

    /// Returns how many objects the index names, and how long the pack is.
    pub fn extent(&self) -> Result<(u64, u64), Problem> {
        let head = self.head()?;
        Ok((head.buckets[255].0, head.pack_bytes))
    }

    /// Returns all ids that begin with these bytes' first byte.
    pub fn ids(&self, first: u8) -> Result<impl Iterator<Item = Digest> + '_, Problem> {
        Ok(self.bucket(first)?.iter().map(|row| row.id))
    }

    /// Reads bytes of the pack.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Problem> {
        let file = self.open(&self.pack, &self.pack_path)?;
        self.exactly(file.read_exact_at(buffer, offset), &self.pack_path, offset)
    }

    /// Says that bytes of the pack are not what they should be.
    pub fn damage(&self, offset: u64, problem: &str) -> Problem {
        Problem::Damaged(format!("{} at offset {offset}: {problem}", self.pack_path.display()))
    }

    /// Holds the whole index against its name, a piece at a time.
    pub fn check_index(&self) -> Result<(), Problem> {
        let length = self.length(&self.index, &self.index_path)?;
        let body = length.saturating_sub(NAME_BYTES);
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; RUN_BYTES.min(body) as usize];
        let mut offset = 0;
        while offset < body {
            let part = &mut piece[..RUN_BYTES.min(body - offset) as usize];
            self.read_index(offset, part)?;
            hasher.update(part);
            offset += part.len() as u64;
        }
        let mut name = [0; NAME_BYTES as usize];
        self.read_index(body, &mut name[..(length - body) as usize])?;
        let found = Digest(*hasher.finalize().as_bytes());
        if found.0 != name || found != self.name {
            return Err(self.damaged(format!("its digest is {found}")));
        }
        Ok(())
    }

    /// Checks what stands before and behind the frames of the pack, which end at `frames_end`: its magic, and
    /// its trailer, where it has one.
    pub fn check_ends(&self, frames_end: u64) -> Result<(), Problem> {
        let (_, length) = self.extent()?;
        let mut magic = [0; PACK_MAGIC.len()];
        self.read(0, &mut magic)?;
        if magic != *PACK_MAGIC {
            return Err(self.damage(0, "it does not begin with the magic of a pack"));
        }
        let behind = length.saturating_sub(frames_end);
        if behind == 0 || self.trailer()?.is_some() {
            return Ok(());
        }
        // Packs end with room that was given back where the last object turned out to be there already.
        let mut piece = vec![0; RUN_BYTES.min(behind) as usize];
        let mut offset = frames_end;
        while offset < length {
            let part = &mut piece[..RUN_BYTES.min(length - offset) as usize];
            self.read(offset, part)?;
            if !is_zero(part) {
                return Err(self.damage(offset, "what stands behind its frames is no sound trailer"));
            }
            offset += part.len() as u64;
        }
        Ok(())
    }

    /// Returns the entries of the trailer as they are encoded, and where they begin; `None` where there is no
    /// sound one. Independent of the index.
    pub fn trailer(&self) -> Result<Option<(Vec<u8>, u64)>, Problem> {
        let length = self.length(&self.pack, &self.pack_path)?;
        let Some(foot_at) = length.checked_sub(trailer::FOOT_BYTES) else { return Ok(None) };
        let mut foot = [0; trailer::FOOT_BYTES as usize];
        self.read(foot_at, &mut foot)?;
        let Some((bytes, check)) = trailer::foot(&foot) else { return Ok(None) };
        let Some(start) = foot_at.checked_sub(bytes) else { return Ok(None) };
        let mut entries = vec![0; bytes as usize];
        self.read(start, &mut entries)?;
        Ok(trailer::fits(&entries, &check).then_some((entries, start)))
    }

    /// Returns how long the pack's file is, whatever the index says.
    pub fn file_bytes(&self) -> Result<u64, Problem> {
        self.length(&self.pack, &self.pack_path)
    }

    fn row(&self, id: &Digest) -> Result<Option<Row>, Problem> {
        let rows = self.bucket(id.0[0])?;
        Ok(rows.binary_search_by_key(id, |row| row.id).ok().map(|index| rows[index]))
    }

    fn head(&self) -> Result<&Head, Problem> {
        if self.head.get().is_none() {
            let head = self.read_head()?;
            let _ = self.head.set(head);
        }
        Ok(self.head.get().expect("because it was set just now"))
    }

    fn read_head(&self) -> Result<Head, Problem> {
        let index_bytes = self.length(&self.index, &self.index_path)?;
        let mut bytes = vec![0; HEAD_BYTES as usize];
        self.read_index(0, &mut bytes)?;
        let head = decode_head(&bytes, index_bytes).map_err(|error| self.damaged(error.to_string()))?;
        let pack_bytes = self.length(&self.pack, &self.pack_path)?;
        if pack_bytes != head.pack_bytes {
            let problem = format!("it has {pack_bytes} bytes, expected {}", head.pack_bytes);
            return Err(Problem::Damaged(format!("{}: {problem}", self.pack_path.display())));
        }
        Ok(head)
    }

    fn bucket(&self, first: u8) -> Result<&[Row], Problem> {
        let slot = &self.buckets[usize::from(first)];
        if slot.get().is_none() {
            let rows = self.read_bucket(first)?;
            let _ = slot.set(rows);
        }
        Ok(slot.get().expect("because it was set just now"))
    }

    fn read_bucket(&self, first: u8) -> Result<Box<[Row]>, Problem> {
        let head = self.head()?;
        let (end, expected) = head.buckets[usize::from(first)];
        let start = if first == 0 { 0 } else { head.buckets[usize::from(first) - 1].0 };
        let mut bytes = vec![0; ((end - start) * ROW_BYTES) as usize];
        self.read_index(HEAD_BYTES + start * ROW_BYTES, &mut bytes)?;
        if check(&bytes) != expected {
            return Err(self.damaged(format!("the rows of ids from {first:02x} have a wrong checksum")));
        }
        let rows: Box<[Row]> = bytes.chunks_exact(ROW_BYTES as usize).map(row).collect();
        let ordered = rows.windows(2).all(|pair| pair[0].id < pair[1].id);
        if !ordered || rows.iter().any(|row| row.id.0[0] != first) {
            return Err(self.damaged(format!("the rows of ids from {first:02x} are out of order")));
        }
        Ok(rows)
    }

    fn read_index(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Problem> {
        let file = self.open(&self.index, &self.index_path)?;
        self.exactly(file.read_exact_at(buffer, offset), &self.index_path, offset)
    }

    fn exactly(&self, read: std::io::Result<()>, path: &std::path::Path, offset: u64) -> Result<(), Problem> {
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(Problem::Damaged(format!("{} at offset {offset}: it ends too early", path.display())))
            }
            result => Ok(result.map_err(FileError::at("read", path))?),
        }
    }

    fn length(&self, slot: &Mutex<Option<Arc<File>>>, path: &std::path::Path) -> Result<u64, Problem> {
        let file = self.open(slot, path)?;
        Ok(file.metadata().map_err(FileError::at("read the length of", path))?.len())
    }

    fn open(&self, slot: &Mutex<Option<Arc<File>>>, path: &std::path::Path) -> Result<Arc<File>, Problem> {
        let mut kept = slot.lock().expect("because opening a file does not panic");
        if let Some(file) = &*kept {
            return Ok(file.clone());
        }
        let file = Arc::new(open_plain(path)?);
        if self.opened.fetch_add(1, Ordering::Relaxed) < OPEN_FILES_MAX {
            *kept = Some(file.clone());
        }
        Ok(file)
    }

    fn damaged(&self, problem: String) -> Problem {
        Problem::Damaged(format!("{}: {problem}", self.index_path.display()))
    }
}

/// Opens a file for reading; a symbolic link is refused.
fn open_plain(path: &std::path::Path) -> Result<File, FileError> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    file.map_err(FileError::at("open", path))
}

fn row(bytes: &[u8]) -> Row {
    let array = |from: usize| bytes[from..from + 8].try_into().expect("because 8 bytes were taken");
    let length: [u8; 4] = bytes[40..44].try_into().expect("because 4 bytes were taken");
    let id = Digest(bytes[..32].try_into().expect("because 32 bytes were taken"));
    Row { id, offset: u64::from_le_bytes(array(32)), length: u32::from_le_bytes(length) }
}

fn decode_head(bytes: &[u8], index_bytes: u64) -> Result<Head, Malformed> {
    let body = bytes.len() - NAME_BYTES as usize;
    let mut input = Decoder::new(bytes, MAGIC)?;
    if bytes[body..] != Digest::of(&bytes[..body]).0 {
        return input.fail("the head's checksum is wrong");
    }
    let (objects, pack_bytes) = (input.u64()?, input.u64()?);
    let rows_bytes = objects.checked_mul(ROW_BYTES);
    if rows_bytes.is_none_or(|rows| rows > index_bytes.saturating_sub(HEAD_BYTES + NAME_BYTES)) {
        return input.fail(format!("{objects} objects in {index_bytes} bytes"));
    }
    let mut buckets: Vec<(u64, [u8; 16])> = Vec::with_capacity(256);
    for _ in 0..256 {
        let end = input.u64()?;
        let check = input.raw(16)?.try_into().expect("because 16 bytes were taken");
        if end > objects || buckets.last().is_some_and(|last| last.0 > end) {
            return input.fail("the ends of the rows must ascend");
        }
        buckets.push((end, check));
    }
    if buckets[255].0 != objects {
        return input.fail("rows are left over");
    }
    Ok(Head { pack_bytes, index_bytes, buckets })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let record = Record { kind: super::super::Kind::Blob, size: 0, chunks: Box::default(), map: None };
        let objects = (0..40u8).map(|n| (Digest::of(&[n]), Arc::new(record.clone()))).collect();
        build(objects, 8).0
    }

    /// Changes the head and makes its checksum right again.
    fn with_head(change: impl FnOnce(&mut [u8])) -> Result<Head, Malformed> {
        let bytes = sample();
        let mut head = bytes[..HEAD_BYTES as usize].to_vec();
        let body = head.len() - 32;
        change(&mut head[..body]);
        let sum = Digest::of(&head[..body]);
        head[body..].copy_from_slice(&sum.0);
        decode_head(&head, bytes.len() as u64)
    }

    #[test]
    fn hostile_counts_with_a_right_checksum_are_refused() {
        assert!(with_head(|_| {}).is_ok());
        for objects in [39, 41, 1 << 32, u64::MAX / ROW_BYTES, u64::MAX] {
            assert!(with_head(|head| head[8..16].copy_from_slice(&u64::to_le_bytes(objects))).is_err());
        }
        for end in [41, u64::MAX] {
            assert!(with_head(|head| head[24..32].copy_from_slice(&u64::to_le_bytes(end))).is_err());
        }
        assert!(with_head(|head| head[0] = b'X').is_err());
    }

    #[test]
    fn the_head_has_its_documented_length() {
        assert_eq!(HEAD_BYTES, 6200);
        assert_eq!(sample().len() as u64, HEAD_BYTES + 40 * ROW_BYTES + 40 * 30 + 32);
    }
}

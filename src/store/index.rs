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
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::encode::{Decoder, Encoder, Malformed};
use super::format::Layout;
use super::record::Record;
use crate::base::{BlobId, Digest, FileError};
use crate::tree::ContentError;

const MAGIC: &[u8; 8] = b"MKINDEX\x01";
/// What a pack begins with; frames follow.
pub(super) const PACK_MAGIC: &[u8; 8] = b"MKIPACK\x01";
const ROW_BYTES: u64 = 44;
const HEAD_BYTES: u64 = 8 + 8 + 8 + 256 * 24 + 32;
pub(super) const NAME_BYTES: u64 = 32;

/// Writes the index of a pack. Objects come in any order, and are sorted; returns the bytes and the pack's name.
pub(super) fn build(objects: &mut [(Digest, Arc<Record>)], pack_bytes: u64) -> (Vec<u8>, Digest) {
    objects.sort_unstable_by_key(|object| object.0);
    let records: Vec<Vec<u8>> = objects.iter().map(|(id, record)| record.encode(id)).collect();
    let rows: Vec<(Digest, u32)> =
        objects.iter().zip(&records).map(|(object, record)| (object.0, record.len() as u32)).collect();
    let mut bytes = Vec::new();
    let name = write(
        &rows,
        pack_bytes,
        |position, out| {
            out.extend_from_slice(&records[position]);
            Ok::<(), std::convert::Infallible>(())
        },
        |part| {
            bytes.extend_from_slice(part);
            Ok(())
        },
    );
    let Ok(name) = name;
    (bytes, name)
}

/// Bytes that are handed on at a time.
const PART_BYTES: usize = 1 << 20;

/// Writes the index of a pack part by part: `rows` are ids, strictly ascending, with the lengths of their
/// records; `record` appends the record at a position, they are asked for in order. Memory does not grow
/// with the records. Returns the pack's name.
pub(super) fn write<E>(
    rows: &[(Digest, u32)],
    pack_bytes: u64,
    mut record: impl FnMut(usize, &mut Vec<u8>) -> Result<(), E>,
    mut out: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Digest, E> {
    let ascend = rows.windows(2).all(|pair| pair[0].0 < pair[1].0);
    assert!(ascend, "because whoever writes an index sorts its rows and names each object once");
    let mut head = Encoder::new(MAGIC);
    head.u64(rows.len() as u64);
    head.u64(pack_bytes);
    let mut offset = HEAD_BYTES + rows.len() as u64 * ROW_BYTES;
    let mut end = 0;
    for first in 0..=255u8 {
        let bucket = rows[end..].partition_point(|row| row.0.0[0] == first);
        let encoded = encode_rows(&rows[end..end + bucket], &mut offset);
        end += bucket;
        head.u64(end as u64);
        head.raw(&check(&encoded));
    }
    let mut part = head.finish();
    part.extend_from_slice(blake3::hash(&part).as_bytes());
    let mut hasher = blake3::Hasher::new();
    let mut flush = |part: &mut Vec<u8>, limit: usize| {
        if part.len() > limit {
            hasher.update(part);
            out(part)?;
            part.clear();
        }
        Ok(())
    };
    let mut offset = HEAD_BYTES + rows.len() as u64 * ROW_BYTES;
    for rows in rows.chunks(PART_BYTES / ROW_BYTES as usize) {
        part.extend_from_slice(&encode_rows(rows, &mut offset));
        flush(&mut part, PART_BYTES)?;
    }
    for position in 0..rows.len() {
        record(position, &mut part)?;
        flush(&mut part, PART_BYTES)?;
    }
    flush(&mut part, 0)?;
    let name = Digest(*hasher.finalize().as_bytes());
    out(name.as_bytes())?;
    Ok(name)
}

/// Encodes rows whose records follow each other from an offset on, which is moved behind them.
fn encode_rows(rows: &[(Digest, u32)], offset: &mut u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rows.len() * ROW_BYTES as usize);
    for (id, length) in rows {
        bytes.extend_from_slice(id.as_bytes());
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        *offset += u64::from(*length);
    }
    bytes
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

pub(super) struct Head {
    pack_bytes: u64,
    index_bytes: u64,
    buckets: Vec<(u64, [u8; 16])>,
}

/// Where the record of an object lies in the index.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub id: Digest,
    pub offset: u64,
    pub length: u32,
}

impl Pack {
    pub fn new(layout: &Layout, name: Digest, opened: Arc<AtomicUsize>) -> Self {
        Self::within(&layout.packs(), name, opened)
    }

    /// Names a pack in a directory: `packs/`, or one of the trash.
    pub fn within(folder: &Path, name: Digest, opened: Arc<AtomicUsize>) -> Self {
        Pack {
            name,
            index_path: folder.join(format!("{name}.idx")),
            pack_path: folder.join(format!("{name}.pack")),
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
        self.record_of(&row).map(Some)
    }

    /// Returns where the record of an object lies; `None` where the pack doesn't hold it.
    pub fn find_row(&self, id: &Digest) -> Result<Option<Row>, Problem> {
        self.row(id)
    }

    /// Reads the record that a row leads to.
    pub fn record_of(&self, row: &Row) -> Result<Record, Problem> {
        let head = self.head()?;
        self.bounds(head, row)?;
        let mut bytes = vec![0; row.length as usize];
        self.read_index(row.offset, &mut bytes)?;
        self.decode(head, row, &bytes)
    }

    pub(super) fn bounds(&self, head: &Head, row: &Row) -> Result<(), Problem> {
        let end = row.offset.checked_add(u64::from(row.length));
        if row.offset < HEAD_BYTES || end.is_none_or(|end| end > head.index_bytes - NAME_BYTES) {
            return Err(self.damaged(format!("{} bytes at {} are outside", row.length, row.offset)));
        }
        Ok(())
    }

    pub(super) fn decode(&self, head: &Head, row: &Row, bytes: &[u8]) -> Result<Record, Problem> {
        let record = Record::decode(&row.id, bytes, head.pack_bytes);
        record.map_err(|error| self.damaged(format!("record at {}: {error}", row.offset)))
    }

    /// Returns how many objects the index names, and how long the pack is.
    pub fn extent(&self) -> Result<(u64, u64), Problem> {
        let head = self.head()?;
        Ok((head.buckets[255].0, head.pack_bytes))
    }

    /// Returns how long the pack is, in bytes, as its index says and as it is.
    pub fn bytes(&self) -> Result<u64, Problem> {
        Ok(self.head()?.pack_bytes)
    }

    /// Returns where the pack and its index lie.
    pub fn paths(&self) -> (&Path, &Path) {
        (&self.pack_path, &self.index_path)
    }

    /// Returns all ids that begin with these bytes' first byte.
    pub fn ids(&self, first: u8) -> Result<impl Iterator<Item = Digest> + '_, Problem> {
        Ok(self.bucket(first)?.iter().map(|row| row.id))
    }

    /// Reads bytes of the pack.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Problem> {
        self.read_file(&self.pack, &self.pack_path, offset, buffer)
    }

    /// Says that bytes of the pack are not what they should be.
    pub fn damage(&self, offset: u64, problem: &str) -> Problem {
        Problem::Damaged(format!("{} at offset {offset}: {problem}", self.pack_path.display()))
    }

    fn row(&self, id: &Digest) -> Result<Option<Row>, Problem> {
        let rows = self.bucket(id.0[0])?;
        Ok(rows.binary_search_by_key(id, |row| row.id).ok().map(|index| rows[index]))
    }

    pub(super) fn head(&self) -> Result<&Head, Problem> {
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

    /// Reads the rows of the ids that begin with this byte. They are not kept.
    pub fn read_bucket(&self, first: u8) -> Result<Box<[Row]>, Problem> {
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

    pub(super) fn read_index(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Problem> {
        self.read_file(&self.index, &self.index_path, offset, buffer)
    }

    fn exactly(&self, read: std::io::Result<()>, path: &Path, offset: u64) -> Result<(), Problem> {
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(Problem::Damaged(format!("{} at offset {offset}: it ends too early", path.display())))
            }
            result => Ok(result.map_err(FileError::at("read", path))?),
        }
    }

    /// Returns how long the pack's file is, whatever the index says.
    pub fn file_bytes(&self) -> Result<u64, Problem> {
        self.length(&self.pack, &self.pack_path)
    }

    /// Returns how long the index is.
    pub(super) fn index_bytes(&self) -> Result<u64, Problem> {
        self.length(&self.index, &self.index_path)
    }

    fn length(&self, slot: &Mutex<Option<Arc<File>>>, path: &Path) -> Result<u64, Problem> {
        let file = self.open(slot, path)?;
        Ok(file.metadata().map_err(FileError::at("read the length of", path))?.len())
    }

    fn open(&self, slot: &Mutex<Option<Arc<File>>>, path: &Path) -> Result<Arc<File>, Problem> {
        let mut kept = slot.lock().expect("because opening a file does not panic");
        if let Some(file) = &*kept {
            return Ok(file.clone());
        }
        let file = Arc::new(open_plain(path)?);
        if self.opened.fetch_add(1, Ordering::Relaxed) < OPEN_FILES_MAX {
            *kept = Some(file.clone());
        } else {
            self.opened.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(file)
    }

    /// Reads at an offset. A file server may forget a file that was open (ESTALE): then it is opened once more.
    fn read_file(
        &self,
        slot: &Mutex<Option<Arc<File>>>,
        path: &Path,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), Problem> {
        let mut read = self.open(slot, path)?.read_exact_at(buffer, offset);
        if read.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::StaleNetworkFileHandle) {
            self.forget(slot);
            read = self.open(slot, path)?.read_exact_at(buffer, offset);
        }
        self.exactly(read, path, offset)
    }

    /// Closes a file that was kept open.
    fn forget(&self, slot: &Mutex<Option<Arc<File>>>) {
        if slot.lock().expect("because opening a file does not panic").take().is_some() {
            self.opened.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn damaged(&self, problem: String) -> Problem {
        Problem::Damaged(format!("{}: {problem}", self.index_path.display()))
    }
}

impl Drop for Pack {
    fn drop(&mut self) {
        self.forget(&self.index);
        self.forget(&self.pack);
    }
}

/// Opens a file for reading; a symbolic link is refused.
fn open_plain(path: &Path) -> Result<File, FileError> {
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
        let mut objects: Vec<_> = (0..40u8).map(|n| (Digest::of(&[n]), Arc::new(record.clone()))).collect();
        build(&mut objects, 8).0
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

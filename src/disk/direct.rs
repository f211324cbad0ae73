//! Reading past the page cache: what the medium answers, not what this system remembers of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::{Mutex, OnceLock};

use rustix::fs::{Advice, OFlags, fadvise};

/// What direct reads are aligned to: at least the logical sector of every disk that we boot from.
const ALIGNMENT: u64 = 4096;
/// Bytes that are read at once.
const PIECE: u64 = 1 << 20;

/// Bytes in memory that a disk can read into past the cache, without a copy on the way.
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    skip: usize,
    length: usize,
}

impl AlignedBuffer {
    /// Makes a buffer of zeros.
    pub fn new(length: usize) -> Self {
        let bytes = vec![0; length + ALIGNMENT as usize];
        let skip = bytes.as_ptr().align_offset(ALIGNMENT as usize);
        AlignedBuffer { bytes, skip, length }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.skip..][..self.length]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.skip..][..self.length]
    }
}

/// Reads a file or block device with `O_DIRECT`; where its file system doesn't know that, after having told
/// the system to forget the range, which it does for what was flushed.
#[derive(Default)]
pub struct DirectReader {
    /// The same file once more, opened when it is first needed: the flag belongs to the open file.
    opened: OnceLock<Option<File>>,
    /// Buffers that nobody holds, each with room for a piece.
    spare: Mutex<Vec<AlignedBuffer>>,
}

impl DirectReader {
    /// Takes a file that [`open`] opened earlier, where it will not be possible when it is needed.
    pub fn opened(direct: Option<File>) -> DirectReader {
        DirectReader { opened: OnceLock::from(direct), spare: Mutex::default() }
    }

    /// Fills `buffer` from `offset` on. The range must lie inside the file. Cheapest where offset, length and an
    /// [`AlignedBuffer`] are whole blocks of 4096 bytes.
    pub fn read(&self, file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let Some(direct) = self.opened.get_or_init(|| open(file)) else {
            return read_forgotten(file, offset, buffer);
        };
        let read = match is_aligned(offset, buffer) {
            true => read_straight(direct, offset, buffer),
            false => {
                let spare = self.spare.lock().expect("because taking a buffer can't panic").pop();
                let mut room = spare.unwrap_or_else(|| AlignedBuffer::new(PIECE as usize));
                let read = read_aligned(direct, offset, buffer, &mut room);
                self.spare.lock().expect("because giving a buffer back can't panic").push(room);
                read
            }
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => read_forgotten(file, offset, buffer),
            read => read,
        }
    }
}

/// Opens a file once more, to be read past the cache; `None` where its file system doesn't know that.
pub fn open(file: &File) -> Option<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::DIRECT.bits() as i32;
    OpenOptions::new().read(true).custom_flags(flags).open(path).ok()
}

fn is_aligned(offset: u64, buffer: &[u8]) -> bool {
    buffer.as_ptr().align_offset(ALIGNMENT as usize) == 0
        && offset.is_multiple_of(ALIGNMENT)
        && (buffer.len() as u64).is_multiple_of(ALIGNMENT)
}

/// Reads into the place where the bytes are wanted.
fn read_straight(direct: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    match fill(direct, offset, buffer)? == buffer.len() {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads aligned pieces around the range through `room`.
fn read_aligned(direct: &File, offset: u64, buffer: &mut [u8], room: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        let at = offset + done as u64;
        let start = at - at % ALIGNMENT;
        let wanted = (offset + buffer.len() as u64).next_multiple_of(ALIGNMENT).min(start + PIECE) - start;
        let read = fill(direct, start, &mut room[..wanted as usize])?;
        let inside = (at - start) as usize;
        let count = read.saturating_sub(inside).min(buffer.len() - done);
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer[done..done + count].copy_from_slice(&room[inside..inside + count]);
        done += count;
    }
    Ok(())
}

/// Reads until the room is full or the file ends, whose last block may be short.
fn fill(direct: &File, start: u64, room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < room.len() {
        match direct.read_at(&mut room[filled..], start + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if !(filled as u64).is_multiple_of(ALIGNMENT) {
            break;
        }
    }
    Ok(filled)
}

fn read_forgotten(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let _ = fadvise(file, offset, NonZeroU64::new(buffer.len() as u64), Advice::DontNeed);
    file.read_exact_at(buffer, offset)
}

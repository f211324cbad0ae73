//! Writing only what differs, and reading back past the cache what was written.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{Result, SlotsError};
use crate::base::job::Unit;
use crate::base::units::BLOCK_BYTES;
use crate::base::{Digest, Job};
use crate::disk::{AlignedBuffer, BlockDevice};

/// Bytes that are compared at a time.
const PIECE_BYTES: u64 = 1 << 20;
/// A run of so many bytes is on its way to the disk while the next one is made.
const LONG_BYTES: usize = 64 << 10;

/// A device that is renewed in place. Needs a mebibyte a worker, and 48 bytes for each run that it writes.
pub struct Renewal<'a> {
    device: &'a dyn BlockDevice,
    /// What the range is called in messages.
    place: String,
    /// What is written as a whole: a block of a filesystem, a sector of the ESP.
    grain: u64,
    runs: Mutex<Vec<Run>>,
    spare: Mutex<Vec<AlignedBuffer>>,
    kept_bytes: AtomicU64,
    written_bytes: AtomicU64,
    erased_bytes: AtomicU64,
}

/// Bytes that were written, to be read back.
struct Run {
    offset: u64,
    length: u64,
    digest: Digest,
}

/// What a renewal came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Renewed {
    /// Bytes that were right already.
    pub kept_bytes: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Bytes that were not zero and had to be.
    pub erased_bytes: u64,
}

impl<'a> Renewal<'a> {
    /// Makes a renewal that compares and writes whole `grain`s.
    pub fn new(device: &'a dyn BlockDevice, place: String, grain: u64) -> Self {
        Renewal {
            device,
            place,
            grain,
            runs: Mutex::default(),
            spare: Mutex::default(),
            kept_bytes: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            erased_bytes: AtomicU64::new(0),
        }
    }

    /// Returns the number of bytes kept, written and erased so far.
    pub fn renewed(&self) -> Renewed {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Renewed {
            kept_bytes: count(&self.kept_bytes),
            written_bytes: count(&self.written_bytes),
            erased_bytes: count(&self.erased_bytes),
        }
    }

    /// Counts bytes that somebody else found right.
    pub fn keep(&self, bytes: u64) {
        self.kept_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Makes blocks zero, of which somebody found that they are not. They become a hole where the device can have some.
    pub fn erase(&self, blocks: impl Iterator<Item = u64>, job: &Job) -> Result<()> {
        for (first, count) in runs(blocks) {
            let (start, end) = (first * BLOCK_BYTES, (first + count) * BLOCK_BYTES);
            for at in (start..end).step_by(PIECE_BYTES as usize) {
                job.check()?;
                let length = PIECE_BYTES.min(end - at);
                let erased = self.device.erase_at(at, length);
                erased.map_err(SlotsError::device("clear", &self.place))?;
                self.erased_bytes.fetch_add(length, Ordering::Relaxed);
                self.note(at, &vec![0; length as usize]);
            }
        }
        Ok(())
    }

    /// Reads back past the cache what was written. To be called after a flush.
    pub fn read_back(&self, job: &Job) -> Result<()> {
        let runs = std::mem::take(&mut *self.runs.lock().expect("because noting a run can't panic"));
        let total = runs.iter().map(|run| run.length).sum();
        let step = job.step("read back", Some(total), Unit::Bytes);
        job.workers.for_waiting().for_each(runs.iter(), |run| {
            job.check()?;
            let read = self.with_room(|room| {
                let back = &mut room[..run.length as usize];
                self.device.read_back_at(run.offset, back)?;
                Ok(Digest::of(back) == run.digest)
            });
            step.advance(run.length);
            match read.map_err(SlotsError::device("read back", &self.place))? {
                true => Ok(()),
                false => Err(SlotsError::ReadBack { place: self.place.clone(), offset: run.offset }),
            }
        })
    }

    fn with_room<T>(&self, work: impl FnOnce(&mut [u8]) -> io::Result<T>) -> io::Result<T> {
        let spare = self.spare.lock().expect("because taking a buffer can't panic").pop();
        let mut room = spare.unwrap_or_else(|| AlignedBuffer::new(PIECE_BYTES as usize));
        let done = work(&mut room);
        self.spare.lock().expect("because giving a buffer back can't panic").push(room);
        done
    }

    /// Writes the grains of a piece that hold something else.
    fn renew(&self, offset: u64, new: &[u8], room: &mut [u8]) -> io::Result<()> {
        let old = &mut room[..new.len()];
        self.read_old(offset, old)?;
        let grain = self.grain as usize;
        let differs = old.chunks(grain).zip(new.chunks(grain)).map(|(old, new)| old != new);
        let mut written = 0;
        for (at, length) in runs((0..).zip(differs).filter(|(_, differs)| *differs).map(|(at, _)| at)) {
            let range = at as usize * grain..new.len().min((at + length) as usize * grain);
            self.put(offset + range.start as u64, &new[range.clone()])?;
            written += range.len() as u64;
        }
        self.keep(new.len() as u64 - written);
        Ok(())
    }

    /// Writes at most a piece, whatever is there.
    fn put(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.device.write_at(offset, bytes)?;
        if bytes.len() >= LONG_BYTES {
            self.device.begin_flush(offset, bytes.len() as u64);
        }
        self.written_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.note(offset, bytes);
        Ok(())
    }

    fn note(&self, offset: u64, bytes: &[u8]) {
        let run = Run { offset, length: bytes.len() as u64, digest: Digest::of(bytes) };
        self.runs.lock().expect("because noting a run can't panic").push(run);
    }

    /// Reads what is there, past the cache; a hole need not be read.
    fn read_old(&self, offset: u64, old: &mut [u8]) -> io::Result<()> {
        if self.device.next_data(offset) >= offset + old.len() as u64 {
            old.fill(0);
            return Ok(());
        }
        self.device.read_back_at(offset, old)
    }

    /// Calls `write` for each piece of what is to be written at `offset`, a multiple of the grain.
    fn in_pieces(
        &self,
        offset: u64,
        bytes: &[u8],
        mut write: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if !offset.is_multiple_of(self.grain)
            || offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.device.size())
        {
            let problem = format!("{} bytes at {offset} are no whole blocks of the slot", bytes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        for (piece, at) in bytes.chunks(PIECE_BYTES as usize).zip((offset..).step_by(PIECE_BYTES as usize)) {
            write(at, piece)?;
        }
        Ok(())
    }
}

/// Returns the runs of ascending numbers: first and length.
fn runs(numbers: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for at in numbers {
        match runs.last_mut() {
            Some((start, length)) if *start + *length == at => *length += 1,
            _ => runs.push((at, 1)),
        }
    }
    runs
}

/// A renewal for whoever has looked at the blocks before `end`: those that he writes are not compared again.
pub struct Replaced<'a> {
    pub renewal: &'a Renewal<'a>,
    pub end: u64,
}

impl BlockDevice for Replaced<'_> {
    fn size(&self) -> u64 {
        self.renewal.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.renewal.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match offset < self.end {
            true => self.renewal.in_pieces(offset, bytes, |at, piece| self.renewal.put(at, piece)),
            false => self.renewal.write_at(offset, bytes),
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.renewal.flush()
    }
}

impl BlockDevice for Renewal<'_> {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.device.read_back_at(offset, buffer)
    }

    /// Writes the grains that hold something else. `offset` is a multiple of the grain.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.in_pieces(offset, bytes, |at, piece| self.with_room(|room| self.renew(at, piece, room)))
    }

    fn flush(&self) -> io::Result<()> {
        self.device.flush()
    }
}

/// The blocks of a filesystem and its verity tree.
pub const BLOCK_GRAIN: u64 = BLOCK_BYTES;
/// The sectors of the ESP.
pub const SECTOR_GRAIN: u64 = crate::base::units::SECTOR_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDevice;

    /// Counts what reaches the device, and can forget it.
    struct Watched {
        inner: MemoryDevice,
        writes: Mutex<Vec<(u64, usize)>>,
        forgets: bool,
    }

    impl Watched {
        fn new(bytes: &[u8], forgets: bool) -> Watched {
            let inner = MemoryDevice::new(bytes.len() as u64);
            inner.write_at(0, bytes).expect("written");
            Watched { inner, writes: Mutex::default(), forgets }
        }
    }

    impl BlockDevice for Watched {
        fn size(&self) -> u64 {
            self.inner.size()
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            self.inner.read_at(offset, buffer)
        }
        fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.writes.lock().expect("lock").push((offset, bytes.len()));
            if self.forgets { Ok(()) } else { self.inner.write_at(offset, bytes) }
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn renewal(device: &Watched) -> Renewal<'_> {
        Renewal::new(device, "a slot".to_owned(), BLOCK_GRAIN)
    }

    #[test]
    fn blocks_that_are_right_are_not_written() {
        let mut bytes = vec![1; 40 * 4096];
        let device = Watched::new(&bytes, false);
        bytes[5 * 4096] = 2;
        bytes[6 * 4096 + 4095] = 2;
        bytes[39 * 4096] = 2;
        let renewal = renewal(&device);
        renewal.write_at(0, &bytes).expect("written");
        assert_eq!(*device.writes.lock().expect("lock"), [(5 * 4096, 2 * 4096), (39 * 4096, 4096)]);
        let Renewed { kept_bytes, written_bytes, .. } = renewal.renewed();
        assert_eq!((kept_bytes, written_bytes), (37 * 4096, 3 * 4096));
        renewal.read_back(&Job::quiet(2)).expect("it is there");
        assert!(renewal.write_at(1, &[0]).is_err() && renewal.write_at(40 * 4096, &[0]).is_err());
    }

    #[test]
    fn what_is_erased_becomes_zero_in_whole_runs() {
        let bytes = vec![9; 600 * 4096];
        let device = Watched::new(&bytes, false);
        let renewal = renewal(&device);
        renewal.erase((2..3).chain(100..400).chain(599..600), &Job::quiet(1)).expect("erased");
        assert_eq!(renewal.renewed().erased_bytes, 302 * 4096);
        renewal.read_back(&Job::quiet(1)).expect("it is there");
        let mut expected = bytes;
        for run in [2..3, 100..400, 599..600] {
            expected[run.start * 4096..run.end * 4096].fill(0);
        }
        assert!(device.inner.into_bytes() == expected);
    }

    #[test]
    fn what_was_looked_at_is_written_without_another_look() {
        let device = Watched::new(&[7; 8 * 4096], false);
        let renewal = renewal(&device);
        let replaced = Replaced { renewal: &renewal, end: 4 * 4096 };
        replaced.write_at(2 * 4096, &[7; 4096]).expect("written");
        replaced.write_at(4 * 4096, &[7; 2 * 4096]).expect("right already");
        assert_eq!(*device.writes.lock().expect("lock"), [(2 * 4096, 4096)]);
        assert_eq!(renewal.renewed().kept_bytes, 2 * 4096);
        assert!(replaced.write_at(1, &[0]).is_err());
    }

    #[test]
    fn a_medium_that_forgets_is_found_out() {
        let device = Watched::new(&[0; 8 * 4096], true);
        let renewal = renewal(&device);
        renewal.write_at(2 * 4096, &[7; 4096]).expect("it says so");
        let error = renewal.read_back(&Job::quiet(1)).expect_err("found out");
        assert!(matches!(error, SlotsError::ReadBack { offset: 8192, .. }), "{error}");
    }
}

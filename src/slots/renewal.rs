//! Writing only what differs: old bytes are read past the cache, blocks that are right stay, the others are
//! written and noted, so that they can be read back.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{Result, SlotsError};
use crate::base::job::Unit;
use crate::base::units::BLOCK_BYTES;
use crate::base::{Digest, Job};
use crate::disk::verity::VerityTree;
use crate::disk::{AlignedBuffer, BlockDevice, BlockSet};
use crate::tree::content::is_zero;

/// Bytes that are compared at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// A device that is renewed in place. Needs a mebibyte a worker, 40 bytes for each run that it writes, and a
/// bit for each block.
pub struct Renewal<'a> {
    device: &'a dyn BlockDevice,
    /// What the range is called in messages.
    place: String,
    /// What is written as a whole: a block of a filesystem, a sector of the ESP.
    grain: u64,
    /// The grains that somebody wrote, changed or not, or found right.
    seen: BlockSet,
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
            seen: BlockSet::new(device.size().div_ceil(grain)),
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

    /// Reads every block below a verity tree past the cache, and leaves those alone that hold what it says: they
    /// count as written. Returns them.
    pub fn keep_right(&self, tree: &VerityTree, job: &Job) -> Result<BlockSet> {
        let (right, end) = (BlockSet::new(tree.data_blocks()), tree.data_blocks() * BLOCK_BYTES);
        let step = job.step("compare", Some(end), Unit::Bytes);
        let pieces = (0..end).step_by(PIECE_BYTES as usize);
        job.workers.for_waiting().for_each(pieces, |start| {
            job.check()?;
            let length = PIECE_BYTES.min(end - start);
            let kept = self.with_room(|room| {
                let old = &mut room[..length as usize];
                self.read_old(start, old)?;
                Ok(note_right(tree, start / BLOCK_BYTES, old, &right))
            });
            let kept = kept.map_err(SlotsError::device("read", &self.place))?;
            self.kept_bytes.fetch_add(kept, Ordering::Relaxed);
            step.advance(length);
            Ok::<_, SlotsError>(())
        })?;
        let grains = BLOCK_BYTES / self.grain;
        let kept = (0..tree.data_blocks()).filter(|&block| right.has(block));
        kept.for_each(|block| self.seen.add(block * grains..(block + 1) * grains));
        Ok(right)
    }

    /// Takes back what [`Renewal::keep_right`] found: the tree was of something else.
    pub fn forget_right(&self) {
        self.seen.clear();
        self.kept_bytes.store(0, Ordering::Relaxed);
    }

    /// Makes every block before `end` zero that nobody wrote. Blocks that read as zero are left alone, holes
    /// as holes.
    pub fn erase_rest(&self, end: u64, job: &Job) -> Result<()> {
        let pieces = (0..end).step_by(PIECE_BYTES as usize);
        job.workers.for_each(pieces, |start| {
            job.check()?;
            let erased =
                self.with_room(|room| self.erase_unseen(start, (start + PIECE_BYTES).min(end), room));
            erased.map_err(SlotsError::device("clear", &self.place))
        })
    }

    fn erase_unseen(&self, start: u64, end: u64, room: &mut [u8]) -> io::Result<()> {
        let grains: Vec<u64> = (start / self.grain..end.div_ceil(self.grain)).collect();
        for run in grains.chunk_by(|&one, &next| self.seen.has(one) == self.seen.has(next)) {
            if self.seen.has(run[0]) {
                continue;
            }
            let from = run[0] * self.grain;
            let old = &mut room[..run.len() * self.grain as usize];
            self.read_old(from, old)?;
            for (at, length) in runs(old.chunks(self.grain as usize).map(|block| !is_zero(block))) {
                let (at, length) = (from + at * self.grain, length * self.grain);
                self.device.erase_at(at, length)?;
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
        for (at, length) in runs(differs) {
            let range = at as usize * grain..new.len().min((at + length) as usize * grain);
            self.device.write_at(offset + range.start as u64, &new[range.clone()])?;
            self.note(offset + range.start as u64, &new[range.clone()]);
            written += range.len() as u64;
        }
        self.written_bytes.fetch_add(written, Ordering::Relaxed);
        self.kept_bytes.fetch_add(new.len() as u64 - written, Ordering::Relaxed);
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
}

/// Notes which blocks are right, and returns how many bytes those have that are not zero.
fn note_right(tree: &VerityTree, first: u64, bytes: &[u8], right: &BlockSet) -> u64 {
    let blocks = (first..).zip(bytes.chunks_exact(BLOCK_BYTES as usize));
    let mut kept = 0;
    for (block, _) in blocks.filter(|(block, bytes)| tree.is_right(*block, bytes)) {
        right.add(block..block + 1);
        kept += if tree.says_zero(block) { 0 } else { BLOCK_BYTES };
    }
    kept
}

/// Returns the runs of `true`: position and length.
fn runs(flags: impl Iterator<Item = bool>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (at, _) in (0..).zip(flags).filter(|(_, flag)| *flag) {
        match runs.last_mut() {
            Some((start, length)) if *start + *length == at => *length += 1,
            _ => runs.push((at, 1)),
        }
    }
    runs
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
        if !offset.is_multiple_of(self.grain)
            || offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.size())
        {
            let problem = format!("{} bytes at {offset} are no whole blocks of the slot", bytes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        self.seen.add(offset / self.grain..(offset + bytes.len() as u64).div_ceil(self.grain));
        for (piece, at) in bytes.chunks(PIECE_BYTES as usize).zip((offset..).step_by(PIECE_BYTES as usize)) {
            self.with_room(|room| self.renew(at, piece, room))?;
        }
        Ok(())
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
    fn what_nobody_wrote_becomes_zero_and_zeros_stay_untouched() {
        let mut bytes = vec![0; 600 * 4096];
        bytes[4096..3 * 4096].fill(9);
        bytes[400 * 4096..402 * 4096].fill(9);
        bytes[599 * 4096] = 9;
        let device = Watched::new(&bytes, false);
        let renewal = renewal(&device);
        renewal.write_at(4096, &[9; 4096]).expect("written");
        renewal.erase_rest(599 * 4096, &Job::quiet(1)).expect("erased");
        let writes: Vec<_> = device.writes.lock().expect("lock").clone();
        assert_eq!(writes, [(2 * 4096, 4096), (400 * 4096, 2 * 4096)]);
        let mut expected = vec![0; 600 * 4096];
        expected[4096..2 * 4096].fill(9);
        expected[599 * 4096] = 9;
        renewal.read_back(&Job::quiet(1)).expect("it is there");
        drop(renewal);
        assert!(device.inner.into_bytes() == expected);
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

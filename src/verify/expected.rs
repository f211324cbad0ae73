//! What should stand on a device, written into memory by our own writers, and held against what does.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use super::error::{Result, VerifyError};
use crate::base::Job;
use crate::base::units::BLOCK_BYTES;
use crate::disk::BlockDevice;
use crate::tree::content::is_zero;

const PAGE: usize = BLOCK_BYTES as usize;
/// Bytes that are compared at a time.
pub const PIECE_BYTES: u64 = 1 << 20;

/// A device of any size that holds in memory what was written to it. The rest reads as zero.
pub struct Expected {
    size: u64,
    pages: Mutex<BTreeMap<u64, Box<[u8; PAGE]>>>,
}

impl Expected {
    pub fn new(size: u64) -> Self {
        Expected { size, pages: Mutex::default() }
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Box<[u8; PAGE]>>> {
        self.pages.lock().expect("because copying bytes doesn't panic")
    }

    fn check(&self, offset: u64, length: usize) -> io::Result<()> {
        match offset.checked_add(length as u64) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{length} bytes at {offset}"))),
        }
    }
}

/// Calls `each` for the part of a range that lies in each page: page, place in it, place in the range, length.
fn for_pages(offset: u64, length: usize, mut each: impl FnMut(u64, usize, usize, usize)) {
    let mut done = 0;
    while done < length {
        let at = offset + done as u64;
        let inside = (at % BLOCK_BYTES) as usize;
        let count = (PAGE - inside).min(length - done);
        each(at / BLOCK_BYTES, inside, done, count);
        done += count;
    }
}

impl BlockDevice for Expected {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.check(offset, buffer.len())?;
        let pages = self.pages();
        for_pages(offset, buffer.len(), |page, inside, at, count| {
            let out = &mut buffer[at..at + count];
            match pages.get(&page) {
                Some(bytes) => out.copy_from_slice(&bytes[inside..inside + count]),
                None => out.fill(0),
            }
        });
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(offset, bytes.len())?;
        let mut pages = self.pages();
        for_pages(offset, bytes.len(), |page, inside, at, count| {
            let page = pages.entry(page).or_insert_with(|| Box::new([0; PAGE]));
            page[inside..inside + count].copy_from_slice(&bytes[at..at + count]);
        });
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn next_data(&self, offset: u64) -> u64 {
        let page = offset / BLOCK_BYTES;
        let next = self.pages().range(page..).next().map(|(page, _)| page * BLOCK_BYTES);
        next.map_or(self.size.max(offset), |next| next.max(offset))
    }
}

/// A run of bytes in which two devices differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub offset: u64,
    pub bytes: u64,
}

/// Runs that are kept of one comparison; behind them only the fact counts.
pub const RUNS_MAX: usize = 4096;

/// Returns where two devices differ within a range, ascending, at most [`RUNS_MAX`] runs. Equal bytes between two
/// differing ones of the same 16 do not part a run.
pub fn differences(
    a: &dyn BlockDevice,
    b: &dyn BlockDevice,
    ranges: &[(u64, u64)],
    job: &Job,
) -> Result<Vec<Run>> {
    let pieces = ranges.iter().flat_map(|&(start, bytes)| {
        (0..bytes.div_ceil(PIECE_BYTES)).map(move |piece| {
            let at = start + piece * PIECE_BYTES;
            (at, PIECE_BYTES.min(start + bytes - at))
        })
    });
    let found = Mutex::new(Vec::new());
    let spare: Mutex<Vec<[Vec<u8>; 2]>> = Mutex::default();
    job.workers.for_each(pieces, |(offset, bytes)| {
        job.check()?;
        if [a, b].iter().all(|device| device.next_data(offset) >= offset + bytes) {
            return Ok(());
        }
        let taken = spare.lock().expect("because taking a buffer can't panic").pop();
        let mut buffers = taken.unwrap_or_else(|| [(); 2].map(|()| vec![0; PIECE_BYTES as usize]));
        for (device, buffer) in [a, b].into_iter().zip(&mut buffers) {
            read(device, offset, &mut buffer[..bytes as usize])?;
        }
        if buffers[0][..bytes as usize] != buffers[1][..bytes as usize] {
            let runs = runs(offset, &buffers[0][..bytes as usize], &buffers[1][..bytes as usize]);
            let mut found = found.lock().expect("because noting runs can't panic");
            if found.len() <= RUNS_MAX {
                found.extend(runs);
            }
        }
        spare.lock().expect("because giving a buffer back can't panic").push(buffers);
        Ok::<_, VerifyError>(())
    })?;
    let mut found = found.into_inner().expect("because noting runs can't panic");
    found.sort_by_key(|run: &Run| run.offset);
    found.truncate(RUNS_MAX);
    Ok(found)
}

fn runs(base: u64, a: &[u8], b: &[u8]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (block, (one, other)) in a.chunks(16).zip(b.chunks(16)).enumerate() {
        if one == other {
            continue;
        }
        let differs = |(x, y): (&u8, &u8)| x != y;
        let first = one.iter().zip(other).position(differs).expect("because the chunks differ");
        let last = one.iter().zip(other).rposition(differs).expect("because the chunks differ");
        let start = base + (block * 16 + first) as u64;
        let end = base + (block * 16 + last) as u64 + 1;
        let full = runs.len() > RUNS_MAX;
        match runs.last_mut() {
            Some(run) if start - (run.offset + run.bytes) < 16 => run.bytes = end - run.offset,
            _ if full => break,
            _ => runs.push(Run { offset: start, bytes: end - start }),
        }
    }
    runs
}

/// Returns the ranges of a device that hold a byte other than zero, in whole pieces: for what must be empty.
pub fn first_byte(device: &dyn BlockDevice, start: u64, bytes: u64, job: &Job) -> Result<Option<u64>> {
    let found = Mutex::new(None::<u64>);
    let pieces = (0..bytes.div_ceil(PIECE_BYTES)).map(|piece| piece * PIECE_BYTES);
    job.workers.for_each(pieces, |at| {
        job.check()?;
        if device.next_data(start + at) >= start + at + PIECE_BYTES.min(bytes - at) {
            return Ok(());
        }
        let mut buffer = vec![0; PIECE_BYTES.min(bytes - at) as usize];
        read(device, start + at, &mut buffer)?;
        if !is_zero(&buffer) {
            let place = buffer.iter().position(|&byte| byte != 0).expect("because it is not zero");
            let place = start + at + place as u64;
            let mut found = found.lock().expect("because noting a number can't panic");
            *found = Some(found.map_or(place, |first| first.min(place)));
        }
        Ok::<_, VerifyError>(())
    })?;
    Ok(found.into_inner().expect("because noting a number can't panic"))
}

/// Reads, and says what failed.
pub fn read(device: &dyn BlockDevice, offset: u64, buffer: &mut [u8]) -> Result<()> {
    let bytes = buffer.len() as u64;
    let failed = |source| VerifyError::Device { doing: "read", offset, bytes, source };
    device.read_at(offset, buffer).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDevice;

    #[test]
    fn what_was_written_reads_back_and_the_rest_is_zero() {
        let device = Expected::new(1 << 40);
        device.write_at(4090, &[7; 5000]).expect("inside");
        let mut buffer = [1; 5010];
        device.read_at(4085, &mut buffer).expect("inside");
        assert_eq!((buffer[4], buffer[5], buffer[5004], buffer[5005]), (0, 7, 7, 0));
        assert!(device.write_at((1 << 40) - 1, &[0; 2]).is_err());
        assert!(device.read_at(u64::MAX, &mut [0; 2]).is_err());
    }

    #[test]
    fn every_difference_is_in_a_run_and_nothing_else() {
        let (a, b) = (MemoryDevice::new(3 << 20), MemoryDevice::new(3 << 20));
        for at in [0, 5, 100, (1 << 20) - 1, 1 << 20, (3 << 20) - 1] {
            b.write_at(at, &[1]).expect("inside");
        }
        let job = Job::quiet(2);
        let found = differences(&a, &b, &[(0, 3 << 20)], &job).expect("compared");
        let places: Vec<_> = found.iter().map(|run| (run.offset, run.bytes)).collect();
        assert_eq!(places, [(0, 6), (100, 1), ((1 << 20) - 1, 1), (1 << 20, 1), ((3 << 20) - 1, 1)]);
        assert_eq!(differences(&a, &b, &[(101, 1000)], &job).expect("compared"), []);
        assert_eq!(first_byte(&b, 1, 3 << 20, &job).ok(), None, "behind the end");
        assert_eq!(first_byte(&b, 6, 1 << 20, &job).expect("read"), Some(100));
        assert_eq!(first_byte(&b, 101, 1000, &job).expect("read"), None);
    }
}

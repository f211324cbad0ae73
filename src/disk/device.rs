//! What an image is written to: a file, a block device, memory, or a window into one of them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::RwLock;

use super::direct::{self, DirectReader};

/// A range of bytes that can be read and written at any offset, from many threads at once. Writers of
/// different ranges never disturb each other.
pub trait BlockDevice: Sync {
    /// Returns the length in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset` on. What was never written reads as zero.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` from `offset` on. A range that passes the end is an error, before any byte.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all that was written durable.
    fn flush(&self) -> io::Result<()>;

    /// Fills `buffer` from `offset` on with what the medium answers, past the system's caches where there
    /// are some: what a machine finds there after its power was gone, if it was flushed before.
    fn read_back_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, buffer)
    }

    /// Makes a range read as zero. Where the device can have holes, it becomes one.
    fn erase_at(&self, offset: u64, length: u64) -> io::Result<()> {
        write_zeros(self, offset, length)
    }

    /// Returns the first place from `offset` on where something other than zero may stand: what lies before it
    /// reads as zero, and need not be read to know that. The length of the device where nothing does.
    fn next_data(&self, offset: u64) -> u64 {
        offset
    }

    /// Says that a range was written and will be flushed: the system may begin with it, so that [`BlockDevice::flush`],
    /// which is needed all the same, finds it done.
    fn begin_flush(&self, _offset: u64, _length: u64) {}

    /// Returns how much of a range has no room of its own yet: to write there takes so much of
    /// [`BlockDevice::free_bytes`].
    fn hole_bytes(&self, _offset: u64, _length: u64) -> u64 {
        0
    }

    /// Returns how many bytes are free below the device; `None` where writing takes no room that it has not.
    fn free_bytes(&self) -> Option<u64> {
        None
    }
}

/// Writes zeros to a range, a piece at a time.
fn write_zeros(device: &(impl BlockDevice + ?Sized), offset: u64, length: u64) -> io::Result<()> {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    for at in (0..length).step_by(ZEROS.len()) {
        let piece = (length - at).min(ZEROS.len() as u64) as usize;
        device.write_at(offset + at, &ZEROS[..piece])?;
    }
    Ok(())
}

/// Is shown what a writer wrote, while it is hot. Blocks that are never shown are zero.
pub trait BlockObserver: Sync {
    /// `bytes` were written from block `first` on; whole blocks of 4096 bytes. Called from many threads,
    /// at most once for each block.
    fn wrote(&self, first: u64, bytes: &[u8]);
}

/// An image in a file, or a block device. New files are sparse: what isn't written stays a hole.
pub struct FileDevice {
    file: File,
    size: u64,
    direct: DirectReader,
}

impl FileDevice {
    /// Takes an open file that has its final length.
    pub fn new(file: File, size: u64) -> Self {
        FileDevice { file, size, direct: DirectReader::default() }
    }

    /// Opens a file once more, for [`FileDevice::with_direct`]; `None` where its file system can't be read past the
    /// cache.
    pub fn direct(file: &File) -> Option<File> {
        direct::open(file)
    }

    /// Reads past the cache through what [`FileDevice::direct`] opened: for a process that can open nothing any more
    /// when it first needs it.
    pub fn with_direct(mut self, direct: Option<File>) -> Self {
        self.direct = DirectReader::opened(direct);
        self
    }
}

fn check_range(size: u64, offset: u64, length: usize) -> io::Result<()> {
    match offset.checked_add(length as u64) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{length} bytes at {offset} pass the end of a device of {size} bytes"),
        )),
    }
}

impl BlockDevice for FileDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        check_range(self.size, offset, buffer.len())?;
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        check_range(self.size, offset, bytes.len())?;
        self.file.write_all_at(bytes, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn read_back_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        check_range(self.size, offset, buffer.len())?;
        self.direct.read(&self.file, offset, buffer)
    }

    fn erase_at(&self, offset: u64, length: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        check_range(self.size, offset, 0)?;
        check_range(self.size - offset, length, 0)?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // What can't have holes gets zeros.
        fallocate(&self.file, hole, offset, length).or_else(|_| write_zeros(self, offset, length))
    }

    fn next_data(&self, offset: u64) -> u64 {
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(place) => place.clamp(offset, self.size.max(offset)),
            Err(rustix::io::Errno::NXIO) => self.size.max(offset),
            Err(_) => offset,
        }
    }

    /// Linux writes what is dirty of a range that it is told to forget, without waiting for it.
    fn begin_flush(&self, offset: u64, length: u64) {
        use rustix::fs::{Advice, fadvise};
        let _ = fadvise(&self.file, offset, std::num::NonZeroU64::new(length), Advice::DontNeed);
    }

    fn hole_bytes(&self, offset: u64, length: u64) -> u64 {
        let (mut at, end) = (offset, offset.saturating_add(length).min(self.size));
        let mut holes = 0;
        while at < end {
            let data = self.next_data(at).min(end);
            holes += data - at;
            let hole = rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Hole(data)).unwrap_or(end);
            at = if hole > data { hole } else { end };
        }
        holes
    }

    fn free_bytes(&self) -> Option<u64> {
        self.file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let below = rustix::fs::fstatvfs(&self.file).ok()?;
        Some(below.f_bavail.saturating_mul(below.f_frsize))
    }
}

/// An image in memory, for tests and small pieces.
pub struct MemoryDevice {
    bytes: RwLock<Vec<u8>>,
}

impl MemoryDevice {
    pub fn new(size: u64) -> Self {
        MemoryDevice { bytes: RwLock::new(vec![0; size as usize]) }
    }

    /// Returns the image.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_inner().expect("because no writer panics while it holds the bytes")
    }
}

impl BlockDevice for MemoryDevice {
    fn size(&self) -> u64 {
        self.bytes.read().expect("because no writer panics while it holds the bytes").len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.read().expect("because no writer panics while it holds the bytes");
        check_range(bytes.len() as u64, offset, buffer.len())?;
        buffer.copy_from_slice(&bytes[offset as usize..offset as usize + buffer.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, new: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes.write().expect("because no writer panics while it holds the bytes");
        check_range(bytes.len() as u64, offset, new.len())?;
        bytes[offset as usize..offset as usize + new.len()].copy_from_slice(new);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A range of another device, such as a partition.
pub struct Window<'a> {
    device: &'a dyn BlockDevice,
    start: u64,
    size: u64,
}

impl<'a> Window<'a> {
    /// Makes a window of `size` bytes from `start` on. The range must lie inside the device.
    pub fn new(device: &'a dyn BlockDevice, start: u64, size: u64) -> io::Result<Self> {
        match start.checked_add(size) {
            Some(end) if end <= device.size() => Ok(Window { device, start, size }),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a window of {size} bytes at {start} passes the end of a device of {} bytes",
                    device.size()
                ),
            )),
        }
    }
}

impl BlockDevice for Window<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        check_range(self.size, offset, buffer.len())?;
        self.device.read_at(self.start + offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        check_range(self.size, offset, bytes.len())?;
        self.device.write_at(self.start + offset, bytes)
    }

    fn flush(&self) -> io::Result<()> {
        self.device.flush()
    }

    fn read_back_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        check_range(self.size, offset, buffer.len())?;
        self.device.read_back_at(self.start + offset, buffer)
    }

    fn erase_at(&self, offset: u64, length: u64) -> io::Result<()> {
        check_range(self.size, offset, 0)?;
        check_range(self.size - offset, length, 0)?;
        self.device.erase_at(self.start + offset, length)
    }

    fn hole_bytes(&self, offset: u64, length: u64) -> u64 {
        self.device.hole_bytes(self.start.saturating_add(offset), length)
    }

    fn free_bytes(&self) -> Option<u64> {
        self.device.free_bytes()
    }

    fn next_data(&self, offset: u64) -> u64 {
        let place = self.device.next_data(self.start.saturating_add(offset));
        place.saturating_sub(self.start).clamp(offset, self.size.max(offset))
    }

    fn begin_flush(&self, offset: u64, length: u64) {
        self.device.begin_flush(self.start.saturating_add(offset), length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erased_ranges_read_as_zero_and_nothing_else_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        std::fs::write(&path, vec![7; 300_000]).expect("written");
        let file = File::options().read(true).write(true).open(&path).expect("opened");
        let device = FileDevice::new(file, 300_000);
        let window = Window::new(&device, 1000, 250_000).expect("inside");
        window.erase_at(96, 200_000).expect("erased");
        assert!(window.erase_at(250_000, 1).is_err());
        assert!(window.erase_at(u64::MAX, 2).is_err());
        device.flush().expect("flushed");
        let mut back = vec![1; 300_000];
        device.read_back_at(0, &mut back).expect("read");
        let zeros = 1096..201_096;
        assert!(back.iter().enumerate().all(|(at, &byte)| byte == if zeros.contains(&at) { 0 } else { 7 }));
    }

    #[test]
    fn what_is_read_past_the_cache_is_what_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        std::fs::write(&path, &bytes).expect("written");
        let device = FileDevice::new(File::open(&path).expect("opened"), bytes.len() as u64);
        for (offset, length) in [(0, 1), (511, 2), (4096, 4096), (1, 2_999_999), (2_999_000, 1000), (5, 0)] {
            let mut back = vec![0; length];
            device.read_back_at(offset as u64, &mut back).expect("read");
            assert!(back == bytes[offset..offset + length], "{length} bytes at {offset}");
        }
        assert!(device.read_back_at(2_999_999, &mut [0; 2]).is_err());
    }

    #[test]
    fn a_window_keeps_to_its_range() {
        let device = MemoryDevice::new(100);
        let window = Window::new(&device, 10, 20).expect("inside");
        window.write_at(15, b"hello").expect("inside");
        assert!(window.write_at(16, b"hello").is_err());
        assert!(window.read_at(u64::MAX, &mut [0; 2]).is_err());
        assert!(Window::new(&device, 90, 11).is_err());
        assert_eq!(&device.into_bytes()[25..30], b"hello");
    }
}

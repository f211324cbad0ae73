//! Writing to fresh devices, where what isn't written reads as zero and costs nothing.

use std::io;

use crate::base::units::BLOCK_BYTES;
use crate::disk::BlockDevice;
use crate::tree::content::is_zero;

/// Writes `bytes` from `offset` on to a device that holds zeros there, leaving out the device's 4096-byte
/// blocks in which all of them are zero. Runs of other blocks are one write each, without a copy.
pub fn write_fresh(device: &dyn BlockDevice, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let (mut run, mut at) = (0, 0);
    while at < bytes.len() {
        let to_boundary = BLOCK_BYTES - (offset + at as u64) % BLOCK_BYTES;
        let end = bytes.len().min(at + to_boundary as usize);
        if is_zero(&bytes[at..end]) {
            write_run(device, offset, bytes, run..at)?;
            run = end;
        }
        at = end;
    }
    write_run(device, offset, bytes, run..at)
}

fn write_run(
    device: &dyn BlockDevice,
    offset: u64,
    bytes: &[u8],
    run: std::ops::Range<usize>,
) -> io::Result<()> {
    if run.is_empty() {
        return Ok(());
    }
    device.write_at(offset + run.start as u64, &bytes[run])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Writes(Mutex<Vec<(u64, usize)>>);

    impl BlockDevice for Writes {
        fn size(&self) -> u64 {
            1 << 20
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Ok(())
        }
        fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.0.lock().expect("lock").push((offset, bytes.len()));
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn zero_blocks_are_left_out() {
        let mut bytes = vec![0; 5 * 4096];
        bytes[0] = 1;
        bytes[3 * 4096] = 1;
        bytes[4 * 4096] = 1;
        let device = Writes(Mutex::new(Vec::new()));
        write_fresh(&device, 512, &bytes).expect("write");
        write_fresh(&device, 0, &[0; 5000]).expect("write");
        write_fresh(&device, 7, &[]).expect("write");
        let writes = device.0.into_inner().expect("lock");
        assert_eq!(writes, [(512, 3584), (3 * 4096, 2 * 4096)]);
    }
}

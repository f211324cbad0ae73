//! Structures that the kernel writes for programs, byte by byte: `stat`, `statx`, `utsname`.

use rustix::fs::{Statx, StatxFlags, StatxTimestamp};

/// The name of the machine that every command sees.
pub const HOST_NAME: &str = "localhost";
/// The kernel that every command sees: a script must not learn which one the builder runs.
const RELEASE: &str = "6.1.0";

/// Writes `struct new_utsname`: six texts of 65 bytes.
pub fn system_name() -> Vec<u8> {
    let mut out = Vec::with_capacity(6 * 65);
    for text in ["Linux", HOST_NAME, RELEASE, "#1 SMP", std::env::consts::ARCH, "(none)"] {
        let end = out.len() + 65;
        out.extend_from_slice(text.as_bytes());
        out.resize(end, 0);
    }
    out
}

struct Writer(Vec<u8>);

impl Writer {
    fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn long_time(&mut self, time: &StatxTimestamp) -> &mut Self {
        self.u64(time.tv_sec as u64).u64(u64::from(time.tv_nsec))
    }

    fn time(&mut self, time: &StatxTimestamp) -> &mut Self {
        self.u64(time.tv_sec as u64).u32(time.tv_nsec).u32(0)
    }
}

/// Packs the numbers of a device as `stat` does (glibc's `gnu_dev_makedev`, within 32 bits).
fn device(major: u32, minor: u32) -> u64 {
    u64::from(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}

/// Writes `struct stat` (`arch/x86/include/uapi/asm/stat.h`).
#[cfg(target_arch = "x86_64")]
pub fn stat(seen: &Statx) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(144));
    out.u64(device(seen.stx_dev_major, seen.stx_dev_minor)).u64(seen.stx_ino).u64(seen.stx_nlink.into());
    out.u32(seen.stx_mode.into()).u32(seen.stx_uid).u32(seen.stx_gid).u32(0);
    out.u64(device(seen.stx_rdev_major, seen.stx_rdev_minor)).u64(seen.stx_size);
    out.u64(seen.stx_blksize.into()).u64(seen.stx_blocks);
    out.long_time(&seen.stx_atime).long_time(&seen.stx_mtime).long_time(&seen.stx_ctime);
    out.u64(0).u64(0).u64(0);
    out.0
}

/// Writes `struct stat` (`include/uapi/asm-generic/stat.h`).
#[cfg(not(target_arch = "x86_64"))]
pub fn stat(seen: &Statx) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(128));
    out.u64(device(seen.stx_dev_major, seen.stx_dev_minor)).u64(seen.stx_ino);
    out.u32(seen.stx_mode.into()).u32(seen.stx_nlink).u32(seen.stx_uid).u32(seen.stx_gid);
    out.u64(device(seen.stx_rdev_major, seen.stx_rdev_minor)).u64(0).u64(seen.stx_size);
    out.u32(seen.stx_blksize).u32(0).u64(seen.stx_blocks);
    out.long_time(&seen.stx_atime).long_time(&seen.stx_mtime).long_time(&seen.stx_ctime);
    out.u64(0);
    out.0
}

/// Writes `struct statx` (`include/uapi/linux/stat.h`).
pub fn statx(seen: &Statx) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(256));
    let known = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);
    out.u32(seen.stx_mask & known.bits()).u32(seen.stx_blksize).u64(seen.stx_attributes.bits());
    out.u32(seen.stx_nlink).u32(seen.stx_uid).u32(seen.stx_gid).u16(seen.stx_mode).u16(0);
    out.u64(seen.stx_ino).u64(seen.stx_size).u64(seen.stx_blocks).u64(seen.stx_attributes_mask.bits());
    out.time(&seen.stx_atime).time(&seen.stx_btime).time(&seen.stx_ctime).time(&seen.stx_mtime);
    out.u32(seen.stx_rdev_major).u32(seen.stx_rdev_minor).u32(seen.stx_dev_major).u32(seen.stx_dev_minor);
    out.0.resize(256, 0);
    out.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_length() {
        let wanted = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);
        let seen = rustix::fs::statx(rustix::fs::CWD, c"/", rustix::fs::AtFlags::empty(), wanted);
        let seen = seen.expect("the root of the tests' machine");
        assert_eq!(stat(&seen).len(), size_of::<libc::stat>());
        assert_eq!(statx(&seen).len(), size_of::<libc::statx>());
        assert_eq!(system_name().len(), size_of::<libc::utsname>());
    }

    #[test]
    fn device_numbers_are_packed_as_the_c_library_does() {
        for (major, minor) in [(0, 0), (8, 1), (1, 3), (259, 70_000), (4095, 1_048_575)] {
            assert_eq!(device(major, minor), libc::makedev(major, minor), "{major}:{minor}");
        }
    }
}

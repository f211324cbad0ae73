//! The only unsafe file: system calls that have no safe wrapper in `rustix` or `std`.
#![allow(unsafe_code, reason = "each block says why it is sound")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

/// Which side of a fork this is.
pub enum Fork {
    Parent(Pid),
    Child,
}

/// Requests whose argument is a buffer that the kernel reads or writes, with the buffer's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    DeviceMapperCreate,
    DeviceMapperLoad,
    /// Lets a loaded table take effect.
    DeviceMapperResume,
    /// A 64-bit number of blocks.
    Ext4Resize,
    /// A 32-bit number of seconds.
    WatchdogTimeout,
    WatchdogFeed,
    /// `struct ifreq` with the name of an interface and one value.
    InterfaceFlags,
    SetInterfaceFlags,
    SetInterfaceAddress,
    SetInterfaceMask,
    SetInterfaceMtu,
}

impl Request {
    fn number(self) -> libc::Ioctl {
        match self {
            Request::DeviceMapperCreate => 0xc138_fd03,
            Request::DeviceMapperResume => 0xc138_fd06,
            Request::DeviceMapperLoad => 0xc138_fd09,
            Request::Ext4Resize => 0x4008_6610,
            Request::WatchdogTimeout => 0xc004_5706,
            Request::WatchdogFeed => 0x8004_5705,
            Request::InterfaceFlags => libc::SIOCGIFFLAGS,
            Request::SetInterfaceFlags => libc::SIOCSIFFLAGS,
            Request::SetInterfaceAddress => libc::SIOCSIFADDR,
            Request::SetInterfaceMask => libc::SIOCSIFNETMASK,
            Request::SetInterfaceMtu => libc::SIOCSIFMTU,
        }
    }

    /// Tells whether the kernel stays inside a buffer.
    fn fits(self, buffer: &[u8]) -> bool {
        match self {
            Request::DeviceMapperCreate | Request::DeviceMapperLoad | Request::DeviceMapperResume => {
                let stated = buffer.get(12..16).and_then(|bytes| bytes.try_into().ok());
                buffer.len() >= 312 && stated.map(u32::from_ne_bytes) == Some(buffer.len() as u32)
            }
            Request::Ext4Resize => buffer.len() == 8,
            Request::WatchdogTimeout | Request::WatchdogFeed => buffer.len() == 4,
            _ => buffer.len() == size_of::<libc::ifreq>(),
        }
    }
}

/// Makes a request of a device or socket; the buffer holds the argument, then the answer.
pub fn ioctl(fd: impl AsFd, request: Request, buffer: &mut [u8]) -> io::Result<()> {
    if !request.fits(buffer) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} bytes for {request:?}", buffer.len()),
        ));
    }
    let (fd, pointer) = (fd.as_fd().as_raw_fd(), buffer.as_mut_ptr());
    // SAFETY: `fits` has checked that the buffer is as long as this request's structure (the device mapper
    // takes the length from the structure itself), and the buffer is exclusively ours during the call.
    check(unsafe { libc::ioctl(fd, request.number(), pointer) }).map(drop)
}

/// Tells the kernel that a partition has a new size; it may be in use.
pub fn resize_partition(disk: impl AsFd, number: u32, start_bytes: u64, size_bytes: u64) -> io::Result<()> {
    /// `struct blkpg_partition` and `struct blkpg_ioctl_arg` of `linux/blkpg.h`.
    #[repr(C)]
    struct Partition {
        start: i64,
        length: i64,
        number: i32,
        names: [u8; 128],
    }
    #[repr(C)]
    struct Argument {
        operation: i32,
        flags: i32,
        data_length: i32,
        data: *mut Partition,
    }
    const BLKPG: libc::Ioctl = 0x1269;
    const RESIZE: i32 = 3;
    let mut partition = Partition {
        start: start_bytes as i64,
        length: size_bytes as i64,
        number: number as i32,
        names: [0; 128],
    };
    let mut argument = Argument {
        operation: RESIZE,
        flags: 0,
        data_length: size_of::<Partition>() as i32,
        data: &mut partition,
    };
    // SAFETY: both structures have the kernel's layout, live until the call returns, and `data` points to one.
    check(unsafe { libc::ioctl(disk.as_fd().as_raw_fd(), BLKPG, &mut argument) }).map(drop)
}

/// Adds a route for IPv4 over `interface`; addresses are in the usual order of bytes.
pub fn add_route(
    socket: impl AsFd,
    interface: &CStr,
    network: [u8; 4],
    mask: [u8; 4],
    gateway: Option<[u8; 4]>,
) -> io::Result<()> {
    let address = |bytes: [u8; 4]| {
        let mut data = [0; 14];
        for (to, from) in data[2..6].iter_mut().zip(bytes) {
            *to = from as libc::c_char;
        }
        libc::sockaddr { sa_family: libc::AF_INET as u16, sa_data: data }
    };
    // SAFETY: `rtentry` is plain data for which all zeroes is a value.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = address(network);
    route.rt_genmask = address(mask);
    route.rt_flags = libc::RTF_UP;
    route.rt_dev = interface.as_ptr().cast_mut();
    if let Some(gateway) = gateway {
        route.rt_gateway = address(gateway);
        route.rt_flags |= libc::RTF_GATEWAY;
    }
    // SAFETY: the structure is whole, and the kernel only reads the name that `rt_dev` points to.
    check(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCADDRT, &route) }).map(drop)
}

/// Binds a socket to an interface, so that it works before there is an address or a route.
pub fn bind_to_interface(socket: impl AsFd, interface: &CStr) -> io::Result<()> {
    let name = interface.to_bytes_with_nul();
    let (fd, length) = (socket.as_fd().as_raw_fd(), name.len() as libc::socklen_t);
    // SAFETY: pointer and length are those of one slice, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name.as_ptr().cast(), length)
    };
    check(result).map(drop)
}

/// Splits the process. PID 1 has one thread, so its child may do whatever a process may do.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: no thread is ever started in this program; no lock can be held by one that the child lacks.
    let pid = check(unsafe { libc::fork() })?;
    let Some(pid) = Pid::from_raw(pid) else {
        unblock_signals();
        return Ok(Fork::Child);
    };
    Ok(Fork::Parent(pid))
}

/// What PID 1 blocks, so that it can wait for it, a child must not inherit: neither `std` nor `execve` empties
/// the mask.
fn unblock_signals() {
    // SAFETY: `sigset_t` is plain data that `sigemptyset` makes a value, and the pointers are to this local.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
    }
}

/// Closes every file of this process but its standard streams and those named. Whoever owns one of the others
/// must not use it any more.
pub fn close_others(keep: &[BorrowedFd<'_>]) {
    let mut first = 3;
    loop {
        let kept = keep.iter().map(|fd| fd.as_raw_fd().unsigned_abs()).filter(|&fd| fd >= first).min();
        if kept != Some(first) {
            // SAFETY: `close_range` takes numbers only; the caller gives the files up.
            unsafe { libc::syscall(libc::SYS_close_range, first, kept.map_or(u32::MAX, |fd| fd - 1), 0) };
        }
        let Some(kept) = kept else { return };
        first = kept + 1;
    }
}

/// Sends a signal to every process but PID 1. Returns whether there was any.
pub fn signal_all(signal: i32) -> bool {
    // SAFETY: `kill` takes numbers only.
    check(unsafe { libc::kill(-1, signal) }).is_ok()
}

/// Blocks signals and returns a descriptor that is readable when one of them waits.
pub fn signal_descriptor(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: `sigset_t` is plain data, `sigemptyset` makes it a value, and the calls take pointers to this
    // local only; the descriptor that comes back belongs to nobody else.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for &signal in signals {
            libc::sigaddset(&mut set, signal);
        }
        check(libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()))?;
        let fd = check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

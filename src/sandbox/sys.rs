//! The only unsafe file: system calls that have no safe wrapper in `rustix` or `std`.
#![allow(unsafe_code, reason = "each block says why it is sound")]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::process::Pid;
use seccompiler::BpfProgram;

/// A system call of another process that waits for an answer (`struct seccomp_notif`).
#[derive(Clone, Copy, Debug)]
pub struct Notification {
    pub id: u64,
    /// The thread, as this process numbers it.
    pub thread: u32,
    pub number: i64,
    pub arguments: [u64; 6],
}

/// What a waiting system call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kernel does the call as if nothing had asked.
    Continue,
    /// The call was done, or is not to be done; it returns this.
    Value(i64),
    /// The call fails.
    Error(i32),
}

/// Moves this process into new namespaces. It must have one thread only.
pub fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: takes no pointer; the flags name namespaces only, so no file table is split under std's feet.
    check(unsafe { libc::unshare(flags) }).map(drop)
}

/// Forks; returns the child's number, or `None` in the child. Call it only where one thread runs.
pub fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the stage runs before any thread was started, so that no lock can be held by a thread which
    // the child lacks.
    let pid = check(unsafe { libc::fork() })?;
    Ok(Pid::from_raw(pid))
}

/// Ends this process at once, without running what was registered for its end.
pub fn exit(code: i32) -> ! {
    // SAFETY: takes no pointer and doesn't return.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: takes no pointer. Called before this process has opened a file whose owner lives.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets as whom this thread creates files, and returns as whom it did so before.
pub fn set_file_owner(uid: u32, gid: u32) -> (u32, u32) {
    // SAFETY: take no pointer and touch this thread alone (the C library has no wrapper that goes to others).
    unsafe { (libc::setfsuid(uid) as u32, libc::setfsgid(gid) as u32) }
}

/// Installs a filter whose notifications come through the returned descriptor.
pub fn listen(program: &BpfProgram) -> io::Result<OwnedFd> {
    let convert = |one: &seccompiler::sock_filter| libc::sock_filter {
        code: one.code,
        jt: one.jt,
        jf: one.jf,
        k: one.k,
    };
    let mut filter: Vec<libc::sock_filter> = program.iter().map(convert).collect();
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // The second try is for kernels before 5.19, where a signal may interrupt a call that waits.
    let mut result = -1;
    for flags in [listener | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, listener] {
        let (operation, pointer) = (libc::SECCOMP_SET_MODE_FILTER, &raw const program);
        // SAFETY: the kernel reads `len` instructions through the pointer during the call; both live longer.
        result = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, pointer) };
        if result >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL) {
            break;
        }
    }
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has returned a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}

/// `SECCOMP_IOCTL_NOTIF_RECV`, `_SEND`, `_ID_VALID`, `_SET_FLAGS` (`include/uapi/linux/seccomp.h`).
const RECEIVE: libc::Ioctl = 0xc050_2100;
const SEND: libc::Ioctl = 0xc018_2101;
const ID_VALID: libc::Ioctl = 0x4008_2102;
const SET_FLAGS: libc::Ioctl = 0x4008_2104;

/// Asks the kernel to run the waiting process on this processor as soon as it is answered (Linux 6.6);
/// where it can't, nothing is lost but speed.
pub fn answer_in_step(listener: impl AsFd) {
    // SAFETY: the argument is a number, not a pointer.
    let _ = unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), SET_FLAGS, 1u64) };
}

/// Takes the next waiting call. `None` where it went away in the meantime.
pub fn receive(listener: impl AsFd) -> io::Result<Option<Notification>> {
    // SAFETY: the structure is plain numbers, for which zero is a value; the kernel wants it zeroed.
    let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the request's size field is the size of the structure, which the kernel fills during the call.
    let done = unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), RECEIVE, &raw mut raw) };
    match check(done) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
        Err(error) => Err(error),
        Ok(_) => Ok(Some(Notification {
            id: raw.id,
            thread: raw.pid,
            number: i64::from(raw.data.nr),
            arguments: raw.data.args,
        })),
    }
}

/// Answers a waiting call; one that went away in the meantime is no error.
pub fn answer(listener: impl AsFd, id: u64, answer: Answer) -> io::Result<()> {
    let mut raw = libc::seccomp_notif_resp { id, val: 0, error: 0, flags: 0 };
    match answer {
        Answer::Continue => raw.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        Answer::Value(value) => raw.val = value,
        Answer::Error(error) => raw.error = -error,
    }
    // SAFETY: the request's size field is the size of the structure, which the kernel reads during the call.
    let done = unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), SEND, &raw mut raw) };
    match check(done) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.map(drop),
    }
}

/// Tells whether a call still waits: while it does, its thread's number can't be another's.
pub fn waits(listener: impl AsFd, id: u64) -> bool {
    // SAFETY: the kernel reads eight bytes through the pointer during the call.
    unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), ID_VALID, &raw const id) == 0 }
}

/// Reads another process's memory; returns how many bytes could be read.
pub fn read_memory(thread: u32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: buffer.len() };
    // SAFETY: the kernel writes at most `iov_len` bytes of our exclusive buffer; it checks the other
    // process's address itself and never uses it as one of ours.
    let done = unsafe { libc::process_vm_readv(thread as i32, &raw const local, 1, &raw const remote, 1, 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done as usize) }
}

/// Writes another process's memory, all of `bytes` or an error.
pub fn write_memory(thread: u32, address: u64, bytes: &[u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: bytes.len() };
    // SAFETY: the kernel only reads our bytes; it checks the other process's address itself.
    let done =
        unsafe { libc::process_vm_writev(thread as i32, &raw const local, 1, &raw const remote, 1, 0) };
    match done {
        done if done < 0 => Err(io::Error::last_os_error()),
        done if done as usize != bytes.len() => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        _ => Ok(()),
    }
}

/// Brings up the loopback interface of this network namespace.
pub fn loopback_up(socket: impl AsFd) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the structure is numbers and a union of numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    // SAFETY: the kernel fills this structure, whose length it knows, during the call.
    check(unsafe { libc::ioctl(fd, libc::SIOCGIFFLAGS, &raw mut request) })?;
    // SAFETY: the call above has filled this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as i16;
    // SAFETY: as above; the kernel only reads.
    check(unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS, &raw mut request) }).map(drop)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

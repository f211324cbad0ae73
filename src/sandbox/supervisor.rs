//! The supervisor's answers: what commands ask for and one user's file system can't hold is recorded by
//! inode, and shown again to whoever looks.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Statx, Uid};
use rustix::io::Errno;

use super::filter;
use super::records::{Inode, Record, Records, WANTED};
use super::show;
use super::sys::{self, Answer, Notification};
use super::tracee::{Place, Tracee};
use crate::tree::DeviceKind;

/// Most sentences that are kept for a failure's explanation.
const NOTES_MAX: usize = 8;

/// Answers the system calls of one sandbox.
pub struct Supervisor {
    listener: OwnedFd,
    /// The caller's /proc: threads are found in it by the numbers that the kernel gives here.
    processes: Rc<OwnedFd>,
    pub records: Records,
    pub notes: BTreeSet<String>,
    /// Bytes of all recorded attributes.
    attribute_bytes: usize,
    /// Whether a command has a root directory of its own.
    roots_differ: bool,
}

/// What a call comes to: a value, or an error number.
pub type Outcome = Result<Answer, Errno>;

impl Supervisor {
    pub fn new(listener: OwnedFd, processes: OwnedFd, records: Records) -> Self {
        sys::answer_in_step(&listener);
        let notes = BTreeSet::new();
        let processes = Rc::new(processes);
        Supervisor { listener, processes, records, notes, attribute_bytes: 0, roots_differ: false }
    }

    pub fn listener(&self) -> &OwnedFd {
        &self.listener
    }

    /// Takes one call and answers it.
    pub fn serve(&mut self) -> io::Result<()> {
        let Some(call) = sys::receive(&self.listener)? else { return Ok(()) };
        let answer = self.consider(&call).unwrap_or_else(|error| Answer::Error(error.raw_os_error()));
        sys::answer(&self.listener, call.id, answer)
    }

    fn consider(&mut self, call: &Notification) -> Outcome {
        let a = call.arguments;
        let flags = |bits: u64| AtFlags::from_bits_retain(bits as u32);
        let (here, nofollow, empty) = (libc::AT_FDCWD as u64, AtFlags::SYMLINK_NOFOLLOW, AtFlags::EMPTY_PATH);
        let none = AtFlags::empty();
        match call.number {
            libc::SYS_fstat => self.stat(call, Asked::Descriptor(a[0]), none, a[1]),
            libc::SYS_newfstatat => self.stat(call, Asked::Path(a[0], a[1]), flags(a[3]), a[2]),
            libc::SYS_statx => self.statx(call),
            libc::SYS_fchown => self.chown(call, Asked::Descriptor(a[0]), none, a[1], a[2]),
            libc::SYS_fchownat => self.chown(call, Asked::Path(a[0], a[1]), flags(a[4]), a[2], a[3]),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_stat => self.stat(call, Asked::Path(here, a[0]), none, a[1]),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_lstat => self.stat(call, Asked::Path(here, a[0]), nofollow, a[1]),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_chown => self.chown(call, Asked::Path(here, a[0]), none, a[1], a[2]),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_lchown => self.chown(call, Asked::Path(here, a[0]), nofollow, a[1], a[2]),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_mknod => self.make_device(call, here, a[0], a[1], a[2]),
            libc::SYS_mknodat => self.make_device(call, a[0], a[1], a[2], a[3]),
            libc::SYS_mmap => self.map(call, a[4]),
            libc::SYS_uname => self.write(call, a[0], &show::system_name()),
            libc::SYS_chroot => {
                self.roots_differ = true;
                Ok(Answer::Continue)
            }
            number if filter::is_identity(number) => self.note_identity(&a),
            number => {
                let (asked, at) = match number {
                    libc::SYS_fsetxattr
                    | libc::SYS_fgetxattr
                    | libc::SYS_flistxattr
                    | libc::SYS_fremovexattr => (Asked::Descriptor(a[0]), empty),
                    libc::SYS_lsetxattr
                    | libc::SYS_lgetxattr
                    | libc::SYS_llistxattr
                    | libc::SYS_lremovexattr => (Asked::Path(here, a[0]), nofollow),
                    _ => (Asked::Path(here, a[0]), none),
                };
                self.attribute(call, asked, at)
            }
        }
    }

    fn tracee(&self, call: &Notification) -> Tracee {
        Tracee { thread: call.thread, processes: self.processes.clone(), own_root: self.roots_differ }
    }

    /// Finds what a call names.
    pub(super) fn place(&self, call: &Notification, asked: Asked, flags: AtFlags) -> Result<Place, Errno> {
        let tracee = self.tracee(call);
        match asked {
            Asked::Descriptor(fd) => tracee.descriptor(fd as i32),
            Asked::Path(directory, path) => tracee.path(directory as i32, path, flags),
        }
    }

    /// Writes into the caller of a call, which then returns 0.
    pub(super) fn write(&self, call: &Notification, address: u64, bytes: &[u8]) -> Outcome {
        if !sys::waits(&self.listener, call.id) {
            return Err(Errno::SRCH);
        }
        sys::write_memory(call.thread, address, bytes).map_err(|_| Errno::FAULT)?;
        Ok(Answer::Value(0))
    }

    fn stat(&mut self, call: &Notification, asked: Asked, flags: AtFlags, buffer: u64) -> Outcome {
        match self.look(call, asked, flags) {
            Some(seen) => self.write(call, buffer, &show::stat(&seen)),
            None => Ok(Answer::Continue),
        }
    }

    fn statx(&mut self, call: &Notification) -> Outcome {
        let [directory, path, flags, _, buffer, _] = call.arguments;
        let asked = Asked::Path(directory, path);
        match self.look(call, asked, AtFlags::from_bits_retain(flags as u32)) {
            Some(seen) => self.write(call, buffer, &show::statx(&seen)),
            None => Ok(Answer::Continue),
        }
    }

    /// Returns what `stat` must say where that is not what the kernel would say. A call whose path can't be
    /// found is left to the kernel, which will say why.
    fn look(&self, call: &Notification, asked: Asked, flags: AtFlags) -> Option<Statx> {
        let place = self.place(call, asked, flags).ok()?;
        let mut seen = place.statx(WANTED).ok()?;
        let record = self.records.get(&Inode::of(&seen)).filter(|record| record.shows())?;
        (seen.stx_uid, seen.stx_gid) = (record.uid, record.gid);
        if let Some((kind, major, minor)) = record.device {
            let kind = if kind == DeviceKind::Block { libc::S_IFBLK } else { libc::S_IFCHR };
            seen.stx_mode = seen.stx_mode & 0o7777 | kind as u16;
            (seen.stx_rdev_major, seen.stx_rdev_minor) = (major, minor);
            (seen.stx_size, seen.stx_blocks) = (0, 0);
        }
        Some(seen)
    }

    fn chown(&mut self, call: &Notification, asked: Asked, flags: AtFlags, uid: u64, gid: u64) -> Outcome {
        let file = self.place(call, asked, flags)?.open()?;
        let seen = rustix::fs::statx(&file, c"", AtFlags::EMPTY_PATH, WANTED)?;
        let inode = Inode::of(&seen);
        let is_file = libc::mode_t::from(seen.stx_mode) & libc::S_IFMT == libc::S_IFREG;
        let device = self.records.get(&inode).is_some_and(|record| record.device.is_some());
        if !device {
            // To itself: the kernel takes away the setuid bit, as it always does.
            let own = rustix::fs::chownat(&file, c"", Some(Uid::ROOT), Some(Gid::ROOT), AtFlags::EMPTY_PATH);
            if own == Err(Errno::ROFS) {
                return Err(Errno::ROFS);
            }
        }
        let record = self.records.entry(inode).or_default();
        for (id, wanted) in [(&mut record.uid, uid as u32), (&mut record.gid, gid as u32)] {
            if wanted != u32::MAX {
                *id = wanted;
            }
        }
        record.owned = true;
        if is_file {
            record.xattrs.remove(&b"security.capability"[..]);
        }
        Ok(Answer::Value(0))
    }

    /// Makes an empty file in the place of a device node.
    fn make_device(
        &mut self,
        call: &Notification,
        directory: u64,
        path: u64,
        mode: u64,
        number: u64,
    ) -> Outcome {
        let tracee = self.tracee(call);
        let place = tracee.path(directory as i32, path, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = mode as u32 & !tracee.umask()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = place.open_with(flags, Mode::from_raw_mode(0o600))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))?;
        let inode = Inode::of(&rustix::fs::statx(&file, c"", AtFlags::EMPTY_PATH, WANTED)?);
        let kind =
            if mode & libc::S_IFMT == libc::S_IFBLK { DeviceKind::Block } else { DeviceKind::Character };
        let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
        let device = Some((kind, major as u32, minor as u32));
        self.records.insert(inode, Record { device, owned: true, ..Record::default() });
        Ok(Answer::Value(0))
    }

    /// Remembers that a file's content may change unseen.
    fn map(&mut self, call: &Notification, fd: u64) -> Outcome {
        if let Ok(seen) =
            self.place(call, Asked::Descriptor(fd), AtFlags::empty()).and_then(|p| p.statx(WANTED))
        {
            self.records.entry(Inode::of(&seen)).or_default().mapped = true;
        }
        Ok(Answer::Continue)
    }

    fn note_identity(&mut self, arguments: &[u64; 6]) -> Outcome {
        let id = arguments.iter().map(|id| *id as u32).find(|id| *id != 0 && *id != u32::MAX);
        if let (Some(id), true) = (id, self.notes.len() < NOTES_MAX) {
            self.notes
                .insert(format!("a program wanted to become user or group {id}; the sandbox has root only"));
        }
        Ok(Answer::Continue)
    }

    /// Counts bytes of attributes; a command can't fill the supervisor's memory.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Errno> {
        const ATTRIBUTE_BYTES_MAX: usize = 64 << 20;
        if self.attribute_bytes + bytes > ATTRIBUTE_BYTES_MAX {
            return Err(Errno::NOSPC);
        }
        self.attribute_bytes += bytes;
        Ok(())
    }

    /// Reads a number of bytes from the caller of a call.
    pub(super) fn read(&self, call: &Notification, address: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; length];
        match sys::read_memory(call.thread, address, &mut bytes) {
            Ok(read) if read == length => Ok(bytes),
            _ => Err(Errno::FAULT),
        }
    }

    /// Reads a text of the caller of a call.
    pub(super) fn text(&self, call: &Notification, address: u64, most: usize) -> Result<Vec<u8>, Errno> {
        self.tracee(call).text(address, most)
    }
}

/// How a call names a file.
#[derive(Clone, Copy)]
pub enum Asked {
    Descriptor(u64),
    /// A directory's descriptor and the address of a path.
    Path(u64, u64),
}

/// Tells whether what is at a place may not be changed.
pub fn is_read_only(file: &OwnedFd) -> bool {
    rustix::fs::fstatvfs(file).is_ok_and(|seen| seen.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

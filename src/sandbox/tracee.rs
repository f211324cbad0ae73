//! What a system call of another process names: its strings, descriptors and paths.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;
use rustix::process::{chroot, fchdir};

use super::sys;

/// A thread that waits in a system call.
pub struct Tracee {
    pub thread: u32,
    /// The /proc in which its number counts.
    pub processes: Rc<OwnedFd>,
    /// Whether its root directory may be another than this process's.
    pub own_root: bool,
}

/// Longest path of a system call, with its NUL (Linux `PATH_MAX`).
const PATH_BYTES: usize = 4096;
const PAGE_BYTES: u64 = 4096;

/// A file by directory and path, as a thread sees it.
pub struct Place {
    /// The directory from which the path goes; none for an absolute one.
    base: Option<Rc<OwnedFd>>,
    path: CString,
    follow: bool,
    /// The root under which the path must be walked, where it isn't ours.
    root: Option<(OwnedFd, OwnedFd)>,
}

impl Tracee {
    /// Reads a text that ends with NUL, of at most `most` bytes with it.
    pub fn text(&self, address: u64, most: usize) -> Result<Vec<u8>, Errno> {
        let mut text = Vec::new();
        let mut at = address;
        while text.len() < most {
            // No further than the page: the next one may not be there.
            let left = (PAGE_BYTES - at % PAGE_BYTES).min((most - text.len()) as u64);
            let mut page = vec![0; left as usize];
            let read = sys::read_memory(self.thread, at, &mut page).map_err(|_| Errno::FAULT)?;
            if let Some(end) = page[..read].iter().position(|&byte| byte == 0) {
                text.extend(&page[..end]);
                return Ok(text);
            }
            if read < page.len() {
                return Err(Errno::FAULT);
            }
            text.extend(page);
            at = at.checked_add(left).ok_or(Errno::FAULT)?;
        }
        Err(Errno::NAMETOOLONG)
    }

    /// Finds what a descriptor leads to.
    pub fn descriptor(&self, fd: i32) -> Result<Place, Errno> {
        if fd == libc::AT_FDCWD {
            return self.base("cwd");
        }
        if fd < 0 { Err(Errno::BADF) } else { self.base(&format!("fd/{fd}")) }
    }

    fn base(&self, what: &str) -> Result<Place, Errno> {
        let path = CString::new(format!("{}/{what}", self.thread)).map_err(|_| Errno::INVAL)?;
        Ok(Place { base: Some(self.processes.clone()), path, follow: true, root: None })
    }

    /// Finds what a path leads to, seen from a directory.
    pub fn path(&self, directory: i32, address: u64, flags: AtFlags) -> Result<Place, Errno> {
        let empty = flags.contains(AtFlags::EMPTY_PATH);
        if address == 0 && empty {
            return self.descriptor(directory);
        }
        let text = self.text(address, PATH_BYTES)?;
        if text.is_empty() {
            return if empty { self.descriptor(directory) } else { Err(Errno::NOENT) };
        }
        let mut place = match text[0] {
            b'/' => Place { base: None, path: self.own_names(&text)?, follow: true, root: None },
            _ => {
                let base = self.descriptor(directory)?.open()?;
                let path = CString::new(text).map_err(|_| Errno::INVAL)?;
                Place { base: Some(Rc::new(base)), path, follow: true, root: None }
            }
        };
        place.follow = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
        if self.own_root {
            let open = |what: &str| {
                let path = format!("{}/{what}", self.thread);
                rustix::fs::openat(&self.processes, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            };
            place.root = Some((open("root")?, open("cwd")?));
        }
        Ok(place)
    }

    /// Names the thread itself where a path says "self": to the kernel, this process would be it.
    fn own_names(&self, text: &[u8]) -> Result<CString, Errno> {
        let names: [(&[u8], &str); 6] = [
            (b"/proc/self/", "/"),
            (b"/proc/thread-self/", "/"),
            (b"/dev/fd/", "/fd/"),
            (b"/dev/stdin", "/fd/0"),
            (b"/dev/stdout", "/fd/1"),
            (b"/dev/stderr", "/fd/2"),
        ];
        let found = names.into_iter().find_map(|(name, means)| Some((text.strip_prefix(name)?, means)));
        let Some((rest, means)) = found else { return CString::new(text).map_err(|_| Errno::INVAL) };
        let mut path = format!("/proc/{}{means}", self.inner_number()?).into_bytes();
        path.extend_from_slice(rest);
        CString::new(path).map_err(|_| Errno::INVAL)
    }

    /// Returns the thread's number inside its namespace.
    fn inner_number(&self) -> Result<u32, Errno> {
        self.status("NSpid:", 10, |line| line.split_whitespace().next_back().map(str::to_owned))
    }

    /// Returns which permission bits the process takes from what it makes.
    pub fn umask(&self) -> Result<u32, Errno> {
        self.status("Umask:", 8, |line| Some(line.trim().to_owned()))
    }

    fn status(&self, key: &str, radix: u32, pick: impl Fn(&str) -> Option<String>) -> Result<u32, Errno> {
        let path = format!("{}/status", self.thread);
        let file =
            rustix::fs::openat(&self.processes, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = vec![0; 8192];
        let length = rustix::io::read(&file, &mut text)?;
        let text = String::from_utf8_lossy(&text[..length]);
        let value = text.lines().find_map(|line| line.strip_prefix(key)).and_then(pick);
        value.and_then(|value| u32::from_str_radix(&value, radix).ok()).ok_or(Errno::SRCH)
    }
}

impl Place {
    fn directory(&self) -> BorrowedFd<'_> {
        self.base.as_ref().map_or(CWD, |base| base.as_fd())
    }

    /// Runs a call under the root directory that the thread has.
    fn under_root<T>(&self, call: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        let Some((root, cwd)) = &self.root else { return call() };
        let ours = rustix::fs::openat(CWD, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        fchdir(root)?;
        chroot(c".")?;
        fchdir(cwd)?;
        let result = call();
        fchdir(&ours)?;
        chroot(c".")?;
        result
    }

    /// Asks what stands there.
    pub fn statx(&self, wanted: StatxFlags) -> Result<Statx, Errno> {
        let flags = if self.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        self.under_root(|| {
            rustix::fs::statx(self.directory(), &self.path, flags | AtFlags::NO_AUTOMOUNT, wanted)
        })
    }

    /// Holds on to what stands there, without opening it.
    pub fn open(&self) -> Result<OwnedFd, Errno> {
        let follow = if self.follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        self.open_with(OFlags::PATH | OFlags::CLOEXEC | follow, Mode::empty())
    }

    /// Sets the permission bits of what stands there.
    pub fn chmod(&self, mode: Mode) -> Result<(), Errno> {
        self.under_root(|| rustix::fs::chmodat(self.directory(), &self.path, mode, AtFlags::empty()))
    }

    /// Opens or makes what stands there.
    pub fn open_with(&self, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        self.under_root(|| rustix::fs::openat(self.directory(), &self.path, flags, mode))
    }
}

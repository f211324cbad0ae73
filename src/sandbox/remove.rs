//! Emptying a folder that a run has filled: whatever its modes, however deep, following no link.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};

/// Removes all that a directory holds. What can't be removed is left; the rest goes.
pub fn contents(root: &OwnedFd) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(mut at) = rustix::fs::openat(root, c".", flags, Mode::empty()) else { return };
    // Down by name and up by "..", so that no depth takes more than one descriptor and a name.
    let mut path: Vec<std::ffi::CString> = Vec::new();
    let mut kept = std::collections::HashSet::new();
    loop {
        match clear(&at, path.len(), &kept) {
            Some(name) => {
                let _ = rustix::fs::chmodat(&at, &name, Mode::RWXU, AtFlags::empty());
                match rustix::fs::openat(&at, &name, flags, Mode::empty()) {
                    Ok(below) => {
                        at = below;
                        path.push(name);
                    }
                    Err(_) => drop(kept.insert((path.len(), name))),
                }
            }
            None => {
                let Some(name) = path.pop() else { return };
                let Ok(above) = rustix::fs::openat(&at, c"..", flags, Mode::empty()) else { return };
                at = above;
                if rustix::fs::unlinkat(&at, &name, AtFlags::REMOVEDIR).is_err() {
                    kept.insert((path.len(), name));
                }
            }
        }
    }
}

/// Removes the files of a directory; returns the name of a directory in it that is not known to stay.
fn clear(
    at: &OwnedFd,
    depth: usize,
    kept: &std::collections::HashSet<(usize, std::ffi::CString)>,
) -> Option<std::ffi::CString> {
    let mut directory = None;
    for entry in Dir::read_from(at).ok()?.flatten() {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") || kept.contains(&(depth, name.to_owned())) {
            continue;
        }
        if rustix::fs::unlinkat(at, name, AtFlags::empty()).is_err() {
            directory.get_or_insert_with(|| name.to_owned());
        }
    }
    directory
}

//! A process of few rights, for what reads bytes that anyone may have written.

use std::os::fd::BorrowedFd;

use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::error::{Doing, Result};
use crate::sys;

/// User and group of such processes. Neither `nobody`, as which apps run too, nor one of a distribution's.
const NOBODY_ELSE: u32 = 65_533;
/// What a mistake in a parser may take of the machine's memory, in bytes.
const MEMORY_MAX_BYTES: u64 = 512 << 20;
const NONE: Rlimit = Rlimit { current: Some(0), maximum: Some(0) };
const MEMORY: Rlimit = Rlimit { current: Some(MEMORY_MAX_BYTES), maximum: Some(MEMORY_MAX_BYTES) };

/// Gives up, for good, every right, every file that is open but those named and the standard streams, and the
/// making of processes. What is open stays usable.
pub fn give_up_everything(keep: &[BorrowedFd<'_>]) -> Result<()> {
    sys::close_others(keep);
    let (uid, gid) = (Uid::from_raw(NOBODY_ELSE), Gid::from_raw(NOBODY_ELSE));
    rustix::thread::set_no_new_privs(true).doing("give up", "new privileges")?;
    rustix::thread::set_thread_groups(&[]).doing("give up", "groups")?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).doing("give up", "the group")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).doing("give up", "the user")?;
    let empty = CapabilitySet::empty();
    let sets = CapabilitySets { effective: empty, permitted: empty, inheritable: empty };
    set_capabilities(None, sets).doing("give up", "capabilities")?;
    for (resource, limit) in [(Resource::Nproc, NONE), (Resource::Core, NONE), (Resource::As, MEMORY)] {
        rustix::process::setrlimit(resource, limit).doing("limit", "a process of few rights")?;
    }
    Ok(())
}

//! The system calls of a reader: reading what is open, memory, threads, an answer. Any other ends the process.
//!
//! Opening a file fails, and ends nothing: where threads crowd, the allocator of glibc asks the kernel's files how
//! many processors there are and whether memory is overcommitted, and goes on without an answer.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

const ALLOWED: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fadvise64,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_prctl,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_tgkill,
    libc::SYS_write,
    libc::SYS_writev,
];

/// What is answered with an error.
const REFUSED: &[i64] = &[libc::SYS_openat];

/// Makes a filter: what becomes of the calls that are named, and of all others.
fn program(
    calls: &[i64],
    named: SeccompAction,
    others: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> =
        calls.iter().map(|call| (*call, Vec::new())).collect();
    let target = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, others, named, target)?.try_into()
}

/// Makes the filters: of two verdicts on a call the kernel takes the harder one, and killing is harder than refusing.
fn programs() -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let known = [ALLOWED, REFUSED].concat();
    Ok([
        program(REFUSED, SeccompAction::Errno(libc::EACCES as u32), SeccompAction::Allow)?,
        program(&known, SeccompAction::Allow, SeccompAction::KillProcess)?,
    ])
}

/// Installs the filters on this thread, and on all that it starts.
pub fn install() -> Result<(), String> {
    let programs = programs().map_err(|error| error.to_string())?;
    programs
        .iter()
        .try_for_each(|program| seccompiler::apply_filter(program).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_one_that_the_kernel_can_take() {
        for program in programs().expect("filters") {
            assert!(program.len() < 4096, "{} instructions", program.len());
        }
    }

    #[test]
    fn nothing_that_reaches_out_is_allowed() {
        for call in [
            libc::SYS_openat,
            libc::SYS_open,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_unlinkat,
            libc::SYS_renameat2,
            libc::SYS_mount,
            libc::SYS_kill,
            libc::SYS_ioctl,
            libc::SYS_io_uring_setup,
        ] {
            assert!(!ALLOWED.contains(&call), "system call {call}");
        }
    }
}

//! Which system calls a command may make: the filters, as seccompiler compiles them.
//!
//! Everything is allowed but what stands here. Five filters lie one upon the other, as a filter knows two
//! answers only; of several answers the kernel takes the strictest.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

/// Calls that would reach beyond the sandbox, or widen the surface of the kernel for nothing.
const FORBIDDEN: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// Calls that programs try and do without: `clone3` (its flags lie in memory, where no filter looks) and
/// io_uring (whose calls pass no filter).
const ABSENT: &[i64] =
    &[libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// Calls that succeed without being done: durability of what is thrown away, and groups that can't be had.
const DONE: &[i64] = &[
    libc::SYS_fdatasync,
    libc::SYS_fsync,
    libc::SYS_msync,
    libc::SYS_setgroups,
    libc::SYS_sync,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
];

/// Calls that the supervisor answers.
const ASKED: &[i64] = &[
    libc::SYS_chroot,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_fstat,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_lremovexattr,
    libc::SYS_lsetxattr,
    libc::SYS_newfstatat,
    libc::SYS_removexattr,
    libc::SYS_setxattr,
    libc::SYS_statx,
    libc::SYS_uname,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
];

/// Calls that change who a process is: done by the kernel, which knows one user only; the supervisor notes
/// what was wanted, because nothing else would explain the failure.
const IDENTITY: &[i64] = &[
    libc::SYS_setgid,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setreuid,
    libc::SYS_setuid,
];

/// Tells whether a call changes who a process is.
pub fn is_identity(number: i64) -> bool {
    IDENTITY.contains(&number)
}

/// Calls from this number on are absent: those that came after Linux 6.12, attributes by descriptor (463 to
/// 466) among them, and all of the x32 table.
const FIRST_UNKNOWN: u32 = 463;

/// Families of sockets: `AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_NETLINK`. Others are not bound to a network
/// namespace (vsock leads to the host) or bring code of the kernel that nothing here needs.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// The data of a trace action that stands for "ask the supervisor": seccompiler has no word for it.
const MARK: u32 = 0x6d6b;
const RETURN: u16 = 0x06;
const RETURN_TRACE: u32 = 0x7ff0_0000 | MARK;
const RETURN_USER_NOTIFICATION: u32 = 0x7fc0_0000;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Result<T> = std::result::Result<T, seccompiler::BackendError>;

/// Returns the filters that answer by themselves.
pub fn fixed() -> Result<Vec<BpfProgram>> {
    let always = |calls: &[i64]| calls.iter().map(|call| (*call, Vec::new())).collect::<Rules>();
    let mut forbidden = always(FORBIDDEN);
    forbidden.insert(libc::SYS_clone, namespaces()?);
    forbidden.insert(libc::SYS_socket, vec![families()?]);
    let errno = |number: i32| SeccompAction::Errno(number as u32);
    Ok(vec![
        unknown(),
        compile(always(ABSENT), errno(libc::ENOSYS))?,
        compile(forbidden, errno(libc::EPERM))?,
        compile(always(DONE), errno(0))?,
    ])
}

/// Returns the filter whose matches wait for the supervisor.
pub fn asked() -> Result<BpfProgram> {
    let mut rules: Rules = ASKED.iter().map(|call| (*call, Vec::new())).collect();
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_mknod, devices(1)?);
    rules.insert(libc::SYS_mknodat, devices(2)?);
    rules.insert(libc::SYS_mmap, shared_mappings()?);
    for call in IDENTITY {
        let arguments = match *call {
            libc::SYS_setuid | libc::SYS_setgid => 1,
            libc::SYS_setreuid | libc::SYS_setregid => 2,
            _ => 3,
        };
        let other = |argument| SeccompRule::new(vec![another(argument, 0)?, another(argument, u32::MAX)?]);
        rules.insert(*call, (0..arguments).map(other).collect::<Result<_>>()?);
    }
    let mut program = compile(rules, SeccompAction::Trace(MARK))?;
    for instruction in &mut program {
        if instruction.code == RETURN && instruction.k == RETURN_TRACE {
            instruction.k = RETURN_USER_NOTIFICATION;
        }
    }
    Ok(program)
}

fn compile(rules: Rules, action: SeccompAction) -> Result<BpfProgram> {
    let target = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Allow, action, target)?.try_into()
}

/// Says `ENOSYS` to every number from [`FIRST_UNKNOWN`] on.
fn unknown() -> BpfProgram {
    let [load, jump_if_not_less] = [0x20, 0x35];
    let [allow, absent] = [0x7fff_0000, 0x0005_0000 | libc::ENOSYS as u32];
    [(load, 0, 0, 0), (jump_if_not_less, 0, 1, FIRST_UNKNOWN), (RETURN, 0, 0, absent), (RETURN, 0, 0, allow)]
        .map(|(code, jt, jf, k)| seccompiler::sock_filter { code, jt, jf, k })
        .into()
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition> {
    let operator = SeccompCmpOp::MaskedEq(mask);
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn another(argument: u8, value: u32) -> Result<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, u64::from(value))
}

/// Matches `clone` with any flag that makes a namespace.
fn namespaces() -> Result<Vec<SeccompRule>> {
    let flags = [
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWUTS,
    ];
    flags.into_iter().map(|flag| SeccompRule::new(vec![masked(0, flag as u64, flag as u64)?])).collect()
}

fn families() -> Result<SeccompRule> {
    SeccompRule::new(FAMILIES.into_iter().map(|family| another(0, family as u32)).collect::<Result<_>>()?)
}

/// Matches the making of device nodes; the mode is this argument.
fn devices(argument: u8) -> Result<Vec<SeccompRule>> {
    let kinds = [libc::S_IFCHR, libc::S_IFBLK].into_iter();
    let kind = |kind| SeccompRule::new(vec![masked(argument, u64::from(libc::S_IFMT), u64::from(kind))?]);
    kinds.map(kind).collect()
}

/// Matches shared mappings of files: what is written through one may leave a file's times as they were.
fn shared_mappings() -> Result<Vec<SeccompRule>> {
    let kinds = [libc::MAP_SHARED, libc::MAP_SHARED_VALIDATE].into_iter();
    let mask = (libc::MAP_TYPE | libc::MAP_ANONYMOUS) as u64;
    kinds.map(|kind| SeccompRule::new(vec![masked(3, mask, kind as u64)?])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_of_questions_asks_and_nothing_else() {
        let program = asked().expect("a filter");
        let returns: std::collections::BTreeSet<u32> =
            program.iter().filter(|one| one.code == RETURN).map(|one| one.k).collect();
        assert!(returns.contains(&RETURN_USER_NOTIFICATION));
        assert!(!returns.contains(&RETURN_TRACE), "a mark was left in");
        assert!(program.len() < 4096, "{} instructions", program.len());
    }

    #[test]
    fn no_call_has_two_answers() {
        let mut seen = std::collections::BTreeSet::new();
        for call in [FORBIDDEN, ABSENT, DONE, ASKED, IDENTITY].concat() {
            assert!(seen.insert(call), "system call {call} stands in two lists");
            assert!((0..i64::from(FIRST_UNKNOWN)).contains(&call), "system call {call}");
        }
        assert_eq!(fixed().expect("filters").len(), 4);
    }
}

//! What the agent that stays can never do, whoever takes it over, for good: a filter of system calls, Landlock, and a
//! bound on its memory.
//!
//! It reads what strangers serve, and may write the disk that the machine boots from. Besides that it needs files of
//! its folder, sockets and threads: it starts no program, mounts nothing, loads nothing into the kernel, looks into
//! no other process, reads no file but those of [`Reach`], listens on no port. Its user, and that it has no capability,
//! come from whoever starts it.
//!
//! Landlock holds the thread that asks for it and those that it starts later: everything here comes before the first
//! worker. A kernel without Landlock holds the agent by the rest, and that is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter_all_threads};

use super::error::{AgentError, Result};

/// Memory of its own that the agent may fill, in bytes: some times what the largest kernel image takes.
const MEMORY_BYTES_MAX: u64 = 1 << 30;
/// What Landlock is asked for; an older kernel gives the part that it knows.
const LANDLOCK: ABI = ABI::V6;
/// Random numbers, what the kernel tells of this machine and this process, and how names are looked up.
const READ_ALWAYS: &[&str] = &[
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/services",
    "/proc/cmdline",
    "/proc/locks",
    "/proc/self",
    "/proc/sys/kernel/random/boot_id",
    "/sys",
];
/// How the machine finds name servers: often a link to a file that comes and goes, whose folder counts then.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where distributions keep CA certificates, never keys.
const CERTIFICATES: &[&str] = &[
    "/etc/ca-certificates",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
];

/// What a confined agent still reaches. What is not there is not reached later either.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Folders in which it makes, changes and removes files.
    pub own_folders: Vec<PathBuf>,
    /// The disk.
    pub written: Vec<PathBuf>,
    /// Files and folders besides those of every machine.
    pub read: Vec<PathBuf>,
    /// Whether it asks for a reboot by a signal.
    pub signals: bool,
}

/// Calls that are refused with "operation not permitted".
const FORBIDDEN: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mknodat,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

/// Gives up, for this process and the threads that it starts from now on, what an updater never does. Returns what
/// this kernel can't keep from it, in words, where there is such a thing.
pub fn confine(reach: &Reach) -> Result<Option<String>> {
    let problem = |problem: String| AgentError::Confine { problem };
    let limit = Rlimit { current: Some(MEMORY_BYTES_MAX), maximum: Some(MEMORY_BYTES_MAX) };
    setrlimit(Resource::Data, limit).map_err(|error| problem(format!("its memory has no bound: {error}")))?;
    let status = restrict_paths(reach).map_err(|error| problem(format!("Landlock: {error}")))?;
    let filter = filter().map_err(|error| problem(error.to_string()))?;
    apply_filter_all_threads(&filter).map_err(|error| problem(error.to_string()))?;
    Ok((status == RulesetStatus::NotEnforced)
        .then(|| "this kernel has no Landlock: only users and modes keep files from the agent".to_owned()))
}

/// Takes every path away that the agent has no use for, and what comes with it: listening, abstract sockets, signals.
fn restrict_paths(reach: &Reach) -> std::result::Result<RulesetStatus, RulesetError> {
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    let own = AccessFs::from_all(LANDLOCK) & !(devices | AccessFs::Execute | AccessFs::MakeFifo);
    let (read, write) = (AccessFs::ReadFile | AccessFs::ReadDir, AccessFs::ReadFile | AccessFs::WriteFile);
    let scope = if reach.signals { Scope::AbstractUnixSocket.into() } else { Scope::from_all(LANDLOCK) };
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let ruleset = ruleset.handle_access(AccessFs::from_all(LANDLOCK))?.handle_access(AccessNet::BindTcp)?;
    let mut created = ruleset.scope(scope)?.create()?;
    let known: Vec<PathBuf> =
        READ_ALWAYS.iter().chain(CERTIFICATES).map(PathBuf::from).chain(name_servers()).collect();
    for (paths, access) in
        [(&reach.own_folders, own), (&reach.written, write), (&reach.read, read), (&known, read)]
    {
        created = created.add_rules(path_beneath_rules(paths, access))?;
    }
    Ok(created.restrict_self()?.ruleset)
}

/// Returns what is to be readable so that name servers are found for as long as the machine runs: the folder that a
/// link leads to, else the file.
fn name_servers() -> Option<PathBuf> {
    let file = Path::new(RESOLV_CONF);
    let Ok(target) = std::fs::read_link(file) else { return Some(file.to_owned()) };
    file.with_file_name("").join(target).parent().map(Path::to_owned)
}

fn filter() -> std::result::Result<BpfProgram, seccompiler::BackendError> {
    let target = TargetArch::try_from(std::env::consts::ARCH)?;
    let rules: BTreeMap<i64, _> = FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refused, target)?.try_into()
}

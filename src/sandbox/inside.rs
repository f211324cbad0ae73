//! PID 1 of a sandbox: puts the file system together, gives up what it won't need, runs the commands.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_bind, mount_remount, move_mount, open_tree,
    unmount,
};
use rustix::process::{Pid, Resource, Rlimit, WaitOptions};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::show::HOST_NAME;
use super::wire::{Ended, Failure, Kind, Link, Setup};
use super::{filter, sys};

/// Where the file system with the tree hangs while the sandbox is put together: a directory that every
/// machine has.
const WORKSHOP: &str = "/proc";

/// Devices that every command finds: harmless ones, which know nothing of the machine.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// How often, and how long apart, a program is started that another process still has open for writing.
const BUSY_TRIES_MAX: u32 = 1000;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Builds the sandbox around this process and runs the commands; says to `link` how they ended.
pub fn run(setup: &Setup, files: &OwnedFd, link: &Link) -> Result<(), Failure> {
    build(setup, files)?;
    restrict(setup)?;
    let listener = filters()?;
    link.send(Kind::Listener, b"", Some(listener.as_fd())).map_err(Failure::at("hand over the filter"))?;
    drop(listener);
    let ended = commands(setup);
    link.send_value(Kind::Ended, &ended, None).map_err(Failure::at("report the end"))
}

/// Puts the file system together and moves into it.
fn build(setup: &Setup, files: &OwnedFd) -> Result<(), Failure> {
    // While the machine's /proc can be seen, as the kernel shows a new one to nobody else.
    let processes = processes()?;
    let devices: Vec<OwnedFd> = DEVICES.iter().map(|name| device(name)).collect::<Result<_, _>>()?;
    attach(setup, files)?;
    let tree = format!("{WORKSHOP}/tree");
    mount_bind(&*tree, &*tree).map_err(Failure::at("bind the tree"))?;
    rustix::process::chdir(&*tree).map_err(Failure::at("enter the tree"))?;
    hang(&temporary("1m", "0755")?, "dev")?;
    for (mount, name) in devices.iter().zip(DEVICES) {
        furnish(mount, name)?;
    }
    for (target, name) in LINKS {
        rustix::fs::symlink(target, format!("dev/{name}")).map_err(Failure::at("fill /dev"))?;
    }
    hang(&terminals()?, "dev/pts")?;
    let tree_bytes = setup.tree_bytes.to_string();
    for (name, size, mode) in
        [("dev/shm", "64m", "1777"), ("run", "64m", "0755"), ("tmp", &*tree_bytes, "1777")]
    {
        hang(&temporary(size, mode)?, name)?;
    }
    mkdir("run/lock")?;
    hang(&processes, "proc")?;
    for (index, at) in setup.inputs.iter().enumerate() {
        input(index, at)?;
    }
    pivot()
}

/// Makes a view of this namespace's processes, and of nothing else that /proc shows of a machine.
fn processes() -> Result<OwnedFd, Failure> {
    let doing = "mount /proc";
    let make = |subset: bool| {
        let fs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        if subset {
            fsconfig_set_string(&fs, "subset", "pid")?;
        }
        fsconfig_create(&fs)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    make(true).map_err(Failure::at(doing))
}

/// Makes an empty file system in memory.
pub fn memory(options: &[(&str, &str)]) -> Result<OwnedFd, Errno> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&fs, *key, *value)?;
    }
    fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn temporary(size: &str, mode: &str) -> Result<OwnedFd, Failure> {
    memory(&[("size", size), ("mode", mode), ("nr_inodes", "1m")]).map_err(Failure::at("make a tmpfs"))
}

fn terminals() -> Result<OwnedFd, Failure> {
    let make = || {
        let fs = fsopen("devpts", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&fs, "ptmxmode", "0666")?;
        fsconfig_set_string(&fs, "mode", "0620")?;
        fsconfig_create(&fs)?;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NOSUID)
    };
    make().map_err(Failure::at("make /dev/pts"))
}

fn device(name: &str) -> Result<OwnedFd, Failure> {
    let path = format!("/dev/{name}");
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, &*path, flags).map_err(Failure::at(format!("take {path}")))
}

/// Hangs the file system that holds the tree into this namespace.
fn attach(setup: &Setup, files: &OwnedFd) -> Result<(), Failure> {
    let doing = "hang in the file system of the tree";
    if setup.in_memory {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        return move_mount(files, c"", CWD, WORKSHOP, flags).map_err(Failure::at(doing));
    }
    use std::os::fd::AsRawFd;
    let folder = format!("/proc/self/fd/{}", files.as_raw_fd());
    mount_bind(&*folder, WORKSHOP).map_err(Failure::at(doing))
}

/// Hangs a file system over a directory of the tree, which must be one: a symbolic link would lead away.
fn hang(mount: &OwnedFd, at: &str) -> Result<(), Failure> {
    let target = enter(at.as_bytes())?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", &target, c"", flags).map_err(Failure::at(format!("mount over /{at}")))
}

/// Opens a directory below the working directory, made where it is missing, following no link.
fn enter(path: &[u8]) -> Result<OwnedFd, Failure> {
    let shown = || format!("enter /{}", crate::base::path::escaped(path));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(CWD, c".", flags, Mode::empty()).map_err(Failure::at(shown()))?;
    for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
        let name = CString::new(name).map_err(|_| Failure { doing: shown(), errno: libc::EINVAL })?;
        match rustix::fs::mkdirat(&at, &name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(Failure::at(shown())(error)),
        }
        at = rustix::fs::openat(&at, &name, flags, Mode::empty()).map_err(Failure::at(shown()))?;
    }
    Ok(at)
}

fn mkdir(path: &str) -> Result<(), Failure> {
    rustix::fs::mkdir(path, Mode::from_raw_mode(0o1777)).map_err(Failure::at(format!("make /{path}")))?;
    rustix::fs::chmod(path, Mode::from_raw_mode(0o1777)).map_err(Failure::at(format!("make /{path}")))
}

/// Binds a device node into /dev, read-only: its own permissions are the machine's.
fn furnish(mount: &OwnedFd, name: &str) -> Result<(), Failure> {
    let path = format!("dev/{name}");
    let doing = || format!("bind /{path}");
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::open(&*path, flags, Mode::from_raw_mode(0o644)).map_err(Failure::at(doing()))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount, c"", CWD, &*path, flags).map_err(Failure::at(doing()))?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_remount(&*path, flags, c"").map_err(Failure::at(doing()))
}

/// Binds an input, read-only.
fn input(index: usize, at: &[u8]) -> Result<(), Failure> {
    let shown = crate::base::path::escaped(at);
    let doing = || format!("lay in the input {shown}");
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let source = format!("{WORKSHOP}/inputs/{index}");
    let mount = open_tree(CWD, &*source, flags).map_err(Failure::at(doing()))?;
    let target = enter(at)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&mount, c"", &target, c"", flags).map_err(Failure::at(doing()))?;
    // By path: nobody else is there yet who could exchange a directory for a link.
    let path =
        CString::new([b".", at].concat()).map_err(|_| Failure { doing: doing(), errno: libc::EINVAL })?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount_remount(&*path, flags, c"").map_err(Failure::at(doing()))
}

/// Makes the tree the root of this namespace and lets go of the machine's.
fn pivot() -> Result<(), Failure> {
    rustix::process::pivot_root(c".", c".").map_err(Failure::at("move into the tree"))?;
    unmount(c".", UnmountFlags::DETACH).map_err(Failure::at("leave the machine's files"))?;
    rustix::process::chdir(c"/").map_err(Failure::at("enter /"))
}

/// What root in the sandbox may do: what maintainer scripts do. Not administrate the system, not trace.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP);

/// Gives up privileges and sets the limits.
fn restrict(setup: &Setup) -> Result<(), Failure> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    rustix::system::sethostname(HOST_NAME.as_bytes()).map_err(Failure::at("set the host name"))?;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    // A kernel without IPv4 has no loopback to bring up.
    if let Ok(socket) = socket {
        sys::loopback_up(&socket).map_err(Failure::at("bring up the loopback interface"))?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    limits(setup)?;
    for bit in 0..64 {
        let Some(one) = CapabilitySet::from_bits(1 << bit).filter(|one| !CAPABILITIES.contains(*one)) else {
            continue;
        };
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(Failure::at("drop a capability")(error)),
        }
    }
    let sets = CapabilitySets {
        effective: CAPABILITIES,
        permitted: CAPABILITIES,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).map_err(Failure::at("drop capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(Failure::at("forbid new privileges"))?;
    let hidden = rustix::process::DumpableBehavior::NotDumpable;
    rustix::process::set_dumpable_behavior(hidden).map_err(Failure::at("hide PID 1"))
}

fn limits(setup: &Setup) -> Result<(), Failure> {
    let mebibyte = 1 << 20;
    let wanted = [
        (Resource::Core, Some(0)),
        (Resource::Fsize, Some(setup.tree_bytes)),
        (Resource::Memlock, Some(8 * mebibyte)),
        (Resource::Nofile, Some(setup.open_files)),
        (Resource::Nproc, Some(setup.processes)),
        (Resource::Stack, Some(8 * mebibyte)),
        (Resource::As, setup.address_space_bytes),
    ];
    for (resource, value) in wanted {
        let allowed = rustix::process::getrlimit(resource).maximum;
        let value = match (value, allowed) {
            (Some(value), Some(allowed)) => Some(value.min(allowed)),
            (value, allowed) => value.or(allowed),
        };
        rustix::process::setrlimit(resource, Rlimit { current: value, maximum: value })
            .map_err(Failure::at(format!("limit {resource:?}")))?;
    }
    Ok(())
}

fn filters() -> Result<OwnedFd, Failure> {
    let doing = "install the filter of system calls";
    let compiled = |error: seccompiler::BackendError| Failure {
        doing: format!("compile the filter of system calls ({error})"),
        errno: 0,
    };
    for program in filter::fixed().map_err(compiled)? {
        seccompiler::apply_filter(&program).map_err(|error| match error {
            seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => {
                Failure::at(doing)(error)
            }
            other => Failure { doing: format!("{doing} ({other})"), errno: 0 },
        })?;
    }
    sys::listen(&filter::asked().map_err(compiled)?).map_err(Failure::at(doing))
}

/// Runs the commands in order, up to the first that fails.
fn commands(setup: &Setup) -> Ended {
    for (command, words) in setup.commands.iter().enumerate() {
        match one(setup, words) {
            Err(errno) => return Ended::NotStarted { command, errno },
            Ok(status) => {
                if let Some(signal) = status.terminating_signal() {
                    return Ended::Signal { command, signal };
                }
                let status = status.exit_status().unwrap_or(-1);
                if status != 0 {
                    return Ended::Exit { command, status };
                }
            }
        }
    }
    Ended::Well
}

/// Runs one command and takes up whatever loses its parent meanwhile.
fn one(setup: &Setup, words: &[String]) -> Result<rustix::process::WaitStatus, i32> {
    use std::os::unix::ffi::OsStrExt;
    let (variables, words) = split(words);
    let (program, arguments) = words.split_first().ok_or(libc::ENOENT)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&setup.environment);
    command.envs(variables.iter().filter_map(|word| word.split_once('=')));
    command.current_dir(std::ffi::OsStr::from_bytes(&setup.working_directory)).process_group(0);
    let child = start(&mut command).map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL))?;
    let child = Pid::from_child(&child);
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => return Ok(status),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.raw_os_error()),
        }
    }
}

/// Starts a program. While the tree was laid out, another thread of who did it may have forked: until that child
/// becomes another program, some file is still open for writing there, and can't be run (ETXTBSY).
fn start(command: &mut Command) -> std::io::Result<Child> {
    for _ in 0..BUSY_TRIES_MAX {
        match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(BUSY_PAUSE);
            }
            started => return started,
        }
    }
    command.spawn()
}

/// Parts the variables before a command from its words, as a shell does: `NAME=value … program argument …`.
pub fn split(words: &[String]) -> (&[String], &[String]) {
    let is_variable = |word: &String| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty()
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        })
    };
    let count = words.iter().take_while(|word| is_variable(word)).count();
    words.split_at(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

    #[test]
    fn a_program_that_is_still_open_for_writing_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("program");
        std::fs::copy("/bin/true", &path).expect("copied");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
        let writing = std::fs::OpenOptions::new().write(true).custom_flags(libc::O_CLOEXEC).open(&path);
        let writing = writing.expect("opened");
        let busy = Command::new(&path).spawn().expect_err("it is open for writing");
        assert_eq!(busy.kind(), std::io::ErrorKind::ExecutableFileBusy);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                drop(writing);
            });
            let mut child = start(&mut Command::new(&path)).expect("started");
            assert!(child.wait().expect("ended").success());
        });
    }
}

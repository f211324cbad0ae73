//! File systems that every machine has, and the move into the new root.

use std::ffi::CStr;
use std::fs::File;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_move, mount_remount, unmount};

use crate::error::{Doing, Result, chain};
use crate::report::say;

/// Where the new root is mounted before it becomes `/`.
pub const NEW_ROOT: &str = "/new-root";

const CLOSED: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const NO_DEVICES: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const DEVICES: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

/// Mounts that move along into the new root, in this order.
const CARRIED: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

/// Names that programs use for their open files.
const STREAMS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Mounts what PID 1 itself needs, over the initrd's empty root.
pub fn first() -> Result<()> {
    for (kind, path, flags, options) in [
        ("proc", "/proc", CLOSED, c""),
        ("sysfs", "/sys", CLOSED, c""),
        ("devtmpfs", "/dev", DEVICES, c"mode=755"),
        ("tmpfs", "/run", NO_DEVICES, c"mode=755,size=20%"),
    ] {
        std::fs::create_dir_all(path).doing("create", path)?;
        mount_if_missing(kind, path, flags, options)?;
    }
    Ok(())
}

/// Makes the console the three standard streams.
pub fn open_console() -> Result<()> {
    let console =
        File::options().read(true).write(true).open("/dev/console").doing("open", "/dev/console")?;
    rustix::stdio::dup2_stdin(&console).doing("use", "/dev/console")?;
    rustix::stdio::dup2_stdout(&console).doing("use", "/dev/console")?;
    rustix::stdio::dup2_stderr(&console).doing("use", "/dev/console")
}

/// Mounts the firmware's variables, where the machine has UEFI and the kernel the module.
pub fn firmware_variables() {
    let path = "/sys/firmware/efi/efivars";
    if Path::new(path).exists() {
        tell(mount_if_missing("efivarfs", path, CLOSED, c""));
    }
}

/// Moves the mounts into the new root and makes it `/`.
pub fn enter_new_root() -> Result<()> {
    for path in CARRIED {
        mount_move(path, format!("{NEW_ROOT}{path}"))
            .doing("move a mount to the root's directory (which the image must have)", path)?;
    }
    rustix::process::chdir(NEW_ROOT).doing("enter", NEW_ROOT)?;
    mount_move(".", "/").doing("move to /", NEW_ROOT)?;
    rustix::process::chroot(".").doing("change the root to", NEW_ROOT)?;
    rustix::process::chdir("/").doing("enter", "/")
}

/// Mounts what an app finds besides, and a whole system's init makes for itself. What the root has no
/// directory for is told and left out.
pub fn for_apps() {
    // The mount over /run forbids programs from here on: all that runs is the verified root.
    tell(mount_remount("/run", CLOSED, c"mode=755,size=20%").doing("remount", "/run"));
    for path in ["/dev/pts", "/dev/shm"] {
        let _ = std::fs::create_dir(path);
    }
    for (path, target) in STREAMS {
        let _ = std::os::unix::fs::symlink(target, path);
    }
    tell(mount_if_missing("devpts", "/dev/pts", DEVICES, c"gid=5,mode=620,ptmxmode=666"));
    tell(mount_if_missing("tmpfs", "/dev/shm", CLOSED, c"mode=1777,size=50%"));
    tell(mount_if_missing("tmpfs", "/tmp", CLOSED, c"mode=1777,size=50%"));
    tell(mount_if_missing("cgroup2", "/sys/fs/cgroup", CLOSED, c""));
}

/// Mounts a place for temporary files, for a whole system on a read-only root.
pub fn for_systems() {
    tell(mount_if_missing("tmpfs", "/tmp", NO_DEVICES, c"mode=1777,size=50%"));
}

/// Mounts the data partition.
pub fn data(device: &str, path: &str) -> Result<()> {
    mount(device, path, "ext4", NO_DEVICES | MountFlags::NOATIME, c"")
        .doing("mount the data partition on", path)
}

/// Mounts a file system in memory that only root may enter so far.
pub fn private(path: &str, bytes: usize) -> Result<()> {
    let options = std::ffi::CString::new(format!("mode=500,size={bytes},nr_inodes=4096"))
        .expect("because numbers have no NUL");
    mount("tmpfs", path, "tmpfs", CLOSED, options.as_c_str()).doing("mount", path)
}

/// Makes it read-only for good.
pub fn close_private(path: &str) -> Result<()> {
    mount_remount(path, CLOSED | MountFlags::RDONLY, c"").doing("make read-only", path)
}

/// Mounts a file or directory at a second place, too.
pub fn bind(from: &Path, to: &Path) -> Result<()> {
    mount_bind(from, to).doing("mount a second time at", to.display())
}

/// Makes a second mount read-only, while the first one stays as it is.
pub fn close_bind(path: &str) -> Result<()> {
    mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | NO_DEVICES | MountFlags::NOEXEC, c"")
        .doing("make read-only", path)
}

/// Mounts a verified device as the new root.
pub fn root(device: &str) -> Result<()> {
    std::fs::create_dir_all(NEW_ROOT).doing("create", NEW_ROOT)?;
    mount(device, NEW_ROOT, "ext4", MountFlags::RDONLY | MountFlags::NODEV, c"")
        .doing("mount the root filesystem from", device)
}

/// Unmounts a file system, or makes it read-only where somebody still holds it.
pub fn close(path: &str) {
    if unmount(path, UnmountFlags::NOFOLLOW).is_ok() {
        return;
    }
    tell(mount_remount(path, MountFlags::RDONLY | NO_DEVICES, c"").doing("unmount or close", path));
}

fn mount_if_missing(kind: &str, path: &str, flags: MountFlags, options: &CStr) -> Result<()> {
    match mount(kind, path, kind, flags, options) {
        Err(rustix::io::Errno::BUSY) => Ok(()),
        result => result.doing("mount", path),
    }
}

fn tell(result: Result<()>) {
    if let Err(error) = result {
        say!("{}", chain(&error));
    }
}

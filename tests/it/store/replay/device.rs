//! A disk whose writes are logged: QEMU's storage daemon logs them below a file that it shows through FUSE,
//! and the kernel's loop device makes a disk of that file. All of it goes when it is dropped.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::log;
use crate::tool::{run, succeed, tool, unmount};

/// Fails with all that this machine lacks.
pub fn demand(make: &str) {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root (mounting needs it)".to_owned());
    }
    let is_device =
        |path: &str| std::fs::metadata(path).is_ok_and(|found| found.file_type().is_char_device());
    missing.extend(
        ["/dev/loop-control", "/dev/fuse"]
            .iter()
            .filter(|path| !is_device(path))
            .map(|path| path.to_string()),
    );
    let tools = [
        ("qemu-storage-daemon", "qemu-system-common"),
        ("losetup", "mount"),
        ("strace", "strace"),
        ("mkfs.ext4", "e2fsprogs"),
        ("mkfs.xfs", "xfsprogs"),
        ("mkfs.btrfs", "btrfs-progs"),
    ];
    for (program, package) in
        tools.iter().filter(|(program, _)| !program.starts_with("mkfs") || *program == make)
    {
        let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
        if !folders.iter().any(|folder| Path::new(folder).join(program).exists()) {
            missing.push(format!("{program} (package {package})"));
        }
    }
    assert!(missing.is_empty(), "power cuts can't be replayed here, this is missing: {}", missing.join(", "));
}

/// A folder with a disk, its log and what is made of them.
pub struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    /// Makes a disk with a new file system.
    pub fn new(make: &[&str], size: &str) -> Machine {
        let machine = Machine { folder: crate::store::folder() };
        let disk = machine.scratch("disk");
        succeed(&mut tool("truncate", ["-s".as_ref(), size.as_ref(), disk.as_os_str()]));
        succeed(&mut tool("truncate", ["-s".as_ref(), "2G".as_ref(), machine.log().as_os_str()]));
        succeed(tool(make[0], &make[1..]).arg(&disk));
        succeed(tool("cp", ["--sparse=always"]).arg(&disk).arg(machine.blank()));
        machine
    }

    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The disk before the first logged write.
    pub fn blank(&self) -> PathBuf {
        self.scratch("blank")
    }

    pub fn log(&self) -> PathBuf {
        self.scratch("log")
    }

    /// Returns how many writes and flushes were logged.
    pub fn logged(&self) -> u64 {
        log::count(&self.log())
    }

    /// Mounts the disk and logs what it is told from now on.
    pub fn record(&self) -> Recording {
        let daemon = Daemon::start(self);
        let mounted = Mounted::of(&self.scratch("shown"), &self.scratch("mounted"));
        let mounted = mounted.unwrap_or_else(|problem| panic!("the logged disk can't be mounted: {problem}"));
        Recording { mounted, _daemon: daemon }
    }
}

/// A mounted disk that is logged. Fields are dropped in their order.
pub struct Recording {
    mounted: Mounted,
    _daemon: Daemon,
}

impl Recording {
    pub fn path(&self) -> &Path {
        self.mounted.path()
    }
}

struct Daemon {
    pid: PathBuf,
}

impl Daemon {
    fn start(machine: &Machine) -> Daemon {
        let path = |name: &str| machine.scratch(name).display().to_string();
        std::fs::write(path("shown"), b"").expect("a place to show the disk at");
        let block = |text: String| ["--blockdev".to_owned(), text];
        let mut command = tool("qemu-storage-daemon", ["--pidfile", &path("pid")]);
        command.args(block(format!("driver=file,node-name=disk,filename={}", path("disk"))));
        command.args(block(format!("driver=file,node-name=log,filename={}", path("log"))));
        let logging = "driver=blklogwrites,node-name=logged,file=disk,log=log,log-sector-size=512";
        command.args(block(format!("{logging},log-super-update-interval=1")));
        let shown = format!("type=fuse,id=shown,node-name=logged,mountpoint={},writable=on", path("shown"));
        command.args(["--export", &shown, "--daemonize"]);
        succeed(&mut command);
        Daemon { pid: machine.scratch("pid") }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let Ok(pid) = std::fs::read_to_string(&self.pid) else { return };
        let _ = run(&mut tool("kill", [pid.trim()]));
        for _ in 0..200 {
            if !Path::new("/proc").join(pid.trim()).exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }
}

/// A disk image, as a loop device that is mounted.
pub struct Mounted {
    device: String,
    path: PathBuf,
}

impl Mounted {
    pub fn of(image: &Path, at: &Path) -> Result<Mounted, String> {
        std::fs::create_dir_all(at).expect("a place to mount at");
        let attach = ["--show".as_ref(), "-f".as_ref(), image.as_os_str()];
        let device = succeed(&mut tool("losetup", attach)).trim().to_owned();
        let output = run(tool("mount", ["-o", "noatime", &device]).arg(at));
        if output.status.success() {
            return Ok(Mounted { device, path: at.to_owned() });
        }
        detach(&device);
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn detach(device: &str) {
    let _ = run(&mut tool("losetup", ["-d", device]));
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.path);
        detach(&self.device);
    }
}

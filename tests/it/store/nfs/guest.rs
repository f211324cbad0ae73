//! A machine of the farm: an emulator, a shell behind a serial port, wires to other machines.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::tool::{kept, mkimage, root, succeed, tool};

const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// For an answer, on a machine that does other things besides.
const PATIENCE: Duration = Duration::from_secs(240);

/// A machine that runs. Dropped, it loses its power.
pub struct Guest {
    pub name: &'static str,
    child: Child,
    shell: BufReader<UnixStream>,
    console: PathBuf,
}

/// What one machine is on, from boot to boot.
pub struct Board {
    pub name: &'static str,
    folder: PathBuf,
    /// For each wire the names of its own end and of the other.
    wires: Vec<(PathBuf, PathBuf)>,
}

/// Builds the image of all machines, with the mkimage under test in it.
pub fn image() -> PathBuf {
    let folder = kept("nfs");
    let here = root().join("tests/it/store/nfs");
    for name in ["guest.hcl", "guest.sh", "work.sh"] {
        std::fs::copy(here.join(name), folder.join(name)).expect("copied");
    }
    let strip = ["--strip-all", "-o"];
    succeed(tool("strip", strip).arg(folder.join("mkimage")).arg(env!("CARGO_BIN_EXE_mkimage")));
    let recipe = folder.join("guest.hcl");
    succeed(&mut mkimage(["lock".as_ref(), "--update".as_ref(), recipe.as_os_str()]));
    let image = folder.join("guest.img");
    succeed(&mut mkimage(["build".as_ref(), recipe.as_os_str(), "-o".as_ref(), image.as_os_str()]));
    image
}

impl Board {
    /// Sets a machine up with a disk of its own. `wires` name the machines at the other ends.
    pub fn new(name: &'static str, image: &Path, folder: &Path, wires: &[&str]) -> Board {
        let own = folder.join(name);
        std::fs::create_dir(&own).expect("a folder");
        succeed(tool("cp", ["--sparse=always"]).arg(image).arg(own.join("disk")));
        std::fs::copy(VARIABLES, own.join("variables")).expect("OVMF: `make test` installs it");
        let ends =
            |other: &&str| (folder.join(format!("{name}-{other}")), folder.join(format!("{other}-{name}")));
        Board { name, folder: own, wires: wires.iter().map(ends).collect() }
    }

    /// Switches the machine on; [`Guest::wait`] waits until it is up.
    pub fn start(&self) -> Guest {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let _ = std::fs::remove_file(self.folder.join("shell"));
        let mut command = Command::new("qemu-system-x86_64");
        command.args([
            "-accel",
            "tcg",
            "-m",
            "512",
            "-M",
            "q35",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
        ]);
        command.args(["-drive".to_owned(), format!("if=pflash,format=raw,unit=0,readonly=on,file={CODE}")]);
        command.args(["-drive".to_owned(), format!("if=pflash,format=raw,unit=1,file={}", at("variables"))]);
        command.args([
            "-drive".to_owned(),
            format!("if=none,id=d0,format=raw,cache=unsafe,file={}", at("disk")),
        ]);
        command.args(["-device", "virtio-blk-pci,drive=d0,bootindex=0", "-device", "virtio-rng-pci"]);
        command.args(["-serial".to_owned(), format!("file:{}", at("console"))]);
        command.args(["-serial".to_owned(), format!("unix:{},server=on,wait=off", at("shell"))]);
        for (index, (own, other)) in self.wires.iter().enumerate() {
            let _ = std::fs::remove_file(own);
            let paths = format!("local.path={},remote.path={}", own.display(), other.display());
            command.args([
                "-netdev".to_owned(),
                format!("dgram,id=n{index},local.type=unix,remote.type=unix,{paths}"),
            ]);
            let mac = own.file_name().expect("a name").as_encoded_bytes();
            let mac = format!("52:54:00:{:02x}:{:02x}:{index:02x}", mac[0], mac[mac.len() - 1]);
            command
                .args(["-device".to_owned(), format!("virtio-net-pci,netdev=n{index},mac={mac},romfile=")]);
        }
        let errors = std::fs::File::create(self.folder.join("errors")).expect("a file");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let child = command.spawn().expect("qemu-system-x86_64: `make test` installs it");
        let shell = (0..1000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            UnixStream::connect(self.folder.join("shell")).ok()
        });
        let errors = || std::fs::read_to_string(self.folder.join("errors")).unwrap_or_default();
        let shell = shell.unwrap_or_else(|| panic!("{} does not start: {}", self.name, errors()));
        shell.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Guest { name: self.name, child, shell: BufReader::new(shell), console: self.folder.join("console") }
    }
}

impl Board {
    /// Takes a machine's power away and switches it on again.
    pub fn restart(&self, guest: Guest) -> Guest {
        drop(guest);
        self.start()
    }
}

impl Guest {
    /// Waits until the machine is up, and gives it its name and addresses.
    pub fn wait(&mut self, addresses: &[&str]) {
        while self.line("power on") != "@@ ready" {}
        self.run(&format!("hostname {}", self.name));
        for (index, address) in addresses.iter().enumerate() {
            self.run(&format!("ip addr add {address}/24 dev eth{index} && ip link set eth{index} up"));
        }
    }

    /// Runs a command that must succeed, and returns what it says.
    pub fn run(&mut self, command: &str) -> String {
        let (status, said) = self.attempt(command);
        assert_eq!(status, 0, "{}: {command}\n{said}\n{}", self.name, self.console());
        said
    }

    /// Runs a command; returns its status and what it says.
    pub fn attempt(&mut self, command: &str) -> (i32, String) {
        self.ask(command);
        self.answer(command)
    }

    /// Gives a command without waiting for its end.
    pub fn ask(&mut self, command: &str) {
        assert!(!command.contains('\n') && command.len() < 4000, "{command}");
        self.shell.get_mut().write_all(format!("{command}\n").as_bytes()).expect("a shell that reads");
    }

    pub fn answer(&mut self, command: &str) -> (i32, String) {
        let mut said = String::new();
        loop {
            let line = self.line(command);
            if let Some(status) = line.strip_prefix("@@ ") {
                let status = status.parse().unwrap_or_else(|_| panic!("{}: {command}: {line}", self.name));
                return (status, said.trim().to_owned());
            }
            said.push_str(&line);
            said.push('\n');
        }
    }

    fn line(&mut self, after: &str) -> String {
        let mut line = Vec::new();
        let read = self.shell.read_until(b'\n', &mut line);
        assert!(
            matches!(read, Ok(length) if length > 0),
            "{} says nothing more after {after}: {read:?} {}\n{}",
            self.name,
            String::from_utf8_lossy(&line),
            self.console()
        );
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    /// Returns the end of what the machine has said on its console.
    pub fn console(&self) -> String {
        let bytes = std::fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(4000)..]).into_owned();
        format!("the console of {}:\n{text}", self.name)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A booted image: its ports, a shell by SSH, its end.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use mkimage::base::Stopwatch;

use crate::tool::{self, kept, mkimage, run, succeed, tool};

/// From power-on to an answer, on a machine that does other things besides.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(300);

/// A machine that runs. It is ended when this is dropped.
pub struct Guest {
    child: Child,
    console: PathBuf,
    ports: Vec<(u16, u16)>,
    /// Holds the console and the key of this guest's user.
    folder: tempfile::TempDir,
}

/// Returns a copy of an image that a machine may write to.
pub fn copy(image: &Path, name: &str) -> PathBuf {
    let to = kept("images").join(name);
    succeed(&mut tool("cp", ["--sparse=always".as_ref(), image.as_os_str(), to.as_os_str()]));
    to
}

impl Guest {
    /// Boots an image with ports forwarded, and a key for SSH where it has a server.
    pub fn boot(image: &Path, memory: &str, ports: &[u16]) -> Guest {
        let folder = tempfile::tempdir().expect("a folder");
        let console = folder.path().join("console");
        let public = std::fs::read_to_string(key().with_extension("pub")).expect("a key");
        let ports: Vec<(u16, u16)> = ports.iter().map(|&guest| (free_port(), guest)).collect();
        let mut command = mkimage(["run".as_ref(), image.as_os_str()]);
        command.args(["--accel", "tcg", "--memory", memory, "--env"]);
        command.arg(format!("AUTHORIZED_KEY={}", public.trim()));
        for (host, guest) in &ports {
            command.args(["--port", &format!("{host}:{guest}")]);
        }
        let output = File::create(&console).expect("a file");
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a file")).stderr(output);
        let child = command.spawn().expect("mkimage starts");
        Guest { child, console, ports, folder }
    }

    /// Waits for a page and returns it.
    pub fn get(&mut self, port: u16, path: &str) -> String {
        self.ask(port, &format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n"))
    }

    /// Sends a request until there is an answer, and returns the answer with its head.
    pub fn ask(&mut self, port: u16, request: &str) -> String {
        let host = self.host_port(port);
        self.until(&format!("an answer on port {port}"), || exchange(host, request))
    }

    /// Runs a script as root by SSH, which must succeed, and returns what it says.
    pub fn ssh(&mut self, script: &str) -> String {
        let port = self.host_port(22);
        // 255: there is no connection, or not yet.
        let output = self.until("a login by SSH", || {
            Some(login(port, script)).filter(|output| output.status.code() != Some(255))
        });
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}: {}\n{said}{complaints}{}", output.status, self.console());
        said
    }

    /// Returns the host key that the server shows.
    pub fn host_key(&mut self) -> String {
        let port = self.host_port(22).to_string();
        self.until("a host key", || {
            let output =
                run(&mut tool("ssh-keyscan", ["-T", "20", "-t", "ed25519", "-p", &port, "127.0.0.1"]));
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            said.split_whitespace().last().map(str::to_owned)
        })
    }

    /// Has the system power off by itself.
    pub fn power_off(mut self) {
        let port = self.host_port(22);
        login(port, "systemctl poweroff");
        let status = tool::ended(&mut self.child, PATIENCE);
        assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", self.console());
    }

    /// Returns what the machine has said on its console so far.
    pub fn console(&self) -> String {
        let bytes = std::fs::read(&self.console).unwrap_or_default();
        format!("{}\n({})", String::from_utf8_lossy(&bytes), self.folder.path().display())
    }

    fn host_port(&self, guest: u16) -> u16 {
        self.ports.iter().find(|ports| ports.1 == guest).expect("a port that is forwarded").0
    }

    fn until<T>(&mut self, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
        let stopwatch = Stopwatch::start();
        loop {
            if let Some(result) = attempt() {
                return result;
            }
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "the machine ended before {what}\n{}", self.console());
            assert!(stopwatch.elapsed() < PATIENCE, "no {what} in time\n{}", self.console());
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Guest {
    /// Asks mkimage to end, which ends its emulator: what is killed at once leaves it behind.
    fn drop(&mut self) {
        tool::stop(&mut self.child);
    }
}

/// Returns the key of this guest's user, made once.
fn key() -> &'static Path {
    static KEY: OnceLock<PathBuf> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = kept("ssh").join("id_ed25519");
        if !key.exists() {
            let mut keygen = tool("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f"]);
            succeed(keygen.arg(&key));
        }
        key
    })
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

fn exchange(port: u16, request: &str) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    // The emulator takes the connection before the guest does, and then closes it without a word.
    Some(String::from_utf8_lossy(&answer).into_owned()).filter(|answer| answer.starts_with("HTTP/"))
}

fn login(port: u16, script: &str) -> Output {
    let mut ssh = tool("ssh", ["-q", "-F", "none", "-p", &port.to_string(), "-i"]);
    ssh.arg(key()).stdin(Stdio::null());
    for option in [
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "ConnectTimeout=30",
        "ServerAliveInterval=20",
        "ServerAliveCountMax=6",
    ] {
        ssh.args(["-o", option]);
    }
    run(ssh.args(["root@127.0.0.1", script]))
}

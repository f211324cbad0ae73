//! Images of the witness, and machines that run them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use mkimage::base::Stopwatch;

use crate::tool::{self, kept, mkimage, root, succeed};

const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);

/// Builds the witness, once a test run.
fn witness() -> PathBuf {
    static APP: OnceLock<PathBuf> = OnceLock::new();
    let app = APP.get_or_init(|| {
        let app = kept("witness").join("witness");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(rustc);
        command.args(["--edition", "2024", "-C", "opt-level=1", "-C", "target-feature=+crt-static", "-o"]);
        succeed(command.arg(&app).arg(root().join("tests/it/config/witness.rs")));
        app
    });
    app.clone()
}

/// Builds an image of the witness, with this within its `app` block, where there is none yet.
pub fn image(name: &str, inside: &str) -> PathBuf {
    let folder = kept("witness");
    witness();
    let recipe = folder.join(format!("{name}.hcl"));
    let text = format!(
        "image \"{name}\" {{\n  version = \"1.0\"\n}}\n\napp \"witness\" {{\n  source = \"witness\"\n  ports  = [8080]\n\
         {inside}\n}}\n\nkernel \"debian\" {{\n  suite = \"bookworm\"\n}}\n"
    );
    std::fs::write(&recipe, text).expect("the recipe");
    let image = kept("images").join(format!("{name}.img"));
    succeed(&mut mkimage(["build".as_ref(), recipe.as_os_str(), "-o".as_ref(), image.as_os_str()]));
    image
}

/// The image that most of these tests boot: it is told everything from outside.
pub fn witness_image() -> PathBuf {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    let inside = r#"
  environment = {
    GREETING = "from the recipe"
    KEPT     = "by the recipe"
    LINES    = 0
  }

  # So that it can end the courier, as nothing else here may.
  capabilities = ["CAP_KILL"]

  configuration {
    metadata     = ["nocloud", "config-drive", "ec2"]
    wait_seconds = 60
    credentials  = ["token", "tls.key", "absent"]
  }

  log {
    buffer = "256KiB"
  }
"#;
    IMAGE.get_or_init(|| image("witness", inside)).clone()
}

/// A machine that runs. It is ended when this is dropped.
pub struct Guest {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Guest {
    pub fn boot(image: &Path, more: &[&str]) -> Guest {
        Guest::start(mkimage(["run", "--snapshot"]).arg(image).args(more))
    }

    /// Starts a prepared `mkimage run`, with port 8080 forwarded.
    pub fn start(command: &mut Command) -> Guest {
        let folder = tempfile::tempdir().expect("a folder");
        let output = File::create(folder.path().join("console")).expect("a file");
        let port = free_port();
        command.args(["--accel", "tcg", "--port", &format!("{port}:8080")]);
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a file")).stderr(output);
        Guest { child: command.spawn().expect("mkimage starts"), port, folder }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a page and returns it.
    pub fn get(&mut self, path: &str) -> String {
        let port = self.port;
        self.until(&format!("an answer to {path}"), |_| exchange(port, path))
    }

    /// Waits for a line of the console.
    pub fn says(&mut self, text: &str) -> String {
        self.until(&format!("{text:?}"), |console| {
            console.lines().find(|it| it.contains(text)).map(str::to_owned)
        })
    }

    /// Returns what the machine has said on its console so far.
    pub fn console(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn until<T>(&mut self, what: &str, mut attempt: impl FnMut(&str) -> Option<T>) -> T {
        let stopwatch = Stopwatch::start();
        loop {
            if let Some(result) = attempt(&self.console()) {
                return result;
            }
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "the machine ended before {what}\n{}", self.console());
            assert!(stopwatch.elapsed() < PATIENCE, "no {what} in time\n{}", self.console());
            std::thread::sleep(PAUSE);
        }
    }

    /// Pulls the plug: the emulator dies with mkimage.
    pub fn pull_the_plug(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Has the machine power off, and returns all that it said.
    pub fn power_off(mut self) -> String {
        tool::signal(&self.child, rustix::process::Signal::TERM);
        tool::ends(&mut self.child, PATIENCE);
        self.console()
    }
}

impl Drop for Guest {
    /// Asks mkimage to end, which ends its emulator: what is killed at once leaves it behind.
    fn drop(&mut self) {
        tool::stop(&mut self.child);
    }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

fn exchange(port: u16, path: &str) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    // The emulator takes the connection before the guest does, and then closes it without a word.
    answer.starts_with("HTTP/").then(|| answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
}

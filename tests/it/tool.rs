//! Running mkimage and the tools that judge its bytes.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::OnceLock;
use std::time::Duration;

use mkimage::base::Stopwatch;
use rustix::process::{Pid, Signal, kill_process};

/// Returns the small PID 1 where `make` built it, else the one of this test build.
pub fn init() -> PathBuf {
    std::env::var_os("MKIMAGE_INIT").map_or_else(|| env!("CARGO_BIN_EXE_mkimage-init").into(), PathBuf::from)
}

/// A folder that stays between runs, so that packages are fetched once.
pub fn kept(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("a folder below target/");
    folder
}

/// Prepares a call of mkimage with the tests' own store and PID 1, and no setting of the caller's.
pub fn mkimage<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    with_own_settings(Command::new(env!("CARGO_BIN_EXE_mkimage")), arguments)
}

/// Prepares a call of mkimage that is ended after so many seconds.
pub fn mkimage_within<S: AsRef<std::ffi::OsStr>>(
    seconds: u32,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut timeout = Command::new("timeout");
    // In the foreground it passes a signal on once: a second one would have mkimage leave its work as it is.
    timeout.args(["--foreground", "--kill-after=30"]).arg(seconds.to_string());
    timeout.arg(env!("CARGO_BIN_EXE_mkimage"));
    with_own_settings(timeout, arguments)
}

fn with_own_settings<S: AsRef<std::ffi::OsStr>>(
    mut command: Command,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    command.env_remove("MKIMAGE_JOBS").env_remove("SOURCE_DATE_EPOCH").env_remove("MAKEFLAGS");
    command.env("MKIMAGE_STORE", kept("store")).env("MKIMAGE_INIT", init()).args(arguments);
    command
}

/// Runs a command and returns its standard output; anything but exit code 0 fails the test with all
/// that the command said.
pub fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command that must end with an exit code, and returns what it said on standard error.
pub fn fail_with(code: i32, command: &mut Command) -> String {
    let output = run(command);
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{}", said(&output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command. A tool that isn't there fails the test: it never skips.
pub fn run(command: &mut Command) -> Output {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; `make test` installs what the tests need"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Where the tools are.
const FOLDERS: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs another program of this machine.
pub fn tool<S: AsRef<std::ffi::OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Command {
    // Found here, where the standard library would copy all of this large process to let the child look.
    let found = FOLDERS.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.exists());
    let mut command = Command::new(found.as_deref().unwrap_or(Path::new(program)));
    command.arg0(program).env("PATH", FOLDERS).args(arguments);
    command
}

/// Prepares a program that is killed when this thread ends, however that comes.
pub fn guarded(program: &str) -> Command {
    tool("setpriv", ["--pdeathsig", "KILL", program])
}

/// Sends a signal to a child that was not waited for.
pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("signalled");
}

/// Waits for the end of a child. One that does not end in time is killed, and fails the test.
pub fn ends(child: &mut Child, within: Duration) -> ExitStatus {
    let status = ended(child, within);
    status.unwrap_or_else(|| panic!("process {} did not end in {within:?}, and was killed", child.id()))
}

/// Waits for the end of a child. Returns `None` where it did not end in time and was killed.
pub fn ended(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let watch = Stopwatch::start();
    while watch.elapsed() < within {
        if let Some(status) = child.try_wait().expect("a child") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// Asks a child to end where it still runs. A machine ends with the mkimage that runs it then.
pub fn stop(child: &mut Child) {
    if let Ok(None) = child.try_wait() {
        let _ = kill_process(Pid::from_child(child), Signal::TERM);
        let _ = ended(child, Duration::from_secs(60));
    }
}

/// Copies a program to where it will be run. Another process writes it: what this one had open for writing, a child of
/// another test might hold open for a moment, and then it could not be run.
pub fn install(from: &Path, to: &Path) {
    succeed(tool("install", ["-m755"]).args([from, to]));
}

/// Makes a program of a text.
pub fn script(text: &str, to: &Path) {
    let written = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(written.path(), text).expect("written");
    install(written.path(), to);
}

/// Unmounts, and tells whether that was done. Another test may just start a process with our files open: then the file
/// system is busy for a moment.
pub fn unmount(at: &Path) -> bool {
    (0..100).any(|_| {
        let is_done = run(&mut tool("umount", [at])).status.success();
        if !is_done {
            std::thread::sleep(Duration::from_millis(50));
        }
        is_done
    })
}

/// Returns the folder of this crate.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Makes the demo's app where `make` has not: a static program of one file.
pub fn hello_app() -> PathBuf {
    static APP: OnceLock<PathBuf> = OnceLock::new();
    APP.get_or_init(|| {
        let made = root().join("recipes/hello/target/x86_64-unknown-linux-gnu/release/hello");
        if !made.exists() {
            succeed(Command::new("make").arg("hello").current_dir(root()));
        }
        made
    })
    .clone()
}

/// Returns the hello image, built once a test run from the recipe that the demo uses.
pub fn hello_image() -> PathBuf {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE
        .get_or_init(|| {
            hello_app();
            let image = kept("images").join("hello.img");
            let recipe = root().join("recipes/hello/hello.hcl");
            succeed(&mut mkimage(["build".as_ref(), recipe.as_os_str(), "-o".as_ref(), image.as_os_str()]));
            image
        })
        .clone()
}

/// Returns what `mkimage inspect --json --verify` says of an image whose slots must be sound.
pub fn inspect(image: &Path) -> serde_json::Value {
    inspect_with(&["--verify"], image)
}

/// Returns what `mkimage inspect --json` says of an image.
pub fn inspect_with(more: &[&str], image: &Path) -> serde_json::Value {
    let text = succeed(mkimage(["inspect", "--json"]).args(more).arg(image));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Copies a range of a file into a file of its own, holes as holes.
pub fn cut(image: &Path, start: u64, size: u64, out: &Path) {
    use std::io::{Read, Seek, SeekFrom, Write};
    let mut from = std::fs::File::open(image).expect("an image");
    let mut to = std::fs::File::create(out).expect("a file");
    from.seek(SeekFrom::Start(start)).expect("a seek");
    to.set_len(size).expect("a length");
    let mut piece = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        let length = left.min(piece.len() as u64) as usize;
        from.read_exact(&mut piece[..length]).expect("a range inside the image");
        if piece[..length].iter().any(|&byte| byte != 0) {
            to.write_all(&piece[..length]).expect("written");
        } else {
            to.seek(SeekFrom::Current(length as i64)).expect("a seek");
        }
        left -= length as u64;
    }
}

/// Runs the Python of the environment whose programs judge ours; it is made where it is not there yet.
pub fn python() -> Command {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| drop(succeed(&mut Command::new(root().join(".ci/python-tools")))));
    Command::new(root().join("target/python-tools/bin/python"))
}

/// Makes an authority, `ca.pem`, and what a server at 127.0.0.1 shows that it vouches for: `leaf.pem`, `leaf.key`.
pub fn certificates(folder: &Path) {
    let openssl = |arguments: &str| {
        succeed(tool("openssl", arguments.split(' ')).current_dir(folder));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority"));
    let names = "-addext subjectAltName=IP:127.0.0.1";
    openssl(&format!("req -new {key} -keyout leaf.key -out leaf.csr -subj /CN=server {names}"));
    openssl(
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.pem -days 3650 \
         -copy_extensions copy",
    );
}

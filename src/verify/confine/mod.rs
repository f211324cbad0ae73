//! Foreign bytes are read in a child of ourselves that can do nothing else: no file, no network, no other process,
//! bounded memory and time.
//!
//! ```text
//! parent ── starts /proc/self/exe CHILD_VERB REQUEST, images as inherited descriptors ──▶ child
//!                                     child: opens them by number, then locks itself in:
//!                                            rlimits, Landlock (no path at all), seccomp (reading, threads, memory)
//! parent ◀── one line of JSON on standard output: {"value": …} or {"error": …} ──
//! ```
//!
//! Where the kernel has no Landlock or no seccomp, the child says so once and goes on with what there is: an
//! address space limit and our own readers still stand.

mod child;
mod filter;

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{Result, VerifyError};
use crate::base::{FileError, Job, Stopwatch};

pub use child::{Verb, child, plain};

/// The hidden verb of the command line that is [`child`].
pub const CHILD_VERB: &str = "confined-child";
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Longest piece of what the child says on its standard error that is repeated.
const SAID_BYTES_MAX: u64 = 4096;
/// Address space that the child may have beside what is granted for its threads.
const MEMORY_BYTES: u64 = 4 << 30;
/// Address space for each thread: its stack, and what the allocator keeps for it.
const THREAD_BYTES: u64 = 256 << 20;
/// Processor time for every image, and bytes that one second must read at least: an hour for 64 GiB.
const SECONDS: u64 = 300;
const BYTES_A_SECOND: u64 = 16 << 20;

/// What the child is asked to do.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    verb: String,
    arguments: Value,
    images: Vec<Handed>,
    workers: usize,
    limits: Limits,
}

/// An image by the numbers of its descriptors.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Handed {
    image: i32,
    /// A file that the child may write: for what is inside of a compressed image.
    scratch: Option<i32>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Limits {
    memory_bytes: u64,
    seconds: u64,
    file_bytes: u64,
}

/// What the child answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Value { value: Value, warnings: Vec<String> },
    Error { message: String, kind: String },
}

/// An image to be read by the child.
pub struct Input {
    image: File,
    scratch: Option<File>,
}

impl Input {
    /// Opens a file or a block device; anything else is refused, unopened.
    pub fn open(path: &Path) -> std::result::Result<Self, FileError> {
        let metadata = std::fs::metadata(path).map_err(FileError::at("open", path))?;
        if !metadata.is_file() && !metadata.file_type().is_block_device() {
            let source = std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "it is neither a file nor a block device",
            );
            return Err(FileError { doing: "open", path: path.to_owned(), source });
        }
        Ok(Input { image: crate::base::fs::open(path)?, scratch: None })
    }

    /// Takes an open file.
    pub fn of(image: File) -> Self {
        Input { image, scratch: None }
    }

    /// Reads the first bytes, without moving.
    pub fn start(&self) -> std::io::Result<[u8; 8]> {
        let mut start = [0; 8];
        let read = std::os::unix::fs::FileExt::read_at(&self.image, &mut start, 0)?;
        start[read..].fill(0);
        Ok(start)
    }

    /// Gives the child a file without a name, in a folder, that it may write.
    pub fn with_scratch(mut self, folder: &Path) -> std::result::Result<Self, FileError> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let opened = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR);
        let opened = opened.map_err(|error| FileError::at("make a scratch file in", folder)(error.into()))?;
        self.scratch = Some(opened.into());
        Ok(self)
    }
}

/// What a confined verb answered.
#[derive(Debug)]
pub struct Confined {
    pub value: Value,
    /// What the kernel could not do to hold the child.
    pub warnings: Vec<String>,
}

/// Runs a verb on images in a confined child, and returns what it answers.
///
/// # Errors
/// A child that dies, takes too long, or passes a limit is [`VerifyError::Child`]; what the verb itself refuses is
/// [`VerifyError::Said`].
pub fn confine(verb: &str, arguments: &Value, images: &[Input], job: &Job) -> Result<Confined> {
    let failed = |doing| move |source| VerifyError::Start { doing, source };
    let bytes = images.iter().map(|input| allocated(&input.image)).sum::<u64>();
    let mut kept: Vec<OwnedFd> = Vec::new();
    let handed = images.iter().map(|input| input.hand(&mut kept)).collect::<std::io::Result<Vec<_>>>();
    let workers = job.workers.count();
    let limits = Limits {
        memory_bytes: MEMORY_BYTES + workers as u64 * THREAD_BYTES,
        seconds: (SECONDS + bytes / BYTES_A_SECOND) * workers as u64,
        file_bytes: if images.iter().any(|input| input.scratch.is_some()) { i64::MAX as u64 } else { 0 },
    };
    let request = Request {
        verb: verb.to_owned(),
        arguments: arguments.clone(),
        images: handed.map_err(failed("hand an image to"))?,
        workers,
        limits,
    };
    let mut said = memory_file().map_err(failed("start"))?;
    let request_text = serde_json::to_string(&request).expect("because a request has string keys only");
    let mut command = Command::new("/proc/self/exe");
    command.arg(CHILD_VERB).arg(request_text).env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(said.try_clone().map_err(failed("start"))?);
    let mut child = command.spawn().map_err(failed("start"))?;
    drop(kept);
    let answer = read_answer(&mut child, limits.seconds, job);
    if answer.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed("wait for"))?;
    let answer = answer?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::Value { value, warnings }) => Ok(Confined { value, warnings }),
        Ok(Answer::Error { message, kind }) => Err(VerifyError::Said { message, kind }),
        Err(_) => Err(VerifyError::Child { problem: end(status, &mut said) }),
    }
}

impl Input {
    /// Makes descriptors that the child inherits; they are closed here once it runs.
    fn hand(&self, kept: &mut Vec<OwnedFd>) -> std::io::Result<Handed> {
        let mut hand = |file: &File| -> std::io::Result<i32> {
            let inherited = rustix::io::dup(file)?;
            let number = inherited.as_raw_fd();
            kept.push(inherited);
            Ok(number)
        };
        Ok(Handed { image: hand(&self.image)?, scratch: self.scratch.as_ref().map(hand).transpose()? })
    }
}

/// Returns what a file takes on the disk, in bytes; of a device its length.
fn allocated(file: &File) -> u64 {
    let metadata = file.metadata();
    match metadata {
        Ok(metadata) if metadata.is_file() => (metadata.blocks() * 512).max(metadata.len() / 64),
        _ => file.try_clone().and_then(|mut file| file.seek(std::io::SeekFrom::End(0))).unwrap_or(0),
    }
}

fn memory_file() -> std::io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create("said", rustix::fs::MemfdFlags::CLOEXEC)?))
}

/// Reads the answer to its end, looking up now and then whether somebody stops us or the child takes too long.
fn read_answer(child: &mut Child, seconds: u64, job: &Job) -> Result<Vec<u8>> {
    let mut output = child.stdout.take().expect("because it was asked to be a pipe");
    let started = Stopwatch::start();
    let (mut answer, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        job.check()?;
        if started.elapsed() > Duration::from_secs(seconds) {
            return Err(VerifyError::Child {
                problem: format!("was stopped: it took more than {seconds} s"),
            });
        }
        let mut ready = [rustix::event::PollFd::new(&output, rustix::event::PollFlags::IN)];
        let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        match rustix::event::poll(&mut ready, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(VerifyError::Start { doing: "listen to", source: error.into() }),
        }
        match output.read(&mut piece) {
            Ok(0) => return Ok(answer),
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(VerifyError::Start { doing: "listen to", source }),
        }
        if answer.len() as u64 > ANSWER_BYTES_MAX {
            return Err(VerifyError::Child {
                problem: format!("answered more than {ANSWER_BYTES_MAX} bytes"),
            });
        }
    }
}

/// Says how a child ended that did not answer.
fn end(status: std::process::ExitStatus, said: &mut File) -> String {
    use std::os::unix::process::ExitStatusExt;
    let mut text = String::new();
    let _ = said.rewind();
    let _ = said.take(SAID_BYTES_MAX).read_to_string(&mut text);
    let last = text.trim().lines().take(3).collect::<Vec<_>>().join(" ");
    let how = match status.signal() {
        Some(libc::SIGSYS) => "was stopped: it made a system call that no reader makes".to_owned(),
        Some(libc::SIGXCPU | libc::SIGKILL) => {
            "was stopped: it took more time than any sound image takes".to_owned()
        }
        Some(libc::SIGXFSZ) => "was stopped: it wrote more than it may".to_owned(),
        Some(libc::SIGABRT) => "gave up, as it does where memory ends".to_owned(),
        Some(signal) => format!("died of signal {signal}"),
        None => format!("ended with {status} and no answer"),
    };
    if last.is_empty() { how } else { format!("{how}: {last}") }
}

//! The parent's end: starts the child, asks, listens, and never waits for ever.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::error::{ConfineError, Result, Said};
use super::frame::{ERROR, HEAD_BYTES, PART, QUESTION_BYTES_MAX, VALUE, WARNINGS};
use super::{CHILD_VERB, Input, Limits, Request};
use crate::base::{Job, Stopwatch};

/// Longest frame, in bytes.
const FRAME_BYTES_MAX: usize = 256 << 20;
/// Longest piece of what the child says on its standard error that is repeated.
const SAID_BYTES_MAX: u64 = 4096;
/// Address space that the child may have beside what is granted for its threads.
const MEMORY_BYTES: u64 = 4 << 30;
/// Address space for each thread: its stack, and what the allocator keeps for it.
const THREAD_BYTES: u64 = 256 << 20;
/// Processor time for every image, and bytes that one second must read at least: an hour for 64 GiB.
const SECONDS: u64 = 300;
const BYTES_A_SECOND: u64 = 16 << 20;
/// Memory for a frame before its first bytes are there.
const FRAME_BYTES_AT_ONCE: usize = 1 << 20;
/// Time that a child that has hung up may take to end.
const END_MILLISECONDS: u64 = 1000;

/// How long a child is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// For one piece of work: its processor time follows from the size of the images.
    Short,
    /// For as long as somebody asks. Each answer has a time of its own, all together have none.
    Lasting,
}

/// A child that was started. It ends when this is dropped.
pub struct Session {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    said: File,
    /// For each answer.
    seconds: u64,
    job: Job,
}

/// One frame.
enum Frame {
    Part(Vec<u8>),
    Value(Value),
}

impl Session {
    /// Starts a verb on images in a child. Returns when the child has locked itself in and before it reads any of
    /// them; what the kernel could not do for that are warnings of the job.
    pub fn start(verb: &str, arguments: &Value, images: &[Input], term: Term, job: &Job) -> Result<Session> {
        let failed = |doing| move |source| ConfineError::Start { doing, source };
        let mut kept: Vec<OwnedFd> = Vec::new();
        let handed = images.iter().map(|input| input.hand(&mut kept)).collect::<std::io::Result<Vec<_>>>();
        let workers = job.workers.count();
        let bytes = images.iter().map(Input::allocated).sum::<u64>();
        let seconds = (SECONDS + bytes / BYTES_A_SECOND) * workers as u64;
        let has_scratch = images.iter().any(|input| input.scratch.is_some());
        let limits = Limits {
            memory_bytes: MEMORY_BYTES + workers as u64 * THREAD_BYTES,
            seconds: (term == Term::Short).then_some(seconds),
            file_bytes: if has_scratch { i64::MAX as u64 } else { 0 },
        };
        let request = Request {
            verb: verb.to_owned(),
            arguments: arguments.clone(),
            images: handed.map_err(failed("hand an image to"))?,
            workers,
            limits,
        };
        let request = serde_json::to_string(&request).expect("because a request has string keys only");
        let said = memory_file().map_err(failed("start"))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg(CHILD_VERB).arg(request).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(said.try_clone().map_err(failed("start"))?);
        let mut child = command.spawn().map_err(failed("start"))?;
        drop(kept);
        let input = child.stdin.take().expect("because it was asked to be a pipe");
        let output = child.stdout.take().expect("because it was asked to be a pipe");
        let mut session = Session { child, input, output, said, seconds, job: job.clone() };
        session.warn()?;
        Ok(session)
    }

    /// Hears what the kernel could not do.
    fn warn(&mut self) -> Result<()> {
        let (kind, bytes) = self.frame()?;
        match serde_json::from_slice::<Vec<String>>(&bytes) {
            Ok(warnings) if kind == WARNINGS => warnings.into_iter().for_each(|text| self.job.warn(text)),
            _ if kind == ERROR => return Err(said(&bytes)),
            _ => return Err(unexpected()),
        }
        Ok(())
    }

    /// Asks a question, and returns the part that answers it.
    pub fn ask(&mut self, question: &[u8]) -> Result<Vec<u8>> {
        assert!(question.len() <= QUESTION_BYTES_MAX, "a question has {} bytes", question.len());
        let mut bytes = u32::try_from(question.len()).unwrap_or_default().to_le_bytes().to_vec();
        bytes.extend_from_slice(question);
        // Nobody listens where the child is gone: why, its last frame or its end says.
        let _ = self.input.write_all(&bytes);
        self.part()
    }

    /// Waits for the next part of what the verb answers.
    pub fn part(&mut self) -> Result<Vec<u8>> {
        match self.receive()? {
            Frame::Part(bytes) => Ok(bytes),
            Frame::Value(_) => Err(unexpected()),
        }
    }

    /// Waits for the value that the verb ends with.
    pub fn value(mut self) -> Result<Value> {
        match self.receive()? {
            Frame::Value(value) => Ok(value),
            Frame::Part(_) => Err(unexpected()),
        }
    }

    fn receive(&mut self) -> Result<Frame> {
        let (kind, bytes) = self.frame()?;
        match kind {
            PART => Ok(Frame::Part(bytes)),
            VALUE => serde_json::from_slice(&bytes).map(Frame::Value).map_err(|_| unexpected()),
            ERROR => Err(said(&bytes)),
            _ => Err(unexpected()),
        }
    }

    /// Reads one frame, looking up now and then whether somebody stops us or the child takes too long.
    fn frame(&mut self) -> Result<(u8, Vec<u8>)> {
        let started = Stopwatch::start();
        let mut head = [0; HEAD_BYTES];
        self.fill(&mut head, &started)?;
        let [kind, length @ ..] = head;
        let length = u32::from_le_bytes(length) as usize;
        if length > FRAME_BYTES_MAX {
            let problem = format!("answered {length} bytes, at most {FRAME_BYTES_MAX} are possible");
            return Err(ConfineError::Child { problem });
        }
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let have = bytes.len();
            bytes.resize(length.min(have + FRAME_BYTES_AT_ONCE), 0);
            self.fill(&mut bytes[have..], &started)?;
        }
        Ok((kind, bytes))
    }

    fn fill(&mut self, buffer: &mut [u8], started: &Stopwatch) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            self.job.check()?;
            if started.elapsed() > Duration::from_secs(self.seconds) {
                let problem = format!("was stopped: it took more than {} s", self.seconds);
                return Err(ConfineError::Child { problem });
            }
            let mut ready = [rustix::event::PollFd::new(&self.output, rustix::event::PollFlags::IN)];
            let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
            match rustix::event::poll(&mut ready, Some(&wait)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(deaf(error.into())),
            }
            match self.output.read(&mut buffer[filled..]) {
                Ok(0) => return Err(ConfineError::Child { problem: self.end() }),
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(deaf(source)),
            }
        }
        Ok(())
    }

    /// Says how a child ended that hung up.
    fn end(&mut self) -> String {
        let mut text = String::new();
        let status = self.status();
        let _ = self.said.rewind();
        let _ = (&self.said).take(SAID_BYTES_MAX).read_to_string(&mut text);
        let last = text.trim().lines().take(3).collect::<Vec<_>>().join(" ");
        let how = status.map_or_else(|| "hung up".to_owned(), how);
        if last.is_empty() { how } else { format!("{how}: {last}") }
    }

    /// Waits a while for the child's end, then brings it about.
    fn status(&mut self) -> Option<ExitStatus> {
        let started = Stopwatch::start();
        while started.elapsed() < Duration::from_millis(END_MILLISECONDS) {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
        None
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn deaf(source: std::io::Error) -> ConfineError {
    ConfineError::Start { doing: "listen to", source }
}

fn said(bytes: &[u8]) -> ConfineError {
    serde_json::from_slice::<Said>(bytes).map_or_else(|_| unexpected(), ConfineError::Said)
}

fn unexpected() -> ConfineError {
    ConfineError::Child { problem: "answered something else than it was asked".to_owned() }
}

fn memory_file() -> std::io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create("said", rustix::fs::MemfdFlags::CLOEXEC)?))
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(libc::SIGSYS) => "was stopped: it made a system call that no reader makes".to_owned(),
        Some(libc::SIGXCPU | libc::SIGKILL) => {
            "was stopped: it took more time than any sound image takes".to_owned()
        }
        Some(libc::SIGXFSZ) => "was stopped: it wrote more than it may".to_owned(),
        Some(libc::SIGABRT) => "gave up, as it does where memory ends".to_owned(),
        Some(signal) => format!("died of signal {signal}"),
        None => format!("ended with {status} and no answer"),
    }
}

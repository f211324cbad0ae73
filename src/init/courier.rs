//! The courier: a process of few rights between the app's output and what reads it, the console and a collector.
//!
//! The app writes into a pipe, standard output and errors alike, so that their order is kept. The courier reads it
//! line by line into a buffer of bounded size and delivers from there; neither a slow console nor a collector that
//! is gone holds the app up. The pipe belongs to PID 1: a courier that dies takes nothing of the app with it, and
//! the next one reads on where it stopped.

use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use mkimage::base::{Endpoint, clock};
use mkimage::boot::service::Log;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Gid, Pid, Uid};

use crate::collector::Collector;
use crate::confine::give_up_everything;
use crate::credentials::Secret;
use crate::error::{Doing, Result, chain};
use crate::logic::lines::{Mask, Splitter, clean, severity};
use crate::logic::ring::Ring;
use crate::logic::syslog::Identity;
use crate::report::{now, say};
use crate::sys::{self, Fork};

const CONSOLE: &str = "/dev/console";
const PIECE_BYTES: usize = 64 << 10;
const CONSOLE_PIECE_BYTES: usize = 4096;
/// What is left of a machine that ends, for the last lines: less than PID 1 gives it.
const LAST_PATIENCE: Duration = Duration::from_millis(1500);
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Pause before a courier that died is followed by the next one.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// PID 1's side: the pipe, and all that the next courier must know.
pub struct Courier {
    reader: PipeReader,
    writer: PipeWriter,
    identity: Identity,
    endpoint: Option<Endpoint>,
    buffer_bytes: usize,
    mask: Mask,
    pub pid: Option<Pid>,
    pub due: Option<Duration>,
}

impl Courier {
    /// Makes the pipe, which the app's user may open again by its names (`/dev/stdout`).
    pub fn new(
        log: &Log,
        identity: Identity,
        endpoint: Option<Endpoint>,
        secrets: &[Secret],
        (uid, gid): (u32, u32),
    ) -> Result<Courier> {
        let (reader, writer) = io::pipe().doing("make", "a pipe")?;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::fchown(&writer, Some(uid), Some(gid)).doing("hand over", "the app's output")?;
        rustix::io::ioctl_fionbio(&reader, true).doing("prepare", "the app's output")?;
        let mut mask = Mask::default();
        secrets.iter().for_each(|(name, secret)| mask.add(name, secret));
        let buffer_bytes = usize::try_from(log.buffer_bytes).unwrap_or(usize::MAX);
        Ok(Courier {
            reader,
            writer,
            identity,
            endpoint,
            buffer_bytes,
            mask,
            pid: None,
            due: Some(Duration::ZERO),
        })
    }

    /// Returns what becomes the app's output.
    pub fn output(&self) -> Result<OwnedFd> {
        self.writer.as_fd().try_clone_to_owned().doing("hand on", "the app's output")
    }

    /// Starts the process, if it is time.
    pub fn start(&mut self) {
        if self.due.is_none_or(|due| now() < due) {
            return;
        }
        self.due = None;
        match sys::fork() {
            Ok(Fork::Parent(pid)) => self.pid = Some(pid),
            Ok(Fork::Child) => {
                let result = self.carry();
                if let Err(error) = &result {
                    say!("log: {}", chain(error));
                }
                std::process::exit(i32::from(result.is_err()))
            }
            Err(error) => {
                say!("cannot start the log's courier: {error}");
                self.due = Some(now() + AGAIN_AFTER);
            }
        }
    }

    /// Notes that the process ended: another one follows it.
    pub fn ended(&mut self) {
        say!("the log's courier ended: what it held is lost, the next one reads on");
        self.pid = None;
        self.due = Some(now() + AGAIN_AFTER);
    }

    /// The life of the process.
    fn carry(&self) -> Result<()> {
        let mut options = File::options();
        let console = options.write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(CONSOLE);
        let console = console.doing("open", CONSOLE)?;
        let signals = sys::signal_descriptor(&[libc::SIGTERM]).doing("listen to", "signals")?;
        give_up_everything(&[self.reader.as_fd(), console.as_fd(), signals.as_fd()])?;
        let collector = self.endpoint.clone().map(|endpoint| Collector::new(endpoint, self.identity.clone()));
        let round = Round {
            input: &self.reader,
            mask: &self.mask,
            signals,
            console: Console { file: console, out: Vec::new(), written: 0 },
            collector,
            ring: Ring::new(self.buffer_bytes),
            splitter: Splitter::default(),
            ending: None,
        };
        round.run();
        Ok(())
    }
}

/// A courier at work.
struct Round<'a> {
    input: &'a PipeReader,
    mask: &'a Mask,
    signals: OwnedFd,
    console: Console,
    collector: Option<Collector>,
    ring: Ring,
    splitter: Splitter,
    ending: Option<Duration>,
}

impl Round<'_> {
    fn run(mut self) {
        loop {
            let more = self.read();
            self.deliver();
            if self.ending.is_some_and(|until| now() >= until || (!more && self.is_done())) {
                return;
            }
            if !more {
                self.sleep();
            }
            if rustix::io::read(&self.signals, &mut [0u8; 128]).is_ok() {
                self.ending = self.ending.or(Some(now() + LAST_PATIENCE));
            }
        }
    }

    /// Reads a piece of what the app wrote; false when there is none now.
    fn read(&mut self) -> bool {
        let mut piece = [0; PIECE_BYTES];
        let length = match self.input.read(&mut piece) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            Err(_) => 0,
        };
        let (ring, mask) = (&mut self.ring, self.mask);
        let time = clock::unix_nanoseconds();
        let mut keep = |line: &[u8]| {
            let masked = mask.apply(line);
            let (severity, line) = severity(masked.as_deref().unwrap_or(line));
            ring.push(time, severity, clean(line));
        };
        self.splitter.push(&piece[..length], now(), &mut keep);
        self.splitter.flush(now(), length == 0 && self.ending.is_some(), &mut keep);
        length > 0
    }

    fn deliver(&mut self) {
        self.console.step(&mut self.ring);
        match &mut self.collector {
            Some(collector) => collector.step(&mut self.ring),
            None => self.ring.skip_collector(),
        }
    }

    fn is_done(&mut self) -> bool {
        let collected = self.collector.as_mut().is_none_or(|collector| collector.finish(&self.ring));
        collected && self.console.is_done(&self.ring)
    }

    /// Sleeps until something can be read, written or is due.
    fn sleep(&self) {
        let mut files =
            vec![PollFd::new(self.input, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        if !self.console.is_done(&self.ring) {
            files.push(PollFd::new(&self.console.file, PollFlags::OUT));
        }
        let (file, due) = self.collector.as_ref().map_or((None, None), |it| it.wants(&self.ring));
        files.extend(file.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        let due = [due, self.splitter.due(), self.ending, Some(now() + LONGEST_SLEEP)];
        let left = due.into_iter().flatten().min().unwrap_or_default().saturating_sub(now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let _ = poll(&mut files, Some(&timeout));
    }
}

/// The console, which takes what it can.
struct Console {
    file: File,
    out: Vec<u8>,
    written: usize,
}

impl Console {
    fn step(&mut self, ring: &mut Ring) {
        loop {
            if self.written == self.out.len() {
                self.fill(ring);
            }
            if self.out.is_empty() {
                return;
            }
            match self.file.write(&self.out[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // A console that is gone is no reason to keep lines for it.
                Err(_) => self.written = self.out.len(),
            }
        }
    }

    fn fill(&mut self, ring: &mut Ring) {
        (self.written, self.out) = (0, Vec::new());
        if ring.console.dropped > 0 {
            let lost = std::mem::take(&mut ring.console.dropped);
            self.out.extend_from_slice(format!("mkimage: {lost} lines are missing here\n").as_bytes());
        }
        while let Some(record) = ring.get(ring.console.next).filter(|_| self.out.len() < CONSOLE_PIECE_BYTES)
        {
            self.out.extend_from_slice(record.text.as_bytes());
            self.out.push(b'\n');
            ring.console.next += 1;
        }
    }

    fn is_done(&self, ring: &Ring) -> bool {
        self.written == self.out.len() && ring.console.next >= ring.end()
    }
}

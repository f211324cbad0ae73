//! A machine that runs.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

use super::console::Console;
use super::control::Control;
use super::error::MachineError;
use super::http::{self, Answer};
use super::options::{Accelerator, Forward};
use super::start::MachineEvent;
use crate::base::{Job, Stopwatch};

/// How often is looked whether the work was stopped from outside.
const TICK: Duration = Duration::from_millis(50);
/// How long is waited between two requests to a port that does not serve yet.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Time for the emulator to end by itself once it was told to.
const QUIT_WITHIN: Duration = Duration::from_secs(5);
/// States in which a processor stands still for good: KVM gave up, the host's disk is full, or the guest
/// said that it panicked.
const FAULTS: [&str; 3] = ["internal-error", "io-error", "guest-panicked"];
/// Most bytes of the emulator's own words that an error shows.
const MESSAGE_BYTES_MAX: usize = 4096;

/// How a machine ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// By itself: the guest powered off, or rebooted where that ends it.
    ByItself,
    /// It was asked to power off, and did.
    PoweredDown,
    /// It was asked to power off, and had to be killed.
    Killed,
}

/// A machine that runs. Dropping it kills it.
///
/// Its console is read, and its lines handed out as events, while one of the `wait…` methods runs.
pub struct Running<'a> {
    pub(super) child: Child,
    pub(super) control: Control,
    pub(super) serial: UnixStream,
    pub(super) console: Console,
    pub(super) sink: Box<dyn FnMut(MachineEvent) + 'a>,
    pub(super) forwards: Vec<Forward>,
    pub(super) accelerator: Accelerator,
    pub(super) folder: Folder,
    pub(super) power_down_within: Duration,
    pub(super) hung_up: bool,
}

/// The private folder of a machine: firmware variables and the emulator's messages. Removed with it.
pub(super) struct Folder(pub PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed lies in the system's folder for temporary files, and holds nothing.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    pub fn messages(&self) -> PathBuf {
        self.0.join("messages")
    }

    pub fn variables(&self) -> PathBuf {
        self.0.join("variables.fd")
    }
}

impl Running<'_> {
    /// Returns the forwarded ports; none is 0.
    pub fn forwards(&self) -> &[Forward] {
        &self.forwards
    }

    pub fn accelerator(&self) -> Accelerator {
        self.accelerator
    }

    /// Runs a command of the emulator's control connection (QMP) and returns its answer.
    pub fn control(
        &mut self,
        command: &str,
        arguments: serde_json::Value,
    ) -> Result<serde_json::Value, MachineError> {
        self.control.execute(command, arguments)
    }

    /// Waits until the machine ends. When the job is stopped, asks the guest to power off, waits for the
    /// time that the options give it, and kills it.
    pub fn wait(&mut self, job: &Job) -> Result<End, MachineError> {
        while job.check().is_ok() {
            if !self.turn(TICK)? {
                return self.reap().map(|()| End::ByItself);
            }
        }
        self.power_down()
    }

    /// Waits for a line of the console that `is_it` accepts, and returns it.
    pub fn wait_for_line(
        &mut self,
        what: &str,
        within: Duration,
        job: &Job,
        mut is_it: impl FnMut(&str) -> bool,
    ) -> Result<String, MachineError> {
        let started = Stopwatch::start();
        loop {
            job.check()?;
            let (lines, open) = self.lines(TICK)?;
            if let Some(line) = lines.into_iter().find(|line| is_it(line)) {
                return Ok(line);
            }
            self.check_wait(what, started, within, open)?;
        }
    }

    /// Waits until a forwarded port of the guest answers a GET of `path` with a status from 200 to 399,
    /// and returns the body (at most 1 MiB of it).
    pub fn wait_for_http(
        &mut self,
        guest_port: u16,
        path: &str,
        within: Duration,
        job: &Job,
    ) -> Result<Vec<u8>, MachineError> {
        let is_good = |answer: &Answer| (200..400).contains(&answer.status);
        Ok(self.wait_for_answer(guest_port, path, within, job, is_good)?.body)
    }

    /// Waits until a forwarded port of the guest answers a GET of `path` as `is_it` wants it, and returns the answer.
    pub fn wait_for_answer(
        &mut self,
        guest_port: u16,
        path: &str,
        within: Duration,
        job: &Job,
        mut is_it: impl FnMut(&Answer) -> bool,
    ) -> Result<Answer, MachineError> {
        let port = self.host_port(guest_port)?;
        let started = Stopwatch::start();
        loop {
            job.check()?;
            let open = self.turn(ASK_EVERY)?;
            if open
                && let Ok(answer) = http::get(port, path)
                && is_it(&answer)
            {
                return Ok(answer);
            }
            self.check_wait(&format!("an answer to GET {path} on port {guest_port}"), started, within, open)?;
        }
    }

    /// Waits until a forwarded port of the guest keeps a connection, or sends something. The emulator itself takes
    /// every connection and drops it where nobody in the guest does.
    pub fn wait_for_tcp(&mut self, guest_port: u16, within: Duration, job: &Job) -> Result<(), MachineError> {
        let port = self.host_port(guest_port)?;
        let started = Stopwatch::start();
        loop {
            job.check()?;
            let open = self.turn(ASK_EVERY)?;
            if open && http::is_served(port) {
                return Ok(());
            }
            self.check_wait(&format!("a connection to port {guest_port}"), started, within, open)?;
        }
    }

    fn host_port(&self, guest_port: u16) -> Result<u16, MachineError> {
        let forward = self.forwards.iter().find(|forward| forward.guest == guest_port);
        forward.map(|forward| forward.host).ok_or_else(|| MachineError::Option {
            option: format!("port {guest_port}"),
            problem: "it is not forwarded".into(),
        })
    }

    /// Asks the guest to power off (its power button), and kills it when it does not.
    pub fn power_down(&mut self) -> Result<End, MachineError> {
        let asked = self.control.execute("system_powerdown", json!({})).is_ok();
        let started = Stopwatch::start();
        while asked && started.elapsed() < self.power_down_within {
            if !self.turn(TICK)? {
                return self.reap().map(|()| End::PoweredDown);
            }
        }
        self.kill()?;
        Ok(End::Killed)
    }

    /// Pulls the plug.
    pub fn kill(&mut self) -> Result<(), MachineError> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn check_wait(
        &mut self,
        what: &str,
        started: Stopwatch,
        within: Duration,
        open: bool,
    ) -> Result<(), MachineError> {
        let (what, last_words) = (what.to_owned(), self.console.last_words());
        if !open {
            self.reap()?;
            return Err(MachineError::EndedEarly { what, last_words });
        }
        if started.elapsed() >= within {
            return Err(MachineError::Timeout { what, seconds: within.as_secs(), last_words });
        }
        Ok(())
    }

    /// Reads the console once. Returns false when the emulator has ended.
    fn turn(&mut self, at_most: Duration) -> Result<bool, MachineError> {
        self.lines(at_most).map(|(_, open)| open)
    }

    /// Waits for the console or the control connection, not longer than `at_most`; returns new lines, and
    /// whether the emulator still runs.
    fn lines(&mut self, at_most: Duration) -> Result<(Vec<String>, bool), MachineError> {
        let timeout = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: at_most.subsec_nanos().into() };
        let mut waiting = vec![PollFd::from_borrowed_fd(self.serial.as_fd(), PollFlags::IN)];
        if !self.hung_up {
            waiting.push(PollFd::from_borrowed_fd(self.control.as_fd(), PollFlags::IN));
        }
        match poll(&mut waiting, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
        drop(waiting);
        self.hung_up = self.hung_up || !self.control.drain()?;
        if let Some(status) = self.control.why_stopped()?.filter(|_| !self.hung_up)
            && FAULTS.contains(&status.as_str())
        {
            return Err(MachineError::Stopped { status, last_words: self.console.last_words() });
        }
        let mut piece = [0; 1 << 14];
        let (mut lines, open) = match self.serial.read(&mut piece) {
            Ok(0) => (Vec::new(), false),
            Ok(length) => (self.console.take(&piece[..length]), true),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => (Vec::new(), false),
            Err(error) if is_temporary(&error) => (Vec::new(), self.child.try_wait()?.is_none()),
            Err(error) => return Err(error.into()),
        };
        if !open {
            lines.extend(self.console.rest());
        }
        for line in &lines {
            (self.sink)(MachineEvent::Line(line.clone()));
        }
        Ok((lines, open))
    }

    /// Takes the end of an emulator that has hung up; its own errors become ours.
    fn reap(&mut self) -> Result<(), MachineError> {
        let started = Stopwatch::start();
        while self.child.try_wait()?.is_none() {
            if started.elapsed() > QUIT_WITHIN {
                self.child.kill()?;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.wait()?;
        if status.success() {
            return Ok(());
        }
        Err(MachineError::Ended { status: status.to_string(), message: self.messages() })
    }

    /// Returns what the emulator said of itself.
    pub(super) fn messages(&self) -> String {
        let bytes = std::fs::read(self.folder.messages()).unwrap_or_default();
        let start = bytes.len().saturating_sub(MESSAGE_BYTES_MAX);
        let text = String::from_utf8_lossy(&bytes[start..]).trim().replace("qemu-system-x86_64: ", "");
        if text.is_empty() { "it said nothing".to_owned() } else { text }
    }

    /// Ends it and says what the emulator said, where it failed to come up.
    pub(super) fn explain(&mut self, error: MachineError) -> MachineError {
        match self.reap() {
            Err(ended @ MachineError::Ended { .. }) => ended,
            _ => error,
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill and nothing to wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_temporary(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted)
}

//! The agent that stays: looks at the site from time to time, updates, asks for a reboot when it may, and listens to
//! words meanwhile. One thread; while it works, whoever asks waits.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::control::{self, Word};
use super::error::{AgentError, Result};
use super::history::{Entry, What};
use super::policy::When;
use super::updater::{Outcome, Updater};
use crate::base::{FileError, Job, Stopwatch, clock, fs, whole};

/// Where an agent listens.
pub const SOCKET_PATH: &str = "/run/mkimage-agent/socket";
/// Exit status by which the agent asks whoever started it to reboot the machine.
pub const REBOOT_STATUS: u8 = 75;

/// How often a slot on trial is looked at, until it is confirmed.
const TRIAL_SECONDS: u64 = 1;
/// The first look comes so soon after the start, plus jitter: the network may still be coming up.
const FIRST_SECONDS: u64 = 1;

/// What the loop goes by.
struct Server<'a> {
    updater: &'a mut Updater,
    job: &'a Job,
    watch: Stopwatch,
    /// Seconds after the start when the site is looked at next.
    look_at: u64,
    looks: u64,
    failures: u32,
    /// What was told last, so that it is told once.
    told: String,
    wants_reboot: bool,
}

/// Runs until the machine is to be rebooted. Whatever fails is told and tried again.
pub fn serve(updater: &mut Updater, socket: &Path, job: &Job) -> Result<()> {
    let listener = listen(socket)?;
    let mut server = Server {
        updater,
        job,
        watch: Stopwatch::start(),
        look_at: FIRST_SECONDS,
        looks: 0,
        failures: 0,
        told: String::new(),
        wants_reboot: false,
    };
    server.look_at += server.updater.policy.jitter(clock::unix_seconds());
    loop {
        let wait = server.step();
        if server.wants_reboot {
            // Nobody answers there any more: until the machine is down, whoever asks does it himself.
            return Ok(fs::remove_file(socket)?);
        }
        if is_readable(&listener, wait) {
            server.hear(&listener);
        }
    }
}

fn listen(socket: &Path) -> Result<UnixListener> {
    if let Some(folder) = socket.parent() {
        fs::create_directories(folder)?;
    }
    fs::remove_file(socket)?;
    let listener = UnixListener::bind(socket).map_err(FileError::at("listen at", socket))?;
    // Everybody may ask; `control` says who may do what.
    let all = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(socket, all).map_err(FileError::at("open to all", socket))?;
    Ok(listener)
}

fn is_readable(listener: &UnixListener, seconds: u64) -> bool {
    let timeout = Timespec { tv_sec: seconds.min(3600) as i64, tv_nsec: 0 };
    let mut descriptors = [PollFd::new(listener, PollFlags::IN)];
    poll(&mut descriptors, Some(&timeout)).is_ok_and(|ready| ready > 0)
}

impl Server<'_> {
    fn elapsed(&self) -> u64 {
        self.watch.elapsed().as_secs()
    }

    /// Does what is due. Returns how many seconds later something is due again.
    fn step(&mut self) -> u64 {
        // While the running slot is on trial nothing else is begun: it is the only one of its kind. Nor is there
        // anything to tell of the trial before it ends.
        match self.updater.is_on_trial() {
            Ok(false) => {}
            Ok(true) => return TRIAL_SECONDS,
            Err(error) => self.tell(&whole(&error)),
        }
        match self.updater.reconcile() {
            Ok(Some(entry)) => self.tell(&story(&entry)),
            Ok(None) => {}
            Err(error) => self.tell(&whole(&error)),
        }
        if self.elapsed() >= self.look_at {
            self.look();
        }
        let next_look = self.look_at.saturating_sub(self.elapsed()).max(1);
        match self.reboot_in() {
            Some(0) => match self.updater.note_reboot() {
                Ok(()) => {
                    self.wants_reboot = true;
                    0
                }
                Err(error) => {
                    self.tell(&format!("the machine is not rebooted by itself: {}", whole(&error)));
                    next_look
                }
            },
            Some(seconds) => next_look.min(seconds),
            None => next_look,
        }
    }

    fn look(&mut self) {
        let done = self.updater.upgrade(None);
        let due = match &done {
            Ok(outcome) => {
                self.failures = 0;
                self.tell(&told(outcome));
                outcome.due_in_seconds
            }
            Err(error) => {
                self.failures += 1;
                self.tell(&whole(error));
                None
            }
        };
        let pause = self.updater.policy.pause(self.looks, self.failures);
        self.looks += 1;
        self.look_at = self.elapsed() + due.map_or(pause, |due| due.clamp(1, pause));
    }

    /// Returns when the machine may reboot into what waits; `None` where nothing waits, or somebody has to say so.
    fn reboot_in(&self) -> Option<u64> {
        self.updater.waiting().ok().flatten()?;
        match self.updater.policy.reboot(clock::unix_seconds()) {
            When::Now => Some(0),
            When::In(seconds) => Some(seconds),
            When::WhenTold => None,
        }
    }

    fn hear(&mut self, listener: &UnixListener) {
        let Ok((stream, _)) = listener.accept() else { return };
        let answered = match control::hear(&stream) {
            Ok(word) => self.obey(word).map_err(|error| whole(&error)),
            Err(error) => Err(whole(&error)),
        };
        control::answer(&stream, &answered);
    }

    fn obey(&mut self, word: Word) -> Result<Value> {
        let value = obey(self.updater, word)?;
        match word {
            Word::Upgrade => self.tell(&format!("told to upgrade: {}", value["state"])),
            Word::Rollback => self.tell("told to go back to the slot before"),
            Word::Reboot => self.wants_reboot = true,
            Word::Status | Word::History | Word::Check => {}
        }
        Ok(value)
    }

    fn tell(&mut self, text: &str) {
        if self.told != text {
            self.job.note(text);
            text.clone_into(&mut self.told);
        }
    }
}

/// Does what a word says, whoever said it, and returns the answer.
pub fn obey(updater: &mut Updater, word: Word) -> Result<Value> {
    let value = |value: std::result::Result<Value, serde_json::Error>| {
        value.map_err(|error| AgentError::Tree { problem: error.to_string() })
    };
    Ok(match word {
        Word::Status => value(serde_json::to_value(updater.report()?))?,
        Word::History => value(serde_json::to_value(updater.history()?.entries()))?,
        Word::Check => value(serde_json::to_value(updater.check(None)?))?,
        Word::Upgrade => value(serde_json::to_value(updater.upgrade(Some("somebody"))?))?,
        Word::Rollback => value(serde_json::to_value(updater.rollback()?))?,
        Word::Reboot => json!({ "reboots": true }),
    })
}

/// Says how a trial ended, in a sentence.
pub fn story(entry: &Entry) -> String {
    let commit = entry.commit.as_deref().map_or("", |commit| &commit[..commit.len().min(12)]);
    let version = entry.version.as_deref().map_or(String::new(), |version| format!(" ({version})"));
    let slot = entry.slot.as_deref().map_or(String::new(), |slot| format!(" in {slot}"));
    let what = match entry.what {
        What::Found => "was found",
        What::Writing => "is being written",
        What::Staged => "is written and waits for its first boot",
        What::Confirmed => "is confirmed",
        What::FellBack => "fell back",
        What::Failed => "failed",
        What::RolledBack => "was left",
    };
    let why = if entry.detail.is_empty() { String::new() } else { format!(": {}", entry.detail) };
    format!("commit {commit}{version}{slot} {what}{why}")
}

fn told(outcome: &Outcome) -> String {
    let commit = outcome.commit.to_string();
    let commit = &commit[..12];
    match outcome.state {
        "staged" => format!(
            "commit {commit} is in {}: {} bytes pulled, {} bytes written",
            outcome.slot.as_deref().unwrap_or_default(),
            outcome.pulled_bytes.unwrap_or_default(),
            outcome.written_bytes.unwrap_or_default()
        ),
        "fell_back" => format!("commit {commit} fell back here and is not tried again until the ref moves"),
        "not_yet" => format!(
            "commit {commit} is for earlier rings still, for {} s",
            outcome.due_in_seconds.unwrap_or_default()
        ),
        state => format!("commit {commit}: {}", state.replace('_', " ")),
    }
}

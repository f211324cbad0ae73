//! The life of an app machine: one loop, one thread. It starts the app, asks for its health, reaps, feeds
//! the watchdog, and ends the machine in order.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use mkimage::boot::service::Service;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use crate::agent;
use crate::app::{self, Runner};
use crate::button;
use crate::courier::Courier;
use crate::error::{Doing, Result, chain};
use crate::loader::Trial;
use crate::logic::ending::{self, Alive, Ending, Shutdown};
use crate::logic::names::{signal_name, signal_number};
use crate::logic::policy::{Act, HealthTimes, Policy, Reason, Supervision};
use crate::network;
use crate::report::{now, say, seconds};
use crate::sys;
use crate::watchdog::Watchdog;

const NETWORK_RETRY: Duration = Duration::from_secs(5);
/// The longest sleep: nothing depends on it.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
const SIGNALS: [i32; 7] =
    [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGPWR, libc::SIGUSR1, libc::SIGUSR2, libc::SIGHUP];

/// Everything that the loop looks after.
pub struct Machine {
    pub service: Service,
    pub runner: Runner,
    pub trial: Trial,
    pub watchdog: Option<Watchdog>,
    pub network: Option<Pid>,
    pub courier: Option<Courier>,
    /// What updates the machine.
    pub agent: Option<agent::Task>,
    /// What was booted, where there is a data partition to leave a word on.
    pub root_hash: Option<String>,
    signals: OwnedFd,
    buttons: Vec<File>,
    app: Option<Pid>,
    check: Option<RunningCheck>,
    network_due: Option<Duration>,
    request: Option<Ending>,
}

struct RunningCheck {
    pid: Pid,
    deadline: Duration,
}

impl Machine {
    /// Takes over a machine whose root, data and network are there.
    pub fn new(
        service: Service,
        runner: Runner,
        trial: Trial,
        watchdog: Option<Watchdog>,
        network: Option<Pid>,
        courier: Option<Courier>,
    ) -> Result<Machine> {
        Ok(Machine {
            service,
            runner,
            trial,
            watchdog,
            network,
            courier,
            agent: None,
            root_hash: None,
            signals: sys::signal_descriptor(&SIGNALS).doing("listen to", "signals")?,
            buttons: button::open_all(),
            app: None,
            check: None,
            network_due: None,
            request: None,
        })
    }

    /// Runs until the machine is to end, and stops every process.
    pub fn run(mut self) -> Ending {
        let policy = Policy {
            restart: self.runner.app.restart,
            health: self.runner.app.health.as_ref().map(HealthTimes::of),
            trial: self.trial.is_counted(),
        };
        let mut supervision = Supervision::new(policy, now());
        let ending = loop {
            if let Some(ending) = self.request {
                break ending;
            }
            if let Some(ending) = self.act(&mut supervision) {
                break ending;
            }
            self.feed(supervision.is_alive(now()));
            self.sleep(self.wake_at(&supervision));
            self.look(&mut supervision);
        };
        self.stop_everything();
        ending
    }

    /// Does what is due. Returns the end when that is due.
    fn act(&mut self, supervision: &mut Supervision) -> Option<Ending> {
        self.restart_network();
        if let Some(courier) = &mut self.courier {
            courier.start();
        }
        self.agent.iter_mut().for_each(agent::Task::start);
        while let Some(act) = supervision.next(now()) {
            match act {
                Act::Start => self.start_app(supervision),
                Act::Check => self.start_check(supervision),
                Act::Ready(at) => {
                    self.tell_ready(at);
                    self.agent.iter_mut().for_each(agent::Task::allow);
                }
                Act::Bless => {
                    if !self.trial.bless() {
                        supervision.not_blessed(now());
                    }
                }
                Act::PowerOff => {
                    say!("the app is done: powering off");
                    return Some(Ending::PowerOff);
                }
                Act::Reboot(reason) => {
                    say!("giving this slot up ({}): rebooting", why(reason));
                    self.leave_word(why(reason));
                    return Some(Ending::Reboot);
                }
            }
        }
        None
    }

    fn leave_word(&self, why: &str) {
        if let Some(root_hash) = self.root_hash.as_ref().filter(|_| self.trial.is_counted()) {
            agent::leave_word(&self.service.data_path, root_hash, why);
        }
    }

    fn tell_ready(&self, at: Duration) {
        match self.runner.app.health {
            Some(_) => say!("ready after {}", seconds(at)),
            None => say!("ready after {} (no health check: the app runs since then)", seconds(at)),
        }
    }

    fn start_app(&mut self, supervision: &mut Supervision) {
        match self.runner.start() {
            Ok(pid) => {
                say!("app {} started after {}", self.runner.app.name, seconds(now()));
                self.app = Some(pid);
                supervision.started(now());
            }
            Err(error) => {
                say!("{}", chain(&error));
                supervision.exited(now(), false);
            }
        }
    }

    fn start_check(&mut self, supervision: &mut Supervision) {
        let Some(health) = &self.runner.app.health else { return };
        match self.runner.check(health) {
            Ok(pid) => {
                let deadline = now() + whole_seconds(health.timeout_seconds.max(1));
                self.check = Some(RunningCheck { pid, deadline });
            }
            Err(error) => {
                say!("{}", chain(&error));
                supervision.checked(now(), false);
            }
        }
    }

    fn restart_network(&mut self) {
        if self.network_due.is_some_and(|due| now() >= due) {
            self.network_due = None;
            match network::start(&self.service.name) {
                Ok((pid, _)) => self.network = Some(pid),
                Err(error) => say!("{}", chain(&error)),
            }
        }
    }

    fn feed(&mut self, alive: bool) {
        if let Some(watchdog) = self.watchdog.as_mut().filter(|_| alive) {
            watchdog.feed(now());
        }
    }

    fn wake_at(&self, supervision: &Supervision) -> Duration {
        let watchdog = self.watchdog.as_ref().filter(|_| supervision.is_alive(now())).map(Watchdog::next);
        let check = self.check.as_ref().map(|check| check.deadline);
        let courier = self.courier.as_ref().and_then(|courier| courier.due);
        let agent = self.agent.as_ref().and_then(agent::Task::due);
        let due = [supervision.wake_at(), watchdog, check, self.network_due, courier, agent];
        due.into_iter().flatten().min().unwrap_or(Duration::MAX).min(now() + LONGEST_SLEEP)
    }

    /// Sleeps until a time, a signal or the power button.
    fn sleep(&self, until: Duration) {
        let left = until.saturating_sub(now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut descriptors = vec![PollFd::new(&self.signals, PollFlags::IN)];
        descriptors.extend(self.buttons.iter().map(|button| PollFd::new(button, PollFlags::IN)));
        let _ = poll(&mut descriptors, Some(&timeout));
    }

    /// Sees what happened meanwhile.
    fn look(&mut self, supervision: &mut Supervision) {
        self.read_requests();
        if self.check.as_ref().is_some_and(|check| now() >= check.deadline) {
            self.end_check(supervision, false);
        }
        while let Some((pid, status)) = reap() {
            self.exited(pid, status, supervision);
        }
    }

    fn read_requests(&mut self) {
        if self.buttons.iter().any(button::was_pressed) {
            say!("power button: powering off");
            self.request = Some(Ending::PowerOff);
        }
        // `struct signalfd_siginfo` has 128 bytes and begins with the signal's number.
        let mut waiting = [0; 128];
        while rustix::io::read(&self.signals, &mut waiting).is_ok_and(|length| length == waiting.len()) {
            let signal = i32::from_ne_bytes([waiting[0], waiting[1], waiting[2], waiting[3]]);
            let ending = match signal {
                libc::SIGTERM | libc::SIGPWR | libc::SIGUSR2 => Ending::PowerOff,
                // SIGINT is what the kernel sends for Ctrl-Alt-Del.
                libc::SIGINT | libc::SIGUSR1 => Ending::Reboot,
                _ => continue,
            };
            say!(
                "{}: {}",
                signal_name(signal),
                if ending == Ending::Reboot { "rebooting" } else { "powering off" }
            );
            self.request = Some(ending);
        }
    }

    fn exited(&mut self, pid: Pid, status: WaitStatus, supervision: &mut Supervision) {
        if self.app == Some(pid) {
            self.app = None;
            self.tell_exit(status);
            app::clear_group();
            self.drop_check();
            supervision.exited(now(), status.exit_status() == Some(0));
        } else if self.check.as_ref().is_some_and(|check| check.pid == pid) {
            self.end_check(supervision, status.exit_status() == Some(0));
        } else if let Some(courier) = self.courier.as_mut().filter(|courier| courier.pid == Some(pid)) {
            courier.ended();
        } else if let Some(agent) = self.agent.as_mut().filter(|agent| agent.pid() == Some(pid)) {
            if agent.ended(status) == agent::Ended::WantsReboot {
                say!("the agent wants to try the other slot: rebooting");
                self.request = Some(Ending::Reboot);
            }
        } else if self.network == Some(pid) {
            self.network = None;
            // Status 0: there is no interface to look after.
            self.network_due = (status.exit_status() != Some(0)).then(|| now() + NETWORK_RETRY);
        }
    }

    fn tell_exit(&self, status: WaitStatus) {
        let name = &self.runner.app.name;
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => say!("app {name} exited with status {code}"),
            (None, Some(signal)) => say!("app {name} was ended by {}", signal_name(signal)),
            (None, None) => say!("app {name} ended"),
        }
    }

    fn end_check(&mut self, supervision: &mut Supervision, healthy: bool) {
        self.drop_check();
        if supervision.checked(now(), healthy) && !healthy {
            say!("the app is not healthy any more");
        }
    }

    /// Forgets a check; one that still runs is ended with all that it started.
    fn drop_check(&mut self) {
        if let Some(check) = self.check.take() {
            let _ = rustix::process::kill_process_group(check.pid, Signal::KILL);
        }
    }

    fn stop_everything(&mut self) {
        let app = &self.runner.app;
        let stop_signal = signal_number(&app.stop_signal).unwrap_or(libc::SIGTERM);
        let mut shutdown = Shutdown::new(whole_seconds(app.stop_timeout_seconds));
        self.drop_check();
        loop {
            let others = self.reap_all();
            self.feed(true);
            match shutdown.next(now(), Alive { app: self.app.is_some(), others }) {
                ending::Act::StopApp => self.signal_app(stop_signal),
                ending::Act::KillApp => self.signal_app(libc::SIGKILL),
                ending::Act::StopOthers => drop(sys::signal_all(libc::SIGTERM)),
                ending::Act::KillOthers => drop(sys::signal_all(libc::SIGKILL)),
                ending::Act::Wait(until) => {
                    let watchdog = self.watchdog.as_ref().map_or(until, Watchdog::next);
                    self.sleep(until.min(watchdog));
                    self.drain_signals();
                }
                ending::Act::Finish => return,
            }
        }
    }

    /// Reaps whoever ended. Returns whether anybody is left: every process descends from a child of ours.
    fn reap_all(&mut self) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, _))) => self.app = self.app.filter(|&app| app != pid),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn signal_app(&self, number: i32) {
        if let (Some(pid), Some(signal)) = (self.app, Signal::from_named_raw(number)) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    fn drain_signals(&self) {
        while rustix::io::read(&self.signals, &mut [0u8; 128]).is_ok() {}
    }
}

/// Takes the status of one child that ended, ours or an orphan's.
fn reap() -> Option<(Pid, WaitStatus)> {
    rustix::process::wait(WaitOptions::NOHANG).ok().flatten()
}

fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::Exits => "the app does not stay up",
        Reason::NotHealthy => "the app did not become healthy in time",
        Reason::NotSteady => "the app did not stay healthy",
    }
}

fn whole_seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

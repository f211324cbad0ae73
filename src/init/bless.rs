//! Blessing on behalf of a whole system's init, which knows nothing of slots.
//!
//! A small process stays behind. It asks for the health that the recipe names, as long and as often as an app's is
//! asked for: a system that has held is blessed, one that does not become healthy in its time is given up, and the
//! machine reboots, which uses up a try. Without a health to ask for it blesses the slot when the system has been up
//! for twenty seconds. Either way nothing is healthy while the file `/run/mkimage/hold` is there: a unit that knows
//! better creates it early and removes it when the machine is healthy. PID 1 that dies panics the kernel, which
//! reboots.

use std::path::Path;
use std::time::Duration;

use mkimage::boot::service::{Health, Restart, Service};
use rustix::process::{Pid, Signal};
use rustix::system::{RebootCommand, reboot};

use crate::agent;
use crate::error::{Doing, Result};
use crate::inquiry;
use crate::loader::Trial;
use crate::logic::policy::{Act, HealthTimes, Policy, Supervision};
use crate::report::{now, say};
use crate::sys::{self, Fork};

const HOLD: &str = "/run/mkimage/hold";
const UP_FOR: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long the system may take to end in order.
const END_PATIENCE: Duration = Duration::from_secs(90);
const NOT_HEALTHY: &str = "the system did not become healthy in time";

/// Leaves the process behind, where this boot is a trial. A word on a trial that is given up stays on the data
/// partition, under the root hash, where there is one.
pub fn watch_over_system(trial: Trial, service: &Service, root_hash: Option<&str>) -> Result<()> {
    if !trial.is_counted() {
        return Ok(());
    }
    if let Fork::Child = sys::fork().doing("start", "the process that blesses")? {
        let _ = rustix::process::setsid();
        match &service.health {
            Some(health) if !becomes_healthy(health) => give_up(service, root_hash),
            Some(_) => {}
            None => stays_up(),
        }
        trial.bless();
        std::process::exit(0);
    }
    Ok(())
}

fn stays_up() {
    std::thread::sleep(UP_FOR);
    while is_held() {
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn is_held() -> bool {
    Path::new(HOLD).exists()
}

/// Asks until health has held, or until its time is over.
fn becomes_healthy(health: &Health) -> bool {
    let timeout = Duration::from_secs(health.timeout_seconds.max(1).into());
    let policy = Policy { restart: Restart::Always, health: Some(HealthTimes::of(health)), trial: true };
    let mut supervision = Supervision::new(policy, now());
    supervision.started(now());
    loop {
        match supervision.next(now()) {
            Some(Act::Check) => {
                let healthy = inquiry::is_healthy(&health.check, timeout, agent::SEARCH_PATH) && !is_held();
                supervision.checked(now(), healthy);
            }
            Some(Act::Bless) => return true,
            Some(Act::Reboot(_)) => return false,
            Some(_) => {}
            None => {
                let wake = supervision.wake_at().unwrap_or_else(|| now() + LOOK_AGAIN);
                std::thread::sleep(wake.saturating_sub(now()));
            }
        }
    }
}

/// Has the system reboot, in order where it can.
fn give_up(service: &Service, root_hash: Option<&str>) -> ! {
    say!("giving this slot up ({NOT_HEALTHY}): rebooting");
    if let Some(root_hash) = root_hash {
        agent::leave_word(&service.data_path, root_hash, NOT_HEALTHY);
    }
    // What inits take for Ctrl-Alt-Del: systemd(1) starts ctrl-alt-del.target then, which is reboot.target.
    let _ = rustix::process::kill_process(Pid::INIT, Signal::INT);
    std::thread::sleep(END_PATIENCE);
    rustix::fs::sync();
    let _ = reboot(RebootCommand::Restart);
    std::process::exit(1)
}

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

use mkimage::boot::service::{Health, Service};
use rustix::process::{Pid, Signal};
use rustix::system::{RebootCommand, reboot};

use crate::agent;
use crate::error::{Doing, Result};
use crate::inquiry;
use crate::loader::Trial;
use crate::report::{now, say};
use crate::sys::{self, Fork};
use crate::vigil::{self, System};

const HOLD: &str = "/run/mkimage/hold";

/// Leaves the process behind, where this boot is a trial. A word on a trial that is given up stays on the data
/// partition, under the root hash, where there is one.
pub fn watch_over_system(trial: Trial, service: &Service, root_hash: Option<&str>) -> Result<()> {
    if !trial.is_counted() {
        return Ok(());
    }
    if let Fork::Child = sys::fork().doing("start", "the process that blesses")? {
        let _ = rustix::process::setsid();
        vigil::watch(service.health.as_ref(), &mut Machine { trial, service, root_hash });
        std::process::exit(0);
    }
    Ok(())
}

/// This machine, whose init is another's.
struct Machine<'a> {
    trial: Trial,
    service: &'a Service,
    root_hash: Option<&'a str>,
}

impl System for Machine<'_> {
    fn now(&self) -> Duration {
        now()
    }

    fn sleep(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn is_healthy(&mut self, health: &Health) -> bool {
        let timeout = Duration::from_secs(health.timeout_seconds.max(1).into());
        inquiry::is_healthy(&health.check, timeout, agent::SEARCH_PATH)
    }

    fn is_held(&mut self) -> bool {
        Path::new(HOLD).exists()
    }

    fn bless(&mut self) -> bool {
        self.trial.bless()
    }

    fn leave_word(&mut self, why: &str) {
        say!("giving this slot up ({why}): rebooting");
        if let Some(root_hash) = self.root_hash {
            agent::leave_word(&self.service.data_path, root_hash, why);
        }
    }

    fn ask_for_reboot(&mut self) {
        // What inits take for Ctrl-Alt-Del: systemd(1) starts ctrl-alt-del.target then, which is reboot.target.
        let _ = rustix::process::kill_process(Pid::INIT, Signal::INT);
    }

    fn reboot(&mut self) {
        rustix::fs::sync();
        let _ = reboot(RebootCommand::Restart);
    }
}

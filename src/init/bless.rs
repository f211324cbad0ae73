//! Blessing on behalf of a whole system's init, which knows nothing of slots.
//!
//! A small process stays behind. It blesses the slot when the system has been up for twenty seconds and the
//! file `/run/mkimage/hold` is not there. A unit that knows better what health is creates that file early and
//! removes it when the machine is healthy; while the file is there the slot stays a trial, and a reboot uses
//! up a try. PID 1 that dies panics the kernel, which reboots.

use std::path::Path;
use std::time::Duration;

use crate::error::{Doing, Result};
use crate::loader::Trial;
use crate::sys::{self, Fork};

const HOLD: &str = "/run/mkimage/hold";
const UP_FOR: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Leaves the process behind, where this boot is a trial.
pub fn watch_over_system(trial: Trial) -> Result<()> {
    if !trial.is_counted() {
        return Ok(());
    }
    if let Fork::Child = sys::fork().doing("start", "the process that blesses")? {
        let _ = rustix::process::setsid();
        std::thread::sleep(UP_FOR);
        while Path::new(HOLD).exists() {
            std::thread::sleep(LOOK_AGAIN);
        }
        trial.bless();
        std::process::exit(0);
    }
    Ok(())
}

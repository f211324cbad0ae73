//! The watchdog device: resets the machine when nobody feeds it.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use mkimage::base::fs;

use crate::error::{Doing, Result, chain};
use crate::report::{now, say};
use crate::sys::{Request, ioctl};

const CLASS: &str = "/sys/class/watchdog";
const SOFTWARE: &str = "Software Watchdog";

/// An armed watchdog. It stays armed to the very end, so that an end which hangs is cut short too.
pub struct Watchdog {
    device: File,
    interval: Duration,
    next: Duration,
}

impl Watchdog {
    /// Arms the machine's watchdog, a hardware one before the kernel's own. `None`: none is there or
    /// asked for.
    pub fn arm(seconds: u32) -> Option<Watchdog> {
        if seconds == 0 {
            return None;
        }
        let Some(name) = choose() else {
            say!("no watchdog device: a hang is not noticed");
            return None;
        };
        arm(&name, seconds).inspect_err(|error| say!("{}", chain(error))).ok()
    }

    /// Feeds the watchdog if it is time.
    pub fn feed(&mut self, now: Duration) {
        if now >= self.next {
            let _ = ioctl(&self.device, Request::WatchdogFeed, &mut [0; 4]);
            self.next = now + self.interval;
        }
    }

    /// Returns when it wants to be fed next.
    pub fn next(&self) -> Duration {
        self.next
    }
}

fn arm(name: &str, seconds: u32) -> Result<Watchdog> {
    let path = format!("/dev/{name}");
    let device = File::options().write(true).open(&path).doing("arm", &path)?;
    let mut timeout = seconds.to_ne_bytes();
    ioctl(&device, Request::WatchdogTimeout, &mut timeout).doing("set the time of", &path)?;
    let granted = u32::from_ne_bytes(timeout).max(1);
    if granted != seconds {
        say!("watchdog {name} takes {granted} s instead of {seconds} s");
    }
    Ok(Watchdog { device, interval: Duration::from_millis(u64::from(granted) * 1000 / 4), next: now() })
}

fn choose() -> Option<String> {
    let names = fs::list(Path::new(CLASS)).unwrap_or_default();
    let mut names: Vec<String> = names.into_iter().filter_map(|name| name.into_string().ok()).collect();
    names.sort_by_key(|name| {
        let identity = std::fs::read_to_string(Path::new(CLASS).join(name).join("identity"));
        identity.is_ok_and(|identity| identity.trim() == SOFTWARE)
    });
    names.into_iter().next()
}

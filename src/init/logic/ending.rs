//! The order in which a machine ends: the app first, with its own signal and its own time, then everything
//! else, then the disks.

use std::time::Duration;

/// How long what isn't the app has between SIGTERM and SIGKILL.
const OTHERS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait for processes that were killed; one in a dead device's queue never goes.
const KILLED_TIMEOUT: Duration = Duration::from_secs(3);

/// What happens at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    PowerOff,
    Reboot,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    StopApp,
    KillApp,
    StopOthers,
    KillOthers,
    /// Look again when a child exits, or at this time.
    Wait(Duration),
    /// Sync, unmount, end.
    Finish,
}

/// What is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alive {
    pub app: bool,
    pub others: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Begin,
    AppStopping { until: Duration },
    AppKilled { until: Duration },
    OthersStopping { until: Duration },
    OthersKilled { until: Duration },
}

/// Walks through the phases. Ask [`Shutdown::next`] until it says [`Act::Finish`].
#[derive(Debug)]
pub struct Shutdown {
    phase: Phase,
    app_timeout: Duration,
}

impl Shutdown {
    /// Makes a shutdown in which the app has `app_timeout` to end by itself.
    pub fn new(app_timeout: Duration) -> Self {
        Shutdown { phase: Phase::Begin, app_timeout }
    }

    /// Returns what to do now.
    pub fn next(&mut self, now: Duration, alive: Alive) -> Act {
        match self.phase {
            Phase::Begin if alive.app => {
                self.enter(Phase::AppStopping { until: now + self.app_timeout }, Act::StopApp)
            }
            Phase::AppStopping { until } if alive.app && now < until => Act::Wait(until),
            Phase::AppStopping { .. } if alive.app => {
                self.enter(Phase::AppKilled { until: now + KILLED_TIMEOUT }, Act::KillApp)
            }
            Phase::AppKilled { until } if alive.app && now < until => Act::Wait(until),
            Phase::Begin | Phase::AppStopping { .. } | Phase::AppKilled { .. } if alive.others => {
                self.enter(Phase::OthersStopping { until: now + OTHERS_TIMEOUT }, Act::StopOthers)
            }
            Phase::OthersStopping { until } if alive.others && now < until => Act::Wait(until),
            Phase::OthersStopping { .. } if alive.others => {
                self.enter(Phase::OthersKilled { until: now + KILLED_TIMEOUT }, Act::KillOthers)
            }
            Phase::OthersKilled { until } if alive.others && now < until => Act::Wait(until),
            _ => Act::Finish,
        }
    }

    fn enter(&mut self, phase: Phase, act: Act) -> Act {
        self.phase = phase;
        act
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: Alive = Alive { app: true, others: true };
    const OTHERS: Alive = Alive { app: false, others: true };
    const NOBODY: Alive = Alive { app: false, others: false };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_polite_app_ends_by_its_own_signal_and_nobody_is_killed() {
        let mut shutdown = Shutdown::new(seconds(10));
        assert_eq!(shutdown.next(seconds(100), APP), Act::StopApp);
        assert_eq!(shutdown.next(seconds(101), APP), Act::Wait(seconds(110)));
        assert_eq!(shutdown.next(seconds(102), OTHERS), Act::StopOthers);
        assert_eq!(shutdown.next(seconds(102), OTHERS), Act::Wait(seconds(104)));
        assert_eq!(shutdown.next(seconds(103), NOBODY), Act::Finish);
    }

    #[test]
    fn a_deaf_machine_still_ends() {
        let mut shutdown = Shutdown::new(seconds(10));
        let mut now = seconds(0);
        let mut acts = Vec::new();
        loop {
            match shutdown.next(now, APP) {
                Act::Wait(until) => now = until,
                Act::Finish => break,
                act => acts.push((now.as_secs(), act)),
            }
        }
        let expected = [(0, Act::StopApp), (10, Act::KillApp), (13, Act::StopOthers), (15, Act::KillOthers)];
        assert_eq!(acts, expected);
        assert_eq!(now, seconds(18));
    }

    #[test]
    fn an_app_that_is_gone_is_not_signalled() {
        assert_eq!(Shutdown::new(seconds(10)).next(seconds(0), OTHERS), Act::StopOthers);
        assert_eq!(Shutdown::new(seconds(10)).next(seconds(0), NOBODY), Act::Finish);
    }
}

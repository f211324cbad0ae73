//! When the app is started, checked, believed, given up: a state machine over times that it is told.
//!
//! A *trial* is a slot that the loader counts tries of. Until the trial is confirmed (blessed), five exits, a start
//! period without health, or health that broke five times reboot the machine, which uses a try up. Afterwards, and in a slot that was
//! confirmed long ago, the app is started again for ever.

use std::time::Duration;

use mkimage::boot::service::{Health, Restart};

/// Exits of the app that a trial survives, less one.
const TRIAL_EXITS: u32 = 5;
/// Times that health may break in a trial, less one: else an app that is healthy now and then is on trial for ever.
const TRIAL_RELAPSES: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// An app that ran so long begins with the first delay again.
const STEADY_AFTER: Duration = Duration::from_secs(60);
/// Without a health check the app counts as healthy when it has run so long.
const UNCHECKED_HOLD: Duration = Duration::from_secs(5);
const FIRST_CHECK_AFTER: Duration = Duration::from_millis(50);
/// After this time a slot that could not be confirmed is confirmed again.
pub const BLESS_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// What the recipe asks for, and what the loader said.
#[derive(Clone, Debug)]
pub struct Policy {
    pub restart: Restart,
    /// `None`: health is that the app runs.
    pub health: Option<HealthTimes>,
    pub trial: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct HealthTimes {
    pub interval: Duration,
    pub hold: Duration,
    pub start: Duration,
}

impl HealthTimes {
    /// Takes the times of a description.
    pub fn of(health: &Health) -> HealthTimes {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        HealthTimes {
            interval: seconds(health.interval_seconds.max(1)),
            hold: seconds(health.hold_seconds),
            start: seconds(health.start_seconds),
        }
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Start the app, then call [`Supervision::started`], or [`Supervision::exited`] where that failed.
    Start,
    /// Begin a health check, then call [`Supervision::checked`] with its result.
    Check,
    /// The app is healthy for the first time, since this moment.
    Ready(Duration),
    /// The trial has held: confirm the slot, once.
    Bless,
    Reboot(Reason),
    PowerOff,
}

/// Why a trial is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Exits,
    NotHealthy,
    NotSteady,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting { until: Duration },
    Running { since: Duration },
    Ended(Act),
}

/// Follows one app from boot to the end. All times are measured from the same moment.
#[derive(Debug)]
pub struct Supervision {
    policy: Policy,
    phase: Phase,
    /// Exits in a row that came soon.
    quick_exits: u32,
    /// Exits of the trial.
    exits: u32,
    /// How often health broke.
    relapses: u32,
    healthy_since: Option<Duration>,
    /// When a check said so last.
    last_good: Option<Duration>,
    /// When the slot is to be confirmed once more, where that failed.
    bless_again: Option<Duration>,
    /// From when on the start period counts.
    unhealthy_since: Duration,
    next_check: Option<Duration>,
    check_delay: Duration,
    ready: bool,
    confirmed: bool,
    /// The app ended well, and health is not asked for otherwise.
    work_done: bool,
}

impl Supervision {
    /// Begins; the app is to be started at once.
    pub fn new(policy: Policy, now: Duration) -> Self {
        let confirmed = !policy.trial;
        Supervision {
            policy,
            phase: Phase::Waiting { until: now },
            quick_exits: 0,
            exits: 0,
            relapses: 0,
            healthy_since: None,
            last_good: None,
            bless_again: None,
            unhealthy_since: now,
            next_check: None,
            check_delay: FIRST_CHECK_AFTER,
            ready: false,
            confirmed,
            work_done: false,
        }
    }

    /// Returns the next thing to do, if any. Ask until there is none.
    pub fn next(&mut self, now: Duration) -> Option<Act> {
        let settled = self.healthy_since(now);
        if let (Some(since), false) = (settled, self.ready) {
            self.ready = true;
            return Some(Act::Ready(since));
        }
        if !self.confirmed && (self.has_held(settled, now) || self.work_done) {
            self.confirmed = true;
            return Some(Act::Bless);
        }
        if self.bless_again.is_some_and(|due| now >= due) {
            self.bless_again = None;
            return Some(Act::Bless);
        }
        match self.phase {
            Phase::Waiting { until } => (now >= until).then_some(Act::Start),
            Phase::Ended(act) => Some(act),
            Phase::Running { .. } => self.next_while_running(now),
        }
    }

    fn next_while_running(&mut self, now: Duration) -> Option<Act> {
        let given_up = self.trial_deadline().is_some_and(|deadline| now >= deadline);
        let relapsed = !self.confirmed && self.relapses >= TRIAL_RELAPSES;
        if given_up || relapsed {
            let reason = if relapsed { Reason::NotSteady } else { Reason::NotHealthy };
            self.phase = Phase::Ended(Act::Reboot(reason));
            return Some(Act::Reboot(reason));
        }
        self.next_check.filter(|&at| now >= at)?;
        self.next_check = None;
        Some(Act::Check)
    }

    /// Notes that the app runs.
    pub fn started(&mut self, now: Duration) {
        self.phase = Phase::Running { since: now };
        self.check_delay = FIRST_CHECK_AFTER;
        self.next_check = self.policy.health.map(|_| now + FIRST_CHECK_AFTER);
    }

    /// Notes that the app ended, or could not be started. What a check says afterwards is about nobody.
    pub fn exited(&mut self, now: Duration, success: bool) {
        let since = match self.phase {
            Phase::Running { since } => since,
            _ => now,
        };
        self.set_healthy(now, false);
        self.next_check = None;
        let done = match self.policy.restart {
            Restart::Always => false,
            Restart::OnFailure => success,
            Restart::Never => true,
        };
        self.phase = if done { self.end_of_work(success) } else { self.another_try(now, now - since) };
    }

    /// Work that ended well confirms a trial which has no other sign of health.
    fn end_of_work(&mut self, success: bool) -> Phase {
        match (self.confirmed, success) {
            (false, false) => Phase::Ended(Act::Reboot(Reason::Exits)),
            (false, true) if self.policy.health.is_none() => {
                self.work_done = true;
                Phase::Ended(Act::PowerOff)
            }
            _ => Phase::Ended(Act::PowerOff),
        }
    }

    fn another_try(&mut self, now: Duration, ran: Duration) -> Phase {
        self.exits += 1;
        if !self.confirmed && self.exits >= TRIAL_EXITS {
            return Phase::Ended(Act::Reboot(Reason::Exits));
        }
        self.quick_exits = if ran >= STEADY_AFTER { 0 } else { self.quick_exits };
        let delay = FIRST_DELAY.saturating_mul(1 << self.quick_exits.min(16)).min(LONGEST_DELAY);
        self.quick_exits += 1;
        Phase::Waiting { until: now + delay }
    }

    /// Notes what a check said. Returns whether health changed.
    pub fn checked(&mut self, now: Duration, healthy: bool) -> bool {
        let Some(times) = self.policy.health else { return false };
        self.check_delay = if healthy { times.interval } else { (self.check_delay * 2).min(times.interval) };
        let changed = healthy != self.healthy_since.is_some();
        self.set_healthy(now, healthy);
        self.last_good = if healthy { Some(now) } else { self.last_good };
        let next = now + self.check_delay;
        // What decides over a trial is asked for when its hold is over, however long the interval is.
        let end = self.healthy_since.map(|since| since + times.hold);
        let end = end.filter(|&end| !self.confirmed && end > now);
        self.next_check = Some(end.map_or(next, |end| end.min(next)));
        changed
    }

    /// Notes that the slot could not be confirmed: it is tried again, for as long as the machine is up.
    pub fn not_blessed(&mut self, now: Duration) {
        self.bless_again = Some(now + BLESS_AGAIN_AFTER);
    }

    /// Tells whether the watchdog is to be fed: the app is healthy, or still has time to become so, or is
    /// between two tries.
    pub fn is_alive(&self, now: Duration) -> bool {
        match (self.phase, self.policy.health) {
            (Phase::Running { since }, Some(times)) => {
                self.healthy_since.is_some() || now < since + times.start
            }
            _ => true,
        }
    }

    /// Returns when something becomes due by itself.
    pub fn wake_at(&self) -> Option<Duration> {
        let running = match self.phase {
            Phase::Waiting { until } => {
                return Some(self.bless_again.map_or(until, |again| again.min(until)));
            }
            Phase::Ended(_) => return None,
            Phase::Running { since } => since,
        };
        // With a check only its answer settles anything.
        let settles = self.policy.health.is_none().then(|| running + UNCHECKED_HOLD);
        let settles = settles.filter(|_| !self.confirmed || !self.ready);
        [settles, self.next_check, self.trial_deadline(), self.bless_again].into_iter().flatten().min()
    }

    fn healthy_since(&self, now: Duration) -> Option<Duration> {
        match (self.policy.health, self.phase) {
            (None, Phase::Running { since }) => (now >= since + UNCHECKED_HOLD).then_some(since),
            _ => self.healthy_since,
        }
    }

    fn set_healthy(&mut self, now: Duration, healthy: bool) {
        match (healthy, self.healthy_since) {
            (true, None) => self.healthy_since = Some(now),
            (false, Some(_)) => {
                self.healthy_since = None;
                self.unhealthy_since = now;
                self.relapses = self.relapses.saturating_add(1);
            }
            _ => {}
        }
    }

    /// Tells whether health lasted: by a good answer that came when the hold was over, not by time that went by while
    /// nobody answered.
    fn has_held(&self, since: Option<Duration>, now: Duration) -> bool {
        let Some(since) = since else { return false };
        match self.policy.health {
            Some(times) => self.last_good.is_some_and(|good| good >= since + times.hold),
            None => now >= since + UNCHECKED_HOLD,
        }
    }

    /// When an unconfirmed slot without health is given up.
    fn trial_deadline(&self) -> Option<Duration> {
        let times = self.policy.health.filter(|_| !self.confirmed && self.healthy_since.is_none())?;
        Some(self.unhealthy_since + times.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: HealthTimes = HealthTimes {
        interval: Duration::from_secs(5),
        hold: Duration::from_secs(10),
        start: Duration::from_secs(60),
    };

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn supervise(restart: Restart, health: Option<HealthTimes>, trial: bool) -> Supervision {
        let mut supervision = Supervision::new(Policy { restart, health, trial }, at(1000));
        assert_eq!(supervision.next(at(1000)), Some(Act::Start));
        supervision.started(at(1000));
        assert_eq!(supervision.next(at(1000)), None);
        supervision
    }

    #[test]
    fn times_are_whole_seconds_and_there_is_always_one_between_two_checks() {
        let health = Health {
            check: mkimage::boot::service::Check::Tcp { port: 1 },
            interval_seconds: 0,
            timeout_seconds: 1,
            hold_seconds: 0,
            start_seconds: 60,
        };
        let times = HealthTimes::of(&health);
        assert_eq!((times.interval, times.hold, times.start), (at(1000), at(0), at(60_000)));
    }

    #[test]
    fn a_healthy_trial_is_ready_at_once_and_blessed_once_after_the_hold() {
        let mut app = supervise(Restart::Always, Some(TIMES), true);
        assert_eq!(app.wake_at(), Some(at(1050)));
        assert_eq!(app.next(at(1050)), Some(Act::Check));
        assert_eq!(app.next(at(1050)), None, "one check at a time");
        assert!(!app.checked(at(1060), false));
        assert_eq!(app.wake_at(), Some(at(1160)), "soon again while it starts");
        assert_eq!(app.next(at(1160)), Some(Act::Check));
        assert!(app.checked(at(1200), true));
        assert_eq!(app.next(at(1200)), Some(Act::Ready(at(1200))));
        assert_eq!(app.next(at(1200)), None);
        assert_eq!(app.next(at(6200)), Some(Act::Check));
        assert!(!app.checked(at(6200), true));
        assert_eq!(app.wake_at(), Some(at(11200)));
        assert_eq!(app.next(at(11200)), Some(Act::Check));
        app.checked(at(11200), true);
        assert_eq!(app.next(at(11200)), Some(Act::Bless));
        assert_eq!(app.next(at(16200)), Some(Act::Check));
        assert_eq!(app.next(at(99000)), None, "blessed once");
    }

    #[test]
    fn time_that_goes_by_without_an_answer_confirms_nothing() {
        let mut app = supervise(Restart::Always, Some(TIMES), true);
        assert_eq!(app.next(at(1050)), Some(Act::Check));
        app.checked(at(1200), true);
        assert_eq!(app.next(at(1200)), Some(Act::Ready(at(1200))));
        assert_eq!(app.next(at(6200)), Some(Act::Check));
        assert_eq!(app.next(at(11_200)), None, "the check hangs");
        assert_ne!(app.wake_at(), Some(at(11_200)), "nor is there anything to wake up for");
        assert!(app.checked(at(12_000), false), "and times out");
        assert_eq!(app.next(at(12_000)), None);

        let times = HealthTimes { interval: at(60_000), hold: at(30_000), ..TIMES };
        let mut app = supervise(Restart::Always, Some(times), true);
        app.checked(at(2000), true);
        assert_eq!(app.next(at(2000)), Some(Act::Ready(at(2000))));
        assert_eq!(
            app.wake_at(),
            Some(at(32_000)),
            "one answer is none: another comes when the hold is over"
        );
        assert_eq!(app.next(at(32_000)), Some(Act::Check));
        assert_eq!(app.next(at(61_000)), None);
        app.checked(at(62_000), true);
        assert_eq!(app.next(at(62_000)), Some(Act::Bless));
        assert_eq!(app.wake_at(), Some(at(122_000)), "then the interval is what was asked for");
    }

    #[test]
    fn a_slot_that_could_not_be_confirmed_is_confirmed_every_minute_until_it_is() {
        let mut app = supervise(Restart::Always, None, true);
        assert_eq!(app.next(at(6000)), Some(Act::Ready(at(1000))));
        for minute in 0..3 {
            let now = at(6000 + minute * 60_000);
            assert_eq!(app.next(now), Some(Act::Bless), "after {minute} minutes");
            app.not_blessed(now);
            assert_eq!((app.next(now), app.wake_at()), (None, Some(now + at(60_000))));
            assert_eq!(app.next(now + at(59_999)), None);
        }
        app.exited(at(130_000), false);
        assert_eq!(app.next(at(130_250)), Some(Act::Start), "it is no trial any more");
        for exit in 0..20 {
            app.exited(at(130_300 + exit), false);
        }
        assert_eq!((app.wake_at(), app.next(at(186_000))), (Some(at(160_319)), Some(Act::Bless)));
        assert_eq!(app.next(at(186_000)), Some(Act::Start));
    }

    #[test]
    fn health_that_breaks_during_the_hold_starts_the_hold_again() {
        let mut app = supervise(Restart::Always, Some(TIMES), true);
        app.checked(at(2000), true);
        assert_eq!(app.next(at(2000)), Some(Act::Ready(at(2000))));
        assert!(app.checked(at(7000), false));
        assert_eq!(app.next(at(13_000)), Some(Act::Check));
        app.checked(at(13_000), true);
        assert_eq!(app.next(at(13_000)), None);
        assert_eq!(app.next(at(22_999)), Some(Act::Check));
        app.checked(at(22_999), true);
        assert_eq!(app.next(at(23_000)), Some(Act::Check));
        app.checked(at(23_000), true);
        assert_eq!(app.next(at(23_000)), Some(Act::Bless));
    }

    #[test]
    fn a_trial_whose_health_comes_and_goes_is_given_up_and_a_confirmed_slot_is_not() {
        let relapse = |trial: bool, times: u64| {
            let mut app = supervise(Restart::Always, Some(TIMES), trial);
            for second in (10..).step_by(6).take(times as usize) {
                app.checked(at(second * 1000), true);
                app.checked(at((second + 3) * 1000), false);
                app.next_check = None;
            }
            (10..).step_by(6).take(times as usize).last().and_then(|second| {
                app.ready = true;
                app.next(at((second + 3) * 1000))
            })
        };
        assert_eq!(relapse(true, 4), None);
        assert_eq!(relapse(true, 5), Some(Act::Reboot(Reason::NotSteady)));
        assert_eq!(relapse(false, 50), None);
    }

    #[test]
    fn a_trial_without_health_is_given_up_after_its_start_period() {
        let mut app = supervise(Restart::Always, Some(TIMES), true);
        app.checked(at(2000), false);
        app.next_check = None;
        assert_eq!(app.wake_at(), Some(at(61_000)));
        assert_eq!(app.next(at(60_999)), None);
        assert!(app.is_alive(at(60_999)) && !app.is_alive(at(61_000)));
        assert_eq!(app.next(at(61_000)), Some(Act::Reboot(Reason::NotHealthy)));
        let mut confirmed = supervise(Restart::Always, Some(TIMES), false);
        confirmed.next_check = None;
        assert_eq!(confirmed.next(at(999_000)), None, "a confirmed slot is left to the watchdog");
        assert!(!confirmed.is_alive(at(999_000)));
    }

    #[test]
    fn five_exits_end_a_trial_and_no_number_ends_a_confirmed_slot() {
        let delays = |trial: bool, exits: usize| {
            let mut app = supervise(Restart::Always, None, trial);
            let (mut now, mut delays) = (at(1000), Vec::new());
            for _ in 0..exits {
                app.exited(now, false);
                match app.wake_at() {
                    Some(until) => delays.push((until - now).as_millis()),
                    None => return (delays, app.next(now)),
                }
                now = app.wake_at().expect("waits");
                assert_eq!(app.next(now), Some(Act::Start));
                app.started(now);
            }
            (delays, None)
        };
        assert_eq!(delays(true, 9), (vec![250, 500, 1000, 2000], Some(Act::Reboot(Reason::Exits))));
        assert_eq!(delays(false, 9).0, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    }

    #[test]
    fn an_app_that_ran_for_long_is_started_again_soon() {
        let mut app = supervise(Restart::Always, None, false);
        for _ in 0..6 {
            app.exited(at(1000), false);
        }
        assert_eq!(app.next(at(60_000)), Some(Act::Start));
        app.started(at(60_000));
        app.exited(at(120_000), true);
        assert_eq!(app.wake_at(), Some(at(120_250)));
    }

    #[test]
    fn without_a_check_running_for_five_seconds_is_health() {
        let mut app = supervise(Restart::Always, None, true);
        assert_eq!(app.wake_at(), Some(at(6000)));
        assert_eq!(app.next(at(5999)), None);
        assert_eq!(app.next(at(6000)), Some(Act::Ready(at(1000))), "honest: it runs since then");
        assert_eq!(app.next(at(6000)), Some(Act::Bless));
        assert_eq!((app.next(at(6000)), app.wake_at()), (None, None));
        assert!(app.is_alive(at(1_000_000)));
    }

    #[test]
    fn exit_policies_power_off() {
        for (restart, success, act) in [
            (Restart::Always, true, None),
            (Restart::OnFailure, true, Some(Act::PowerOff)),
            (Restart::OnFailure, false, None),
            (Restart::Never, true, Some(Act::PowerOff)),
            (Restart::Never, false, Some(Act::PowerOff)),
        ] {
            let mut app = supervise(restart, Some(TIMES), false);
            app.exited(at(1500), success);
            assert_eq!(app.next(at(1500)), act, "{restart:?} {success}");
        }
    }

    #[test]
    fn work_that_is_done_confirms_its_trial_and_work_that_failed_uses_a_try() {
        let mut done = supervise(Restart::Never, None, true);
        done.exited(at(1500), true);
        assert_eq!(done.next(at(1500)), Some(Act::Bless));
        assert_eq!(done.next(at(1500)), Some(Act::PowerOff));
        let mut failed = supervise(Restart::Never, None, true);
        failed.exited(at(1500), false);
        assert_eq!(failed.next(at(1500)), Some(Act::Reboot(Reason::Exits)));
        let mut unchecked = supervise(Restart::Never, Some(TIMES), true);
        unchecked.exited(at(1500), true);
        assert_eq!(unchecked.next(at(1500)), Some(Act::PowerOff), "its check never held");
    }

    #[test]
    fn between_two_tries_the_watchdog_is_fed() {
        let mut app = supervise(Restart::Always, Some(TIMES), false);
        app.checked(at(2000), true);
        assert!(app.is_alive(at(900_000)));
        assert!(app.checked(at(900_000), false));
        assert!(!app.is_alive(at(900_000)));
        app.exited(at(900_001), false);
        assert!(app.is_alive(at(900_001)));
    }
}

//! When to look, when to take, when to reboot: decided here, without clock, disk or network.

use super::settings::{Reboot, Ring, Settings, place};
use crate::base::{CommitId, Digest};

/// Looks that failed one after the other double the pause so many times at most.
const DOUBLINGS_MAX: u32 = 5;
/// The longest pause between two looks, unless the interval itself is longer.
const PAUSE_SECONDS_MAX: u64 = 24 * 3600;

/// Who decides: the settings, and a name of the machine that stays the same.
#[derive(Clone, Debug)]
pub struct Policy {
    pub settings: Settings,
    pub machine: String,
}

/// What is known when a commit is found at the far end.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Where the ref leads.
    pub found: CommitId,
    /// What runs.
    pub running: Option<CommitId>,
    /// What is in the other slot, waiting for its first boot.
    pub waiting: Option<CommitId>,
    /// The commit was tried and fell back, and nobody said since that it may be tried again.
    pub fell_back: bool,
    /// Seconds since 1970 when this machine first saw the ref lead there.
    pub first_seen: u64,
    pub now: u64,
    /// Somebody asks: rings don't count, and neither does an earlier failure.
    pub told: Option<&'a str>,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs already.
    UpToDate,
    /// It is written and waits for a reboot.
    Waiting,
    /// It was tried, and is not tried again.
    FellBack,
    /// It is for machines of earlier rings still, for so many seconds.
    NotYet(u64),
    Take,
}

/// When a machine that has something to try may reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Now,
    /// After so many seconds.
    In(u64),
    WhenTold,
}

impl Policy {
    /// Returns how many seconds to wait before the next look. `count` numbers the looks, `failures` counts those
    /// that failed since one succeeded.
    pub fn pause(&self, count: u64, failures: u32) -> u64 {
        let interval = u64::from(self.settings.interval_seconds.max(1));
        let longer = interval << failures.min(DOUBLINGS_MAX);
        longer.min(PAUSE_SECONDS_MAX.max(interval)) + self.jitter(count)
    }

    /// Returns between 0 and the jitter of the settings: another number for each look and machine.
    pub fn jitter(&self, count: u64) -> u64 {
        let text = format!("{}\n{count}", self.machine);
        let digest = Digest::derive("mkimage 2026 jitter of a machine v1", text.as_bytes());
        let word = u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("because it has 32 bytes"));
        word % (u64::from(self.settings.jitter_seconds) + 1)
    }

    /// Says what to do about the commit that was found.
    pub fn judge(&self, facts: &Facts<'_>) -> Verdict {
        if facts.running == Some(facts.found) {
            return Verdict::UpToDate;
        }
        if facts.waiting == Some(facts.found) {
            return Verdict::Waiting;
        }
        if facts.told.is_some() {
            return Verdict::Take;
        }
        if facts.fell_back {
            return Verdict::FellBack;
        }
        let due = facts.first_seen.saturating_add(self.ring_delay());
        // A clock that was set back must not keep a machine waiting for ever.
        match due.saturating_sub(facts.now).min(self.ring_delay()) {
            0 => Verdict::Take,
            left => Verdict::NotYet(left),
        }
    }

    /// Returns how long this machine waits after it first saw a commit, in seconds. Where the rings don't reach a
    /// hundred, the rest goes with the last one.
    pub fn ring_delay(&self) -> u64 {
        let place = place(&self.machine, &self.settings.reference);
        let holds = |ring: &&Ring| place < u16::from(ring.percent) * 100;
        let rings = &self.settings.rings;
        rings.iter().find(holds).or(rings.last()).map_or(0, |ring| u64::from(ring.delay_seconds))
    }

    /// Says when the machine may reboot into what was written.
    pub fn reboot(&self, now: u64) -> When {
        let opens_in = self.settings.window.map_or(0, |window| window.opens_in(now));
        match (self.settings.reboot, opens_in) {
            (Reboot::WhenTold, _) => When::WhenTold,
            (Reboot::AtOnce, _) | (Reboot::Window, 0) => When::Now,
            (Reboot::Window, seconds) => When::In(seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(change: impl FnOnce(&mut Settings)) -> Policy {
        let mut settings = Settings {
            from: "http://updates.invalid".to_owned(),
            reference: "web/prod".to_owned(),
            threshold: 1,
            interval_seconds: 600,
            jitter_seconds: 60,
            window: None,
            rings: Vec::new(),
            reboot: Reboot::AtOnce,
            data_path: "/data".to_owned(),
            certificates: None,
        };
        change(&mut settings);
        Policy { settings, machine: "0123456789abcdef".to_owned() }
    }

    fn id(n: u8) -> CommitId {
        CommitId(Digest::of(&[n]))
    }

    fn facts(found: u8) -> Facts<'static> {
        Facts {
            found: id(found),
            running: Some(id(1)),
            waiting: None,
            fell_back: false,
            first_seen: 1000,
            now: 1000,
            told: None,
        }
    }

    #[test]
    fn pauses_have_jitter_within_bounds_and_grow_with_failures() {
        let policy = policy(|_| {});
        let pauses: Vec<u64> = (0..200).map(|count| policy.pause(count, 0)).collect();
        assert!(pauses.iter().all(|pause| (600..=660).contains(pause)));
        let different: std::collections::BTreeSet<u64> = pauses.iter().copied().collect();
        assert!(different.len() > 30, "{different:?}");
        let mut last = 0;
        for failures in 0..10 {
            let pause = policy.pause(7, failures);
            assert!(pause >= last, "{failures}: {pause} after {last}");
            last = pause;
        }
        assert!(last <= 600 * 32 + 60, "{last}");
        let weekly = super::tests::policy(|settings| settings.interval_seconds = 7 * 86_400);
        assert!(weekly.pause(0, 9) >= 7 * 86_400, "failures never make it look more often");
        let none = super::tests::policy(|settings| settings.jitter_seconds = 0);
        assert_eq!((none.pause(0, 0), none.pause(1, 0)), (600, 600));
    }

    #[test]
    fn what_runs_or_waits_or_fell_back_is_not_taken() {
        let policy = policy(|_| {});
        assert_eq!(policy.judge(&facts(1)), Verdict::UpToDate);
        assert_eq!(policy.judge(&facts(2)), Verdict::Take);
        assert_eq!(policy.judge(&Facts { waiting: Some(id(2)), ..facts(2) }), Verdict::Waiting);
        let bad = Facts { fell_back: true, ..facts(2) };
        assert_eq!(policy.judge(&bad), Verdict::FellBack);
        assert_eq!(policy.judge(&Facts { told: Some("root"), ..bad }), Verdict::Take);
        assert_eq!(policy.judge(&Facts { told: Some("root"), ..facts(1) }), Verdict::UpToDate);
    }

    #[test]
    fn rings_hold_a_commit_back_by_the_place_of_the_machine() {
        let rings =
            |text: &[&str]| -> Vec<Ring> { text.iter().map(|ring| ring.parse().expect("a ring")).collect() };
        let mut waits = std::collections::BTreeMap::new();
        for machine in 0..2000 {
            let mut policy =
                policy(|settings| settings.rings = rings(&["10%", "50% after 1h", "100% after 1d"]));
            policy.machine = format!("{machine:032x}");
            *waits.entry(policy.ring_delay()).or_insert(0) += 1;
        }
        assert_eq!(waits.keys().copied().collect::<Vec<_>>(), [0, 3600, 86_400]);
        assert!((140..260).contains(&waits[&0]) && (900..1100).contains(&waits[&86_400]), "{waits:?}");
        let all = policy(|settings| settings.rings = rings(&["100% after 1h"]));
        assert_eq!(all.judge(&facts(2)), Verdict::NotYet(3600));
        assert_eq!(all.judge(&Facts { now: 1000 + 3599, ..facts(2) }), Verdict::NotYet(1));
        assert_eq!(all.judge(&Facts { now: 1000 + 3600, ..facts(2) }), Verdict::Take);
        assert_eq!(all.judge(&Facts { now: 0, ..facts(2) }), Verdict::NotYet(3600), "a clock set back");
        assert_eq!(all.judge(&Facts { told: Some("root"), ..facts(2) }), Verdict::Take);
        let short = policy(|settings| settings.rings = rings(&["1% after 1h"]));
        assert_eq!(short.ring_delay(), 3600, "the rest goes with the last ring");
    }

    #[test]
    fn a_reboot_waits_for_its_window_or_for_a_word() {
        let three = 20_000 * 86_400 + 3 * 3600;
        let at = |reboot, window: &str| {
            policy(|settings| {
                settings.reboot = reboot;
                settings.window = window.parse().ok();
            })
            .reboot(three)
        };
        assert_eq!(at(Reboot::AtOnce, ""), When::Now);
        assert_eq!(at(Reboot::WhenTold, "02:00-04:00"), When::WhenTold);
        assert_eq!(at(Reboot::Window, "02:00-04:00"), When::Now);
        assert_eq!(at(Reboot::Window, "04:00-05:00"), When::In(3600));
    }
}

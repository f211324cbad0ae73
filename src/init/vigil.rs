//! The trial of a whole system, to its end: the slot is blessed, or the system is given up and the machine reboots.
//!
//! Health is asked for as long and as often as an app's is. A system that has held is blessed; one that does not become
//! healthy in its time is given up: a word is left for the slot that runs next, the system is asked to end, and where it
//! does not the machine is rebooted over its head. All that this takes of the machine is a [`System`], so that it is
//! driven off the machine, too (`tests/it/slots/given_up.rs`).

use std::time::Duration;

use mkimage::boot::service::{Health, Restart};

use super::logic::policy::{Act, BLESS_AGAIN_AFTER, HealthTimes, Policy, Supervision};

/// How long a system without a health to ask for must have been up.
const UP_FOR: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long the system may take to end in order.
const END_PATIENCE: Duration = Duration::from_secs(90);
pub const NOT_HEALTHY: &str = "the system did not become healthy in time";

/// The machine that a system runs on.
pub trait System {
    /// Returns the time since the machine started.
    fn now(&self) -> Duration;
    fn sleep(&mut self, time: Duration);
    /// Asks once, and waits for the answer.
    fn is_healthy(&mut self, health: &Health) -> bool;
    /// Tells whether a unit that knows better holds the trial up.
    fn is_held(&mut self) -> bool;
    /// Ends the trial: the slot boots from now on without being counted. Returns whether that succeeded.
    fn bless(&mut self) -> bool;
    /// Says why the trial is given up: here, and to the slot that runs next.
    fn leave_word(&mut self, why: &str);
    /// Asks the system's init to reboot in order.
    fn ask_for_reboot(&mut self);
    /// Reboots at once.
    fn reboot(&mut self);
}

/// Watches over a trial to its end. Returns when the slot is blessed, or the machine was told to reboot.
pub fn watch(health: Option<&Health>, system: &mut dyn System) {
    let holds = match health {
        Some(health) => becomes_healthy(health, system),
        None => stays_up(system),
    };
    if !holds {
        return give_up(system);
    }
    while !system.bless() {
        system.sleep(BLESS_AGAIN_AFTER);
    }
}

fn stays_up(system: &mut dyn System) -> bool {
    system.sleep(UP_FOR);
    while system.is_held() {
        system.sleep(LOOK_AGAIN);
    }
    true
}

/// Asks until health has held, or until its time is over.
fn becomes_healthy(health: &Health, system: &mut dyn System) -> bool {
    let policy = Policy { restart: Restart::Always, health: Some(HealthTimes::of(health)), trial: true };
    let mut supervision = Supervision::new(policy, system.now());
    supervision.started(system.now());
    loop {
        match supervision.next(system.now()) {
            Some(Act::Check) => {
                let healthy = system.is_healthy(health) && !system.is_held();
                supervision.checked(system.now(), healthy);
            }
            Some(Act::Bless) => return true,
            Some(Act::Reboot(_)) => return false,
            Some(_) => {}
            None => {
                let wake = supervision.wake_at().unwrap_or_else(|| system.now() + LOOK_AGAIN);
                system.sleep(wake.saturating_sub(system.now()));
            }
        }
    }
}

/// Has the machine reboot, in order where it can: that uses up a try.
fn give_up(system: &mut dyn System) {
    system.leave_word(NOT_HEALTHY);
    system.ask_for_reboot();
    system.sleep(END_PATIENCE);
    system.reboot();
}

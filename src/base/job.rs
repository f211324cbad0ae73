//! What long work is handed: workers, a place to report to, and a way to be stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::clock::Stopwatch;
use super::parallel::Workers;

pub use super::event::{Event, Reporter, Silent, Unit};

/// Says that the work was stopped from outside.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
#[error("interrupted")]
pub struct Cancelled;

/// Carries what long work needs from its caller. Cloning shares everything.
#[derive(Clone)]
pub struct Job {
    pub workers: Workers,
    reporter: Arc<dyn Reporter>,
    cancelled: Arc<AtomicBool>,
}

impl Job {
    /// Makes a job. Setting `cancelled` stops it at the next [`Job::check`].
    pub fn new(workers: Workers, reporter: Arc<dyn Reporter>, cancelled: Arc<AtomicBool>) -> Self {
        let reader = reporter.clone();
        workers.observe(move |threads| reader.report(Event::Working { threads }));
        Job { workers, reporter, cancelled }
    }

    /// Makes a job that reports to nobody; 0 workers means one a core.
    pub fn quiet(workers: usize) -> Self {
        Job::new(Workers::new(workers), Arc::new(Silent), Arc::default())
    }

    /// Fails when the work was stopped from outside. Cheap: call it once a file or a mebibyte.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Cancelled) } else { Ok(()) }
    }

    /// Passes an event on.
    pub fn report(&self, event: Event) {
        self.reporter.report(event);
    }

    pub fn note(&self, message: impl Into<String>) {
        self.report(Event::Note { message: message.into() });
    }

    pub fn warn(&self, message: impl Into<String>) {
        self.report(Event::Warning { message: message.into() });
    }

    /// Begins a step; it ends when the returned value is dropped.
    pub fn step(&self, name: impl Into<String>, total: Option<u64>, unit: Unit) -> Step {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (id, name) = (NEXT.fetch_add(1, Ordering::Relaxed), name.into());
        self.report(Event::Started { id, step: name.clone(), total, unit });
        Step {
            reporter: self.reporter.clone(),
            id,
            name,
            unit,
            done: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            cached: AtomicBool::new(false),
            started: Stopwatch::start(),
        }
    }

    /// Says that the result of a step was known before, so that nothing is done.
    pub fn cached(&self, name: impl Into<String>) {
        self.step(name, None, Unit::Items).cached();
    }
}

/// A step under way. Shared by reference among workers.
pub struct Step {
    reporter: Arc<dyn Reporter>,
    id: u64,
    name: String,
    unit: Unit,
    done: AtomicU64,
    reported: AtomicU64,
    cached: AtomicBool,
    started: Stopwatch,
}

/// A step reports at most this often, so that a million small files don't make a million events.
const REPORT_EVERY_MILLISECONDS: u64 = 50;

impl Step {
    /// Counts work that was done.
    pub fn advance(&self, amount: u64) {
        let done = self.done.fetch_add(amount, Ordering::Relaxed) + amount;
        let now = self.started.elapsed().as_millis() as u64 / REPORT_EVERY_MILLISECONDS;
        if now > self.reported.fetch_max(now, Ordering::Relaxed) {
            self.reporter.report(Event::Advanced { id: self.id, step: self.name.clone(), done });
        }
    }

    /// Marks that the result was known before.
    pub fn cached(&self) {
        self.cached.store(true, Ordering::Relaxed);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.reporter.report(Event::Finished {
            id: self.id,
            step: std::mem::take(&mut self.name),
            cached: self.cached.load(Ordering::Relaxed),
            done: self.done.load(Ordering::Relaxed),
            unit: self.unit,
            milliseconds: self.started.elapsed().as_millis() as u64,
        });
    }
}

//! What long work is handed: workers, a place to report to, and a way to be stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::clock::Stopwatch;
use super::parallel::Workers;

/// What happened. The progress bars, the plain lines, `--events` and `--trace` all read it. `id` numbers the steps
/// of the process: two steps of one name may run side by side.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A step began. `total` counts in `unit` and is absent where it isn't known yet.
    Started { id: u64, step: String, total: Option<u64>, unit: Unit },
    /// A step has done so much of its total.
    Advanced { id: u64, step: String, done: u64 },
    /// A step ended. `cached` says that its result was known before; `done` is what it did, in its unit.
    Finished { id: u64, step: String, cached: bool, done: u64, milliseconds: u64 },
    /// Something that a person may want to know.
    Note { message: String },
    /// Something that a person should look at, though the work goes on.
    Warning { message: String },
}

/// One line of the event stream: what happened, when, and on which worker.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Record {
    #[serde(flatten)]
    pub event: Event,
    /// Since the stream began.
    pub at_microseconds: u64,
    /// Which thread of the pool reported it; absent for any other thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<usize>,
}

impl Record {
    /// Notes an event that happens now, on the thread that asks.
    pub fn now(event: Event, since: &Stopwatch) -> Self {
        let at_microseconds = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        Record { event, at_microseconds, worker: super::parallel::current_worker() }
    }
}

/// What a step counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Bytes,
    Items,
}

/// Receives events, from any thread.
pub trait Reporter: Send + Sync {
    fn report(&self, event: Event);
}

/// Drops every event.
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _: Event) {}
}

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
    steps: Arc<AtomicU64>,
}

impl Job {
    /// Makes a job. Setting `cancelled` stops it at the next [`Job::check`].
    pub fn new(workers: Workers, reporter: Arc<dyn Reporter>, cancelled: Arc<AtomicBool>) -> Self {
        Job { workers, reporter, cancelled, steps: Arc::default() }
    }

    /// Makes a job that reports to nobody; 0 workers means one a core.
    pub fn quiet(workers: usize) -> Self {
        Job::new(Workers::new(workers), Arc::new(Silent), Arc::default())
    }

    /// Fails when the work was stopped from outside. Cheap: call it once a file or a mebibyte.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Cancelled) } else { Ok(()) }
    }

    pub fn note(&self, message: impl Into<String>) {
        self.reporter.report(Event::Note { message: message.into() });
    }

    pub fn warn(&self, message: impl Into<String>) {
        self.reporter.report(Event::Warning { message: message.into() });
    }

    /// Reports a step that need not be done, as its result was known before.
    pub fn known(&self, name: impl Into<String>) {
        self.step(name, None, Unit::Items).cached();
    }

    /// Begins a step; it ends when the returned value is dropped.
    pub fn step(&self, name: impl Into<String>, total: Option<u64>, unit: Unit) -> Step {
        let (name, id) = (name.into(), self.steps.fetch_add(1, Ordering::Relaxed) + 1);
        self.reporter.report(Event::Started { id, step: name.clone(), total, unit });
        Step {
            reporter: self.reporter.clone(),
            id,
            name,
            done: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            cached: AtomicBool::new(false),
            started: Stopwatch::start(),
        }
    }
}

/// A step under way. Shared by reference among workers.
pub struct Step {
    reporter: Arc<dyn Reporter>,
    id: u64,
    name: String,
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
            milliseconds: self.started.elapsed().as_millis() as u64,
        });
    }
}

//! The event stream: what long work says while it runs. Progress bars, plain lines, `--events` and every other
//! reader see the same lines.
//!
//! A line of `--events` is a [`Line`] as JSON. `recipes/events.schema.json`, which `mkimage events --schema`
//! prints, describes it; names and meanings in it stay, and [`SCHEMA`] is raised where one can't.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Version of the stream. Events and fields may be added under one version: readers pass over what they don't
/// know. Changing what is there is a format break and raises it.
pub const SCHEMA: u32 = 1;

/// One thing that happened.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first line of a stream.
    Begin {
        schema: u32,
        program: &'static str,
        program_version: &'static str,
        verb: String,
        process: u32,
        /// When it was, since 1970 UTC: the times of all lines count from here.
        unix_nanoseconds: u64,
        /// How many threads may work at once.
        workers: usize,
        /// Whether all but one of them need a token of make's jobserver.
        jobserver: bool,
    },
    /// A step began. `total` counts in `unit` and is absent where it isn't known yet. Several steps of one name
    /// may run at once: `id` tells them apart.
    Started { id: u64, step: String, total: Option<u64>, unit: Unit },
    /// A step has done so much of its total.
    Advanced { id: u64, step: String, done: u64 },
    /// A step ended, well or not, with so much done. `cached` says that its result was known before.
    Finished { id: u64, step: String, cached: bool, done: u64, unit: Unit, milliseconds: u64 },
    /// So many threads work from now on, the first of the process among them.
    Working { threads: usize },
    /// Something that a person may want to know.
    Note { message: String },
    /// Something that a person should look at, though the work goes on.
    Warning { message: String },
    /// What the verb answers, as `--json` prints it.
    Result { value: serde_json::Value },
    /// The verb failed.
    Error { kind: &'static str, message: String, causes: Vec<String>, hint: Option<String> },
    /// The last line of a stream whose process was not killed.
    End { exit_code: u8, milliseconds: u64 },
}

/// What a step counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Bytes,
    Items,
}

/// An event with when and where it happened.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Line {
    /// Since the first line. Never less than in the line before.
    pub at_microseconds: u64,
    /// The thread, see [`thread_number`].
    pub thread: u64,
    #[serde(flatten)]
    pub event: Event,
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

/// Returns the number of this thread: they are counted as they first ask, the main thread of a program that asks
/// at once being 0.
pub fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NUMBER: Cell<Option<u64>> = const { Cell::new(None) };
    }
    NUMBER.with(|number| {
        let known = number.get().unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed));
        number.set(Some(known));
        known
    })
}

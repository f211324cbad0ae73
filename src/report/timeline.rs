//! What the steps of a run were, when they ran and on which worker: noted from the event stream, written and read in
//! the Chrome trace format ("Trace Event Format": complete events, `"ph": "X"`, times in microseconds).
//!
//! ```text
//! { "displayTimeUnit": "ms", "traceEvents": [
//!   { "ph": "M", "name": "thread_name", "pid": 1, "tid": LANE, "args": { "name": "worker 1" } }, …
//!   { "ph": "X", "name": STEP, "cat": "step", "ts": START, "dur": LENGTH, "pid": 1, "tid": LANE,
//!     "args": { "cached": false, "done": 4096, "unit": "bytes" } }, … ] }
//! ```
//!
//! On one lane spans lie within each other or apart, as readers of the format want it. Where the spans of one thread
//! overlap otherwise, it has several lanes.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::error::{ReportError, Result};
use crate::base::event::{Line, Unit};
use crate::base::{CommitId, Digest, Event, StepKey};
use crate::store::{MEMO_BYTES_MAX, Store};

/// Most spans that a timeline keeps: what comes behind is counted.
pub const SPANS_MAX: usize = 100_000;
/// Longest file that is read as a timeline, in bytes.
pub const TIMELINE_BYTES_MAX: u64 = 256 << 20;

/// One step, from its start to its end. Times are microseconds since the process began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub name: String,
    pub start: u64,
    pub length: u64,
    /// The thread that began it; 0 is the main thread.
    pub thread: u64,
    /// Whether its result was known before.
    pub cached: bool,
    /// What it did, in its unit.
    pub done: u64,
    pub unit: Unit,
}

impl Span {
    /// Returns when it ended.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }
}

/// The steps of a run.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    spans: Vec<Span>,
    /// By the number of the step: those that have not ended.
    open: HashMap<u64, Span>,
    last: u64,
    left_out: u64,
}

impl Timeline {
    /// Notes an event.
    pub fn note(&mut self, line: &Line) {
        self.last = self.last.max(line.at_microseconds);
        match &line.event {
            Event::Started { .. } if self.spans.len() + self.open.len() >= SPANS_MAX => self.left_out += 1,
            Event::Started { id, step, unit, .. } => {
                let (start, thread) = (line.at_microseconds, line.thread);
                let (name, unit) = (step.clone(), *unit);
                self.open.insert(*id, Span { name, start, length: 0, thread, cached: false, done: 0, unit });
            }
            Event::Finished { id, cached, done, .. } => {
                if let Some(span) = self.open.remove(id) {
                    let length = line.at_microseconds.saturating_sub(span.start);
                    self.spans.push(Span { length, cached: *cached, done: *done, ..span });
                }
            }
            _ => {}
        }
    }

    /// Returns the spans by their start, longer ones first. Steps that have not ended end now.
    pub fn spans(&self) -> Vec<Span> {
        let open = self.open.values().map(|span| Span { length: self.last - span.start, ..span.clone() });
        let mut spans: Vec<Span> = self.spans.iter().cloned().chain(open).collect();
        spans.sort_by(|a, b| {
            let key = |span: &Span| (span.start, std::cmp::Reverse(span.length), span.thread);
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        spans
    }

    /// Returns how many steps were not kept.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Writes the Chrome trace format.
    pub fn to_trace(&self) -> Vec<u8> {
        let spans = self.spans();
        let lanes = Lanes::of(&spans);
        let mut events = Vec::with_capacity(spans.len() + lanes.names.len());
        for (lane, name) in lanes.names.iter().enumerate() {
            let args = json!({ "name": name });
            events.push(json!({ "ph": "M", "name": "thread_name", "pid": 1, "tid": lane, "args": args }));
            let args = json!({ "sort_index": lane });
            events
                .push(json!({ "ph": "M", "name": "thread_sort_index", "pid": 1, "tid": lane, "args": args }));
        }
        for (span, lane) in spans.iter().zip(&lanes.of_span) {
            events.push(json!({
                "ph": "X", "name": span.name, "cat": "step", "ts": span.start, "dur": span.length, "pid": 1,
                "tid": lane, "args": { "cached": span.cached, "done": span.done, "unit": span.unit },
            }));
        }
        let mut trace = json!({ "displayTimeUnit": "ms", "traceEvents": events });
        if self.left_out > 0 {
            trace["otherData"] = json!({ "steps left out": self.left_out });
        }
        let mut bytes = serde_json::to_vec(&trace).expect("because all keys are strings");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a file that `--trace` or `--events` wrote.
    pub fn parse(bytes: &[u8]) -> Result<Timeline> {
        let first = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
        match serde_json::from_slice::<Value>(first) {
            Ok(value) if value.get("event").is_some() => parse_events(bytes),
            _ => parse_trace(bytes),
        }
    }

    /// Notes in a store what making a commit took, where nothing is noted yet: a later run finds most of it done. A
    /// note may vanish at any time; what is too long for one is not noted.
    pub fn remember(&self, store: &Store, commit: &CommitId) -> Result<()> {
        let key = key(commit);
        let trace = self.to_trace();
        if trace.len() > MEMO_BYTES_MAX || store.memo_get(&key).is_some() {
            return Ok(());
        }
        Ok(store.memo_put(&key, &trace)?)
    }

    /// Returns what a store noted.
    pub fn remembered(store: &Store, commit: &CommitId) -> Option<Timeline> {
        Timeline::parse(&store.memo_get(&key(commit))?).ok()
    }

    fn push(&mut self, span: Span) {
        self.last = self.last.max(span.end());
        match self.spans.len() < SPANS_MAX {
            true => self.spans.push(span),
            false => self.left_out += 1,
        }
    }
}

/// Where a store notes the timeline of a commit. The context is part of the format.
fn key(commit: &CommitId) -> StepKey {
    StepKey(Digest::derive("mkimage 2026 timeline of a commit v1", commit.as_bytes()))
}

fn wrong(problem: impl Into<String>) -> ReportError {
    ReportError::Timeline { problem: problem.into() }
}

fn parse_trace(bytes: &[u8]) -> Result<Timeline> {
    let trace: Value = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    let events = trace.get("traceEvents").unwrap_or(&trace).as_array();
    let events = events.ok_or_else(|| wrong("it has neither \"traceEvents\" nor lines of events"))?;
    let mut threads = HashMap::new();
    for event in events.iter().filter(|event| event["name"] == "thread_name") {
        let name = event["args"]["name"].as_str().unwrap_or_default();
        let number = name.strip_prefix("worker ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        threads.insert(event["tid"].as_u64(), number);
    }
    let mut timeline = Timeline::default();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        timeline.push(Span {
            name: event["name"].as_str().unwrap_or_default().to_owned(),
            start: number(&event["ts"]),
            length: number(&event["dur"]),
            thread: threads.get(&event["tid"].as_u64()).copied().flatten().unwrap_or(0),
            cached: event["args"]["cached"] == true,
            done: number(&event["args"]["done"]),
            unit: unit(&event["args"]["unit"]),
        });
    }
    Ok(timeline)
}

fn parse_events(bytes: &[u8]) -> Result<Timeline> {
    let mut timeline = Timeline::default();
    let lines = bytes.split(|&byte| byte == b'\n').enumerate();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let event: Value =
            serde_json::from_slice(line).map_err(|error| wrong(format!("line {}: {error}", index + 1)))?;
        let (id, step) = (number(&event["id"]), event["step"].as_str().unwrap_or_default().to_owned());
        let noted = match event["event"].as_str() {
            Some("started") => Event::Started { id, step, total: None, unit: unit(&event["unit"]) },
            Some("finished") => {
                let (cached, done) = (event["cached"] == true, number(&event["done"]));
                Event::Finished { id, step, cached, done, unit: unit(&event["unit"]), milliseconds: 0 }
            }
            _ => continue,
        };
        let (at_microseconds, thread) = (number(&event["at_microseconds"]), number(&event["thread"]));
        timeline.note(&Line { at_microseconds, thread, event: noted });
    }
    Ok(timeline)
}

fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_f64().map(|number| number.max(0.0) as u64)).unwrap_or(0)
}

fn unit(value: &Value) -> Unit {
    if value == "bytes" { Unit::Bytes } else { Unit::Items }
}

/// Which lane each span lies on, so that on every lane spans lie within each other or apart.
pub struct Lanes {
    pub names: Vec<String>,
    /// By the position of the span.
    pub of_span: Vec<usize>,
    /// How many spans of its lane lie around a span.
    pub depths: Vec<usize>,
}

impl Lanes {
    /// Takes spans by their start, longer ones first.
    pub fn of(spans: &[Span]) -> Lanes {
        let mut placed = Vec::with_capacity(spans.len());
        // By thread, then by lane: the ends of the spans that are still open there.
        let mut threads: std::collections::BTreeMap<u64, Vec<Vec<u64>>> = Default::default();
        for span in spans {
            let lanes = threads.entry(span.thread).or_default();
            let fits = |ends: &mut Vec<u64>| {
                ends.retain(|end| *end > span.start);
                ends.last().is_none_or(|end| span.end() <= *end)
            };
            let lane = lanes.iter_mut().position(fits).unwrap_or_else(|| {
                lanes.push(Vec::new());
                lanes.len() - 1
            });
            placed.push((span.thread, lane, lanes[lane].len()));
            lanes[lane].push(span.end());
        }
        let mut numbers = HashMap::new();
        let mut names = Vec::new();
        for (thread, lanes) in &threads {
            for lane in 0..lanes.len() {
                let name = if *thread == 0 { "main".to_owned() } else { format!("worker {thread}") };
                numbers.insert((*thread, lane), names.len());
                names.push(if lane == 0 { name } else { format!("{name} ({})", lane + 1) });
            }
        }
        Lanes {
            names,
            of_span: placed.iter().map(|(thread, lane, _)| numbers[&(*thread, *lane)]).collect(),
            depths: placed.iter().map(|place| place.2).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at: u64, thread: u64, event: Event) -> Line {
        Line { at_microseconds: at, thread, event }
    }

    fn started(id: u64, step: &str) -> Event {
        Event::Started { id, step: step.to_owned(), total: None, unit: Unit::Bytes }
    }

    fn finished(id: u64, cached: bool) -> Event {
        Event::Finished { id, step: String::new(), cached, done: 7 * id, unit: Unit::Bytes, milliseconds: 0 }
    }

    fn sample() -> Timeline {
        let mut timeline = Timeline::default();
        for record in [
            record(10, 0, started(1, "all")),
            record(20, 2, started(2, "same name")),
            record(25, 1, started(3, "same name")),
            record(30, 2, started(4, "inner")),
            record(40, 2, finished(4, true)),
            record(50, 2, finished(2, false)),
            record(60, 1, finished(3, false)),
            record(70, 0, finished(1, false)),
        ] {
            timeline.note(&record);
        }
        timeline
    }

    #[test]
    fn a_trace_says_what_was_noted_and_reads_back() {
        let timeline = sample();
        let back = Timeline::parse(&timeline.to_trace()).expect("a trace");
        assert_eq!(back.spans(), timeline.spans());
        let inner = &timeline.spans()[3];
        assert_eq!((inner.name.as_str(), inner.length, inner.cached, inner.done), ("inner", 10, true, 28));
    }

    #[test]
    fn spans_of_a_lane_lie_within_each_other_or_apart() {
        let mut timeline = sample();
        // Overlaps "same name" of worker 1 without lying inside it.
        timeline.note(&record(45, 2, started(9, "astride")));
        timeline.note(&record(65, 2, finished(9, false)));
        let spans = timeline.spans();
        let lanes = Lanes::of(&spans);
        assert_eq!(lanes.names, ["main", "worker 1", "worker 2", "worker 2 (2)"]);
        for (index, one) in spans.iter().enumerate() {
            for (other_index, other) in spans.iter().enumerate().skip(index + 1) {
                let apart = other.start >= one.end() || one.start >= other.end();
                let inside = one.start <= other.start && other.end() <= one.end();
                let same = lanes.of_span[index] == lanes.of_span[other_index];
                assert!(!same || apart || inside, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn lines_of_events_are_a_timeline_too() {
        let mut lines = Vec::new();
        for line in [record(10, 0, started(1, "a")), record(30, 3, finished(1, false))] {
            lines.extend(serde_json::to_vec(&line).expect("JSON"));
            lines.push(b'\n');
        }
        let spans = Timeline::parse(&lines).expect("events").spans();
        assert_eq!((spans[0].name.as_str(), spans[0].start, spans[0].length), ("a", 10, 20));
        for wrong in [&b"{"[..], b"", b"[1", b"{\"event\":\"x\"}\nno\n", b"7"] {
            assert!(Timeline::parse(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn a_step_that_never_ended_ends_with_the_run() {
        let mut timeline = Timeline::default();
        timeline.note(&record(5, 0, started(1, "stopped")));
        timeline.note(&record(9, 0, Event::Note { message: "x".into() }));
        assert_eq!(timeline.spans()[0].length, 4);
    }
}

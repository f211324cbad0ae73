//! Readers of the event stream: bars on a terminal, plain lines elsewhere, JSON lines and a timeline on request. All
//! of them see the same lines; a further reader is one more in the list of [`Progress::new`].

use std::collections::HashMap;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::Global;
use super::printer::Printer;
use crate::base::event::{Line, Unit, thread_number};
use crate::base::{Event, Reporter, Stopwatch};
use crate::report::Timeline;

/// Work that is done sooner than this shows no bar: a screen that flickers tells nobody anything.
const QUIET_START: Duration = Duration::from_millis(250);
/// Steps that took at least this long get a line where there is no terminal.
const LINE_WORTH: u64 = 1000;

/// Reads the lines of the event stream, one after the other, from any thread.
pub trait Reader: Send + Sync {
    fn read(&self, line: &Line);
}

/// Stamps each event and passes it to all readers, so that they see the same lines in the same order.
pub struct Progress {
    readers: Vec<Box<dyn Reader>>,
    /// Since when, from the first line on; also what keeps lines in order.
    started: Mutex<Option<Stopwatch>>,
}

impl Progress {
    /// Makes the readers that the command line asks for, and one that notes the steps in a timeline. Fails where the
    /// event file can't be written.
    pub fn new(global: &Global, printer: &Printer, timeline: &SharedTimeline) -> std::io::Result<Arc<Self>> {
        let person: Box<dyn Reader> = match () {
            () if printer.is_quiet() || printer.wants_json() => Box::new(Warnings(printer.clone())),
            () if std::io::stderr().is_terminal() => Box::new(Bars::new()),
            () => Box::new(Lines(printer.clone())),
        };
        let mut readers = vec![person, Box::new(Steps(timeline.clone()))];
        if let Some(place) = &global.events {
            readers.push(Box::new(JsonLines(Mutex::new(event_file(place)?))));
        }
        Ok(Arc::new(Progress { readers, started: Mutex::default() }))
    }
}

impl Reporter for Progress {
    fn report(&self, event: Event) {
        let Ok(mut started) = self.started.lock() else { return };
        let since = started.map_or_else(Default::default, |started| started.elapsed());
        started.get_or_insert_with(Stopwatch::start);
        let at_microseconds = since.as_micros() as u64;
        let line = Line { at_microseconds, thread: thread_number(), event };
        self.readers.iter().for_each(|reader| reader.read(&line));
    }
}

/// Opens a file for events, or a descriptor by its number.
fn event_file(place: &str) -> std::io::Result<File> {
    match place.bytes().all(|byte| byte.is_ascii_digit()) {
        // Appending, because opening a descriptor's file anew begins at its start: what stands there stays.
        true => std::fs::OpenOptions::new().append(true).open(format!("/proc/self/fd/{place}")),
        false => File::create(place),
    }
}

/// The event stream as JSON, a line an event. Nobody to read it is no reason to stop.
struct JsonLines(Mutex<File>);

impl Reader for JsonLines {
    fn read(&self, line: &Line) {
        if let (Ok(mut file), Ok(mut text)) = (self.0.lock(), serde_json::to_vec(line)) {
            text.push(b'\n');
            let _ = file.write_all(&text);
        }
    }
}

/// The timeline of this process, which its readers share.
pub type SharedTimeline = Arc<Mutex<Timeline>>;

/// The steps, for pictures of where the time went.
struct Steps(SharedTimeline);

impl Reader for Steps {
    fn read(&self, line: &Line) {
        if let Ok(mut timeline) = self.0.lock() {
            timeline.note(line);
        }
    }
}

/// What is said also with `--quiet` and `--json`.
struct Warnings(Printer);

impl Reader for Warnings {
    fn read(&self, line: &Line) {
        if let Event::Warning { message } = &line.event {
            self.0.warn(message);
        }
    }
}

/// One line a step that took a while.
struct Lines(Printer);

impl Reader for Lines {
    fn read(&self, line: &Line) {
        match &line.event {
            Event::Note { message } => self.0.say(message),
            Event::Warning { message } => self.0.warn(message),
            Event::Finished { step, cached: false, milliseconds, .. } if *milliseconds >= LINE_WORTH => {
                self.0.say(&format!("{step}: {:.1} s", *milliseconds as f64 / 1000.0));
            }
            _ => {}
        }
    }
}

/// Bars on a terminal.
struct Bars {
    all: MultiProgress,
    bars: Mutex<HashMap<u64, ProgressBar>>,
    started: Stopwatch,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        Bars { all, bars: Mutex::default(), started: Stopwatch::start() }
    }

    fn bar(total: Option<u64>, unit: Unit) -> ProgressBar {
        let template = match (total, unit) {
            (Some(_), Unit::Bytes) => {
                "{msg:32!} {bar:24} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}"
            }
            (Some(_), Unit::Items) => "{msg:32!} {bar:24} {human_pos}/{human_len}",
            (None, Unit::Bytes) => "{msg:32!} {spinner} {binary_bytes}",
            (None, Unit::Items) => "{msg:32!} {spinner}",
        };
        let style = ProgressStyle::with_template(template).expect("because the templates are constant");
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        bar.with_style(style)
    }

    fn print(&self, line: &str) {
        let _ = self.all.println(line);
    }
}

impl Reader for Bars {
    fn read(&self, line: &Line) {
        let Ok(mut bars) = self.bars.lock() else { return };
        match &line.event {
            Event::Started { id, total, unit, .. } => {
                bars.insert(*id, Self::bar(*total, *unit));
            }
            Event::Advanced { id, step, done } => {
                if let Some(bar) = bars.get_mut(id) {
                    if self.started.elapsed() >= QUIET_START && bar.is_hidden() | (bar.message().is_empty()) {
                        *bar = self.all.add(bar.clone());
                        bar.set_message(step.clone());
                    }
                    bar.set_position(*done);
                }
            }
            Event::Finished { id, .. } => {
                if let Some(bar) = bars.remove(id) {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
            }
            Event::Note { message } => self.print(message),
            Event::Warning { message } => self.print(&format!("warning: {message}")),
            _ => {}
        }
    }
}

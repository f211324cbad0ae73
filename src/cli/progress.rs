//! Readers of the event stream: bars on a terminal, plain lines elsewhere, JSON lines and a timeline on request.

use std::collections::HashMap;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::Global;
use super::printer::Printer;
use crate::base::job::{Record, Unit};
use crate::base::publish::publish_bytes;
use crate::base::{Event, FileError, Reporter, Stopwatch};
use crate::report::Timeline;

/// Work that is done sooner than this shows no bar: a screen that flickers tells nobody anything.
const QUIET_START: Duration = Duration::from_millis(250);
/// Steps that took at least this long get a line where there is no terminal.
const LINE_WORTH: u64 = 1000;

/// Passes each event to the person's reader, to the event file and to the timeline.
pub struct Progress {
    person: Option<Box<dyn Reporter>>,
    file: Option<Mutex<File>>,
    trace: Option<PathBuf>,
    timeline: Mutex<Timeline>,
    started: Stopwatch,
    printer: Printer,
}

impl Progress {
    /// Makes the readers that the command line asks for. Fails where the event file can't be written.
    pub fn new(global: &Global, printer: &Printer) -> std::io::Result<Arc<Self>> {
        let person: Option<Box<dyn Reporter>> = match () {
            () if printer.is_quiet() || printer.wants_json() => None,
            () if std::io::stderr().is_terminal() => Some(Box::new(Bars::new())),
            () => Some(Box::new(Lines { printer: printer.clone() })),
        };
        let file = match &global.events {
            None => None,
            // Appending, because opening a descriptor's file anew begins at its start: what stands there stays.
            Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(std::fs::OpenOptions::new().append(true).open(format!("/proc/self/fd/{number}"))?)
            }
            Some(path) => Some(File::create(path)?),
        };
        Ok(Arc::new(Progress {
            person,
            file: file.map(Mutex::new),
            trace: global.trace.clone(),
            timeline: Mutex::default(),
            started: Stopwatch::start(),
            printer: printer.clone(),
        }))
    }

    /// Returns the timeline up to now.
    pub fn timeline(&self) -> Timeline {
        self.timeline.lock().map(|timeline| timeline.clone()).unwrap_or_default()
    }

    /// Writes the timeline where the command line wants it.
    pub fn finish(&self) -> Result<(), FileError> {
        match &self.trace {
            Some(path) => publish_bytes(path, &self.timeline().to_trace()),
            None => Ok(()),
        }
    }
}

impl Reporter for Progress {
    fn report(&self, event: Event) {
        let record = Record::now(event, &self.started);
        if let Some(file) = &self.file
            && let Ok(mut file) = file.lock()
            && let Ok(mut line) = serde_json::to_vec(&record)
        {
            line.push(b'\n');
            let _ = file.write_all(&line);
        }
        if let Ok(mut timeline) = self.timeline.lock() {
            timeline.note(&record);
        }
        match (&self.person, record.event) {
            (Some(person), event) => person.report(event),
            (None, Event::Warning { message }) => self.printer.warn(&message),
            (None, _) => {}
        }
    }
}

/// One line a step that took a while.
struct Lines {
    printer: Printer,
}

impl Reporter for Lines {
    fn report(&self, event: Event) {
        match event {
            Event::Note { message } => self.printer.say(&message),
            Event::Warning { message } => self.printer.warn(&message),
            Event::Finished { step, cached: false, milliseconds, .. } if milliseconds >= LINE_WORTH => {
                self.printer.say(&format!("{step}: {:.1} s", milliseconds as f64 / 1000.0));
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

impl Reporter for Bars {
    fn report(&self, event: Event) {
        let Ok(mut bars) = self.bars.lock() else { return };
        match event {
            Event::Started { id, total, unit, .. } => {
                bars.insert(id, Self::bar(total, unit));
            }
            Event::Advanced { id, step, done } => {
                if let Some(bar) = bars.get_mut(&id) {
                    if self.started.elapsed() >= QUIET_START && bar.is_hidden() | (bar.message().is_empty()) {
                        *bar = self.all.add(bar.clone());
                        bar.set_message(step);
                    }
                    bar.set_position(done);
                }
            }
            Event::Finished { id, .. } => {
                if let Some(bar) = bars.remove(&id) {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
            }
            Event::Note { message } => self.print(&message),
            Event::Warning { message } => self.print(&format!("warning: {message}")),
        }
    }
}

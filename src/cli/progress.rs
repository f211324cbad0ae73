//! Readers of the event stream: bars on a terminal, plain lines elsewhere, JSON lines on request.

use std::collections::HashMap;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::Global;
use super::printer::Printer;
use crate::base::job::Unit;
use crate::base::{Event, Reporter, Stopwatch};

/// Work that is done sooner than this shows no bar: a screen that flickers tells nobody anything.
const QUIET_START: Duration = Duration::from_millis(250);
/// Steps that took at least this long get a line where there is no terminal.
const LINE_WORTH: u64 = 1000;

/// Passes each event to the person's reader and to the event file.
pub struct Progress {
    person: Option<Box<dyn Reporter>>,
    file: Option<Mutex<File>>,
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
        Ok(Arc::new(Progress { person, file: file.map(Mutex::new), printer: printer.clone() }))
    }
}

impl Reporter for Progress {
    fn report(&self, event: Event) {
        if let Some(file) = &self.file
            && let Ok(mut file) = file.lock()
            && let Ok(mut line) = serde_json::to_vec(&event)
        {
            line.push(b'\n');
            let _ = file.write_all(&line);
        }
        match (&self.person, event) {
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
            Event::Finished { step, cached: false, milliseconds } if milliseconds >= LINE_WORTH => {
                self.printer.say(&format!("{step}: {:.1} s", milliseconds as f64 / 1000.0));
            }
            _ => {}
        }
    }
}

/// Bars on a terminal.
struct Bars {
    all: MultiProgress,
    bars: Mutex<HashMap<String, ProgressBar>>,
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
            Event::Started { step, total, unit } => {
                bars.insert(step, Self::bar(total, unit));
            }
            Event::Advanced { step, done } => {
                if let Some(bar) = bars.get_mut(&step) {
                    if self.started.elapsed() >= QUIET_START && bar.is_hidden() | (bar.message().is_empty()) {
                        *bar = self.all.add(bar.clone());
                        bar.set_message(step);
                    }
                    bar.set_position(done);
                }
            }
            Event::Finished { step, .. } => {
                if let Some(bar) = bars.remove(&step) {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
            }
            Event::Note { message } => self.print(&message),
            Event::Warning { message } => self.print(&format!("warning: {message}")),
        }
    }
}

//! The only room that talks to people: arguments in, results and messages out, an exit code at the end.
//!
//! In: the command line and a few environment variables (the store, the mirror, the worker count,
//! `SOURCE_DATE_EPOCH`, make's `MAKEFLAGS`). Out: data on standard output, talk on standard error, an exit code by kind.
//!
//! Always true
//! - Data goes to standard output and nothing else does; `--json` gives every query a machine's form.
//! - An error says what was being done, to what, and what to do next; its kind is the exit code.
//! - Ctrl-C sets a flag that work looks at; what was half done is removed on the way out.
//!
//! Not here: work. A verb translates arguments, calls the pipeline or a room, and prints.
//!
//! Read first: [`args`], [`commands`], `failure.rs`.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod confined;
mod failure;
mod image_failure;
mod printer;
mod progress;
mod remote_failure;
mod slots_failure;
mod text;
mod view_failure;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{CommandFactory, FromArgMatches};

use crate::base::clock::unix_nanoseconds;
use crate::base::event::{self, Event, Reporter};
use crate::base::jobserver::Jobserver;
use crate::base::parallel::Workers;
use crate::base::publish::publish_bytes;
use crate::base::{Job, Stopwatch};
use crate::report::Timeline;
use failure::{Failure, Kind};
use printer::Printer;

/// What every verb gets: choices, printer, job.
struct Context {
    global: args::Global,
    printer: Printer,
    job: Job,
    timeline: progress::SharedTimeline,
}

/// Runs the command line of this process and returns its exit code.
pub fn main() -> ExitCode {
    // Before anything that starts a thread: the stage leaves this machine's namespaces.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == crate::sandbox::STAGE_VERB) {
        return crate::sandbox::stage();
    }
    if std::env::args_os().nth(1).is_some_and(|verb| verb == crate::confine::CHILD_VERB) {
        return confined::child();
    }
    let parsed = args::Cli::command().try_get_matches().and_then(|matches| {
        let verb = matches.subcommand_name().unwrap_or_default().to_owned();
        Ok((args::Cli::from_arg_matches(&matches)?, verb))
    });
    let (cli, verb) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    let printer = Printer::new(&cli.global);
    let done = context(cli.global, &printer, verb).and_then(|context| {
        let started = Stopwatch::start();
        let done = commands::run(&context, cli.command);
        // What failed then was stopped, wherever it was just then.
        let done = done.map_err(|failure| {
            context.job.check().map_or_else(|stop| Failure::of(Kind::Interrupted, &stop), |()| failure)
        });
        context.end(&done, started);
        let traced = context.trace();
        done.and_then(|code| traced.map(|()| code))
    });
    match done {
        Ok(code) => code,
        Err(failure) => {
            printer.error(&failure);
            ExitCode::from(failure.kind.exit_code())
        }
    }
}

/// Prints what is wrong with the command line, or the help that was asked for.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let message = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        Printer::json().error(&Failure::new(Kind::Usage, message));
    } else {
        let _ = error.print();
    }
    ExitCode::from(if error.use_stderr() { Kind::Usage.exit_code() } else { 0 })
}

fn context(global: args::Global, printer: &Printer, verb: String) -> Result<Context, Failure> {
    // First of all: a descriptor that make has closed would be a file of ours later.
    let jobserver = Jobserver::of(&std::env::var("MAKEFLAGS").unwrap_or_default());
    let tokens = match &jobserver {
        Jobserver::Open(tokens) => Some(tokens.clone()),
        _ => None,
    };
    let cancelled = Arc::new(AtomicBool::new(false));
    let flag = cancelled.clone();
    let held = tokens.clone();
    // A second Ctrl-C does not wait for the work to notice the first.
    let on_signal = move || {
        if flag.swap(true, Ordering::Relaxed) {
            held.iter().for_each(|tokens| tokens.close());
            std::process::exit(i32::from(Kind::Interrupted.exit_code()));
        }
    };
    ctrlc::set_handler(on_signal).map_err(|error| Failure::of(Kind::Failed, &error))?;
    let timeline = progress::SharedTimeline::default();
    let progress = progress::Progress::new(&global, printer, &timeline).map_err(|error| {
        let file = global.events.clone().unwrap_or_default();
        let place = match file.bytes().all(|byte| byte.is_ascii_digit()) {
            true => format!("file descriptor {file}"),
            false => file,
        };
        Failure::new(Kind::Failed, format!("cannot write events to {place}: {error}"))
    })?;
    let count = match (&jobserver, global.jobs) {
        (_, Some(jobs)) => jobs.into(),
        (Jobserver::Shut, None) => 1,
        (_, None) => 0,
    };
    let jobserver = tokens.is_some();
    let workers = match tokens {
        Some(tokens) => Workers::sharing(count, tokens),
        None => Workers::new(count),
    };
    progress.report(Event::Begin {
        schema: event::SCHEMA,
        program: env!("CARGO_PKG_NAME"),
        program_version: env!("CARGO_PKG_VERSION"),
        verb,
        process: std::process::id(),
        unix_nanoseconds: unix_nanoseconds(),
        workers: workers.count(),
        jobserver,
    });
    Ok(Context { printer: printer.clone(), job: Job::new(workers, progress, cancelled), timeline, global })
}

impl Context {
    /// Prints a result and passes it on to who reads the events.
    fn result(&self, value: &impl serde::Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let value = serde_json::to_value(value).expect("because our results have string keys only");
        self.job.report(Event::Result { value: value.clone() });
        self.printer.data(&value, text)
    }

    /// Says what was done to a person; the same as a value to who asked for JSON or reads the events.
    fn told(&self, value: &serde_json::Value, text: &str) -> Result<(), Failure> {
        if self.printer.wants_json() {
            return self.result(value, String::new);
        }
        self.job.report(Event::Result { value: value.clone() });
        self.printer.say(text);
        Ok(())
    }

    /// Returns the timeline up to now.
    fn timeline(&self) -> Timeline {
        self.timeline.lock().map(|timeline| timeline.clone()).unwrap_or_default()
    }

    /// Writes the timeline where the command line wants it.
    fn trace(&self) -> Result<(), Failure> {
        match &self.global.trace {
            Some(path) => Ok(publish_bytes(path, &self.timeline().to_trace())?),
            None => Ok(()),
        }
    }

    /// Writes the end of the event stream.
    fn end(&self, done: &Result<ExitCode, Failure>, started: Stopwatch) {
        let exit_code = match done {
            Ok(code) => (0..=u8::MAX).find(|number| ExitCode::from(*number) == *code).unwrap_or_default(),
            Err(failure) => {
                let Failure { kind, message, causes, hint, .. } = failure;
                let (message, causes, hint) = (message.clone(), causes.clone(), hint.clone());
                self.job.report(Event::Error { kind: kind.name(), message, causes, hint });
                kind.exit_code()
            }
        };
        let milliseconds = started.elapsed().as_millis() as u64;
        self.job.report(Event::End { exit_code, milliseconds });
    }
}

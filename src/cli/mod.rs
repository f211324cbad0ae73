//! The only room that talks to people: arguments in, results and messages out, an exit code at the end.
//!
//! In: the command line and a few environment variables (the store, the mirror, the worker count,
//! `SOURCE_DATE_EPOCH`). Out: data on standard output, talk on standard error, an exit code by kind.
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
mod failure;
mod image_failure;
mod printer;
mod progress;
mod remote_failure;
mod text;
mod view_failure;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;

use crate::base::Job;
use crate::base::parallel::Workers;
use failure::{Failure, Kind};
use printer::Printer;

/// What every verb gets: choices, printer, job.
struct Context {
    global: args::Global,
    printer: Printer,
    job: Job,
}

/// Runs the command line of this process and returns its exit code.
pub fn main() -> ExitCode {
    // Before anything that starts a thread: the stage leaves this machine's namespaces.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == crate::sandbox::STAGE_VERB) {
        return crate::sandbox::stage();
    }
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let printer = Printer::new(&cli.global);
    let done = context(cli.global, &printer).and_then(|context| {
        let done = commands::run(&context, cli.command);
        // What failed then was stopped, wherever it was just then.
        done.map_err(|failure| {
            context.job.check().map_or_else(|stop| Failure::of(Kind::Interrupted, &stop), |()| failure)
        })
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

fn context(global: args::Global, printer: &Printer) -> Result<Context, Failure> {
    let cancelled = Arc::new(AtomicBool::new(false));
    let flag = cancelled.clone();
    // A second Ctrl-C does not wait for the work to notice the first.
    let on_signal = move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(Kind::Interrupted.exit_code()));
        }
    };
    ctrlc::set_handler(on_signal).map_err(|error| Failure::of(Kind::Failed, &error))?;
    let progress = progress::Progress::new(&global, printer).map_err(|error| {
        let file = global.events.clone().unwrap_or_default();
        let place = match file.bytes().all(|byte| byte.is_ascii_digit()) {
            true => format!("file descriptor {file}"),
            false => file,
        };
        Failure::new(Kind::Failed, format!("cannot write events to {place}: {error}"))
    })?;
    let workers = Workers::new(global.jobs.map_or(0, usize::from));
    Ok(Context { printer: printer.clone(), job: Job::new(workers, progress, cancelled), global })
}

//! `mkimage-agent`: updates the machine that it runs on.
//!
//! ```text
//! mkimage-agent run [--reboot exit|systemd]     stays, looks at the site, updates
//! mkimage-agent upgrade [--check]               does it now, whatever rings and earlier failures say
//! mkimage-agent status | history | rollback | reboot
//!
//!   --json            the answer for programs
//!   --settings FILE   --keys FILE   --disk FILE   --running slot-a|slot-b   --state FOLDER   --socket FILE
//! ```
//!
//! Words go to the agent that runs, where one does; without one, root does the work in this process, but for the
//! reboot. Exit codes:
//! 0 done, 1 it failed, 2 the words make no sense, 75 (`run`) the machine is to be rebooted.
#![forbid(unsafe_code)]

mod words;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use mkimage::agent::{
    AgentError, Answered, Place, REBOOT_STATUS, Settings, Updater, Word, ask_agent, confine, obey, serve,
};
use mkimage::base::job::{Event, Reporter};
use mkimage::base::parallel::Workers;
use mkimage::base::{Job, whole};

use words::{Arguments, Verb};

/// More threads cost memory, and the disk is the bound.
const WORKERS_MAX: usize = 4;

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            say(&problem);
            return ExitCode::from(2);
        }
    };
    let done = match arguments.verb {
        Verb::Help => {
            print(words::USAGE);
            return ExitCode::SUCCESS;
        }
        Verb::Run => run(&arguments),
        Verb::Say(word) => tell(&arguments, word),
    };
    done.unwrap_or_else(|error| {
        say(&whole(&error));
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode, AgentError> {
    let settings = Settings::read(&arguments.settings)?;
    let place = place(arguments, &settings)?;
    let lacking = give_up_rights(arguments, &settings, &place)?;
    let job = job();
    lacking.iter().for_each(|lacking| job.note(lacking));
    let mut updater = Updater::new(settings, &arguments.keys, place, job.clone())?;
    serve(&mut updater, &arguments.socket, &job)?;
    if arguments.reboots_by_systemd {
        // systemd(1): SIGINT starts ctrl-alt-del.target, which is reboot.target.
        let asked = rustix::process::kill_process(rustix::process::Pid::INIT, rustix::process::Signal::INT);
        asked.map_err(|error| AgentError::NotAnImage {
            problem: format!("systemd does not listen: {error}"),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(REBOOT_STATUS))
}

/// Gives up what the agent that stays has no use for. Comes before the first thread, which would keep it.
fn give_up_rights(
    arguments: &Arguments,
    settings: &Settings,
    place: &Place,
) -> Result<Option<String>, AgentError> {
    place.prepare()?;
    if let Some(folder) = arguments.socket.parent() {
        mkimage::base::fs::create_directories(folder)?;
    }
    let mut reach = place.reach(settings, &arguments.socket, &[&arguments.keys]);
    reach.signals = arguments.reboots_by_systemd;
    confine(&reach)
}

fn tell(arguments: &Arguments, word: Word) -> Result<ExitCode, AgentError> {
    let answered: Answered = match ask_agent(&arguments.socket, word) {
        Err(AgentError::NoAgent { .. }) if !arguments.socket.exists() && word != Word::Reboot => {
            let mut updater = updater(arguments, &job())?;
            updater.reconcile()?;
            Ok(obey(&mut updater, word)?)
        }
        answered => answered?,
    };
    match answered {
        Ok(value) => {
            let text =
                if arguments.json { value.to_string() + "\n" } else { words::for_people(word, &value) };
            print(&text);
            Ok(ExitCode::SUCCESS)
        }
        Err(problem) => {
            say(&problem);
            Ok(ExitCode::FAILURE)
        }
    }
}

fn updater(arguments: &Arguments, job: &Job) -> Result<Updater, AgentError> {
    let settings = Settings::read(&arguments.settings)?;
    let place = place(arguments, &settings)?;
    Updater::new(settings, &arguments.keys, place, job.clone())
}

fn place(arguments: &Arguments, settings: &Settings) -> Result<Place, AgentError> {
    let place = match &arguments.disk {
        Some(disk) => Place {
            disk: disk.clone(),
            running: arguments.running,
            state: settings.state_folder(),
            data: settings.data_path.clone().into(),
        },
        None => Place::find(settings)?,
    };
    let state = arguments.state.clone().unwrap_or_else(|| place.state.clone());
    Ok(Place { state, ..place })
}

fn job() -> Job {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Job::new(Workers::new(cores.min(WORKERS_MAX)), Arc::new(Voice), Arc::default())
}

/// Tells notes and warnings on standard error: the console, or systemd's journal.
struct Voice;

impl Reporter for Voice {
    fn report(&self, event: Event) {
        match event {
            Event::Note { message } | Event::Warning { message } => say(&message),
            _ => {}
        }
    }
}

/// Writes one line in one piece. A console that is gone is no reason to stop.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("mkimage-agent: {text}\n").as_bytes());
}

fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

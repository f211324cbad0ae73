//! PID 1 of images: the first program that the kernel starts, from the initrd.
//!
//! It mounts what every machine needs, loads the initrd's modules, finds the slot whose verity tree has the
//! root hash of the kernel command line, mounts it verified and read-only, mounts the data partition (grown
//! to the end of its disk, filled with what the image holds there), and enters the root. There it becomes the image's own init, or runs the app as
//! its own user and looks after it to the end.
//!
//! In: `/service.json` and `/modules` of the initrd, the kernel's command line, the loader's variables,
//! credentials of the hypervisor, metadata of a cloud where the recipe names one. Out: a running app; `mkimage: …` lines on the console; at most two things
//! on the disk outside of the data partition: the grown partition table, and the one sector that blesses a
//! slot, or steps aside for the other one.
//!
//! Always true
//! - One thread. What reads the network, a foreign disk or the app's output is a process of its own with few
//!   rights.
//! - No value of a variable or credential is in a message, or on the disk.
//! - A failure before the app runs, and a panic at any time, reboots: that counts a try of a slot on trial. A confirmed
//!   slot is not counted. Where its root can't be found or mounted, another confirmed slot boots next; a panic leads
//!   to the same slot again.
//! - What the system calls see is in `sys` where it is unsafe; what is decided is in `logic`, without a
//!   system call, and tested off the machine.
//!
//! Signals: SIGTERM, SIGPWR, SIGUSR2 and the power button power off; SIGINT (Ctrl-Alt-Del) and SIGUSR1
//! reboot. A whole system's init has its own rules.
//!
//! Read first: this file, `supervisor`, `logic::policy`.
#![deny(unsafe_code)]

mod agent;
mod app;
mod bless;
mod button;
mod collector;
mod confine;
mod courier;
mod credentials;
mod data;
mod disks;
mod error;
mod facts;
mod inquiry;
mod loader;
mod logic;
mod machine_id;
mod metadata;
mod modules;
mod mounts;
mod network;
mod report;
mod root;
mod seed;
mod supervisor;
mod sys;
mod vigil;
mod watchdog;
mod web;
mod word;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use mkimage::boot::command_line::{self, CommandLine};
use mkimage::boot::service::{App, SERVICE_PATH, Service};
use rustix::system::{RebootCommand, reboot};

use crate::app::Runner;
use crate::courier::Courier;
use crate::disks::Partition;
use crate::error::{Doing, Error, Result, chain};
use crate::facts::{Given, Told};
use crate::loader::Loader;
use crate::logic::ending::Ending;
use crate::logic::names::capability_set;
use crate::logic::nocloud;
use crate::logic::syslog::Identity;
use crate::report::{now, say, seconds};
use crate::supervisor::Machine;
use crate::watchdog::Watchdog;

/// How long the app waits for the network; it starts without one after that.
const NETWORK_PATIENCE: Duration = Duration::from_secs(3);
/// How long a message of defeat stays on the console.
const DEFEAT_DELAY: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    if std::process::id() != 1 {
        say!("this is PID 1 of an image; it does nothing anywhere else");
        return ExitCode::from(2);
    }
    let ending = boot().unwrap_or_else(|error| {
        say!("cannot boot: {}", chain(&error));
        std::thread::sleep(DEFEAT_DELAY);
        Ending::Reboot
    });
    end(ending)
}

/// Tells the story from the kernel's start to the machine's end. A whole system's init does not come back.
fn boot() -> Result<Ending> {
    mounts::first()?;
    mounts::open_console()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    say!("up after {}", seconds(now()));
    let service = read_service()?;
    let line = fs::read_to_string("/proc/cmdline").doing("read", "/proc/cmdline")?;
    let command_line = command_line::parse(&line)?;

    modules::load();
    mounts::firmware_variables();
    let loader = Loader::read();
    // A whole system's init has its own watchdog policy.
    let watchdog = if service.init.is_none() { Watchdog::arm(service.watchdog_seconds) } else { None };
    let slot = root::mount(&command_line.verity, command_line.wait_seconds, &loader);
    let slot = slot.inspect_err(|_| loader.step_aside())?;
    say!("root {} verified and mounted after {}", slot.name, seconds(now()));
    let _ = fs::remove_file(initrd_path());
    mounts::enter_new_root()?;

    match service.init.clone() {
        Some(init) => match become_init(&service, command_line, &slot, &loader, &init)? {},
        None => run_app(service, command_line, &slot, &loader, watchdog),
    }
}

fn read_service() -> Result<Service> {
    let path = initrd_path();
    let bytes = fs::read(&path).doing("read", &path)?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Service { path: SERVICE_PATH, source })
}

fn initrd_path() -> String {
    format!("/{SERVICE_PATH}")
}

fn become_init(
    service: &Service,
    command_line: CommandLine,
    slot: &Partition,
    loader: &Loader,
    init: &str,
) -> Result<Infallible> {
    mounts::for_systems();
    let root_hash = command_line.verity.root_hash_hex();
    if let Err(error) = Told::read(command_line).write_environment_file() {
        say!("{}", chain(&error));
    }
    let has_data = data::mount(slot, &service.data_path);
    if has_data {
        machine_id::give(&service.data_path);
    }
    bless::watch_over_system(loader.trial(slot), service, has_data.then_some(root_hash.as_str()))?;
    say!("starting {init} after {}", seconds(now()));
    Err(Command::new(init).exec()).doing("execute", init)
}

fn run_app(
    service: Service,
    command_line: CommandLine,
    slot: &Partition,
    loader: &Loader,
    mut watchdog: Option<Watchdog>,
) -> Result<Ending> {
    let app = service.app.clone().ok_or(Error::NothingToRun)?;
    let capabilities = capability_set(&app.capabilities)
        .map_err(|name| std::io::Error::other(format!("{name} is no capability")))
        .doing("grant the capabilities of", &app.name)?;
    mounts::for_apps();
    let _ = reboot(RebootCommand::CadOff);
    rustix::system::sethostname(service.name.as_bytes()).doing("set the host name", &service.name)?;
    network::bring_up_loopback();
    let (network, lease) = network::start(&service.name)?;
    let root_hash = command_line.verity.root_hash_hex();
    let told = Told::read(command_line);
    let search = match &app.configuration {
        Some(configuration) => metadata::search(configuration, told.metadata_service().as_ref(), &slot.disk)?,
        None => None,
    };
    let has_data = data::mount(slot, &service.data_path);
    let state_directory = format!("{}/{}", service.data_path.trim_end_matches('/'), app.name);
    if has_data {
        machine_id::give(&service.data_path);
        data::make_state_directory(&state_directory, app.uid, app.gid);
    }
    app::own_console(app.uid, app.gid);
    if !network::wait(&lease, NETWORK_PATIENCE) {
        say!("no network yet: the app starts without");
    }
    drop(lease);
    let found = search.map(|search| search.wait(&mut watchdog)).transpose()?.unwrap_or_default();
    let given = told.give(&app, &state_directory, found);
    let (runner, courier) = equip(&service, app, capabilities, given)?;
    let data_path = service.data_path.clone();
    let trial = loader.trial(slot);
    let agent = if has_data { start_agent(&service, slot, trial.is_counted()) } else { None };
    let mut machine = Machine::new(service, runner, trial, watchdog, Some(network), courier)?;
    (machine.agent, machine.root_hash) = (agent, has_data.then_some(root_hash));
    let ending = machine.run();
    if has_data {
        rustix::fs::sync();
        mounts::close(&data_path);
    }
    Ok(ending)
}

/// Hands the app what it is given: variables, files, somebody who takes its output.
fn equip(
    service: &Service,
    app: App,
    capabilities: u64,
    mut given: Given,
) -> Result<(Runner, Option<Courier>)> {
    let mut secrets = Vec::new();
    if let Some((folder, files)) = credentials::give(&app, &given.files)? {
        given.environment.insert("CREDENTIALS_DIRECTORY".to_owned(), folder);
        secrets = files;
    }
    let courier = match &app.log {
        Some(log) => {
            let identity = identity(service, &app.name, &given.environment);
            Some(Courier::new(log, identity, given.log, &secrets, (app.uid, app.gid))?)
        }
        None => None,
    };
    let output = courier.as_ref().map(Courier::output).transpose()?;
    Ok((Runner { app, environment: given.environment, capabilities, output }, courier))
}

/// Makes the agent ready. A machine that can't update runs on.
fn start_agent(service: &Service, slot: &Partition, on_trial: bool) -> Option<agent::Task> {
    let prepared = agent::Task::prepare(service.agent.clone()?, slot, on_trial);
    prepared.inspect_err(|error| say!("no updates: {}", chain(error))).ok()
}

/// Says whose lines a collector gets: machines of one image differ by their instance's id, where they have one.
fn identity(service: &Service, app: &str, environment: &BTreeMap<String, String>) -> Identity {
    let instance = environment.get("INSTANCE_ID").and_then(|id| nocloud::id(id));
    Identity {
        host: instance.unwrap_or_else(|| service.name.clone()),
        app: app.to_owned(),
        version: service.version.clone().unwrap_or_default(),
    }
}

/// Ends the machine. There is nothing behind it.
fn end(ending: Ending) -> ! {
    rustix::fs::sync();
    let command = match ending {
        Ending::PowerOff => RebootCommand::PowerOff,
        Ending::Reboot => RebootCommand::Restart,
    };
    say!("{} after {}", if ending == Ending::Reboot { "reboot" } else { "power off" }, seconds(now()));
    let refused = reboot(command);
    // A firmware that can't power off has its processor rest here.
    say!("the machine does not end: {refused:?}");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

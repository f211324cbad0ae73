use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::super::failure::{Failure, Kind};
use super::{Context, Done};
use crate::base::units::Bytes;
use crate::base::{Endpoint, Scheme, Stopwatch, fs};
use crate::boot::environment::{LOG_ADDRESS, LOG_NOWHERE, METADATA_ADDRESS, is_reserved};
use crate::boot::user_data::{self, USER_DATA_MAX_BYTES, UserDataError};
use crate::disk::fat::{FIRST_CLUSTER, Geometry, Item, Stamp, Tree, Volume};
use crate::disk::{BlockDevice, FileDevice};
use crate::image::{self, Inspection};
use crate::machine::{
    Acceleration, Forward, Machine, MachineError, MachineEvent, MachineOptions, MemoryFile, Running,
};

/// Longest file that is handed over as a credential, in bytes.
const CREDENTIAL_MAX_BYTES: u64 = 1 << 20;
/// Label of a disk with user data (NoCloud).
const SEED_LABEL: &[u8; 11] = b"CIDATA     ";
const META_DATA: &[u8] = b"instance-id: mkimage-run\n";
/// The least that FAT32 can be, with room for the longest user data.
const SEED_SECTORS: u64 = 72_000;

#[derive(Args, Debug)]
pub struct Run {
    /// Disk image
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// Forward a port: HOST:GUEST, or GUEST for a free port of this machine [default: the app's ports]
    #[arg(long, short, value_name = "[HOST:]GUEST")]
    pub port: Vec<String>,
    /// Give the app an environment variable; without a value, this machine's own variable of that name
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Hand a file over as a credential: the app gets it where its recipe names it
    #[arg(long, value_name = "NAME=FILE")]
    pub credential: Vec<String>,
    /// Attach a disk labelled `cidata` with this user data, as clouds do (NoCloud)
    #[arg(long, value_name = "FILE")]
    pub user_data: Option<PathBuf>,
    /// Where the machine finds the metadata service (`ec2`); this machine is 10.0.2.2 to it
    #[arg(long, value_name = "ADDRESS")]
    pub metadata: Option<String>,
    /// Where the app's output goes besides the console, in place of what the recipe says; `none` for nowhere
    #[arg(long, value_name = "ADDRESS")]
    pub log: Option<String>,
    /// Attach a further disk image, read-only
    #[arg(long, value_name = "FILE")]
    pub disk: Vec<PathBuf>,
    /// Memory of the machine
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    pub memory: String,
    /// Processors of the machine
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub cpus: u32,
    /// How the processor is run; `auto` tries KVM with a time limit and falls back to TCG
    #[arg(long, value_name = "WHICH", default_value = "auto")]
    pub accel: Accelerator,
    /// Leave the image as it is: what the machine writes is dropped at the end
    #[arg(long)]
    pub snapshot: bool,
    /// Get this path from the first forwarded port, print the answer, and power the machine off
    #[arg(long, value_name = "PATH")]
    pub fetch: Option<String>,
    /// Power the machine off once its console says this
    #[arg(long, value_name = "TEXT")]
    pub until: Option<String>,
    /// Give up when `--fetch` and `--until` have not come true in this time
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub timeout: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Accelerator {
    Auto,
    Kvm,
    Tcg,
}

/// `mkimage run`: boots an image in a virtual machine until it ends, or until it did what was asked.
pub fn run(context: &Context, arguments: Run) -> Done {
    image::open(&arguments.image)?;
    let mut options = MachineOptions::new(&arguments.image);
    options.snapshot = arguments.snapshot;
    options.processors = arguments.cpus;
    options.memory = Bytes::parse(&arguments.memory).ok_or_else(|| {
        Failure::new(Kind::Usage, format!("--memory {}: expected a size such as 512MiB", arguments.memory))
    })?;
    options.acceleration = match arguments.accel {
        Accelerator::Auto => Acceleration::Auto,
        Accelerator::Kvm => Acceleration::Kvm,
        Accelerator::Tcg => Acceleration::Tcg,
    };
    options.forwards = forwards(context, &arguments)?;
    let seed = told(context, &arguments, &mut options)?;
    options.disks.extend(seed.as_ref().map(MemoryFile::path));
    let guest_port = options.forwards.first().map(|forward| forward.guest);
    let started = Stopwatch::start();
    let printer = context.printer.clone();
    let quiet_console = arguments.fetch.is_some() || context.printer.is_quiet();
    let mut machine = Machine::new(options)
        .start(&context.job, |event| match event {
            MachineEvent::Line(line) if quiet_console => drop(line),
            MachineEvent::Line(line) => drop(printer.bytes(format!("{line}\n").as_bytes())),
            MachineEvent::TriesKvm => printer.say("trying KVM"),
            MachineEvent::Starts { accelerator, reason } => {
                let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                printer.say(&format!("starting with {}{reason}", accelerator.name()));
            }
            MachineEvent::Forwards(forward) => {
                printer.say(&format!("http://127.0.0.1:{} leads to port {}", forward.host, forward.guest));
            }
        })
        .map_err(failure)?;
    match (&arguments.fetch, &arguments.until) {
        (None, None) => {
            machine.wait(&context.job).map_err(failure)?;
            Ok(ExitCode::SUCCESS)
        }
        _ => until(context, &arguments, guest_port, &mut machine, started),
    }
}

/// Puts together what the machine is told at start. Values are in no message: they may be secrets. The file is
/// the disk with the user data; it must live until the machine has started.
fn told(
    context: &Context,
    arguments: &Run,
    options: &mut MachineOptions,
) -> Result<Option<MemoryFile>, Failure> {
    for setting in &arguments.env {
        let (name, value) = match setting.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (setting.as_str(), own_variable(setting)?),
        };
        if is_reserved(name) {
            let problem =
                "the machine takes it from its recipe only, because it can make a program run other code";
            return Err(Failure::new(Kind::Usage, format!("--env {name}: {problem}")));
        }
        options.environment.insert(name.to_owned(), value);
    }
    for setting in &arguments.credential {
        let (name, file) = setting.split_once('=').ok_or_else(|| {
            Failure::new(Kind::Usage, format!("--credential {setting}: expected NAME=FILE"))
                .hint("the value comes from a file, so that no command line shows it")
        })?;
        let value = fs::read_at_most(Path::new(file), CREDENTIAL_MAX_BYTES);
        options.credentials.insert(name.to_owned(), value.map_err(|error| Failure::of(Kind::Usage, &error))?);
    }
    for (option, name, address, schemes) in [
        ("--metadata", METADATA_ADDRESS, &arguments.metadata, &[Scheme::Http][..]),
        ("--log", LOG_ADDRESS, &arguments.log, &[Scheme::Http, Scheme::Tcp]),
    ] {
        let Some(address) = address else { continue };
        let known: Result<Endpoint, _> = address.parse();
        let is_off = name == LOG_ADDRESS && address == LOG_NOWHERE;
        if !is_off && !known.is_ok_and(|endpoint| schemes.contains(&endpoint.scheme)) {
            let expected =
                if schemes.len() == 1 { "http://HOST[:PORT]" } else { "tcp://HOST:PORT, http://… or none" };
            return Err(Failure::new(Kind::Usage, format!("{option} {address}: expected {expected}")));
        }
        options.credentials.insert(name.to_owned(), address.clone().into_bytes());
    }
    options.disks.clone_from(&arguments.disk);
    arguments.user_data.as_ref().map(|file| seed(context, file)).transpose()
}

fn own_variable(name: &str) -> Result<String, Failure> {
    std::env::var(name).map_err(|_| {
        Failure::new(
            Kind::Usage,
            format!("--env {name}: this machine has no such variable, or it is no text"),
        )
        .hint(format!("say its value: --env {name}=VALUE"))
    })
}

/// Makes a disk in memory that holds user data as clouds hand it over.
fn seed(context: &Context, file: &Path) -> Result<MemoryFile, Failure> {
    let bytes = fs::read_at_most(file, USER_DATA_MAX_BYTES as u64);
    let bytes = bytes.map_err(|error| Failure::of(Kind::Usage, &error))?;
    match user_data::parse(&bytes) {
        Ok(_) => {}
        Err(error @ UserDataError::Foreign(_)) => {
            context.printer.say(&format!("{}: {error}", file.display()));
        }
        Err(error) => {
            return Err(Failure::new(Kind::Usage, format!("--user-data {}: {error}", file.display())));
        }
    }
    write_seed(&bytes).map_err(|error| Failure::of(Kind::Failed, error.as_ref()))
}

fn write_seed(user_data: &[u8]) -> Result<MemoryFile, Box<dyn std::error::Error>> {
    let files = [("meta-data", META_DATA), ("user-data", user_data)];
    let items = files.map(|(path, bytes)| Item::File { path: path.into(), size_bytes: bytes.len() as u64 });
    let volume = Volume {
        geometry: Geometry::for_sectors(SEED_SECTORS)?,
        tree: Tree::place(&items, FIRST_CLUSTER)?,
        id: 0,
        label: *SEED_LABEL,
        stamp: Stamp::from_epoch(315_532_800)?,
        hidden_sectors: 0,
    };
    let memory = MemoryFile::create()?;
    let size = volume.geometry.size_bytes();
    memory.file().set_len(size)?;
    let device = FileDevice::new(memory.file().try_clone()?, size);
    volume.write(&device, &files.map(|(_, bytes)| bytes))?;
    device.flush()?;
    Ok(memory)
}

/// Waits for an answer and a line of the console, whichever were asked for, then powers off.
fn until(
    context: &Context,
    arguments: &Run,
    guest_port: Option<u16>,
    machine: &mut Running<'_>,
    started: Stopwatch,
) -> Done {
    let within = Duration::from_secs(arguments.timeout);
    if let Some(path) = &arguments.fetch {
        let port = guest_port.ok_or_else(|| {
            Failure::new(Kind::Usage, "--fetch needs a port, and the image names none")
                .hint("name one with --port")
        })?;
        let body = machine.wait_for_http(port, path, within, &context.job).map_err(failure)?;
        let seconds = started.elapsed().as_secs_f64();
        context.printer.say(&format!("answered after {seconds:.1} s"));
        context.printer.bytes(&body)?;
    }
    if let Some(text) = &arguments.until {
        let what = format!("{text:?} on the console");
        let left = within.saturating_sub(started.elapsed());
        machine
            .wait_for_line(&what, left, &context.job, |line| line.contains(text.as_str()))
            .map_err(failure)?;
    }
    machine.power_down().map_err(failure)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the ports that were asked for, or those of the app in the slot that boots next.
fn forwards(context: &Context, arguments: &Run) -> Result<Vec<Forward>, Failure> {
    if arguments.port.is_empty() {
        let inspection = context.inspect(&arguments.image, false)?;
        return Ok(ports(&inspection).into_iter().map(|guest| Forward { host: 0, guest }).collect());
    }
    let parse = |text: &String| {
        let (host, guest) = text.split_once(':').unwrap_or(("0", text));
        match (host.parse(), guest.parse()) {
            (Ok(host), Ok(guest)) if guest > 0 => Ok(Forward { host, guest }),
            _ => Err(Failure::new(Kind::Usage, format!("--port {text}: expected HOST:GUEST or GUEST"))),
        }
    };
    arguments.port.iter().map(parse).collect()
}

fn ports(inspection: &Inspection) -> Vec<u16> {
    let next = inspection.next.as_ref().map(|next| next.slot.as_str());
    let slot = inspection.slots.iter().find(|slot| Some(slot.slot.as_str()) == next);
    slot.map(|slot| slot.ports.clone()).unwrap_or_default()
}

fn failure(error: MachineError) -> Failure {
    let kind = match &error {
        MachineError::Cancelled(_) => Kind::Interrupted,
        MachineError::Option { .. } => Kind::Usage,
        _ => Kind::Failed,
    };
    Failure::of(kind, &error)
}

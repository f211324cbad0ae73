use std::process::ExitCode;
use std::time::Duration;

use super::super::args::{Accelerator, Run};
use super::super::failure::{Failure, Kind};
use super::{Context, Done};
use crate::base::Stopwatch;
use crate::base::units::Bytes;
use crate::image::{self, Inspection};
use crate::machine::{Acceleration, Forward, Machine, MachineError, MachineEvent, MachineOptions, Running};

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
    for setting in &arguments.env {
        let (name, value) = setting
            .split_once('=')
            .ok_or_else(|| Failure::new(Kind::Usage, format!("--env {setting}: expected NAME=VALUE")))?;
        options.environment.insert(name.to_owned(), value.to_owned());
    }
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
        let inspection = image::inspect(&arguments.image, false, &context.job)?;
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

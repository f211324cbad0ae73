use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::super::failure::Failure;
use super::update::{SlotName, change};
use super::{Context, Done};
use crate::boot::slots::Slot;
use crate::slots::{self, Turned};

#[derive(Args, Debug)]
pub struct Rollback {
    /// Disk image or block device
    #[arg(value_name = "DISK")]
    pub disk: PathBuf,
    /// The slot that this machine runs from, and that is left [default: found by what is in use]
    #[arg(long, value_name = "SLOT")]
    pub running: Option<SlotName>,
}

#[derive(Args, Debug)]
pub struct Switch {
    /// Disk image or block device
    #[arg(value_name = "DISK")]
    pub disk: PathBuf,
    /// The slot that is to boot next
    #[arg(value_name = "SLOT")]
    pub slot: SlotName,
}

#[derive(Args, Debug)]
pub struct Confirm {
    /// Disk image or block device
    #[arg(value_name = "DISK")]
    pub disk: PathBuf,
    /// The slot that this machine runs from [default: found by what is in use]
    #[arg(long, value_name = "SLOT")]
    pub running: Option<SlotName>,
}

/// `mkimage rollback`: the confirmed slot from before boots next.
pub fn rollback(context: &Context, arguments: &Rollback) -> Done {
    let disk = change(context, &arguments.disk)?;
    let named = arguments.running.map(Slot::from);
    let turned =
        disk.running(named).and_then(|running| slots::rollback(disk.device(), running, &context.job));
    let turned = turned.map_err(|error| Failure::from(error).about(&arguments.disk))?;
    print(context, &turned, "boots next")
}

/// `mkimage switch`: a slot that is named boots next.
pub fn switch(context: &Context, arguments: &Switch) -> Done {
    let disk = change(context, &arguments.disk)?;
    let turned = slots::switch(disk.device(), arguments.slot.into(), &context.job);
    let turned = turned.map_err(|error| Failure::from(error).about(&arguments.disk))?;
    print(context, &turned, if turned.trial { "boots next, on trial" } else { "boots next" })
}

/// `mkimage confirm`: the slot on trial boots from now on without being counted.
pub fn confirm(context: &Context, arguments: &Confirm) -> Done {
    let disk = change(context, &arguments.disk)?;
    let named = arguments.running.map(Slot::from);
    let turned = disk.running(named).and_then(|running| slots::confirm(disk.device(), running, &context.job));
    let turned = turned.map_err(|error| Failure::from(error).about(&arguments.disk))?;
    print(context, &turned, "is confirmed")
}

fn print(context: &Context, turned: &Turned, what: &str) -> Done {
    let more = match turned {
        Turned { repaired: true, .. } => "; both slot records are written anew",
        Turned { changed: true, .. } => "",
        _ => ", as before: nothing to do",
    };
    context.printer.data(turned, || format!("{} {what}{more}", turned.slot))?;
    if turned.repaired && turned.trial {
        context
            .printer
            .say("it is confirmed by the first boot that is healthy, or by `mkimage confirm DISK`");
    }
    Ok(ExitCode::SUCCESS)
}

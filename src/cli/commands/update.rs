use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::super::failure::Failure;
use super::{Context, Done};
use crate::base::units::{Bytes, approximate};
use crate::boot::slots::Slot;
use crate::image::Image;
use crate::slots::{Disk, Outcome, Request, Staged};

#[derive(Args, Debug)]
pub struct Update {
    /// Disk image or block device
    #[arg(value_name = "DISK")]
    pub disk: PathBuf,
    /// Ref, REF~N or id of the commit that goes into the other slot
    #[arg(value_name = "COMMIT")]
    pub commit: String,
    /// The slot that this machine runs from, which stays as it is [default: found by what is in use]
    #[arg(long, value_name = "SLOT")]
    pub running: Option<SlotName>,
    /// Take a commit of another image than the one on the disk
    #[arg(long)]
    pub other_image: bool,
}

/// A slot on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SlotName {
    #[value(alias = "a")]
    SlotA,
    #[value(alias = "b")]
    SlotB,
}

impl From<SlotName> for Slot {
    fn from(name: SlotName) -> Slot {
        match name {
            SlotName::SlotA => Slot::A,
            SlotName::SlotB => Slot::B,
        }
    }
}

/// `mkimage update`: writes a commit into the slot that does not run, and puts it on trial.
pub fn run(context: &Context, arguments: &Update) -> Done {
    let store = context.store()?;
    let id = store.resolve(&arguments.commit).map_err(Failure::from)?;
    // The commit is read while the child takes the disk apart, of which nothing is read here before it is done.
    let read = || Image::of(&store, id, &context.job).map_err(Failure::from);
    let (disk, image) = context.job.workers.join(|| change(context, &arguments.disk), read);
    let (disk, image) = (disk?, image?);
    let about = |failure: Failure| failure.about(&arguments.disk);
    let running = disk.running(arguments.running.map(Slot::from)).map_err(|error| about(error.into()))?;
    let request = Request { running, other_name: arguments.other_image };
    let staged = request.stage(disk.device(), &image, &context.job).map_err(|error| about(error.into()))?;
    context.printer.data(&staged, || as_text(&staged))?;
    if staged.outcome != Outcome::AlreadyThere {
        context.printer.say(&format!(
            "it boots next and has {} to be confirmed; {} stays as it is",
            if staged.tries == 1 { "1 try".to_owned() } else { format!("{} tries", staged.tries) },
            staged.slot.other()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens a disk to change it, when a child has shown that it can be read.
pub(super) fn change(context: &Context, path: &Path) -> Result<Disk, Failure> {
    let disk = Disk::change(path).map_err(Failure::from)?;
    context.rehearse(path)?;
    Ok(disk)
}

fn as_text(staged: &Staged) -> String {
    let version = staged.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let what = format!("{}{version}", staged.name);
    let slot = staged.slot;
    match staged.outcome {
        Outcome::AlreadyThere => format!("{slot} holds {what} already and is confirmed: nothing to do"),
        Outcome::AlreadyStaged => format!("{slot} holds {what} already and is on trial: nothing was written"),
        Outcome::Staged => {
            let size = |bytes: u64| approximate(Bytes(bytes));
            let written = staged.root.written_bytes + staged.root.erased_bytes + staged.esp.written_bytes;
            let kept = staged.root.kept_bytes + staged.esp.kept_bytes;
            format!("{slot} holds {what} now: {} written, {} were right already", size(written), size(kept))
        }
    }
}

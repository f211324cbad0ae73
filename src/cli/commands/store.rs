use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::super::failure::Failure;
use super::{Context, Done};

#[derive(Subcommand, Debug)]
pub enum StoreCommand {
    /// Make the store, where there is none; the first build does that as well
    Init(Init),
    /// Break the locks that a machine holds which will never come back
    Unlock(Unlock),
}

#[derive(Args, Debug)]
pub struct Unlock {
    /// Name of the machine. Be sure that it is off: what it does at this moment may be lost
    #[arg(value_name = "HOST")]
    pub host: String,
}

#[derive(Args, Debug)]
pub struct Init {
    /// Several machines write to it: locks are claimed by name, too. Stores that lie on NFS, SMB or FUSE do
    /// so by themselves; say it where one is also written on the file server itself
    #[arg(long)]
    pub shared: bool,
}

/// `mkimage store`: what concerns the store as a whole.
pub fn run(context: &Context, command: &StoreCommand) -> Done {
    match command {
        StoreCommand::Init(arguments) => init(context, arguments),
        StoreCommand::Unlock(arguments) => unlock(context, arguments),
    }
}

fn init(context: &Context, arguments: &Init) -> Done {
    let store = context.store()?;
    let changed = store.initialise(arguments.shared).map_err(Failure::from)?;
    let value = serde_json::json!({ "store": store.path(), "changed": changed });
    let state = if changed { "is ready" } else { "was ready before" };
    context.printer.data(&value, || format!("{} {state}", store.path().display()))?;
    Ok(ExitCode::SUCCESS)
}

fn unlock(context: &Context, arguments: &Unlock) -> Done {
    let broken = context.store()?.unlock(&arguments.host).map_err(Failure::from)?;
    context.printer.data(&broken, || match &broken[..] {
        [] => format!("{} holds no lock of the store", arguments.host),
        broken => format!("broken: {}", broken.join("; ")),
    })?;
    Ok(ExitCode::SUCCESS)
}

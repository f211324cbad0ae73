use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::super::failure::Failure;
use super::{Context, Done};

#[derive(Subcommand, Debug)]
pub enum StoreCommand {
    /// Make the store, where there is none; the first build does that as well
    Init(Init),
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
    let StoreCommand::Init(Init { shared }) = command;
    let store = context.store()?;
    let changed = store.initialise(*shared).map_err(Failure::from)?;
    let value = serde_json::json!({ "store": store.path(), "changed": changed });
    let state = if changed { "is ready" } else { "was ready before" };
    context.printer.data(&value, || format!("{} {state}", store.path().display()))?;
    Ok(ExitCode::SUCCESS)
}

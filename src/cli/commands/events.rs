use std::process::ExitCode;

use clap::Args;

use super::{Context, Done};

/// JSON Schema (2020-12) of a line of the event stream.
const SCHEMA: &str = include_str!("../../../recipes/events.schema.json");

/// What `--events` writes.
#[derive(Args, Debug)]
pub struct Events {
    /// Print the JSON Schema of a line
    #[arg(long, required = true)]
    pub schema: bool,
}

/// `mkimage events`: describes the event stream.
pub fn run(context: &Context, _: &Events) -> Done {
    context.printer.bytes(SCHEMA.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

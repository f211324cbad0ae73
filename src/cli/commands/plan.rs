use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::super::args::{PackageArgs, RecipeArgs};
use super::super::text::short;
use super::{Context, Done};
use crate::base::units::{Bytes, approximate};
use crate::pipeline::{self, Forecast, ForecastDisk, StepState};

/// `mkimage plan`: shows what a build would do. Writes nothing.
#[derive(Args, Debug)]
pub struct PlanArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    #[command(flatten)]
    pub packages: PackageArgs,
    /// PID 1 of app images [default: mkimage-init beside this program]
    #[arg(long, value_name = "FILE", env = "MKIMAGE_INIT", hide_env_values = true)]
    pub init: Option<PathBuf>,
}

pub fn run(context: &Context, arguments: PlanArgs) -> Done {
    let plan = context.load(&arguments.recipe)?;
    let store = context.store()?;
    let options = context.options(&arguments.recipe.recipe, &arguments.packages, arguments.init)?;
    let forecast = pipeline::forecast(&plan, &options, &store, &context.job);
    let forecast = forecast.map_err(|error| context.failure(error))?;
    context.printer.data(&forecast, || as_text(&forecast))?;
    Ok(ExitCode::SUCCESS)
}

fn as_text(forecast: &Forecast) -> String {
    let mut text = String::new();
    let version = forecast.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let state = match &forecast.commit {
        Some(commit) => format!("unchanged, commit {}", short(commit)),
        None => "to be composed".to_owned(),
    };
    let _ = writeln!(text, "{}{version}: {state}", forecast.name);
    for step in &forecast.steps {
        let word = match step.state {
            StepState::Cached => "cached",
            StepState::Runs => "runs",
            StepState::Depends => "depends",
            StepState::Instant => "instant",
            StepState::Fails => "FAILS",
        };
        let size = step.bytes.map(|bytes| approximate(Bytes(bytes))).unwrap_or_default();
        let _ = writeln!(
            text,
            "{}",
            format!("  {word:<8} {size:>10}  {}  {}", step.step, step.detail).trim_end()
        );
    }
    if forecast.fetch_bytes > 0 {
        let _ = writeln!(text, "to fetch: {}", approximate(Bytes(forecast.fetch_bytes)));
    }
    match &forecast.disk {
        Some(disk) => disk_text(&mut text, disk),
        None => text.push_str("disk: known once it is composed\n"),
    }
    text
}

fn disk_text(text: &mut String, disk: &ForecastDisk) {
    let of = if disk.exact { "" } else { " (of the last build)" };
    let size = |bytes: u64| approximate(Bytes(bytes));
    let (root, uki) = (size(disk.root_bytes), size(disk.uki_bytes));
    let _ = writeln!(text, "disk{of}: {}, root filesystem {root}, kernel image {uki}", size(disk.size_bytes));
    for partition in &disk.partitions {
        let (start, length) = (size(partition.start_bytes), size(partition.size_bytes));
        let _ = writeln!(
            text,
            "  {} {:<8} {length:>10} at {start:<10} {}",
            partition.number, partition.name, partition.guid
        );
    }
}

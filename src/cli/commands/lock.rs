use std::process::ExitCode;

use super::super::args::{Lock, PackageArgs};
use super::{Context, Done};
use crate::pipeline;

/// `mkimage lock`: pins the packages of a recipe.
pub fn run(context: &Context, arguments: Lock) -> Done {
    let plan = context.load(&arguments.recipe)?;
    let store = context.store()?;
    let packages = PackageArgs { mirror: arguments.mirror, offline: false };
    let options = context.options(&arguments.recipe.recipe, &packages, None)?;
    let locked = pipeline::lock(&plan, &options, &store, arguments.update, &context.job);
    let locked = locked.map_err(|error| context.failure(error))?;
    let path = options.lock_path();
    if context.printer.wants_json() {
        context.printer.data(&locked, String::new)?;
        return Ok(ExitCode::SUCCESS);
    }
    let state = if locked.changed { "wrote" } else { "unchanged:" };
    context.printer.say(&format!("{state} {} ({} packages)", path.display(), locked.packages.len()));
    Ok(ExitCode::SUCCESS)
}

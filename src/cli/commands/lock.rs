use std::process::ExitCode;

use super::super::args::{Lock, Vendor};
use super::{Context, Done};
use crate::packages::Update;
use crate::pipeline;

/// `mkimage lock`: pins the packages of a recipe.
pub fn run(context: &Context, arguments: Lock) -> Done {
    let plan = context.load(&arguments.recipe)?;
    let store = context.store()?;
    let mut options = context.options(&arguments.recipe.recipe, &arguments.packages, None)?;
    options.depfile = arguments.depfile.depfile(&arguments.recipe, Some(&options.lock_path()))?;
    let update = match arguments.update {
        None => Update::None,
        Some(names) if names.is_empty() => Update::All,
        Some(names) => Update::Packages(names.into_iter().collect()),
    };
    let locked = pipeline::lock(&plan, &options, &store, update, !arguments.diff, &context.job);
    let locked = locked.map_err(|error| context.failure(error))?;
    if context.printer.wants_json() {
        context.result(&locked, String::new)?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.diff {
        let lines = || locked.changes.iter().map(|change| format!("{change}\n")).collect();
        context.printer.data(&locked, lines)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !locked.is_new {
        locked.changes.iter().for_each(|change| context.printer.say(change));
    }
    let state = if locked.changed { "wrote" } else { "unchanged:" };
    let path = options.lock_path();
    context.printer.say(&format!("{state} {} ({} packages)", path.display(), locked.packages.len()));
    Ok(ExitCode::SUCCESS)
}

/// `mkimage vendor`: gathers the locked packages in a folder.
pub fn vendor(context: &Context, arguments: Vendor) -> Done {
    let plan = context.load(&arguments.recipe)?;
    let store = context.store()?;
    let options = context.options(&arguments.recipe.recipe, &arguments.packages, None)?;
    let vendored = pipeline::vendor(&plan, &options, &store, &arguments.output, &context.job);
    let vendored = vendored.map_err(|error| context.failure(error))?;
    if context.printer.wants_json() {
        context.printer.data(&vendored, String::new)?;
        return Ok(ExitCode::SUCCESS);
    }
    let folder = arguments.output.display();
    let (all, new) = (vendored.packages, vendored.written);
    context.printer.say(&format!("{all} packages in {folder}, {new} of them new"));
    Ok(ExitCode::SUCCESS)
}

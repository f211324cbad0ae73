use std::process::ExitCode;

use super::super::args::{Build, Compose};
use super::{Context, Done};
use crate::base::units::{Bytes, approximate};
use crate::pipeline;

/// `mkimage build`: recipe → commit → image.
pub fn build(context: &Context, arguments: Build) -> Done {
    let plan = context.load(&arguments.recipe)?;
    let store = context.store()?;
    let options = context.options(&arguments.recipe.recipe, &arguments.packages, arguments.init)?;
    let done = pipeline::build(&plan, &options, &store, &arguments.output, &context.job);
    let (composed, written) = done.map_err(|error| context.failure(error))?;
    let output = arguments.output.display();
    let state = if written.changed { "wrote" } else { "unchanged:" };
    let allocated = approximate(Bytes(written.allocated_bytes));
    let text = format!(
        "{state} {output}: {} {}, {allocated} of {} on disk",
        composed.reference,
        &composed.commit.to_string()[..12],
        approximate(Bytes(written.size_bytes)),
    );
    if context.printer.wants_json() {
        let value = serde_json::json!({
            "output": arguments.output, "reference": composed.reference, "inputs": composed.inputs,
            "commit": written.commit, "changed": written.changed, "size_bytes": written.size_bytes,
            "allocated_bytes": written.allocated_bytes,
        });
        context.printer.data(&value, String::new)?;
    } else {
        context.printer.say(&text);
    }
    Ok(ExitCode::SUCCESS)
}

/// `mkimage compose`: recipe → commit; prints its id.
pub fn compose(context: &Context, arguments: Compose) -> Done {
    let plan = context.load(&arguments.recipe)?;
    let store = context.store()?;
    let options = context.options(&arguments.recipe.recipe, &arguments.packages, arguments.init)?;
    let composed = pipeline::compose(&plan, &options, &store, &context.job);
    let composed = composed.map_err(|error| context.failure(error))?;
    context.printer.data(&composed, || composed.commit.to_string())?;
    Ok(ExitCode::SUCCESS)
}

use std::process::ExitCode;

use super::super::args::Check;
use super::{Context, Done};

/// `mkimage check`: reports all that is wrong with a recipe.
pub fn run(context: &Context, arguments: &Check) -> Done {
    let plan = context.load(&arguments.recipe)?;
    let value = serde_json::json!({
        "image": plan.image.name, "parts": plan.parts.len(), "variables": plan.variables,
        "sources": plan.sources.iter().map(|source| &source.0).collect::<Vec<_>>(),
    });
    if context.printer.wants_json() {
        context.printer.data(&value, String::new)?;
    } else {
        let recipe = arguments.recipe.recipe.display();
        context.printer.say(&format!(
            "{recipe}: image {:?}, {} parts, no mistakes",
            plan.image.name,
            plan.parts.len()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

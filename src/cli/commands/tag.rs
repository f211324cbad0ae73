use std::process::ExitCode;

use clap::Args;

use super::super::failure::Failure;
use super::refs::reference;
use super::{Context, Done};
use crate::store::{Expected, RefUpdate, TAGS};

/// `mkimage tag`: gives a commit a name that never moves.
#[derive(Args, Debug)]
pub struct Tag {
    /// Name of the tag; its ref is tag/NAME. `mkimage refs --delete tag/NAME` removes it
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Ref, REF~N, id
    #[arg(value_name = "REV")]
    pub revision: String,
}

pub fn run(context: &Context, arguments: &Tag) -> Done {
    let store = context.store()?;
    let name = reference(&format!("{TAGS}{}", arguments.name.trim_start_matches(TAGS)))?;
    let new = store.resolve(&arguments.revision).map_err(Failure::from)?;
    let update = RefUpdate { name: name.clone(), expected: Expected::Any, new };
    let message = format!("tag {}", arguments.revision);
    let done = store.begin(&context.job).commit(&[update], &message).map_err(Failure::from)?;
    if context.printer.wants_json() {
        context.printer.data(&done.refs, String::new)?;
    } else {
        let already = if done.refs.iter().any(|change| change.moved) { "" } else { " already" };
        context.printer.say(&format!("{name} leads to {new}{already}"));
    }
    Ok(ExitCode::SUCCESS)
}

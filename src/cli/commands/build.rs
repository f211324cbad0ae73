use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::super::args::{Build, Compose};
use super::super::failure::{Failure, Kind};
use super::paranoid::{self, Second};
use super::{Context, Done};
use crate::base::CommitId;
use crate::base::units::{Bytes, approximate};
use crate::pipeline::{self, Composed, Options, Written};
use crate::recipe::Plan;
use crate::store::Store;

/// `mkimage build`: recipe → commit → image.
pub fn build(context: &Context, arguments: Build) -> Done {
    let base = arguments.paranoid.perturbed.as_deref().map(paranoid::perturb).transpose()?.flatten();
    let plan = context.load(&arguments.recipe)?;
    let store = context.store()?;
    let mut options =
        context.options(&arguments.recipe.recipe, &arguments.packages, arguments.init.clone())?;
    options.annotations = annotations(&arguments.annotate)?;
    options.depfile = arguments.depfile.depfile(&arguments.recipe, Some(&arguments.output))?;
    options.base = base;
    let (composed, written) = match arguments.paranoid.paranoid {
        true => twice(context, &arguments, &plan, &options, &store)?,
        false => pipeline::build(&plan, &options, &store, &arguments.output, &context.job)
            .map_err(|error| context.failure(error))?,
    };
    note_time(context, &store, &composed.commit);
    let output = arguments.output.display();
    let state = if written.changed { "wrote" } else { "unchanged:" };
    let allocated = approximate(Bytes(written.allocated_bytes));
    let text = format!(
        "{state} {output}: {} {}, {allocated} of {} on disk",
        composed.reference,
        &composed.commit.to_string()[..12],
        approximate(Bytes(written.size_bytes)),
    );
    let value = serde_json::json!({
        "output": output.to_string(), "reference": composed.reference, "inputs": shown(&composed.inputs),
        "commit": written.commit, "changed": written.changed, "size_bytes": written.size_bytes,
        "allocated_bytes": written.allocated_bytes,
    });
    context.told(&value, &text)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns paths as people see them: JSON has no other bytes.
fn shown(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

/// Builds here and under another host. Neither the ref moves nor the image gets its name where they differ.
fn twice(
    context: &Context,
    arguments: &Build,
    plan: &Plan,
    options: &Options,
    store: &Store,
) -> Result<(Composed, Written), Failure> {
    let failure = |error| context.failure(error);
    pipeline::can_build(plan, &arguments.output).map_err(failure)?;
    let commit = pipeline::recompose(plan, options, store, &context.job).map_err(failure)?;
    let second = Second::build(context, arguments, plan, options, store)?;
    second.check(commit, store, &context.job).map_err(failure)?;
    let approve = |image: &Path| second.compare(commit, store, image, &context.job);
    pipeline::build_if(plan, options, store, &arguments.output, &approve, &context.job).map_err(failure)
}

/// `mkimage compose`: recipe → commit; prints its id.
pub fn compose(context: &Context, arguments: Compose) -> Done {
    let plan = context.load(&arguments.recipe)?;
    let store = context.store()?;
    let mut options = context.options(&arguments.recipe.recipe, &arguments.packages, arguments.init)?;
    options.annotations = annotations(&arguments.annotate)?;
    options.depfile = arguments.depfile.depfile(&arguments.recipe, None)?;
    let composed = pipeline::compose(&plan, &options, &store, &context.job);
    let composed = composed.map_err(|error| context.failure(error))?;
    note_time(context, &store, &composed.commit);
    context.result(&composed, || composed.commit.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Notes where the time went, for `mkimage report`. Only for a picture: a store that can't note it (it may be one that
/// nobody may write) is no reason to fail or to warn.
fn note_time(context: &Context, store: &Store, commit: &CommitId) {
    let _ = context.timeline().remember(store, commit);
}

/// Longest value of an annotation, in bytes.
const ANNOTATION_BYTES_MAX: usize = 4096;

/// Reads `KEY=VALUE` notes.
fn annotations(texts: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut annotations = BTreeMap::new();
    for text in texts {
        let wrong = |problem: &str| Failure::new(Kind::Usage, format!("--annotate {text}: {problem}"));
        let (key, value) = text.split_once('=').ok_or_else(|| wrong("expected KEY=VALUE"))?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        if key.is_empty() || key.len() > 64 || !key.bytes().all(fits) {
            return Err(wrong("a key has 1 to 64 letters, digits and \".\", \"_\", \"-\", \"/\""));
        }
        if value.len() > ANNOTATION_BYTES_MAX || value.contains(char::is_control) {
            return Err(wrong("a value is one line of at most 4096 bytes"));
        }
        if annotations.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(wrong("the key stands there twice"));
        }
    }
    Ok(annotations)
}

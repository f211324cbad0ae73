use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::super::args::{PackageArgs, RecipeArgs};
use super::super::failure::{Failure, Kind};
use super::super::text::short;
use super::{Context, Done, changes, patch};
use crate::base::CommitId;
use crate::pipeline::{self, ChangedText, Difference, PackageDifference, Since};
use crate::store::Store;
use crate::tree::{Content, ContentSource};

/// `mkimage why-rebuilt`: says which input changed since the last build.
#[derive(Args, Debug)]
#[command(
    after_help = "mkimage why-rebuilt server.hcl   what the next build will see that the last one did not\n\
    mkimage why-rebuilt server       what the last build saw that the one before did not"
)]
pub struct WhyRebuilt {
    /// Recipe file, or a ref
    #[arg(value_name = "RECIPE|REF")]
    pub place: PathBuf,
    /// Set a variable of the recipe, as for the build
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Read variables from a file of `name = value` lines, as for the build
    #[arg(long = "vars", value_name = "FILE")]
    pub vars: Vec<PathBuf>,
    /// PID 1 of app images [default: mkimage-init beside this program]
    #[arg(long, value_name = "FILE", env = "MKIMAGE_INIT", hide_env_values = true)]
    pub init: Option<PathBuf>,
}

pub fn run(context: &Context, arguments: WhyRebuilt) -> Done {
    let store = context.store()?;
    let rebuilt = match arguments.place.is_file() {
        true => of_recipe(context, &store, arguments)?,
        false => of_ref(context, &store, &arguments.place)?,
    };
    if context.printer.wants_json() {
        context.printer.data(&as_json(&rebuilt), String::new)?;
    } else {
        context.printer.bytes(as_text(&rebuilt).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn of_recipe(context: &Context, store: &Store, arguments: WhyRebuilt) -> Result<Since, Failure> {
    let recipe = RecipeArgs { recipe: arguments.place, set: arguments.set, vars: arguments.vars };
    let plan = context.load(&recipe)?;
    let packages = PackageArgs { mirror: None, vendor: None, offline: true };
    let options = context.options(&recipe.recipe, &packages, arguments.init)?;
    let rebuilt = pipeline::since_last_build(&plan, &options, store, &context.job);
    rebuilt.map_err(|error| context.failure(error))
}

/// Compares the commit that a ref leads to with that of the move before.
fn of_ref(context: &Context, store: &Store, name: &Path) -> Result<Since, Failure> {
    let name = name.to_string_lossy();
    let find = |text: &str| store.resolve(text).map_err(Failure::from);
    let (new, old) = (find(&name)?, find(&format!("{name}~1")));
    let old = old.map_err(|failure| match failure.kind {
        Kind::NotFound => failure.hint("a ref that moved once has no build before; ids have none either"),
        _ => failure,
    })?;
    let compared = pipeline::compare(store, old, new, &context.job);
    let compared = compared.map_err(|error| context.failure(error))?;
    let text = |content: &Option<Content>| -> Result<Option<String>, Failure> {
        let bytes = content.map(|content| store.read_all(&content)).transpose();
        let bytes = bytes.map_err(crate::store::StoreError::from).map_err(Failure::from)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    // The lock is told package by package.
    let recipes =
        compared.texts.iter().filter_map(|changed| Some((changed.name.strip_prefix("recipe ")?, changed)));
    let texts = recipes.map(|(name, changed)| {
        Ok(ChangedText { name: name.to_owned(), old: text(&changed.old)?, new: text(&changed.new)? })
    });
    Ok(Since {
        last: Some(old),
        settings: compared.settings,
        texts: texts.collect::<Result<_, Failure>>()?,
        inputs: compared.inputs,
        packages: compared.packages,
        lock: None,
    })
}

fn as_text(rebuilt: &Since) -> String {
    let Some(last) = &rebuilt.last else { return "there was no build before\n".to_owned() };
    if rebuilt.is_empty() {
        return format!("nothing changed since commit {}: the next build finds it again\n", short(last));
    }
    let mut lines = vec![since(last)];
    for text in &rebuilt.texts {
        lines.push(text_head(text));
        let side = |text: &Option<String>| text.clone().unwrap_or_default();
        lines.extend(
            patch::of_texts(&side(&text.old), &side(&text.new)).iter().map(|line| format!("  {line}")),
        );
    }
    lines.extend(rebuilt.settings.iter().map(changes::difference));
    let input = |input: &Difference| Difference { name: format!("input {}", input.name), ..input.clone() };
    lines.extend(rebuilt.inputs.iter().map(|changed| changes::difference(&input(changed))));
    let package = |package: &PackageDifference| format!("package {}", changes::package(package));
    lines.extend(rebuilt.packages.iter().map(package));
    lines.extend(rebuilt.lock.iter().map(|problem| format!("lock: {problem}")));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn since(last: &CommitId) -> String {
    format!("changed since commit {}:", short(last))
}

/// Names a text and the first line that differs, as it is now.
fn text_head(text: &ChangedText) -> String {
    match (&text.old, &text.new) {
        (None, _) => format!("recipe {}: new", text.name),
        (_, None) => format!("recipe {}: no longer read", text.name),
        (Some(old), Some(new)) => format!("recipe {}:{}: changed", text.name, first_difference(old, new)),
    }
}

/// Returns the number of the first line that differs, from 1 on.
fn first_difference(old: &str, new: &str) -> usize {
    old.lines().zip(new.lines()).take_while(|(old, new)| old == new).count() + 1
}

fn as_json(rebuilt: &Since) -> serde_json::Value {
    let text = |text: &ChangedText| {
        let line = text.old.as_ref().zip(text.new.as_ref()).map(|(old, new)| first_difference(old, new));
        serde_json::json!({ "name": text.name, "line": line, "old": text.old, "new": text.new })
    };
    serde_json::json!({
        "last": rebuilt.last, "changed": !rebuilt.is_empty(), "settings": rebuilt.settings,
        "recipe": rebuilt.texts.iter().map(text).collect::<Vec<_>>(), "inputs": rebuilt.inputs,
        "packages": rebuilt.packages, "lock": rebuilt.lock,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_named() {
        assert_eq!(first_difference("a\nb\nc\n", "a\nx\nc\n"), 2);
        assert_eq!(first_difference("a\n", "a\nb\n"), 2);
        let text = ChangedText { name: "x.hcl".into(), old: Some("1\n".into()), new: Some("2\n".into()) };
        assert_eq!(text_head(&text), "recipe x.hcl:1: changed");
    }
}

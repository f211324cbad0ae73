use std::process::ExitCode;

use clap::Args;

use super::super::failure::Failure;
use super::super::text::{plural, short};
use super::{Context, Done};
use crate::store::{Expected, RefName, RefValue, Store, StoreError};

/// `mkimage refs`: lists refs, or removes some.
#[derive(Args, Debug)]
pub struct Refs {
    /// List only this ref and what lies below it: `env`, `tag`
    #[arg(value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// Remove a ref; several go as a whole. `mkimage undo` brings them back
    #[arg(long, value_name = "REF", conflicts_with = "prefix")]
    pub delete: Vec<String>,
}

pub fn run(context: &Context, arguments: &Refs) -> Done {
    let store = context.store()?;
    if !arguments.delete.is_empty() {
        return delete(context, &store, &arguments.delete);
    }
    let mut refs = store.refs().map_err(Failure::from)?;
    if let Some(prefix) = &arguments.prefix {
        let prefix = prefix.trim_end_matches('/');
        let is_below = |name: &RefName| {
            name.as_str().strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        refs.retain(|name, _| is_below(name));
    }
    if refs.is_empty() && !store.exists().map_err(Failure::from)? {
        context.printer.say(&format!("there is no store in {} yet", store.path().display()));
    }
    let rows: Vec<serde_json::Value> =
        refs.iter().map(|(name, value)| serde_json::json!({ "name": name, "value": value })).collect();
    context.printer.data(&rows, || {
        let width = refs.keys().map(|name| name.as_str().len()).max().unwrap_or(0);
        let line = |(name, value): (&RefName, &RefValue)| {
            format!("{:width$} {} move {}\n", name.as_str(), short(&value.commit), value.generation)
        };
        refs.iter().map(line).collect()
    })?;
    Ok(ExitCode::SUCCESS)
}

fn delete(context: &Context, store: &Store, names: &[String]) -> Done {
    let mut wanted = Vec::new();
    for name in names {
        let name = reference(name)?;
        let value = read(store, &name)?;
        if !wanted.iter().any(|(other, _)| *other == name) {
            wanted.push((name, Expected::of(Some(&value))));
        }
    }
    let done = store.remove_refs(&context.job, &wanted, "removed").map_err(Failure::from)?;
    if context.printer.wants_json() {
        context.printer.data(&done.refs, String::new)?;
        return Ok(ExitCode::SUCCESS);
    }
    for change in &done.refs {
        context.printer.say(&format!("removed {}, which led to {}", change.name, change.value.commit));
    }
    context.printer.say(&format!("`mkimage undo` brings {} back", plural(done.refs.len() as u64, "ref")));
    Ok(ExitCode::SUCCESS)
}

/// Checks the name of a ref.
pub fn reference(name: &str) -> Result<RefName, Failure> {
    RefName::new(name).map_err(StoreError::from).map_err(Failure::from)
}

/// Reads a ref that must be there.
pub fn read(store: &Store, name: &RefName) -> Result<RefValue, Failure> {
    let unknown = || StoreError::Unknown { name: name.to_string(), near: store.near(name.as_str()) };
    store.read_ref(name).map_err(Failure::from)?.ok_or_else(|| unknown().into())
}

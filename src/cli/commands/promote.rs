use std::process::ExitCode;

use clap::Args;

use super::super::failure::{Failure, Kind};
use super::super::text::short;
use super::refs::reference;
use super::{Context, Done, changes};
use crate::base::CommitId;
use crate::base::whole;
use crate::pipeline::{Comparison, compare};
use crate::store::{Expected, RefName, RefUpdate, RefValue, Store, StoreError};

/// `mkimage promote`: the same commit under another name.
#[derive(Args, Debug)]
#[command(
    after_help = "Several pairs move as a whole or not at all:\n  mkimage promote test/web prod/web test/api prod/api"
)]
pub struct Promote {
    /// Commit (ref, REF~N, id) and the ref that is to lead to it; once or more
    #[arg(value_names = ["FROM", "TO"], required = true, num_args = 2..)]
    pub pairs: Vec<String>,
    /// Move only where TO leads there now; `-` where it must be new. Once for each pair
    #[arg(long, value_name = "REV", allow_hyphen_values = true)]
    pub expect: Vec<String>,
    /// What the log says of it [default: promote FROM]
    #[arg(long, short, value_name = "TEXT")]
    pub message: Option<String>,
    /// Only show what would change
    #[arg(long)]
    pub dry_run: bool,
}

/// One ref, and what becomes of it.
struct Promotion {
    to: RefName,
    found: Option<RefValue>,
    new: CommitId,
    /// What changes for it, or why that can't be told. `None` where it is new or stays.
    changed: Option<Result<Comparison, String>>,
}

pub fn run(context: &Context, arguments: &Promote) -> Done {
    let store = context.store()?;
    let promotions = read(context, &store, arguments)?;
    let updates: Vec<RefUpdate> = promotions
        .iter()
        .map(|it| RefUpdate { name: it.to.clone(), expected: Expected::of(it.found.as_ref()), new: it.new })
        .collect();
    if !arguments.dry_run {
        let mut from: Vec<&str> = arguments.pairs.chunks(2).map(|pair| &*pair[0]).collect();
        from.dedup();
        let message = arguments.message.clone().unwrap_or_else(|| format!("promote {}", from.join(" ")));
        store.begin(&context.job).commit(&updates, &message).map_err(Failure::from)?;
    }
    let rows: Vec<serde_json::Value> = promotions.iter().map(as_json).collect();
    context.printer.data(&rows, || promotions.iter().map(as_text).collect())?;
    if arguments.dry_run {
        context.printer.say("nothing was moved: --dry-run");
    }
    Ok(ExitCode::SUCCESS)
}

fn read(context: &Context, store: &Store, arguments: &Promote) -> Result<Vec<Promotion>, Failure> {
    let (pairs, rest) = arguments.pairs.as_chunks::<2>();
    if let [alone] = rest {
        return Err(Failure::new(
            Kind::Usage,
            format!("{alone} has no ref to go to: expected FROM TO pairs"),
        ));
    }
    if !arguments.expect.is_empty() && arguments.expect.len() != pairs.len() {
        let (expects, pairs) = (arguments.expect.len(), pairs.len());
        return Err(Failure::new(
            Kind::Usage,
            format!("{pairs} pairs have {expects} --expect: give one for each"),
        ));
    }
    let mut promotions = Vec::new();
    for (index, [from, to]) in pairs.iter().enumerate() {
        let new = store.resolve(from).map_err(Failure::from)?;
        let to = reference(to)?;
        let found = store.read_ref(&to).map_err(Failure::from)?;
        if let Some(expect) = arguments.expect.get(index) {
            hold_against(store, &to, found.as_ref(), expect)?;
        }
        let previous = found.map(|value| value.commit).filter(|commit| *commit != new);
        let changed =
            previous.map(|old| compare(store, old, new, &context.job).map_err(|error| whole(&error)));
        promotions.push(Promotion { to, found, new, changed });
    }
    Ok(promotions)
}

/// Refuses a ref that does not lead where the caller thinks.
fn hold_against(store: &Store, to: &RefName, found: Option<&RefValue>, expect: &str) -> Result<(), Failure> {
    let expected = match expect {
        "-" => None,
        revision => Some(store.resolve(revision).map_err(Failure::from)?),
    };
    if found.map(|value| value.commit) == expected {
        return Ok(());
    }
    let generation = found.map_or(0, |value| value.generation);
    let expected = expected.map_or(Expected::Missing, |commit| Expected::Value(generation, commit));
    Err(StoreError::Moved { name: to.clone(), expected, found: found.copied().map(Box::new) }.into())
}

fn as_text(promotion: &Promotion) -> String {
    let Promotion { to, found, new, changed } = promotion;
    let new = short(new);
    match (found, changed) {
        (None, _) => format!("{to}: new → {new}\n"),
        (Some(_), None) => format!("{to}: leads to {new} already\n"),
        (Some(found), Some(changed)) => {
            let mut text = format!("{to}: {} → {new}\n", short(&found.commit));
            match changed {
                Ok(comparison) => {
                    for line in changes::heads(comparison) {
                        text.push_str(&format!("    {line}\n"));
                    }
                    text.push_str(&format!("    {}\n", changes::counts(&comparison.counts())));
                }
                Err(problem) => text.push_str(&format!("    what changes can't be told: {problem}\n")),
            }
            text
        }
    }
}

fn as_json(promotion: &Promotion) -> serde_json::Value {
    let Promotion { to, found, new, changed } = promotion;
    let changes = match changed {
        Some(Ok(comparison)) => changes::short_json(comparison),
        _ => serde_json::Value::Null,
    };
    let old = found.map(|value| value.commit);
    serde_json::json!({ "ref": to, "old": old, "new": new, "moved": old != Some(*new), "changes": changes })
}

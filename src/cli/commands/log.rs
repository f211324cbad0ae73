use std::process::ExitCode;

use clap::Args;

use super::super::failure::{Failure, Kind};
use super::super::printer::Reader;
use super::super::text::{date, short};
use super::{Context, Done, changes};
use crate::pipeline::{Comparison, compare};
use crate::store::{JointMove, LogEntry, Objects, RefName, Revision, Store, StoreError};

/// `mkimage log`: shows the moves of a ref and what changed at each, the newest first.
#[derive(Args, Debug)]
pub struct Log {
    /// Ref, or REF~N to begin N moves ago
    #[arg(value_name = "REF", required_unless_present = "all")]
    pub reference: Option<String>,
    /// Show the moves of all refs, also of removed ones: those that were made together stand together
    #[arg(long, conflicts_with = "reference")]
    pub all: bool,
    /// Show at most this many moves
    #[arg(long, short = 'n', value_name = "N")]
    pub number: Option<usize>,
    /// List each package and file that changed
    #[arg(long, conflicts_with_all = ["all", "oneline"])]
    pub stat: bool,
    /// One line a move; what changed is not looked for
    #[arg(long)]
    pub oneline: bool,
}

pub fn run(context: &Context, arguments: &Log) -> Done {
    let store = context.store()?;
    let limit = arguments.number.unwrap_or(usize::MAX);
    match &arguments.reference {
        Some(text) => of_one(context, &store, text, limit, arguments),
        None => of_all(context, &store, limit),
    }
}

fn of_one(context: &Context, store: &Store, text: &str, limit: usize, arguments: &Log) -> Done {
    let (_, entries) = entries(store, text)?;
    let mut rows = Vec::new();
    for entry in entries.iter().take(limit) {
        context.job.check().map_err(|stop| Failure::of(Kind::Interrupted, &stop))?;
        let changed = (!arguments.oneline).then(|| what_changed(context, store, entry)).flatten();
        if context.printer.wants_json() {
            rows.push(as_json(entry, changed.as_ref(), arguments.stat));
            continue;
        }
        let mut text = headline(store, entry);
        match &changed {
            None => {}
            Some(Ok(comparison)) if arguments.stat => text.push_str(&changes::list(comparison, "       ")),
            Some(Ok(comparison)) => text.push_str(&format!("       {}\n", changes::summary(comparison))),
            Some(Err(problem)) => text.push_str(&format!("       what changed can't be told: {problem}\n")),
        }
        if context.printer.bytes(text.as_bytes())? == Reader::Gone {
            break;
        }
    }
    if context.printer.wants_json() {
        context.printer.data(&rows, String::new)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the moves of a ref, newest first, from where a revision says.
pub fn entries(store: &Store, text: &str) -> Result<(RefName, Vec<LogEntry>), Failure> {
    let revision: Revision = text.parse().map_err(StoreError::from).map_err(Failure::from)?;
    let unknown = || StoreError::Unknown { name: text.to_owned(), near: store.near(&revision.base.text) };
    let Some(name) = revision.base.name.clone().filter(|_| revision.parents.is_empty()) else {
        let problem = format!("{text} is no ref: commits have no moves, only refs do");
        return Err(Failure::new(Kind::Usage, problem).hint("`mkimage refs` lists the refs of the store"));
    };
    let mut entries = store.log(&name).map_err(Failure::from)?;
    if entries.is_empty() {
        return Err(unknown().into());
    }
    if revision.moves >= entries.len() {
        let (moves, asked) = (entries.len() - 1, revision.moves);
        return Err(StoreError::NoSuchMove { name, moves, asked }.into());
    }
    entries.drain(..revision.moves);
    Ok((name, entries))
}

type Told = Result<Comparison, String>;

/// Compares a move with where the ref led before it; `None` for the first and for a removal.
fn what_changed(context: &Context, store: &Store, entry: &LogEntry) -> Option<Told> {
    let previous = entry.value.previous.filter(|_| !entry.removed)?;
    let compared = compare(store, previous, entry.value.commit, &context.job);
    Some(compared.map_err(|error| crate::base::whole(&error)))
}

fn headline(store: &Store, entry: &LogEntry) -> String {
    let value = &entry.value;
    let time = date(value.seconds);
    let message = &entry.message;
    if entry.removed {
        return format!("{:>6} {time} removed      {message}\n", value.generation);
    }
    let version = store.read_commit(&value.commit).ok().and_then(|commit| commit.version);
    let version = version.map(|version| format!(" version {version}")).unwrap_or_default();
    format!("{:>6} {time} {}{version} {message}\n", value.generation, short(&value.commit))
}

fn as_json(entry: &LogEntry, changed: Option<&Told>, whole: bool) -> serde_json::Value {
    let mut value = serde_json::to_value(entry).expect("because its keys are strings");
    let object = value.as_object_mut().expect("because an entry is a structure");
    match changed {
        None => {}
        Some(Ok(comparison)) => {
            let changes = if whole { changes::as_json(comparison) } else { changes::short_json(comparison) };
            object.insert("changes".to_owned(), changes);
        }
        Some(Err(problem)) => {
            object.insert("problem".to_owned(), problem.as_str().into());
        }
    }
    value
}

fn of_all(context: &Context, store: &Store, limit: usize) -> Done {
    let mut moves = store.joint_moves().map_err(Failure::from)?;
    moves.truncate(limit);
    context.printer.data(&moves, || moves.iter().map(joint).collect())?;
    Ok(ExitCode::SUCCESS)
}

/// Shows refs that moved together.
pub fn joint(joint: &JointMove) -> String {
    let mut text = format!("{} {}\n", date(joint.seconds), joint.message);
    let width = joint.refs.iter().map(|(name, _)| name.as_str().len()).max().unwrap_or(0);
    for (name, entry) in &joint.refs {
        let now = short(&entry.value.commit);
        let moved = match entry.value.previous.map(|previous| short(&previous)) {
            Some(before) if entry.removed => format!("{before} → removed"),
            Some(before) => format!("{before} → {now}"),
            None => format!("new → {now}"),
        };
        text.push_str(&format!("    {:width$} {moved}\n", name.as_str()));
    }
    text
}

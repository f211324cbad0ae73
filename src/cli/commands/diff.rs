use std::process::ExitCode;

use clap::Args;

use super::super::failure::{Failure, Kind};
use super::super::text::short;
use super::look::{self, Place};
use super::{Context, Done, changes, patch};
use crate::base::{CommitId, ImagePath};
use crate::pipeline::{self, Comparison, Counts};
use crate::store::{Objects, Store, TreeChange};

/// `mkimage diff`: shows what differs between two commits, trees or files.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 nothing differs, 1 something does; others as everywhere.")]
pub struct Diff {
    /// Commit (ref, REF~N, id), or with :PATH what stands there. Alone, it is compared with the move before
    #[arg(value_name = "A")]
    pub old: String,
    /// What it is compared with
    #[arg(value_name = "B")]
    pub new: Option<String>,
    /// Compare only what stands at these paths and below
    #[arg(value_name = "PATH")]
    pub paths: Vec<String>,
    /// Count the files instead of listing them
    #[arg(long)]
    pub stat: bool,
    /// Print only the paths of the files that differ
    #[arg(long, conflicts_with_all = ["stat", "patch"])]
    pub name_only: bool,
    /// Show the lines that differ in texts
    #[arg(long, short, conflicts_with = "stat")]
    pub patch: bool,
}

/// What was compared.
enum Compared {
    Commits(Box<Comparison>),
    Files(Vec<TreeChange>),
}

pub fn run(context: &Context, arguments: &Diff) -> Done {
    let store = context.store()?;
    let (old, new) = sides(arguments);
    let compared = compare(context, &store, &old, &new, &arguments.paths)?;
    let differs = match &compared {
        Compared::Commits(comparison) => !comparison.is_empty(),
        Compared::Files(files) => !files.is_empty(),
    };
    if context.printer.wants_json() {
        context.printer.data(&as_json(&compared), String::new)?;
    } else if differs {
        let text = as_text(&store, &compared, arguments)?;
        context.printer.bytes(text.as_bytes())?;
    }
    Ok(if differs { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn sides(arguments: &Diff) -> (String, String) {
    match &arguments.new {
        Some(new) => (arguments.old.clone(), new.clone()),
        None => (format!("{}~1", arguments.old), arguments.old.clone()),
    }
}

fn compare(
    context: &Context,
    store: &Store,
    old: &str,
    new: &str,
    paths: &[String],
) -> Result<Compared, Failure> {
    let [old, new] = [look::place(store, old, None), look::place(store, new, None)];
    let (old, new) = (old?, new?);
    if let (Some(before), Some(after), true) = (old.commit, new.commit, paths.is_empty()) {
        let comparison = pipeline::compare(store, before, after, &context.job);
        return Ok(Compared::Commits(Box::new(comparison.map_err(|error| context.failure(error))?)));
    }
    if paths.is_empty() {
        return Ok(Compared::Files(below(context, store, &old, &new, &new.path)?));
    }
    let mut files = Vec::new();
    for text in paths {
        let path = look::path(text)?;
        let inside = |place: &Place| place.join(&path);
        let (old, new) = (inside(&old), inside(&new));
        let [there, there_too] = [&old, &new].map(|place| place.found(store));
        if there?.is_none() && there_too?.is_none() {
            return Err(Failure::new(Kind::NotFound, format!("{path}: nothing stands there in either")));
        }
        files.extend(below(context, store, &old, &new, &path)?);
    }
    files.sort_by(|a, b| a.path.names().cmp(b.path.names()));
    files.dedup();
    Ok(Compared::Files(files))
}

fn below(
    context: &Context,
    store: &Store,
    old: &Place,
    new: &Place,
    at: &ImagePath,
) -> Result<Vec<TreeChange>, Failure> {
    let (old, new) = (old.found(store)?, new.found(store)?);
    store.difference_at(at, old.as_ref(), new.as_ref(), &context.job).map_err(Failure::from)
}

fn as_json(compared: &Compared) -> serde_json::Value {
    match compared {
        Compared::Commits(comparison) => changes::as_json(comparison),
        Compared::Files(files) => {
            let rows: Vec<_> = files.iter().map(changes::file_json).collect();
            serde_json::json!({ "counts": Counts::of(files), "files": rows })
        }
    }
}

fn as_text(store: &Store, compared: &Compared, arguments: &Diff) -> Result<String, Failure> {
    let (files, boot, mut lines) = match compared {
        Compared::Commits(comparison) => {
            let heads = [headline(store, "---", &comparison.old), headline(store, "+++", &comparison.new)];
            let lines = heads.into_iter().chain(changes::heads(comparison)).collect();
            (&comparison.files[..], &comparison.boot[..], lines)
        }
        Compared::Files(files) => (&files[..], &[][..], Vec::new()),
    };
    let all = files.iter().map(|change| (change, "")).chain(boot.iter().map(|change| (change, "boot:")));
    if arguments.name_only {
        let names = all.map(|(change, prefix)| format!("{prefix}{}\n", change.path));
        return Ok(names.collect());
    }
    let counts = changes::counts(&Counts::of(files.iter().chain(boot)));
    if !arguments.stat {
        for (change, prefix) in all {
            lines.push(changes::file(change, prefix));
            if arguments.patch {
                lines.extend(patch::of_change(store, change)?);
            }
        }
    }
    if arguments.patch
        && let Compared::Commits(comparison) = compared
    {
        for text in &comparison.texts {
            lines.push(format!("M {}", text.name));
            lines.extend(patch::of_contents(store, text.old.as_ref(), text.new.as_ref())?);
        }
    }
    lines.push(counts);
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}

fn headline(store: &Store, mark: &str, id: &CommitId) -> String {
    let commit = store.read_commit(id).ok();
    let name = commit.map(|commit| format!("{} {}", commit.name, commit.version.unwrap_or_default()));
    format!("{mark} {} {}", short(id), name.unwrap_or_default()).trim_end().to_owned()
}

use std::process::ExitCode;

use clap::Args;

use super::super::failure::{Failure, Kind};
use super::super::text::short;
use super::look::{self, Place, Stores};
use super::patch::Sources;
use super::{Context, Done, changes, patch};
use crate::base::{CommitId, ImagePath, Name};
use crate::pipeline::{self, Comparison, Counts};
use crate::store::{Store, TreeChange};
use crate::tree::{Directory, Node};
use crate::view::{self, View};

/// `mkimage diff`: shows what differs between two commits, trees or files.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 nothing differs, 1 something does; others as everywhere.")]
pub struct Diff {
    /// Commit (ref, REF~N, id) or IMAGE; with :/PATH what stands there. A ref alone is compared with the move before
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
    let (old, new) = sides(arguments);
    let stores = Stores::default();
    if view::needs_store(&old) && view::needs_store(&new) {
        let store = stores.get(context)?;
        let compared = compare(context, store, &old, &new, &arguments.paths)?;
        return show(context, (store, store), &compared, arguments);
    }
    if arguments.new.is_none() {
        let problem = format!("{} is an image: what is it to be compared with?", arguments.old);
        return Err(Failure::new(Kind::Usage, problem).hint("mkimage diff A B, each a commit or an image"));
    }
    let (old, new) = (stores.view(context, &old)?, stores.view(context, &new)?);
    let compared = compare_views(context, &old, &new, &arguments.paths)?;
    show(context, (&old, &new), &compared, arguments)
}

fn show(context: &Context, sources: Sources<'_>, compared: &Compared, arguments: &Diff) -> Done {
    let differs = match compared {
        Compared::Commits(comparison) => {
            // An image is its bytes, whatever commit it says it is.
            !comparison.is_empty() || !comparison.files.is_empty()
        }
        Compared::Files(files) => !files.is_empty(),
    };
    if context.printer.wants_json() {
        context.printer.data(&as_json(compared), String::new)?;
    } else if differs {
        let text = as_text(sources, compared, arguments)?;
        context.printer.bytes(text.as_bytes())?;
    }
    Ok(if differs { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn sides(arguments: &Diff) -> (String, String) {
    match &arguments.new {
        Some(new) => (arguments.old.clone(), new.clone()),
        None if !view::needs_store(&arguments.old) => (arguments.old.clone(), arguments.old.clone()),
        None => (format!("{}~1", arguments.old), arguments.old.clone()),
    }
}

/// Compares what two views hold, whole or at some paths.
fn compare_views(
    context: &Context,
    old: &View<'_>,
    new: &View<'_>,
    paths: &[String],
) -> Result<Compared, Failure> {
    if paths.is_empty() && old.path().is_none() && new.path().is_none() {
        let comparison = pipeline::compare_views(old, new, &context.job);
        if let Some(comparison) = comparison.map_err(|error| context.failure(error))? {
            return Ok(Compared::Commits(Box::new(comparison)));
        }
    }
    let root = [ImagePath::root()];
    let paths = paths.iter().map(|text| look::path(text)).collect::<Result<Vec<_>, _>>()?;
    let mut files = Vec::new();
    for path in if paths.is_empty() { &root[..] } else { &paths[..] } {
        let [before, after] = [old, new].map(|view| alone(context, view, path));
        let (before, after) = (before?, after?);
        if before.entries.is_empty() && after.entries.is_empty() {
            return Err(Failure::new(Kind::NotFound, format!("{path}: nothing stands there in either")));
        }
        let at = if paths.is_empty() { new.path().unwrap_or(path) } else { path };
        files.extend(pipeline::tree_changes(&ImagePath::root(), &before, &after).into_iter().map(|change| {
            let below: Vec<&[u8]> = change.path.names().skip(1).collect();
            let names = below.into_iter().filter_map(|name| Name::new(name).ok());
            TreeChange { path: names.fold(at.clone(), |path, name| path.join(&name)), ..change }
        }));
    }
    files.sort_by(|a, b| a.path.names().cmp(b.path.names()));
    files.dedup();
    Ok(Compared::Files(files))
}

/// Returns a tree whose only entry is what stands at a path of a view, behind the path that the view was opened
/// with; an empty one where nothing does.
fn alone(context: &Context, view: &View<'_>, path: &ImagePath) -> Result<Directory, Failure> {
    let at = look::joined(view.path().unwrap_or(&ImagePath::root()), path);
    let whole = view.tree(&context.job)?;
    let node = match at.is_root() {
        true => Some(Node::Directory(whole.clone())),
        false => whole.get(&at).cloned(),
    };
    let name = Name::new(b"it").expect("because it is a name");
    Ok(Directory { entries: node.map(|node| (name, node)).into_iter().collect(), ..Directory::default() })
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

fn as_text(sources: Sources<'_>, compared: &Compared, arguments: &Diff) -> Result<String, Failure> {
    let (files, boot, mut lines) = match compared {
        Compared::Commits(comparison) => {
            let heads = [
                headline("---", &comparison.old, &comparison.names.0),
                headline("+++", &comparison.new, &comparison.names.1),
            ];
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
                lines.extend(patch::of_change(sources, change)?);
            }
        }
    }
    if arguments.patch
        && let Compared::Commits(comparison) = compared
    {
        for text in &comparison.texts {
            lines.push(format!("M {}", text.name));
            let lines_of = patch::of_contents(sources, text.old.as_ref(), text.new.as_ref());
            lines.extend(lines_of.unwrap_or_else(|_| vec!["  (an image does not hold it)".to_owned()]));
        }
    }
    lines.push(counts);
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}

fn headline(mark: &str, id: &CommitId, name: &str) -> String {
    format!("{mark} {} {name}", short(id)).trim_end().to_owned()
}

//! What spans several blocks.

use std::collections::BTreeMap;

use super::super::diagnostics::{Code, Problem};
use super::super::source::Span;
use super::fields::Fields;
use super::{Context, app, one};
use crate::base::ImagePath;

pub(super) fn check(checked: &[Fields<'_>], context: &Context<'_>) {
    what_runs(checked, context);
    base_is_another(checked, context);
    duplicate_paths(checked, context);
    duplicate_trees(checked, context);
    duplicate_ports(checked, context);
    packages_agree(checked, context);
}

/// All blocks of a distribution are solved as one problem: what holds for all of it can't differ among them.
fn packages_agree(checked: &[Fields<'_>], context: &Context<'_>) {
    let mut firsts: BTreeMap<String, &Fields<'_>> = BTreeMap::new();
    for fields in checked.iter().filter(|fields| fields.row.name == "packages") {
        let first = firsts.entry(fields.title()).or_insert(fields);
        for key in ["dependencies", "essential", "recommends", "database"] {
            if !fields.agrees(first, key) {
                let message = format!("`{key}` differs from that of the first block `{}`", fields.title());
                let problem = Problem::new(Code::Conflict, fields.span_or_header(key), message);
                let problem = problem.also(first.span_or_header(key), "first here");
                context.report(
                    problem.hint("blocks of one distribution are one set of packages: say the same in both"),
                );
            }
        }
    }
}

/// An image on its own last build would grow by itself at each one.
fn base_is_another(checked: &[Fields<'_>], context: &Context<'_>) {
    let image = one(checked, "image").and_then(Fields::label_text);
    let Some(fields) = one(checked, "base") else { return };
    let Some(commit) = fields.text("commit") else { return };
    if image.is_some_and(|image| commit.split(['~', '^']).next() == Some(&image)) {
        let message = "an image can't stand on the ref that its own builds move";
        let problem = Problem::new(Code::Conflict, fields.span_or_header("commit"), message);
        context.report(problem.hint("name another ref, or pin the commit by its whole id"));
    }
}

/// The app and a system's own init exclude each other; a kernel needs one of them.
fn what_runs(checked: &[Fields<'_>], context: &Context<'_>) {
    let app = one(checked, "app");
    let image = one(checked, "image");
    let init = image.and_then(|fields| fields.span("init"));
    if let (Some(app), Some(init)) = (app, init) {
        let message = "`app` and `init` of the image exclude each other";
        let problem = Problem::new(Code::Conflict, app.block.header, message).also(init, "the other one");
        context
            .report(problem.hint("with `init` the tree's own system starts everything: remove one of them"));
    }
    let health = one(checked, "boot").and_then(|boot| boot.inner.first());
    if let (Some(health), None) = (health, init)
        && image.is_none_or(Fields::whole)
    {
        let message = "`health` in `boot` is that of a whole system, and the image has no `init`";
        let problem = Problem::new(Code::Conflict, health.block.header, message);
        context.report(problem.hint("an app's stands in its block `app`"));
    }
    let Some(kernel) = one(checked, "kernel") else { return };
    let whole = image.is_none_or(Fields::whole) && !context.evaluator.problems.any_torn();
    if app.is_none() && init.is_none() && whole {
        let message = "a kernel, but nothing for it to run";
        let problem = Problem::new(Code::Conflict, kernel.block.header, message);
        context.report(problem.hint("add a block `app \"NAME\" {`, or `init = \"/sbin/init\"` to the image"));
    }
}

/// Two blocks that make the same path, unless the later one says that it may.
fn duplicate_paths(checked: &[Fields<'_>], context: &Context<'_>) {
    let mut made: BTreeMap<ImagePath, Span> = BTreeMap::new();
    for fields in checked {
        let Some((path, span)) = path_of(fields) else { continue };
        if path.is_root() && fields.row.name != "directory" {
            continue;
        }
        let replaces = fields.truth("replace") || fields.paths("replace").contains(&path);
        match made.get(&path) {
            Some(first) if !replaces => {
                let problem = Problem::new(Code::DuplicatePath, span, format!("two blocks make {path}"));
                let hint = "remove one of them, or let the later one take over: `replace = true`";
                context.report(problem.also(*first, "first here").hint(hint));
            }
            _ => drop(made.insert(path, span)),
        }
    }
}

/// Returns the path that a block makes for sure.
fn path_of(fields: &Fields<'_>) -> Option<(ImagePath, Span)> {
    match fields.row.name {
        "file" | "directory" | "symlink" | "hard_link" | "device" => {
            Some((fields.label_path()?, fields.block.header))
        }
        "app" if app::is_file_app(fields) => Some((app::target(fields)?, fields.block.header)),
        _ => None,
    }
}

fn duplicate_trees(checked: &[Fields<'_>], context: &Context<'_>) {
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    for fields in checked.iter().filter(|fields| fields.row.name == "tree") {
        let Some(name) = fields.label_text() else { continue };
        if let Some(first) = seen.insert(name.clone(), fields.block.header) {
            let message = format!("two blocks `tree \"{name}\"`");
            let problem = Problem::new(Code::DuplicateBlock, fields.block.header, message);
            context.report(problem.also(first, "first here").hint("give one of them another name"));
        }
    }
}

fn duplicate_ports(checked: &[Fields<'_>], context: &Context<'_>) {
    let Some(fields) = one(checked, "app") else { return };
    for (index, (port, span)) in fields.list("ports").iter().enumerate() {
        if let Some((_, first)) = fields.list("ports")[..index].iter().find(|(other, _)| other == port) {
            let problem = Problem::new(Code::BadValue, *span, "`ports`: the same port twice");
            context.report(problem.also(*first, "first here").hint("remove one of them"));
        }
    }
}

//! `packages` with its `source` blocks, and `run`.

use std::path::PathBuf;

use super::super::diagnostics::{Code, Problem};
use super::super::plan::{ArchivePlan, PackageDatabase, PackageName, PackagesPlan, RunPlan, ScriptPolicy};
use super::Context;
use super::fields::{Fields, Typed};
use crate::base::ImagePath;

/// The priority of a source that states none: apt's.
pub(super) const PRIORITY: i32 = 500;
/// The shell that reads scripts of `run`.
const SHELL: [&str; 3] = ["/bin/sh", "-e", "-c"];

/// Returns the block whose archive serves kernel and loader where these name none.
pub(super) fn first_debian<'a, 'b>(checked: &'a [Fields<'b>]) -> Option<&'a Fields<'b>> {
    checked.iter().find(|fields| {
        fields.row.name == "packages" && distribution(fields) == "debian" && fields.span("suite").is_some()
    })
}

fn distribution<'a>(fields: &Fields<'a>) -> &'a str {
    fields.block.labels.first().map_or("", |label| &label.text)
}

pub(super) fn packages(fields: &Fields<'_>, context: &Context<'_>) -> Option<PackagesPlan> {
    let is_rpm = distribution(fields) == "rpm";
    let archives = archives(fields, is_rpm, context);
    fields.sound().then_some(())?;
    let dependencies = fields.bool("dependencies").unwrap_or(true);
    let essential = fields.bool("essential").unwrap_or(dependencies && !is_rpm);
    Some(PackagesPlan {
        distribution: distribution(fields).to_owned(),
        archives: archives?,
        names: fields.texts("names").iter().map(|text| name(text)).collect(),
        dependencies,
        essential,
        recommends: fields.truth("recommends"),
        exclude: fields.texts("exclude"),
        pins: fields.environment("pins"),
        holds: fields.texts("holds"),
        files: fields.host_paths("files", context),
        foreign_architectures: fields.texts("foreign_architectures"),
        keep: fields.texts("keep"),
        drop: fields.texts("drop"),
        scripts: fields
            .environment("scripts")
            .into_iter()
            .map(|(name, word)| (name, policy(&word)))
            .collect(),
        database: match fields.text("database").as_deref() {
            Some("full") => PackageDatabase::Full,
            Some("status.d") => PackageDatabase::StatusD,
            Some("none") => PackageDatabase::None,
            _ if essential || is_rpm => PackageDatabase::Full,
            _ => PackageDatabase::StatusD,
        },
        allow: fields.paths("allow"),
        replace: fields.paths("replace"),
        origin: context.origin(fields),
    })
}

/// Takes `openssh-server=1:9.2*` apart.
fn name(text: &str) -> PackageName {
    match text.split_once('=') {
        Some((name, version)) => PackageName { name: name.to_owned(), version: Some(version.to_owned()) },
        None => PackageName { name: text.to_owned(), version: None },
    }
}

fn policy(word: &str) -> ScriptPolicy {
    match word {
        "ignore" => ScriptPolicy::Ignore,
        "run" => ScriptPolicy::Run,
        _ => ScriptPolicy::Refuse,
    }
}

/// Returns the block's own archive and those of its sources. Two of one suite, and none at all, are reported.
fn archives(fields: &Fields<'_>, is_rpm: bool, context: &Context<'_>) -> Option<Vec<ArchivePlan>> {
    let mut archives = Vec::new();
    let mut seen: Vec<(String, super::super::source::Span)> = Vec::new();
    let mut all_right = true;
    let own = (fields.span("suite").is_some()).then_some(fields);
    for source in own.into_iter().chain(&fields.inner) {
        let Some(archive) = archive(source, is_rpm, context) else {
            all_right = false;
            continue;
        };
        let span = source.span_or_header("suite");
        let twice = |(suite, _): &&(String, _)| !is_rpm && *suite == archive.suite;
        if let Some((suite, first)) = seen.iter().find(twice) {
            let problem = Problem::new(Code::BadValue, span, format!("suite \"{suite}\" twice"));
            context.report(problem.also(*first, "first here").hint("remove one of them"));
            all_right = false;
        }
        seen.push((archive.suite.clone(), span));
        archives.push(archive);
    }
    if archives.is_empty() && all_right && fields.whole() {
        let message = format!("nothing says where the packages of `{}` come from", fields.title());
        let hint = match is_rpm {
            true => "add a block `source \"base\" {` with `mirror` and `signed_by`",
            false => "add it: `suite = \"bookworm\"`",
        };
        context.report(Problem::new(Code::MissingKey, fields.block.header, message).hint(hint));
        return None;
    }
    all_right.then_some(archives)
}

fn archive(fields: &Fields<'_>, is_rpm: bool, context: &Context<'_>) -> Option<ArchivePlan> {
    let needed = if is_rpm { "mirror" } else { "suite" };
    if fields.row.name == "source" && fields.span(needed).is_none() && fields.whole() {
        let message = format!("the key `{needed}` is missing in `source`");
        let example = if is_rpm { "\"http://mirror.invalid/base\"" } else { "\"bookworm-security\"" };
        let problem = Problem::new(Code::MissingKey, fields.block.header, message);
        context.report(problem.hint(format!("add it: `{needed} = {example}`")));
    }
    if let (true, Some((key, span))) = (is_rpm, fields.any_written(&["suite", "components"])) {
        let problem = Problem::new(Code::Conflict, span, format!("RPM repositories have no `{key}`"));
        context.report(problem.hint("remove it: `mirror` is the whole address"));
    }
    let components = fields.texts("components");
    let suite = if is_rpm { String::new() } else { fields.text("suite")? };
    Some(ArchivePlan {
        name: fields.label_text().filter(|_| fields.row.name == "source").unwrap_or_else(|| suite.clone()),
        suite,
        components: match is_rpm {
            true => Vec::new(),
            false if components.is_empty() => vec!["main".to_owned()],
            false => components,
        },
        mirror: if is_rpm { Some(fields.text("mirror")?) } else { fields.text("mirror") },
        signed_by: fields.host_path("signed_by", context),
        priority: fields.number("priority").and_then(|number| i32::try_from(number).ok()).unwrap_or(PRIORITY),
    })
}

pub(super) fn run(fields: &Fields<'_>, context: &Context<'_>) -> Option<RunPlan> {
    let command = command(fields, context);
    fields.sound().then_some(())?;
    let inputs = fields.environment("inputs").into_iter().filter_map(|(at, from)| {
        Some((ImagePath::new(at.as_bytes()).ok()?, context.host_path(fields, &from)))
    });
    Some(RunPlan {
        name: fields.label_text()?,
        command: command?,
        inputs: inputs.collect(),
        environment: fields.environment("environment"),
        working_directory: fields.path("working_directory").unwrap_or(ImagePath::root()),
        outputs: fields.texts("outputs"),
        timeout_seconds: fields.count("timeout_seconds").unwrap_or(600),
        origin: context.origin(fields),
    })
}

/// Returns what runs: `command`, or the shell with `script`; reports where it is both or none.
fn command(fields: &Fields<'_>, context: &Context<'_>) -> Option<Vec<String>> {
    match (fields.span("command"), fields.span("script")) {
        (Some(first), Some(second)) => {
            let problem = Problem::new(Code::Conflict, second, "`script` and `command` exclude each other");
            context.report(problem.also(first, "the other one").hint("keep one of them"));
            None
        }
        (None, None) => {
            if fields.whole() {
                let problem = Problem::new(Code::MissingKey, fields.block.header, "nothing says what to run");
                context.report(problem.hint("add `script = \"…\"` or `command = [\"/path\", …]`"));
            }
            None
        }
        (Some(_), None) => {
            super::app::absolute_program(fields, "command", context);
            Some(fields.texts("command"))
        }
        (None, Some(_)) => {
            let script = fields.text("script")?;
            Some(SHELL.iter().map(|word| (*word).to_owned()).chain([script]).collect())
        }
    }
}

impl Fields<'_> {
    /// Returns the truth of a key where it is written.
    fn bool(&self, key: &str) -> Option<bool> {
        self.span(key).map(|_| self.truth(key))
    }

    fn host_paths(&self, key: &str, context: &Context<'_>) -> Vec<PathBuf> {
        let path = |(typed, _): &(Typed, _)| match typed {
            Typed::Text(text) => Some(context.host_path(self, text)),
            _ => None,
        };
        self.list(key).iter().filter_map(path).collect()
    }
}

impl Context<'_> {
    /// Joins a host path with the folder of the file that a block is in.
    fn host_path(&self, fields: &Fields<'_>, text: &str) -> PathBuf {
        let file = self.file(fields.block.name.span);
        PathBuf::from(super::super::resolve::joined(file, text))
    }
}

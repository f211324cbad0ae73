//! `app` with its `health`, and `tree`.

use super::super::diagnostics::{Code, Problem};
use super::super::keywords::health_address;
use super::super::plan::{
    Account, AppPlan, Closure, HealthCheck, HealthPlan, Owner, Restart, SourcePlan, TreePlan,
};
use super::fields::{Fields, Typed};
use super::{Context, settled, start};
use crate::base::{ImagePath, Name};

/// What an app's source seems to be, by its name: an archive or directory ends like one of these.
const ARCHIVE_ENDS: [&str; 6] = ["/", ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz"];

pub(super) fn tree(fields: &Fields<'_>, context: &Context<'_>) -> Option<TreePlan> {
    fields.sound().then_some(())?;
    let target = fields.path("path").unwrap_or(ImagePath::root());
    Some(TreePlan {
        name: fields.label_text()?,
        source: source(fields, target, context)?,
        origin: context.origin(fields),
    })
}

fn source(fields: &Fields<'_>, target: ImagePath, context: &Context<'_>) -> Option<SourcePlan> {
    let either = fields.any_written(&["owner", "group"]).is_some();
    let owner = either.then(|| Owner {
        user: fields.account("owner").unwrap_or(Account::Id(0)),
        group: fields.account("group").unwrap_or(Account::Id(0)),
    });
    Some(SourcePlan {
        path: fields.host_path("source", context)?,
        target,
        strip_components: fields.count("strip_components").unwrap_or(0),
        allow: fields.paths("allow"),
        replace: fields.paths("replace"),
        owner,
        mode: fields.mode("mode"),
    })
}

pub(super) fn app(fields: &Fields<'_>, context: &Context<'_>) -> Option<AppPlan> {
    let command = command(fields, context);
    let inner = |name: &str| fields.inner.iter().find(|inner| inner.row.name == name);
    let health = inner("health").map(|inner| health(inner, context));
    let configuration = inner("configuration").map(|inner| start::configuration(inner, context));
    let log = inner("log").map(|inner| start::log(inner, context));
    fields.sound().then_some(())?;
    Some(AppPlan {
        name: fields.label_text()?,
        source: source(fields, target(fields)?, context)?,
        command: command?,
        user: user(fields),
        working_directory: fields.path("working_directory").unwrap_or(ImagePath::root()),
        environment: fields.environment("environment"),
        ports: ports(fields),
        capabilities: fields.texts("capabilities"),
        restart: match fields.text("restart").as_deref() {
            Some("on-failure") => Restart::OnFailure,
            Some("never") => Restart::Never,
            _ => Restart::Always,
        },
        stop_signal: fields.text("stop_signal").unwrap_or("SIGTERM".to_owned()),
        stop_timeout_seconds: fields.count("stop_timeout_seconds").unwrap_or(10),
        health: settled(health)?,
        configuration,
        log: match log {
            Some(log) => Some(log?),
            None => None,
        },
        closure: fields.text("closure").map(|_| Closure::Elf),
        origin: context.origin(fields),
    })
}

/// Returns the user that an app runs as.
pub(super) fn user(fields: &Fields<'_>) -> String {
    fields.text("user").unwrap_or("app".to_owned())
}

fn ports(fields: &Fields<'_>) -> Vec<u16> {
    let port = |(typed, _): &(Typed, _)| match typed {
        Typed::Number(port) => u16::try_from(*port).ok(),
        _ => None,
    };
    fields.list("ports").iter().filter_map(port).collect()
}

fn is_file(source: &str) -> bool {
    let last = source.rsplit('/').next().unwrap_or("");
    !ARCHIVE_ENDS.iter().any(|end| source.ends_with(end)) && last != "." && last != ".."
}

/// Tells whether an app's source looks like one file.
pub(super) fn is_file_app(fields: &Fields<'_>) -> bool {
    fields.text("source").is_some_and(|source| is_file(&source))
}

/// Returns where an app goes: as `path` says, else `/app/NAME` for a file and `/app` for others.
pub(super) fn target(fields: &Fields<'_>) -> Option<ImagePath> {
    if fields.span("path").is_some() {
        return fields.path("path");
    }
    let source = fields.text("source")?;
    let directory = ImagePath::root().join(&Name::new(b"app").ok()?);
    if !is_file(&source) {
        return Some(directory);
    }
    let name = source.rsplit('/').next().unwrap_or("");
    Name::new(name.as_bytes()).ok().map(|name| directory.join(&name))
}

/// Returns the command; by default the app itself, where it is one file.
fn command(fields: &Fields<'_>, context: &Context<'_>) -> Option<Vec<String>> {
    if fields.span("command").is_some() {
        absolute_program(fields, "command", context);
        return Some(fields.texts("command"));
    }
    let source = fields.text("source")?;
    if is_file(&source) {
        let target = target(fields)?;
        return Some(vec![String::from_utf8(target.as_bytes().to_vec()).ok()?]);
    }
    if fields.whole() {
        let message = "the key `command` is missing in `app`";
        let problem = Problem::new(Code::MissingKey, fields.block.header, message);
        let problem = problem.also(fields.span_or_header("source"), "this looks like a directory or archive");
        context.report(problem.hint("say what runs: `command = [\"/app/PROGRAM\"]`"));
    }
    None
}

/// Reports a program that is no absolute path.
pub(super) fn absolute_program(fields: &Fields<'_>, key: &str, context: &Context<'_>) {
    let Some((Typed::Text(program), span)) = fields.list(key).first() else { return };
    if ImagePath::new(program.as_bytes()).is_ok_and(|path| !path.is_root()) {
        return;
    }
    let message = format!("`{key}`: the program \"{program}\" is no absolute path inside the image");
    let problem = Problem::new(Code::BadValue, *span, message);
    context.report(problem.hint("there is no search path: write it as in \"/app/hello\""));
}

/// Reads the health of an app, or of a whole system.
pub(super) fn health(fields: &Fields<'_>, context: &Context<'_>) -> Option<HealthPlan> {
    absolute_program(fields, "command", context);
    let written: Vec<&str> =
        ["http", "tcp", "command", "unit"].into_iter().filter(|key| fields.span(key).is_some()).collect();
    match written.as_slice() {
        [_] => {}
        [] if !fields.whole() => {}
        [] => {
            let message = "`health` has no check";
            let problem = Problem::new(Code::MissingKey, fields.block.header, message);
            context.report(
                problem.hint("add one: `http = \":8080/\"`, `tcp = 8080` or `command = [\"/app/check\"]`"),
            );
        }
        [first, second, ..] => {
            let message = format!("`{second}` and `{first}` exclude each other");
            let problem = Problem::new(Code::Conflict, fields.span_or_header(second), message);
            let problem = problem.also(fields.span_or_header(first), "the other one");
            context.report(problem.hint("keep one of them"));
        }
    }
    fields.sound().then_some(())?;
    Some(HealthPlan {
        check: health_check(fields)?,
        interval_seconds: fields.count("interval_seconds").unwrap_or(2),
        timeout_seconds: fields.count("timeout_seconds").unwrap_or(2),
        hold_seconds: fields.count("hold_seconds").unwrap_or(5),
        start_seconds: fields.count("start_seconds").unwrap_or(60),
    })
}

fn health_check(fields: &Fields<'_>) -> Option<HealthCheck> {
    if let Some(text) = fields.text("http") {
        let (port, path) = health_address(&text)?;
        return Some(HealthCheck::Http { port, path: path.to_owned() });
    }
    if let Some(port) = fields.number("tcp") {
        return Some(HealthCheck::Tcp { port: u16::try_from(port).ok()? });
    }
    if let Some(unit) = fields.text("unit") {
        return Some(HealthCheck::Unit(unit));
    }
    let command = fields.texts("command");
    (!command.is_empty()).then_some(HealthCheck::Command(command))
}

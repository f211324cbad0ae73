//! `file`, `directory`, `symlink`, `hard_link`, `device`.

use super::super::diagnostics::{Code, Problem};
use super::super::plan::{
    Account, DeviceNode, DevicePlan, DirectoryPlan, FileContent, FilePlan, HardLinkPlan, InodePlan, Owner,
    SymlinkPlan,
};
use super::Context;
use super::fields::Fields;

/// The name of the attribute that holds file capabilities.
const CAPABILITY_ATTRIBUTE: &str = "security.capability";

fn inode(fields: &Fields<'_>, mode: u16) -> Option<InodePlan> {
    let root = || Account::Id(0);
    Some(InodePlan {
        path: fields.label_path()?,
        mode: fields.mode("mode").unwrap_or(mode),
        owner: Owner {
            user: fields.account("owner").unwrap_or_else(root),
            group: fields.account("group").unwrap_or_else(root),
        },
        xattrs: fields.attributes("xattrs"),
        capabilities: fields.texts("capabilities"),
        replace: fields.truth("replace"),
    })
}

/// Reports the root directory where it can't be.
fn not_root(fields: &Fields<'_>, context: &Context<'_>) {
    if let Some((label, span)) = fields.label_path().zip(fields.label.as_ref().map(|(_, span)| *span))
        && label.is_root()
    {
        let message = format!("the root can't be a {}", fields.row.name);
        let problem = Problem::new(Code::BadValue, span, message);
        context
            .report(problem.hint("`/` is always a directory: `directory \"/\"` states its mode and owner"));
    }
}

pub(super) fn file(fields: &Fields<'_>, context: &Context<'_>) -> Option<FilePlan> {
    not_root(fields, context);
    match (fields.span("content"), fields.span("source")) {
        (Some(content), Some(source)) => {
            let problem = Problem::new(Code::Conflict, source, "`source` and `content` exclude each other");
            context.report(problem.also(content, "the other one").hint("keep one of them"));
        }
        (None, None) if fields.whole() => {
            let problem = Problem::new(Code::MissingKey, fields.block.header, "`file` has no content");
            context.report(
                problem.hint(
                    "add `content = \"…\"`, or `source = \"FILE\"`; an empty file has `content = \"\"`",
                ),
            );
        }
        _ => {}
    }
    if let (Some(span), true) =
        (fields.span("capabilities"), fields.attributes("xattrs").contains_key(CAPABILITY_ATTRIBUTE))
    {
        let message = format!("`capabilities` and the attribute `{CAPABILITY_ATTRIBUTE}` exclude each other");
        context.report(Problem::new(Code::Conflict, span, message).hint("keep one of them"));
    }
    fields.sound().then_some(())?;
    let content = match (fields.text("content"), fields.host_path("source", context)) {
        (Some(text), _) => FileContent::Inline(text),
        (None, Some(path)) => FileContent::Host(path),
        (None, None) => return None,
    };
    Some(FilePlan { inode: inode(fields, 0o644)?, content, origin: context.origin(fields) })
}

pub(super) fn directory(fields: &Fields<'_>, context: &Context<'_>) -> Option<DirectoryPlan> {
    fields.sound().then_some(())?;
    Some(DirectoryPlan { inode: inode(fields, 0o755)?, origin: context.origin(fields) })
}

pub(super) fn symlink(fields: &Fields<'_>, context: &Context<'_>) -> Option<SymlinkPlan> {
    not_root(fields, context);
    fields.sound().then_some(())?;
    Some(SymlinkPlan {
        inode: inode(fields, 0o777)?,
        target: fields.text("target")?,
        origin: context.origin(fields),
    })
}

pub(super) fn hard_link(fields: &Fields<'_>, context: &Context<'_>) -> Option<HardLinkPlan> {
    not_root(fields, context);
    let (path, target) = (fields.label_path(), fields.path("target"));
    if path.is_some() && path == target {
        let problem = Problem::new(Code::BadValue, fields.span_or_header("target"), "a hard link to itself");
        context.report(problem.hint("`target` is the file that exists already"));
    }
    fields.sound().then_some(())?;
    Some(HardLinkPlan {
        path: path?,
        target: target?,
        replace: fields.truth("replace"),
        origin: context.origin(fields),
    })
}

pub(super) fn device(fields: &Fields<'_>, context: &Context<'_>) -> Option<DevicePlan> {
    not_root(fields, context);
    let kind = fields.text("kind");
    device_numbers(fields, kind.as_deref(), context);
    fields.sound().then_some(())?;
    let numbers = fields.count("major").zip(fields.count("minor"));
    let kind = match (kind?.as_str(), numbers) {
        ("character", Some((major, minor))) => DeviceNode::Character { major, minor },
        ("block", Some((major, minor))) => DeviceNode::Block { major, minor },
        ("fifo", _) => DeviceNode::Fifo,
        _ => return None,
    };
    Some(DevicePlan { inode: inode(fields, 0o600)?, kind, origin: context.origin(fields) })
}

/// Reports numbers of a fifo, and devices without.
fn device_numbers(fields: &Fields<'_>, kind: Option<&str>, context: &Context<'_>) {
    match kind {
        Some("fifo") => {
            if let Some((key, span)) = fields.any_written(&["major", "minor"]) {
                let problem = Problem::new(Code::Conflict, span, format!("a fifo has no `{key}` number"));
                context.report(problem.hint("remove it"));
            }
        }
        Some(kind) if fields.whole() => {
            for key in ["major", "minor"] {
                if fields.span(key).is_none() {
                    let message = format!("the key `{key}` is missing in `device`");
                    let problem = Problem::new(Code::MissingKey, fields.block.header, message);
                    context
                        .report(problem.hint(format!("a {kind} device has a `major` and a `minor` number")));
                }
            }
        }
        _ => {}
    }
}

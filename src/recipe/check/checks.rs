//! `budget`, and `test` with its `file` and `http`.

use super::super::diagnostics::{Code, Problem};
use super::super::keywords::health_address;
use super::super::plan::{BudgetPlan, FileTest, HttpTest, TestPlan};
use super::Context;
use super::fields::{Fields, Typed};

pub(super) fn budget(fields: &Fields<'_>, context: &Context<'_>) -> Option<BudgetPlan> {
    fields.sound().then_some(())?;
    Some(BudgetPlan {
        max_size: fields.size("max_size").flatten(),
        max_setuid: fields.number("max_setuid").and_then(|count| u64::try_from(count).ok()),
        forbid: fields.texts("forbid"),
        max_boot_seconds: fields.count("max_boot_seconds"),
        origin: context.origin(fields),
    })
}

/// Plans every test, in recipe order; `None` for one that can't be.
pub(super) fn tests(checked: &[Fields<'_>], context: &Context<'_>) -> Vec<Option<TestPlan>> {
    let blocks = checked.iter().filter(|fields| fields.row.name == "test");
    blocks.map(|fields| test(fields, context)).collect()
}

fn test(fields: &Fields<'_>, context: &Context<'_>) -> Option<TestPlan> {
    let inner = |name: &'static str| fields.inner.iter().filter(move |inner| inner.row.name == name);
    let files: Vec<Option<FileTest>> = inner("file").map(|inner| file(inner, fields, context)).collect();
    let http: Vec<Option<HttpTest>> = inner("http").map(|inner| http(inner, fields, context)).collect();
    let written = fields.any_written(&["tcp", "console"]).is_some();
    if files.is_empty() && http.is_empty() && !written && fields.whole() && fields.sound() {
        let problem = Problem::new(Code::MissingKey, fields.block.header, "`test` checks nothing");
        context.report(problem.hint("add a block `file \"/path\" {`, or `console = [\"text\"]`"));
    }
    fields.sound().then_some(())?;
    Some(TestPlan {
        name: fields.label_text()?,
        files: files.into_iter().collect::<Option<_>>()?,
        http: http.into_iter().collect::<Option<_>>()?,
        tcp: ports(fields),
        console: fields.texts("console"),
        timeout_seconds: fields.count("timeout_seconds").unwrap_or(120),
        origin: context.origin(fields),
    })
}

fn ports(fields: &Fields<'_>) -> Vec<u16> {
    let port = |(typed, _): &(Typed, _)| match typed {
        Typed::Number(port) => u16::try_from(*port).ok(),
        _ => None,
    };
    fields.list("tcp").iter().filter_map(port).collect()
}

fn file(fields: &Fields<'_>, test: &Fields<'_>, context: &Context<'_>) -> Option<FileTest> {
    let absent = fields.truth("absent");
    let others = ["kind", "mode", "owner", "group", "target", "contains", "sha256"];
    if let (true, Some((key, span))) = (absent, fields.any_written(&others)) {
        let problem = Problem::new(Code::Conflict, span, format!("`{key}` and `absent` exclude each other"));
        context.report(problem.hint("where nothing stands there is nothing more to ask: keep one of them"));
    }
    fields.sound().then_some(())?;
    Some(FileTest {
        path: fields.label_path()?,
        absent,
        kind: fields.text("kind"),
        mode: fields.mode("mode"),
        owner: fields.account("owner"),
        group: fields.account("group"),
        target: fields.text("target"),
        contains: fields.text("contains"),
        sha256: fields.text("sha256"),
        origin: context.origin_within(fields, test),
    })
}

fn http(fields: &Fields<'_>, test: &Fields<'_>, context: &Context<'_>) -> Option<HttpTest> {
    fields.sound().then_some(())?;
    let label = fields.label_text()?;
    let (port, path) = health_address(&label)?;
    Some(HttpTest {
        port,
        path: path.to_owned(),
        status: fields.count("status").and_then(|status| u16::try_from(status).ok()),
        contains: fields.text("contains"),
        origin: context.origin_within(fields, test),
    })
}

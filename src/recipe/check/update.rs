//! `update`.

use super::super::diagnostics::{Code, Problem};
use super::super::plan::{UpdatePlan, UpdateReboot};
use super::Context;
use super::fields::Fields;
use crate::base::units::parse_duration;

const INTERVAL_SECONDS: u32 = 600;
const JITTER_SECONDS: u32 = 60;

pub(super) fn update(
    fields: &Fields<'_>,
    kernel: Option<&Fields<'_>>,
    context: &Context<'_>,
) -> Option<UpdatePlan> {
    if kernel.is_none() {
        let message = "`update` has no effect without a kernel";
        let problem = Problem::warning(Code::UnusedBlock, fields.block.header, message);
        context.report(problem.hint("add a block `kernel \"debian\" {`, or remove this one"));
    }
    window(fields, context);
    certificates(fields, context);
    if fields.text("interval").as_deref().and_then(parse_duration) == Some(0) {
        let problem =
            Problem::new(Code::BadValue, fields.span_or_header("interval"), "`interval`: no time at all");
        context.report(problem.hint("the default is \"10m\""));
        return None;
    }
    fields.sound().then_some(())?;
    let seconds = |key: &str| fields.text(key).as_deref().and_then(parse_duration);
    Some(UpdatePlan {
        from: fields.text("from")?,
        reference: fields.text("ref")?,
        key: fields.host_path("key", context)?,
        certificates: fields.host_path("certificates", context),
        threshold: fields.count("threshold").unwrap_or(1),
        interval_seconds: seconds("interval").unwrap_or(INTERVAL_SECONDS),
        jitter_seconds: seconds("jitter").unwrap_or(JITTER_SECONDS),
        window: fields.text("window"),
        rings: fields.texts("rings"),
        reboot: reboot(fields),
        origin: context.origin(fields),
    })
}

/// Certificates for a site that is not asked by TLS.
fn certificates(fields: &Fields<'_>, context: &Context<'_>) {
    let from = fields.text("from");
    if let (Some(span), Some(from)) = (fields.span("certificates"), from)
        && !from.starts_with("https://")
    {
        let message = "`certificates` has no effect: `from` is no `https://` address";
        context
            .report(Problem::new(Code::Conflict, span, message).hint("remove it, or ask the site by https"));
    }
}

fn reboot(fields: &Fields<'_>) -> UpdateReboot {
    match fields.text("reboot").as_deref() {
        Some("when_told") => UpdateReboot::WhenTold,
        Some("at_once") => UpdateReboot::AtOnce,
        Some("window") => UpdateReboot::Window,
        _ if fields.span("window").is_some() => UpdateReboot::Window,
        _ => UpdateReboot::AtOnce,
    }
}

/// A window that nobody waits for, and a wait for a window that is not there.
fn window(fields: &Fields<'_>, context: &Context<'_>) {
    let reboot = fields.text("reboot");
    match (reboot.as_deref(), fields.span("window")) {
        (Some("window"), None) => {
            let problem = Problem::new(
                Code::Conflict,
                fields.span_or_header("reboot"),
                "`reboot = \"window\"` without a window",
            );
            context.report(problem.hint("add it: `window = \"02:00-04:00\"`"));
        }
        (Some(other @ ("when_told" | "at_once")), Some(span)) => {
            let message = format!("`window` has no effect with `reboot = \"{other}\"`");
            context.report(Problem::new(Code::Conflict, span, message).hint("remove one of them"));
        }
        _ => {}
    }
}

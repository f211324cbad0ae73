//! `configuration` and `log` of an app.

use super::super::diagnostics::{Code, Problem};
use super::super::plan::{ConfigurationPlan, LogPlan, MetadataSource};
use super::Context;
use super::fields::Fields;
use crate::base::Bytes;

const WAIT_SECONDS: u32 = 10;
const BUFFER: Bytes = Bytes::mib(1);
const BUFFER_LEAST: Bytes = Bytes(64 << 10);
const BUFFER_MOST: Bytes = Bytes::mib(64);

pub(super) fn configuration(fields: &Fields<'_>, context: &Context<'_>) -> ConfigurationPlan {
    if let (true, Some(span), true) = (fields.truth("required"), fields.span("required"), fields.whole())
        && fields.span("metadata").is_none_or(|_| fields.sound() && fields.list("metadata").is_empty())
    {
        let message = "`required` without `metadata`: nothing can come";
        let problem = Problem::new(Code::Conflict, span, message);
        context.report(problem.hint("name a place: `metadata = [\"nocloud\", \"ec2\"]`"));
    }
    let source = |word: String| match word.as_str() {
        "ec2" => Some(MetadataSource::Ec2),
        "nocloud" => Some(MetadataSource::Nocloud),
        "config-drive" => Some(MetadataSource::ConfigDrive),
        _ => None,
    };
    ConfigurationPlan {
        metadata: fields.texts("metadata").into_iter().filter_map(source).collect(),
        wait_seconds: fields.count("wait_seconds").unwrap_or(WAIT_SECONDS),
        required: fields.truth("required"),
        credentials: fields.texts("credentials"),
    }
}

pub(super) fn log(fields: &Fields<'_>, context: &Context<'_>) -> Option<LogPlan> {
    if let (Some(first), Some(second)) = (fields.span("syslog"), fields.span("http")) {
        let problem = Problem::new(Code::Conflict, second, "`http` and `syslog` exclude each other");
        context.report(problem.also(first, "the other one").hint("keep one of them"));
        return None;
    }
    let buffer = fields.size("buffer").flatten().unwrap_or(BUFFER);
    if !(BUFFER_LEAST..=BUFFER_MOST).contains(&buffer) {
        let message = format!("`buffer`: {buffer} is not between {BUFFER_LEAST} and {BUFFER_MOST}");
        let problem = Problem::new(Code::BadValue, fields.span_or_header("buffer"), message);
        context.report(problem.hint("the default is \"1MiB\""));
        return None;
    }
    let address = fields.text("syslog").or_else(|| fields.text("http"));
    Some(LogPlan { address, buffer })
}

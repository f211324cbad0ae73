use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::super::failure::Failure;
use super::super::text::plural;
use super::subject::Opened;
use super::{Context, Done};
use crate::base::ImagePath;
use crate::base::fs;
use crate::base::publish::publish_bytes;
use crate::base::units::{Bytes, approximate};
use crate::pipeline::Lines;
use crate::report::{Bill, Page, Subject, TIMELINE_BYTES_MAX, Timeline};

/// `mkimage report`: draws one page about an image.
#[derive(Args, Debug)]
pub struct Report {
    /// Ref, REF~N or id of a commit; or an image
    #[arg(value_name = "REV|IMAGE")]
    pub what: String,
    /// Show what changed since this one
    #[arg(long, value_name = "REV|IMAGE")]
    pub against: Option<String>,
    /// Show where the time went: a file that --trace or --events of a build wrote [default: what the store noted]
    #[arg(long, value_name = "FILE")]
    pub timeline: Option<PathBuf>,
    /// Where the page goes
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
}

pub fn run(context: &Context, arguments: &Report) -> Done {
    let opened = Opened::open(context, &arguments.what)?;
    let old = arguments.against.as_ref().map(|what| Opened::open(context, what)).transpose()?;
    let timeline = match &arguments.timeline {
        Some(path) => {
            let bytes = fs::read_at_most(path, TIMELINE_BYTES_MAX)?;
            Some(Timeline::parse(&bytes).map_err(Failure::from)?)
        }
        None => opened.noted_timeline(),
    };
    let explanation = opened.explanation(context)?;
    let lines = explanation.as_ref().map(Lines::of);
    let of_path = |path: &ImagePath| lines.as_ref().map(|lines| lines.of_path(path)).unwrap_or_default();
    let bill_of = |subject| Bill::of(subject, false, &context.job).map_err(Failure::from);
    let bill = bill_of(Subject { lines: &of_path, ..opened.subject() })?;
    let against = old.as_ref().map(|old| bill_of(old.subject())).transpose()?;
    let disk = opened.disk(context)?;
    let page = Page { bill: &bill, against: against.as_ref(), disk, timeline: timeline.as_ref() };
    let html = page.to_html();
    publish_bytes(&arguments.output, html.as_bytes())?;
    let (packages, files) = (bill.installed().count() as u64, bill.files.len() as u64);
    if context.printer.wants_json() {
        let value = serde_json::json!({
            "output": arguments.output.display().to_string(), "of": bill.what.digest().to_string(), "bytes": html.len(),
            "packages": packages, "files": files, "unknown": bill.unknown,
        });
        context.printer.data(&value, String::new)?;
    } else {
        let (packages, files) = (plural(packages, "package"), plural(files, "file"));
        let (path, size) = (arguments.output.display(), approximate(Bytes(html.len() as u64)));
        context.printer.say(&format!("wrote {path} ({size}): {packages}, {files}"));
    }
    Ok(ExitCode::SUCCESS)
}

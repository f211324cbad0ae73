use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::super::failure::Kind;
use super::{Context, Done};
use crate::verify::{Identity, Report, same};

#[derive(clap::Args, Debug)]
pub struct Same {
    /// Disk image, ESP or slot; also compressed with gzip, xz or zstd
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// The other one
    #[arg(value_name = "B")]
    pub b: PathBuf,
}

/// `mkimage same`: exits with 1 where the images don't hold the same commit, with 6 where one is damaged.
pub fn run(context: &Context, arguments: &Same) -> Done {
    let identify = |path: &PathBuf| {
        context.confined::<Report>("verify", &Value::Null, &[path]).map(|report| Identity::of(&report))
    };
    let (a, b) = (identify(&arguments.a)?, identify(&arguments.b)?);
    let sameness = same(&a, &b);
    let value = serde_json::json!({ "same": sameness.same, "reason": sameness.reason, "a": a, "b": b });
    context.printer.data(&value, || {
        let verdict = if sameness.same { "the same" } else { "NOT the same" };
        format!("{verdict}: {}\n", sameness.reason)
    })?;
    Ok(match (sameness.same, a.findings.is_empty() && b.findings.is_empty()) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::from(Kind::Failed.exit_code()),
        (false, false) => ExitCode::from(Kind::Damaged.exit_code()),
    })
}

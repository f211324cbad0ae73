use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::super::failure::Kind;
use super::{Context, Done};
use crate::base::units::{Bytes, approximate};
use crate::verify::{Divergence, Report, SlotReport};

#[derive(clap::Args, Debug)]
pub struct Verify {
    /// Disk image, block device, ESP or slot; also compressed with gzip, xz or zstd
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// Compare with another image, byte for byte, and name what differs
    #[arg(long, value_name = "IMAGE|COMMIT")]
    pub against: Option<String>,
}

/// `mkimage verify`: exits with 6 where the image is damaged or not what it claims, with 1 where it differs from
/// what it is compared with.
pub fn run(context: &Context, arguments: &Verify) -> Done {
    let report: Report = context.confined("verify", &Value::Null, &[&arguments.image])?;
    let differences = match &arguments.against {
        Some(other) => Some(against(context, arguments, &report, other)?),
        None => None,
    };
    let value = serde_json::json!({ "report": report, "differences": differences });
    let shown = match &arguments.against {
        Some(_) => value,
        None => value["report"].clone(),
    };
    context.printer.data(&shown, || as_text(&report, differences.as_deref()))?;
    let differs = differences.is_some_and(|differences| !differences.is_empty());
    Ok(match (report.sound, differs) {
        (false, _) => ExitCode::from(Kind::Damaged.exit_code()),
        (true, true) => ExitCode::from(Kind::Failed.exit_code()),
        (true, false) => ExitCode::SUCCESS,
    })
}

/// Compares with another image, or with what a commit of the store is.
fn against(
    context: &Context,
    arguments: &Verify,
    report: &Report,
    other: &str,
) -> Result<Vec<Divergence>, super::Failure> {
    let path = std::path::Path::new(other);
    if path.exists() {
        return context.confined("compare", &Value::Null, &[&arguments.image, path]);
    }
    let store = context.store()?;
    let id = store.resolve(other)?.to_string();
    let found = report.commit.clone().unwrap_or_else(|| "no commit".to_owned());
    if found == id {
        return Ok(Vec::new());
    }
    Ok(vec![Divergence {
        partition: None,
        structure: "commit".to_owned(),
        field: None,
        path: None,
        offset: 0,
        bytes: 0,
        a: found,
        b: id,
        derived: false,
    }])
}

fn as_text(report: &Report, differences: Option<&[Divergence]>) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let _ = writeln!(text, "wrong: {finding}");
    }
    if report.more_findings > 0 {
        let _ = writeln!(text, "wrong: and {} more", report.more_findings);
    }
    for slot in report.slots.iter().filter(|slot| slot.tree.is_some() || slot.commit.is_some()) {
        slot_text(&mut text, slot);
    }
    let covered: u64 = report.covered.iter().map(|range| range.bytes).sum();
    let _ = writeln!(text, "covered: {} of {}", approximate(Bytes(covered)), approximate(Bytes(report.size_bytes)));
    for range in &report.uncovered {
        let size = approximate(Bytes(range.bytes));
        let _ = writeln!(text, "not covered: {size} at byte {}: {}", range.offset, range.what);
    }
    let verdict = match (report.sound, report.fresh) {
        (true, true) => "sound: every covered byte is as the commit makes it",
        (true, false) => "sound",
        (false, _) => "NOT SOUND",
    };
    let commit = report.commit.as_ref().map(|commit| format!(" {commit}")).unwrap_or_default();
    let _ = writeln!(text, "{verdict}{}{commit}", if commit.is_empty() { "" } else { "; commit" });
    for difference in differences.unwrap_or_default() {
        let follows = if difference.derived { " (follows from another)" } else { "" };
        let _ = writeln!(text, "differs: {difference}{follows}");
    }
    if differences.is_some_and(<[Divergence]>::is_empty) {
        text.push_str("the same\n");
    }
    text
}

fn slot_text(text: &mut String, slot: &SlotReport) {
    let name = slot.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let version = slot.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let _ = writeln!(text, "{}: {}{name}{version}", slot.slot, slot.state);
    let mut line = |key: &str, value: &str| text.push_str(&format!("  {key:<10} {value}\n"));
    if let Some(commit) = &slot.commit {
        line("commit", commit);
    }
    if let Some(tree) = &slot.tree {
        line("tree", &format!("{tree} ({} files, {})", slot.files, approximate(Bytes(slot.file_bytes))));
    }
    if let Some(hash) = &slot.root_hash {
        line("root hash", hash);
    }
}

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::super::failure::Kind;
use super::{Context, Done};
use crate::base::units::{Bytes, approximate};
use crate::base::{FileError, fs};
use crate::trust::PublicKey;
use crate::verify::statement::{self, Agreed, Policy, Subject};
use crate::verify::{Against, Divergence, Report, SlotReport};

#[derive(clap::Args, Debug)]
pub struct Verify {
    /// Disk image, block device, ESP or slot; also compressed with gzip, xz or zstd
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// Compare with another image, which is verified as well, byte for byte, and name what differs
    #[arg(long, value_name = "IMAGE|COMMIT")]
    pub against: Option<String>,
    /// Demand that so many different keys state that the image was built from its commit
    #[arg(long, value_name = "N", requires_all = ["key", "statement"])]
    pub policy: Option<usize>,
    /// A public key that is trusted to state it
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub key: Vec<PathBuf>,
    /// A signed statement, as `mkimage rebuild --statement` writes it
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub statement: Vec<PathBuf>,
}

/// `mkimage verify`: exits with 6 where the image is damaged or not what it claims, with 1 where it differs from
/// what it is compared with.
pub fn run(context: &Context, arguments: &Verify) -> Done {
    let Verified { report, other, differences } = verified(context, arguments)?;
    let agreed = match arguments.policy {
        Some(needed) if report.sound => Some(policy(needed, arguments, &report)?),
        _ => None,
    };
    let value = serde_json::json!({
        "report": report, "other": other, "differences": differences, "agreed": agreed,
    });
    let shown = match (&arguments.against, arguments.policy) {
        (None, None) => value["report"].clone(),
        _ => value,
    };
    context.printer.data(&shown, || {
        let wrong = |finding| format!("wrong with the other: {finding}\n");
        let mut text: String = other.iter().flat_map(|other| &other.findings).map(wrong).collect();
        text.push_str(&as_text(&report, differences.as_deref()));
        if let Some(agreed) = &agreed {
            let _ =
                writeln!(text, "{} of {} keys that are needed state it", agreed.keys.len(), agreed.needed);
        }
        text
    })?;
    let differs = differences.is_some_and(|differences| !differences.is_empty());
    Ok(match (report.sound, differs) {
        (false, _) => ExitCode::from(Kind::Damaged.exit_code()),
        (true, true) => ExitCode::from(Kind::Failed.exit_code()),
        (true, false) => ExitCode::SUCCESS,
    })
}

/// What was found out of an image, and of what it is compared with.
struct Verified {
    report: Report,
    other: Option<Report>,
    differences: Option<Vec<Divergence>>,
}

/// Verifies, and compares with another image, which is verified too, or with what a commit of the store is.
fn verified(context: &Context, arguments: &Verify) -> Result<Verified, super::Failure> {
    let image = arguments.image.as_path();
    if let Some(other) = arguments.against.as_ref().map(std::path::Path::new).filter(|path| path.exists()) {
        let Against { report, other, differences } =
            context.confined("against", &Value::Null, &[image, other])?;
        return Ok(Verified { report, other, differences: Some(differences) });
    }
    let report: Report = context.confined("verify", &Value::Null, &[image])?;
    let differences = arguments.against.as_ref().map(|text| against(context, &report, text)).transpose()?;
    Ok(Verified { report, other: None, differences })
}

/// Compares with what a commit of the store is.
fn against(context: &Context, report: &Report, other: &str) -> Result<Vec<Divergence>, super::Failure> {
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

/// Holds the statements of others against the image.
fn policy(needed: usize, arguments: &Verify, report: &Report) -> Result<Agreed, super::Failure> {
    let keys = arguments.key.iter().map(|path| PublicKey::read(path)).collect::<Result<Vec<_>, _>>()?;
    let name = arguments.image.display().to_string();
    let mut image = fs::open(&arguments.image)?;
    let subject = Subject::of(&name, &mut image).map_err(FileError::at("read", &arguments.image))?;
    let statements = arguments.statement.iter().map(|path| {
        let bytes = fs::read_at_most(path, statement::STATEMENT_BYTES_MAX as u64)?;
        Ok((path.display().to_string(), bytes))
    });
    let statements = statements.collect::<Result<Vec<_>, super::Failure>>()?;
    let commit = report.commit.clone().unwrap_or_default();
    Ok(Policy { needed, keys }.check(&subject, &commit, &statements)?)
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
    let _ = writeln!(
        text,
        "covered: {} of {}",
        approximate(Bytes(covered)),
        approximate(Bytes(report.size_bytes))
    );
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

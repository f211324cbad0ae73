use std::fmt::Write;
use std::process::ExitCode;

use super::super::args::Inspect;
use super::super::failure::Kind;
use super::status::damage_text;
use super::{Context, Done};
use crate::base::units::{Bytes, approximate};
use crate::image::{Inspection, SlotFacts};

/// `mkimage inspect`: shows what an image holds. Exits with 6 where `--verify` finds a slot damaged, and where the
/// state of the slots is lost.
pub fn run(context: &Context, arguments: &Inspect) -> Done {
    if arguments.dump {
        let text = context.dump(&arguments.image)?;
        context.printer.data(&text.lines().collect::<Vec<_>>(), || text.clone())?;
        return Ok(ExitCode::SUCCESS);
    }
    let inspection = context.inspect(&arguments.image, arguments.verify)?;
    context.printer.data(&inspection, || as_text(&inspection))?;
    let damaged =
        inspection.damage.is_some() || inspection.slots.iter().any(|slot| slot.verified == Some(false));
    Ok(if damaged { ExitCode::from(Kind::Damaged.exit_code()) } else { ExitCode::SUCCESS })
}

fn as_text(inspection: &Inspection) -> String {
    let mut text = String::new();
    let size = approximate(Bytes(inspection.size_bytes));
    let _ = writeln!(text, "disk {} ({size}), layout {}", inspection.disk, inspection.layout);
    if let Some(damage) = &inspection.damage {
        text.push_str(&damage_text(damage));
    }
    for partition in &inspection.partitions {
        let start = approximate(Bytes(partition.start_bytes));
        let size = approximate(Bytes(partition.size_bytes));
        let _ = writeln!(
            text,
            "  {} {:<8} {size:>10} at {start:<10} {}",
            partition.number, partition.name, partition.guid
        );
    }
    for slot in &inspection.slots {
        slot_text(&mut text, slot);
    }
    match &inspection.next {
        Some(next) => {
            let trial = if next.trial { " (a try)" } else { "" };
            let _ = writeln!(text, "boots next: {}{trial}: {}", next.slot, next.why);
        }
        None => text.push_str("boots next: nothing, no slot is selectable\n"),
    }
    text
}

fn slot_text(text: &mut String, slot: &SlotFacts) {
    let file = slot.file.as_ref().map(|file| format!(" {file}")).unwrap_or_default();
    let tries = slot.tries_left.map(|left| format!(", {left} tries left")).unwrap_or_default();
    let _ = writeln!(text, "{}: {}{file}{tries}", slot.slot, slot.state);
    let mut line = |key: &str, value: &str| text.push_str(&format!("  {key:<11} {value}\n"));
    if let Some(name) = &slot.name {
        let version = slot.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        line("image", &format!("{name}{version}"));
    }
    if let Some(commit) = &slot.commit {
        line("commit", &commit.to_string());
    }
    if let Some(bytes) = slot.uki_bytes {
        let kernel = slot.kernel.as_ref().map(|kernel| format!(", kernel {kernel}")).unwrap_or_default();
        line("uki", &format!("{}{kernel}", approximate(Bytes(bytes))));
    }
    if let Some(filesystem) = &slot.filesystem {
        let size = approximate(crate::base::Blocks(filesystem.blocks).bytes());
        line("filesystem", &format!("{} {}, {size}", filesystem.kind, filesystem.uuid));
    }
    if let Some(hash) = &slot.root_hash {
        let verified = match slot.verified {
            Some(true) => " (verified)",
            Some(false) => " (DAMAGED)",
            None => "",
        };
        line("root hash", &format!("{hash}{verified}"));
    }
    if let Some(words) = &slot.command_line {
        line("command", words);
    }
    if let Some(problem) = &slot.problem {
        line("problem", problem);
    }
}

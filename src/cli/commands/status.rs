use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::super::failure::{Failure, Kind};
use super::super::text::short;
use super::{Context, Done, open_store};
use crate::base::CommitId;
use crate::slots::{Disk, Marks, SlotStatus, Standing, Status};
use crate::store::Store;

#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Disk image or block device
    #[arg(value_name = "DISK")]
    pub disk: PathBuf,
    /// Read each slot whole, past the cache, and check it against its root hash
    #[arg(long)]
    pub verify: bool,
}

/// `mkimage status`: shows what the slots of a disk hold, and what boots next. Exits with 6 where a slot that
/// may boot is damaged.
pub fn run(context: &Context, arguments: &StatusArgs) -> Done {
    // Opened to ask the kernel of it: what is on it, a child reads.
    let disk = Disk::read(&arguments.disk).map_err(Failure::from)?;
    let told = json!({ "verify": arguments.verify });
    let (mut status, marks): (Status, Marks) = context.confined("status", &told, &[&arguments.disk])?;
    if let Ok(Some(running)) = disk.running_of(&marks) {
        status.set_running(running);
    }
    add_refs(context, &mut status);
    context.printer.data(&status, || as_text(&status))?;
    Ok(match status.is_damaged() {
        true => ExitCode::from(Kind::Damaged.exit_code()),
        false => ExitCode::SUCCESS,
    })
}

/// Names the refs of the store that lead to what is on the disk. A disk has a status without a store, too.
fn add_refs(context: &Context, status: &mut Status) {
    let Ok(path) = context.store_path() else { return };
    if !path.is_dir() {
        return;
    }
    let Ok(store) = open_store(Some(&path)) else { return };
    for slot in &mut status.slots {
        slot.refs = slot.commit.map(|commit| refs_to(&store, commit)).unwrap_or_default();
    }
}

/// Returns the refs that lead to a commit; where none does any more, the newest move that once did, as `REF~N`.
fn refs_to(store: &Store, commit: CommitId) -> Vec<String> {
    let refs = store.refs().unwrap_or_default();
    let now: Vec<String> =
        refs.iter().filter(|(_, value)| value.commit == commit).map(|(name, _)| name.to_string()).collect();
    if !now.is_empty() {
        return now;
    }
    let earlier = refs.keys().filter_map(|name| {
        let back = store.log(name).ok()?.iter().position(|entry| entry.value.commit == commit)?;
        Some(format!("{name}~{back}"))
    });
    earlier.collect()
}

fn as_text(status: &Status) -> String {
    let mut text = format!("disk {}\n", status.disk);
    if let Some(damage) = &status.damage {
        text.push_str(&damage_text(damage));
    }
    status.slots.iter().for_each(|slot| slot_text(&mut text, slot));
    let _ = match &status.next {
        Some(next) if next.trial => {
            writeln!(text, "boots next: {}, which counts as a try: {}", next.slot, next.why)
        }
        Some(next) => writeln!(text, "boots next: {}: {}", next.slot, next.why),
        None => writeln!(text, "boots next: nothing, no slot can be selected"),
    };
    text
}

/// Says what is lost, and how it is had again.
pub(super) fn damage_text(damage: &str) -> String {
    format!(
        "DAMAGED: {damage}\n  what follows is what the loader finds by the seals of the kernel images\n  \
         `mkimage switch DISK SLOT` writes the records anew; so does a boot\n"
    )
}

fn slot_text(text: &mut String, slot: &SlotStatus) {
    let generation = slot.generation.map(|number| format!(", generation {number}")).unwrap_or_default();
    let running = if slot.running == Some(true) { ", runs now" } else { "" };
    let _ = writeln!(text, "{}: {}{generation}{running}", slot.slot, state_text(slot));
    let mut line = |key: &str, value: &str| text.push_str(&format!("  {key:<9} {value}\n"));
    if let Some(name) = &slot.name {
        let version = slot.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        line("image", &format!("{name}{version}"));
    }
    if let Some(commit) = &slot.commit {
        let refs = match slot.refs.is_empty() {
            true => String::new(),
            false => format!(" ({})", slot.refs.join(", ")),
        };
        line("commit", &format!("{}{refs}", short(commit)));
    }
    if let Some(hash) = &slot.root_hash {
        let verified = match slot.verified {
            Some(true) => " (verified)",
            Some(false) => " (DAMAGED)",
            None => " (not checked)",
        };
        line("root hash", &format!("{hash}{verified}"));
    }
    if let Some(problem) = &slot.problem {
        line("problem", problem);
    }
}

fn state_text(slot: &SlotStatus) -> String {
    let tries = |count: Option<u32>| match count.unwrap_or(0) {
        1 => "1 try".to_owned(),
        count => format!("{count} tries"),
    };
    match slot.state {
        Standing::Trial => format!("on trial, {} left", tries(slot.tries_left)),
        Standing::Failed => format!("failed, after {}", tries(slot.tries_done)),
        Standing::Inactive => "being written, can't be selected".to_owned(),
        Standing::Empty => "empty".to_owned(),
        Standing::Confirmed => "confirmed".to_owned(),
    }
}

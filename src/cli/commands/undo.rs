use std::process::ExitCode;

use clap::Args;

use super::super::failure::Failure;
use super::super::text::short;
use super::{Context, Done, log};
use crate::store::{Expected, RefMove, Store, UndoPlan};

/// `mkimage undo`: takes the last moves back, across all refs.
#[derive(Args, Debug)]
pub struct Undo {
    /// How many moves; refs that moved together count as one. Undoing again goes further back
    #[arg(value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub count: u16,
    /// Only show what would be taken back
    #[arg(long)]
    pub dry_run: bool,
}

/// `mkimage redo`: takes the last undo back.
#[derive(Args, Debug)]
pub struct Redo {
    /// Only show what would be done again
    #[arg(long)]
    pub dry_run: bool,
}

pub fn undo(context: &Context, arguments: &Undo) -> Done {
    let store = context.store()?;
    let plan = store.plan_undo(usize::from(arguments.count)).map_err(Failure::from)?;
    carry_out(context, &store, &plan, arguments.dry_run)
}

pub fn redo(context: &Context, arguments: &Redo) -> Done {
    let store = context.store()?;
    let plan = store.plan_redo().map_err(Failure::from)?;
    carry_out(context, &store, &plan, arguments.dry_run)
}

fn carry_out(context: &Context, store: &Store, plan: &UndoPlan, dry_run: bool) -> Done {
    if !dry_run {
        store.undo(&context.job, plan).map_err(Failure::from)?;
    }
    let rows: Vec<serde_json::Value> = plan.moves.iter().map(as_json).collect();
    let value = serde_json::json!({ "taken_back": plan.taken, "refs": rows, "done": !dry_run });
    context.printer.data(&value, || {
        let taken: String = plan.taken.iter().map(log::joint).collect();
        let moves: String = plan.moves.iter().map(as_text).collect();
        let head = if dry_run { "would take back" } else { "took back" };
        let result = if moves.is_empty() { "every ref leads there already\n" } else { "now\n" };
        format!("{head}\n{taken}{result}{moves}")
    })?;
    if !dry_run {
        context.printer.say("`mkimage redo` does it again, `mkimage log --all` shows all moves");
    }
    Ok(ExitCode::SUCCESS)
}

fn as_text(wanted: &RefMove) -> String {
    match &wanted.new {
        Some(new) => format!("    {} → {}\n", wanted.name, short(new)),
        None => format!("    {} removed\n", wanted.name),
    }
}

fn as_json(wanted: &RefMove) -> serde_json::Value {
    let old = match wanted.expected {
        Expected::Value(_, commit) => Some(commit),
        _ => None,
    };
    serde_json::json!({ "ref": wanted.name, "old": old, "new": wanted.new })
}

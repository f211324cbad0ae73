use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::super::args::{PackageArgs, RecipeArgs};
use super::super::failure::{Failure, Kind};
use super::{Context, Done};
use crate::base::units::{Bytes, approximate};
use crate::pipeline;
use crate::remote::{self, Address, Line, Remote};
use crate::store::{CheckReport, Damage, Fault, FolderHealer, Healer, RepairReport, Store};

/// Exit code of a store that was damaged and is whole again.
const HEALED: u8 = 9;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Exit codes: 0 the store is sound, 6 it is damaged, 9 it was damaged and --repair made it whole \
    again: all that refs lead to is there. Others as for every verb."
)]
pub struct Fsck {
    /// Heal what can be healed, and put damaged packs into quarantine; nothing is deleted
    #[arg(long)]
    repair: bool,
    /// Take lost objects from another store, from files in a folder, or from a remote (its name or address); may
    /// be given several times
    #[arg(long, value_name = "STORE|DIR|REMOTE", requires = "repair")]
    from: Vec<PathBuf>,
    /// Compose a recipe again, so that what it makes is in the store; may be given several times
    #[arg(long, value_name = "RECIPE", requires = "repair")]
    from_recipe: Vec<PathBuf>,
    /// Set a variable of these recipes
    #[arg(long = "set", value_name = "NAME=VALUE", requires = "from_recipe")]
    set: Vec<String>,
    /// Read variables of these recipes from a file of `name = value` lines
    #[arg(long = "vars", value_name = "FILE", requires = "from_recipe")]
    vars: Vec<PathBuf>,
    #[command(flatten)]
    packages: PackageArgs,
    /// PID 1 of app images [default: mkimage-init beside this program]
    #[arg(long, value_name = "FILE", env = "MKIMAGE_INIT", hide_env_values = true)]
    init: Option<PathBuf>,
    /// Read no files: indexes, records, refs, and that all that refs lead to is there
    #[arg(long, conflicts_with = "repair")]
    quick: bool,
}

/// `mkimage fsck`: checks the store, and repairs it.
pub fn run(context: &Context, arguments: Fsck) -> Done {
    let path = context.store_path()?;
    // What may not be looked at is there.
    let is_absent = |name: &str| matches!(path.join(name).try_exists(), Ok(false));
    if is_absent("packs") && is_absent("format") {
        let problem = format!("there is no store in {}", path.display());
        return Err(Failure::new(Kind::NotFound, problem).hint("--store DIR names another place"));
    }
    let store = Store::open_damaged(path);
    let checked = if arguments.quick { Store::check_quickly } else { Store::check }(&store, &context.job);
    let report = checked.map_err(Failure::from)?;
    let repaired = match report.is_sound() || !arguments.repair {
        true => None,
        false => Some(repair(context, &store, &report, arguments)?),
    };
    let (state, code) = match &repaired {
        _ if report.is_sound() => ("sound", 0),
        Some(repaired) if repaired.is_whole() => ("healed", HEALED),
        _ => ("damaged", Kind::Damaged.exit_code()),
    };
    let value = serde_json::json!({ "state": state, "check": report, "repair": repaired });
    context.printer.data(&value, || as_text(&report, repaired.as_ref()))?;
    Ok(ExitCode::from(code))
}

fn repair(
    context: &Context,
    store: &Store,
    report: &CheckReport,
    arguments: Fsck,
) -> Result<RepairReport, Failure> {
    let sources = sources(context, store, &arguments.from)?;
    if !arguments.from_recipe.is_empty() && report.has_loss() {
        store.mark_damage(report);
    }
    for recipe in arguments.from_recipe.iter().filter(|_| report.has_loss()) {
        let named =
            RecipeArgs { recipe: recipe.clone(), set: arguments.set.clone(), vars: arguments.vars.clone() };
        let plan = context.load(&named)?;
        let options = context.options(recipe, &arguments.packages, arguments.init.clone())?;
        let made = pipeline::recompose(&plan, &options, store, &context.job);
        made.map_err(|error| context.failure(error))?;
    }
    let sources: Vec<&dyn Healer> = sources.iter().map(|source| &**source).collect();
    store.repair(report, &sources, &context.job).map_err(Failure::from)
}

/// Opens what lost objects may be taken from.
fn sources(context: &Context, store: &Store, from: &[PathBuf]) -> Result<Vec<Box<dyn Healer>>, Failure> {
    let open = |path: &PathBuf| -> Result<Box<dyn Healer>, Failure> {
        if !path.is_dir() {
            return far_source(context, store, path);
        }
        Ok(if is_store(path) {
            Box::new(Store::open(path).map_err(Failure::from)?)
        } else {
            Box::new(FolderHealer::new(path, &context.job).map_err(Failure::from)?)
        })
    };
    from.iter().map(open).collect()
}

/// Opens a remote by its name or address.
fn far_source(context: &Context, store: &Store, path: &Path) -> Result<Box<dyn Healer>, Failure> {
    let text = path.to_string_lossy();
    if matches!(text.parse(), Ok(Address::Store(_))) {
        let problem = format!("{text} is no directory to take objects from");
        return Err(Failure::new(Kind::NotFound, problem));
    }
    Ok(remote::healer(Remote::find(store, &text)?, &Line::new(&context.job, None))?)
}

fn is_store(path: &Path) -> bool {
    path.join("format").is_file() && path.join("packs").is_dir()
}

fn as_text(report: &CheckReport, repaired: Option<&RepairReport>) -> String {
    let mut text = String::new();
    for fault in &report.faults {
        show(&mut text, "damaged", fault);
    }
    for note in &report.notes {
        let _ = writeln!(text, "note     {note}");
    }
    if let Some(repaired) = repaired {
        show_repair(&mut text, repaired);
    }
    let read = if report.whole { "" } else { "without reading files: " };
    let _ = writeln!(
        text,
        "{read}{} in {} ({}), {} objects reached by refs: {}",
        count(report.objects, "object"),
        count(report.packs, "pack"),
        approximate(Bytes(report.bytes)),
        report.reachable,
        verdict(report, repaired)
    );
    text
}

fn verdict(report: &CheckReport, repaired: Option<&RepairReport>) -> String {
    let faults = count(report.faults.len() as u64, "fault");
    match repaired {
        _ if report.is_sound() => "sound".to_owned(),
        Some(repaired) if repaired.is_whole() => format!("{faults}, all healed"),
        Some(repaired) if repaired.lost.iter().all(|fault| matches!(fault.damage, Damage::Ref { .. })) => {
            let lost = count(repaired.lost.len() as u64, "ref");
            format!("{faults}, {lost} lost\nnext: `mkimage promote` or `mkimage pull` makes a ref anew")
        }
        Some(repaired) => format!(
            "{faults}, {} left\nnext: `mkimage fsck --repair --from STORE`, --from DIR with the files themselves, or \
            --from-recipe RECIPE; a ref can be moved to a commit that is whole",
            repaired.lost.len()
        ),
        None if report.has_loss() => format!(
            "{faults}\nnext: `mkimage fsck --repair --from STORE` heals from another store or a remote, --from DIR from files, \
            --from-recipe RECIPE from its inputs; without them, --repair puts aside what is damaged"
        ),
        None => format!("{faults}; nothing that a ref leads to is lost\nnext: `mkimage fsck --repair`"),
    }
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Shows a fault, and what it touches.
fn show(text: &mut String, word: &str, fault: &Fault) {
    let _ = writeln!(text, "{word:8} {}: {}", fault.damage, fault.problem);
    let mut line = |key: &str, value: String| text.push_str(&format!("         {key} {value}\n"));
    match &fault.damage {
        Damage::Object { pack, offset, has_copy, .. } => {
            line("pack", format!("{pack} at offset {offset}"));
            if *has_copy {
                return line("copy", "another pack holds a sound one: nothing is lost".to_owned());
            }
        }
        Damage::Missing { size, .. } => line("size", format!("{size} bytes")),
        _ => return,
    }
    let reached = &fault.reached;
    if reached.is_unreferenced() {
        return line("refs", "none leads to it".to_owned());
    }
    let list = |names: &[crate::store::RefName]| {
        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    if !reached.refs.is_empty() {
        line("refs", list(&reached.refs));
    }
    if !reached.past.is_empty() {
        line("refs", format!("{} (before their last move)", list(&reached.past)));
    }
    for (commit, spot) in &reached.spots {
        line("path", format!("{spot} (commit {})", &commit.to_string()[..12]));
    }
    let shown =
        reached.spots.iter().map(|(commit, _)| commit).collect::<std::collections::BTreeSet<_>>().len();
    if reached.commits > shown as u64 {
        line("path", format!("and in {}", count(reached.commits - shown as u64, "more commit")));
    }
}

fn show_repair(text: &mut String, repaired: &RepairReport) {
    for healed in &repaired.healed {
        let _ = writeln!(text, "healed   {} {} from {}", healed.kind, healed.id, healed.from);
    }
    for pack in &repaired.indexes {
        let _ = writeln!(text, "healed   index of pack {pack}, written anew from the pack");
    }
    for name in &repaired.names {
        let _ = writeln!(text, "healed   {name}");
    }
    for pack in &repaired.packs {
        let objects = count(pack.kept, "object");
        let _ = writeln!(
            text,
            "moved    pack {} to quarantine; {objects} of it in other packs, {} damaged",
            pack.pack, pack.lost
        );
    }
    for note in &repaired.notes {
        let _ = writeln!(text, "note     {note}");
    }
    for fault in &repaired.lost {
        show(text, "lost", fault);
    }
}

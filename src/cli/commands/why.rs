use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::super::failure::{Failure, Kind};
use super::look::{Stores, joined, path, row};
use super::{Context, Done};
use crate::base::ImagePath;
use crate::pipeline::{self, Brought, Explanation};
use crate::recipe::plan::Origin;
use crate::view::{self, Location};

/// `mkimage why`: says which line of the recipe and which package brought a path, or why a package is in a lock.
#[derive(Args, Debug)]
#[command(after_help = "mkimage why web:/etc/motd          which line, which package, pulled in by whom\n\
    mkimage why disk.img /usr/bin/ssh  the same in an image\n\
    mkimage why web libssl3            why a package is in the lock of a commit\n\
    mkimage why server.hcl libssl3     … in the lock beside a recipe")]
pub struct Why {
    /// REV, IMAGE (either with :/PATH), or a recipe
    #[arg(value_name = "REV")]
    pub place: String,
    /// Path inside, or the name of a package
    #[arg(value_name = "PATH")]
    pub what: Option<String>,
}

pub fn run(context: &Context, arguments: &Why) -> Done {
    let is_about_a_path = arguments.what.as_ref().is_some_and(|what| what.contains('/'));
    if let Some(recipe) = recipe(&arguments.place).filter(|_| !is_about_a_path) {
        let Some(package) = &arguments.what else {
            let problem = format!("{} is a recipe: which package is it about?", recipe.display());
            return Err(Failure::new(Kind::Usage, problem).hint("mkimage why RECIPE PACKAGE"));
        };
        let why = pipeline::why(&pipeline::lock_path(&recipe), package);
        return say(context, &why.map_err(|error| context.failure(error))?);
    }
    let stores = Stores::default();
    let view = stores.view(context, &arguments.place)?;
    // An image knows its packages; its recipe is in the store that made it, where that is at hand.
    let store = stores.get(context).ok();
    let at = match (view.path().cloned(), arguments.what.as_deref()) {
        (Some(above), Some(what)) => joined(&above, &path(what)?),
        (Some(path), None) => path,
        (None, Some(what)) if what.contains('/') => path(what)?,
        (None, Some(package)) => {
            let explanation =
                Explanation::of(&view, store, &context.job).map_err(|error| context.failure(error))?;
            let why = explanation.package(package).map_err(|error| context.failure(error))?;
            return say(context, &why);
        }
        (None, None) => {
            let problem = format!("{}: which path is it about?", arguments.place);
            return Err(Failure::new(Kind::Usage, problem).hint("mkimage why REV:/PATH, or REV PACKAGE"));
        }
    };
    let found = view.find(&at, false)?;
    let explanation = Explanation::of(&view, store, &context.job).map_err(|error| context.failure(error))?;
    let brought = explanation.brought(&at);
    let entry = row(&at.to_string(), &found.node);
    context.printer.data(&as_json(&at, &brought, entry.0), || as_text(&brought, &entry.1))?;
    if !explanation.knows_recipe() && view.commit().is_some() {
        context.printer.say("its recipe is not in this store; --store names the one that it was built with");
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the recipe that a text names: a file that is no image.
fn recipe(text: &str) -> Option<PathBuf> {
    let file = match Location::parse(text).ok()? {
        Location::File { file, .. } => file,
        Location::Revision(text) => PathBuf::from(text),
    };
    let is_recipe = Path::new(text) == file && file.is_file() && !view::begins_like_an_image(&file);
    is_recipe.then_some(file)
}

fn say(context: &Context, sentences: &Vec<String>) -> Done {
    context.printer.data(sentences, || sentences.iter().map(|sentence| format!("{sentence}\n")).collect())?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(at: &ImagePath, brought: &Brought, entry: serde_json::Value) -> serde_json::Value {
    let part = |origin: &Origin| serde_json::json!({ "block": origin.block, "file": origin.file, "line": origin.line });
    let package = brought.package.as_ref();
    serde_json::json!({
        "path": at, "entry": entry, "part": brought.part.as_ref().map(part),
        "package": package.map(|(name, _)| name), "version": package.map(|(_, version)| version),
        "sentences": brought.sentences,
    })
}

fn as_text(brought: &Brought, row: &str) -> String {
    let sentences: String = brought.sentences.iter().map(|sentence| format!("{sentence}\n")).collect();
    format!("{row}{sentences}")
}

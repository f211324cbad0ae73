//! Recipe text from the host.

use std::path::Path;

use super::error::{PipelineError, Result};
use crate::base::{FileError, fs};
use crate::recipe::{self, LoadError, Loaded, Loader, MemoryLoader, Plan, Settings, TEXT_BYTES_MAX};
use crate::store::{Commit, Store};
use crate::tree::ContentSource;

/// Reads recipes from files of the host, and variables from the environment where a recipe names them.
pub struct HostLoader;

impl Loader for HostLoader {
    fn read(&self, path: &str) -> std::result::Result<String, LoadError> {
        let bytes = fs::read_at_most(Path::new(path), TEXT_BYTES_MAX).map_err(|error| match error {
            error if error.is_missing() => LoadError::Missing,
            error => LoadError::Unreadable(error.source.to_string()),
        })?;
        String::from_utf8(bytes)
            .map_err(|error| LoadError::NotText { offset: error.utf8_error().valid_up_to() })
    }

    fn environment(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Reads a recipe with all that it includes. A recipe that isn't there is a file error, all else is the
/// recipe's.
pub fn load(recipe: &Path, settings: &Settings) -> Result<Loaded> {
    let file = fs::open(recipe)?;
    let metadata = file.metadata().map_err(FileError::at("look at", recipe))?;
    if metadata.is_dir() {
        let source = std::io::Error::from(std::io::ErrorKind::IsADirectory);
        return Err(FileError { doing: "read the recipe", path: recipe.to_owned(), source }.into());
    }
    let name = recipe.to_string_lossy();
    recipe::load(&name, &HostLoader, settings)
        .map_err(|diagnostics| PipelineError::Recipe(Box::new(diagnostics)))
}

/// Reads the recipe that a commit was made from, with the values that its variables had then. `None` where the commit
/// holds no recipe. Relative paths are relative to the recipe's folder, wherever that was.
pub fn plan_of_commit(store: &Store, commit: &Commit) -> Result<Option<Plan>> {
    let Some((name, _)) = commit.recipe.first() else { return Ok(None) };
    let mut loader = MemoryLoader::default();
    for (name, content) in &commit.recipe {
        let text = store.read_all(content).map_err(crate::store::StoreError::from)?;
        loader.texts.insert(name.clone(), String::from_utf8_lossy(&text).into_owned());
    }
    // What came from the environment is no variable of the recipe.
    let own = commit.variables.iter().filter(|(name, _)| !name.starts_with("env."));
    let set = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    let settings = Settings { set, ..Settings::default() };
    recipe::load(name, &loader, &settings)
        .map(|loaded| Some(loaded.plan))
        .map_err(|diagnostics| PipelineError::Recipe(Box::new(diagnostics)))
}

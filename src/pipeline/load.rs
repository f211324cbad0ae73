//! Recipe text from the host.

use std::path::Path;

use super::error::{PipelineError, Result};
use crate::base::{FileError, fs};
use crate::recipe::{self, LoadError, Loaded, Loader, Settings, TEXT_BYTES_MAX};

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

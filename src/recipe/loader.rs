//! How texts and settings come in.

use std::collections::BTreeMap;

use super::LoadError;

/// Gives the room what it can't see by itself.
pub trait Loader {
    /// Returns the text of a recipe or vars file. `path` is as the user or the recipe gave it, joined with
    /// the folder of the file that named it. An implementation need not read more than
    /// [`TEXT_BYTES_MAX`](super::TEXT_BYTES_MAX) bytes.
    fn read(&self, path: &str) -> Result<String, LoadError>;

    /// Returns a variable of the environment, for `env("NAME")`. `None` where it isn't set.
    fn environment(&self, name: &str) -> Option<String>;
}

/// Holds what the user set from outside. Later ones win; `set` wins over files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Name and value of each `--set`.
    pub set: Vec<(String, String)>,
    /// Files of `name = value` lines, read through the loader.
    pub vars_files: Vec<String>,
}

/// Serves texts from memory, for tests and for callers that have them already.
#[derive(Clone, Debug, Default)]
pub struct MemoryLoader {
    pub texts: BTreeMap<String, String>,
    pub environment: BTreeMap<String, String>,
}

impl Loader for MemoryLoader {
    fn read(&self, path: &str) -> Result<String, LoadError> {
        self.texts.get(path).cloned().ok_or(LoadError::Missing)
    }

    fn environment(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }
}

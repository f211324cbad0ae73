//! Indexes of what is built into the kernel.

use super::Release;
use super::index::Index;
use super::output::normal;
use super::search::module_name;

/// Indexes the names of `modules.builtin`: one path a line.
pub(super) fn names(text: &[u8], release: Release) -> Result<Vec<u8>, String> {
    let mut index = Index::new();
    for line in
        text.split(|&byte| byte == b'\n').filter(|line| line.first().is_some_and(u8::is_ascii_alphabetic))
    {
        let file = line.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        if let Some(name) = module_name(file) {
            index.insert(name.as_bytes(), b"", 0)?;
        }
    }
    index.write(release)
}

/// Indexes the aliases of `modules.builtin.modinfo`: entries `MODULE.KEY=VALUE`, each with a NUL behind it.
pub(super) fn aliases(text: &[u8], release: Release) -> Result<Vec<u8>, String> {
    let mut index = Index::new();
    for entry in text.split(|&byte| byte == 0).filter(|entry| !entry.is_empty()) {
        let dot = entry.iter().position(|&byte| byte == b'.');
        let dot = dot.ok_or("an entry of modules.builtin.modinfo has no \".\" behind a module's name")?;
        if let Some(alias) = entry[dot + 1..].strip_prefix(b"alias=").and_then(normal) {
            index.insert(&alias, &entry[..dot], 0)?;
        }
    }
    index.write(release)
}

//! `/etc/shells` and its state, as update-shells(8) of debianutils makes them from what packages bring.

use super::FinalizeError;
use super::world::{World, path};
use crate::base::ImagePath;

/// Writes the shells of the template, then those of packages, then those that scripts added; each as it is
/// spelled, and where its folder is a link, as it really is.
pub(super) fn write(world: &mut World<'_>) -> Result<(), FinalizeError> {
    let template = path("/usr/share/debianutils/shells");
    let folder = path("/usr/share/debianutils/shells.d");
    let listed = path("/etc/shells");
    let Some(text) = world.read_text(&template)? else { return write_added(world, &listed) };
    let mut shells = lines(world, &text);
    for name in world.names(&folder) {
        let text = world.read_text(&folder.join(&name))?.unwrap_or_default();
        shells.extend(lines(world, &text));
    }
    let mut seen = std::collections::BTreeSet::new();
    shells.retain(|shell| seen.insert(shell.clone()));
    let mut written = match world.read_text(&listed)? {
        Some(there) => there,
        None => text,
    };
    for shell in &shells {
        add(&mut written, shell);
    }
    world.write(&listed, written.as_bytes(), 0o644)?;
    let state: String = shells.iter().map(|shell| format!("{shell}\n")).collect();
    world.write(&path("/var/lib/shells.state"), state.as_bytes(), 0o644)?;
    write_added(world, &listed)
}

/// Adds the shells that scripts asked for.
fn write_added(world: &mut World<'_>, listed: &ImagePath) -> Result<(), FinalizeError> {
    let added = std::mem::take(&mut world.shells);
    if added.is_empty() {
        return Ok(());
    }
    let mut written = world.read_text(listed)?.unwrap_or_default();
    for shell in added.iter().flat_map(|shell| lines(world, shell)) {
        add(&mut written, &shell);
    }
    world.write(listed, written.as_bytes(), 0o644)
}

fn add(text: &mut String, shell: &str) {
    if !text.lines().any(|line| line == shell) {
        text.push_str(shell);
        text.push('\n');
    }
}

/// Returns the shells of a text, each followed by its path without links where that is another one.
fn lines(world: &World<'_>, text: &str) -> Vec<String> {
    let mut shells = Vec::new();
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        let Ok(named) = ImagePath::new(line.as_bytes()) else { continue };
        shells.push(named.to_string());
        if let Some(real) = world.place_of(&named).filter(|real| *real != named) {
            shells.push(real.to_string());
        }
    }
    shells
}

//! `lib/modules/VERSION/modules.*`: what modprobe(8) asks for modules by name, alias or symbol, as depmod(8)
//! of the tree's own kmod writes it.
//!
//! In: the modules (plain or compressed), `modules.order`, `modules.builtin`, `modules.builtin.modinfo`,
//! `depmod.d`. Out: `modules.dep`, `.alias`, `.symbols` and their indexes, `.softdep`, `.weakdep`,
//! `.devname`, `.builtin.bin`, `.builtin.alias.bin`.

mod builtin;
mod graph;
mod hash;
mod index;
mod output;
mod search;

use super::super::FinalizeError;
use super::view::{Outcome, View, find_text, path};
use crate::base::{ImagePath, Name};
use crate::tree::{Directory, Node};
use graph::Graph;

const CACHE: &str = "modules.dep";
/// Mode of what depmod writes.
const MODE: u16 = 0o644;

/// The release of kmod: it decides on a few lines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Release(u32);

/// The release that is assumed where the tree has no kmod: the newest that is known here.
const NEWEST: Release = Release(34);

/// Writes the files of every kernel of a tree.
pub(super) fn write(view: &View<'_>) -> Result<Outcome, FinalizeError> {
    let mut outcome = Outcome::default();
    let Some((folder, kernels)) = view.directory(&path("/lib/modules")) else { return Ok(outcome) };
    let release = find_release(view)?;
    for (version, node) in &kernels.entries {
        if let Node::Directory(kernel) = node {
            write_kernel(view, release, &folder.join(version), version, kernel, &mut outcome)?;
        }
    }
    Ok(outcome)
}

fn write_kernel(
    view: &View<'_>,
    release: Release,
    folder: &ImagePath,
    version: &Name,
    kernel: &Directory,
    outcome: &mut Outcome,
) -> Result<(), FinalizeError> {
    let rules = search::Rules::read(view, version)?;
    let found = search::find(view, folder, kernel, &rules)?;
    if found.is_empty() {
        return Ok(());
    }
    let read = |name: &str| {
        let name = Name::new(name.as_bytes()).expect("because it is a valid name");
        view.read(CACHE, &folder.join(&name))
    };
    let order = read("modules.order")?;
    let graph = Graph::build(search::in_order(found, order.as_deref()));
    let graph = graph.map_err(|problem| fail(folder, problem))?;
    let mut files = output::files(&graph, release).map_err(|problem| fail(folder, problem))?;
    if let Some(text) = read("modules.builtin")? {
        let index = builtin::names(&text, release).map_err(|problem| fail(folder, problem))?;
        files.push(("modules.builtin.bin", index));
    }
    if let Some(text) = read("modules.builtin.modinfo")? {
        let index = builtin::aliases(&text, release).map_err(|problem| fail(folder, problem))?;
        files.push(("modules.builtin.alias.bin", index));
    }
    for (name, bytes) in files {
        let name = Name::new(name.as_bytes()).expect("because it is a valid name");
        outcome.files.push((folder.join(&name), MODE, bytes));
    }
    Ok(())
}

fn fail(path: &ImagePath, problem: String) -> FinalizeError {
    FinalizeError::Cache { cache: CACHE, path: path.clone(), problem }
}

/// Reads the release of kmod from its program.
fn find_release(view: &View<'_>) -> Result<Release, FinalizeError> {
    let Some(bytes) = view.read(CACHE, &path("/bin/kmod"))? else { return Ok(NEWEST) };
    let text = find_text(&bytes, b"kmod version ");
    let number =
        text.and_then(|text| str::from_utf8(text).ok()?.rsplit(' ').next()?.split('.').next()?.parse().ok());
    Ok(number.map_or(NEWEST, Release))
}

//! Caches that tools make from what packages brought: the loader's, the kernel modules', the hardware
//! database's, the journal catalog's. Each is written byte for byte as the tool of the tree itself would.
//!
//! In: the finished tree. Out: the same tree with `etc/ld.so.cache` and missing links to libraries,
//! `lib/modules/*/modules.*`, `usr/lib/udev/hwdb.bin`, `var/lib/systemd/catalog/database`.
//!
//! Always true
//! - A cache is written where its tool is in the tree (for modules: where modules are), as that tool's
//!   version writes it: the version is read from the tool's own file.
//! - Nothing is run, and no path of the build host can get into a cache.
//!
//! Not here: `var/cache/ldconfig/aux-cache` (inode numbers and times: different on each disk, and only a
//! help for the next `ldconfig`). Caches of desktops (icons, MIME types, schemas): [`fn@write`] notes them.
//!
//! Read first: [`fn@write`], then one folder a cache.

mod catalog;
mod edges;
mod hardware;
mod lines;
mod loader;
mod modules;
mod strings;
mod view;

use super::FinalizeError;
use crate::base::Job;
use crate::tree::{ContentSink, ContentSource, Directory, File, Metadata, Node, Symlink};
use view::{Outcome, View};

/// One cache: its name in messages, and what makes it.
type Writer = (&'static str, fn(&View<'_>) -> Result<Outcome, FinalizeError>);

/// The caches; the slowest first, so that none is left for the end.
const WRITERS: &[Writer] = &[
    ("hwdb.bin", hardware::write),
    ("modules.dep", modules::write),
    ("ld.so.cache", loader::write),
    ("catalog", catalog::write),
];

/// Directories whose cache a program of a desktop makes, and that program. `*` stands for each machine's
/// directory below `/usr/lib`.
const LEFT_OUT: &[(&str, &str)] = &[
    ("/usr/share/applications", "/usr/bin/update-desktop-database"),
    ("/usr/share/icons/hicolor", "/usr/bin/gtk-update-icon-cache"),
    ("/usr/share/mime/packages", "/usr/bin/update-mime-database"),
    ("/usr/share/glib-2.0/schemas", "/usr/lib/*/glib-2.0/glib-compile-schemas"),
    ("/usr/lib/*/gio/modules", "/usr/lib/*/glib-2.0/gio-querymodules"),
    ("/usr/lib/*/gdk-pixbuf-2.0/2.10.0/loaders", "/usr/lib/*/gdk-pixbuf-2.0/gdk-pixbuf-query-loaders"),
];

/// Writes every cache whose tool and input are in a tree, side by side. Returns notes on those that the tree
/// may want and that aren't written.
///
/// Costs about 0.2 seconds of one core for a Debian server; the most of it is the hardware database.
pub fn write(
    tree: &mut Directory,
    source: &dyn ContentSource,
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<Vec<String>, Vec<FinalizeError>> {
    let view = View { tree, source, job };
    let outcomes = job.workers.try_map(WRITERS.to_vec(), |(_, writer)| {
        job.check()?;
        writer(&view)
    })?;
    let mut notes = left_out(&view);
    for outcome in outcomes {
        notes.extend(outcome.notes.iter().cloned());
        apply(tree, outcome, sink).map_err(|error| vec![error])?;
    }
    notes.sort();
    Ok(notes)
}

fn left_out(view: &View<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    for machine in view.machines() {
        for (directory, tool) in LEFT_OUT {
            let [directory, tool] = [directory, tool].map(|path| view::path(&path.replace('*', &machine)));
            let filled = view.directory(&directory).is_some_and(|found| !found.1.entries.is_empty());
            if filled && view.file(&tool).is_some() {
                notes.push(format!("{directory}: its cache is not written; {tool} would write it"));
            }
        }
    }
    notes.sort();
    notes.dedup();
    notes
}

fn apply(tree: &mut Directory, outcome: Outcome, sink: &dyn ContentSink) -> Result<(), FinalizeError> {
    for path in &outcome.removed {
        tree.remove(path);
    }
    for (path, target) in outcome.links {
        let link = Symlink { metadata: Metadata::root(0o777), target: target.into() };
        tree.replace(&path, Node::Symlink(link))?;
    }
    for (path, mode, bytes) in outcome.files {
        let content = sink.put(&bytes)?;
        tree.replace(&path, Node::File(File { metadata: Metadata::root(mode), content }))?;
    }
    Ok(())
}

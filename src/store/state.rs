//! Marks of damage: copies of objects that did not verify when somebody read them.
//!
//! ```text
//! state/damaged/ID.PACK    empty: the copy of object ID in pack PACK is damaged
//! state/damaged/ID.lost    empty: the object is named by something that a ref leads to, and is nowhere
//! ```
//!
//! A marked copy counts as not there when something new is put, so that the next build which has the bytes
//! puts them again; nobody relies on it. Reading tries it all the same. Marks are hints: made without a sync,
//! by readers too where they may write, and lost without harm: whoever meets the damage makes them again.
//! A repair removes those that no longer hold.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use super::format::{self, Access, Layout};
use super::media::Media;
use crate::base::Digest;

/// Names a damaged copy: the object, and the pack that holds it; `None` for one that is nowhere.
pub(super) type Mark = (Digest, Option<Digest>);

/// The marks of a store, as far as they were read, and those that this process made.
pub(super) struct Marks {
    layout: Layout,
    directory: PathBuf,
    media: Media,
    held: RwLock<HashSet<Mark>>,
}

impl Marks {
    pub fn new(layout: &Layout, media: Media) -> Self {
        Marks { layout: layout.clone(), directory: layout.damaged(), media, held: RwLock::default() }
    }

    /// Reads the marks that other processes made; one that can't be read does no harm.
    pub fn load(&self) {
        let names = crate::base::fs::list(&self.directory).unwrap_or_default();
        if !names.is_empty() {
            let marks = names.iter().filter_map(|name| parse(name.to_str()?));
            self.held.write().unwrap_or_else(PoisonError::into_inner).extend(marks);
        }
    }

    /// Tells whether a copy is marked.
    pub fn holds(&self, id: &Digest, pack: &Digest) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        !held.is_empty() && held.contains(&(*id, Some(*pack)))
    }

    /// Tells whether any copy of an object is marked.
    pub fn name(&self, id: &Digest) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.iter().any(|(marked, _)| marked == id)
    }

    /// Returns all marks, in order.
    pub fn all(&self) -> Vec<Mark> {
        let mut marks: Vec<Mark> =
            self.held.read().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        marks.sort_unstable();
        marks
    }

    /// Marks a copy, for this process and, where it may write, for those that come.
    pub fn add(&self, mark: Mark) {
        let is_new = self.held.write().unwrap_or_else(PoisonError::into_inner).insert(mark);
        if is_new
            && let Some(above) = self.directory.parent()
            && format::access(&self.layout).is_ok_and(|access| matches!(access, Access::Full(_)))
        {
            let _ = self
                .media
                .create_directory(above)
                .and_then(|_| self.media.create_directory(&self.directory))
                .and_then(|_| self.media.create_file(&self.path(&mark), 0o444));
        }
    }

    /// Removes the marks that no longer hold.
    pub fn retain(&self, holds: impl Fn(&Mark) -> bool) {
        for mark in self.all().into_iter().filter(|mark| !holds(mark)) {
            self.held.write().unwrap_or_else(PoisonError::into_inner).remove(&mark);
            let _ = self.media.remove_file(&self.path(&mark));
        }
    }

    fn path(&self, (id, pack): &Mark) -> PathBuf {
        let pack = pack.map_or("lost".to_owned(), |pack| pack.to_string());
        Path::join(&self.directory, format!("{id}.{pack}"))
    }
}

fn parse(name: &str) -> Option<Mark> {
    let (id, pack) = name.split_once('.')?;
    let pack = if pack == "lost" { None } else { Some(pack.parse().ok()?) };
    Some((id.parse().ok()?, pack))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_outlive_their_process_and_go_when_they_no_longer_hold() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout { root: folder.path().to_owned() };
        std::fs::write(layout.format(), format::text(false)).expect("written");
        let [one, two] = [b"1", b"2"].map(|bytes| Digest::of(bytes));
        let marks = Marks::new(&layout, Media::default());
        marks.add((one, Some(two)));
        marks.add((two, None));
        std::fs::write(layout.damaged().join("stray"), b"").expect("written");
        let read = Marks::new(&layout, Media::default());
        assert!(!read.holds(&one, &two), "not read yet");
        read.load();
        assert!(read.holds(&one, &two) && !read.holds(&two, &one));
        assert!(read.name(&one) && read.name(&two) && !read.name(&Digest::of(b"another")));
        assert_eq!(read.all().len(), 2);
        read.retain(|mark| mark.1.is_none());
        let again = Marks::new(&layout, Media::default());
        again.load();
        assert_eq!(again.all(), [(two, None)]);
    }
}

//! What a run has made, and whether it kept to what it had declared.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobSetBuilder};

use crate::base::ImagePath;
use crate::tree::Directory;
use crate::tree::Node;
use crate::tree::diff::{Change, diff};

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The tree, normalised. Contents are in the sink, or where the tree before had them.
    pub tree: Directory,
    /// Every path that was added, removed or changed, in tree order.
    pub changed: Vec<ImagePath>,
    /// What the commands said; not the same from run to run, so not for an image.
    pub log: Vec<u8>,
    /// Directories that were not there before.
    added: BTreeSet<ImagePath>,
}

impl Outcome {
    pub(super) fn new(before: &Directory, tree: Directory, log: Vec<u8>) -> Outcome {
        let mut changed = Vec::new();
        let mut added = BTreeSet::new();
        if before.metadata != tree.metadata {
            changed.push(ImagePath::root());
        }
        for (path, change) in diff(before, &tree) {
            if let Change::Added(Node::Directory(_)) = change {
                added.insert(path.clone());
            }
            changed.push(path);
        }
        Outcome { tree, changed, log, added }
    }

    /// Returns the changed paths that no pattern covers. `*` and `?` stop at a `/`, `**` doesn't; a new
    /// directory above a covered path is covered with it.
    ///
    /// # Errors
    /// The pattern that is none, and why.
    pub fn outside(&self, globs: &[String]) -> Result<Vec<ImagePath>, (String, String)> {
        use std::os::unix::ffi::OsStrExt;
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            let built = GlobBuilder::new(glob).literal_separator(true).build();
            set.add(built.map_err(|error| (glob.clone(), error.kind().to_string()))?);
        }
        let set = set.build().map_err(|error| (globs.join(" "), error.to_string()))?;
        let covers = |path: &ImagePath| set.is_match(std::ffi::OsStr::from_bytes(path.as_bytes()));
        let mut above = BTreeSet::new();
        for path in self.changed.iter().filter(|path| covers(path)) {
            let mut at = path.parent();
            while let Some(path) = at.filter(|path| self.added.contains(path)) {
                at = path.parent();
                above.insert(path);
            }
        }
        Ok(self.changed.iter().filter(|path| !covers(path) && !above.contains(path)).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, File, Metadata};

    #[test]
    fn paths_outside_the_patterns_are_named() {
        let before = Directory::default();
        let mut after = before.clone();
        for at in ["/etc/app/a.conf", "/etc/app/deep/b", "/var/lib/x", "/etcetera"] {
            let path = ImagePath::new(at.as_bytes()).expect("a path");
            let content = Content::of(b"");
            after
                .insert(&path, Node::File(File { metadata: Metadata::root(0o644), content }))
                .expect("inserted");
        }
        let outcome = Outcome::new(&before, after, Vec::new());
        let outside = |globs: &[&str]| {
            let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
            let paths = outcome.outside(&globs).expect("patterns");
            paths.iter().map(ImagePath::to_string).collect::<Vec<_>>()
        };
        assert_eq!(outside(&["/etc/**"]), ["/etcetera", "/var", "/var/lib", "/var/lib/x"]);
        assert_eq!(outside(&["/etc/app/*", "/var/**", "/etcetera"]), ["/etc/app/deep/b"]);
        assert_eq!(outside(&["/**"]), [""; 0]);
        assert!(outcome.outside(&["/a[".to_owned()]).is_err());
    }
}

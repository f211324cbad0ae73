//! What of the packages is left out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::Layout;
use super::error::LayError;
use super::routes::MERGED;
use crate::base::ImagePath;

/// Holds the globs of a layout, ready to be asked.
pub(super) struct Selection {
    drop: GlobSet,
    keep: GlobSet,
}

/// What is known of a directory, for what it holds.
#[derive(Clone, Copy, Default)]
pub(super) struct Chosen {
    dropped: bool,
    kept: bool,
}

impl Chosen {
    /// Tells whether a path is left out; a directory only where nothing in it stays.
    pub(super) fn is_out(self) -> bool {
        self.dropped && !self.kept
    }
}

impl Selection {
    pub(super) fn new(layout: &Layout<'_>) -> Result<Selection, Vec<LayError>> {
        let drop = set("drop", layout.drop, layout.usr_merge);
        let keep = set("keep", layout.keep, layout.usr_merge);
        match (drop, keep) {
            (Ok(drop), Ok(keep)) => Ok(Selection { drop, keep }),
            (drop, keep) => Err([drop.err(), keep.err()].into_iter().flatten().flatten().collect()),
        }
    }

    /// Tells whether every path stays.
    pub(super) fn is_all(&self) -> bool {
        self.drop.is_empty()
    }

    /// Tells what is to be done with a path, and with what lies below it.
    pub(super) fn choose(&self, above: Chosen, path: &ImagePath) -> Chosen {
        let path = OsStr::from_bytes(path.as_bytes());
        Chosen {
            dropped: above.dropped || self.drop.is_match(path),
            kept: above.kept || self.keep.is_match(path),
        }
    }
}

fn set(key: &'static str, patterns: &[String], usr_merge: bool) -> Result<GlobSet, Vec<LayError>> {
    let mut set = GlobSetBuilder::new();
    let mut errors = Vec::new();
    let wrong =
        |pattern: &str, problem: String| LayError::Pattern { key, pattern: pattern.to_owned(), problem };
    for pattern in patterns {
        if !pattern.starts_with('/') {
            errors.push(wrong(pattern, "it must start with \"/\" (\"/**/NAME\" for a name anywhere)".into()));
            continue;
        }
        let placed = if usr_merge { merged(pattern) } else { pattern.clone() };
        match GlobBuilder::new(&placed).literal_separator(true).backslash_escape(true).build() {
            Ok(glob) => drop(set.add(glob)),
            Err(error) => errors.push(wrong(pattern, error.kind().to_string())),
        }
    }
    match set.build() {
        Ok(set) if errors.is_empty() => Ok(set),
        Ok(_) => Err(errors),
        Err(error) => Err(vec![wrong("", error.to_string())]),
    }
}

/// Lets a pattern that begins in `/lib` mean `/usr/lib`, where one is a link to the other.
fn merged(pattern: &str) -> String {
    let first = pattern[1..].split('/').next().unwrap_or_default();
    let goes_on = pattern.len() > first.len() + 1;
    if goes_on && MERGED.contains(&first) { format!("/usr{pattern}") } else { pattern.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(drop: &[&str], keep: &[&str], path: &str) -> bool {
        let [drop, keep] = [drop, keep].map(|globs| globs.iter().map(|glob| (*glob).to_owned()).collect());
        let (drop, keep): (Vec<String>, Vec<String>) = (drop, keep);
        let layout = Layout { usr_merge: true, drop: &drop, keep: &keep, ..Layout::default() };
        let selection = Selection::new(&layout).expect("globs");
        let mut at = ImagePath::root();
        let mut chosen = Chosen::default();
        for name in ImagePath::new(path.as_bytes()).expect("a path").names() {
            at = at.join(&crate::base::Name::new(name).expect("a name"));
            chosen = selection.choose(chosen, &at);
        }
        !chosen.is_out()
    }

    #[test]
    fn globs_drop_and_keep_wins() {
        let (drop, keep) =
            (["/usr/share/doc/**", "/lib/modules", "/**/*.mo"], ["/usr/share/doc/*/copyright"]);
        for (path, stays) in [
            ("/usr/share/doc", true),
            ("/usr/share/doc/a", false),
            ("/usr/share/doc/a/b/c", false),
            ("/usr/share/doc/a/copyright", true),
            ("/usr/share/doc/a/b/copyright", false),
            ("/usr/lib/modules/6/m.ko", false),
            ("/usr/lib/modules-load.d/x", true),
            ("/usr/share/locale/de/x.mo", false),
            ("/usr/share/locale/en/LC_MESSAGES/x.mo", true),
            ("/x.mo", false),
            ("/usr/share/documents", true),
        ] {
            assert_eq!(chosen(&drop, &keep, path), stays, "{path}");
        }
    }

    #[test]
    fn what_is_no_glob_is_an_error() {
        for pattern in ["usr/share", "/usr/[a", "*.mo", ""] {
            let patterns = [pattern.to_owned()];
            let layout = Layout { drop: &patterns, ..Layout::default() };
            assert!(Selection::new(&layout).is_err(), "{pattern}");
        }
    }
}

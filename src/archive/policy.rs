//! What an untrusted source must not hand out unasked.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::base::ImagePath;
use crate::tree::Special;

/// Decides whether an entry may be what it is. The path is that inside the image.
pub type Policy<'a> = dyn Fn(&ImagePath, Special) -> bool + Sync + 'a;

/// An entry that asks for what the policy refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path inside the image.
    pub path: ImagePath,
    pub special: Special,
    /// Byte offset of the entry's header in the archive after decompression.
    pub offset: u64,
}

/// Most violations that an error holds; the rest are only counted.
pub(super) const VIOLATIONS_MAX: usize = 1000;
/// How many violations a message spells out.
const SHOWN: usize = 20;

/// Refuses every special.
pub fn allow_nothing(_: &ImagePath, _: Special) -> bool {
    false
}

/// Lets every special in: for archives that we made ourselves.
pub fn allow_all(_: &ImagePath, _: Special) -> bool {
    true
}

/// Lets specials in at the paths that a recipe names, and nowhere else.
pub fn allow_list(paths: &[ImagePath]) -> impl Fn(&ImagePath, Special) -> bool + Sync {
    let paths: BTreeSet<ImagePath> = paths.iter().cloned().collect();
    move |path, _| paths.contains(path)
}

/// Writes what is refused, and the line of a recipe that would let it in.
pub(super) fn describe(violations: &[Violation], count: usize) -> String {
    let mut text = String::from("the archive asks for what a recipe must name:");
    for violation in violations.iter().take(SHOWN) {
        let Violation { path, special, offset } = violation;
        let _ = write!(text, "\n  {path} has {special} (header at byte {offset})");
    }
    if count > SHOWN {
        let _ = write!(text, "\n  … and {} more", count - SHOWN);
    }
    let mut paths: Vec<_> =
        violations.iter().take(SHOWN).map(|violation| violation.path.to_string()).collect();
    paths.dedup();
    let _ = write!(text, "\nto let them in: allow = {paths:?}");
    text
}

//! Dependency files: what a build read, as a rule that `make` and `ninja` read.
//!
//! ```make
//! disk.img: \
//!   recipe.hcl \
//!   assets \
//!   assets/a\ name.txt
//!
//! recipe.hcl:
//! assets:
//! assets/a\ name.txt:
//! ```
//!
//! Each input is also a target without a recipe, so that make runs the rule of `disk.img` when one was removed,
//! and does not stop for want of it. A directory stands there for its listing.
//!
//! Names are spelled as GNU make reads them (`\ `, `\#`, `\:`, `$$`). What make has no spelling for is refused.
//! A name with `=` can be an input and no target. Ninja 1.11 has no spelling for `" ' & * < > ? ^` and the
//! backtick: with such names it calls mkimage each time.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::error::{PipelineError, Result};
use crate::base::fs;
use crate::base::publish::publish_bytes;

/// Largest dependency file that is compared with what it should hold, in bytes.
const TEXT_BYTES_MAX: u64 = 1 << 30;

/// Where a dependency file goes, and what it says beside what composing read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depfile {
    pub path: PathBuf,
    /// What make makes of the inputs.
    pub target: PathBuf,
    /// Files that were read before: those of variables.
    pub also: Vec<PathBuf>,
}

impl Depfile {
    /// Writes the file whole or not at all; one that says the same already is left alone.
    pub fn write(&self, inputs: impl IntoIterator<Item = PathBuf>) -> Result<()> {
        let inputs: Vec<PathBuf> = inputs.into_iter().chain(self.also.iter().cloned()).collect();
        let text = text(&self.target, &self.unique(inputs)).map_err(|(name, problem)| {
            PipelineError::Depfile { depfile: self.path.clone(), name, problem }
        })?;
        match fs::read_at_most(&self.path, TEXT_BYTES_MAX) {
            Ok(there) if there == text => Ok(()),
            _ => Ok(publish_bytes(&self.path, &text)?),
        }
    }

    /// Returns each input once, in order; nothing depends on itself.
    fn unique(&self, inputs: Vec<PathBuf>) -> Vec<PathBuf> {
        let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut seen: std::collections::BTreeSet<PathBuf> =
            [&self.target, &self.path].into_iter().map(|path| whole(path)).collect();
        inputs.into_iter().filter(|path| seen.insert(whole(path))).collect()
    }
}

/// What make can't read, and why.
type Refused = (PathBuf, &'static str);

fn text(target: &Path, inputs: &[PathBuf]) -> std::result::Result<Vec<u8>, Refused> {
    if let Some(problem) = problem_of_target(target.as_os_str().as_bytes()) {
        return Err((target.to_owned(), problem));
    }
    let mut names = Vec::with_capacity(inputs.len());
    for input in inputs {
        let bytes = input.as_os_str().as_bytes();
        match problem(bytes) {
            Some(problem) => return Err((input.clone(), problem)),
            None => names.push((bytes, spelled(bytes))),
        }
    }
    // `target: a=b` would set a variable for the target; behind another name it is a name.
    let Some(first) = names.iter().position(|(name, _)| !name.contains(&b'=')) else {
        let path = inputs.first().map_or(target, PathBuf::as_path);
        return Err((path.to_owned(), "make takes the name for a variable"));
    };
    names[..=first].rotate_right(1);
    let mut text = [&spelled(target.as_os_str().as_bytes())[..], b":"].concat();
    for (_, spelled) in &names {
        text.extend_from_slice(b" \\\n  ");
        text.extend_from_slice(spelled);
    }
    text.extend_from_slice(b"\n\n");
    for (name, spelled) in names.iter().filter(|(name, _)| !name.contains(&b'=')) {
        text.extend_from_slice(spelled);
        // A pattern without a recipe makes nothing, one with an empty recipe makes also what it is itself.
        text.extend_from_slice(if name.contains(&b'%') { b": ;\n" } else { b":\n" });
    }
    Ok(text)
}

/// Tells why make can't have a name as an input.
fn problem(name: &[u8]) -> Option<&'static str> {
    let last = name.last().copied().unwrap_or_default();
    let run_before = |marks: &[u8]| name.windows(2).any(|pair| pair[0] == b'\\' && marks.contains(&pair[1]));
    match () {
        () if name.is_empty() => Some("it is empty"),
        () if name.iter().any(u8::is_ascii_control) => {
            Some("it holds a line break, a tab or another control character")
        }
        () if name.iter().any(|byte| b";|".contains(byte)) => Some("it holds \";\" or \"|\""),
        () if b" :&\\".contains(&last) => Some("it ends with a blank, \":\", \"&\" or a backslash"),
        () if run_before(b"#:$%") => Some("it holds a backslash before \"#\", \":\", \"$\" or \"%\""),
        () if name[0] == b'~' => Some("it begins with \"~\""),
        () if last == b')' && name.contains(&b'(') => {
            Some("it ends like a member of an archive, `lib(member)`")
        }
        () => None,
    }
}

fn problem_of_target(name: &[u8]) -> Option<&'static str> {
    let special = |byte: &u8| b"=%*?[".contains(byte);
    problem(name).or_else(|| {
        name.iter().any(special).then_some("it holds one of \"=%*?[\", which mean something else in a target")
    })
}

/// Spells a name as GNU make and ninja read it.
fn spelled(name: &[u8]) -> Vec<u8> {
    let mut spelled = Vec::with_capacity(name.len() + 8);
    let mut backslashes = 0;
    for &byte in name {
        match byte {
            // Backslashes count for themselves, but not before a blank.
            b' ' => spelled.resize(spelled.len() + backslashes + 1, b'\\'),
            b'#' | b':' => spelled.push(b'\\'),
            b'$' => spelled.push(b'$'),
            _ => {}
        }
        backslashes = if byte == b'\\' { backslashes + 1 } else { 0 };
        spelled.push(byte);
    }
    spelled
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn of(names: &[&str]) -> std::result::Result<String, Refused> {
        let inputs: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
        text(Path::new("out"), &inputs).map(|text| String::from_utf8(text).expect("text"))
    }

    #[test]
    fn names_are_spelled_for_make() {
        let text =
            of(&["a=b", "r.hcl", "a b", "a\\ b", "#c", "$d", "e:f", "50%", "back\\slash"]).expect("text");
        let rule = "out: \\\n  r.hcl \\\n  a=b \\\n  a\\ b \\\n  a\\\\\\ b \\\n  \\#c \\\n  $$d \\\n  e\\:f \\\n  50% \\\n  back\\slash\n\n";
        let targets = "r.hcl:\na\\ b:\na\\\\\\ b:\n\\#c:\n$$d:\ne\\:f:\n50%: ;\nback\\slash:\n";
        assert_eq!(text, format!("{rule}{targets}"));
    }

    #[test]
    fn what_make_can_not_read_is_refused_by_name() {
        for name in [
            "", "a\nb", "a\tb", "a;b", "a|b", "end ", "end\\", "end:", "end&", "a\\#b", "~user", "x (86)",
            "$(x)",
        ] {
            let (path, problem) = of(&["r.hcl", name]).expect_err(name);
            assert_eq!(path, Path::new(name));
            assert!(!problem.is_empty());
        }
        assert!(of(&["a=b"]).is_err(), "make would set a variable");
        let inputs = [PathBuf::from("r.hcl")];
        for target in ["a=b", "a%b", "[a]", "a\nb", ""] {
            assert!(text(Path::new(target), &inputs).is_err(), "{target:?}");
        }
        let odd = PathBuf::from(OsStr::from_bytes(b"\xff\xfe"));
        assert!(text(Path::new("out"), &[odd]).is_ok(), "names need not be UTF-8");
    }

    #[test]
    fn inputs_stand_there_once_and_never_the_output() {
        let depfile = Depfile { path: "out.d".into(), target: "./out".into(), also: Vec::new() };
        let inputs = ["r.hcl", "./r.hcl", "out", "out.d", "b"].map(PathBuf::from).to_vec();
        assert_eq!(depfile.unique(inputs), [PathBuf::from("r.hcl"), "b".into()]);
    }
}

//! Whether a tree keeps to the budget of its recipe. Every excess is told at once, each with its paths and sizes.

use std::fmt;

use globset::GlobBuilder;

use crate::base::ImagePath;
use crate::base::units::{Bytes, approximate};
use crate::recipe::plan::{BudgetPlan, Origin};
use crate::tree::{Directory, Node, Special};

/// Most paths that an excess shows.
const PATHS_SHOWN: usize = 20;
/// How many of the largest files stand for all of a size that is too large.
const LARGEST: usize = 10;

/// A line of the budget that is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Excess {
    pub origin: Origin,
    /// What is wrong, with both values.
    pub problem: String,
    /// What is to blame, with sizes where these matter; `boot:` stands before what is not in the root filesystem.
    pub paths: Vec<(String, Option<u64>)>,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.problem)?;
        for (path, bytes) in self.paths.iter().take(PATHS_SHOWN) {
            match bytes {
                Some(bytes) => write!(f, "\n    {:>10}  {path}", approximate(Bytes(*bytes)))?,
                None => write!(f, "\n    {path}")?,
            }
        }
        match self.paths.len().saturating_sub(PATHS_SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n    and {more} more"),
        }
    }
}

/// Holds a root filesystem and what boots it against a budget; returns every excess.
pub fn check(budget: &BudgetPlan, root: &Directory, boot: Option<&Directory>) -> Vec<Excess> {
    let found = [size(budget, root, boot), setuid(budget, root)];
    let mut excesses: Vec<Excess> = found.into_iter().flatten().collect();
    for pattern in &budget.forbid {
        excesses.extend(forbidden(budget, pattern, root));
    }
    excesses
}

fn size(budget: &BudgetPlan, root: &Directory, boot: Option<&Directory>) -> Option<Excess> {
    let limit = budget.max_size?;
    let mut files: Vec<(String, Option<u64>)> = Vec::new();
    for (prefix, tree) in [("", Some(root)), ("boot:", boot)] {
        for (path, node) in tree.iter().flat_map(|tree| tree.paths()) {
            if let Node::File(file) = node {
                files.push((format!("{prefix}{path}"), Some(file.content.size)));
            }
        }
    }
    let all: u64 = files.iter().filter_map(|file| file.1).sum();
    if all <= limit.0 {
        return None;
    }
    files.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    files.truncate(LARGEST);
    let over = approximate(Bytes(all - limit.0));
    let problem =
        format!("`max_size` is {limit}, the files take {all} bytes: {over} too much. The largest are",);
    Some(Excess { origin: budget.origin.clone(), problem, paths: files })
}

fn setuid(budget: &BudgetPlan, root: &Directory) -> Option<Excess> {
    let limit = budget.max_setuid?;
    let is_power =
        |special: &Special| matches!(special, Special::SetUid | Special::SetGid | Special::Capability);
    let has_power = |node: &Node| node.specials().iter().any(is_power);
    let with = |(path, node): (ImagePath, &Node)| {
        let kinds: Vec<String> =
            node.specials().iter().filter(|it| is_power(it)).map(ToString::to_string).collect();
        (format!("{path} ({})", kinds.join(", ")), None)
    };
    let paths: Vec<_> = root.paths().filter(|(_, node)| has_power(node)).map(with).collect();
    let count = paths.len() as u64;
    let problem = format!(
        "`max_setuid` is {limit}, and {count} {} lend rights",
        if count == 1 { "file" } else { "files" }
    );
    (count > limit).then(|| Excess { origin: budget.origin.clone(), problem, paths })
}

fn forbidden(budget: &BudgetPlan, pattern: &str, root: &Directory) -> Option<Excess> {
    use std::os::unix::ffi::OsStrExt;
    let excess = |problem, paths| Some(Excess { origin: budget.origin.clone(), problem, paths });
    let glob = match GlobBuilder::new(pattern).literal_separator(true).build() {
        Ok(glob) => glob.compile_matcher(),
        Err(error) => {
            return excess(
                format!("{pattern:?} in `forbid` is no glob of paths: {}", error.kind()),
                Vec::new(),
            );
        }
    };
    let mut paths = Vec::new();
    for (path, node) in root.paths() {
        if glob.is_match(std::ffi::OsStr::from_bytes(path.as_bytes())) {
            let bytes = match node {
                Node::File(file) => Some(file.content.size),
                _ => None,
            };
            paths.push((path.to_string(), bytes));
        }
    }
    if paths.is_empty() { None } else { excess(format!("`forbid` has {pattern:?}, and there is"), paths) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, File, Metadata};

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text.as_bytes()).expect("a path")
    }

    fn file(bytes: usize, mode: u16) -> Node {
        Node::File(File { metadata: Metadata::root(mode), content: Content::of(&vec![1; bytes]) })
    }

    fn budget() -> BudgetPlan {
        let origin = Origin { block: "budget".into(), file: "x.hcl".into(), line: 7 };
        BudgetPlan { max_size: None, max_setuid: None, forbid: Vec::new(), max_boot_seconds: None, origin }
    }

    fn tree() -> Directory {
        let mut root = Directory::default();
        for (at, node) in [
            ("/a/small", file(1, 0o644)),
            ("/a/x.pyc", file(10, 0o644)),
            ("/su", file(100, 0o4755)),
            ("/su-too", Node::HardLink(path("/su"))),
            ("/x.pyc", file(5, 0o644)),
        ] {
            root.insert(&path(at), node).expect("inserted");
        }
        root
    }

    #[test]
    fn what_is_kept_is_not_told() {
        let kept = BudgetPlan {
            max_size: Some(Bytes(116)),
            max_setuid: Some(1),
            forbid: vec!["/**/*.py".into()],
            ..budget()
        };
        assert_eq!(check(&kept, &tree(), None), []);
    }

    #[test]
    fn every_excess_is_told_with_its_paths() {
        let plan = BudgetPlan {
            max_size: Some(Bytes(115)),
            max_setuid: Some(0),
            forbid: vec!["/**/*.pyc".into(), "/a".into(), "/[".into()],
            ..budget()
        };
        let told: Vec<String> = check(&plan, &tree(), None).iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 5, "{told:?}");
        assert!(told.iter().all(|text| text.starts_with("budget (x.hcl:7): ")), "{told:?}");
        assert!(
            told[0].contains("115 B") && told[0].contains("116 bytes") && told[0].contains("100 B  /su\n")
        );
        assert!(told[1].contains("/su (a setuid bit)") && !told[1].contains("su-too"), "{}", told[1]);
        assert!(told[2].contains("/a/x.pyc") && told[2].contains("5 B  /x.pyc"), "{}", told[2]);
        assert!(told[3].ends_with("/a") && told[4].contains("no glob"), "{told:?}");
    }

    #[test]
    fn what_boots_counts_as_well() {
        let mut boot = Directory::default();
        boot.insert(&path("/kernel"), file(1000, 0o644)).expect("inserted");
        let plan = BudgetPlan { max_size: Some(Bytes(1000)), ..budget() };
        let told = check(&plan, &tree(), Some(&boot));
        assert_eq!(told[0].paths[0], ("boot:/kernel".to_owned(), Some(1000)));
        assert!(check(&plan, &tree(), None).is_empty());
    }
}

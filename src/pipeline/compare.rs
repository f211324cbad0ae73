//! What differs between two commits: settings, recipe, inputs, packages by version, files, what boots.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Result;
use super::installed;
use crate::base::{CommitId, ImagePath, Job, Name};
use crate::packages::{Lock, LockChange, LockChangeKind};
use crate::store::{Commit, Input, InputDigest, Objects, Store, TreeChange};
use crate::tree::diff::{self, Change};
use crate::tree::{Content, ContentSource, Directory, Node};
use crate::view::View;

/// Everything in which two commits differ.
#[derive(Clone, Debug)]
pub struct Comparison {
    pub old: CommitId,
    pub new: CommitId,
    /// Name and version of each.
    pub names: (String, String),
    /// Name, version, disk, variables, annotations and the like, by name.
    pub settings: Vec<Difference>,
    /// Recipe texts and the lock.
    pub texts: Vec<TextDifference>,
    /// Digests of what was read, by name.
    pub inputs: Vec<Difference>,
    /// Versions, by package. From the locks where both commits have one, else from the databases in the trees.
    pub packages: Vec<PackageDifference>,
    /// The root filesystem.
    pub files: Vec<TreeChange>,
    /// Kernel, loader, init and the like.
    pub boot: Vec<TreeChange>,
}

/// A named value that differs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    pub name: String,
    pub old: Option<String>,
    pub new: Option<String>,
}

/// A text of the commit that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextDifference {
    pub name: String,
    pub old: Option<Content>,
    pub new: Option<Content>,
}

/// A package that came, went, or has another version.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PackageDifference {
    pub package: String,
    pub old: Option<String>,
    /// The same as `old` where only the bytes differ.
    pub new: Option<String>,
    /// The new version is the lower one.
    pub downgraded: bool,
}

/// Counts what differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    pub added: u64,
    pub changed: u64,
    pub removed: u64,
    /// Bytes of the files that differ, before and after.
    pub old_bytes: u64,
    pub new_bytes: u64,
}

impl Counts {
    /// Counts differences of trees. Directories that came or went with what they hold are not counted.
    pub fn of<'a>(changes: impl IntoIterator<Item = &'a TreeChange>) -> Self {
        let mut counts = Counts::default();
        let is_directory = |node: &Option<Node>| matches!(node, Some(Node::Directory(_)));
        for change in changes {
            let (old_bytes, new_bytes) = change.bytes();
            counts.old_bytes += old_bytes;
            counts.new_bytes += new_bytes;
            match (&change.old, &change.new) {
                (None, new) => counts.added += u64::from(!is_directory(new)),
                (old, None) => counts.removed += u64::from(!is_directory(old)),
                _ => counts.changed += 1,
            }
        }
        counts
    }
}

impl Comparison {
    /// Tells whether the commits are the same but for what made them.
    pub fn is_empty(&self) -> bool {
        self.old == self.new
    }

    /// Counts the differences of files.
    pub fn counts(&self) -> Counts {
        Counts::of(self.files.iter().chain(&self.boot))
    }
}

/// Compares two commits. Costs reading what differs, and the locks.
pub fn compare(store: &Store, old: CommitId, new: CommitId, job: &Job) -> Result<Comparison> {
    let (before, after) = (store.read_commit(&old)?, store.read_commit(&new)?);
    let files = store.difference(&before.tree, &after.tree, job)?;
    Ok(Comparison {
        old,
        new,
        names: (name(&before), name(&after)),
        settings: differences(settings(&before), settings(&after)),
        texts: texts(&before, &after),
        inputs: differences(inputs(&before), inputs(&after)),
        packages: packages(store, &before, &after)?,
        boot: boot(store, &before, &after, job)?,
        files,
    })
}

/// Compares what two views hold, wherever they look: their commits by what these say, and the trees themselves,
/// each file by its digest. Of an image every file is read.
pub fn compare_views(old: &View<'_>, new: &View<'_>, job: &Job) -> Result<Option<Comparison>> {
    let (Some((before, old_id)), Some((after, new_id))) =
        (old.commit().zip(old.commit_id()), new.commit().zip(new.commit_id()))
    else {
        return Ok(None);
    };
    let (old_tree, new_tree) = (old.tree(job)?, new.tree(job)?);
    let mut settings = differences(settings(before), settings(after));
    let boot = |commit: &Commit| commit.boot.map(|tree| tree.id.to_string());
    if before.boot != after.boot {
        settings.push(Difference { name: "boot files".to_owned(), old: boot(before), new: boot(after) });
    }
    let versions = |view: &View<'_>, tree: &Directory| installed::versions_in(tree, view);
    let packages = differences(versions(old, old_tree)?, versions(new, new_tree)?).into_iter();
    let package =
        |Difference { name, old, new }| PackageDifference { package: name, old, new, downgraded: false };
    Ok(Some(Comparison {
        old: old_id,
        new: new_id,
        names: (name(before), name(after)),
        settings,
        texts: texts(before, after),
        inputs: differences(inputs(before), inputs(after)),
        packages: packages.map(package).collect(),
        files: tree_changes(&ImagePath::root(), old_tree, new_tree),
        boot: Vec::new(),
    }))
}

/// Lists where two trees in memory differ, in tree order, the roots too; paths begin with `at`.
pub fn tree_changes(at: &ImagePath, old: &Directory, new: &Directory) -> Vec<TreeChange> {
    let alone = |node: &Node| match node {
        Node::Directory(directory) => empty(directory),
        other => other.clone(),
    };
    let mut changes = Vec::new();
    if old.metadata != new.metadata {
        changes.push(TreeChange { path: at.clone(), old: Some(empty(old)), new: Some(empty(new)) });
    }
    for (path, change) in diff::diff(old, new) {
        let (old, new) = match change {
            Change::Added(new) => (None, Some(alone(new))),
            Change::Removed(old) => (Some(alone(old)), None),
            Change::Changed(old, new) => (Some(alone(old)), Some(alone(new))),
        };
        let names = path.names().filter_map(|name| Name::new(name).ok());
        let path = names.fold(at.clone(), |path, name| path.join(&name));
        changes.push(TreeChange { path, old, new });
    }
    changes
}

fn empty(directory: &Directory) -> Node {
    Node::Directory(Directory { metadata: directory.metadata.clone(), ..Directory::default() })
}

/// Lists in which settings two commits differ.
pub(super) fn settings_between(old: &Commit, new: &Commit) -> Vec<Difference> {
    differences(settings(old), settings(new))
}

/// Lists in which inputs but packages two commits differ.
pub(super) fn inputs_between(old: &Commit, new: &Commit) -> Vec<Difference> {
    differences(inputs(old), inputs(new))
}

fn boot(store: &Store, old: &Commit, new: &Commit, job: &Job) -> Result<Vec<TreeChange>> {
    let root = ImagePath::root();
    let find = |commit: &Commit| commit.boot.map(|tree| store.find(&tree, &root, false)).transpose();
    let (old, new) = (find(old)?, find(new)?);
    Ok(store.difference_at(&root, old.as_ref(), new.as_ref(), job)?)
}

fn name(commit: &Commit) -> String {
    format!("{} {}", commit.name, commit.version.as_deref().unwrap_or_default()).trim_end().to_owned()
}

type Values = BTreeMap<String, String>;

fn differences(old: Values, new: Values) -> Vec<Difference> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    differ
        .map(|name| Difference {
            name: name.clone(),
            old: old.get(name).cloned(),
            new: new.get(name).cloned(),
        })
        .collect()
}

fn settings(commit: &Commit) -> Values {
    let disk = &commit.disk;
    let size = |size: Option<u64>| size.map(|size| format!("{size} bytes"));
    let debug = |value: &dyn std::fmt::Debug| Some(format!("{value:?}").to_lowercase());
    let fixed = [
        ("name", Some(commit.name.clone())),
        ("version", commit.version.clone()),
        ("epoch", Some(commit.epoch.to_string())),
        ("made by", Some(format!("mkimage {}", commit.tool_version))),
        ("disk layout", Some(disk.layout.to_string())),
        ("disk architecture", debug(&disk.architecture)),
        ("disk filesystem", debug(&disk.filesystem)),
        ("disk slot_size", size(disk.slot_size)),
        ("disk uki_size", size(disk.uki_size)),
        ("disk data_size", size(Some(disk.data_size))),
        ("disk data_path", Some(disk.data_path.clone())),
        ("boot tries", Some(disk.tries.to_string())),
    ];
    let mut values: Values =
        fixed.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    values.extend(commit.variables.iter().map(|(name, value)| (format!("variable {name}"), value.clone())));
    values
        .extend(commit.annotations.iter().map(|(name, value)| (format!("annotation {name}"), value.clone())));
    let parents = commit.parents.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    if !parents.is_empty() {
        values.insert("parents".to_owned(), parents);
    }
    values
}

fn inputs(commit: &Commit) -> Values {
    // Packages are compared by version.
    let others = commit.inputs.iter().filter(|input| !input.name.starts_with("package "));
    let shown = |input: &Input| match input.digest {
        InputDigest::Blake3(digest) => format!("blake3:{digest} ({} bytes)", input.size),
        InputDigest::Sha256(digest) => format!("sha256:{digest} ({} bytes)", input.size),
    };
    others.map(|input| (input.name.clone(), shown(input))).collect()
}

fn texts(old: &Commit, new: &Commit) -> Vec<TextDifference> {
    let texts = |commit: &Commit| -> BTreeMap<String, Content> {
        let recipe = commit.recipe.iter().map(|(name, content)| (format!("recipe {name}"), *content));
        recipe.chain(commit.lock.map(|lock| ("lock".to_owned(), lock))).collect()
    };
    let (old, new) = (texts(old), texts(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let both = names.into_iter().map(|name| TextDifference {
        name: name.clone(),
        old: old.get(name).copied(),
        new: new.get(name).copied(),
    });
    both.filter(|text| text.old != text.new).collect()
}

fn packages(store: &Store, old: &Commit, new: &Commit) -> Result<Vec<PackageDifference>> {
    match (old.lock, new.lock) {
        (Some(before), Some(after)) if before == after => return Ok(Vec::new()),
        (Some(before), Some(after)) => {
            if let (Some(before), Some(after)) = (lock(store, &before)?, lock(store, &after)?) {
                return Ok(Lock::changes(&before, &after).into_iter().map(of_lock).collect());
            }
        }
        _ => {}
    }
    let (old, new) = (installed::versions(store, &old.tree)?, installed::versions(store, &new.tree)?);
    let differences = differences(old, new).into_iter();
    Ok(differences
        .map(|Difference { name, old, new }| PackageDifference { package: name, old, new, downgraded: false })
        .collect())
}

/// Reads a lock; `None` for one of another version of the format, which tells nothing here.
fn lock(store: &Store, content: &Content) -> Result<Option<Lock>> {
    let bytes = store.read_all(content)?;
    Ok(std::str::from_utf8(&bytes).ok().and_then(|text| Lock::parse(text).ok()))
}

fn of_lock(change: LockChange) -> PackageDifference {
    let package = change.package;
    let (old, new, downgraded) = match change.kind {
        LockChangeKind::Added { version } => (None, Some(version), false),
        LockChangeKind::Removed { version } => (Some(version), None, false),
        LockChangeKind::Updated { from, to } => (Some(from), Some(to), false),
        LockChangeKind::Downgraded { from, to } => (Some(from), Some(to), true),
        LockChangeKind::Rebuilt { version } => (Some(version.clone()), Some(version), false),
    };
    PackageDifference { package, old, new, downgraded }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn values_that_came_went_or_changed_are_told_by_name() {
        let found = differences(
            values(&[("a", "1"), ("b", "1"), ("c", "1")]),
            values(&[("b", "2"), ("c", "1"), ("d", "1")]),
        );
        let text = |value: &Option<String>| value.clone().unwrap_or("-".to_owned());
        let seen: Vec<String> =
            found.iter().map(|it| format!("{} {} {}", it.name, text(&it.old), text(&it.new))).collect();
        assert_eq!(seen, ["a 1 -", "b 1 2", "d - 1"]);
    }
}

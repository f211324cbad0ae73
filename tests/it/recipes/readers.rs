//! Databases of packages before other people's readers.

use std::path::{Path, PathBuf};

use super::reference::{ours, versions};
use super::{image, recipe};
use crate::tool::{mkimage, root, succeed, tool};

/// Checks a commit out as an ordinary tree of files, without its owners.
fn checked_out(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let tree = folder.path().join("tree");
    succeed(&mut mkimage(["checkout".as_ref(), name.as_ref(), tree.as_os_str()]));
    (folder, tree)
}

/// Names and versions of a lock's packages that are in the tree.
fn locked(lock: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(lock).expect("a lock");
    let mut names: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with("package ") && !line.contains(" bare:"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .map(|words| format!("{} {}", words[2], words[4]))
        .collect();
    names.sort();
    names
}

/// Has the reader of `readers.py` list the packages of a tree, and check every file that they list.
fn read_by_python(tree: &Path) -> Vec<String> {
    let script = root().join("tests/it/recipes/readers.py");
    let said = succeed(&mut tool("python3", [script.as_os_str(), tree.as_os_str()]));
    let mut names: Vec<String> = said.lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn dpkg_finds_no_fault_and_every_reader_lists_every_package() {
    let name = ours();
    let (_folder, tree) = checked_out(name);
    let option = format!("--root={}", tree.display());
    assert_eq!(succeed(&mut tool("dpkg", [&option, "--audit"])), "");
    let admin = format!("--admindir={}", tree.join("var/lib/dpkg").display());
    let listed = succeed(&mut tool("dpkg-query", [&admin, "-W", "-f", "${Package} ${Version}\n"]));
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    let locked = locked(&super::reference::recipe().with_extension("lock"));
    assert_eq!(listed, locked, "dpkg lists other packages than the lock");
    assert_eq!(read_by_python(&tree), locked, "the other reader lists other packages than the lock");
    let status = std::fs::read_to_string(tree.join("var/lib/dpkg/status")).expect("the database");
    assert_eq!(versions(&status).len(), locked.len());
}

#[test]
fn a_tree_without_dpkg_still_tells_scanners_its_packages_and_their_files() {
    image("python");
    let (_folder, tree) = checked_out("python");
    assert!(!tree.join("var/lib/dpkg/status").exists(), "both forms of the database count packages twice");
    assert_eq!(read_by_python(&tree), locked(&recipe("python").with_extension("lock")));
}

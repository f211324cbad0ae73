//! Comparing trees, and laying one onto the disk for the tools that judge it.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use mkimage::base::ImagePath;
use mkimage::tree::diff::{Change, diff};
use mkimage::tree::{ContentSource, Directory, MemoryContents, Metadata, Node};

use super::reference::path;

const TOLERATED: &str = include_str!("tolerated.txt");

/// Names of users and groups of a tree, by number.
struct Names {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Names {
    fn of(tree: &Directory, contents: &MemoryContents) -> Self {
        let read = |file: &str| {
            let Some(Node::File(file)) = tree.get(&path(file)) else { panic!("no {file}") };
            let text = String::from_utf8(contents.read_all(&file.content).expect("read")).expect("text");
            let ids = text.lines().map(|line| {
                let fields: Vec<&str> = line.split(':').collect();
                (fields[2].parse().expect("an id"), fields[0].to_owned())
            });
            ids.collect()
        };
        Names { users: read("/etc/passwd"), groups: read("/etc/group") }
    }

    fn owner(&self, metadata: &Metadata) -> (Option<&String>, Option<&String>, u16) {
        (self.users.get(&metadata.uid), self.groups.get(&metadata.gid), metadata.mode)
    }
}

/// Lists how a tree differs from the reference where that is not tolerated. Owners compare by name. Lines of the
/// list of what is tolerated that nothing needed are differences too.
pub fn differences(reference: &Directory, tree: &Directory, contents: &MemoryContents) -> Vec<String> {
    let (theirs, ours) = (Names::of(reference, contents), Names::of(tree, contents));
    let rules: Vec<(&str, &str)> = TOLERATED
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once("  ").expect("a pattern and a reason"))
        .collect();
    let mut needed = vec![false; rules.len()];
    let mut differences = Vec::new();
    for (path, change) in diff(reference, tree) {
        let line = match change {
            Change::Added(_) => format!("only here: {path}"),
            Change::Removed(_) => format!("only there: {path}"),
            Change::Changed(before, after) => match differs(before, after, &theirs, &ours, tree) {
                Some(how) => format!("{path}: {how}"),
                None => continue,
            },
        };
        let name = path.to_string();
        match rules.iter().position(|(pattern, _)| fits(pattern, &name)) {
            Some(rule) => needed[rule] = true,
            None if is_account_file(&name) || name == "/dev" => {}
            None => differences.push(line),
        }
    }
    let idle = rules.iter().zip(needed).filter(|(_, needed)| !needed);
    differences.extend(idle.map(|((pattern, _), _)| format!("nothing needs the line {pattern}")));
    differences
}

/// These have a test of their own.
fn is_account_file(name: &str) -> bool {
    ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"].contains(&name)
}

fn differs(before: &Node, after: &Node, theirs: &Names, ours: &Names, tree: &Directory) -> Option<String> {
    let follow = |node: &Node| match node {
        Node::HardLink(target) => tree.get(target).cloned(),
        node => Some(node.clone()),
    };
    // The first name of a group of hard links is the archive's choice.
    let after = follow(after)?;
    if let Node::HardLink(_) = before {
        return None;
    }
    let (Some(left), Some(right)) = (before.metadata(), after.metadata()) else { return None };
    if theirs.owner(left) != ours.owner(right) || left.xattrs != right.xattrs {
        return Some(format!("{:?} there, {:?} here", theirs.owner(left), ours.owner(right)));
    }
    let same = match (before, &after) {
        (Node::File(left), Node::File(right)) => left.content == right.content,
        (Node::Symlink(left), Node::Symlink(right)) => left.target == right.target,
        (Node::Directory(_), Node::Directory(_)) => true,
        _ => false,
    };
    (!same).then(|| format!("the {} differs", after.kind()))
}

fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Writes a tree below a folder of the host: contents and modes, no owners.
pub fn check_out(tree: &Directory, contents: &MemoryContents, folder: &Path) {
    let place = |path: &ImagePath| -> PathBuf {
        folder.join(std::str::from_utf8(&path.as_bytes()[1..]).expect("a name of text"))
    };
    let mut links = Vec::new();
    for (path, node) in tree.paths() {
        let to = place(&path);
        match node {
            Node::Directory(_) => std::fs::create_dir(&to).expect("a folder"),
            Node::File(file) => {
                std::fs::write(&to, contents.read_all(&file.content).expect("read")).expect("written");
                let mode = std::fs::Permissions::from_mode(u32::from(file.metadata.mode & 0o777) | 0o400);
                std::fs::set_permissions(&to, mode).expect("a mode");
            }
            Node::Symlink(link) => {
                symlink(std::str::from_utf8(&link.target).expect("text"), &to).expect("a link");
            }
            Node::HardLink(target) => links.push((place(target), to)),
            other => panic!("{path} is a {}", other.kind()),
        }
    }
    for (target, to) in links {
        std::fs::hard_link(target, to).expect("a hard link");
    }
}

//! The gate between a tree under construction and one that writers trust.

use std::collections::HashMap;
use std::ops::Deref;

use super::error::TreeError;
use super::node::{Directory, Metadata, Node, SYMLINK_BYTES_MAX};
use crate::base::ImagePath;

/// Most entries of a tree; a writer's counters never get near their limits.
pub const ENTRIES_MAX: usize = 1 << 28;
/// Longest name of an extended attribute, in bytes (Linux `XATTR_NAME_MAX`).
pub const XATTR_NAME_BYTES_MAX: usize = 255;
/// Longest value of an extended attribute, in bytes (Linux `XATTR_SIZE_MAX`).
pub const XATTR_VALUE_BYTES_MAX: usize = 65536;

/// Holds a tree that has passed every check: canonical, complete, with nothing that a writer would
/// have to refuse for its form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedTree {
    root: Directory,
}

impl Deref for SealedTree {
    type Target = Directory;

    fn deref(&self) -> &Directory {
        &self.root
    }
}

impl Directory {
    /// Checks everything and makes the form canonical: each group of hard links has its node at the
    /// path that comes first in tree order, and links that lead straight to it. All errors come back
    /// at once.
    pub fn seal(mut self) -> Result<SealedTree, Vec<TreeError>> {
        let mut errors = Vec::new();
        check_metadata(&ImagePath::root(), &self.metadata, &mut errors);
        let mut links: Vec<(ImagePath, ImagePath)> = Vec::new();
        let mut count = 0;
        for (path, node) in self.paths() {
            count += 1;
            check(&path, node, &mut errors);
            if let Node::HardLink(target) = node {
                links.push((path, target.clone()));
            }
        }
        if count > ENTRIES_MAX {
            let problem = format!("{count} entries, more than {ENTRIES_MAX}");
            errors.push(TreeError::Invalid { path: ImagePath::root(), problem });
        }
        let groups = group(&self, &links, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        for (target, mut names) in groups {
            names.push(target.clone());
            names.sort_by(|a, b| a.names().cmp(b.names()));
            if names[0] != target {
                let node = self.remove(&target).expect("because the group was found by its node");
                self.replace(&names[0], node).expect("because the name stands in a directory");
            }
            for name in &names[1..] {
                let link = Node::HardLink(names[0].clone());
                self.replace(name, link).expect("because the name stands in a directory");
            }
        }
        Ok(SealedTree { root: self })
    }
}

/// Finds the node that each link leads to, through other links; returns the links of each node.
fn group(
    root: &Directory,
    links: &[(ImagePath, ImagePath)],
    errors: &mut Vec<TreeError>,
) -> std::collections::BTreeMap<ImagePath, Vec<ImagePath>> {
    let by_name: HashMap<&ImagePath, &ImagePath> =
        links.iter().map(|(name, target)| (name, target)).collect();
    let mut groups = std::collections::BTreeMap::<ImagePath, Vec<ImagePath>>::new();
    for (name, first) in links {
        let mut target = first;
        let mut steps = 0;
        while let Some(next) = by_name.get(target) {
            target = next;
            steps += 1;
            if steps > links.len() {
                break;
            }
        }
        let problem = match root.get(target) {
            _ if steps > links.len() => "links lead round in a circle",
            None if target.is_root() => "a directory stands",
            None => "nothing stands",
            Some(Node::Directory(_)) => "a directory stands",
            Some(_) => {
                groups.entry(target.clone()).or_default().push(name.clone());
                continue;
            }
        };
        errors.push(TreeError::HardLink { path: name.clone(), target: first.clone(), problem });
    }
    groups
}

fn check(path: &ImagePath, node: &Node, errors: &mut Vec<TreeError>) {
    let mut invalid = |problem: String| errors.push(TreeError::Invalid { path: path.clone(), problem });
    match node {
        Node::Symlink(symlink) => {
            let length = symlink.target.len();
            if length == 0 || length > SYMLINK_BYTES_MAX {
                invalid(format!(
                    "the target of a symlink has 1 to {SYMLINK_BYTES_MAX} bytes, this one {length}"
                ));
            }
            if symlink.target.contains(&0) {
                invalid("the target of a symlink must not hold a NUL byte".to_owned());
            }
        }
        Node::Device(device) if device.major > 0xfff || device.minor > 0xf_ffff => {
            let (major, minor) = (device.major, device.minor);
            invalid(format!("device numbers go to 4095:1048575, this one is {major}:{minor}"));
        }
        _ => {}
    }
    if let Some(metadata) = node.metadata() {
        check_metadata(path, metadata, errors);
    }
}

fn check_metadata(path: &ImagePath, metadata: &Metadata, errors: &mut Vec<TreeError>) {
    let mut invalid = |problem: String| errors.push(TreeError::Invalid { path: path.clone(), problem });
    if metadata.mode > 0o7777 {
        invalid(format!("permission bits go to 07777, these are {:o}", metadata.mode));
    }
    for (what, id) in [("user", metadata.uid), ("group", metadata.gid)] {
        if id == u32::MAX {
            invalid(format!("{what} id 4294967295 means \"no change\" to the kernel and can't own a file"));
        }
    }
    for (name, value) in &metadata.xattrs {
        let shown = crate::base::path::escaped(name);
        if name.is_empty() || name.len() > XATTR_NAME_BYTES_MAX || name.contains(&0) || !name.contains(&b'.')
        {
            invalid(format!(
                "{shown:?} is no name of an extended attribute (\"namespace.name\", at most 255 bytes)"
            ));
        }
        if value.len() > XATTR_VALUE_BYTES_MAX {
            let length = value.len();
            invalid(format!(
                "extended attribute {shown} has {length} bytes, at most {XATTR_VALUE_BYTES_MAX} are possible"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, File};

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text.as_bytes()).expect("a path")
    }

    fn file() -> Node {
        Node::File(File { metadata: Metadata::root(0o644), content: Content::of(b"x") })
    }

    #[test]
    fn the_first_name_in_tree_order_holds_the_node() {
        let mut root = Directory::default();
        root.insert(&path("/z"), file()).expect("inserted");
        root.insert(&path("/a/link"), Node::HardLink(path("/m"))).expect("inserted");
        root.insert(&path("/m"), Node::HardLink(path("/z"))).expect("inserted");
        let sealed = root.seal().expect("sealed");
        assert_eq!(sealed.get(&path("/a/link")), Some(&file()));
        assert_eq!(sealed.get(&path("/m")), Some(&Node::HardLink(path("/a/link"))));
        assert_eq!(sealed.get(&path("/z")), Some(&Node::HardLink(path("/a/link"))));
    }

    #[test]
    fn tree_order_is_by_names_not_by_path_bytes() {
        let mut root = Directory::default();
        root.insert(&path("/a-b"), file()).expect("inserted");
        root.insert(&path("/a/x"), Node::HardLink(path("/a-b"))).expect("inserted");
        assert_eq!(root.seal().expect("sealed").get(&path("/a/x")), Some(&file()));
    }

    #[test]
    fn every_fault_is_reported() {
        let mut root = Directory::default();
        root.metadata.uid = u32::MAX;
        root.insert(&path("/d/x"), file()).expect("inserted");
        for (name, target) in [("/l1", "/d"), ("/l2", "/none"), ("/l3", "/l4"), ("/l4", "/l3"), ("/l5", "/")]
        {
            root.insert(&path(name), Node::HardLink(path(target))).expect("inserted");
        }
        let symlink = super::super::node::Symlink { metadata: Metadata::root(0o777), target: Box::default() };
        root.insert(&path("/s"), Node::Symlink(symlink)).expect("inserted");
        assert_eq!(root.seal().expect_err("faults").len(), 7);
    }
}

//! Laying contributions over each other in recipe order.

use std::collections::BTreeMap;

use super::diff::{Change, diff};
use super::error::TreeError;
use super::follow::follow;
use super::node::{Directory, Node};
use crate::base::ImagePath;

/// What one part of a recipe brings, and where it comes from.
#[derive(Clone, Debug)]
pub struct Contribution {
    /// Names the origin for people: `app "hello" (hello.hcl:3)`, `package libc6 2.36-9`.
    pub origin: String,
    pub tree: Directory,
    /// Paths that this contribution may take over from an earlier one.
    pub replaces: Vec<ImagePath>,
    /// Directories whose metadata the recipe states, so that they win over those that came along.
    pub explicit: Vec<ImagePath>,
}

/// Remembers who brought which path.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    names: Vec<String>,
    by_path: BTreeMap<ImagePath, usize>,
}

impl Origins {
    fn add(&mut self, name: &str) -> usize {
        self.names.push(name.to_owned());
        self.names.len() - 1
    }

    /// Returns who brought a path; `None` where nobody did.
    pub fn of(&self, path: &ImagePath) -> Option<&str> {
        self.by_path.get(path).map(|&index| self.names[index].as_str())
    }
}

/// Merges contributions in order. All conflicts are returned, in path order of each contribution; see
/// [`Merging`] for the rules.
pub fn merge(contributions: Vec<Contribution>) -> Result<(Directory, Origins), Vec<TreeError>> {
    let mut merging = Merging::default();
    contributions.iter().for_each(|contribution| merging.lay(contribution));
    merging.finish()
}

/// A tree that grows by one contribution after the other.
///
/// Directories unite, equal nodes are one; the same path with different nodes is a conflict that names both
/// origins. A directory's metadata is that of the first contribution that brings it, unless a later one
/// states it explicitly. A symlink met by a directory (usr-merge: `/bin` → `usr/bin`) is followed when it
/// leads to a directory inside the tree.
#[derive(Default)]
pub struct Merging {
    merged: Directory,
    origins: Origins,
    errors: Vec<TreeError>,
}

impl Merging {
    /// Lays one more contribution over what is there. Conflicts are kept for [`Merging::finish`].
    pub fn lay(&mut self, contribution: &Contribution) {
        let index = self.origins.add(&contribution.origin);
        if contribution.explicit.contains(&ImagePath::root()) {
            self.merged.metadata = contribution.tree.metadata.clone();
        }
        let Merging { merged, origins, errors } = self;
        let mut layer = Layer { merged, origins, index, errors };
        for (path, node) in contribution.tree.paths() {
            layer.lay(contribution, path, node);
        }
    }

    /// Returns what is there so far, or all conflicts so far.
    pub fn so_far(&mut self) -> Result<&Directory, Vec<TreeError>> {
        if self.errors.is_empty() { Ok(&self.merged) } else { Err(std::mem::take(&mut self.errors)) }
    }

    /// Puts a tree in place of what is there, as a step that worked on it left it: what it made or changed
    /// comes from it from now on.
    pub fn become_tree(&mut self, tree: Directory, origin: &str) {
        let index = self.origins.add(origin);
        for (path, change) in diff(&self.merged, &tree) {
            match change {
                Change::Removed(_) => self.origins.by_path.remove(&path),
                Change::Added(_) | Change::Changed(..) => self.origins.by_path.insert(path, index),
            };
        }
        self.merged = tree;
    }

    /// Returns the tree and who brought what, or all conflicts.
    pub fn finish(self) -> Result<(Directory, Origins), Vec<TreeError>> {
        if self.errors.is_empty() { Ok((self.merged, self.origins)) } else { Err(self.errors) }
    }
}

/// One contribution on its way onto the tree.
struct Layer<'a> {
    merged: &'a mut Directory,
    origins: &'a mut Origins,
    index: usize,
    errors: &'a mut Vec<TreeError>,
}

impl Layer<'_> {
    fn lay(&mut self, contribution: &Contribution, path: ImagePath, node: &Node) {
        let real = match path.parent().map(|parent| follow(self.merged, &parent)) {
            Some(Some(parent)) => parent.join(&path.name().expect("because a path with a parent has a name")),
            _ => path.clone(),
        };
        let there = self.merged.get(&real);
        let replaces = contribution.replaces.contains(&path);
        match (there, node) {
            (None, Node::Directory(directory)) => {
                let empty = Directory { metadata: directory.metadata.clone(), ..Directory::default() };
                self.put(&real, Node::Directory(empty));
            }
            (None, node) => self.put(&real, self.placed(node)),
            (Some(Node::Directory(_)), Node::Directory(directory)) => {
                if contribution.explicit.contains(&path)
                    && let Some(Node::Directory(merged)) = self.merged.get_mut(&real)
                {
                    merged.metadata = directory.metadata.clone();
                }
            }
            (Some(Node::Symlink(_)), Node::Directory(_)) if follow(self.merged, &real).is_some() => {}
            (Some(there), node) if there == node => {}
            (Some(_), node) if replaces && !matches!(node, Node::Directory(_)) => {
                self.put(&real, self.placed(node))
            }
            (Some(there), node) => {
                let first = self.origins.of(&real).unwrap_or("an earlier part").to_owned();
                let difference = difference(there, node);
                let second = contribution.origin.clone();
                self.errors.push(TreeError::Conflict { path: real, first, second, difference });
            }
        }
    }

    /// Returns a node as it stands in the merged tree: a hard link leads to where its target went.
    fn placed(&self, node: &Node) -> Node {
        match node {
            Node::HardLink(target) => {
                let parent = target.parent().and_then(|parent| follow(self.merged, &parent));
                match (parent, target.name()) {
                    (Some(parent), Some(name)) => Node::HardLink(parent.join(&name)),
                    _ => node.clone(),
                }
            }
            node => node.clone(),
        }
    }

    fn put(&mut self, path: &ImagePath, node: Node) {
        match self.merged.replace(path, node) {
            Ok(_) => {
                self.origins.by_path.insert(path.clone(), self.index);
            }
            Err(error) => self.errors.push(error),
        }
    }
}

/// Says in what two nodes at one path differ, both values shown.
fn difference(first: &Node, second: &Node) -> String {
    if first.kind() != second.kind() {
        return format!("a {} and a {}", first.kind(), second.kind());
    }
    if let (Node::File(first), Node::File(second)) = (first, second)
        && first.content != second.content
    {
        return format!("content {} and {}", short(&first.content), short(&second.content));
    }
    if let (Node::Symlink(first), Node::Symlink(second)) = (first, second)
        && first.target != second.target
    {
        let [first, second] = [first, second].map(|link| crate::base::path::escaped(&link.target));
        return format!("targets {first:?} and {second:?}");
    }
    match (first.metadata(), second.metadata()) {
        (Some(first), Some(second)) if first.mode != second.mode => {
            format!("modes {:04o} and {:04o}", first.mode, second.mode)
        }
        (Some(first), Some(second)) if (first.uid, first.gid) != (second.uid, second.gid) => {
            format!("owners {}:{} and {}:{}", first.uid, first.gid, second.uid, second.gid)
        }
        (Some(first), Some(second)) if first.xattrs != second.xattrs => "extended attributes".to_owned(),
        _ => "link targets or device numbers".to_owned(),
    }
}

fn short(content: &super::content::Content) -> String {
    format!("{} of {} bytes", &content.id.to_string()[..12], content.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, File, Metadata, Symlink};

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text.as_bytes()).expect("a path")
    }

    fn file(text: &str, mode: u16) -> Node {
        Node::File(File { metadata: Metadata::root(mode), content: Content::of(text.as_bytes()) })
    }

    fn contribution(origin: &str, nodes: &[(&str, Node)]) -> Contribution {
        let mut tree = Directory::default();
        for (at, node) in nodes {
            tree.insert(&path(at), node.clone()).expect("inserted");
        }
        Contribution { origin: origin.into(), tree, replaces: Vec::new(), explicit: Vec::new() }
    }

    #[test]
    fn a_conflict_names_path_and_both_origins() {
        let one = contribution("app", &[("/a", file("x", 0o644)), ("/b", file("x", 0o644))]);
        let two = contribution("files", &[("/a", file("y", 0o644)), ("/b", file("x", 0o600))]);
        let errors = merge(vec![one, two])
            .expect_err("two conflicts")
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        assert_eq!(errors.len(), 2);
        assert!(
            errors[0].starts_with("/a: both app and files bring it, and they differ (content "),
            "{}",
            errors[0]
        );
        assert_eq!(errors[1], "/b: both app and files bring it, and they differ (modes 0644 and 0600)");
    }

    #[test]
    fn a_step_owns_what_it_changed_and_nothing_else() {
        let mut merging = Merging::default();
        merging.lay(&contribution("one", &[("/d/a", file("x", 0o644)), ("/d/b", file("y", 0o644))]));
        let mut tree = merging.so_far().expect("no conflict").clone();
        tree.replace(&path("/d/b"), file("z", 0o644)).expect("replaced");
        tree.insert(&path("/d/c"), file("n", 0o644)).expect("inserted");
        merging.become_tree(tree, "step");
        merging.lay(&contribution("two", &[("/d/c", file("other", 0o644))]));
        let errors = merging.finish().expect_err("a conflict");
        assert!(errors[0].to_string().starts_with("/d/c: both step and two bring it"), "{}", errors[0]);
        let mut merging = Merging::default();
        merging.lay(&contribution("one", &[("/d/a", file("x", 0o644)), ("/d/b", file("y", 0o644))]));
        merging.become_tree(
            contribution("", &[("/d/a", file("x", 0o644)), ("/d/b", file("z", 0o644))]).tree,
            "step",
        );
        let (_, origins) = merging.finish().expect("merged");
        assert_eq!((origins.of(&path("/d/a")), origins.of(&path("/d/b"))), (Some("one"), Some("step")));
    }

    #[test]
    fn equal_nodes_unite_and_replacing_is_explicit() {
        let one = contribution("one", &[("/d/a", file("x", 0o644))]);
        let two = contribution("two", &[("/d/a", file("x", 0o644)), ("/d/b", file("y", 0o644))]);
        let mut three = contribution("three", &[("/d/a", file("z", 0o755))]);
        three.replaces.push(path("/d/a"));
        let (tree, origins) = merge(vec![one, two, three]).expect("merged");
        assert_eq!(tree.get(&path("/d/a")), Some(&file("z", 0o755)));
        assert_eq!(origins.of(&path("/d/a")), Some("three"));
        assert_eq!(origins.of(&path("/d/b")), Some("two"));
    }

    #[test]
    fn a_directory_follows_a_symlink_that_leads_to_one() {
        let link = Node::Symlink(Symlink { metadata: Metadata::root(0o777), target: b"usr/lib"[..].into() });
        let one = contribution("base", &[("/lib", link), ("/usr/lib/x", file("x", 0o644))]);
        let name = Node::HardLink(path("/lib/modules/m.ko"));
        let two = contribution("kernel", &[("/lib/modules/m.ko", file("m", 0o644)), ("/lib/z", name)]);
        let (tree, _) = merge(vec![one, two]).expect("merged");
        assert!(tree.get(&path("/usr/lib/modules/m.ko")).is_some());
        assert_eq!(tree.get(&path("/usr/lib/z")), Some(&Node::HardLink(path("/usr/lib/modules/m.ko"))));
        assert!(matches!(tree.get(&path("/lib")), Some(Node::Symlink(_))));
    }
}

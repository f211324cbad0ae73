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
///
/// What lies under all contributions ([`Merging::on`]) gives way to them, path by path, but for directories.
#[derive(Default)]
pub struct Merging {
    merged: Directory,
    origins: Origins,
    errors: Vec<TreeError>,
    base: Option<Base>,
}

/// The tree that a merge began with.
struct Base {
    /// Who it is, among the origins.
    index: usize,
    /// Further names of its files, by where the files stand.
    links: BTreeMap<ImagePath, Vec<ImagePath>>,
}

impl Merging {
    /// Begins with a tree that every contribution may replace paths of.
    pub fn on(tree: Directory, origin: &str) -> Self {
        let mut origins = Origins::default();
        let index = origins.add(origin);
        origins.by_path = tree.paths().map(|(path, _)| (path, index)).collect();
        let base = Some(Base { index, links: links(&tree) });
        Merging { merged: tree, origins, errors: Vec::new(), base }
    }

    /// Lays one more contribution over what is there. Conflicts are kept for [`Merging::finish`].
    pub fn lay(&mut self, contribution: &Contribution) {
        let index = self.origins.add(&contribution.origin);
        if contribution.explicit.contains(&ImagePath::root()) {
            self.merged.metadata = contribution.tree.metadata.clone();
        }
        let Merging { merged, origins, errors, base } = self;
        let mut layer = Layer { merged, origins, index, errors, base: base.as_mut() };
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
        if let Some(base) = &mut self.base {
            base.links = links(&self.merged);
        }
    }

    /// Returns the tree and who brought what, or all conflicts.
    pub fn finish(self) -> Result<(Directory, Origins), Vec<TreeError>> {
        if self.errors.is_empty() { Ok((self.merged, self.origins)) } else { Err(self.errors) }
    }
}

/// Lists the hard links of a tree, by where they lead.
fn links(tree: &Directory) -> BTreeMap<ImagePath, Vec<ImagePath>> {
    let mut links = BTreeMap::<ImagePath, Vec<ImagePath>>::new();
    for (path, node) in tree.paths() {
        if let Node::HardLink(target) = node {
            links.entry(target.clone()).or_default().push(path);
        }
    }
    links
}

/// One contribution on its way onto the tree.
struct Layer<'a> {
    merged: &'a mut Directory,
    origins: &'a mut Origins,
    index: usize,
    errors: &'a mut Vec<TreeError>,
    base: Option<&'a mut Base>,
}

impl Layer<'_> {
    fn lay(&mut self, contribution: &Contribution, path: ImagePath, node: &Node) {
        let real = match path.parent().map(|parent| follow(self.merged, &parent)) {
            Some(Some(parent)) => parent.join(&path.name().expect("because a path with a parent has a name")),
            _ => path.clone(),
        };
        let there = self.merged.get(&real);
        let replaces = contribution.replaces.contains(&path);
        let is_base =
            self.base.as_ref().is_some_and(|base| self.origins.by_path.get(&real) == Some(&base.index));
        match (there, node) {
            (None, Node::Directory(directory)) => self.put(&real, Node::Directory(empty(directory))),
            (None, node) => self.put(&real, self.placed(node)),
            (Some(Node::Directory(_)), Node::Directory(directory)) => {
                if contribution.explicit.contains(&path)
                    && let Some(Node::Directory(merged)) = self.merged.get_mut(&real)
                {
                    merged.metadata = directory.metadata.clone();
                }
            }
            (Some(Node::Symlink(_)), Node::Directory(_)) if follow(self.merged, &real).is_some() => {}
            (Some(there), node) if there == node => {
                if is_base {
                    self.origins.by_path.insert(real, self.index);
                }
            }
            (Some(_), node) if replaces && !matches!(node, Node::Directory(_)) => {
                self.detach(&real);
                self.put(&real, self.placed(node))
            }
            (Some(there), node) if is_base && !matches!(there, Node::Directory(_)) => {
                self.detach(&real);
                let node = match node {
                    Node::Directory(directory) => Node::Directory(empty(directory)),
                    node => self.placed(node),
                };
                self.put(&real, node);
            }
            (Some(there), node) => {
                let first = self.origins.of(&real).unwrap_or("an earlier part").to_owned();
                let difference = difference(there, node);
                let second = contribution.origin.clone();
                self.errors.push(TreeError::Conflict { path: real, first, second, difference });
            }
        }
    }

    /// Keeps a file of the base for its other names, before its own is taken.
    fn detach(&mut self, path: &ImagePath) {
        let Some(base) = self.base.as_mut() else { return };
        let Some(mut names) = base.links.remove(path) else { return };
        names.retain(|name| matches!(self.merged.get(name), Some(Node::HardLink(to)) if to == path));
        let Some(node) = self.merged.get(path).cloned() else { return };
        let mut names = names.into_iter();
        let Some(first) = names.next() else { return };
        let others: Vec<ImagePath> = names.collect();
        for (name, node) in std::iter::once((&first, node))
            .chain(others.iter().map(|name| (name, Node::HardLink(first.clone()))))
        {
            *self.merged.get_mut(name).expect("because the link was seen there") = node;
        }
        base.links.insert(first, others);
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

/// Returns a directory without what it holds.
fn empty(directory: &Directory) -> Directory {
    Directory { metadata: directory.metadata.clone(), ..Directory::default() }
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

    #[test]
    fn a_base_gives_way_and_contributions_still_conflict() {
        let base = contribution(
            "",
            &[
                ("/etc/motd", file("old", 0o644)),
                ("/etc/same", file("s", 0o644)),
                (
                    "/link",
                    Node::Symlink(Symlink { metadata: Metadata::root(0o777), target: b"no"[..].into() }),
                ),
                ("/dir/x", file("x", 0o644)),
            ],
        );
        let mut merging = Merging::on(base.tree.clone(), "base");
        merging.lay(&contribution(
            "one",
            &[
                ("/etc/motd", file("new", 0o600)),
                ("/etc/same", file("s", 0o644)),
                ("/link/y", file("y", 0o644)),
            ],
        ));
        let (tree, origins) = merging.finish().expect("merged");
        assert_eq!(tree.get(&path("/etc/motd")), Some(&file("new", 0o600)));
        assert_eq!(
            tree.get(&path("/link/y")),
            Some(&file("y", 0o644)),
            "a link that leads nowhere gives way"
        );
        assert_eq!(
            (origins.of(&path("/etc/motd")), origins.of(&path("/dir/x"))),
            (Some("one"), Some("base"))
        );
        let mut merging = Merging::on(base.tree, "base");
        merging
            .lay(&contribution("one", &[("/etc/motd", file("new", 0o600)), ("/etc/same", file("s", 0o644))]));
        merging
            .lay(&contribution("two", &[("/etc/motd", file("x", 0o600)), ("/etc/same", file("t", 0o644))]));
        merging.lay(&contribution("three", &[("/dir", file("not a directory", 0o644))]));
        let errors: Vec<String> =
            merging.finish().expect_err("conflicts").iter().map(ToString::to_string).collect();
        assert!(errors[0].starts_with("/etc/motd: both one and two bring it"), "{errors:?}");
        assert!(errors[1].starts_with("/etc/same: both one and two bring it"), "{errors:?}");
        assert!(errors[2].starts_with("/dir: both base and three bring it"), "{errors:?}");
        assert_eq!(errors.len(), 3);
    }

    #[test]
    fn a_file_of_the_base_that_is_replaced_stays_under_its_other_names() {
        let link = |target: &str| Node::HardLink(path(target));
        let base = [("/a", file("old", 0o644)), ("/b", link("/a")), ("/c", link("/a")), ("/d", link("/a"))];
        let mut merging = Merging::on(contribution("", &base).tree, "base");
        merging.lay(&contribution("one", &[("/a", file("new", 0o644)), ("/c", file("other", 0o644))]));
        let mut two = contribution("two", &[("/b", file("last", 0o644))]);
        two.replaces.push(path("/b"));
        merging.lay(&two);
        let (tree, _) = merging.finish().expect("merged");
        let sealed = tree.seal().expect("sealed");
        assert_eq!(sealed.get(&path("/a")), Some(&file("new", 0o644)));
        assert_eq!(sealed.get(&path("/b")), Some(&file("last", 0o644)));
        assert_eq!(sealed.get(&path("/c")), Some(&file("other", 0o644)));
        assert_eq!(sealed.get(&path("/d")), Some(&file("old", 0o644)));
    }
}

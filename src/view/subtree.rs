//! A directory of a tree as a tree of its own.

use std::collections::HashMap;

use crate::base::ImagePath;
use crate::tree::{Directory, Node};

/// Returns what lies at a path as a tree of its own. A hard link that leads out of it becomes the file that it
/// leads to; further links to that file lead to the first one.
pub(super) fn subtree(whole: &Directory, at: &ImagePath) -> Option<Directory> {
    let mut tree = whole.directory(at)?.clone();
    if at.is_root() {
        return Some(tree);
    }
    let links: Vec<(ImagePath, ImagePath)> = tree
        .paths()
        .filter_map(|(path, node)| match node {
            Node::HardLink(target) => Some((path, target.clone())),
            _ => None,
        })
        .collect();
    let mut outside: HashMap<ImagePath, ImagePath> = HashMap::new();
    for (path, target) in links {
        let node = match below(&target, at) {
            Some(inside) => Node::HardLink(inside),
            None => match outside.get(&target) {
                Some(first) => Node::HardLink(first.clone()),
                None => {
                    outside.insert(target.clone(), path.clone());
                    whole.get(&target)?.clone()
                }
            },
        };
        *tree.get_mut(&path)? = node;
    }
    Some(tree)
}

/// Returns a path as seen from a directory above it.
fn below(path: &ImagePath, above: &ImagePath) -> Option<ImagePath> {
    if !path.is_within(above) || path == above {
        return None;
    }
    ImagePath::new(&path.as_bytes()[above.as_bytes().len()..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, File, Metadata};

    #[test]
    fn links_stay_inside() {
        let path = |text: &str| ImagePath::new(text.as_bytes()).expect("a path");
        let file = |text: &str| {
            Node::File(File { metadata: Metadata::root(0o644), content: Content::of(text.as_bytes()) })
        };
        let mut root = Directory::default();
        for (at, node) in [
            ("/a/first", file("x")),
            ("/b/one", Node::HardLink(path("/a/first"))),
            ("/b/two", Node::HardLink(path("/a/first"))),
            ("/b/in", file("y")),
            ("/b/in-too", Node::HardLink(path("/b/in"))),
        ] {
            root.insert(&path(at), node).expect("inserted");
        }
        let tree = subtree(&root, &path("/b")).expect("a directory");
        assert_eq!(tree.get(&path("/one")), Some(&file("x")));
        assert_eq!(tree.get(&path("/two")), Some(&Node::HardLink(path("/one"))));
        assert_eq!(tree.get(&path("/in-too")), Some(&Node::HardLink(path("/in"))));
        assert!(tree.seal().is_ok());
        assert!(subtree(&root, &path("/a/first")).is_none());
    }
}

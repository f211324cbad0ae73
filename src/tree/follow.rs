//! Where a path leads when symlinks are followed.

use super::node::{Directory, Node};
use crate::base::{ImagePath, Name};

/// Most symlinks on the way to one node, as in Linux.
const LINKS_MAX: usize = 40;

/// Returns where a path leads inside the tree, symlinks at its end followed too, and what stands there;
/// no node for the root itself. `None` where it leads to nothing, round in a circle, or through what is
/// no directory.
pub fn resolve<'t>(root: &'t Directory, path: &ImagePath) -> Option<(ImagePath, Option<&'t Node>)> {
    let mut waiting: Vec<Vec<u8>> = path.names().rev().map(<[u8]>::to_vec).collect();
    let mut at = ImagePath::root();
    let mut links = 0;
    while let Some(name) = waiting.pop() {
        match &name[..] {
            b"" | b"." => continue,
            b".." => {
                at = at.parent().unwrap_or_else(ImagePath::root);
                continue;
            }
            _ => {}
        }
        let next = at.join(&Name::new(&name).ok()?);
        match root.get(&next)? {
            Node::Directory(_) => at = next,
            Node::Symlink(symlink) => {
                links += 1;
                if links > LINKS_MAX {
                    return None;
                }
                if symlink.target.first() == Some(&b'/') {
                    at = ImagePath::root();
                }
                waiting.extend(symlink.target.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec));
            }
            node if waiting.is_empty() => return Some((next, Some(node))),
            _ => return None,
        }
    }
    let node = root.get(&at);
    Some((at, node))
}

/// Returns the directory that a path leads to; `None` where it leads to something else.
pub fn follow(root: &Directory, path: &ImagePath) -> Option<ImagePath> {
    match resolve(root, path)? {
        (at, None | Some(Node::Directory(_))) => Some(at),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Metadata, Symlink};

    #[test]
    fn links_are_followed_and_circles_end() {
        let path = |text: &str| ImagePath::new(text.as_bytes()).expect("a path");
        let link = |target: &str| {
            Node::Symlink(Symlink { metadata: Metadata::root(0o777), target: target.as_bytes().into() })
        };
        let mut root = Directory::default();
        root.insert(&path("/usr/lib/x"), Node::Fifo(Metadata::root(0o600))).expect("inserted");
        root.insert(&path("/lib"), link("usr/lib")).expect("inserted");
        root.insert(&path("/up"), link("lib/../../../lib/x")).expect("inserted");
        root.insert(&path("/circle"), link("/circle")).expect("inserted");
        assert_eq!(follow(&root, &path("/lib")), Some(path("/usr/lib")));
        assert_eq!(follow(&root, &path("/lib/x")), None);
        for through in ["/up", "/lib/x"] {
            assert_eq!(resolve(&root, &path(through)).map(|found| found.0), Some(path("/usr/lib/x")));
        }
        assert_eq!(resolve(&root, &path("/circle")), None);
        assert_eq!(resolve(&root, &ImagePath::root()), Some((ImagePath::root(), None)));
    }
}

//! Finding what a path of the finished tree leads to, and making places in it.

use super::error::Problem;
use crate::base::{ImagePath, Name};
use crate::tree::merge::follow;
use crate::tree::{Directory, Metadata, Node};

/// Most symlinks on the way to one node, as in Linux.
const LINKS_MAX: usize = 40;

/// Returns the node that a path leads to, following symlinks at its end too, and hard links.
pub(super) fn resolve<'t>(tree: &'t Directory, path: &ImagePath) -> Option<&'t Node> {
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
        match tree.get(&next)? {
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
            Node::Directory(_) => at = next,
            _ if !waiting.is_empty() => return None,
            Node::HardLink(target) => return tree.get(target),
            node => return Some(node),
        }
    }
    tree.get(&at)
}

/// Returns where a path's last name really stands: its parent with all symlinks followed, made where it
/// is missing.
pub(super) fn real_path(tree: &mut Directory, path: &ImagePath) -> Result<ImagePath, Problem> {
    let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return Ok(path.clone()) };
    Ok(make_directory(tree, &parent, 0o755)?.join(&name))
}

/// Makes a directory (root's) where nothing stands, and those above it (0755). Returns where it really
/// is: a symlink that leads to a directory is one.
pub(super) fn make_directory(
    tree: &mut Directory,
    path: &ImagePath,
    mode: u16,
) -> Result<ImagePath, Problem> {
    let mut at = ImagePath::root();
    let mut named = ImagePath::root();
    let count = path.names().count();
    for (index, name) in path.names().enumerate() {
        let name = Name::new(name).expect("because a path holds valid names");
        let next = at.join(&name);
        named = named.join(&name);
        at = match tree.get(&next) {
            None => {
                let metadata = Metadata::root(if index + 1 == count { mode } else { 0o755 });
                tree.insert(&next, Node::Directory(Directory { metadata, ..Directory::default() }))?;
                next
            }
            Some(node) => {
                let kind = node.kind();
                follow(tree, &next).ok_or_else(|| {
                    let problem = match kind {
                        "symlink" => "a symlink that leads to no directory is in the way".to_owned(),
                        kind => format!("a {kind} is in the way, where every image needs a directory"),
                    };
                    Problem::Place { path: named.clone(), problem }
                })?
            }
        };
    }
    Ok(at)
}

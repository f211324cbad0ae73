//! Finding what a path of the finished tree leads to, and making places in it.

use super::error::Problem;
use crate::base::{ImagePath, Name};
use crate::tree::follow::{self, follow};
use crate::tree::{Directory, Metadata, Node};

/// Returns the node that a path leads to, following symlinks at its end too, and hard links.
pub(super) fn resolve<'t>(tree: &'t Directory, path: &ImagePath) -> Option<&'t Node> {
    match follow::resolve(tree, path)?.1? {
        Node::HardLink(target) => tree.get(target),
        node => Some(node),
    }
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

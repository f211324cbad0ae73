//! Finding what stands at a path of a stored tree, one directory at a time.

use std::collections::VecDeque;

use super::directory::{StoredDirectory, StoredNode, TreeRef};
use super::error::{Result, StoreError};
use super::objects::Objects;
use crate::base::{ImagePath, Name};
use crate::tree::Node;

/// Most symbolic links that are followed on the way to a path, as in Linux.
const LINKS_MAX: usize = 40;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A directory, with its name in the store.
    Directory(TreeRef, StoredDirectory),
    /// Anything but a directory or a hard link.
    Leaf(Node),
}

/// The directories from the root to where the search is.
struct Way {
    above: Vec<(TreeRef, StoredDirectory)>,
}

pub(super) fn find<O: Objects + ?Sized>(
    objects: &O,
    tree: &TreeRef,
    path: &ImagePath,
    follow: bool,
) -> Result<Found> {
    let problem = |problem: &str| StoreError::Path { path: path.clone(), problem: problem.to_owned() };
    let mut way = Way { above: vec![(*tree, objects.read_directory(tree)?)] };
    let mut names: VecDeque<Vec<u8>> = path.names().map(<[u8]>::to_vec).collect();
    let mut links = 0;
    while let Some(name) = names.pop_front() {
        if name == b".." {
            way.up();
            continue;
        }
        let name = Name::new(&name).map_err(|error| problem(&error.to_string()))?;
        let (_, directory) = way.above.last().expect("because the root stays");
        let last = names.is_empty();
        match directory.entries.get(&name) {
            None => return Err(problem("nothing stands there")),
            Some(StoredNode::Directory(child)) => way.above.push((*child, objects.read_directory(child)?)),
            Some(StoredNode::Leaf(Node::Symlink(symlink))) if follow || !last => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(problem("more than 40 symbolic links lead there"));
                }
                let target = symlink.target.clone();
                way.turn(&target, &mut names);
            }
            Some(StoredNode::Leaf(Node::HardLink(target))) if last => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(problem("hard links lead round in a circle"));
                }
                let target = target.clone();
                way.above.truncate(1);
                names.extend(target.names().map(<[u8]>::to_vec));
            }
            Some(StoredNode::Leaf(node)) if last => return Ok(Found::Leaf(node.clone())),
            Some(StoredNode::Leaf(node)) => {
                return Err(problem(&format!("\"{name}\" on the way is a {}, not a directory", node.kind())));
            }
        }
    }
    let (tree, directory) = way.above.pop().expect("because the root stays");
    Ok(Found::Directory(tree, directory))
}

impl Way {
    /// Goes up one directory; the root is its own parent.
    fn up(&mut self) {
        if self.above.len() > 1 {
            self.above.pop();
        }
    }

    /// Puts the target of a symbolic link before the names that are left.
    fn turn(&mut self, target: &[u8], names: &mut VecDeque<Vec<u8>>) {
        if target.starts_with(b"/") {
            self.above.truncate(1);
        }
        let parts = target.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        for part in parts.rev() {
            names.push_front(part.to_vec());
        }
    }
}

//! Looking up and changing entries by path.

use super::error::TreeError;
use super::node::{Directory, Node};
use crate::base::{ImagePath, Name};

impl Directory {
    /// Returns the node at a path, following no links; `None` for the root itself and what isn't there.
    pub fn get(&self, path: &ImagePath) -> Option<&Node> {
        let mut names = path.names();
        let last = names.next_back()?;
        let mut directory = self;
        for name in names {
            match directory.entries.get(name)? {
                Node::Directory(next) => directory = next,
                _ => return None,
            }
        }
        directory.entries.get(last)
    }

    /// Returns the node at a path for changing, following no links.
    pub fn get_mut(&mut self, path: &ImagePath) -> Option<&mut Node> {
        let mut names = path.names();
        let last = names.next_back()?;
        let mut directory = self;
        for name in names {
            match directory.entries.get_mut(name)? {
                Node::Directory(next) => directory = next,
                _ => return None,
            }
        }
        directory.entries.get_mut(last)
    }

    /// Returns the directory at a path, following no links. The root is this directory.
    pub fn directory(&self, path: &ImagePath) -> Option<&Directory> {
        if path.is_root() {
            return Some(self);
        }
        match self.get(path)? {
            Node::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// Returns the directory at a path, with those above it, made where they are missing (root's, 0755).
    pub fn make_directories(&mut self, path: &ImagePath) -> Result<&mut Directory, TreeError> {
        let mut directory = self;
        let mut at = ImagePath::root();
        for name in path.names() {
            let name = Name::new(name).expect("because a path holds valid names");
            at = at.join(&name);
            let node = directory.entries.entry(name).or_insert_with(|| Node::Directory(Directory::default()));
            match node {
                Node::Directory(next) => directory = next,
                other => {
                    return Err(TreeError::NotADirectory {
                        path: path.clone(),
                        parent: at,
                        kind: other.kind(),
                    });
                }
            }
        }
        Ok(directory)
    }

    /// Puts a node at a path where nothing stands yet, making the directories above it.
    pub fn insert(&mut self, path: &ImagePath, node: Node) -> Result<(), TreeError> {
        if let Some(there) = self.replace(path, node)? {
            let kind = there.kind();
            self.replace(path, there)?;
            return Err(TreeError::Exists { path: path.clone(), kind });
        }
        Ok(())
    }

    /// Puts a node at a path, making the directories above it, and returns what stood there.
    pub fn replace(&mut self, path: &ImagePath, node: Node) -> Result<Option<Node>, TreeError> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
            return Err(TreeError::Exists { path: path.clone(), kind: "directory" });
        };
        Ok(self.make_directories(&parent)?.entries.insert(name, node))
    }

    /// Takes away the node at a path and returns it.
    pub fn remove(&mut self, path: &ImagePath) -> Option<Node> {
        let (parent, name) = (path.parent()?, path.name()?);
        let directory = match self.get_mut(&parent) {
            _ if parent.is_root() => self,
            Some(Node::Directory(directory)) => directory,
            _ => return None,
        };
        directory.entries.remove(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, File, Metadata};

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text.as_bytes()).expect("a path")
    }

    fn file() -> Node {
        Node::File(File { metadata: Metadata::root(0o644), content: Content::of(b"") })
    }

    #[test]
    fn entries_come_go_and_stay_unique() {
        let mut root = Directory::default();
        root.insert(&path("/a/b"), file()).expect("inserted");
        assert!(matches!(root.insert(&path("/a/b"), file()), Err(TreeError::Exists { .. })));
        assert!(matches!(root.insert(&path("/a/b/c"), file()), Err(TreeError::NotADirectory { .. })));
        assert_eq!(root.get(&path("/a/b")), Some(&file()));
        assert!(root.directory(&path("/a")).is_some() && root.directory(&path("/a/b")).is_none());
        assert_eq!(root.remove(&path("/a/b")), Some(file()));
        assert_eq!(root.get(&path("/a/b")), None);
        assert_eq!(root.remove(&path("/")), None);
    }
}

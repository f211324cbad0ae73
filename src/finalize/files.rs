//! Files of the tree, reached as the kernel reaches them: through symlinks.

use super::FinalizeError;
use super::world::World;
use crate::base::{ImagePath, Name};
use crate::tree::follow::{follow, resolve};
use crate::tree::{Directory, File, Metadata, Node, Symlink};

/// The largest file that a finalizer reads, in bytes.
const FILE_BYTES_MAX: u64 = 32 << 20;

impl World<'_> {
    /// Returns where a path's last name stands: symlinks above it are followed, one at its end is not.
    pub fn place_of(&self, path: &ImagePath) -> Option<ImagePath> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return Some(path.clone()) };
        Some(follow(self.tree, &parent)?.join(&name))
    }

    /// Returns what stands at a path itself; `None` for the root.
    pub fn look(&self, path: &ImagePath) -> Option<&Node> {
        self.tree.get(&self.place_of(path)?)
    }

    /// Returns where a path leads, and what stands there; no node for the root.
    pub fn lead(&self, path: &ImagePath) -> Option<(ImagePath, Option<&Node>)> {
        match resolve(self.tree, path)? {
            (_, Some(Node::HardLink(target))) => Some((target.clone(), Some(self.tree.get(target)?))),
            found => Some(found),
        }
    }

    /// Tells whether a path leads to something.
    pub fn exists(&self, path: &ImagePath) -> bool {
        self.lead(path).is_some()
    }

    /// Returns the directory that a path leads to.
    pub fn directory(&self, path: &ImagePath) -> Option<&Directory> {
        self.tree.directory(&follow(self.tree, path)?)
    }

    /// Returns the bytes of the file that a path leads to; `None` where there is none.
    pub fn read(&self, path: &ImagePath) -> Result<Option<Vec<u8>>, FinalizeError> {
        match self.lead(path) {
            Some((_, Some(Node::File(file)))) => self.read_file(path, file).map(Some),
            _ => Ok(None),
        }
    }

    /// Returns the text of the file that a path leads to; bytes that are no UTF-8 are replaced.
    pub fn read_text(&self, path: &ImagePath) -> Result<Option<String>, FinalizeError> {
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into())
        };
        Ok(self.read(path)?.map(text))
    }

    /// Returns the bytes of a file.
    pub fn read_file(&self, path: &ImagePath, file: &File) -> Result<Vec<u8>, FinalizeError> {
        let size = file.content.size;
        if size > FILE_BYTES_MAX {
            let problem = format!("has {size} bytes; files of at most {FILE_BYTES_MAX} are read here");
            return Err(FinalizeError::Place { path: path.clone(), problem });
        }
        Ok(self.source.read_all(&file.content)?)
    }

    /// Makes a directory (root's) with those above it (0755), where they are not there. Returns where it is.
    pub fn make_directory(&mut self, path: &ImagePath, mode: u16) -> Result<ImagePath, FinalizeError> {
        let mut at = ImagePath::root();
        let count = path.names().count();
        for (index, name) in path.names().enumerate() {
            let next = at.join(&Name::new(name).expect("because a path holds valid names"));
            at = match self.tree.get(&next) {
                None => {
                    let metadata = Metadata::root(if index + 1 == count { mode } else { 0o755 });
                    self.tree
                        .insert(&next, Node::Directory(Directory { metadata, ..Directory::default() }))?;
                    next
                }
                Some(node) => {
                    let kind = node.kind();
                    follow(self.tree, &next).ok_or_else(|| FinalizeError::Place {
                        path: path.clone(),
                        problem: format!("{next} is a {kind} that leads to no directory"),
                    })?
                }
            };
        }
        Ok(at)
    }

    /// Puts a node at a path in the place of what is there, which must not be a directory.
    pub fn put(&mut self, path: &ImagePath, node: Node) -> Result<(), FinalizeError> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
            return Err(FinalizeError::Place { path: path.clone(), problem: "is the root".to_owned() });
        };
        let place = self.make_directory(&parent, 0o755)?.join(&name);
        if let Some(Node::Directory(_)) = self.tree.get(&place) {
            let problem = format!("a directory stands where a {} must be put", node.kind());
            return Err(FinalizeError::Place { path: place, problem });
        }
        self.tree.replace(&place, node)?;
        Ok(())
    }

    /// Writes a file of root's.
    pub fn write(&mut self, path: &ImagePath, bytes: &[u8], mode: u16) -> Result<(), FinalizeError> {
        self.write_with(path, bytes, Metadata::root(mode))
    }

    pub fn write_with(
        &mut self,
        path: &ImagePath,
        bytes: &[u8],
        metadata: Metadata,
    ) -> Result<(), FinalizeError> {
        let content = self.sink.put(bytes)?;
        self.put(path, Node::File(File { metadata, content }))
    }

    /// Makes a symlink.
    pub fn link(&mut self, path: &ImagePath, target: &[u8]) -> Result<(), FinalizeError> {
        self.put(path, Node::Symlink(Symlink { metadata: Metadata::root(0o777), target: target.into() }))
    }

    /// Returns the metadata of what a path leads to, for changing; `None` where nothing is.
    pub fn metadata_mut(&mut self, path: &ImagePath) -> Option<&mut Metadata> {
        let place = self.lead(path)?.0;
        if place.is_root() {
            return Some(&mut self.tree.metadata);
        }
        self.tree.get_mut(&place)?.metadata_mut()
    }

    /// Returns the names in the directory that a path leads to, in order; none where there is none.
    pub fn names(&self, path: &ImagePath) -> Vec<Name> {
        self.directory(path).map(|directory| directory.entries.keys().cloned().collect()).unwrap_or_default()
    }

    /// Returns a control file of a package.
    pub fn info(&self, info: &Directory, name: &str) -> Result<Option<Vec<u8>>, FinalizeError> {
        match info.entries.get(name.as_bytes()) {
            Some(Node::File(file)) => self
                .read_file(
                    &ImagePath::root().join(&Name::new(name.as_bytes()).expect("because it is a name")),
                    file,
                )
                .map(Some),
            _ => Ok(None),
        }
    }
}

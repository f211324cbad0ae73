//! The tree as the writers of caches see it, and what they give back.

use super::super::FinalizeError;
use crate::base::{ImagePath, Job, Name};
use crate::tree::follow::{follow, resolve};
use crate::tree::{ContentSource, Directory, File, Node};

/// Largest file that is read whole, in bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A tree with its contents.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub tree: &'a Directory,
    pub source: &'a dyn ContentSource,
    pub job: &'a Job,
}

/// What a writer wants done.
#[derive(Default)]
pub(super) struct Outcome {
    /// Paths, modes and bytes of files. What stands there is replaced.
    pub files: Vec<(ImagePath, u16, Vec<u8>)>,
    /// Paths and targets of symlinks. What stands there is replaced.
    pub links: Vec<(ImagePath, Vec<u8>)>,
    pub removed: Vec<ImagePath>,
    pub notes: Vec<String>,
}

impl<'a> View<'a> {
    /// Returns where a path leads, and the file there: symlinks and hard links followed, so that two names of
    /// one file lead to the same path.
    pub fn file(&self, path: &ImagePath) -> Option<(ImagePath, &'a File)> {
        match resolve(self.tree, path)? {
            (at, Some(Node::File(file))) => Some((at, file)),
            (_, Some(Node::HardLink(target))) => match self.tree.get(target)? {
                Node::File(file) => Some((target.clone(), file)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns where a path leads, and the directory there.
    pub fn directory(&self, path: &ImagePath) -> Option<(ImagePath, &'a Directory)> {
        let at = follow(self.tree, path)?;
        let directory = self.tree.directory(&at)?;
        Some((at, directory))
    }

    /// Returns where the file at a path is to be put: symlinks to its directory are followed.
    pub fn place(&self, path: &ImagePath) -> ImagePath {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return path.clone() };
        follow(self.tree, &parent).unwrap_or(parent).join(&name)
    }

    /// Returns the bytes of the file that a path leads to; `None` where there is none.
    pub fn read(&self, cache: &'static str, path: &ImagePath) -> Result<Option<Vec<u8>>, FinalizeError> {
        self.file(path).map(|(at, file)| self.read_file(cache, &at, file)).transpose()
    }

    /// Returns the bytes of a file.
    pub fn read_file(
        &self,
        cache: &'static str,
        path: &ImagePath,
        file: &File,
    ) -> Result<Vec<u8>, FinalizeError> {
        if file.content.size > FILE_BYTES_MAX {
            let problem = format!("it has more than {FILE_BYTES_MAX} bytes");
            return Err(FinalizeError::Cache { cache, path: path.clone(), problem });
        }
        Ok(self.source.read_all(&file.content)?)
    }

    /// Returns the names of the directories below `/usr/lib` that hold the libraries of one machine each.
    pub fn machines(&self) -> Vec<String> {
        let Some((_, directory)) = self.directory(&path("/usr/lib")) else { return Vec::new() };
        let names = directory.entries.keys().filter_map(|name| str::from_utf8(name.as_bytes()).ok());
        names.filter(|name| name.contains("-linux-")).map(str::to_owned).collect()
    }

    /// Lists the files of configuration folders whose names have an ending: by name, one of an earlier folder
    /// before one of a later folder with the same name (as systemd lists them).
    pub fn configuration(&self, folders: &[&str], ending: &str) -> Vec<ImagePath> {
        let mut found = std::collections::BTreeMap::<Name, ImagePath>::new();
        for folder in folders {
            let Some((at, directory)) = self.directory(&path(folder)) else { continue };
            let fitting = |name: &&Name| name.as_bytes().ends_with(ending.as_bytes());
            for name in directory.entries.keys().filter(fitting) {
                found.entry(name.clone()).or_insert_with(|| at.join(name));
            }
        }
        found.into_values().collect()
    }
}

/// Makes a path out of a text of this program.
pub(super) fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("because it is a path of this program")
}

/// Finds a text in a program: from `start` on, which is part of it, to the next NUL or line end.
pub(super) fn find_text<'b>(bytes: &'b [u8], start: &[u8]) -> Option<&'b [u8]> {
    let at = bytes.windows(start.len()).position(|window| window == start)?;
    bytes[at..].split(|&byte| byte == 0 || byte == b'\n').next()
}

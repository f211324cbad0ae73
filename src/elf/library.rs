//! Where libraries are looked for: a tree with its contents, or a root of the host.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::bytes::{ContentBytes, HostBytes};
use super::configuration::{Files, configured_directories};
use super::error::ElfError;
use super::image::Image;
use crate::base::{ImagePath, Name, fs};
use crate::tree::follow::resolve;
use crate::tree::{ContentSource, Directory, File, Node};

/// Largest ELF file that is read from the host, in bytes.
const HOST_FILE_BYTES_MAX: u64 = 4 << 30;
/// Largest configuration file, in bytes.
const CONFIGURATION_BYTES_MAX: u64 = 1 << 20;
/// Most symlinks on the way to one file, as in Linux.
const LINKS_MAX: usize = 40;
const CONFIGURATION: &[u8] = b"/etc/ld.so.conf";

/// A file system in which the loader would look.
pub trait Library {
    /// Returns the bytes of the file that a path leads to; `None` where it leads to no file.
    fn read(&self, path: &ImagePath) -> Option<Vec<u8>>;

    /// Returns where a path leads when all symlinks are followed, to a file or a directory; `None` where
    /// it leads nowhere.
    fn follow(&self, path: &ImagePath) -> Option<ImagePath>;

    /// Returns the directories that `/etc/ld.so.conf` names, in its order.
    fn directories(&self) -> Vec<ImagePath>;

    /// Reads the ELF file that a path leads to; `None` where it leads to no file.
    fn image(&self, path: &ImagePath) -> Option<Result<Image, ElfError>> {
        self.read(path).map(|bytes| Image::parse(&bytes))
    }
}

/// Looks in a tree.
pub struct TreeLibrary<'a> {
    root: &'a Directory,
    source: &'a dyn ContentSource,
}

impl<'a> TreeLibrary<'a> {
    pub fn new(root: &'a Directory, source: &'a dyn ContentSource) -> Self {
        TreeLibrary { root, source }
    }

    fn file(&self, path: &ImagePath) -> Option<&'a File> {
        match resolve(self.root, path)?.1? {
            Node::File(file) => Some(file),
            Node::HardLink(target) => match self.root.get(target)? {
                Node::File(file) => Some(file),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Library for TreeLibrary<'_> {
    fn read(&self, path: &ImagePath) -> Option<Vec<u8>> {
        self.source.read_all(&self.file(path)?.content).ok()
    }

    fn follow(&self, path: &ImagePath) -> Option<ImagePath> {
        resolve(self.root, path).map(|found| found.0)
    }

    fn directories(&self) -> Vec<ImagePath> {
        let path = ImagePath::new(CONFIGURATION).expect("because it is a normal path");
        configured_directories(self, &path)
    }

    fn image(&self, path: &ImagePath) -> Option<Result<Image, ElfError>> {
        let bytes = ContentBytes::new(self.source, self.file(path)?.content);
        let image = Image::read(&bytes);
        Some(match bytes.failure() {
            Some(failure) => Err(ElfError::damaged(failure.to_string())),
            None => image,
        })
    }
}

impl Files for TreeLibrary<'_> {
    fn read(&self, path: &ImagePath) -> Option<Vec<u8>> {
        let file = self.file(path).filter(|file| file.content.size <= CONFIGURATION_BYTES_MAX)?;
        self.source.read_all(&file.content).ok()
    }

    fn list(&self, path: &ImagePath) -> Vec<Name> {
        let directory = resolve(self.root, path).and_then(|found| self.root.directory(&found.0));
        directory.map(|directory| directory.entries.keys().cloned().collect()).unwrap_or_default()
    }
}

/// Looks below a folder of the host, `/` for the host itself. Absolute symlinks lead to places below it.
pub struct HostLibrary {
    root: PathBuf,
}

impl HostLibrary {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        HostLibrary { root: root.into() }
    }

    fn host_path(&self, path: &ImagePath) -> PathBuf {
        self.root.join(OsStr::from_bytes(&path.as_bytes()[1..]))
    }

    fn read_at_most(&self, path: &ImagePath, limit: u64) -> Option<Vec<u8>> {
        let path = self.host_path(&self.follow(path)?);
        if !path.is_file() {
            return None;
        }
        fs::read_at_most(&path, limit).ok()
    }
}

impl Library for HostLibrary {
    fn read(&self, path: &ImagePath) -> Option<Vec<u8>> {
        self.read_at_most(path, HOST_FILE_BYTES_MAX)
    }

    fn follow(&self, path: &ImagePath) -> Option<ImagePath> {
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
            let host = self.host_path(&next);
            if !std::fs::symlink_metadata(&host).ok()?.is_symlink() {
                at = next;
                continue;
            }
            links += 1;
            let target = std::fs::read_link(&host).ok().filter(|_| links <= LINKS_MAX)?;
            let target = target.into_os_string().into_vec();
            if target.first() == Some(&b'/') {
                at = ImagePath::root();
            }
            waiting.extend(target.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec));
        }
        Some(at)
    }

    fn directories(&self) -> Vec<ImagePath> {
        let path = ImagePath::new(CONFIGURATION).expect("because it is a normal path");
        configured_directories(self, &path)
    }

    fn image(&self, path: &ImagePath) -> Option<Result<Image, ElfError>> {
        let bytes = HostBytes::open(&self.host_path(&self.follow(path)?))?;
        Some(Image::read(&bytes))
    }
}

impl Files for HostLibrary {
    fn read(&self, path: &ImagePath) -> Option<Vec<u8>> {
        self.read_at_most(path, CONFIGURATION_BYTES_MAX)
    }

    fn list(&self, path: &ImagePath) -> Vec<Name> {
        let names = self.follow(path).and_then(|path| fs::list(&self.host_path(&path)).ok());
        names.unwrap_or_default().iter().filter_map(|name| Name::new(name.as_bytes()).ok()).collect()
    }
}

//! The list of files of a package's main header.

use std::collections::BTreeMap;

use super::capability;
use super::error::RpmError;
use super::header::Header;
use super::tags;
use crate::base::ImagePath;
use crate::base::path::escaped;

/// Bits of a mode that say what a file is (`stat(2)`).
const KIND_MASK: u16 = 0o170_000;
/// Most files of one package.
pub const FILES_MAX: usize = 1_000_000;

/// What a file of a package is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    Directory,
    Regular,
    Symlink,
    Fifo,
    Socket,
}

/// One file as the header describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileEntry {
    pub path: ImagePath,
    pub kind: FileKind,
    /// Permission bits, 0 to 0o7777.
    pub permissions: u16,
    pub size: u64,
    /// In hexadecimal digits; empty where there is none.
    pub digest: String,
    /// Target of a symbolic link.
    pub target: Vec<u8>,
    /// See [`tags::FILE_GHOST`] and its neighbours.
    pub flags: u32,
    pub user: String,
    pub group: String,
    /// Equal for the names of one file.
    pub inode: u64,
    pub capabilities: Option<[u8; 20]>,
}

impl FileEntry {
    /// Tells whether a file belongs to the package without being in it: a log, a cache.
    pub fn is_ghost(&self) -> bool {
        self.flags & tags::FILE_GHOST != 0
    }
}

/// Holds all files of a package, in the header's order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileTable {
    pub files: Vec<FileEntry>,
    /// Whether the digests are SHA-256.
    pub has_sha256: bool,
}

impl FileTable {
    /// Reads the list. All columns must have one value a file.
    pub fn read(header: &Header) -> Result<FileTable, RpmError> {
        let names = header.texts(tags::BASENAMES);
        if names.len() > FILES_MAX {
            return Err(RpmError::Files(format!("{} files, and {FILES_MAX} are the most", names.len())));
        }
        let columns = Columns::read(header, names.len())?;
        let files = names.iter().enumerate().map(|(index, name)| columns.entry(index, name));
        let files = files.collect::<Result<Vec<_>, RpmError>>()?;
        let algorithm = header.number(tags::FILEDIGESTALGO);
        Ok(FileTable { files, has_sha256: algorithm == Some(tags::ALGORITHM_SHA256.into()) })
    }

    /// Returns the files that share an inode with others, by inode; ghosts left out.
    pub fn link_sets(&self) -> BTreeMap<u64, Vec<usize>> {
        let mut sets = BTreeMap::<u64, Vec<usize>>::new();
        for (index, file) in self.files.iter().enumerate() {
            if file.kind == FileKind::Regular && !file.is_ghost() && file.inode != 0 {
                sets.entry(file.inode).or_default().push(index);
            }
        }
        sets.retain(|_, links| links.len() > 1);
        sets
    }
}

/// The columns of the list, each as long as the list or empty.
struct Columns<'a> {
    directories: Vec<&'a [u8]>,
    directory_indexes: Vec<u64>,
    modes: Vec<u64>,
    sizes: Vec<u64>,
    digests: Vec<&'a [u8]>,
    targets: Vec<&'a [u8]>,
    flags: Vec<u64>,
    users: Vec<&'a [u8]>,
    groups: Vec<&'a [u8]>,
    inodes: Vec<u64>,
    capabilities: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn read(header: &'a Header, files: usize) -> Result<Columns<'a>, RpmError> {
        let wrong = |name: &str, found: usize| RpmError::Files(format!("{found} {name} for {files} files"));
        let numbers = |name: &str, tag| match header.numbers(tag) {
            values if values.len() == files => Ok(values),
            values => Err(wrong(name, values.len())),
        };
        let texts = |name: &str, tag| match header.texts(tag) {
            values if values.len() == files => Ok(values),
            values => Err(wrong(name, values.len())),
        };
        let optional = |name: &str, tag| if header.has(tag) { texts(name, tag) } else { Ok(Vec::new()) };
        let is_long = header.has(tags::LONGFILESIZES);
        Ok(Columns {
            directories: header.texts(tags::DIRNAMES),
            directory_indexes: numbers("directory indexes", tags::DIRINDEXES)?,
            modes: numbers("modes", tags::FILEMODES)?,
            sizes: numbers("sizes", if is_long { tags::LONGFILESIZES } else { tags::FILESIZES })?,
            digests: texts("digests", tags::FILEDIGESTS)?,
            targets: texts("link targets", tags::FILELINKTOS)?,
            flags: numbers("flags", tags::FILEFLAGS)?,
            users: texts("users", tags::FILEUSERNAME)?,
            groups: texts("groups", tags::FILEGROUPNAME)?,
            inodes: numbers("inodes", tags::FILEINODES)?,
            capabilities: optional("capabilities", tags::FILECAPS)?,
        })
    }

    fn entry(&self, index: usize, name: &[u8]) -> Result<FileEntry, RpmError> {
        let directory = self.directories.get(self.directory_indexes[index] as usize);
        let Some(directory) = directory.filter(|directory| directory.ends_with(b"/")) else {
            return Err(RpmError::Files(format!("{}: its directory is missing", escaped(name))));
        };
        let path = [directory, name].concat();
        let failed = |problem: String| RpmError::File { path: escaped(&path), problem };
        let mode = self.modes[index] as u16;
        let kind =
            kind(mode).ok_or_else(|| failed(format!("mode {mode:o}: devices don't come in packages")))?;
        let target = self.targets[index].to_vec();
        if (kind == FileKind::Symlink) == target.is_empty() {
            return Err(failed("a link without a target, or a target without a link".to_owned()));
        }
        let text = |bytes: &[u8]| {
            let text =
                std::str::from_utf8(bytes).map_err(|_| failed("a name that is no UTF-8".to_owned()))?;
            Ok::<_, RpmError>(text.to_owned())
        };
        let capabilities = match self.capabilities.get(index) {
            Some(encoded) if !encoded.is_empty() => capability::encode(&text(encoded)?).map_err(failed)?,
            _ => None,
        };
        Ok(FileEntry {
            kind,
            permissions: mode & !KIND_MASK,
            size: self.sizes[index],
            digest: text(self.digests[index])?,
            target,
            flags: self.flags[index] as u32,
            user: account(text(self.users[index])?).ok_or_else(|| failed("no user's name".to_owned()))?,
            group: account(text(self.groups[index])?).ok_or_else(|| failed("no group's name".to_owned()))?,
            inode: self.inodes[index],
            capabilities,
            path: ImagePath::new(&path)?,
        })
    }
}

/// Checks the name of an account, before it becomes part of a line of `/etc/passwd`.
pub fn account(name: String) -> Option<String> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let body = name.strip_suffix('$').unwrap_or(&name);
    let is_good = (1..=31).contains(&name.len())
        && !body.is_empty()
        && body.bytes().all(is_part)
        && !name.starts_with('-')
        && body.bytes().any(|byte| !byte.is_ascii_digit() && byte != b'.');
    is_good.then_some(name)
}

fn kind(mode: u16) -> Option<FileKind> {
    match mode & KIND_MASK {
        0o040_000 => Some(FileKind::Directory),
        0o100_000 => Some(FileKind::Regular),
        0o120_000 => Some(FileKind::Symlink),
        0o010_000 => Some(FileKind::Fifo),
        0o140_000 => Some(FileKind::Socket),
        _ => None,
    }
}

//! From the bytes of a package to a tree. Contents go straight into the caller's sink.
//!
//! A package stands in metadata that its repository signed, so its setuid and setgid bits and its file capabilities
//! come in as they are; device nodes do not. Files belong to root here: their owners are names, which become numbers
//! when a whole tree is finished ([`super::finalize`]).

use std::io::Read;

use sha2::Digest as _;

use super::super::digest::Sha256;
use super::super::unpack::Control;
use super::capability;
use super::error::RpmError;
use super::files::{FileEntry, FileKind, FileTable};
use super::header::Header;
use super::package::Package;
use super::payload::{self, Cpio, Next};
use super::tags;
use crate::archive::Limits;
use crate::base::id::hex;
use crate::base::{Digest, Job, Name, StepKey};
use crate::tree::node::SYMLINK_BYTES_MAX;
use crate::tree::{Content, ContentSink, ContentSource, Directory, File, Metadata, Node, Symlink};

/// Names what this file does with a package's bytes. Raise it whenever the same bytes give another tree.
const UNPACK_CONTEXT: &str = "mkimage 2026 unpack rpm v1";
/// Files up to this size go to the sink in one piece, in bytes.
const SMALL_BYTES: u64 = 1 << 20;

/// Names of the headers in [`Unpacked::info`].
pub const HEADER_FILE: &str = "rpm-header";
pub const SIGNATURES_FILE: &str = "rpm-signatures";

/// Scripts, by the names that spec files give them.
pub const SCRIPTS: [(&str, u32); 9] = [
    ("pretrans", tags::PRETRANS),
    ("pre", tags::PREIN),
    ("post", tags::POSTIN),
    ("preun", tags::PREUN),
    ("postun", tags::POSTUN),
    ("posttrans", tags::POSTTRANS),
    ("preuntrans", tags::PREUNTRANS),
    ("postuntrans", tags::POSTUNTRANS),
    ("verify", tags::VERIFYSCRIPT),
];

/// Holds what a package brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unpacked {
    /// Its files, ghosts left out, all root's.
    pub tree: Directory,
    /// `rpm-header` and `rpm-signatures` (both with their magic), and each script by its name.
    pub info: Directory,
    pub control: Control,
}

/// Returns the key of unpacking a package: equal keys, equal trees.
pub fn unpack_key(sha256: &Sha256) -> StepKey {
    StepKey(Digest::derive(UNPACK_CONTEXT, &sha256.0))
}

/// Unpacks the bytes of one package. They must have been checked against a digest that is trusted; their form is not
/// trusted. Costs the decompression and one hash of every byte, one thread; memory for the list of files and a few
/// buffers.
pub fn unpack(bytes: &[u8], sink: &dyn ContentSink, job: &Job) -> Result<Unpacked, RpmError> {
    let package = Package::parse(bytes)?;
    let table = FileTable::read(&package.header)?;
    let tree = files(&package, &table, sink, job)?;
    let in_main = |problem| RpmError::Header { header: "main header", problem };
    Ok(Unpacked { tree, info: info(&package, sink)?, control: control(&package.header).map_err(in_main)? })
}

/// Unpacks a package and checks that it is the one that was locked.
pub fn locked(
    bytes: &[u8],
    (name, version, architecture): (&str, &str, &str),
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<Unpacked, RpmError> {
    let unpacked = unpack(bytes, sink, job)?;
    let found = &unpacked.control;
    match (&*found.name, &*found.version, &*found.architecture) == (name, version, architecture) {
        true => Ok(unpacked),
        false => Err(RpmError::OtherPackage {
            found: format!("{} {} {}", found.name, found.version, found.architecture),
            expected: format!("{name} {version} {architecture}"),
        }),
    }
}

impl Unpacked {
    /// Returns one directory with `control` and `data`: the form in which a store keeps a package.
    pub fn to_tree(self) -> Directory {
        let name = |name: &str| Name::new(name.as_bytes()).expect("because it is a name");
        let entries = [(name("control"), self.info), (name("data"), self.tree)];
        let entries = entries.map(|(name, directory)| (name, Node::Directory(directory)));
        Directory { entries: entries.into(), ..Directory::default() }
    }

    /// Takes back what [`Unpacked::to_tree`] made. What a store gives back is checked as if it were foreign.
    pub fn from_tree(mut tree: Directory, source: &dyn ContentSource) -> Result<Unpacked, RpmError> {
        let mut take = |name: &str| match tree.entries.remove(name.as_bytes()) {
            Some(Node::Directory(directory)) => Ok(directory),
            _ => Err(RpmError::Files(format!("the stored package has no {name}"))),
        };
        let (info, data) = (take("control")?, take("data")?);
        let header = read_header(&info, HEADER_FILE, tags::HEADER_IMMUTABLE, source)?;
        let in_main = |problem| RpmError::Header { header: "main header", problem };
        let control = control(&header).map_err(in_main)?;
        Ok(Unpacked { tree: data, info, control })
    }

    /// Returns a script's text.
    pub fn script(&self, name: &str, source: &dyn ContentSource) -> Option<Vec<u8>> {
        match self.info.entries.get(name.as_bytes()) {
            Some(Node::File(file)) => source.read_all(&file.content).ok(),
            _ => None,
        }
    }
}

/// Reads one of the headers of an unpacked package.
pub fn read_header(
    info: &Directory,
    name: &'static str,
    region: u32,
    source: &dyn ContentSource,
) -> Result<Header, RpmError> {
    match info.entries.get(name.as_bytes()) {
        Some(Node::File(file)) => Header::parse(&source.read_all(&file.content)?, region)
            .map_err(|problem| RpmError::Header { header: name, problem }),
        _ => Err(RpmError::Files(format!("the stored package has no {name}"))),
    }
}

fn control(header: &Header) -> Result<Control, super::error::HeaderError> {
    let (name, evr, architecture) = header.identity()?;
    let texts = [
        ("Summary", tags::SUMMARY),
        ("License", tags::LICENSE),
        ("Vendor", tags::VENDOR),
        ("Url", tags::URL),
        ("Source", tags::SOURCERPM),
    ];
    let field = |(field, tag): (&str, u32)| Some((field.to_owned(), header.text(tag)?.to_owned()));
    let fields = texts.into_iter().filter_map(field).collect();
    Ok(Control { name, version: evr.to_string(), architecture, fields })
}

fn info(package: &Package<'_>, sink: &dyn ContentSink) -> Result<Directory, RpmError> {
    let mut info = Directory::default();
    let mut put = |name: &str, bytes: &[u8], mode| {
        let node = Node::File(File { metadata: Metadata::root(mode), content: sink.put(bytes)? });
        info.entries.insert(Name::new(name.as_bytes())?, node);
        Ok::<_, RpmError>(())
    };
    put(HEADER_FILE, package.header.as_bytes(), 0o644)?;
    put(SIGNATURES_FILE, package.signatures.as_bytes(), 0o644)?;
    for (name, tag) in SCRIPTS {
        if let Some(script) = package.header.texts(tag).first() {
            put(name, script, 0o755)?;
        }
    }
    Ok(info)
}

fn files(
    package: &Package<'_>,
    table: &FileTable,
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<Directory, RpmError> {
    let limits = Limits::default();
    let bytes = table.files.iter().fold(0u64, |sum, file| sum.saturating_add(file.size));
    if bytes > limits.bytes {
        return Err(RpmError::Files(format!("{bytes} bytes in all, and {} are the most", limits.bytes)));
    }
    let mut contents: Vec<Option<Content>> = vec![None; table.files.len()];
    let mut seen = vec![false; table.files.len()];
    let reader = payload::open(&package.header, package.payload, &limits)?;
    let mut cpio = Cpio::new(reader, table);
    while let Some(next) = cpio.next_file()? {
        job.check()?;
        let file = &table.files[next.index];
        let failed =
            |problem: &str| RpmError::File { path: file.path.to_string(), problem: problem.to_owned() };
        if std::mem::replace(&mut seen[next.index], true) {
            return Err(failed("is in the payload twice"));
        }
        contents[next.index] = read_file(&mut cpio, next, file, table.has_sha256, sink)?;
    }
    let missing = table.files.iter().zip(&seen).find(|(file, seen)| !**seen && !file.is_ghost());
    if let Some((file, _)) = missing {
        let problem = "is in the header's list, but not in the payload".to_owned();
        return Err(RpmError::File { path: file.path.to_string(), problem });
    }
    build(table, &contents)
}

/// Reads one file of the payload; returns its content where it is a regular file with one.
fn read_file(
    cpio: &mut Cpio<'_, impl Read>,
    next: Next,
    file: &FileEntry,
    has_sha256: bool,
    sink: &dyn ContentSink,
) -> Result<Option<Content>, RpmError> {
    let failed = |problem: String| RpmError::File { path: file.path.to_string(), problem };
    match file.kind {
        FileKind::Regular if next.size == 0 && file.size != 0 => Ok(None),
        FileKind::Regular => {
            let mut hashing = Hashing { reader: cpio, hasher: sha2::Sha256::new() };
            let content = match next.size {
                0..=SMALL_BYTES => {
                    let mut bytes = Vec::new();
                    hashing.read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
                    sink.put(&bytes)?
                }
                _ => sink.put_reader(&mut hashing)?,
            };
            let found = hex(&hashing.hasher.finalize());
            if has_sha256 && !found.eq_ignore_ascii_case(&file.digest) {
                return Err(RpmError::Digest {
                    what: format!("file {}", file.path),
                    algorithm: "SHA-256",
                    found,
                    expected: file.digest.chars().take(64).collect(),
                });
            }
            Ok(Some(content))
        }
        FileKind::Symlink if next.size as usize <= SYMLINK_BYTES_MAX => {
            let mut target = Vec::new();
            cpio.read_to_end(&mut target).map_err(|error| failed(error.to_string()))?;
            match target == file.target {
                true => Ok(None),
                false => Err(failed("the payload's link leads elsewhere than the header's".to_owned())),
            }
        }
        FileKind::Symlink => Err(failed(format!("a link target of {} bytes", next.size))),
        _ => Ok(None),
    }
}

/// Hashes what is read.
struct Hashing<R> {
    reader: R,
    hasher: sha2::Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

/// Puts the files into a tree, directories first.
fn build(table: &FileTable, contents: &[Option<Content>]) -> Result<Directory, RpmError> {
    let mut tree = Directory::default();
    let is_directory = |file: &&FileEntry| file.kind == FileKind::Directory && !file.is_ghost();
    for file in table.files.iter().filter(is_directory) {
        tree.make_directories(&file.path)?.metadata = metadata(file);
    }
    let sets = table.link_sets();
    for (index, file) in table.files.iter().enumerate() {
        let node = match file.kind {
            _ if file.is_ghost() => continue,
            FileKind::Directory => continue,
            FileKind::Regular => regular(table, contents, index, sets.get(&file.inode))?,
            FileKind::Symlink => {
                Node::Symlink(Symlink { metadata: Metadata::root(0o777), target: (&*file.target).into() })
            }
            FileKind::Fifo => Node::Fifo(metadata(file)),
            FileKind::Socket => Node::Socket(metadata(file)),
        };
        tree.insert(&file.path, node)?;
    }
    Ok(tree)
}

/// Makes a file, or a link to the first name of its set.
fn regular(
    table: &FileTable,
    contents: &[Option<Content>],
    index: usize,
    set: Option<&Vec<usize>>,
) -> Result<Node, RpmError> {
    let file = &table.files[index];
    let first = set.and_then(|links| links.first().copied()).unwrap_or(index);
    if first != index {
        return Ok(Node::HardLink(table.files[first].path.clone()));
    }
    let found = set.map_or_else(|| contents[index], |links| links.iter().find_map(|link| contents[*link]));
    match found {
        Some(content) => Ok(Node::File(File { metadata: metadata(file), content })),
        None => Err(RpmError::File {
            path: file.path.to_string(),
            problem: "the payload has none of its bytes".to_owned(),
        }),
    }
}

fn metadata(file: &FileEntry) -> Metadata {
    let mut metadata = Metadata::root(file.permissions);
    if let Some(value) = &file.capabilities {
        metadata.xattrs.insert(capability::XATTR.into(), (&value[..]).into());
    }
    metadata
}

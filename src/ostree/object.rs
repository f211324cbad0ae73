//! OSTree's four kinds of objects: their bytes, and their values.
//!
//! ```text
//! file     = length u32 of the header, four zero bytes, header, the file's bytes
//! header   = (uuuusa(ayay))              uid, gid, mode, 0, target of a symlink, attributes
//! dirmeta  = (uuua(ayay))                uid, gid, mode, attributes
//! dirtree  = (a(say)a(sayay))            files: name, checksum; directories: name, dirtree, dirmeta
//! commit   = (a{sv}aya(say)sstayay)      metadata, parent, related, subject, body, seconds, dirtree, dirmeta
//! ```
//!
//! All are in GVariant's serialized form (`variant`), in its normal form and no other; the checksum of an
//! object is the SHA-256 of exactly these bytes, however a repository keeps them. Modes hold the kind of the
//! node (`S_IFREG`, `S_IFLNK`, `S_IFDIR`). Names and targets are UTF-8; an attribute's name ends in a NUL.

use std::borrow::Cow;
use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::name::Checksum;
use super::variant::{self, Malformed, Shape, Value, members};
use crate::base::{Name, path};
use crate::tree::{Metadata, Xattrs};

const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const DIRECTORY: u32 = 0o040_000;

/// Bytes before a file's header.
pub(super) const PREFIX_BYTES: usize = 8;
/// Longest header of a file, in bytes: two thousand times what real ones have.
pub(super) const HEADER_BYTES_MAX: usize = 2 << 20;
/// Longest object of metadata, in bytes (OSTree's own limit, `OSTREE_MAX_METADATA_SIZE`).
pub(super) const METADATA_BYTES_MAX: u64 = 128 << 20;

type Parsed<T> = Result<T, Malformed>;

fn fail<T>(problem: impl Into<String>) -> Parsed<T> {
    Err(Malformed(problem.into()))
}

/// Hashes an object that is in memory.
pub(super) fn checksum(bytes: &[u8]) -> Checksum {
    Checksum(Sha256::digest(bytes).into())
}

/// What stands before the bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    pub metadata: Metadata,
    /// What a symlink points to; `None` for a regular file.
    pub target: Option<String>,
}

impl FileHeader {
    /// Returns the beginning of the file's object.
    pub fn encode(metadata: &Metadata, target: Option<&str>) -> Vec<u8> {
        // The kernel shows every symlink with all bits: a repository of plain files could keep no others.
        let mode = match target {
            Some(_) => SYMLINK | 0o777,
            None => REGULAR | u32::from(metadata.mode),
        };
        let numbers = [metadata.uid, metadata.gid, mode, 0];
        let header = header(numbers, target.unwrap_or_default(), attributes(pairs(&metadata.xattrs)));
        let length = (header.len() as u32).to_be_bytes();
        [&length[..], &[0; 4], &header].concat()
    }

    /// Reads the length of the header that these bytes announce.
    pub fn announced(prefix: &[u8; PREFIX_BYTES]) -> Parsed<usize> {
        let length = variant::u32_of(&prefix[..4]) as usize;
        match () {
            () if prefix[4..] != [0; 4] => fail("the bytes between length and header are not zero"),
            () if length > HEADER_BYTES_MAX => {
                fail(format!("a header of {length} bytes; at most {HEADER_BYTES_MAX} are taken"))
            }
            () => Ok(length),
        }
    }

    /// Reads a header without what announced it.
    pub fn parse(bytes: &[u8]) -> Parsed<Self> {
        use Shape::{Fixed, Variable};
        let shapes = [Fixed(4), Fixed(4), Fixed(4), Fixed(4), Variable(1), Variable(1)];
        let [uid, gid, mode, device, target, xattrs] = members(bytes, shapes)?;
        let numbers = [uid, gid, mode, device].map(variant::u32_of);
        let [uid, gid, mode, _] = numbers;
        let target = variant::text(target)?;
        let is_symlink = match (mode & KIND, target) {
            (REGULAR, "") => false,
            (SYMLINK, "") => return fail("a symlink without a target"),
            (SYMLINK, _) => true,
            (REGULAR, _) => return fail("a regular file with the target of a symlink"),
            _ => return fail(format!("mode {mode:o} is neither a regular file's nor a symlink's")),
        };
        let attributes = Attributes::parse(xattrs)?;
        is_normal(bytes, &header(numbers, target, attributes.value()))?;
        let metadata = metadata([uid, gid, mode], attributes)?;
        Ok(FileHeader { metadata, target: is_symlink.then(|| target.to_owned()) })
    }
}

fn header(numbers: [u32; 4], target: &str, attributes: Value) -> Vec<u8> {
    let [uid, gid, mode, device] = numbers.map(Value::u32);
    Value::tuple(&[uid, gid, mode, device, Value::text(target), attributes]).into_bytes()
}

/// Returns the object that says what a directory is.
pub fn encode_dirmeta(metadata: &Metadata) -> Vec<u8> {
    let numbers = [metadata.uid, metadata.gid, DIRECTORY | u32::from(metadata.mode)];
    dirmeta(numbers, attributes(pairs(&metadata.xattrs)))
}

fn dirmeta(numbers: [u32; 3], attributes: Value) -> Vec<u8> {
    let [uid, gid, mode] = numbers.map(Value::u32);
    Value::tuple(&[uid, gid, mode, attributes]).into_bytes()
}

/// Reads what a directory is.
pub fn parse_dirmeta(bytes: &[u8]) -> Parsed<Metadata> {
    use Shape::{Fixed, Variable};
    let [uid, gid, mode, xattrs] = members(bytes, [Fixed(4), Fixed(4), Fixed(4), Variable(1)])?;
    let numbers = [uid, gid, mode].map(variant::u32_of);
    if numbers[2] & KIND != DIRECTORY {
        return fail(format!("mode {:o} is no directory's", numbers[2]));
    }
    let attributes = Attributes::parse(xattrs)?;
    is_normal(bytes, &dirmeta(numbers, attributes.value()))?;
    metadata(numbers, attributes)
}

fn metadata([uid, gid, mode]: [u32; 3], attributes: Attributes<'_>) -> Parsed<Metadata> {
    if mode & !KIND > 0o7777 {
        return fail(format!("mode {mode:o} has more than permission bits"));
    }
    Ok(Metadata { mode: (mode & 0o7777) as u16, uid, gid, xattrs: attributes.into_map()? })
}

/// Name, with its NUL, and value.
type Pair<'a> = (Cow<'a, [u8]>, &'a [u8]);

fn pairs(xattrs: &Xattrs) -> impl Iterator<Item = Pair<'_>> {
    xattrs.iter().map(|(name, value)| (Cow::Owned([name, &b"\0"[..]].concat()), &**value))
}

fn attributes<'a>(pairs: impl Iterator<Item = Pair<'a>>) -> Value {
    let pair = |(name, value): Pair<'_>| Value::tuple(&[Value::bytes(&name), Value::bytes(value)]);
    Value::array(1, &pairs.map(pair).collect::<Vec<_>>())
}

/// Attributes in the order of an object: OSTree sorts them, others may not.
struct Attributes<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Attributes<'a> {
    fn parse(bytes: &'a [u8]) -> Parsed<Self> {
        let pair = |pair: &'a [u8]| members(pair, [Shape::Variable(1), Shape::Variable(1)]);
        let pairs = variant::elements(bytes, 1)?.into_iter().map(|bytes| pair(bytes).map(|[a, b]| (a, b)));
        pairs.collect::<Parsed<_>>().map(Attributes)
    }

    fn value(&self) -> Value {
        attributes(self.0.iter().map(|(name, value)| (Cow::Borrowed(*name), *value)))
    }

    fn into_map(self) -> Parsed<Xattrs> {
        let mut xattrs = Xattrs::new();
        for (name, value) in self.0 {
            let Some((0, name)) = name.split_last() else {
                return fail("the name of an attribute without its final NUL");
            };
            if xattrs.insert(name.into(), value.into()).is_some() {
                return fail(format!("the attribute {} is there twice", path::escaped(name)));
            }
        }
        Ok(xattrs)
    }
}

/// What a directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirTree {
    pub files: Vec<(String, Checksum)>,
    /// Name, dirtree, dirmeta.
    pub directories: Vec<(String, Checksum, Checksum)>,
}

impl DirTree {
    pub fn encode(&self) -> Vec<u8> {
        let file = |(name, checksum): &(String, Checksum)| {
            Value::tuple(&[Value::text(name), Value::bytes(&checksum.0)])
        };
        let directory = |(name, tree, meta): &(String, Checksum, Checksum)| {
            Value::tuple(&[Value::text(name), Value::bytes(&tree.0), Value::bytes(&meta.0)])
        };
        let files: Vec<Value> = self.files.iter().map(file).collect();
        let directories: Vec<Value> = self.directories.iter().map(directory).collect();
        Value::tuple(&[Value::array(1, &files), Value::array(1, &directories)]).into_bytes()
    }

    /// Reads what a directory holds. Every name is one component, and there once.
    pub fn parse(bytes: &[u8]) -> Parsed<Self> {
        use Shape::Variable;
        let [files, directories] = members(bytes, [Variable(1), Variable(1)])?;
        let mut tree = DirTree::default();
        let mut names = BTreeSet::new();
        for file in variant::elements(files, 1)? {
            let [name, content] = members(file, [Variable(1), Variable(1)])?;
            tree.files.push((entry_name(name, &mut names)?, parse_checksum(content)?));
        }
        for directory in variant::elements(directories, 1)? {
            let [name, below, meta] = members(directory, [Variable(1), Variable(1), Variable(1)])?;
            let name = entry_name(name, &mut names)?;
            tree.directories.push((name, parse_checksum(below)?, parse_checksum(meta)?));
        }
        is_normal(bytes, &tree.encode()).map(|()| tree)
    }
}

fn entry_name<'a>(bytes: &'a [u8], names: &mut BTreeSet<&'a str>) -> Parsed<String> {
    let name = variant::text(bytes)?;
    Name::new(name.as_bytes()).map_err(|error| Malformed(error.to_string()))?;
    if !names.insert(name) {
        return fail(format!("the name {name:?} is there twice"));
    }
    Ok(name.to_owned())
}

fn parse_checksum(bytes: &[u8]) -> Parsed<Checksum> {
    match bytes.try_into() {
        Ok(bytes) => Ok(Checksum(bytes)),
        Err(_) => fail(format!("a checksum of {} bytes", bytes.len())),
    }
}

/// What a commit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OstreeCommit {
    /// Key, type, serialized value; in the order of the object.
    pub metadata: Vec<(String, String, Vec<u8>)>,
    pub parent: Option<Checksum>,
    /// Name and checksum of further commits; nobody writes them.
    pub related: Vec<(String, Vec<u8>)>,
    pub subject: String,
    pub body: String,
    /// Since 1970.
    pub seconds: u64,
    pub tree: Checksum,
    pub meta: Checksum,
}

impl OstreeCommit {
    pub fn encode(&self) -> Vec<u8> {
        let entry = |(key, kind, value): &(String, String, Vec<u8>)| {
            Value::tuple(&[Value::text(key), Value::boxed(kind, value)])
        };
        let related =
            |(name, checksum): &(String, Vec<u8>)| Value::tuple(&[Value::text(name), Value::bytes(checksum)]);
        Value::tuple(&[
            Value::array(8, &self.metadata.iter().map(entry).collect::<Vec<_>>()),
            Value::bytes(self.parent.as_ref().map_or(&[], |parent| &parent.0[..])),
            Value::array(1, &self.related.iter().map(related).collect::<Vec<_>>()),
            Value::text(&self.subject),
            Value::text(&self.body),
            Value::u64(self.seconds),
            Value::bytes(&self.tree.0),
            Value::bytes(&self.meta.0),
        ])
        .into_bytes()
    }

    pub fn parse(bytes: &[u8]) -> Parsed<Self> {
        use Shape::{Fixed, Variable};
        let v = Variable(1);
        let shapes = [Variable(8), v, v, v, v, Fixed(8), v, v];
        let [metadata, parent, related, subject, body, seconds, tree, meta] = members(bytes, shapes)?;
        let mut commit = OstreeCommit {
            metadata: Vec::new(),
            parent: if parent.is_empty() { None } else { Some(parse_checksum(parent)?) },
            related: Vec::new(),
            subject: variant::text(subject)?.to_owned(),
            body: variant::text(body)?.to_owned(),
            seconds: variant::u64_of(seconds),
            tree: parse_checksum(tree)?,
            meta: parse_checksum(meta)?,
        };
        for entry in variant::elements(metadata, 8)? {
            let [key, value] = members(entry, [v, Variable(8)])?;
            let (value, kind) = variant::unboxed(value)?;
            commit.metadata.push((variant::text(key)?.to_owned(), kind.to_owned(), value.to_vec()));
        }
        for entry in variant::elements(related, 1)? {
            let [name, checksum] = members(entry, [v, v])?;
            commit.related.push((variant::text(name)?.to_owned(), checksum.to_vec()));
        }
        is_normal(bytes, &commit.encode()).map(|()| commit)
    }

    /// Returns the value of a key that has this type.
    pub fn value(&self, key: &str, kind: &str) -> Option<&[u8]> {
        let entry = self.metadata.iter().find(|(name, found, _)| name == key && found == kind);
        entry.map(|(_, _, value)| value.as_slice())
    }

    /// Returns the text of a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        variant::text(self.value(key, "s")?).ok()
    }
}

/// Refuses another spelling of a value than the one that OSTree writes: checksums would differ.
fn is_normal(bytes: &[u8], again: &[u8]) -> Parsed<()> {
    if bytes == again { Ok(()) } else { fail("its bytes are not in normal form") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nasty() -> Metadata {
        let attribute = |name: &str, value: &[u8]| (name.as_bytes().into(), value.into());
        let xattrs = [attribute("security.capability", &[0, 1, 0, 0, 2]), attribute("user.empty", b"")];
        Metadata { mode: 0o6755, uid: 70_000, gid: 4_294_967_294, xattrs: xattrs.into() }
    }

    #[test]
    fn objects_come_back_and_have_one_spelling() {
        for (metadata, target) in
            [(nasty(), None), (Metadata::root(0o777), Some("../ä")), (Metadata::root(0), None)]
        {
            let bytes = FileHeader::encode(&metadata, target);
            let prefix = bytes[..8].try_into().expect("eight bytes");
            assert_eq!(FileHeader::announced(&prefix), Ok(bytes.len() - 8));
            let header = FileHeader::parse(&bytes[8..]).expect("parsed");
            assert_eq!(header, FileHeader { metadata, target: target.map(str::to_owned) });
            assert!(FileHeader::parse(&[&bytes[8..], b"\0"].concat()).is_err());
        }
        let meta = encode_dirmeta(&nasty());
        assert_eq!(parse_dirmeta(&meta), Ok(nasty()));
        let tree = DirTree {
            files: (0..300).map(|n| (format!("file{n:03}"), Checksum([n as u8; 32]))).collect(),
            directories: vec![("d".to_owned(), Checksum([1; 32]), Checksum([2; 32]))],
        };
        assert_eq!(DirTree::parse(&tree.encode()), Ok(tree));
        assert_eq!(DirTree::parse(&DirTree::default().encode()), Ok(DirTree::default()));
    }

    #[test]
    fn the_checksum_of_an_empty_directory_is_the_one_that_everybody_has() {
        let empty = checksum(&DirTree::default().encode());
        assert_eq!(empty.to_string(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
    }

    #[test]
    fn hostile_objects_are_refused() {
        let twice = DirTree {
            files: vec![("x".to_owned(), Checksum([1; 32]))],
            directories: vec![("x".to_owned(), Checksum([1; 32]), Checksum([2; 32]))],
        };
        assert!(DirTree::parse(&twice.encode()).expect_err("refused").0.contains("there twice"));
        for name in ["..", ".", "", "a/b"] {
            let tree = DirTree { files: vec![(name.to_owned(), Checksum([1; 32]))], directories: vec![] };
            assert!(DirTree::parse(&tree.encode()).is_err(), "{name:?}");
        }
        assert!(FileHeader::announced(&[0xff, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(FileHeader::announced(&[0, 0, 0, 1, 0, 0, 0, 1]).is_err());
        assert!(parse_dirmeta(&[]).is_err() && DirTree::parse(&[]).is_err());
        assert!(OstreeCommit::parse(&[]).is_err() && FileHeader::parse(&[]).is_err());
        let device = Value::tuple(&[
            Value::u32(0),
            Value::u32(0),
            Value::u32(0o020_600),
            Value::u32(0),
            Value::text(""),
            attributes(std::iter::empty()),
        ]);
        assert!(FileHeader::parse(&device.into_bytes()).is_err());
    }

    #[test]
    fn commits_come_back_whatever_their_metadata_holds() {
        let commit = OstreeCommit {
            metadata: vec![
                ("version".to_owned(), "s".to_owned(), b"1.0\0".to_vec()),
                ("odd".to_owned(), "t".to_owned(), vec![0, 0, 0, 0, 0, 0, 0, 9]),
            ],
            parent: Some(Checksum([9; 32])),
            related: Vec::new(),
            subject: "a subject".to_owned(),
            body: String::new(),
            seconds: 315_532_800,
            tree: Checksum([1; 32]),
            meta: Checksum([2; 32]),
        };
        let bytes = commit.encode();
        assert_eq!(OstreeCommit::parse(&bytes), Ok(commit.clone()));
        assert_eq!(commit.text("version"), Some("1.0"));
        assert_eq!(commit.text("odd"), None);
        for cut in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[cut] ^= 0xff;
            let _ = OstreeCommit::parse(&changed);
            assert!(OstreeCommit::parse(&bytes[..cut]).is_err(), "{cut}");
        }
    }
}

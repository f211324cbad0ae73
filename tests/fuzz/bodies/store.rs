//! Objects of the store, and names from the command line.

use std::collections::BTreeMap;

use mkimage::base::{Bytes, Digest, ImagePath, Name, TreeId};
use mkimage::boot::slots::EntryName;
use mkimage::store::{
    Architecture, Commit, DiskSpec, Filesystem, Input, InputDigest, MoveId, Place, RefName, Revision,
    StoredDirectory, StoredNode, TreeRef,
};
use mkimage::tree::{Content, Device, DeviceKind, File, Metadata, Node, Symlink};

pub const WORDS: &[&str] = &[
    "/",
    "..",
    ".lock",
    "./",
    "//",
    "MiB",
    "KiB",
    "18446744073709551615",
    "g1+3-0.efi",
    "-",
    "~1",
    "^",
    ":/",
];

/// What decodes has one encoding: the bytes that it was decoded from.
pub fn directory(bytes: &[u8]) {
    if let Ok(directory) = StoredDirectory::decode(bytes) {
        assert_eq!(directory.encode(), bytes);
    }
}

/// What decodes has one encoding: the bytes that it was decoded from.
pub fn commit(bytes: &[u8]) {
    if let Ok(commit) = Commit::decode(bytes) {
        assert_eq!(commit.encode(), bytes);
        let _ = (commit.id(), commit.identity());
    }
}

fn tree(text: &str) -> TreeRef {
    TreeRef { id: TreeId(Digest::of(text.as_bytes())), size: text.len() as u64 }
}

pub fn directory_seeds() -> Vec<Vec<u8>> {
    let name = |text: &str| Name::new(text.as_bytes()).expect("a name");
    let mut metadata = Metadata::root(0o4755);
    metadata.xattrs.insert(b"security.capability"[..].into(), [1; 20][..].into());
    metadata.xattrs.insert(b"user.a"[..].into(), b""[..].into());
    let device = |kind| Node::Device(Device { metadata: Metadata::root(0o600), kind, major: 8, minor: 1 });
    let leaves = [
        ("file", Node::File(File { metadata, content: Content::of(b"x") })),
        ("link", Node::Symlink(Symlink { metadata: Metadata::root(0o777), target: b"file"[..].into() })),
        ("character", device(DeviceKind::Character)),
        ("block", device(DeviceKind::Block)),
        ("fifo", Node::Fifo(Metadata::root(0o600))),
        ("socket", Node::Socket(Metadata::root(0o600))),
        ("hard", Node::HardLink(ImagePath::new(b"/a/file").expect("a path"))),
    ];
    let mut entries: BTreeMap<Name, StoredNode> =
        leaves.into_iter().map(|(text, node)| (name(text), StoredNode::Leaf(node))).collect();
    entries.insert(name("directory"), StoredNode::Directory(tree("child")));
    let full = StoredDirectory { metadata: Metadata::root(0o755), entries };
    let empty = StoredDirectory { metadata: Metadata::root(0o755), entries: BTreeMap::new() };
    vec![full.encode(), empty.encode()]
}

pub fn commit_seeds() -> Vec<Vec<u8>> {
    let disk = DiskSpec {
        layout: 1,
        architecture: Architecture::X86_64,
        filesystem: Filesystem::Ext4,
        slot_size: Some(1 << 26),
        uki_size: None,
        data_size: 1 << 26,
        data_path: "/data".to_owned(),
        tries: 3,
    };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let digest = Digest::of(b"input");
    let input = |digest| Input { name: "hello 1.0".to_owned(), digest, size: 3 };
    let commit = Commit {
        tree: tree("root"),
        boot: Some(tree("boot")),
        disk,
        epoch: 1_700_000_000,
        name: "hello".to_owned(),
        version: Some("1.0".to_owned()),
        recipe: vec![("hello.hcl".to_owned(), Content::of(b"image"))],
        variables: BTreeMap::from([pair("a", "1"), pair("b", "2")]),
        lock: Some(Content::of(b"lock")),
        inputs: vec![input(InputDigest::Blake3(digest)), input(InputDigest::Sha256(digest))],
        parents: vec![],
        tool_version: "0.1.0".to_owned(),
        annotations: BTreeMap::from([pair("ports", "80")]),
    };
    let child = Commit { parents: vec![commit.id()], boot: None, lock: None, ..commit.clone() };
    vec![commit.encode(), child.encode()]
}

/// Reads a text as every kind of name; what is one prints as it was read.
pub fn names(bytes: &[u8]) {
    for path in [ImagePath::new(bytes), ImagePath::from_archive(bytes)].into_iter().flatten() {
        assert_eq!(ImagePath::new(path.as_bytes()).as_ref(), Ok(&path));
        let parts = path.names().map(|name| Name::new(name).expect("a path holds names"));
        assert_eq!(parts.fold(ImagePath::root(), |path, name| path.join(&name)), path);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(name) = RefName::new(text) {
        assert_eq!(name.as_str(), text);
        assert!(ImagePath::new(format!("/{text}").as_bytes()).is_ok(), "a ref is a path below its folder");
    }
    if let Some(size) = Bytes::parse(text) {
        assert_eq!(Bytes::parse(&size.0.to_string()), Some(size));
    }
    if let Some(name) = EntryName::parse(text) {
        assert_eq!(EntryName::parse(&name.to_string()), Some(name));
    }
    let _ = text.parse::<Digest>();
    if let Ok(name) = text.parse::<MoveId>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(place) = text.parse::<Place>() {
        assert_eq!(place.revision.to_string().parse::<Revision>().as_ref(), Ok(&place.revision));
    }
}

pub fn name_seeds() -> Vec<Vec<u8>> {
    let id = Digest::of(b"x").to_string();
    let texts = [
        "hello",
        "env/prod~2^3:/etc/x",
        "00000000000000010000002a",
        "a/b/c.d-e_f",
        "/usr/bin/x",
        "./a/b/",
        "64MiB",
        "g7+2-1.efi",
        "inactive.bin",
        &id,
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

//! Objects of foreign OSTree repositories, and what the helper says.

use mkimage::ostree::wire::{self, Answer, Request};
use mkimage::ostree::{Checksum, DirTree, FileHeader, OstreeCommit, encode_dirmeta, parse_dirmeta};
use mkimage::tree::Metadata;

pub const WORDS: &[&str] = &["(ayay)", "a{sv}", "\0", "..", "mkimage.hard-links", "ostree.ref-binding"];

/// Every parser over the same bytes. What is parsed comes back from its own encoding.
pub fn objects(bytes: &[u8]) {
    if let Ok(tree) = DirTree::parse(bytes) {
        assert_eq!(tree.encode(), bytes);
    }
    if let Ok(commit) = OstreeCommit::parse(bytes) {
        assert_eq!(commit.encode(), bytes);
        let _ = commit.text("version");
    }
    if let Ok(metadata) = parse_dirmeta(bytes) {
        assert_eq!(parse_dirmeta(&encode_dirmeta(&metadata)), Ok(metadata));
    }
    if let Some((prefix, header)) = bytes.split_first_chunk::<8>() {
        let _ = FileHeader::announced(prefix);
        if let Ok(header) = FileHeader::parse(header) {
            let again = FileHeader::encode(&header.metadata, header.target.as_deref());
            assert!(FileHeader::parse(&again[8..]).is_ok());
        }
    }
    let mut line = bytes;
    while let Ok(Some(_)) = wire::receive::<Answer>(&mut line) {}
    let mut piece = Vec::new();
    let _ = wire::receive_piece(&mut &*bytes, &mut piece);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut metadata = Metadata { mode: 0o4755, uid: 1000, gid: 1000, ..Metadata::default() };
    metadata.xattrs.insert(b"user.a"[..].into(), b"value"[..].into());
    metadata.xattrs.insert(b"user.b"[..].into(), [7; 300][..].into());
    let sum = |byte: u8| Checksum([byte; 32]);
    let tree = DirTree {
        files: (0..9).map(|number| (format!("file-{number}"), sum(number))).collect(),
        directories: vec![("below".to_owned(), sum(10), sum(11)), ("ä".to_owned(), sum(12), sum(11))],
    };
    let text = |key: &str, value: &str| (key.to_owned(), "s".to_owned(), [value.as_bytes(), b"\0"].concat());
    let commit = OstreeCommit {
        metadata: vec![text("version", "1.0"), text("mkimage.commit", "none")],
        parent: Some(sum(1)),
        related: vec![("other".to_owned(), vec![2; 32])],
        subject: "a subject".to_owned(),
        body: "a body\n".to_owned(),
        seconds: 1_700_000_000,
        tree: sum(3),
        meta: sum(4),
    };
    let mut line = Vec::new();
    wire::send(&mut line, &Answer::Missing { places: vec![1, 2, 3] }).expect("written");
    wire::send(&mut line, &Request::Resolve { name: "os/stable".to_owned() }).expect("written");
    vec![
        tree.encode(),
        DirTree::default().encode(),
        commit.encode(),
        encode_dirmeta(&metadata),
        FileHeader::encode(&metadata, None),
        FileHeader::encode(&metadata, Some("../target")),
        line,
    ]
}

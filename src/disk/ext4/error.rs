use crate::base::path::escaped;
use crate::base::{Bytes, Cancelled, ImagePath};
use crate::tree::ContentError;

/// Says why a tree can't be written as ext4.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    #[error(
        "the files need an ext4 filesystem of {needed}, more than the {size} given; hint: raise the size, or leave it to \"auto\""
    )]
    DoesNotFit { needed: Bytes, size: Bytes },
    #[error("an ext4 filesystem of {size} is larger than the {limit} that are possible")]
    FilesystemTooLarge { size: Bytes, limit: Bytes },
    #[error("the device has {size}, the ext4 filesystem needs {needed}")]
    DeviceTooSmall { needed: Bytes, size: Bytes },
    #[error("the label {:?} has {} bytes, ext4 takes {limit} at most, none of them NUL", escaped(label), label.len())]
    Label { label: Vec<u8>, limit: usize },
    #[error("the epoch {seconds} is outside of what ext4 can store ({first} to {last} seconds since 1970)")]
    Epoch { seconds: i64, first: i64, last: i64 },
    #[error("{path}: a file of {size} bytes is larger than ext4's {limit}")]
    FileTooLarge { path: ImagePath, size: u64, limit: u64 },
    #[error("{path}: {links} names (hard links) of one file, ext4 allows {limit}")]
    TooManyLinks { path: ImagePath, links: u32, limit: u32 },
    #[error("{path}: the directory needs {blocks} blocks of names, its index reaches {limit}")]
    DirectoryTooLarge { path: ImagePath, blocks: u64, limit: u64 },
    #[error(
        "{path}: the extended attributes need {bytes} bytes, ext4 has room for {limit} (in the inode and one block)"
    )]
    AttributesTooLarge { path: ImagePath, bytes: usize, limit: usize },
    #[error(
        "{path}: ext4 can't store the extended attribute {:?}; it knows user.*, trusted.*, security.* and the POSIX ACLs",
        escaped(name)
    )]
    AttributeNamespace { path: ImagePath, name: Box<[u8]> },
    #[error("{path}: the ACL in {:?} is malformed: {problem}", escaped(name))]
    Acl { path: ImagePath, name: Box<[u8]>, problem: String },
    #[error("/lost+found is a {kind}; ext4 needs a directory of that name for its checker")]
    LostAndFound { kind: &'static str },
    #[error("{path}: the map of its zero blocks is wrong: {problem}")]
    Map { path: ImagePath, problem: String },
    #[error("reading the content of {path}")]
    Content {
        path: ImagePath,
        #[source]
        source: ContentError,
    },
    #[error("writing {bytes} bytes of an ext4 filesystem at {offset}")]
    Write {
        offset: u64,
        bytes: usize,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

//! The tree of a filesystem before any file was read: names, kinds, metadata, lengths.
//!
//! A file's content is named by its place until somebody asks for its digest: 27 zero bytes, `01`, and the number
//! of an inode (ext4) or of an entry (FAT), big-endian. That no BLAKE3 digest begins so is as sure as that no two
//! contents have the same. Such names never leave this room: see [`View::tree`](super::View::tree).

use std::collections::{BTreeMap, HashMap};

use crate::base::{BlobId, ImagePath, Name};
use crate::disk::ext4::{Ext4Kind, Ext4Listing};
use crate::disk::fat::Listing;
use crate::tree::{Content, Device, Directory, File, Metadata, Node, Symlink};

/// What was seen of a filesystem.
pub(super) struct Outline {
    pub root: Directory,
    /// When the root was changed, in seconds since 1970.
    pub modified: i64,
    /// When others were, where that differs.
    pub modified_otherwise: BTreeMap<ImagePath, i64>,
}

/// Names a content by its place.
pub(super) fn placed(number: u32, size: u64) -> Content {
    let mut id = [0; 32];
    id[27] = 1;
    id[28..].copy_from_slice(&number.to_be_bytes());
    Content { id: BlobId::from(id), size }
}

/// Returns the place that a content is named by; `None` for a digest.
pub(super) fn place(content: &Content) -> Option<u32> {
    let (head, number) = content.id.as_bytes().split_at(28);
    let is_place = head[27] == 1 && head[..27].iter().all(|&byte| byte == 0);
    is_place.then(|| u32::from_be_bytes(std::array::from_fn(|index| number[index])))
}

/// Makes the tree of an ext4 filesystem. Further names of an inode become links to the first one.
pub(super) fn of_ext4(listing: &Ext4Listing) -> Outline {
    let entries = &listing.entries;
    let root_modified = entries.first().map_or(0, |root| root.modified);
    let mut first: HashMap<u32, usize> = HashMap::new();
    for (position, entry) in entries.iter().enumerate() {
        first.entry(entry.inode).or_insert(position);
    }
    let mut modified_otherwise = BTreeMap::new();
    let mut made: HashMap<usize, Directory> = HashMap::new();
    let mut root = Directory::default();
    for (position, entry) in entries.iter().enumerate().rev() {
        if entry.modified != root_modified {
            modified_otherwise.insert(listing.path(position), entry.modified);
        }
        let metadata = entry.metadata.clone();
        let mut directory = made.remove(&position).unwrap_or_default();
        directory.metadata = metadata.clone();
        let Some(name) = entry.name.clone() else {
            root = directory;
            continue;
        };
        let node = match &entry.kind {
            Ext4Kind::Directory => Node::Directory(directory),
            _ if first[&entry.inode] != position => Node::HardLink(listing.path(first[&entry.inode])),
            Ext4Kind::File(size) => Node::File(File { metadata, content: placed(entry.inode, *size) }),
            Ext4Kind::Symlink(target) => Node::Symlink(Symlink { metadata, target: target.clone() }),
            Ext4Kind::Device(kind, major, minor) => {
                Node::Device(Device { metadata, kind: *kind, major: *major, minor: *minor })
            }
            Ext4Kind::Fifo => Node::Fifo(metadata),
            Ext4Kind::Socket => Node::Socket(metadata),
        };
        made.entry(entry.parent).or_default().entries.insert(name, node);
    }
    forget_lost_and_found(&mut root);
    Outline { root, modified: root_modified, modified_otherwise }
}

/// Takes away the directory that every ext4 filesystem has, where it is as it was made.
fn forget_lost_and_found(root: &mut Directory) {
    let made = Directory { metadata: Metadata::root(0o700), ..Directory::default() };
    if root.entries.get(&b"lost+found"[..]) == Some(&Node::Directory(made)) {
        root.entries.remove(&b"lost+found"[..]);
    }
}

/// Makes the tree of a FAT volume: root's, directories 0755, files 0644, whose numbers are their places in the
/// listing.
pub(super) fn of_fat(listing: &Listing) -> Outline {
    let mut root = Directory::default();
    for (number, entry) in listing.entries.iter().enumerate() {
        let node = match entry.is_directory {
            true => Node::Directory(Directory::default()),
            false => {
                let content = placed(number as u32, entry.size_bytes.into());
                Node::File(File { metadata: Metadata::root(0o644), content })
            }
        };
        let mut names = entry.path.split('/').map(|name| Name::new(name.as_bytes()));
        let path = names.try_fold(ImagePath::root(), |path, name| Some(path.join(&name.ok()?)));
        if let Some(path) = path {
            // FAT refuses what can't be a name, so that nothing is left out here but what stands twice.
            let _ = root.insert(&path, node);
        }
    }
    Outline { root, modified: 0, modified_otherwise: BTreeMap::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_digests_are_told_apart() {
        for number in [0, 1, 12, u32::MAX] {
            assert_eq!(place(&placed(number, 7)), Some(number));
        }
        assert_eq!(place(&Content::of(b"")), None);
        assert_eq!(place(&Content::of(b"x")), None);
    }
}

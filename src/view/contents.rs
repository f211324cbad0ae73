//! The bytes of a view's files, and their digests.

use std::collections::HashMap;

use super::error::{Result, ViewError};
use super::outline::place;
use super::partition::Partition;
use super::view::{Source, View, in_ext4};
use crate::base::job::Unit;
use crate::base::{BlobId, Job};
use crate::disk::BlockDevice;
use crate::disk::ext4::Ext4Reader;
use crate::disk::fat::{Listed, Listing};
use crate::tree::content::PIECE_BYTES;
use crate::tree::{Content, ContentError, ContentSource, DataMap, Directory, File, Node};

impl View<'_> {
    /// Returns a copy of a tree in which each file has its digest. Files are read side by side, the largest first.
    pub(super) fn identify(&self, outline: &Directory, job: &Job) -> Result<Directory> {
        let mut files: Vec<Content> = outline
            .paths()
            .filter_map(|(_, node)| match node {
                Node::File(file) => Some(file.content),
                _ => None,
            })
            .collect();
        files.sort_by_key(|content| std::cmp::Reverse(content.size));
        let total = files.iter().map(|content| content.size).sum();
        let step = job.step(format!("read {}", self.name()), Some(total), Unit::Bytes);
        let digested = job.workers.try_map(files, |content| {
            let digest = self.digest(&content, job)?;
            step.advance(content.size);
            Ok((content, digest))
        });
        let digested: HashMap<Content, Content> =
            digested.map_err(|mut errors: Vec<ViewError>| errors.swap_remove(0))?.into_iter().collect();
        let mut tree = outline.clone();
        // Directories that wait to be visited, not a recursion: depth is a stranger's.
        let mut waiting: Vec<&mut Directory> = vec![&mut tree];
        while let Some(directory) = waiting.pop() {
            for node in directory.entries.values_mut() {
                match node {
                    Node::File(file) => file.content = digested[&file.content],
                    Node::Directory(below) => waiting.push(below),
                    _ => {}
                }
            }
        }
        Ok(tree)
    }

    /// Returns a file's content under its digest; it is read for that where only its place is known.
    pub(super) fn digest(&self, content: &Content, job: &Job) -> Result<Content> {
        if place(content).is_none() {
            return Ok(*content);
        }
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; PIECE_BYTES.min(content.size) as usize];
        let mut at = 0;
        while at < content.size {
            job.check()?;
            let length = PIECE_BYTES.min(content.size - at) as usize;
            self.read_at(content, at, &mut piece[..length])?;
            hasher.update(&piece[..length]);
            at += length as u64;
        }
        Ok(Content { id: BlobId::from(*hasher.finalize().as_bytes()), size: content.size })
    }

    /// Finds the place of a content that is named by its digest.
    fn placed(&self, content: &Content) -> Option<u32> {
        place(content).or_else(|| self.places().get(content).copied())
    }
}

/// Where the files of a whole tree lie, by their digests.
pub(super) fn places(outline: &Directory, whole: &Directory) -> HashMap<Content, u32> {
    let content = |node: &Node| match node {
        Node::File(File { content, .. }) => Some(*content),
        _ => None,
    };
    let both = outline.walk().zip(whole.walk());
    let pairs =
        both.filter_map(|(before, after)| Some((content(after.node)?, place(&content(before.node)?)?)));
    pairs.collect()
}

impl ContentSource for View<'_> {
    fn data_map(&self, content: &Content) -> std::result::Result<DataMap, ContentError> {
        if let Source::Tree { store, .. } | Source::Blob { store, .. } = &self.source {
            return store.data_map(content);
        }
        let mut map = DataMap::default();
        let mut piece = vec![0; PIECE_BYTES.min(content.size) as usize];
        let mut at = 0;
        while at < content.size {
            let length = PIECE_BYTES.min(content.size - at) as usize;
            self.read_at(content, at, &mut piece[..length])?;
            map.scan(at / crate::base::units::BLOCK_BYTES, &piece[..length]);
            at += length as u64;
        }
        Ok(map)
    }

    fn read_at(
        &self,
        content: &Content,
        offset: u64,
        buffer: &mut [u8],
    ) -> std::result::Result<(), ContentError> {
        let damaged = |problem: String| ContentError::Damaged { id: content.id, problem };
        match &self.source {
            Source::Tree { store, .. } | Source::Blob { store, .. } => store.read_at(content, offset, buffer),
            Source::Ext4 { partition, .. } => {
                let inode = self.placed(content).ok_or(ContentError::Missing { id: content.id })?;
                let reader = Ext4Reader::open(partition);
                let read = reader.and_then(|reader| reader.read_inode_at(inode, offset, buffer));
                read.map_err(|error| damaged(whole(&in_ext4(partition, error))))
            }
            Source::Fat { partition, listing, .. } => {
                let number = self.placed(content).ok_or(ContentError::Missing { id: content.id })?;
                let entry = listing.entries.get(number as usize);
                let entry = entry.ok_or(ContentError::Missing { id: content.id })?;
                read_fat(partition, listing, entry, offset, buffer)
                    .map_err(|error| damaged(error.to_string()))
            }
        }
    }

    fn read_all(&self, content: &Content) -> std::result::Result<Vec<u8>, ContentError> {
        if let Source::Tree { store, .. } | Source::Blob { store, .. } = &self.source {
            return store.read_all(content);
        }
        let mut bytes = vec![0; content.size as usize];
        self.read_at(content, 0, &mut bytes)?;
        Ok(bytes)
    }
}

fn whole(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Reads a range of a file of a FAT volume.
fn read_fat(
    device: &Partition,
    listing: &Listing,
    entry: &Listed,
    offset: u64,
    buffer: &mut [u8],
) -> std::io::Result<()> {
    let end = offset.checked_add(buffer.len() as u64);
    if end.is_none_or(|end| end > u64::from(entry.size_bytes)) {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
    }
    let (mut begin, mut done) = (0, 0);
    for extent in &entry.extents {
        let length = u64::from(extent.clusters) * listing.geometry.cluster_bytes();
        let at = offset + done as u64;
        if done < buffer.len() && at < begin + length {
            let from = at - begin;
            let take = (length - from).min((buffer.len() - done) as u64) as usize;
            let place = listing.geometry.cluster_offset(extent.start_cluster) + from;
            device.read_at(place, &mut buffer[done..done + take])?;
            done += take;
        }
        begin += length;
    }
    match done == buffer.len() {
        true => Ok(()),
        false => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
    }
}

//! The bytes of a view's files, and their digests.

use std::collections::HashMap;

use super::error::{Result, ViewError};
use super::outline::place;
use super::stranger::DIGESTS_MAX;
use super::view::{Source, View};
use crate::base::job::Unit;
use crate::base::{BlobId, Job};
use crate::tree::content::PIECE_BYTES;
use crate::tree::{Content, ContentError, ContentSource, DataMap, Directory, File, Node};

/// Bytes of files whose digests are asked for at once, beside the first file: until they are there nothing moves on.
const DIGESTED_BYTES: u64 = 64 << 20;

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
        let mut digested: HashMap<Content, Content> = HashMap::new();
        let mut waiting = &files[..];
        while !waiting.is_empty() {
            job.check()?;
            let mut bytes = 0;
            let some = waiting.iter().take(DIGESTS_MAX).take_while(|content| {
                let is_taken = bytes < DIGESTED_BYTES;
                bytes += content.size;
                is_taken
            });
            let (now, later) = waiting.split_at(some.count());
            digested.extend(now.iter().copied().zip(self.digests(now)?));
            step.advance(now.iter().map(|content| content.size).sum());
            waiting = later;
        }
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

    /// Returns files' contents under their digests; they are read for that where only their places are known.
    pub(super) fn digests(&self, contents: &[Content]) -> Result<Vec<Content>> {
        let Source::Image { stranger, .. } = &self.source else { return Ok(contents.to_vec()) };
        let files: Vec<(u32, u64)> =
            contents.iter().filter_map(|content| Some((place(content)?, content.size))).collect();
        let Some(first) = contents.first().filter(|_| files.len() == contents.len()) else {
            return Ok(contents.to_vec());
        };
        let digests = stranger.digests(&files);
        let digests = digests
            .map_err(|problem| ViewError::from(ContentError::Damaged { id: first.id, problem }))?
            .into_iter();
        Ok(digests
            .zip(contents)
            .map(|(id, content)| Content { id: BlobId::from(id), size: content.size })
            .collect())
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
            Source::Image { stranger, .. } => {
                let place = self.placed(content).ok_or(ContentError::Missing { id: content.id })?;
                stranger.read_at(place, offset, buffer).map_err(damaged)
            }
        }
    }

    fn read_all(&self, content: &Content) -> std::result::Result<Vec<u8>, ContentError> {
        if let Source::Tree { store, .. } | Source::Blob { store, .. } = &self.source {
            return store.read_all(content);
        }
        // Grows with what is there: the size is a stranger's.
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < content.size {
            let have = bytes.len();
            bytes.resize(have + PIECE_BYTES.min(content.size - have as u64) as usize, 0);
            self.read_at(content, have as u64, &mut bytes[have..])?;
        }
        Ok(bytes)
    }
}

//! Objects that come from another store: directories as they are encoded, and files in pieces.

use super::chunk::CHUNK_BYTES;
use super::directory::{DIRECTORY_BYTES_MAX, StoredDirectory, StoredNode, TreeRef};
use super::error::{Kind, Result, StoreError};
use super::transaction::{ContentResult, Stream, Transaction};
use crate::tree::{Content, Node};

impl Transaction<'_> {
    /// Stores one directory. What it holds must have been put before, here or in the store: so nothing gets in
    /// whose closure is not there.
    pub fn put_directory(&self, directory: &StoredDirectory) -> Result<TreeRef> {
        for (name, node) in &directory.entries {
            let (id, size) = match node {
                StoredNode::Directory(tree) => (tree.id.0, tree.size),
                StoredNode::Leaf(Node::File(file)) => (file.content.id.0, file.content.size),
                StoredNode::Leaf(_) => continue,
            };
            self.demand_in(name, id, size)?;
        }
        let encoding = directory.encode();
        if encoding.len() as u64 > DIRECTORY_BYTES_MAX {
            return Err(StoreError::TooLarge { what: "bytes a directory", limit: DIRECTORY_BYTES_MAX });
        }
        let tree = TreeRef::of(&encoding);
        self.put_object(Kind::Tree, &tree.id.0, &encoding)?;
        Ok(tree)
    }

    /// Begins a file whose bytes come in pieces, of any length and with any time between them.
    pub fn begin_file(&self) -> FileInPieces<'_> {
        FileInPieces { transaction: self, stream: Stream::default(), held: Vec::new() }
    }
}

/// A file that comes in pieces. Holds up to a mebibyte. Dropped before [`FileInPieces::finish`], it gives back
/// the room that it took.
pub struct FileInPieces<'a> {
    transaction: &'a Transaction<'a>,
    stream: Stream,
    held: Vec<u8>,
}

impl FileInPieces<'_> {
    /// Adds the next bytes.
    pub fn add(&mut self, mut bytes: &[u8]) -> ContentResult<()> {
        while !bytes.is_empty() {
            let room = CHUNK_BYTES as usize - self.held.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.held.extend_from_slice(now);
            bytes = later;
            if self.held.len() == CHUNK_BYTES as usize {
                self.stream.add(self.transaction.staging()?, &self.held)?;
                self.held.clear();
            }
        }
        Ok(())
    }

    /// Ends the file and returns its name.
    pub fn finish(mut self) -> ContentResult<Content> {
        let staging = self.transaction.staging()?;
        if !self.held.is_empty() {
            self.stream.add(staging, &std::mem::take(&mut self.held))?;
        }
        let (content, record) = std::mem::take(&mut self.stream).finish();
        self.transaction.enter(staging, &content.id.0, record)?;
        Ok(content)
    }
}

impl Drop for FileInPieces<'_> {
    fn drop(&mut self) {
        if let Some(staging) = self.transaction.staged_in() {
            staging.discard(&self.stream.chunks);
        }
    }
}

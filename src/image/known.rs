//! The verity tree of a slot, remembered: an image is a pure function of its commit, so what was computed for a
//! commit once need not be computed again to know which blocks of a slot are right.
//!
//! A memo of the store, in pieces: the digests of the data blocks, one behind the other, a mebibyte in each. The key of a
//! piece is BLAKE3 in derive-key mode over version of mkimage, commit and number.
//!
//! It is believed where this user made it himself, in a store of this machine: whoever could forge it could have an
//! update leave old files where they are, under a root hash that covers them. What can be checked is checked all the
//! same: what is written of the image must be what the tree says, and a release names the root hash.

use std::sync::{Arc, Mutex};

use crate::base::{CommitId, Digest, Job, StepKey};
use crate::disk::verity::VerityTree;
use crate::store::Objects;

/// Domain of the keys.
const CONTEXT: &str = "mkimage 2026 slot digests v1";
/// Longest piece, in bytes: the digests of 128 MiB.
const PIECE_BYTES: usize = 1 << 20;
const DIGEST_BYTES: usize = 32;

/// What is known of the tree, and where it is remembered beyond this process.
#[derive(Default)]
pub struct Known<'a> {
    tree: Mutex<Option<Arc<VerityTree>>>,
    place: Option<(&'a dyn Objects, CommitId)>,
}

impl<'a> Known<'a> {
    /// Remembers where the objects of a commit come from.
    pub fn in_objects(objects: &'a dyn Objects, commit: CommitId) -> Self {
        Known { tree: Mutex::default(), place: Some((objects, commit)) }
    }

    /// Takes a tree that was computed from the contents, and returns it.
    pub fn set(&self, tree: VerityTree) -> Arc<VerityTree> {
        if let Some((objects, commit)) = self.place {
            for (number, piece) in (0..).zip(tree.leaves().chunks(PIECE_BYTES)) {
                objects.remember(&key(&commit, number), piece);
            }
        }
        let tree = Arc::new(tree);
        *self.tree.lock().expect("because setting a tree can't panic") = Some(tree.clone());
        tree
    }

    /// Returns the tree over so many data blocks.
    pub fn tree(&self, data_blocks: u64, salt: &[u8], job: &Job) -> Option<Arc<VerityTree>> {
        let mut tree = self.tree.lock().expect("because taking a tree can't panic");
        if tree.is_none() {
            *tree = self.recall(data_blocks, salt, job).map(Arc::new);
        }
        tree.clone().filter(|tree| tree.data_blocks() == data_blocks)
    }

    fn recall(&self, data_blocks: u64, salt: &[u8], job: &Job) -> Option<VerityTree> {
        let (objects, commit) = self.place?;
        let length = usize::try_from(data_blocks).ok()?.checked_mul(DIGEST_BYTES)?;
        let mut leaves = Vec::new();
        for number in 0..length.div_ceil(PIECE_BYTES) as u64 {
            let piece = objects.recall(&key(&commit, number))?;
            if piece.len() != PIECE_BYTES.min(length - leaves.len()) {
                return None;
            }
            leaves.extend_from_slice(&piece);
        }
        VerityTree::from_leaves(&leaves, salt, job).ok()
    }
}

fn key(commit: &CommitId, number: u64) -> StepKey {
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    let bytes = [&commit.as_bytes()[..], &number.to_le_bytes(), version].concat();
    StepKey(Digest::derive(CONTEXT, &bytes))
}

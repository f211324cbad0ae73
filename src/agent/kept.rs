//! Small contents that the running slot does not hold, and that a later update builds on: what boots beside kernel
//! and initrd, the recipe's texts, the lock.
//!
//! ```text
//! kept/ID = bytes        ID is the BLAKE3 of the bytes; the encoding of a boot tree is one of them
//! ```
//!
//! Nothing here is believed but by its digest, and nothing is missed that is gone: it is fetched again.

use std::collections::BTreeSet;
use std::path::Path;

use super::error::Result;
use crate::base::{BlobId, CommitId, Digest, fs, publish};
use crate::store::{Objects, StoredNode};
use crate::tree::{Content, Node};

/// Longest content that is kept. Kernel and initrd are longer, and in the kernel image.
const CONTENT_BYTES_MAX: u64 = 4 << 20;
const FOLDER: &str = "kept";
/// Contents that are not kept: the slot has them.
const IN_THE_SLOT: [&[u8]; 3] = [b"kernel", b"initrd", b"kernel_version"];

/// Reads all that is kept, as far as it is what its name says.
pub fn read(state: &Path) -> Vec<Vec<u8>> {
    let folder = state.join(FOLDER);
    let names = fs::list(&folder).unwrap_or_default();
    let read = |name: &std::ffi::OsString| {
        let id: Digest = name.to_str()?.parse().ok()?;
        let bytes = fs::read_at_most(&folder.join(name), CONTENT_BYTES_MAX).ok()?;
        (BlobId::of(&bytes).0 == id).then_some(bytes)
    };
    names.iter().filter_map(read).collect()
}

/// Keeps what commits need beside their slots, and nothing else. A commit that is not there whole is left out.
pub fn write(state: &Path, objects: &dyn Objects, commits: &[CommitId]) -> Result<()> {
    let folder = state.join(FOLDER);
    fs::create_directories(&folder)?;
    let there: BTreeSet<String> =
        fs::list(&folder)?.into_iter().filter_map(|name| name.into_string().ok()).collect();
    let mut wanted = BTreeSet::new();
    for commit in commits {
        for bytes in of(objects, commit).unwrap_or_default() {
            let name = BlobId::of(&bytes).to_string();
            if !there.contains(&name) && !wanted.contains(&name) {
                publish::publish_bytes(&folder.join(&name), &bytes)?;
            }
            wanted.insert(name);
        }
    }
    for name in there.difference(&wanted) {
        fs::remove_file(&folder.join(name))?;
    }
    Ok(())
}

/// Returns the contents of a commit that its slot does not hold.
fn of(objects: &dyn Objects, commit: &CommitId) -> Result<Vec<Vec<u8>>> {
    let commit = objects.read_commit(commit)?;
    let mut contents: Vec<Content> = commit.recipe.iter().map(|(_, content)| *content).collect();
    contents.extend(commit.lock);
    let mut kept = Vec::new();
    if let Some(boot) = &commit.boot {
        let directory = objects.read_directory(boot)?;
        kept.push(directory.encode());
        contents.extend(directory.entries.iter().filter_map(|(name, node)| match node {
            StoredNode::Leaf(Node::File(file)) if !IN_THE_SLOT.contains(&name.as_bytes()) => {
                Some(file.content)
            }
            _ => None,
        }));
    }
    for content in contents.into_iter().filter(|content| content.size <= CONTENT_BYTES_MAX) {
        kept.push(objects.read_all(&content).map_err(crate::store::StoreError::from)?);
    }
    Ok(kept)
}

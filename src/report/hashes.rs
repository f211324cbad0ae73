//! SHA-1 and SHA-256 of contents: what the documents of others name files by.

use std::collections::{BTreeSet, HashMap};

use sha2::Digest as _;

use super::error::Result;
use crate::base::Job;
use crate::base::job::Unit;
use crate::tree::content::PIECE_BYTES;
use crate::tree::{Content, ContentError, ContentSource};

/// Digests of one content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hashes {
    pub sha1: [u8; 20],
    pub sha256: [u8; 32],
}

/// Hashes each content once, on all workers, the largest first. Holds a mebibyte a worker.
pub fn of(
    contents: impl Iterator<Item = Content>,
    source: &dyn ContentSource,
    job: &Job,
) -> Result<HashMap<Content, Hashes>> {
    let unique: BTreeSet<Content> = contents.collect();
    let mut unique: Vec<Content> = unique.into_iter().collect();
    unique.sort_by_key(|content| (std::cmp::Reverse(content.size), content.id));
    let total = unique.iter().map(|content| content.size).sum();
    let step = job.step("hash the files", Some(total), Unit::Bytes);
    let hashed = job.workers.try_map(unique, |content| -> Result<_> {
        let hashes = hash(&content, source, job)?;
        step.advance(content.size);
        Ok((content, hashes))
    });
    let mut errors = match hashed {
        Ok(hashed) => return Ok(hashed.into_iter().collect()),
        Err(errors) => errors.into_iter(),
    };
    Err(errors.next().expect("because a failure has an error"))
}

fn hash(content: &Content, source: &dyn ContentSource, job: &Job) -> Result<Hashes> {
    let (mut sha1, mut sha256) = (sha1::Sha1::new(), sha2::Sha256::new());
    let mut piece = vec![0; content.size.min(PIECE_BYTES) as usize];
    let mut offset = 0;
    while offset < content.size {
        job.check().map_err(ContentError::from)?;
        let length = (content.size - offset).min(PIECE_BYTES) as usize;
        source.read_at(content, offset, &mut piece[..length])?;
        sha1.update(&piece[..length]);
        sha256.update(&piece[..length]);
        offset += length as u64;
    }
    Ok(Hashes { sha1: sha1.finalize().into(), sha256: sha256.finalize().into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::hex;
    use crate::tree::{ContentSink, MemoryContents};

    #[test]
    fn digests_are_those_of_everybody() {
        let contents = MemoryContents::default();
        let abc = contents.put(b"abc").expect("put");
        let empty = contents.put(b"").expect("put");
        let large = contents.put(&vec![b'a'; 3_000_001]).expect("put");
        let hashed = of([abc, empty, abc, large].into_iter(), &contents, &Job::quiet(2)).expect("hashed");
        assert_eq!(hashed.len(), 3);
        assert_eq!(hex(&hashed[&abc].sha1), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(&hashed[&empty].sha1), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        let whole: [u8; 32] = sha2::Sha256::digest(vec![b'a'; 3_000_001]).into();
        assert_eq!(hashed[&large].sha256, whole);
    }
}

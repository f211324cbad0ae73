//! What verifying proved of bytes, so that comparing need not read them again.
//!
//! Two proofs of a slot stand beside each other. A verity tree that was checked from its root hash down to every block of data:
//! where two such trees have the same salt, equal digests mean equal blocks, all that hangs below them too, and
//! only what differs on the way down is read. And the id of each file, which was computed of the bytes that stand where
//! its extents say: where two images have the same file at the same place, they have the same bytes there, whatever
//! salt their commits gave their trees. What was seen to be zeros in both is equal, too.
//!
//! A proof is of the bytes as they were read. It never leaves the process that read them.

use std::collections::HashMap;

use super::error::Result;
use super::report::Report;
use crate::base::Job;
use crate::base::units::BLOCK_BYTES;
use crate::boot::command_line::VerityRoot;
use crate::disk::ext4::Ext4Extent;
use crate::disk::{BlockDevice, Window, verity};
use crate::tree::Content;

/// What was proved of an image.
#[derive(Clone, Debug, Default)]
pub struct Proofs {
    pub slots: Vec<Proof>,
    /// Ranges without any byte but zero: begin, end.
    pub zeros: Vec<(u64, u64)>,
}

/// What was proved of a slot.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Where its partition begins in the image, and its length, in bytes.
    pub base: u64,
    pub bytes: u64,
    /// The verity tree, where it and all the data below it were found to be right.
    pub verity: Option<VerityRoot>,
    pub files: Vec<ProvenFile>,
    /// Whether the last block of each file holds zeros behind its end.
    pub ends_in_zeros: bool,
}

/// A file by what it holds, and where that stands.
#[derive(Clone, Debug)]
pub struct ProvenFile {
    pub content: Content,
    pub extents: Vec<Ext4Extent>,
}

/// An image, and what verifying it has proved.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    pub device: &'a dyn BlockDevice,
    pub proofs: Option<&'a Proofs>,
}

impl<'a> Side<'a> {
    /// Takes an image of which nothing is known: every byte of it is read.
    pub fn unread(device: &'a dyn BlockDevice) -> Self {
        Side { device, proofs: None }
    }

    /// Takes an image with what its report proves.
    pub fn verified(device: &'a dyn BlockDevice, report: &'a Report) -> Self {
        Side { device, proofs: Some(&report.proofs) }
    }
}

/// Returns what is left to compare of the first `common` bytes: offsets and lengths, ascending. Costs reading the
/// blocks of the verity trees that differ.
pub fn unproven(a: Side<'_>, b: Side<'_>, common: u64, job: &Job) -> Result<Vec<(u64, u64)>> {
    let (Some(one), Some(other)) = (a.proofs, b.proofs) else { return Ok(without(common, &[])) };
    let mut equal = Vec::new();
    let zeros = one.zeros.iter().flat_map(|one| other.zeros.iter().map(move |other| (one, other)));
    equal.extend(zeros.map(|(one, other)| (one.0.max(other.0), one.1.min(other.1))));
    let slots = one.slots.iter().flat_map(|one| other.slots.iter().map(move |other| (one, other)));
    for (one, other) in slots {
        job.check()?;
        if one.base != other.base {
            continue;
        }
        match (&one.verity, &other.verity) {
            (Some(one_root), Some(other_root)) if is_comparable(one_root, other_root) => {
                equal.extend(by_tree((a, one, one_root), (b, other, other_root), job)?);
            }
            _ => equal.extend(by_files(one, other)),
        }
    }
    equal.retain(|(begin, end)| begin < end);
    equal.sort_unstable();
    Ok(without(common, &equal))
}

/// Digests say something of each other where salt and form of the trees are the same.
fn is_comparable(one: &VerityRoot, other: &VerityRoot) -> bool {
    one.salt == other.salt
        && one.data_blocks == other.data_blocks
        && one.hash_start_block == other.hash_start_block
}

type Rooted<'a> = (Side<'a>, &'a Proof, &'a VerityRoot);

fn window<'a>((side, proof, _): Rooted<'a>) -> Result<Window<'a>> {
    super::slot::window(side.device, proof.base, proof.bytes)
}

/// Goes down both trees where they differ. Returns ranges of the image that are equal: begin, end.
fn by_tree(one: Rooted<'_>, other: Rooted<'_>, job: &Job) -> Result<Vec<(u64, u64)>> {
    let windows: [Window<'_>; 2] = [window(one)?, window(other)?];
    let (base, root) = (one.1.base, one.2);
    let tree = root.hash_start_block * BLOCK_BYTES;
    let differing = verity::differing_blocks(
        [&windows[0], &windows[1]],
        root.data_blocks,
        tree,
        [&one.2.root_hash, &other.2.root_hash],
        job,
    )?;
    let parts = [(0, root.data_blocks * BLOCK_BYTES), (tree, tree + verity::tree_bytes(root.data_blocks))];
    let mut equal = Vec::new();
    for (begin, end) in parts {
        let mut at = begin;
        for block in differing.iter().map(|block| block * BLOCK_BYTES).filter(|at| (begin..end).contains(at))
        {
            equal.push((base + at, base + block));
            at = block + BLOCK_BYTES;
        }
        equal.push((base + at, base + end));
    }
    Ok(equal)
}

/// Returns the ranges of files that both have at the same place; blocks that a file does not fill only where the rest of
/// them is known.
fn by_files(one: &Proof, other: &Proof) -> Vec<(u64, u64)> {
    let first = |file: &ProvenFile| file.extents.first().map(|extent| extent.physical);
    let known: HashMap<(Content, Option<u64>), &ProvenFile> =
        other.files.iter().map(|file| ((file.content, first(file)), file)).collect();
    let same = one.files.iter().filter(|file| {
        known.get(&(file.content, first(file))).is_some_and(|other| other.extents == file.extents)
    });
    let ends_in_zeros = one.ends_in_zeros && other.ends_in_zeros;
    same.flat_map(|file| {
        let size = file.content.size;
        let full = if ends_in_zeros { size.div_ceil(BLOCK_BYTES) } else { size / BLOCK_BYTES };
        file.extents.iter().map(move |extent| {
            let blocks = u64::from(extent.length).min(full.saturating_sub(extent.logical.into()));
            let begin = one.base + extent.physical * BLOCK_BYTES;
            (begin, begin + blocks * BLOCK_BYTES)
        })
    })
    .collect()
}

/// Returns the rest of a length between ascending ranges, as offsets and lengths.
fn without(length: u64, ranges: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let (mut rest, mut at) = (Vec::new(), 0);
    for &(begin, end) in ranges {
        let begin = begin.min(length);
        if begin > at {
            rest.push((at, begin - at));
        }
        at = at.max(end.min(length));
    }
    if at < length {
        rest.push((at, length - at));
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_lies_between_what_is_proved() {
        assert_eq!(without(100, &[]), [(0, 100)]);
        assert_eq!(without(100, &[(0, 10), (5, 20), (7, 9), (20, 20), (90, 200)]), [(20, 70)]);
        assert_eq!(without(100, &[(10, 20), (100, 120), (130, 140)]), [(0, 10), (20, 80)]);
        assert!(without(0, &[(0, 5)]).is_empty());
    }

    #[test]
    fn a_file_counts_where_place_and_content_are_the_same_and_its_last_block_only_where_it_is_known() {
        let extent = |logical, physical, length| Ext4Extent { logical, physical, length };
        let file = |text: &[u8], extents: &[Ext4Extent]| ProvenFile {
            content: Content { size: 9000, ..Content::of(text) },
            extents: extents.to_vec(),
        };
        let proof = |files: Vec<ProvenFile>| Proof {
            base: 1 << 20,
            bytes: 1 << 20,
            verity: None,
            files,
            ends_in_zeros: false,
        };
        let one =
            proof(vec![file(b"a", &[extent(0, 10, 1), extent(1, 20, 2)]), file(b"b", &[extent(0, 5, 3)])]);
        let block = |number: u64| (1 << 20) + number * BLOCK_BYTES;
        assert_eq!(
            by_files(&one, &one),
            [(block(10), block(11)), (block(20), block(21)), (block(5), block(7)),]
        );
        let known = Proof { ends_in_zeros: true, ..one.clone() };
        assert_eq!(by_files(&known, &one), by_files(&one, &one));
        assert_eq!(by_files(&known, &known)[1..], [(block(20), block(22)), (block(5), block(8))]);
        let moved =
            proof(vec![file(b"a", &[extent(0, 10, 1), extent(1, 21, 2)]), file(b"b", &[extent(0, 6, 3)])]);
        assert!(by_files(&one, &moved).is_empty());
        let other = proof(vec![file(b"c", &[extent(0, 5, 3)])]);
        assert!(by_files(&one, &other).is_empty());
    }
}

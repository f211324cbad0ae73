//! One pass over a slot's filesystem: each block is read once, and feeds the verity digests and, where it belongs
//! to a file, the file's id. Pieces of a mebibyte, so that one large file keeps all workers busy.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use blake3::hazmat::{HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

use super::error::Result;
use super::expected::{PIECE_BYTES, read};
use super::report::{Finding, Findings};
use crate::base::job::{Step, Unit};
use crate::base::units::BLOCK_BYTES;
use crate::base::{BlobId, Job};
use crate::disk::BlockDevice;
use crate::disk::ext4::{Ext4Extent, Ext4Kind, Ext4Listing, Ext4ReadError, Ext4Reader};
use crate::disk::verity::CheckedTree;
use crate::tree::Content;
use crate::tree::content::is_zero;

/// What a block that is not as its verity tree says is found in.
pub const VERITY: &str = "verity";

const BLOCK: usize = BLOCK_BYTES as usize;
const PIECE_BLOCKS: u64 = PIECE_BYTES / BLOCK_BYTES;

/// A file of the filesystem: where its bytes stand.
pub struct FileMap {
    pub inode: u32,
    /// Position of its first name in the listing.
    pub entry: usize,
    pub size: u64,
    pub extents: Vec<Ext4Extent>,
}

/// What stands where in a filesystem, of whose files no two share a block.
pub struct Map {
    pub blocks: u64,
    pub files: Vec<FileMap>,
    /// Runs of blocks that belong to no file: first, count.
    pub rest: Vec<(u64, u64)>,
}

/// Files may be this many times as long as the filesystem, with their holes, and this much longer.
const HOLES_TIMES: u64 = 8;
const HOLES_BYTES: u64 = 1 << 30;

impl Map {
    /// Maps the files of a listing. The error says what no filesystem of ours has.
    pub fn new(
        reader: &Ext4Reader<'_>,
        listing: &Ext4Listing,
        job: &Job,
    ) -> std::result::Result<Self, Ext4ReadError> {
        let mut first = HashMap::new();
        for (position, entry) in listing.entries.iter().enumerate() {
            if matches!(entry.kind, Ext4Kind::File(_)) {
                first.entry(entry.inode).or_insert(position);
            }
        }
        let mut positions: Vec<usize> = first.into_values().collect();
        positions.sort_unstable();
        let mapped = job.workers.try_map(positions, |position| {
            let entry = &listing.entries[position];
            let Ext4Kind::File(size) = entry.kind else { unreachable!("because only files were taken") };
            let extents = reader.extents(entry)?;
            Ok(FileMap { inode: entry.inode, entry: position, size, extents })
        });
        let files = mapped.map_err(|mut errors: Vec<Ext4ReadError>| errors.swap_remove(0))?;
        let blocks = reader.facts().blocks.0;
        let rest = rest(blocks, &files)?;
        Ok(Map { blocks, files, rest })
    }
}

/// Returns what belongs to no file. Two files that share a block, extents behind a file's end, and holes without
/// end are faults: with them the work would not be bounded by the device.
fn rest(blocks: u64, files: &[FileMap]) -> std::result::Result<Vec<(u64, u64)>, Ext4ReadError> {
    let damaged = |file: &FileMap, problem: String| {
        Err(Ext4ReadError::Damaged { what: "inode", number: file.inode.into(), problem })
    };
    let mut total = 0u64;
    let limit = blocks.saturating_mul(BLOCK_BYTES * HOLES_TIMES).saturating_add(HOLES_BYTES);
    let mut used: Vec<(u64, u64, &FileMap)> = Vec::new();
    for file in files {
        total = total.saturating_add(file.size);
        if total > limit {
            return damaged(file, format!("the files have more than {limit} bytes, with their holes"));
        }
        let end = file.size.div_ceil(BLOCK_BYTES);
        if let Some(last) = file.extents.last()
            && u64::from(last.logical) + u64::from(last.length) > end
        {
            return damaged(file, format!("its blocks pass its end at {} bytes", file.size));
        }
        used.extend(file.extents.iter().map(|extent| (extent.physical, u64::from(extent.length), file)));
    }
    used.sort_unstable_by_key(|run| run.0);
    let (mut rest, mut at) = (Vec::new(), 0);
    for (first, count, file) in used {
        if first < at {
            return damaged(file, format!("its block at {first} belongs to another file too"));
        }
        if first > at {
            rest.push((at, first - at));
        }
        at = first + count;
    }
    if at < blocks {
        rest.push((at, blocks - at));
    }
    Ok(rest)
}

enum Piece {
    /// A mebibyte of a file, from this one on.
    File { file: usize, piece: u64 },
    /// Blocks that belong to no file.
    Rest { first: u64, count: u64 },
}

struct Pass<'a> {
    device: &'a dyn BlockDevice,
    /// Where the device begins in the image.
    base: u64,
    map: &'a Map,
    listing: &'a Ext4Listing,
    verity: Option<&'a CheckedTree<'a>>,
    /// Position of each file's first digest.
    firsts: Vec<usize>,
    digests: Vec<OnceLock<[u8; 32]>>,
    findings: &'a Findings,
    step: Step,
    spare: Mutex<Vec<Vec<u8>>>,
}

/// Reads every block once and returns the content of each inode. Blocks that are not what the verity tree says are
/// findings, with the file that they touch. Without a tree only the files' ids are found.
pub fn run(
    device: &dyn BlockDevice,
    base: u64,
    map: &Map,
    listing: &Ext4Listing,
    verity: Option<&CheckedTree<'_>>,
    findings: &Findings,
    job: &Job,
) -> Result<HashMap<u32, Content>> {
    let mut firsts = Vec::with_capacity(map.files.len());
    let mut count = 0;
    for file in &map.files {
        firsts.push(count);
        count += pieces(file.size) as usize;
    }
    let digests = (0..count).map(|_| OnceLock::new()).collect();
    let step = job.step("check the slot", Some(map.blocks * BLOCK_BYTES), Unit::Bytes);
    let spare = Mutex::default();
    let pass = Pass { device, base, map, listing, verity, firsts, digests, findings, step, spare };
    let files = map.files.iter().enumerate();
    let files =
        files.flat_map(|(file, map)| (0..pieces(map.size)).map(move |piece| Piece::File { file, piece }));
    let rest = map.rest.iter().flat_map(|&(first, count)| {
        (0..count).step_by(PIECE_BLOCKS as usize).map(move |at| {
            let count = PIECE_BLOCKS.min(count - at);
            Piece::Rest { first: first + at, count }
        })
    });
    job.workers.for_each(rest.chain(files), |piece| {
        job.check()?;
        pass.with_buffer(|buffer| match piece {
            Piece::File { file, piece } => pass.file(file, piece, buffer),
            Piece::Rest { first, count } => pass.rest(first, count, buffer),
        })
    })?;
    Ok(pass.contents())
}

/// Returns how many pieces a file has: one at least, as an empty file has an id too.
fn pieces(size: u64) -> u64 {
    size.div_ceil(PIECE_BYTES).max(1)
}

impl Pass<'_> {
    fn with_buffer(&self, work: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
        let taken = self.spare.lock().expect("because taking a buffer can't panic").pop();
        let mut buffer = taken.unwrap_or_else(|| vec![0; PIECE_BYTES as usize]);
        work(&mut buffer)?;
        self.spare.lock().expect("because giving a buffer back can't panic").push(buffer);
        Ok(())
    }

    fn rest(&self, first: u64, count: u64, buffer: &mut [u8]) -> Result<()> {
        let bytes = &mut buffer[..(count * BLOCK_BYTES) as usize];
        read(self.device, first * BLOCK_BYTES, bytes)?;
        self.step.advance(bytes.len() as u64);
        self.check(first, bytes, None)
    }

    fn file(&self, file: usize, piece: u64, buffer: &mut [u8]) -> Result<()> {
        let map = &self.map.files[file];
        let start = piece * PIECE_BYTES;
        let length = PIECE_BYTES.min(map.size - start) as usize;
        let blocks = &mut buffer[..length.next_multiple_of(BLOCK)];
        let first_block = (start / BLOCK_BYTES) as u32;
        let end_block = first_block + (blocks.len() / BLOCK) as u32;
        let skip = map.extents.partition_point(|extent| extent.logical + extent.length <= first_block);
        let own = map.extents[skip..].iter().take_while(|extent| extent.logical < end_block);
        let mut filled = 0;
        for extent in own {
            let from = extent.logical.max(first_block);
            let to = (extent.logical + extent.length).min(end_block);
            let range = (from - first_block) as usize * BLOCK..(to - first_block) as usize * BLOCK;
            blocks[filled..range.start].fill(0);
            filled = range.end;
            let physical = extent.physical + u64::from(from - extent.logical);
            let bytes = &mut blocks[range];
            read(self.device, physical * BLOCK_BYTES, bytes)?;
            self.step.advance(bytes.len() as u64);
            self.check(physical, bytes, Some(map))?;
            self.check_zeros(physical, bytes, map);
        }
        blocks[filled..].fill(0);
        if blocks[length..].iter().any(|&byte| byte != 0) {
            self.found(map, map.extents.last().map_or(0, |last| last.physical), "bytes stand behind its end");
        }
        let digest = digest(&blocks[..length], start, map.size);
        self.digests[self.firsts[file] + piece as usize].set(digest).expect("because each piece comes once");
        Ok(())
    }

    /// A block of zeros is left out where we write: one that has a place is none of ours.
    fn check_zeros(&self, physical: u64, bytes: &[u8], map: &FileMap) {
        for (block, number) in bytes.chunks_exact(BLOCK).zip(physical..) {
            if is_zero(block) {
                self.found(map, number, "a block of zeros has a place, where we leave a hole");
            }
        }
    }

    fn check(&self, first: u64, blocks: &[u8], file: Option<&FileMap>) -> Result<()> {
        let Some(verity) = self.verity else { return Ok(()) };
        let mut done = 0;
        while let Some((block, expected, found)) =
            verity.first_fault(first + done, &blocks[done as usize * BLOCK..])?
        {
            self.findings.add(Finding {
                structure: VERITY.to_owned(),
                field: Some(format!("data block {block}")),
                path: file.map(|file| self.listing.path(file.entry).to_string()),
                offset: self.base + block * BLOCK_BYTES,
                problem: format!("its digest is {found}, the tree has {expected}"),
            });
            done = block + 1 - first;
            if done as usize * BLOCK >= blocks.len() {
                break;
            }
        }
        Ok(())
    }

    fn found(&self, map: &FileMap, block: u64, problem: &str) {
        self.findings.add(Finding {
            structure: "ext4".to_owned(),
            field: Some(format!("inode {}", map.inode)),
            path: Some(self.listing.path(map.entry).to_string()),
            offset: self.base + block * BLOCK_BYTES,
            problem: problem.to_owned(),
        });
    }

    fn contents(&self) -> HashMap<u32, Content> {
        let digests = |first: usize, count: u64| -> Vec<[u8; 32]> {
            let own = &self.digests[first..first + count as usize];
            own.iter().map(|digest| *digest.get().expect("because every piece was done")).collect()
        };
        let file = |(map, &first): (&FileMap, &usize)| {
            let id = BlobId::from(root(&digests(first, pieces(map.size)), map.size));
            (map.inode, Content { id, size: map.size })
        };
        self.map.files.iter().zip(&self.firsts).map(file).collect()
    }
}

/// Hashes a piece: as a whole where the file has no other, else as the part of the tree that it is.
fn digest(bytes: &[u8], start: u64, size: u64) -> [u8; 32] {
    if size <= PIECE_BYTES {
        return *blake3::hash(bytes).as_bytes();
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start);
    hasher.update(bytes);
    hasher.finalize_non_root()
}

/// Joins the digests of the pieces of a file to the file's id (BLAKE3 §2.1).
fn root(pieces: &[[u8; 32]], size: u64) -> [u8; 32] {
    if let [only] = pieces {
        return *only;
    }
    let (left, right) = halves(pieces, size);
    *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
}

fn halves(pieces: &[[u8; 32]], size: u64) -> ([u8; 32], [u8; 32]) {
    let left = left_subtree_len(size);
    let (first, second) = pieces.split_at((left / PIECE_BYTES) as usize);
    (part(first, left), part(second, size - left))
}

/// Joins what is not the whole file. The depth is the logarithm of the number of pieces.
fn part(pieces: &[[u8; 32]], size: u64) -> [u8; 32] {
    if let [only] = pieces {
        return *only;
    }
    let (left, right) = halves(pieces, size);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_id_of_the_whole() {
        let mib = PIECE_BYTES as usize;
        let bytes: Vec<u8> = (0..5 * mib + 4097).map(|at| ((at * 7) >> 3) as u8).collect();
        for size in
            [0, 1, 4096, mib - 1, mib, mib + 1, 2 * mib, 2 * mib + 1, 3 * mib, 4 * mib, 5 * mib + 4097]
        {
            let own = &bytes[..size];
            let chunks = own.chunks(mib).enumerate();
            let mut digests: Vec<[u8; 32]> =
                chunks.map(|(at, piece)| digest(piece, (at * mib) as u64, size as u64)).collect();
            if size == 0 {
                digests.push(digest(&[], 0, 0));
            }
            assert_eq!(digests.len() as u64, pieces(size as u64));
            assert_eq!(root(&digests, size as u64), *blake3::hash(own).as_bytes(), "{size} bytes");
        }
    }

    fn file(inode: u32, size: u64, extents: &[(u32, u32, u64)]) -> FileMap {
        let extent =
            |&(logical, length, physical): &(u32, u32, u64)| Ext4Extent { logical, length, physical };
        FileMap { inode, entry: 0, size, extents: extents.iter().map(extent).collect() }
    }

    #[test]
    fn what_no_file_has_is_the_rest_and_nothing_is_shared() {
        let files = [file(11, 8192, &[(0, 2, 5)]), file(12, 4096 * 9, &[(0, 1, 1), (8, 1, 9)])];
        assert_eq!(rest(12, &files).expect("apart"), [(0, 1), (2, 3), (7, 2), (10, 2)]);
        let shared = [file(11, 8192, &[(0, 2, 5)]), file(12, 4096, &[(0, 1, 6)])];
        assert!(rest(12, &shared).is_err());
        assert!(rest(12, &[file(11, 4096, &[(0, 2, 5)])]).is_err(), "blocks behind the end");
        assert!(rest(12, &[file(11, 1 << 40, &[(0, 1, 5)])]).is_err(), "holes without end");
    }
}

//! The front of a bundle: what is in it and where.
//!
//! ```text
//! bundle  = "MKBUNDL" version u8   plain u32   stored u32   table[stored]
//!                                                         the prefix: BLAKE3 of it is the bundle's id
//!           delta frame*   fresh frame*   twin frame*   id[32]*       ids of all objects in their order
//! table   = zstd frame of plain bytes, or the bytes where stored = plain:
//!           salt                                          from version 2 on: any number, so that the same
//!                                                         contents can have another id
//!           bases, id[32]*                                the commits that deltas are made from
//!           blobs   trees   commits                       objects stand in this order
//!           size*                                         one an object
//!           deltas, (gap, base)*                          objects with a delta: how many lie between; 0 for
//!                                                         no base, else 1 + its number in the bases' closure
//!           frames, (plain, stored, digest[32])*          fresh: objects without a delta
//!           frames, (plain, stored, digest[32])*          twin: objects with one, plain
//!           frames, (objects, stored, digest[32])*        delta; from version 2 on also, with objects = 0,
//!                   (0, plain, stored, digest[32])        a piece of the next object: a patch of `large`
//!           digest[32]                                    of the ids
//! ```
//!
//! Fixed-width integers are little-endian, the others LEB128 in their shortest form. A plain frame is a zstd
//! frame, or the bytes where stored = plain. It holds whole objects in their order, or a piece of one; files
//! and directories don't share a frame, and no twin frame goes across the border of a delta frame. An empty
//! file needs no frame. The digests are of stored bytes: nothing is decoded before it is right.
//!
//! A bundle is written in the lowest version that can hold it: 1, unless it has pieces of large files or a salt. A
//! reader refuses versions that it does not know by their number.

use std::ops::Range;

use super::closure::ObjectName;
use super::error::{BundleError, Result};
use super::varint::{Input, Output};
use crate::base::{CommitId, Digest};
use crate::store::{COMMIT_BYTES_MAX, DIRECTORY_BYTES_MAX, Kind};

pub(super) const MAGIC: &[u8; 7] = b"MKBUNDL";
/// Newest version of the format.
const VERSION: u8 = 2;
pub(super) const HEADER_BYTES: u64 = 16;
/// Longest table, in plain bytes: some ten million objects.
pub(super) const TABLE_BYTES_MAX: u64 = 64 << 20;
/// Most plain bytes of a frame: an object up to this length has one of its own, or shares it.
pub(super) const FRAME_BYTES_MAX: u64 = 8 << 20;
/// Most plain bytes that one delta frame makes: what a receiver holds in memory for it, besides a base.
pub(super) const DELTA_BYTES_MAX: u64 = 64 << 20;
const BLOB_BYTES_MAX: u64 = 1 << 52;
const BASES_MAX: u64 = 64;

type Parsed<T> = std::result::Result<T, String>;

/// A stored frame: where it lies in the file, and what it makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub offset: u64,
    /// Length in the file.
    pub stored: u64,
    /// Plain length. Of a delta frame: of all objects that it makes.
    pub plain: u64,
    pub digest: Digest,
    /// Places in the section's list of objects.
    pub objects: Range<usize>,
    /// Where in its object a piece begins. A frame of whole objects has 0.
    pub skip: u64,
    /// A delta frame that makes a piece of a large file.
    pub is_patch: bool,
}

/// One of the sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Section {
    Delta,
    Fresh,
    Twin,
}

/// What is in a bundle and where.
pub struct Table {
    pub(super) id: Digest,
    pub(super) salt: u64,
    pub(super) bases: Vec<CommitId>,
    pub(super) blobs: usize,
    pub(super) trees: usize,
    pub(super) sizes: Vec<u64>,
    /// Objects with a delta, ascending, and the number of the base.
    pub(super) deltas: Vec<(u32, Option<u32>)>,
    /// Objects of the fresh and of the twin section, ascending.
    pub(super) fresh_objects: Vec<u32>,
    pub(super) twin_objects: Vec<u32>,
    pub(super) delta: Vec<Frame>,
    pub(super) fresh: Vec<Frame>,
    pub(super) twin: Vec<Frame>,
    pub(super) ids: Digest,
    pub(super) table_bytes: u64,
    pub(super) file_bytes: u64,
}

impl Table {
    /// Reads the front of a bundle, which must have this id.
    pub fn parse(prefix: &[u8], id: &Digest) -> Result<Table> {
        let found = Digest::of(prefix);
        if found != *id {
            return Err(BundleError::OtherTable { expected: *id, found });
        }
        let malformed = |problem| BundleError::Table { id: *id, problem };
        let (version, plain) = unpack(prefix).map_err(&malformed)?;
        parse(*id, version, &plain, prefix.len() as u64).map_err(&malformed)
    }

    /// Returns the bundle's id.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// Returns the commits that the deltas are made from, and whose objects the bundle leaves out.
    pub fn bases(&self) -> &[CommitId] {
        &self.bases
    }

    /// Returns how many objects there are.
    pub fn objects(&self) -> usize {
        self.sizes.len()
    }

    /// Returns the plain length of all objects, in bytes.
    pub fn plain_bytes(&self) -> u64 {
        self.sizes.iter().fold(0, |sum, size| sum.saturating_add(*size))
    }

    /// Returns the length of the whole file, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Returns where the ids of the objects lie. Only who wants to leave out single objects reads them.
    pub fn ids_range(&self) -> Range<u64> {
        self.file_bytes - 32 * self.sizes.len() as u64..self.file_bytes
    }

    /// Reads the bytes of [`Table::ids_range`].
    pub fn read_ids(&self, bytes: &[u8]) -> Result<Vec<ObjectName>> {
        let found = Digest::of(bytes);
        if found != self.ids || bytes.len() != self.sizes.len() * 32 {
            let problem = format!("the digest of its ids is {found}, expected {}", self.ids);
            return Err(BundleError::Damaged { id: self.id, problem });
        }
        let names = bytes.chunks_exact(32).enumerate().map(|(number, id)| ObjectName {
            kind: self.kind(number as u32),
            id: Digest(id.try_into().expect("because these are chunks of 32")),
            size: self.sizes[number],
        });
        Ok(names.collect())
    }

    pub(super) fn kind(&self, number: u32) -> Kind {
        match number as usize {
            number if number < self.blobs => Kind::Blob,
            number if number < self.blobs + self.trees => Kind::Tree,
            _ => Kind::Commit,
        }
    }

    pub(super) fn frames(&self, section: Section) -> &[Frame] {
        match section {
            Section::Delta => &self.delta,
            Section::Fresh => &self.fresh,
            Section::Twin => &self.twin,
        }
    }

    /// Returns the objects of a section in their order.
    pub(super) fn list(&self, section: Section) -> &[u32] {
        match section {
            Section::Fresh => &self.fresh_objects,
            Section::Twin => &self.twin_objects,
            Section::Delta => &self.twin_objects,
        }
    }
}

fn unpack(prefix: &[u8]) -> Parsed<(u8, Vec<u8>)> {
    let header = prefix.get(..HEADER_BYTES as usize).ok_or("it ends in its header")?;
    let version = header[7];
    if &header[..7] != MAGIC {
        return Err("it has no magic".to_owned());
    }
    if !(1..=VERSION).contains(&version) {
        return Err(format!("its format has version {version}, and this program reads 1 to {VERSION}"));
    }
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (plain, stored) = (u64::from(number(8)), u64::from(number(12)));
    let body = &prefix[HEADER_BYTES as usize..];
    if plain > TABLE_BYTES_MAX || stored > plain || stored != body.len() as u64 {
        return Err(format!("{stored} bytes for {plain} plain ones, {} are there", body.len()));
    }
    Ok((version, super::frame::unpack(body, plain)?))
}

/// Writes the front of a bundle.
pub(super) fn build(table: &Table) -> Result<Vec<u8>> {
    let version = if table.salt > 0 || table.delta.iter().any(|frame| frame.is_patch) { VERSION } else { 1 };
    let mut out = Output::default();
    if version > 1 {
        out.number(table.salt);
    }
    out.number(table.bases.len() as u64);
    table.bases.iter().for_each(|base| out.digest(&base.0));
    let commits = table.sizes.len() - table.blobs - table.trees;
    [table.blobs, table.trees, commits].into_iter().for_each(|count| out.number(count as u64));
    table.sizes.iter().for_each(|&size| out.number(size));
    out.number(table.deltas.len() as u64);
    let mut next = 0;
    for (object, base) in &table.deltas {
        out.number(u64::from(object - next));
        out.number(base.map_or(0, |base| u64::from(base) + 1));
        next = object + 1;
    }
    for section in [Section::Fresh, Section::Twin, Section::Delta] {
        let frames = table.frames(section);
        out.number(frames.len() as u64);
        for frame in frames {
            if frame.is_patch {
                out.number(0);
            }
            let is_delta = section == Section::Delta && !frame.is_patch;
            out.number(if is_delta { frame.objects.len() as u64 } else { frame.plain });
            out.number(frame.stored);
            out.digest(&frame.digest);
        }
    }
    out.digest(&table.ids);
    let plain = out.bytes;
    if plain.len() as u64 > TABLE_BYTES_MAX {
        let bytes = plain.len() as u64;
        return Err(BundleError::TooLarge { what: "a table", bytes, limit: TABLE_BYTES_MAX });
    }
    let stored = super::frame::pack(&plain);
    let mut prefix = MAGIC.to_vec();
    prefix.push(version);
    prefix.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    prefix.extend_from_slice(&(stored.len() as u32).to_le_bytes());
    prefix.extend_from_slice(&stored);
    Ok(prefix)
}

fn parse(id: Digest, version: u8, plain: &[u8], table_bytes: u64) -> Parsed<Table> {
    let mut input = Input::new(plain);
    let salt = if version > 1 { input.number()? } else { 0 };
    let bases = (0..input.below(BASES_MAX)?).map(|_| input.digest().map(CommitId));
    let bases = bases.collect::<Parsed<Vec<_>>>()?;
    let [blobs, trees, commits] = [input.count()?, input.count()?, input.count()?];
    let sizes = sizes(&mut input, [blobs, trees, commits])?;
    let deltas = deltas(&mut input, sizes.len())?;
    let (fresh_objects, twin_objects) = sections(&sizes, &deltas);
    let [fresh, twin] = [plain_frames(&mut input)?, plain_frames(&mut input)?];
    let delta = delta_frames(&mut input, version, &twin_objects, &sizes)?;
    let ids = input.digest()?;
    input.end()?;
    let mut table = Table {
        id,
        salt,
        bases,
        blobs,
        trees,
        sizes,
        deltas,
        fresh_objects,
        twin_objects,
        delta,
        fresh,
        twin,
        ids,
        table_bytes,
        file_bytes: 0,
    };
    let (fresh, twin) = (std::mem::take(&mut table.fresh), std::mem::take(&mut table.twin));
    table.fresh = table.spread(Section::Fresh, fresh)?;
    table.twin = table.spread(Section::Twin, twin)?;
    table.check_delta_frames()?;
    table.place()?;
    Ok(table)
}

fn sizes(input: &mut Input<'_>, [blobs, trees, commits]: [usize; 3]) -> Parsed<Vec<u64>> {
    let limits = [(blobs, BLOB_BYTES_MAX), (trees, DIRECTORY_BYTES_MAX), (commits, COMMIT_BYTES_MAX)];
    let mut sizes = Vec::new();
    for (count, limit) in limits {
        for _ in 0..count {
            sizes.push(input.below(limit)?);
        }
    }
    if sizes.len() > u32::MAX as usize / 2 {
        return Err(format!("{} objects are too many", sizes.len()));
    }
    Ok(sizes)
}

fn deltas(input: &mut Input<'_>, objects: usize) -> Parsed<Vec<(u32, Option<u32>)>> {
    let mut next = 0u64;
    let mut deltas = Vec::new();
    for _ in 0..input.count()? {
        let object = next.saturating_add(input.number()?);
        if object >= objects as u64 {
            return Err(format!("a delta of object {object}, there are {objects}"));
        }
        let base = input.below(u64::from(u32::MAX))?;
        deltas.push((object as u32, base.checked_sub(1).map(|base| base as u32)));
        next = object + 1;
    }
    Ok(deltas)
}

/// Returns the objects of the fresh and of the twin section: those without bytes are in neither.
pub(super) fn sections(sizes: &[u64], deltas: &[(u32, Option<u32>)]) -> (Vec<u32>, Vec<u32>) {
    let mut with_delta = deltas.iter().map(|delta| delta.0).peekable();
    let (mut fresh, mut twin) = (Vec::new(), Vec::new());
    for (number, &size) in sizes.iter().enumerate() {
        let has_delta = with_delta.next_if_eq(&(number as u32)).is_some();
        match size {
            0 => {}
            _ if has_delta => twin.push(number as u32),
            _ => fresh.push(number as u32),
        }
    }
    (fresh, twin)
}

fn plain_frames(input: &mut Input<'_>) -> Parsed<Vec<Frame>> {
    (0..input.count()?)
        .map(|_| {
            let plain = input.between(1, FRAME_BYTES_MAX)?;
            let stored = input.between(1, plain)?;
            let digest = input.digest()?;
            Ok(Frame { offset: 0, stored, plain, digest, objects: 0..0, skip: 0, is_patch: false })
        })
        .collect()
}

fn delta_frames(input: &mut Input<'_>, version: u8, objects: &[u32], sizes: &[u64]) -> Parsed<Vec<Frame>> {
    // Objects that are made, and bytes of the next one.
    let (mut next, mut done) = (0, 0);
    let least = if version > 1 { 0 } else { 1 };
    let frames = (0..input.count()?).map(|_| {
        let count = input.between(least, (objects.len() - next) as u64)? as usize;
        let is_patch = count == 0;
        let range = next..next + count.max(1);
        let of = objects.get(range.clone()).ok_or("a piece behind the last object")?;
        let size = of.iter().map(|&object| sizes[object as usize]).fold(0, u64::saturating_add);
        let plain = if is_patch { input.between(1, DELTA_BYTES_MAX)? } else { size };
        let stored = input.below(DELTA_BYTES_MAX)?;
        let digest = input.digest()?;
        if plain > DELTA_BYTES_MAX {
            return Err(format!("a delta frame makes {plain} bytes, at most {DELTA_BYTES_MAX} are possible"));
        }
        let skip = done;
        done += plain;
        if done > size {
            return Err(format!("a delta frame ends {} bytes behind its objects", done - size));
        }
        if done == size {
            (next, done) = (range.end, 0);
        }
        Ok(Frame { offset: 0, stored, plain, digest, objects: range, skip, is_patch })
    });
    let frames = frames.collect::<Parsed<Vec<_>>>()?;
    if next != objects.len() {
        return Err(format!("{} objects have a delta, but {next} are in delta frames", objects.len()));
    }
    Ok(frames)
}

impl Table {
    /// Spreads a section's objects over its frames.
    fn spread(&self, section: Section, mut frames: Vec<Frame>) -> Parsed<Vec<Frame>> {
        let objects = self.list(section);
        let (mut at, mut done) = (0, 0);
        for frame in &mut frames {
            let size = |at: usize| objects.get(at).map(|&object| self.sizes[object as usize]);
            let Some(first) = size(at) else { return Err("frames behind the last object".to_owned()) };
            if done > 0 || first > frame.plain {
                (frame.objects, frame.skip) = (at..at + 1, done);
                done += frame.plain;
                if done > first {
                    return Err(format!("a piece ends {} bytes behind its object", done - first));
                }
                if done == first {
                    (at, done) = (at + 1, 0);
                }
                continue;
            }
            let (start, mut sum) = (at, 0);
            while sum < frame.plain {
                sum += size(at).ok_or("a frame is longer than its objects")?;
                at += 1;
            }
            let same = self.is_blob(objects[start]) == self.is_blob(objects[at - 1]);
            if sum != frame.plain || !same {
                return Err(format!("a frame of {} bytes cuts an object or mixes kinds", frame.plain));
            }
            frame.objects = start..at;
        }
        if at != objects.len() {
            return Err(format!("{} objects are in no frame", objects.len() - at));
        }
        Ok(frames)
    }

    pub(super) fn is_blob(&self, object: u32) -> bool {
        (object as usize) < self.blobs
    }

    /// Returns which object of the bases' closure an object with a delta is made from.
    fn base_of(&self, object: u32) -> Option<u32> {
        let place = self.deltas.binary_search_by_key(&object, |delta| delta.0).ok()?;
        self.deltas[place].1
    }

    fn check_delta_frames(&self) -> Parsed<()> {
        for frame in &self.delta {
            let objects = &self.twin_objects[frame.objects.clone()];
            if objects.first().map(|&object| self.is_blob(object))
                != objects.last().map(|&object| self.is_blob(object))
            {
                return Err("a delta frame mixes files and directories".to_owned());
            }
            if frame.is_patch && !(self.is_blob(objects[0]) && self.base_of(objects[0]).is_some()) {
                return Err("a piece of what is no file, or is made from nothing".to_owned());
            }
        }
        let mut borders = self.delta.iter().map(|frame| frame.objects.end).peekable();
        for frame in &self.twin {
            while borders.next_if(|&border| border <= frame.objects.start).is_some() {}
            if borders.peek().is_some_and(|&border| border < frame.objects.end) {
                return Err("a twin frame goes across the border of a delta frame".to_owned());
            }
        }
        Ok(())
    }

    /// Gives the frames their places in the file.
    pub(super) fn place(&mut self) -> Parsed<()> {
        let mut offset = self.table_bytes;
        for frame in self.delta.iter_mut().chain(&mut self.fresh).chain(&mut self.twin) {
            frame.offset = offset;
            offset = offset.checked_add(frame.stored).ok_or("more than 2^64 bytes")?;
        }
        self.file_bytes = offset.checked_add(32 * self.sizes.len() as u64).ok_or("more than 2^64 bytes")?;
        Ok(())
    }
}

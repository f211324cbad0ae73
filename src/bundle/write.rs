//! Writing a bundle: deltas first, then plain frames, packed by all workers and written in one order.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use super::closure::{ObjectName, first};
use super::contents::{Contents, Item};
use super::delta::{self, Alignment};
use super::error::Result;
use super::form::Form;
use super::frame;
use super::large::Making;
use super::names;
use super::table::{self, DELTA_BYTES_MAX, FRAME_BYTES_MAX, Frame, Section, Table};
use crate::base::job::Unit;
use crate::base::{CommitId, Digest, FileError, Job};
use crate::store::{Kind, Objects};

/// Small objects share frames of about this length, in plain bytes.
const FRAME_BYTES: u64 = 1 << 20;
/// Objects that are larger than a frame may be are cut into pieces of this length.
const PIECE_BYTES: u64 = 4 << 20;
/// Objects of one delta frame: they learn from each other, and are decoded one after the other.
const DELTA_FRAME_BYTES: u64 = 16 << 20;
/// Fewer bytes than this without a base go into the delta section of a bundle that has bases: its model packs
/// better than zstd, a few mebibytes a second.
const FRESH_AS_DELTA_BYTES: u64 = 1 << 20;

/// A bundle that was written: reading it gives its bytes from the first to the last.
pub struct Bundle {
    id: Digest,
    objects: u64,
    plain_bytes: u64,
    delta_bytes: u64,
    prefix: Vec<u8>,
    body: File,
    body_bytes: u64,
    position: u64,
}

impl Bundle {
    /// Returns the digest of the first [`Bundle::table_bytes`] bytes, which name the digests of all others.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// Returns the length of the file, in bytes.
    pub fn size(&self) -> u64 {
        self.prefix.len() as u64 + self.body_bytes
    }

    /// Returns the length of its table, with which it begins, in bytes.
    pub fn table_bytes(&self) -> u64 {
        self.prefix.len() as u64
    }

    /// Returns how many objects it holds.
    pub fn objects(&self) -> u64 {
        self.objects
    }

    /// Returns the plain length of its objects, in bytes.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Returns the length of its deltas, in bytes.
    pub fn delta_bytes(&self) -> u64 {
        self.delta_bytes
    }

    /// Goes back to the first byte.
    pub fn rewind(&mut self) {
        self.position = 0;
    }
}

impl Read for Bundle {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let prefix = self.prefix.len() as u64;
        let length = match self.position.checked_sub(prefix) {
            None => (&self.prefix[self.position as usize..]).read(buffer)?,
            Some(at) => {
                self.body.seek(SeekFrom::Start(at))?;
                (&mut self.body).take(self.body_bytes - at).read(buffer)?
            }
        };
        self.position += length as u64;
        Ok(length)
    }
}

/// Writes the frames of a bundle to `scratch`, an empty file that the caller made and removes, and returns the
/// bundle. The same contents give the same bytes, however many workers there are. A core packs some 40 MB/s of
/// what is new, and compares and tells some 2 MB/s of what has a base; of large files only what changed is told.
pub fn write(source: &dyn Objects, contents: &Contents, scratch: File, job: &Job) -> Result<Bundle> {
    write_as(&Form::default(), source, contents, scratch, job)
}

/// Does what [`write()`] does, in another form.
pub fn write_as(
    form: &Form,
    source: &dyn Objects,
    contents: &Contents,
    scratch: File,
    job: &Job,
) -> Result<Bundle> {
    let writing = Writing { form, source, contents, job };
    let mut body = Body { file: scratch, end: 0 };
    let groups = writing.deltas(&mut body)?;
    let mut table = writing.table(&groups);
    let delta_bytes = body.end;
    table.fresh = writing.plain_frames(&table, Section::Fresh, &mut body)?;
    table.twin = writing.plain_frames(&table, Section::Twin, &mut body)?;
    let ids: Vec<u8> = contents.items.iter().flat_map(|item| item.name.id.0).collect();
    table.ids = Digest::of(&ids);
    body.add(&ids)?;
    let prefix = table::build(&table)?;
    Ok(Bundle {
        id: Digest::of(&prefix),
        objects: table.objects() as u64,
        plain_bytes: table.plain_bytes(),
        delta_bytes,
        prefix,
        body: body.file,
        body_bytes: body.end,
        position: 0,
    })
}

struct Body {
    file: File,
    end: u64,
}

impl Body {
    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let path = Path::new("the bundle's scratch file");
        self.file.write_all(bytes).map_err(FileError::at("write", path))?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Forgets what was added last.
    fn back_to(&mut self, end: u64) -> Result<()> {
        let path = Path::new("the bundle's scratch file");
        self.file.seek(SeekFrom::Start(end)).map_err(FileError::at("go back in", path))?;
        self.end = end;
        Ok(())
    }
}

/// A delta frame that was written.
struct Group {
    /// Objects whose deltas learn from each other, or one of which this is a piece.
    objects: Vec<u32>,
    stored: u64,
    digest: Digest,
    /// Where the piece begins, and its plain length.
    piece: Option<(u64, u64)>,
}

impl Group {
    fn add(objects: Vec<u32>, bytes: &[u8], body: &mut Body) -> Result<Self> {
        body.add(bytes)?;
        Ok(Group { objects, stored: bytes.len() as u64, digest: Digest::of(bytes), piece: None })
    }
}

struct Writing<'a> {
    form: &'a Form,
    source: &'a dyn Objects,
    contents: &'a Contents,
    job: &'a Job,
}

/// An object that is to have a delta, and how it lies on its base.
struct Candidate {
    number: u32,
    alignment: Alignment,
}

impl Writing<'_> {
    fn item(&self, number: u32) -> &Item {
        &self.contents.items[number as usize]
    }

    /// Writes the delta frames, in the order of their objects.
    fn deltas(&self, body: &mut Body) -> Result<Vec<Group>> {
        if self.contents.bases.is_empty() {
            return Ok(Vec::new());
        }
        let numbers = (0..self.contents.items.len() as u32).filter(|&n| self.item(n).name.size > 0);
        let (with_base, without): (Vec<u32>, Vec<u32>) =
            numbers.partition(|&number| self.item(number).base.is_some());
        let (mut large, small): (Vec<u32>, Vec<u32>) = with_base.into_iter().partition(|&n| self.is_large(n));
        large.retain(|&number| self.item(number).name.kind == Kind::Blob);
        let chosen = self.choose(small, without)?;
        let encoded = self.job.workers.map(self.group(chosen, &large), |group| self.encode(group));
        let encoded: Result<Vec<_>> = encoded.into_iter().filter_map(Result::transpose).collect();
        let mut encoded = encoded?.into_iter().peekable();
        let mut groups = Vec::new();
        for number in large {
            while let Some((objects, bytes)) = encoded.next_if(|(objects, _)| objects[0] < number) {
                groups.push(Group::add(objects, &bytes, body)?);
            }
            groups.extend(self.pieces(number, body)?);
        }
        for (objects, bytes) in encoded {
            groups.push(Group::add(objects, &bytes, body)?);
        }
        Ok(groups)
    }

    fn is_large(&self, number: u32) -> bool {
        let item = self.item(number);
        item.base.is_some_and(|(base, _)| base.size.max(item.name.size) > self.form.whole_bytes)
    }

    /// Chooses which objects have a delta, and some small ones that have no base.
    fn choose(&self, with_base: Vec<u32>, without: Vec<u32>) -> Result<Vec<Candidate>> {
        let mut chosen: Vec<Candidate> = self.align(with_base)?.into_iter().flatten().collect();
        let mut left = FRESH_AS_DELTA_BYTES;
        for number in without {
            if let Some(rest) = left.checked_sub(self.item(number).name.size) {
                left = rest;
                chosen.push(Candidate { number, alignment: Alignment::of(&[], &self.plain(number)?) });
            }
        }
        chosen.sort_by_key(|candidate| candidate.number);
        Ok(chosen)
    }

    /// Writes the pieces of a large file; none where they are of no use.
    fn pieces(&self, number: u32, body: &mut Body) -> Result<Vec<Group>> {
        let item = self.item(number);
        let Some((base, _)) = item.base else { return Ok(Vec::new()) };
        let making = Making {
            source: self.source,
            old: base.as_content(),
            new: item.name.as_content(),
            piece_bytes: self.form.piece_bytes,
            segment_bytes: self.form.segment_bytes,
            job: self.job,
        };
        let (start, mut at, mut groups) = (body.end, 0, Vec::new());
        let useful = making.run(|piece| {
            let group = Group::add(vec![number], &piece.bytes, body)?;
            groups.push(Group { piece: Some((at, piece.plain)), ..group });
            at += piece.plain;
            Ok(())
        })?;
        if !useful {
            groups.clear();
            body.back_to(start)?;
        }
        Ok(groups)
    }

    /// Lays each object on its base, in parallel, the largest first; drops those that have little in common.
    fn align(&self, mut numbers: Vec<u32>) -> Result<Vec<Option<Candidate>>> {
        numbers.sort_by_key(|&number| std::cmp::Reverse(self.item(number).name.size));
        let total = numbers.iter().map(|&number| self.item(number).name.size).sum();
        let step = self.job.step("comparing", Some(total), Unit::Bytes);
        let aligned = self.job.workers.try_map(numbers, |number| -> Result<Option<Candidate>> {
            self.job.check()?;
            let (old, new) = (self.base(number)?, self.plain(number)?);
            let alignment = Alignment::of(&old, &new);
            step.advance(new.len() as u64);
            let alike = alignment.covered() >= new.len() / 8 || new.len() < 1 << 16;
            Ok(alike.then_some(Candidate { number, alignment }))
        });
        aligned.map_err(first)
    }

    /// Gathers neighbours. Large files, which have frames of their own, stand between groups.
    fn group(&self, candidates: Vec<Candidate>, large: &[u32]) -> Vec<Vec<Candidate>> {
        let mut groups: Vec<Vec<Candidate>> = Vec::new();
        let mut bytes = 0;
        for candidate in candidates {
            let size = self.item(candidate.number).name.size;
            let is_blob = |number: u32| self.item(number).name.kind == Kind::Blob;
            let same = groups.last().and_then(|group| group.last());
            let before = |number: u32| large.partition_point(|&large| large < number);
            let same = same.is_some_and(|last| {
                is_blob(last.number) == is_blob(candidate.number)
                    && before(last.number) == before(candidate.number)
            });
            if same && bytes + size <= DELTA_FRAME_BYTES {
                groups.last_mut().expect("because it has a last member").push(candidate);
                bytes += size;
            } else {
                groups.push(vec![candidate]);
                bytes = size;
            }
        }
        groups
    }

    /// Encodes a group, decodes it, and gives up on it where it does not lead back.
    fn encode(&self, group: Vec<Candidate>) -> Result<Option<(Vec<u32>, Vec<u8>)>> {
        let mut encoder = delta::Encoder::new();
        for candidate in &group {
            self.job.check()?;
            let (old, new) = (self.base(candidate.number)?, self.plain(candidate.number)?);
            encoder.object(&old, &new, &candidate.alignment);
        }
        let bytes = encoder.finish();
        let objects: Vec<u32> = group.iter().map(|candidate| candidate.number).collect();
        let mut decoder = delta::Decoder::new(&bytes);
        for &number in &objects {
            self.job.check()?;
            let (old, new) = (self.base(number)?, self.plain(number)?);
            if decoder.object(&old, new.len()).as_ref() != Ok(&new) {
                return Ok(None);
            }
        }
        let makes: u64 = objects.iter().map(|&number| self.item(number).name.size).sum();
        let useful = bytes.len() as u64 <= makes && makes <= DELTA_BYTES_MAX;
        Ok(useful.then_some((objects, bytes)))
    }

    /// Returns the bytes of the base of an object.
    fn base(&self, number: u32) -> Result<Vec<u8>> {
        match &self.item(number).base {
            Some((base, _)) => read(self.source, base),
            None => Ok(Vec::new()),
        }
    }

    /// Returns the bytes that travel for an object.
    fn plain(&self, number: u32) -> Result<Vec<u8>> {
        let name = &self.item(number).name;
        let (numbers, bases) = (&self.contents.numbers, &self.contents.bases);
        Ok(match name.kind {
            Kind::Blob => read(self.source, name)?,
            Kind::Tree => names::hide_directory(&self.source.read_directory(&name.as_tree())?, numbers),
            Kind::Commit => names::hide_commit(&self.source.read_commit(&CommitId(name.id))?, numbers, bases),
        })
    }

    fn table(&self, groups: &[Group]) -> Table {
        let items = &self.contents.items;
        let of = |kind: Kind| items.iter().filter(|item| item.name.kind == kind).count();
        let sizes: Vec<u64> = items.iter().map(|item| item.name.size).collect();
        let begin = groups.iter().filter(|group| group.piece.is_none_or(|(skip, _)| skip == 0));
        let base = |number: &u32| (*number, self.item(*number).base.map(|(_, base)| base));
        let deltas: Vec<(u32, Option<u32>)> = begin.flat_map(|group| &group.objects).map(base).collect();
        let (fresh_objects, twin_objects) = table::sections(&sizes, &deltas);
        let mut next = 0;
        let delta = groups.iter().map(|group| {
            let (skip, plain) = group.piece.unwrap_or_default();
            let start = if skip > 0 { next - 1 } else { next };
            next = start + group.objects.len();
            let (stored, digest, is_patch) = (group.stored, group.digest, group.piece.is_some());
            Frame { offset: 0, stored, plain, digest, objects: start..next, skip, is_patch }
        });
        Table {
            id: Digest([0; 32]),
            salt: self.form.salt,
            bases: self.contents.bases.clone(),
            blobs: of(Kind::Blob),
            trees: of(Kind::Tree),
            sizes,
            delta: delta.collect(),
            deltas,
            fresh_objects,
            twin_objects,
            fresh: Vec::new(),
            twin: Vec::new(),
            ids: Digest([0; 32]),
            table_bytes: 0,
            file_bytes: 0,
        }
    }

    /// Packs the plain frames of a section, a few a worker at a time, and writes them in their order.
    fn plain_frames(&self, table: &Table, section: Section, body: &mut Body) -> Result<Vec<Frame>> {
        let list = table.list(section);
        let mut cuts = cut(table, section).into_iter().peekable();
        let total = list.iter().map(|&object| table.sizes[object as usize]).sum();
        let step = self.job.step("packing", Some(total), Unit::Bytes);
        let mut frames = Vec::new();
        while cuts.peek().is_some() {
            let batch: Vec<Cut> = cuts.by_ref().take(4 * self.job.workers.count()).collect();
            let packed = self.job.workers.try_map(batch, |cut| -> Result<_> {
                self.job.check()?;
                let plain = self.read_cut(list, &cut)?;
                step.advance(plain.len() as u64);
                Ok((cut, plain.len() as u64, frame::pack(&plain)))
            });
            for (cut, plain, bytes) in packed.map_err(first)? {
                body.add(&bytes)?;
                let (stored, digest) = (bytes.len() as u64, Digest::of(&bytes));
                let Cut { objects, skip, .. } = cut;
                frames.push(Frame { offset: 0, stored, plain, digest, objects, skip, is_patch: false });
            }
        }
        Ok(frames)
    }

    fn read_cut(&self, list: &[u32], cut: &Cut) -> Result<Vec<u8>> {
        let mut plain = Vec::new();
        for &number in &list[cut.objects.clone()] {
            let name = &self.item(number).name;
            let part = cut.skip..cut.skip + cut.length.min(name.size - cut.skip);
            let whole = part == (0..name.size);
            if name.kind == Kind::Blob && !whole {
                plain.resize((part.end - part.start) as usize, 0);
                self.source.read_at(&name.as_content(), part.start, &mut plain)?;
            } else {
                let bytes = self.plain(number)?;
                plain.extend_from_slice(&bytes[part.start as usize..part.end as usize]);
            }
        }
        Ok(plain)
    }
}

/// Reads an object as it is in the store.
pub(super) fn read(source: &dyn Objects, name: &ObjectName) -> Result<Vec<u8>> {
    match name.kind {
        Kind::Blob => Ok(source.read_all(&name.as_content())?),
        _ => Ok(names::encoding(source, name)?),
    }
}

/// The objects of a frame, or a piece of one.
struct Cut {
    objects: Range<usize>,
    skip: u64,
    length: u64,
}

fn cut(table: &Table, section: Section) -> Vec<Cut> {
    let list = table.list(section);
    // The pieces of one file have one border.
    let mut borders: Vec<usize> = table.delta.iter().map(|frame| frame.objects.end).collect();
    borders.dedup();
    let mut borders = borders.into_iter().peekable();
    let mut cuts: Vec<Cut> = Vec::new();
    let mut is_open = false;
    for (at, &object) in list.iter().enumerate() {
        let size = table.sizes[object as usize];
        let crossed = borders.next_if(|&border| section == Section::Twin && border <= at).is_some();
        if size > FRAME_BYTES_MAX {
            let pieces = (0..size).step_by(PIECE_BYTES as usize);
            cuts.extend(pieces.map(|skip| Cut {
                objects: at..at + 1,
                skip,
                length: PIECE_BYTES.min(size - skip),
            }));
            is_open = false;
            continue;
        }
        let joins = is_open
            && !crossed
            && cuts.last().is_some_and(|last| {
                last.length + size <= FRAME_BYTES
                    && table.is_blob(list[last.objects.start]) == table.is_blob(object)
            });
        match cuts.last_mut().filter(|_| joins) {
            Some(last) => {
                last.objects.end = at + 1;
                last.length += size;
            }
            None => cuts.push(Cut { objects: at..at + 1, skip: 0, length: size }),
        }
        is_open = true;
    }
    cuts
}

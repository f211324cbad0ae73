//! One object of a bundle alone: for repairs.

use std::ops::Range;

use super::closure::ObjectName;
use super::error::{BundleError, Result};
use super::frame;
use super::names::{self, Known};
use super::table::{Frame, Section, Table};
use crate::base::{CommitId, Digest};
use crate::store::Kind;

/// Where the plain bytes of one object lie.
pub struct Single<'a> {
    table: &'a Table,
    names: &'a [ObjectName],
    object: u32,
    frames: Vec<&'a Frame>,
    ranges: Vec<Range<u64>>,
}

impl Table {
    /// Finds an object by its id; `names` comes from [`Table::read_ids`]. `None` where the bundle lacks it.
    pub fn single<'a>(&'a self, names: &'a [ObjectName], id: &Digest) -> Option<Single<'a>> {
        let object = names.iter().position(|name| name.id == *id)? as u32;
        let frames = [Section::Fresh, Section::Twin].into_iter().flat_map(|section| {
            let list = self.list(section);
            let place = list.binary_search(&object).ok();
            let holds = move |frame: &&Frame| place.is_some_and(|place| frame.objects.contains(&place));
            self.frames(section).iter().filter(holds)
        });
        let frames: Vec<&Frame> = frames.collect();
        let ranges = frames.iter().map(|frame| frame.range()).collect();
        Some(Single { table: self, names, object, frames, ranges })
    }
}

impl Single<'_> {
    /// Returns the ranges to fetch.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// Decodes the object from the bytes of the ranges: a file's content, or the encoding of a directory or
    /// commit. It is held against its id by whoever puts it somewhere.
    pub fn decode(&self, parts: &[Vec<u8>]) -> Result<Vec<u8>> {
        let damaged = |problem| BundleError::Damaged { id: self.table.id, problem };
        let mut bytes = Vec::new();
        for (index, frame) in self.frames.iter().enumerate() {
            let part = parts.get(index).map_or(&[][..], |part| part);
            if Digest::of(part) != frame.digest {
                return Err(damaged(format!("the digest of its frame at {} is wrong", frame.offset)));
            }
            let plain = frame::unpack(part, frame.plain).map_err(damaged)?;
            bytes.extend_from_slice(&plain[self.skip(frame)..][..self.length(frame)]);
        }
        let restored = match self.names[self.object as usize].kind {
            Kind::Blob => return Ok(bytes),
            Kind::Tree => names::restore_directory(&bytes, self).map(|directory| directory.encode()),
            Kind::Commit => names::restore_commit(&bytes, self).map(|commit| commit.encode()),
        };
        restored.map_err(damaged)
    }

    fn size(&self, object: u32) -> u64 {
        self.table.sizes[object as usize]
    }

    /// Returns how many bytes of other objects stand before this one in a frame.
    fn skip(&self, frame: &Frame) -> usize {
        let list = match self.table.twin_objects.binary_search(&self.object) {
            Ok(_) => &self.table.twin_objects,
            Err(_) => &self.table.fresh_objects,
        };
        let before = list[frame.objects.clone()].iter().take_while(|&&object| object != self.object);
        before.map(|&object| self.size(object)).sum::<u64>() as usize
    }

    fn length(&self, frame: &Frame) -> usize {
        self.size(self.object).min(frame.plain) as usize
    }
}

impl Known for Single<'_> {
    fn object(&self, number: u32) -> Option<(Digest, u64)> {
        self.names.get(number as usize).map(|name| (name.id, name.size))
    }

    fn base(&self, number: u32) -> Option<CommitId> {
        self.table.bases.get(number as usize).copied()
    }
}

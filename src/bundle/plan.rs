//! Which frames to fetch: of each object that is needed, the cheaper of its delta and its plain bytes.

use std::collections::HashSet;
use std::ops::Range;

use super::closure::{Closure, ObjectName, Walk};
use super::error::Result;
use super::table::{DELTA_BYTES_MAX, Frame, Section, Table};
use crate::base::Job;
use crate::store::{Kind, Objects, StoreError};

/// The frames to fetch, and what decoding them needs.
pub struct FetchPlan {
    pub(super) frames: Vec<(Section, usize)>,
    ranges: Vec<Range<u64>>,
    /// The object that each delta is made from, in the order of the table's deltas.
    pub(super) bases: Vec<Option<ObjectName>>,
    /// The objects by their numbers, where their ids were read.
    pub(super) names: Option<Vec<ObjectName>>,
}

impl FetchPlan {
    /// Returns where the frames lie in the file: one range a frame, ascending, not joined.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// Returns how many bytes are to be fetched.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// Returns how many frames hold deltas.
    pub fn delta_frames(&self) -> usize {
        self.frames.iter().filter(|frame| frame.0 == Section::Delta).count()
    }
}

impl Table {
    /// Plans what to fetch. All objects are, unless `ids` (the bytes of [`Table::ids_range`]) are given: then
    /// those that `have` has are left out. Deltas are used where `have` has all that the bases lead to; what
    /// is there of it is walked for that.
    pub fn plan(&self, have: &dyn Objects, ids: Option<&[u8]>, job: &Job) -> Result<FetchPlan> {
        let names = ids.map(|ids| self.read_ids(ids)).transpose()?;
        let needed = |object: u32| names.as_ref().is_none_or(|names| !have.has(&names[object as usize].id));
        let bases = self.find_bases(have, job)?;
        let mut frames = Vec::new();
        let mut with_delta = HashSet::new();
        let mut twins = self.twin.iter().peekable();
        let mut next = 0;
        // Pieces of a large file are fetched all or none; both lists ascend.
        for run in self.delta.chunk_by(|one, other| one.objects == other.objects) {
            let (first, objects) = (next, run[0].objects.clone());
            next += run.len();
            let mut plain = 0u64;
            while let Some(twin) = twins.next_if(|twin| twin.objects.start < objects.end) {
                if self.twin_objects[twin.objects.clone()].iter().any(|&n| needed(n)) {
                    plain = plain.saturating_add(twin.stored);
                }
            }
            let cheaper = run.iter().map(|frame| frame.stored).fold(0, u64::saturating_add) < plain;
            let is_needed = self.twin_objects[objects.clone()].iter().any(|&object| needed(object));
            let is_possible =
                run[0].is_patch || bases.as_ref().is_some_and(|bases| self.fit(&objects, bases));
            if bases.is_some() && is_possible && cheaper && is_needed {
                frames.extend((first..next).map(|index| (Section::Delta, index)));
                with_delta.extend(objects);
            }
        }
        for section in [Section::Fresh, Section::Twin] {
            for (index, frame) in self.frames(section).iter().enumerate() {
                let there = section == Section::Twin && with_delta.contains(&frame.objects.start);
                let mut objects = self.list(section)[frame.objects.clone()].iter();
                if !there && objects.any(|&object| needed(object)) {
                    frames.push((section, index));
                }
            }
        }
        let ranges = frames.iter().map(|&frame| self.frame(frame).range()).collect();
        Ok(FetchPlan { frames, ranges, bases: bases.unwrap_or_default(), names })
    }

    /// Tells whether the bases of some objects can be held in memory, as a delta that is no patch asks for.
    fn fit(&self, objects: &Range<usize>, bases: &[Option<ObjectName>]) -> bool {
        let of = |object: &u32| self.deltas.binary_search_by_key(object, |delta| delta.0).ok();
        let places = self.twin_objects[objects.clone()].iter().filter_map(of);
        places.filter_map(|place| bases[place]).all(|base| base.size <= DELTA_BYTES_MAX)
    }

    pub(super) fn frame(&self, (section, index): (Section, usize)) -> &Frame {
        &self.frames(section)[index]
    }

    /// Finds what the deltas are made from; `None` where not all of it is there.
    fn find_bases(&self, have: &dyn Objects, job: &Job) -> Result<Option<Vec<Option<ObjectName>>>> {
        if self.deltas.is_empty() {
            return Ok(None);
        }
        let walk = Walk { source: have, known: None, paths: false };
        let closure = match Closure::of(&walk, &self.bases, job) {
            Ok(closure) => closure,
            Err(super::BundleError::Cancelled(error)) => return Err(error.into()),
            Err(super::BundleError::Store(StoreError::Cancelled(error))) => return Err(error.into()),
            Err(_) => return Ok(None),
        };
        let mut bases = Vec::new();
        for (object, base) in &self.deltas {
            let Some(base) = base else {
                bases.push(None);
                continue;
            };
            let Some(found) = closure.objects.get(*base as usize) else { return Ok(None) };
            let same = (found.name.kind == Kind::Blob) == self.is_blob(*object);
            if !same || !have.has(&found.name.id) {
                return Ok(None);
            }
            bases.push(Some(found.name));
        }
        Ok(Some(bases))
    }
}

impl Frame {
    pub(super) fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.stored
    }
}

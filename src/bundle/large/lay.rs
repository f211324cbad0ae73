//! Lays a new file on an old one: what is copied from where, and from what the rest is to be told.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::anchor::{ANCHOR_BYTES, Anchor, Known, anchors, spacing_bits};
use crate::base::Job;
use crate::base::job::Unit;
use crate::bundle::error::Result;
use crate::tree::{Content, ContentSource};

/// Shorter copies are told: the model takes them for little, and learns from them.
const COPY_BYTES_MIN: u64 = 32 << 10;
/// Buckets of a vote for a window are not narrower.
const BUCKET_BYTES_MIN: u64 = 64 << 10;

/// A part of the new file. Parts follow each other without gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Copy {
        old: u64,
        length: u64,
    },
    /// What is to be told from a window of the old file, which may be empty.
    Tell {
        window: Range<u64>,
        length: u64,
    },
}

impl Part {
    pub fn length(&self) -> u64 {
        match self {
            Part::Copy { length, .. } | Part::Tell { length, .. } => *length,
        }
    }
}

/// Lays a file on another. `None` where they have little in common. Reads both once and what is copied twice; holds
/// some mebibytes, and 16 bytes an anchor.
pub(super) fn lay(
    source: &dyn ContentSource,
    old: &Content,
    new: &Content,
    segment_bytes: u64,
    job: &Job,
) -> Result<Option<Vec<Part>>> {
    let step = job.step("comparing", Some(old.size + new.size), Unit::Bytes);
    let bits = spacing_bits(old.size);
    let known = Known::new(anchors(source, old, bits, job, &step)?, job);
    let anchors = anchors(source, new, bits, job, &step)?;
    let files = Files { old: Pages::new(source, old), new: Pages::new(source, new) };
    let mut laying = Laying { known, files, copies: Vec::new(), hits: Vec::new() };
    laying.find_copies(&anchors, job)?;
    let copied: u64 = laying.copies.iter().map(|copy| copy.length).sum();
    // Where code moved, every second anchor or so has an address in it.
    let alike = copied + ((2 * laying.hits.len() as u64) << bits);
    Ok((alike >= new.size / 8).then(|| laying.parts(old.size, new.size, segment_bytes)))
}

/// Bytes that are the same in both files.
#[derive(Clone, Copy, Debug)]
struct Match {
    new: u64,
    old: u64,
    length: u64,
}

struct Laying<'a> {
    known: Known,
    files: Files<'a>,
    copies: Vec<Match>,
    /// Where single anchors of the new file lie in the old one, outside of copies: (new, old), ascending.
    hits: Vec<(u64, u64)>,
}

impl Laying<'_> {
    fn find_copies(&mut self, anchors: &[Anchor], job: &Job) -> Result<()> {
        let mut end = 0;
        // Where the old file goes on if nothing was inserted or removed since the last copy.
        let mut shift = 0i64;
        for (index, anchor) in anchors.iter().enumerate() {
            if anchor.place < end {
                continue;
            }
            job.check()?;
            let straight = anchor.place.saturating_add_signed(shift);
            let Some(old) = self.known.nearest(anchor.hash, straight) else { continue };
            self.hits.push((anchor.place, old));
            // One anchor may be chance: files are read only where two say the same.
            let next = anchors.get(index + 1);
            let next = next.is_some_and(|next| self.known.has(next.hash, old + (next.place - anchor.place)));
            if old != straight && !next {
                continue;
            }
            let copy = self.files.extend(anchor.place, old, end)?;
            if copy.length >= COPY_BYTES_MIN {
                (end, shift) = (copy.new + copy.length, copy.old as i64 - copy.new as i64);
                self.copies.push(copy);
            }
        }
        Ok(())
    }

    fn parts(&self, old_bytes: u64, new_bytes: u64, segment_bytes: u64) -> Vec<Part> {
        let end = Match { new: new_bytes, old: old_bytes, length: 0 };
        let (mut parts, mut at, mut old) = (Vec::new(), 0, 0);
        for copy in self.copies.iter().chain([&end]) {
            self.tell(at..copy.new, old..copy.old.max(old), old_bytes, segment_bytes, &mut parts);
            if copy.length > 0 {
                parts.push(Part::Copy { old: copy.old, length: copy.length });
            }
            (at, old) = (copy.new + copy.length, copy.old + copy.length);
        }
        parts
    }

    /// Cuts what lies between two copies into segments, each with its window. `between` is what lies between the
    /// same copies in the old file.
    fn tell(&self, gap: Range<u64>, between: Range<u64>, old_bytes: u64, most: u64, parts: &mut Vec<Part>) {
        let (gap_bytes, between_bytes) = (gap.end - gap.start, between.end - between.start);
        let mut at = gap.start;
        while at < gap.end {
            let segment = at..gap.end.min(at + most);
            let length = segment.end - segment.start;
            let reach = (2 * length).max(BUCKET_BYTES_MIN);
            let is_whole = length == gap_bytes && (length / 2..=reach).contains(&between_bytes);
            let window = if is_whole {
                between.clone()
            } else if let Some(window) = self.voted(&segment, old_bytes) {
                window
            } else {
                let part = |at: u64| {
                    let share =
                        u128::from(at - gap.start) * u128::from(between_bytes) / u128::from(gap_bytes);
                    between.start + share as u64
                };
                let (start, end) = (part(segment.start), part(segment.end));
                let slack = (end - start) / 2;
                let start = start.saturating_sub(slack).max(between.start);
                start..(end + slack).min(between.end).min(start + reach)
            };
            parts.push(Part::Tell { window, length });
            at = segment.end;
        }
    }

    /// Returns the window that most anchors of a segment are found in.
    fn voted(&self, segment: &Range<u64>, old_bytes: u64) -> Option<Range<u64>> {
        let length = segment.end - segment.start;
        let bucket = (length / 4).max(BUCKET_BYTES_MIN);
        let from = self.hits.partition_point(|hit| hit.0 < segment.start);
        let hits = self.hits[from..].iter().take_while(|hit| hit.0 < segment.end);
        let mut votes: BTreeMap<u64, u64> = BTreeMap::new();
        for (new, old) in hits {
            *votes.entry(old.saturating_sub(new - segment.start) / bucket).or_default() += 1;
        }
        let best = votes.into_iter().max_by_key(|(place, count)| (*count, std::cmp::Reverse(*place)));
        let start = best?.0.saturating_sub(1) * bucket;
        Some(start..(start + length + 3 * bucket).min(old_bytes))
    }
}

struct Files<'a> {
    old: Pages<'a>,
    new: Pages<'a>,
}

impl Files<'_> {
    /// Extends what two anchors have in common in both directions; backward not before `floor` in the new file.
    fn extend(&mut self, new: u64, old: u64, floor: u64) -> Result<Match> {
        let forward = self.same_behind(new, old)?;
        if forward < ANCHOR_BYTES {
            // Other bytes with the same hash.
            return Ok(Match { new, old, length: 0 });
        }
        let backward = self.same_before(new, old, floor)?;
        Ok(Match { new: new - backward, old: old - backward, length: forward + backward })
    }

    fn same_behind(&mut self, new: u64, old: u64) -> Result<u64> {
        let mut found = 0;
        loop {
            let (left, right) = (self.old.behind(old + found)?, self.new.behind(new + found)?);
            let length = left.len().min(right.len());
            let same = same(length, |range| left[range.clone()] == right[range]);
            found += same as u64;
            if same < length || length == 0 {
                return Ok(found);
            }
        }
    }

    fn same_before(&mut self, new: u64, old: u64, floor: u64) -> Result<u64> {
        let mut found = 0;
        loop {
            let room = (new - found - floor) as usize;
            let (left, right) = (self.old.before(old - found)?, self.new.before(new - found)?);
            let length = left.len().min(right.len()).min(room);
            let (left, right) = (&left[left.len() - length..], &right[right.len() - length..]);
            let turned = |range: Range<usize>| length - range.end..length - range.start;
            let same = same(length, |range| left[turned(range.clone())] == right[turned(range)]);
            found += same as u64;
            if same < length || length == 0 {
                return Ok(found);
            }
        }
    }
}

/// Returns for how long two parts are the same, which are compared some bytes at a time.
fn same(length: usize, is_same: impl Fn(Range<usize>) -> bool) -> usize {
    let mut at = 0;
    for size in [64 << 10, 1 << 10, 32, 1] {
        while at + size <= length && is_same(at..at + size) {
            at += size;
        }
    }
    at
}

const PAGE_BYTES: u64 = crate::tree::content::PIECE_BYTES;
const PAGES_MAX: usize = 6;

/// A file, of which the pages that were read last are held.
struct Pages<'a> {
    source: &'a dyn ContentSource,
    content: Content,
    held: VecDeque<(u64, Vec<u8>)>,
}

impl<'a> Pages<'a> {
    fn new(source: &'a dyn ContentSource, content: &Content) -> Self {
        Pages { source, content: *content, held: VecDeque::new() }
    }

    fn page(&mut self, number: u64) -> Result<&[u8]> {
        let found = self.held.iter().position(|(held, _)| *held == number);
        if let Some(page) = found.and_then(|at| self.held.remove(at)) {
            self.held.push_back(page);
        } else {
            if self.held.len() == PAGES_MAX {
                self.held.pop_front();
            }
            let start = number * PAGE_BYTES;
            let mut bytes = vec![0; PAGE_BYTES.min(self.content.size - start) as usize];
            self.source.read_at(&self.content, start, &mut bytes)?;
            self.held.push_back((number, bytes));
        }
        Ok(&self.held.back().expect("because it was put there").1)
    }

    /// Returns some bytes from a place on; none at the end.
    fn behind(&mut self, at: u64) -> Result<&[u8]> {
        if at >= self.content.size {
            return Ok(&[]);
        }
        let page = self.page(at / PAGE_BYTES)?;
        Ok(&page[(at % PAGE_BYTES) as usize..])
    }

    /// Returns some bytes before a place; none at the beginning.
    fn before(&mut self, at: u64) -> Result<&[u8]> {
        let Some(last) = at.checked_sub(1) else { return Ok(&[]) };
        let page = self.page(last / PAGE_BYTES)?;
        Ok(&page[..=(last % PAGE_BYTES) as usize])
    }
}

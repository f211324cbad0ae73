//! Writing the pieces of a large file, and holding them against it.

use std::collections::VecDeque;

use super::super::closure::first;
use super::super::delta::{Alignment, Encoder};
use super::super::error::{BundleError, Result};
use super::super::frame;
use super::super::table::DELTA_BYTES_MAX;
use super::lay::{Part, lay};
use super::patch::{self, Step, TOLD_BYTES_MAX, WINDOW_BYTES_MAX, WINDOWS_BYTES_MAX};
use crate::base::job::Unit;
use crate::base::{Digest, Job};
use crate::tree::{Content, ContentSource};

/// Shorter parts are told whatever they have in common with their window.
const SURE_BYTES: u64 = 64 << 10;

/// A piece of a file as it travels.
pub(crate) struct Piece {
    pub plain: u64,
    pub bytes: Vec<u8>,
}

/// One file that is to be made from another.
pub(crate) struct Making<'a> {
    pub source: &'a dyn ContentSource,
    pub old: Content,
    pub new: Content,
    /// Most bytes of a piece.
    pub piece_bytes: u64,
    /// Most bytes that are told at once: a worker holds some 40 times as much.
    pub segment_bytes: u64,
    pub job: &'a Job,
}

impl Making<'_> {
    /// Makes the pieces and shows them in their order; returns whether they are of use. Where they are not, some may
    /// have been shown.
    pub fn run(&self, mut see: impl FnMut(Piece) -> Result<()>) -> Result<bool> {
        let segment_bytes = self.segment_bytes.min(self.piece_bytes).min(WINDOW_BYTES_MAX / 2);
        let Some(parts) = lay(self.source, &self.old, &self.new, segment_bytes, self.job)? else {
            return Ok(false);
        };
        let step = self.job.step("telling", Some(self.new.size), Unit::Bytes);
        let mut pieces = self.cut(parts, segment_bytes).into_iter().peekable();
        let mut travels = 0;
        while pieces.peek().is_some() {
            let batch: Vec<_> = pieces.by_ref().take(self.job.workers.count()).collect();
            let made = self.job.workers.try_map(batch, |(at, parts)| {
                let piece = self.encode(at, &parts)?;
                step.advance(piece.as_ref().map_or(0, |piece| piece.plain));
                Ok::<_, BundleError>(piece)
            });
            for piece in made.map_err(first)? {
                let Some(piece) = piece else { return Ok(false) };
                travels += piece.bytes.len() as u64;
                see(piece)?;
            }
        }
        Ok(travels < self.new.size)
    }

    /// Gathers parts to pieces: each with the place where it begins.
    fn cut(&self, parts: Vec<Part>, segment_bytes: u64) -> Vec<(u64, Vec<Part>)> {
        let most = self.piece_bytes.min(DELTA_BYTES_MAX);
        let told_max = (4 * segment_bytes).min(TOLD_BYTES_MAX).min(most);
        let mut pieces: Vec<(u64, Vec<Part>)> = Vec::new();
        let (mut at, mut room, mut told, mut windows) = (0, 0, 0, 0);
        let mut parts = VecDeque::from(parts);
        while let Some(part) = parts.pop_front() {
            let (tells, window) = match &part {
                Part::Copy { .. } => (0, 0),
                Part::Tell { window, length } => (*length, window.end - window.start),
            };
            let full = tells > room || told + tells > told_max || windows + window > WINDOWS_BYTES_MAX;
            if room == 0 || full {
                pieces.push((at, Vec::new()));
                (room, told, windows) = (most, 0, 0);
            }
            let part = match part {
                Part::Copy { old, length } if length > room => {
                    parts.push_front(Part::Copy { old: old + room, length: length - room });
                    Part::Copy { old, length: room }
                }
                part => part,
            };
            (at, room) = (at + part.length(), room - part.length());
            (told, windows) = (told + tells, windows + window);
            pieces.last_mut().expect("because one was begun").1.push(part);
        }
        pieces
    }

    /// Writes a piece, makes it again from what was written, and gives up on it where it does not lead back.
    fn encode(&self, at: u64, parts: &[Part]) -> Result<Option<Piece>> {
        let (mut steps, mut fresh, mut encoder) = (Vec::new(), Vec::new(), Encoder::new());
        let (mut place, mut tells) = (at, false);
        for part in parts {
            self.job.check()?;
            match part {
                Part::Copy { old, length } => steps.push(Step::Copy { place: *old, length: *length }),
                Part::Tell { window, length } => {
                    let new = self.read(&self.new, place, *length)?;
                    let old = self.read(&self.old, window.start, window.end - window.start)?;
                    let alignment = Alignment::of(&old, &new);
                    if *length <= SURE_BYTES || alignment.covered() >= new.len() / 8 {
                        encoder.object(&old, &new, &alignment);
                        tells = true;
                        let (place, window) = (window.start, old.len() as u64);
                        steps.push(Step::Tell { place, window, length: *length });
                    } else {
                        let packed = frame::pack(&new);
                        steps.push(Step::Fresh { stored: packed.len() as u64, length: *length });
                        fresh.extend_from_slice(&packed);
                    }
                }
            }
            place += part.length();
        }
        let stream = if tells { encoder.finish() } else { Vec::new() };
        let piece = Piece { plain: place - at, bytes: patch::build(&steps, &fresh, &stream) };
        Ok(self.leads_back(at, &piece)?.then_some(piece))
    }

    fn leads_back(&self, at: u64, piece: &Piece) -> Result<bool> {
        if piece.bytes.len() as u64 > DELTA_BYTES_MAX {
            return Ok(false);
        }
        let mut place = at;
        let mut same = true;
        let damaged = |problem| BundleError::Damaged { id: Digest([0; 32]), problem };
        let base = (self.source, &self.old);
        let made = patch::apply(&piece.bytes, piece.plain, base, &damaged, self.job, &mut |bytes| {
            same = same && self.read(&self.new, place, bytes.len() as u64)? == bytes;
            place += bytes.len() as u64;
            Ok(())
        });
        match made {
            Ok(()) => Ok(same),
            Err(BundleError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read(&self, content: &Content, place: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        self.source.read_at(content, place, &mut bytes)?;
        Ok(bytes)
    }
}

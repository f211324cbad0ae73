//! A piece of a large file as a delta frame holds it.
//!
//! ```text
//! patch = steps, step*   fresh bytes*   stream              numbers as in the table (`varint`)
//! step  = length * 4 + 0, place                             copy: so many bytes of the base from there on
//!       | length * 4 + 1, place, window                     tell: an object of the stream, made from `window` bytes
//!                                                           of the base from there on
//!       | length * 4 + 2, stored                            fresh: zstd frame, or the bytes where stored = length
//! ```
//!
//! The lengths add up to those of the piece, none is 0. The stream is one of `delta`; all steps of a piece share it.
//! A reader's work follows from the length of the piece: see the bounds.

use super::super::delta::Decoder;
use super::super::error::{BundleError, Result};
use super::super::frame;
use super::super::table::{DELTA_BYTES_MAX, FRAME_BYTES_MAX};
use super::super::varint::{Input, Output};
use crate::base::Job;
use crate::tree::content::PIECE_BYTES;
use crate::tree::{Content, ContentSource};

/// Most bytes that a piece tells: a reader holds them twice. Part of the format, as all bounds here.
pub(super) const TOLD_BYTES_MAX: u64 = 16 << 20;
/// Longest window that is told from: a reader holds it.
pub(super) const WINDOW_BYTES_MAX: u64 = 24 << 20;
/// Most bytes of all windows of a piece: a reader goes through them.
pub(super) const WINDOWS_BYTES_MAX: u64 = 64 << 20;
/// Each step may have a reader take up a mebibyte of the base: so one for so many bytes of the piece, and some.
const STEP_BYTES: u64 = 4096;
const STEPS_SPARE: u64 = 16;

const COPY: u64 = 0;
const TELL: u64 = 1;
const FRESH: u64 = 2;

/// How the next bytes of the piece are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Copy { place: u64, length: u64 },
    Tell { place: u64, window: u64, length: u64 },
    Fresh { stored: u64, length: u64 },
}

/// Writes a patch.
pub(super) fn build(steps: &[Step], fresh: &[u8], stream: &[u8]) -> Vec<u8> {
    let mut out = Output::default();
    out.number(steps.len() as u64);
    for step in steps {
        let (kind, length, numbers) = match *step {
            Step::Copy { place, length } => (COPY, length, vec![place]),
            Step::Tell { place, window, length } => (TELL, length, vec![place, window]),
            Step::Fresh { stored, length } => (FRESH, length, vec![stored]),
        };
        out.number(length << 2 | kind);
        numbers.into_iter().for_each(|number| out.number(number));
    }
    [&out.bytes, fresh, stream].concat()
}

/// Reads the steps of a patch that makes `plain` bytes from a base of `base` bytes; what is behind them comes back
/// as the fresh bytes and the stream.
fn parse(bytes: &[u8], plain: u64, base: u64) -> std::result::Result<(Vec<Step>, &[u8], &[u8]), String> {
    let mut input = Input::new(bytes);
    let count = input.between(1, STEPS_SPARE + plain / STEP_BYTES)?;
    let (mut steps, mut made, mut told, mut windows, mut fresh) = (Vec::new(), 0u64, 0u64, 0u64, 0u64);
    for _ in 0..count {
        let head = input.number()?;
        let length = head >> 2;
        made += length;
        if length == 0 || made > plain {
            return Err(format!("a step of {length} bytes ends at {made} of {plain}"));
        }
        let range = |place: u64, length: u64| match place.checked_add(length).filter(|end| *end <= base) {
            Some(_) => Ok(()),
            None => Err(format!("{length} bytes at {place} of a base of {base}")),
        };
        steps.push(match head & 3 {
            COPY => {
                let place = input.number()?;
                range(place, length)?;
                Step::Copy { place, length }
            }
            TELL => {
                let (place, window) = (input.number()?, input.below(WINDOW_BYTES_MAX)?);
                range(place, window)?;
                (told, windows) = (told + length, windows + window);
                Step::Tell { place, window, length }
            }
            FRESH if length <= FRAME_BYTES_MAX => {
                let stored = input.between(1, length)?;
                fresh += stored;
                Step::Fresh { stored, length }
            }
            _ => return Err(format!("{head} is no step")),
        });
    }
    if made != plain || told > TOLD_BYTES_MAX || windows > WINDOWS_BYTES_MAX {
        return Err(format!("its steps make {made} bytes of {plain}, {told} told from {windows}"));
    }
    let rest = input.rest();
    let fresh = usize::try_from(fresh).ok().and_then(|fresh| rest.split_at_checked(fresh));
    let (fresh, stream) = fresh.ok_or("it ends inside its fresh bytes")?;
    Ok((steps, fresh, stream))
}

/// Makes a piece of `plain` bytes and shows it to `sink`, at most some mebibytes at once. What is wrong with the
/// patch goes through `damaged`.
pub(crate) fn apply(
    bytes: &[u8],
    plain: u64,
    (source, base): (&dyn ContentSource, &Content),
    damaged: &dyn Fn(String) -> BundleError,
    job: &Job,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    debug_assert!(plain <= DELTA_BYTES_MAX, "the table bounds it");
    let (steps, mut fresh, stream) = parse(bytes, plain, base.size).map_err(damaged)?;
    let mut decoder = None;
    for step in steps {
        job.check()?;
        match step {
            Step::Copy { place, length } => copy(source, base, place, length, sink)?,
            Step::Tell { place, window, length } => {
                let mut old = vec![0; window as usize];
                source.read_at(base, place, &mut old)?;
                let decoder = decoder.get_or_insert_with(|| Decoder::new(stream));
                let made = decoder.object(&old, length as usize).map_err(damaged)?;
                sink(&made)?;
            }
            Step::Fresh { stored, length } => {
                let (part, behind) = fresh.split_at(stored as usize);
                sink(&frame::unpack(part, length).map_err(damaged)?)?;
                fresh = behind;
            }
        }
    }
    Ok(())
}

/// Copies bytes of the base, so that each of the pieces in which a store keeps it is read once.
fn copy(
    source: &dyn ContentSource,
    base: &Content,
    mut place: u64,
    mut length: u64,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut buffer = vec![0; length.min(PIECE_BYTES) as usize];
    while length > 0 {
        let now = length.min(PIECE_BYTES - place % PIECE_BYTES);
        let buffer = &mut buffer[..now as usize];
        source.read_at(base, place, buffer)?;
        sink(buffer)?;
        (place, length) = (place + now, length - now);
    }
    Ok(())
}

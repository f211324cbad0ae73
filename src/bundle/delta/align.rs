//! Which bytes of the new content lie where in the old one, roughly: places may differ in single bytes, as
//! code does whose addresses moved (the idea of bsdiff, Percival 2003).

use super::suffix::suffix_array;

/// A part of the new content that is like a part of the old one, byte for byte but for some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub new: usize,
    pub old: usize,
    pub length: usize,
}

/// A match must explain this many bytes more than the place before it goes on to.
const BETTER_BY: usize = 8;
/// Shorter pieces cost more than they tell. A reader takes none, which bounds their number.
pub(super) const PIECE_BYTES_MIN: usize = 16;

/// Returns pieces ascending in the new content, without overlap there.
pub(super) fn align(old: &[u8], new: &[u8]) -> Vec<Piece> {
    if let Some(pieces) = trivial(old, new) {
        return pieces;
    }
    let suffixes = suffix_array(old);
    let mut pieces = Vec::new();
    let mut last = Piece { new: 0, old: 0, length: 0 };
    let (mut scan, mut length, mut position) = (0, 0, 0);
    while scan < new.len() {
        let mut explained = 0;
        scan += length;
        let mut counted = scan;
        let on_last = |at: usize| old.get(at - last.new + last.old) == Some(&new[at]);
        while scan < new.len() {
            (position, length) = longest(old, &suffixes, &new[scan..]);
            while counted < scan + length {
                explained += usize::from(on_last(counted));
                counted += 1;
            }
            if (length == explained && length != 0) || length > explained + BETTER_BY {
                break;
            }
            explained -= usize::from(counted > scan && on_last(scan));
            scan += 1;
            counted = counted.max(scan);
        }
        if length != explained || scan == new.len() {
            let next = Piece { new: scan, old: position, length: 0 };
            last = close(old, new, last, next, &mut pieces);
        }
    }
    pieces
}

/// Contents that are the same from end to end but for their middle need no suffix array.
fn trivial(old: &[u8], new: &[u8]) -> Option<Vec<Piece>> {
    if old.is_empty() || new.len() < PIECE_BYTES_MIN {
        return Some(Vec::new());
    }
    if old.len() != new.len() {
        return None;
    }
    let other = old.iter().zip(new).filter(|(old, new)| old != new).count();
    (other <= new.len() / 64).then(|| vec![Piece { new: 0, old: 0, length: new.len() }])
}

/// Extends the last piece forward and the next one backward, and enters the last one. Returns where the next
/// one begins.
fn close(old: &[u8], new: &[u8], last: Piece, next: Piece, pieces: &mut Vec<Piece>) -> Piece {
    let room = (next.new - last.new).min(old.len() - last.old);
    let forward = best(room, |at| new[last.new + at] == old[last.old + at]);
    let room = (next.new - last.new).min(next.old);
    let room = if next.new < new.len() { room } else { 0 };
    let backward = best(room, |at| new[next.new - 1 - at] == old[next.old - 1 - at]);
    let (forward, backward) = part(old, new, last, next, forward, backward);
    if forward >= PIECE_BYTES_MIN {
        pieces.push(Piece { length: forward, ..last });
    }
    Piece { new: next.new - backward, old: next.old - backward, length: 0 }
}

/// Returns how far to go so that the most bytes are the same, each other one counted against it.
fn best(room: usize, same: impl Fn(usize) -> bool) -> usize {
    let (mut score, mut top, mut length) = (0i64, 0i64, 0);
    for at in 0..room {
        score += if same(at) { 1 } else { -1 };
        if score > top {
            (top, length) = (score, at + 1);
        }
    }
    length
}

/// Where both reach over each other, the border is where they lose the least.
fn part(old: &[u8], new: &[u8], last: Piece, next: Piece, forward: usize, backward: usize) -> (usize, usize) {
    let between = next.new - last.new;
    let Some(overlap) = (forward + backward).checked_sub(between).filter(|&overlap| overlap > 0) else {
        return (forward, backward);
    };
    let from = between - backward;
    let (mut score, mut top, mut border) = (0i64, 0i64, 0);
    for at in 0..overlap {
        let byte = new[last.new + from + at];
        score += i64::from(byte == old[last.old + from + at]);
        score -= i64::from(byte == old[next.old - backward + at]);
        if score > top {
            (top, border) = (score, at + 1);
        }
    }
    (from + border, backward - border)
}

/// Returns where the longest prefix of `text` lies in the old content, and its length.
fn longest(old: &[u8], suffixes: &[u32], text: &[u8]) -> (usize, usize) {
    let (mut low, mut high) = (0, suffixes.len() - 1);
    let (mut low_common, mut high_common) = (0, 0);
    low_common += common(&old[suffixes[low] as usize..], text);
    high_common += common(&old[suffixes[high] as usize..], text);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let skip = low_common.min(high_common);
        let suffix = &old[suffixes[middle] as usize..];
        let common = skip + common(&suffix[skip.min(suffix.len())..], &text[skip..]);
        let below = match (suffix.get(common), text.get(common)) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(left), Some(right)) => left < right,
        };
        if below {
            (low, low_common) = (middle, common);
        } else {
            (high, high_common) = (middle, common);
        }
    }
    match low_common > high_common {
        true => (suffixes[low] as usize, low_common),
        false => (suffixes[high] as usize, high_common),
    }
}

fn common(left: &[u8], right: &[u8]) -> usize {
    let length = left.len().min(right.len());
    let (left, right) = (&left[..length], &right[..length]);
    let mut at = 0;
    while at + 8 <= length && left[at..at + 8] == right[at..at + 8] {
        at += 8;
    }
    at + left[at..].iter().zip(&right[at..]).take_while(|(left, right)| left == right).count()
}

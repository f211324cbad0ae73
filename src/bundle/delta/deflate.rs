//! Compresses as `gzip -9` of GNU gzip does, bit for bit: RFC 1951 leaves open which matches to take and where
//! to end a block, and this takes them and ends it where that program does (lazy matching over hash chains of
//! three bytes; a block ends when 32767 symbols are in it, or earlier when it shrinks well).
//!
//! What it makes is compared with the real file before it is relied on: where they differ, or another program
//! wrote that, the file travels as it is.

use super::huffman::{Block, Symbol};

const WINDOW: usize = 1 << 15;
const MATCH_MIN: usize = 3;
const MATCH_MAX: usize = 258;
/// How far back a match may lie: so far that the look-ahead of a window of two halves stays whole.
const DISTANCE_MAX: usize = WINDOW - (MATCH_MAX + MATCH_MIN + 1);
/// A match of three bytes from further away costs more than the bytes.
const TOO_FAR: usize = 4096;
const CHAIN: usize = 4096;
/// A match so long is good enough for a quarter of the search.
const GOOD: usize = 32;
const HASH_BITS: u32 = 15;
const NONE: u32 = u32::MAX;

/// Returns the deflate stream of a content.
pub(super) fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut state = State {
        plain,
        at: 0,
        hash: 0,
        heads: vec![NONE; 1 << HASH_BITS],
        previous: vec![NONE; WINDOW],
        found: 0,
    };
    for place in 0..MATCH_MIN - 1 {
        state.roll(place);
    }
    state.run()
}

struct State<'a> {
    plain: &'a [u8],
    at: usize,
    hash: u32,
    heads: Vec<u32>,
    previous: Vec<u32>,
    /// Where the last match was found.
    found: usize,
}

impl State<'_> {
    fn run(&mut self) -> Vec<u8> {
        let mut block = Block::new();
        let (mut start, mut length, mut is_waiting) = (0, MATCH_MIN - 1, false);
        while self.at < self.plain.len() {
            let head = self.insert();
            let (last_length, last_found) = (length, self.found);
            length = self.search(head, last_length);
            if last_length >= MATCH_MIN && length <= last_length {
                let distance = self.at - 1 - last_found;
                let is_full = block.add(Symbol::Match { length: last_length, distance }, self.at - start);
                for _ in 0..last_length - 2 {
                    self.at += 1;
                    self.insert();
                }
                (is_waiting, length) = (false, MATCH_MIN - 1);
                self.at += 1;
                if is_full {
                    block.flush(&self.plain[start..self.at], false);
                    start = self.at;
                }
                continue;
            }
            if is_waiting {
                let literal = Symbol::Literal(self.plain[self.at - 1]);
                if block.add(literal, self.at - start) {
                    block.flush(&self.plain[start..self.at], false);
                    start = self.at;
                }
            }
            is_waiting = true;
            self.at += 1;
        }
        if is_waiting {
            block.add(Symbol::Literal(self.plain[self.at - 1]), self.at - start);
        }
        block.flush(&self.plain[start..], true);
        block.finish()
    }

    fn byte(&self, at: usize) -> u8 {
        self.plain.get(at).copied().unwrap_or(0)
    }

    fn roll(&mut self, at: usize) {
        self.hash = (self.hash << 5 ^ u32::from(self.byte(at))) & ((1 << HASH_BITS) - 1);
    }

    /// Enters the three bytes here and returns where they, or others of the same hash, were last.
    fn insert(&mut self) -> u32 {
        self.roll(self.at + MATCH_MIN - 1);
        let head = std::mem::replace(&mut self.heads[self.hash as usize], self.at as u32);
        self.previous[self.at % WINDOW] = head;
        // The first byte of all is never matched: that program's 0 means nothing.
        if head == 0 { NONE } else { head }
    }

    fn search(&mut self, head: u32, last_length: usize) -> usize {
        let far = |place: u32| self.at - place as usize > DISTANCE_MAX;
        if head == NONE || last_length >= MATCH_MAX || far(head) {
            return MATCH_MIN - 1;
        }
        let left = self.plain.len() - self.at;
        let length = self.longest(head as usize, last_length).min(left);
        if length == MATCH_MIN && self.at - self.found > TOO_FAR { MATCH_MIN - 1 } else { length }
    }

    fn longest(&mut self, mut place: usize, last_length: usize) -> usize {
        let limit = self.at.saturating_sub(DISTANCE_MAX);
        let mut best = last_length;
        let mut chain = if last_length >= GOOD { CHAIN / 4 } else { CHAIN };
        let here = &self.plain[self.at..self.plain.len().min(self.at + MATCH_MAX)];
        loop {
            let there = &self.plain[place..];
            let may_be_longer =
                best >= here.len() || there[best] == here[best] && there[best - 1] == here[best - 1];
            if may_be_longer {
                let length = here.iter().zip(there).take_while(|(left, right)| left == right).count();
                if length > best {
                    (best, self.found) = (length, place);
                    if length >= MATCH_MAX {
                        break;
                    }
                }
            }
            let next = self.previous[place % WINDOW];
            chain -= 1;
            if next == NONE || next as usize <= limit || chain == 0 {
                break;
            }
            place = next as usize;
        }
        best
    }
}

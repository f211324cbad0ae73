//! One stream: pieces, then bytes. Reader and writer run the same code.

use super::address::{Foretold, Moves, Program};
use super::align::{PIECE_BYTES_MIN, Piece};
use super::coder::Coder;
use super::model::{ECHO, Expectation, Model, NUMBERS, PLACE};

/// What a writer knows of an object.
pub(super) struct Source<'a> {
    pub new: &'a [u8],
    pub pieces: &'a [Piece],
    pub shifts: &'a [i64],
}

pub(super) struct Stream {
    model: Model,
    echoes: Echoes,
}

/// Roles of numbers.
const COUNT: usize = 0;
const GAP: usize = 1;
const LENGTH: usize = 2;
const JUMP: usize = 3;
const SHIFTS: usize = 4;
const SHIFT: usize = 5;
const FORM: usize = 6;
const _: () = assert!(FORM < NUMBERS);

const SHIFTS_MAX: u64 = 64;

impl Stream {
    pub fn new() -> Self {
        Stream { model: Model::new(), echoes: Echoes::new() }
    }

    /// Returns how many bytes this stream has made.
    pub fn made(&self) -> usize {
        self.echoes.history.len()
    }

    /// Codes whether the object is packed when it is made, and how long it is before.
    pub fn form<C: Coder>(&mut self, coder: &mut C, packed: Option<usize>) -> Option<usize> {
        let form = self.model.number(coder, FORM, packed.map_or(0, |length| length as u64 + 1));
        form.checked_sub(1).map(|length| usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// Codes an object of `size` bytes and returns its bytes.
    pub fn object<C: Coder>(
        &mut self,
        coder: &mut C,
        old: &[u8],
        size: usize,
        source: Option<&Source<'_>>,
    ) -> Result<Vec<u8>, String> {
        let pieces = self.pieces(coder, old.len(), size, source.map(|source| source.pieces))?;
        let shifts = self.shifts(coder, source.map_or(&[], |source| source.shifts))?;
        let program = Program::new(if pieces.is_empty() { &[] } else { old });
        let mut guide = Guide { old, moves: Moves::new(&program, &pieces, shifts), field: None };
        let start = self.echoes.history.len();
        let mut pieces = pieces.into_iter().peekable();
        for at in 0..size {
            while pieces.next_if(|piece| piece.new + piece.length <= at).is_some() {}
            let piece = pieces.peek().filter(|piece| piece.new <= at);
            let expected = match piece {
                Some(piece) => guide.expect(piece, at),
                None => self.echoes.expect(),
            };
            let byte = self.model.byte(coder, source.map_or(0, |source| source.new[at]), &expected);
            self.echoes.add(byte, &expected);
            guide.learn(byte, &expected, &self.echoes.history);
        }
        Ok(self.echoes.history[start..].to_vec())
    }

    fn pieces<C: Coder>(
        &mut self,
        coder: &mut C,
        old: usize,
        size: usize,
        known: Option<&[Piece]>,
    ) -> Result<Vec<Piece>, String> {
        let count = self.model.number(coder, COUNT, known.map_or(0, |known| known.len() as u64));
        let (mut pieces, mut last) = (Vec::new(), Piece { new: 0, old: 0, length: 0 });
        for index in 0..count {
            let next = known.and_then(|known| known.get(index as usize)).copied().unwrap_or(last);
            let gap = (next.new as u64).wrapping_sub((last.new + last.length) as u64);
            let gap = self.model.number(coder, GAP, gap);
            let length = self.model.number(coder, LENGTH, next.length as u64);
            let straight = (last.old + last.length) as i64;
            let jump = (next.old as i64).wrapping_sub(straight).wrapping_sub(gap as i64);
            let jump = unfold(self.model.number(coder, JUMP, fold(jump)));
            let new = ((last.new + last.length) as u64).checked_add(gap);
            let place = straight.checked_add_unsigned(gap).and_then(|place| place.checked_add(jump));
            let piece =
                inside(new, length, size).zip(inside(place.and_then(|p| p.try_into().ok()), length, old));
            let Some((new, old)) = piece.filter(|_| length >= PIECE_BYTES_MIN as u64) else {
                return Err(format!("a piece of {length} bytes lies outside, or is too short"));
            };
            last = Piece { new, old, length: length as usize };
            pieces.push(last);
        }
        Ok(pieces)
    }

    fn shifts<C: Coder>(&mut self, coder: &mut C, known: &[i64]) -> Result<Vec<i64>, String> {
        let count = self.model.number(coder, SHIFTS, known.len() as u64);
        if count > SHIFTS_MAX {
            return Err(format!("{count} segments are too many"));
        }
        let shift = |index: u64| known.get(index as usize).copied().unwrap_or(0);
        Ok((0..count).map(|index| unfold(self.model.number(coder, SHIFT, fold(shift(index))))).collect())
    }
}

/// Returns the start of a range that ends inside of `size` bytes.
fn inside(start: Option<u64>, length: u64, size: usize) -> Option<usize> {
    let start = start?;
    start.checked_add(length).filter(|&end| end <= size as u64).map(|_| start as usize)
}

/// Signed numbers, the small ones of both signs first.
fn fold(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn unfold(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// What the old content says of the next byte.
struct Guide<'a> {
    old: &'a [u8],
    moves: Moves<'a>,
    /// The address that is being told, where it began, and how many of its bytes came otherwise.
    field: Option<(Foretold, usize, usize)>,
}

impl Guide<'_> {
    fn expect(&mut self, piece: &Piece, at: usize) -> Expectation {
        let place = piece.old + (at - piece.new);
        if self.field.is_none() {
            let foretold = self.moves.foretell(place, at);
            let whole = foretold.filter(|foretold| at + foretold.length <= piece.new + piece.length);
            self.field = whole.map(|foretold| (foretold, at, 0));
        }
        let mut around = [0; 6];
        for (index, byte) in around.iter_mut().enumerate() {
            let place = (place + index).checked_sub(3);
            *byte = place.and_then(|place| self.old.get(place)).copied().unwrap_or(0);
        }
        let length = at - piece.new;
        match &self.field {
            Some((foretold, from, missed)) => Expectation {
                byte: foretold.bytes[at - from],
                ground: foretold.kind.into(),
                step: at - from,
                missed: *missed,
                around,
                length,
            },
            None => Expectation { byte: around[3], ground: PLACE, around, length, ..Expectation::default() },
        }
    }

    fn learn(&mut self, byte: u8, expected: &Expectation, history: &[u8]) {
        let Some((foretold, _, missed)) = &mut self.field else { return };
        *missed += usize::from(byte != expected.byte);
        if expected.step + 1 == foretold.length {
            if *missed > 0 {
                self.moves.learn(foretold, &history[history.len() - foretold.length..]);
            }
            self.field = None;
        }
    }
}

const ECHO_BITS: u32 = 18;
const ECHO_BYTES: usize = 5;

/// Finds what followed when the last bytes occurred before in this stream.
struct Echoes {
    history: Vec<u8>,
    /// Where bytes with this hash ended last.
    ends: Vec<u32>,
    /// Where the echo goes on; 0 for none.
    place: usize,
    length: usize,
}

impl Echoes {
    fn new() -> Self {
        Echoes { history: Vec::new(), ends: vec![0; 1 << ECHO_BITS], place: 0, length: 0 }
    }

    fn expect(&self) -> Expectation {
        match self.place {
            0 => Expectation::default(),
            place => Expectation {
                byte: self.history[place],
                ground: ECHO,
                length: self.length,
                ..Expectation::default()
            },
        }
    }

    fn add(&mut self, byte: u8, expected: &Expectation) {
        self.history.push(byte);
        if expected.ground == ECHO && byte == expected.byte {
            self.place += 1;
            self.length += 1;
        } else {
            self.place = 0;
        }
        let Some(tail) = self.history.last_chunk::<ECHO_BYTES>() else { return };
        let value = tail.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        let slot = (value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - ECHO_BITS)) as usize;
        if self.place == 0 {
            (self.place, self.length) = (self.ends[slot] as usize, 0);
        }
        self.ends[slot] = self.history.len() as u32;
    }
}

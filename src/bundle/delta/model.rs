//! What the next byte is likely to be: first whether it is the expected one, then, where it isn't, which.

use super::address::KINDS;
use super::coder::{Coder, ONE};
use super::mixer::{Bit, INPUTS, Mixer, Tables};

/// What an expectation rests on: a kind of address (1 to 9), the place in the old content, or a text that
/// occurred before in this stream.
pub(super) const PLACE: usize = KINDS;
pub(super) const ECHO: usize = KINDS + 1;
const GROUNDS: usize = KINDS + 2;

/// What is known before a byte is coded.
#[derive(Clone, Copy, Default)]
pub(super) struct Expectation {
    /// The byte that is expected, and why. 0 grounds: nothing is expected.
    pub byte: u8,
    pub ground: usize,
    /// Which byte of an address.
    pub step: usize,
    /// How many bytes of this address came otherwise.
    pub missed: usize,
    /// The old content around the place: 3 bytes before, 1 at, 2 behind.
    pub around: [u8; 6],
    /// How long the echo has lasted, or how far the piece's beginning is behind.
    pub length: usize,
}

const FLAG_BITS: u32 = 16;
const FLAG_CONTEXTS: usize = 7;
const BYTE_BITS: u32 = 18;
const BYTE_CONTEXTS: usize = 7;
const FLAG_LIMIT: u32 = 255;
const BYTE_LIMIT: u32 = 60;

/// The model of a stream. It learns from every byte, and reader and writer learn the same.
pub(super) struct Model {
    tables: Tables,
    flags: Vec<Bit>,
    flag_mixer: Mixer,
    bytes: Vec<Bit>,
    byte_mixer: Mixer,
    numbers: Vec<Bit>,
    /// Which of the last bytes came as expected.
    hits: u32,
    /// Bytes since the last that didn't.
    run: usize,
    /// The last eight bytes.
    recent: u64,
}

impl Model {
    pub fn new() -> Self {
        Model {
            tables: Tables::new(),
            flags: vec![Bit::NEW; FLAG_CONTEXTS << FLAG_BITS],
            flag_mixer: Mixer::new(GROUNDS * 16, FLAG_CONTEXTS, 6),
            bytes: vec![Bit::NEW; BYTE_CONTEXTS << BYTE_BITS],
            byte_mixer: Mixer::new(GROUNDS * 256, BYTE_CONTEXTS, 6),
            numbers: vec![Bit::NEW; NUMBERS * 1024],
            hits: 0,
            run: 0,
            recent: 0,
        }
    }

    /// Codes a byte.
    pub fn byte<C: Coder>(&mut self, coder: &mut C, byte: u8, expected: &Expectation) -> u8 {
        let coded = if expected.ground != 0 && self.flag(coder, byte == expected.byte, expected) {
            expected.byte
        } else {
            self.other(coder, byte, expected)
        };
        self.recent = self.recent << 8 | u64::from(coded);
        coded
    }

    fn flag<C: Coder>(&mut self, coder: &mut C, hit: bool, expected: &Expectation) -> bool {
        let Expectation { byte, ground, step, missed, around, length } = *expected;
        let run = logarithm(self.run).min(15);
        let same = u64::from(byte == around[3]);
        let state = (ground as u64) << 8 | (step as u64) << 5 | (missed.min(3) as u64) << 3 | same << 2;
        let [before2, before1, at, behind1, behind2] =
            [around[1], around[2], around[3], around[4], around[5]];
        let recent = self.recent;
        let contexts = [
            state << 8 | run as u64,
            hash(&[1, state, u64::from(before1), u64::from(byte)]),
            hash(&[2, state, u64::from(self.hits & 0xffff)]),
            hash(&[3, state, u64::from_le_bytes([before2, before1, at, behind1, behind2, 0, 0, 0])]),
            hash(&[4, recent & 0xffff, u64::from(byte), state]),
            hash(&[5, state, run as u64, logarithm(length) as u64, u64::from(self.hits & 7)]),
            hash(&[6, u64::from(at), u64::from(byte), recent & 0xff, u64::from(self.hits & 3)]),
        ];
        let mut slots = [0usize; FLAG_CONTEXTS];
        let mut inputs = [0u32; FLAG_CONTEXTS];
        for (index, context) in contexts.iter().enumerate() {
            slots[index] = index << FLAG_BITS | fold(*context, FLAG_BITS);
            inputs[index] = self.flags[slots[index]].probability();
        }
        let mixed = self.flag_mixer.mix(&self.tables, &inputs, ground * 16 + run);
        let hit = coder.code(hit, mixed);
        self.flag_mixer.learn(hit);
        for slot in slots {
            self.flags[slot].learn(&self.tables, hit, FLAG_LIMIT);
        }
        self.hits = self.hits << 1 | u32::from(hit);
        self.run = if hit { self.run + 1 } else { 0 };
        hit
    }

    fn other<C: Coder>(&mut self, coder: &mut C, byte: u8, expected: &Expectation) -> u8 {
        let Expectation { byte: foretold, ground, step, missed, around, .. } = *expected;
        let recent = self.recent;
        let state = (ground as u64) << 8 | (step as u64) << 3 | missed.min(3) as u64;
        let contexts = [
            hash(&[1, state]),
            hash(&[2, recent & 0xff]),
            hash(&[3, recent & 0xffff]),
            hash(&[4, recent & 0xff_ffff]),
            hash(&[5, recent & 0xffff_ffff]),
            hash(&[6, state, u64::from(foretold)]),
            hash(&[7, ground as u64, u64::from(around[2]), u64::from(foretold), u64::from(around[4])]),
        ];
        let mut node = 1usize;
        for shift in (0..8).rev() {
            let mut slots = [0usize; BYTE_CONTEXTS];
            let mut inputs = [0u32; BYTE_CONTEXTS];
            for (index, context) in contexts.iter().enumerate() {
                let place = context.wrapping_add(node as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                slots[index] = index << BYTE_BITS | (place >> (64 - BYTE_BITS)) as usize;
                inputs[index] = self.bytes[slots[index]].probability();
            }
            let mixed = self.byte_mixer.mix(&self.tables, &inputs, ground * 256 + node);
            let bit = coder.code(byte >> shift & 1 == 1, mixed);
            self.byte_mixer.learn(bit);
            for slot in slots {
                self.bytes[slot].learn(&self.tables, bit, BYTE_LIMIT);
            }
            node = node << 1 | usize::from(bit);
        }
        node as u8
    }

    /// Codes a number: how many bits it has, then these. `role` is below [`NUMBERS`].
    pub fn number<C: Coder>(&mut self, coder: &mut C, role: usize, value: u64) -> u64 {
        let bits = 64 - value.leading_zeros() as usize;
        let mut node = 1;
        for shift in (0..7).rev() {
            let bit = self.number_bit(coder, role * 1024 + node, bits >> shift & 1 == 1);
            node = node << 1 | usize::from(bit);
        }
        let bits = (node - 128).min(64);
        if bits == 0 {
            return 0;
        }
        let mut result = 1u64;
        for shift in (0..bits - 1).rev() {
            let bit = value >> shift & 1 == 1;
            let bit = match bits - 1 - shift {
                depth @ 1..=3 => {
                    let prefix = (result as usize) & 7;
                    self.number_bit(
                        coder,
                        role * 1024 + 128 + bits.min(40) * 16 + depth * 4 + (prefix & 3),
                        bit,
                    )
                }
                _ => coder.code(bit, ONE / 2),
            };
            result = result << 1 | u64::from(bit);
        }
        result
    }

    fn number_bit<C: Coder>(&mut self, coder: &mut C, slot: usize, bit: bool) -> bool {
        let bit = coder.code(bit, self.numbers[slot].probability());
        self.numbers[slot].learn(&self.tables, bit, 60);
        bit
    }
}

/// Roles of numbers.
pub(super) const NUMBERS: usize = 8;

const _: () = assert!(FLAG_CONTEXTS <= INPUTS && BYTE_CONTEXTS <= INPUTS);

fn logarithm(value: usize) -> usize {
    (usize::BITS - value.leading_zeros()) as usize
}

fn hash(parts: &[u64]) -> u64 {
    parts.iter().fold(0x2545_f491_4f6c_dd1d, |sum, part| {
        (sum ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    })
}

fn fold(context: u64, bits: u32) -> usize {
    (context.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits)) as usize
}

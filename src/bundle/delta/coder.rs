//! Binary arithmetic coding: one bit at a time, each with the probability that the model gives it.
//!
//! The interval is kept in 32 bits and shifted out a byte at a time once its two ends agree on it. A reader
//! that runs behind the end of its bytes sees zeros: what it then decodes is refused by the object's digest,
//! and the number of objects and bytes is bounded by the table, so that it ends.

/// Probabilities have 16 bits: this is 1.
pub(super) const ONE: u32 = 1 << 16;

/// Either writes bits or reads them, so that the model is written once.
pub(super) trait Coder {
    /// Codes a bit whose probability to be set is `probability` / 65536, 1 to 65535. A writer takes `bit`
    /// and returns it; a reader ignores it and returns what was written.
    fn code(&mut self, bit: bool, probability: u32) -> bool;
}

pub(super) struct Writer {
    low: u32,
    high: u32,
    bytes: Vec<u8>,
}

impl Writer {
    pub fn new() -> Self {
        Writer { low: 0, high: u32::MAX, bytes: Vec::new() }
    }

    /// Ends the stream: as few bytes as name a number inside the interval.
    pub fn finish(mut self) -> Vec<u8> {
        // Zeros follow for a reader, so that one byte above the low end is enough where it fits.
        for kept in 1..=4u32 {
            let shift = 32 - 8 * kept;
            let mask = if shift == 0 { 0 } else { u32::MAX >> (32 - shift) };
            let value = self.low.checked_add(mask).map_or(u32::MAX, |value| value) & !mask;
            if value >= self.low && value <= self.high {
                self.bytes.extend_from_slice(&value.to_be_bytes()[..kept as usize]);
                break;
            }
        }
        while self.bytes.last() == Some(&0) {
            self.bytes.pop();
        }
        self.bytes
    }
}

impl Coder for Writer {
    fn code(&mut self, bit: bool, probability: u32) -> bool {
        let middle = split(self.low, self.high, probability);
        if bit {
            self.high = middle;
        } else {
            self.low = middle + 1;
        }
        while (self.low ^ self.high) >> 24 == 0 {
            self.bytes.push((self.high >> 24) as u8);
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
        }
        bit
    }
}

pub(super) struct Reader<'a> {
    low: u32,
    high: u32,
    value: u32,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut reader = Reader { low: 0, high: u32::MAX, value: 0, bytes };
        for _ in 0..4 {
            reader.value = reader.value << 8 | reader.next();
        }
        reader
    }

    fn next(&mut self) -> u32 {
        match self.bytes.split_first() {
            Some((first, rest)) => {
                self.bytes = rest;
                u32::from(*first)
            }
            None => 0,
        }
    }
}

impl Coder for Reader<'_> {
    fn code(&mut self, _: bool, probability: u32) -> bool {
        let middle = split(self.low, self.high, probability);
        let bit = self.value <= middle;
        if bit {
            self.high = middle;
        } else {
            self.low = middle + 1;
        }
        while (self.low ^ self.high) >> 24 == 0 {
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
            self.value = self.value << 8 | self.next();
        }
        bit
    }
}

/// Splits the interval. The result is at least `low` and below `high`, which differ in their first byte.
fn split(low: u32, high: u32, probability: u32) -> u32 {
    debug_assert!((1..ONE).contains(&probability));
    low + ((u64::from(high - low) * u64::from(probability)) >> 16) as u32
}

//! Probabilities that learn, and the mixing of many into one. Integers only: every machine computes the same.

use super::coder::ONE;

/// 65536 / (1 + e^-x) for x from -12 to 12 in steps of 1/4: the logistic function. Part of the format.
const LOGISTIC: [u16; 97] = [
    1, 1, 1, 1, 1, 1, 2, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 28, 36, 47, 60, 77, 98, 126, 162, 208, 267, 342,
    439, 562, 720, 922, 1179, 1506, 1921, 2446, 3108, 3938, 4971, 6249, 7812, 9702, 11955, 14595, 17625,
    21025, 24743, 28693, 32768, 36843, 40793, 44511, 47911, 50941, 53581, 55834, 57724, 59287, 60565, 61598,
    62428, 63090, 63615, 64030, 64357, 64614, 64816, 64974, 65097, 65194, 65269, 65328, 65374, 65410, 65438,
    65459, 65476, 65489, 65500, 65508, 65514, 65519, 65523, 65526, 65528, 65530, 65531, 65532, 65533, 65534,
    65534, 65535, 65535, 65535, 65535, 65535, 65535,
];

/// Bound of the logistic domain: 12 in units of 1/256.
const DOMAIN: i32 = 12 * 256;

/// Returns the probability (of 65536) at a point of the logistic domain, in units of 1/256.
fn squash(point: i32) -> u32 {
    let place = (point.clamp(-DOMAIN, DOMAIN - 1) + DOMAIN) as usize;
    let (index, part) = (place / 64, (place % 64) as u32);
    let (left, right) = (u32::from(LOGISTIC[index]), u32::from(LOGISTIC[index + 1]));
    ((left * (64 - part) + right * part) / 64).clamp(1, ONE - 1)
}

/// Tables that follow from constants, made once a stream.
pub(super) struct Tables {
    /// The inverse of [`squash`]: by the probability's upper 12 bits, and finer near both ends.
    middle: Box<[i16; 4096]>,
    low: Box<[i16; 4096]>,
    /// 65536 / (n + 1.5): how far a probability moves that was seen n times.
    rates: [u32; 256],
}

impl Tables {
    pub fn new() -> Self {
        let mut middle = Box::new([0i16; 4096]);
        let mut low = Box::new([0i16; 4096]);
        let (mut in_middle, mut in_low) = (0usize, 0usize);
        for point in -DOMAIN..DOMAIN {
            let probability = squash(point) as usize;
            while in_middle * 16 <= probability && in_middle < 4096 {
                middle[in_middle] = point as i16;
                in_middle += 1;
            }
            while in_low <= probability && in_low < 4096 {
                low[in_low] = point as i16;
                in_low += 1;
            }
        }
        middle[in_middle..].fill((DOMAIN - 1) as i16);
        let mut rates = [0; 256];
        for (count, rate) in rates.iter_mut().enumerate() {
            *rate = ONE * 2 / (2 * count as u32 + 3);
        }
        Tables { middle, low, rates }
    }

    fn stretch(&self, probability: u32) -> i32 {
        match probability {
            0..4096 => i32::from(self.low[probability as usize]),
            61441.. => -i32::from(self.low[(ONE - 1 - probability.min(ONE - 1)) as usize]),
            _ => i32::from(self.middle[(probability >> 4) as usize]),
        }
    }
}

/// A probability of 22 bits and how often it was seen, in 10 bits: the more often, the less it moves.
#[derive(Clone, Copy)]
pub(super) struct Bit(u32);

impl Bit {
    pub const NEW: Bit = Bit(1 << 31);

    pub fn probability(self) -> u32 {
        (self.0 >> 16).clamp(1, ONE - 1)
    }

    pub fn learn(&mut self, tables: &Tables, bit: bool, limit: u32) {
        let count = self.0 & 0x3ff;
        let probability = i64::from(self.0 >> 10);
        let goal = if bit { (1 << 22) - 1 } else { 0 };
        let step = (goal - probability) * i64::from(tables.rates[count.min(255) as usize]) / i64::from(ONE);
        let moved = (probability + step) as u32;
        self.0 = moved << 10 | (count + 1).min(limit);
    }
}

/// Most inputs of a mixer.
pub(super) const INPUTS: usize = 8;

/// Weighs predictions in the logistic domain. A set of weights for each small context.
pub(super) struct Mixer {
    weights: Vec<[i32; INPUTS]>,
    inputs: [i32; INPUTS],
    set: usize,
    result: u32,
    rate: i32,
}

impl Mixer {
    pub fn new(sets: usize, inputs: usize, rate: i32) -> Self {
        let first = (1 << 16) * 10 / 8 / inputs as i32 * 2;
        Mixer { weights: vec![[first; INPUTS]; sets], inputs: [0; INPUTS], set: 0, result: ONE / 2, rate }
    }

    pub fn mix(&mut self, tables: &Tables, probabilities: &[u32], set: usize) -> u32 {
        self.set = set;
        let weights = &self.weights[set];
        let mut sum = 0i64;
        for (index, &probability) in probabilities.iter().enumerate() {
            let input = tables.stretch(probability);
            self.inputs[index] = input;
            sum += i64::from(input) * i64::from(weights[index]);
        }
        self.result = squash((sum >> 16).clamp(-i64::from(DOMAIN), i64::from(DOMAIN)) as i32);
        self.result
    }

    pub fn learn(&mut self, bit: bool) {
        let error = (if bit { ONE as i32 } else { 0 }) - self.result as i32;
        let rate = i64::from(self.rate);
        for (weight, input) in self.weights[self.set].iter_mut().zip(self.inputs) {
            let step = (i64::from(input) * i64::from(error) * rate + (1 << 15)) >> 16;
            *weight = (i64::from(*weight) + step).clamp(-(1 << 22), 1 << 22) as i32;
        }
    }
}

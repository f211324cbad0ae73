//! The fuzz targets of `tests/fuzz` over their seeds and a few thousand mutations, the same in every run: what
//! needs no nightly compiler. `make fuzz` goes on where this stops.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mkimage::base::path::escaped;

use crate::elf::make;
use crate::init::logic;
use crate::packages::keys;

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

use bodies::{TARGETS, Target};

/// Longest input that mutation makes, in bytes.
const INPUT_BYTES_MAX: usize = 16 << 10;
/// Numbers at which things overflow.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
    u64::MAX - 511,
    512,
];

/// Random enough, and the same in every run (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % limit.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Changes an input once, as fuzzers do.
fn mutate(bytes: &mut Vec<u8>, target: &Target, others: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let behind = at + random.below(9).min(bytes.len() - at);
    match random.below(10) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        2 if at < bytes.len() => bytes[at] = random.below(256) as u8,
        3 | 4 => {
            let mut number = random.pick(&NUMBERS).to_le_bytes()[..1 << random.below(4)].to_vec();
            if random.below(2) == 0 {
                number.reverse();
            }
            let end = (at + number.len()).min(bytes.len());
            bytes.splice(at..end, number);
        }
        5 => drop(bytes.drain(at..behind)),
        6 => bytes.truncate(at),
        7 => {
            let piece = bytes[at..behind].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, piece);
        }
        8 => {
            let other = random.pick(others);
            let from = random.below(other.len() + 1);
            let length = random.below(200).min(other.len() - from);
            let end = if random.below(2) == 0 { at } else { (at + length).min(bytes.len()) };
            bytes.splice(at..end, other[from..from + length].iter().copied());
        }
        _ if !target.words.is_empty() => {
            let word = random.pick(target.words).as_bytes().to_vec();
            let end = if random.below(2) == 0 { at } else { (at + word.len()).min(bytes.len()) };
            bytes.splice(at..end, word);
        }
        _ => bytes.insert(at, random.below(256) as u8),
    }
    bytes.truncate(INPUT_BYTES_MAX);
}

fn check(target: &Target, bytes: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)));
    assert!(outcome.is_ok(), "target {} fails on \"{}\"", target.name, escaped(bytes));
}

/// Runs a target over its seeds, their prefixes, and mutations of them, some on top of others.
fn survives(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of the list");
    let seeds = (target.seeds)();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    check(target, b"");
    for seed in &seeds {
        check(target, seed);
        for _ in 0..target.rounds / 50 {
            check(target, &seed[..random.below(seed.len() + 1)]);
        }
    }
    for _ in 0..target.rounds {
        for seed in &seeds {
            let mut bytes = seed.clone();
            for _ in 0..=random.below(4) {
                mutate(&mut bytes, target, &seeds, &mut random);
            }
            check(target, &bytes);
        }
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        mod survives_mutations {
            $(#[test]
            fn $name() {
                super::survives(stringify!($name));
            })*
        }
    };
}

targets! {
    archive decompress ar deb lock control sources version relations index inrelease keyring rpm repodata dependency scriptlet recipe partitions volume ext4 verity slots records program pe module elf caches command_line credentials dhcp metadata seed loader directory commit ostree bundle delta patch names envelope site key sysusers script unit pack store_lines bill timeline image origin
}

#[test]
fn every_target_is_run_here_and_by_the_fuzzer() {
    let listed: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(NAMES, listed);
    let manifest = include_str!("../fuzz/Cargo.toml");
    let binaries: Vec<&str> =
        manifest.split("[[bin]]\nname = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(binaries, listed);
}

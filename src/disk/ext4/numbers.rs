//! Which inode has which number: in tree order, or where the hash of its path says.

use super::catalogue::{LOST_AND_FOUND, ROOT};
use super::format::*;
use super::probe;

/// No inode has this number.
const NOBODY: u32 = u32::MAX;
/// Keys of inodes are other ones than those of blocks.
const DOMAIN: u64 = 0x696e_6f64_6500_0000;

/// The numbers of all inodes.
pub enum Numbers {
    /// In tree order, one behind the other up to this one.
    InOrder(u32),
    /// By path.
    Spread {
        /// The number of the inode at each position.
        numbers: Vec<u32>,
        /// The position of the inode with each number.
        positions: Vec<u32>,
    },
}

/// What a group's inode table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupInodes {
    pub used: u64,
    /// Behind this one none is in use.
    pub end: u64,
}

impl Numbers {
    /// Gives each inode the best place that is free among `inodes`, those with the least keys first. There are
    /// more inodes than keys.
    pub fn spread(keys: &[u64], inodes: u64) -> Self {
        let mut numbers = vec![0; keys.len()];
        let mut positions = vec![NOBODY; inodes as usize + 1];
        let mut order: Vec<(u64, u32)> = (0..).zip(keys).map(|(at, &key)| (key ^ DOMAIN, at)).collect();
        order[..=LOST_AND_FOUND as usize].iter_mut().for_each(|(key, _)| *key = 0);
        order.sort_unstable();
        for (key, position) in order {
            let number = match position {
                ROOT => ROOT_INODE,
                LOST_AND_FOUND => FIRST_INODE,
                _ => free_number(&positions, key),
            };
            numbers[position as usize] = number;
            positions[number as usize] = position;
        }
        Numbers::Spread { numbers, positions }
    }

    /// Returns the number of the inode at a position.
    pub fn number(&self, position: u32) -> u32 {
        match self {
            Numbers::InOrder(_) if position == ROOT => ROOT_INODE,
            Numbers::InOrder(_) => FIRST_INODE - LOST_AND_FOUND + position,
            Numbers::Spread { numbers, .. } => numbers[position as usize],
        }
    }

    /// Returns the position of the inode with a number; `None` for reserved ones and free ones.
    pub fn position(&self, number: u32) -> Option<u32> {
        match self {
            _ if number == ROOT_INODE => Some(ROOT),
            _ if number < FIRST_INODE => None,
            Numbers::InOrder(last) => (number <= *last).then(|| number - FIRST_INODE + LOST_AND_FOUND),
            Numbers::Spread { positions, .. } => {
                positions.get(number as usize).copied().filter(|&position| position != NOBODY)
            }
        }
    }

    /// Tells whether a number is in use, or reserved.
    pub fn is_used(&self, number: u32) -> bool {
        number < FIRST_INODE || self.position(number).is_some()
    }

    /// Counts the inodes of a group, which has `count` of them behind number `before`.
    pub fn group(&self, before: u64, count: u64) -> GroupInodes {
        if let Numbers::InOrder(last) = self {
            let used = u64::from(*last).saturating_sub(before).min(count);
            return GroupInodes { used, end: used };
        }
        let mut group = GroupInodes { used: 0, end: 0 };
        for at in (0..count).filter(|at| self.is_used((before + at + 1) as u32)) {
            group = GroupInodes { used: group.used + 1, end: at + 1 };
        }
        group
    }
}

/// Returns the number for a key: the best that is free, else the next free one behind the best.
fn free_number(positions: &[u32], key: u64) -> u32 {
    let first = FIRST_INODE as usize + 1;
    let places = (positions.len() - first) as u64;
    let place = probe::find(key, places, |place| positions[first + place as usize] == NOBODY);
    first as u32 + place.expect("because there are more inodes than keys") as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_inode_has_a_number_of_its_own_however_full_the_tables_are() {
        let keys: Vec<u64> = (0..1000).map(probe::mix).collect();
        for inodes in [1000 + 9, 1024, 3000] {
            let numbers = Numbers::spread(&keys, inodes);
            assert_eq!((numbers.number(0), numbers.number(1)), (ROOT_INODE, FIRST_INODE));
            for position in 0..1000 {
                let number = numbers.number(position);
                assert!((2..=inodes as u32).contains(&number));
                assert_eq!(numbers.position(number), Some(position));
            }
            assert_eq!(numbers.group(0, inodes).used, 1000 + 9);
        }
    }

    #[test]
    fn one_inode_more_renumbers_hardly_any() {
        let keys: Vec<u64> = (0..1001).map(probe::mix).collect();
        let [before, after] = [1000, 1001].map(|count| Numbers::spread(&keys[..count], 1500));
        let moved = (0..1000).filter(|&at| before.number(at) != after.number(at)).count();
        assert!(moved <= 10, "{moved} moved");
    }
}

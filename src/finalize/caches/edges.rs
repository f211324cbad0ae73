//! The edges of a trie in one flat table: from a node, by a byte, to the node below. A look-up touches one
//! place in memory; tries here have some hundred thousand edges.

/// Nodes have numbers below this.
pub(super) const NODES_MAX: usize = 1 << 28;
const CHILD_BITS: u32 = 28;

/// A hash table with open addressing. Each slot holds the parent (28 bits), the byte, and the child plus one
/// (28 bits); 0 is an empty slot.
pub(super) struct Edges {
    slots: Vec<u64>,
    used: usize,
}

impl Edges {
    pub fn new() -> Self {
        Edges { slots: vec![0; 1 << 12], used: 0 }
    }

    /// Returns the node below a node.
    pub fn get(&self, node: u32, byte: u8) -> Option<u32> {
        let slot = self.slots[self.place(key(node, byte))];
        (slot != 0).then(|| child(slot))
    }

    /// Sets the node below a node.
    pub fn set(&mut self, node: u32, byte: u8, below: u32) {
        if self.used * 2 >= self.slots.len() {
            self.grow();
        }
        let place = self.place(key(node, byte));
        self.used += usize::from(self.slots[place] == 0);
        self.slots[place] = key(node, byte) << CHILD_BITS | u64::from(below + 1);
    }

    /// Returns all edges, in no order: node, byte, node below.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u8, u32)> + Clone {
        let used = self.slots.iter().filter(|&&slot| slot != 0);
        used.map(|&slot| ((slot >> (CHILD_BITS + 8)) as u32, (slot >> CHILD_BITS) as u8, child(slot)))
    }

    /// Returns the slot of a key, or the empty one where it belongs.
    fn place(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut place = (mixed >> 32) as usize & mask;
        while self.slots[place] != 0 && self.slots[place] >> CHILD_BITS != key {
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        let doubled = vec![0; self.slots.len() * 2];
        let old = std::mem::replace(&mut self.slots, doubled);
        for slot in old.into_iter().filter(|&slot| slot != 0) {
            let place = self.place(slot >> CHILD_BITS);
            self.slots[place] = slot;
        }
    }
}

fn key(node: u32, byte: u8) -> u64 {
    u64::from(node) << 8 | u64::from(byte)
}

fn child(slot: u64) -> u32 {
    (slot & ((1 << CHILD_BITS) - 1)) as u32 - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_found_after_the_table_grew() {
        let mut edges = Edges::new();
        for number in 0..20_000u32 {
            edges.set(number, (number % 251) as u8, number / 2);
            edges.set(number, 252, 7);
        }
        edges.set(19_999, 252, NODES_MAX as u32 - 2);
        for number in 0..20_000u32 {
            assert_eq!(edges.get(number, (number % 251) as u8), Some(number / 2));
            assert_eq!(edges.get(number, 253), None);
        }
        assert_eq!(edges.get(19_999, 252), Some(NODES_MAX as u32 - 2));
        assert_eq!(edges.iter().count(), 40_000);
    }
}

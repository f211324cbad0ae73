//! The bytes of `hwdb.bin` (systemd `src/libsystemd/sd-hwdb/hwdb-internal.h`). A change here breaks the
//! format: udev maps this file into memory.
//!
//! All numbers are little-endian; offsets count from the start of the file. Header of 80 bytes; nodes, each
//! behind all its children; strings. A node has 24 bytes (prefix, number of children, number of values), then
//! a child 16 bytes (byte, offset), then a value 32 bytes (key, value, file, line, priority).

use super::trie::{Trie, Value};

const SIGNATURE: &[u8; 8] = b"KSLPHHRH";
const HEADER_BYTES: usize = 80;
const NODE_BYTES: usize = 24;
const CHILD_BYTES: usize = 16;
const VALUE_BYTES: usize = 32;

/// Writes a trie. `release` is that of systemd.
pub(super) fn encode(trie: &Trie, release: u64) -> Vec<u8> {
    let nodes = trie.prefixes.len();
    let mut children = Groups::new(nodes, trie.edges.iter().map(|(node, byte, below)| (node, (byte, below))));
    let mut values = Groups::new(nodes, trie.values.iter().copied());
    for node in 0..nodes {
        children.of_mut(node).sort_unstable();
        values.of_mut(node).sort_by(|left, right| trie.strings.at(left.key).cmp(trie.strings.at(right.key)));
        values.keep_last(node, |value| value.key);
    }
    let order = post_order(trie.root as usize, &children);
    let mut offsets = vec![0u64; nodes];
    let mut end = HEADER_BYTES;
    for &node in &order {
        offsets[node] = end as u64;
        end += NODE_BYTES + children.of(node).len() * CHILD_BYTES + values.of(node).len() * VALUE_BYTES;
    }
    let strings = trie.strings.bytes();
    let mut bytes = Vec::with_capacity(end + strings.len());
    bytes.extend_from_slice(SIGNATURE);
    let sizes = [release as usize, end + strings.len(), HEADER_BYTES, NODE_BYTES, CHILD_BYTES, VALUE_BYTES];
    let places = [offsets[trie.root as usize] as usize, end - HEADER_BYTES, strings.len()];
    bytes.extend(sizes.iter().chain(&places).flat_map(|&number| (number as u64).to_le_bytes()));
    for node in order {
        let prefix = (end as u64 + u64::from(trie.prefixes[node])).to_le_bytes();
        bytes.extend_from_slice(&prefix);
        write_children(&mut bytes, children.of(node), values.of(node).len(), &offsets);
        values.of(node).iter().for_each(|value| write_value(&mut bytes, value, end as u64));
    }
    bytes.extend_from_slice(strings);
    bytes
}

/// Returns nodes in the order of the file.
fn post_order(root: usize, children: &Groups<(u8, u32)>) -> Vec<usize> {
    let mut order = Vec::new();
    let mut waiting = vec![root];
    while let Some(node) = waiting.pop() {
        waiting.extend(children.of(node).iter().map(|child| child.1 as usize));
        order.push(node);
    }
    order.reverse();
    order
}

fn write_children(bytes: &mut Vec<u8>, children: &[(u8, u32)], values: usize, offsets: &[u64]) {
    bytes.extend_from_slice(&[children.len() as u8, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&(values as u64).to_le_bytes());
    for &(byte, below) in children {
        bytes.extend_from_slice(&[byte, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&offsets[below as usize].to_le_bytes());
    }
}

fn write_value(bytes: &mut Vec<u8>, value: &Value, strings: u64) {
    for text in [value.key, value.value, value.file] {
        bytes.extend_from_slice(&(strings + u64::from(text)).to_le_bytes());
    }
    bytes.extend_from_slice(&value.line.to_le_bytes());
    bytes.extend_from_slice(&value.priority.to_le_bytes());
    bytes.extend_from_slice(&[0, 0]);
}

/// Items by node, those of one node side by side and in the order in which they came.
struct Groups<T> {
    items: Vec<T>,
    /// By node: where its items begin, and how many there are.
    places: Vec<(u32, u32)>,
}

impl<T: Copy + Default> Groups<T> {
    fn new(nodes: usize, items: impl Iterator<Item = (u32, T)> + Clone) -> Self {
        let mut places = vec![(0u32, 0u32); nodes];
        let mut count = 0;
        for (node, _) in items.clone() {
            places[node as usize].1 += 1;
            count += 1;
        }
        let mut start = 0;
        for place in &mut places {
            place.0 = start;
            start += std::mem::take(&mut place.1);
        }
        let mut sorted = vec![T::default(); count];
        for (node, item) in items {
            let place = &mut places[node as usize];
            sorted[(place.0 + place.1) as usize] = item;
            place.1 += 1;
        }
        Groups { items: sorted, places }
    }

    fn of(&self, node: usize) -> &[T] {
        let (start, count) = self.places[node];
        &self.items[start as usize..(start + count) as usize]
    }

    fn of_mut(&mut self, node: usize) -> &mut [T] {
        let (start, count) = self.places[node];
        &mut self.items[start as usize..(start + count) as usize]
    }

    /// Drops items of a node that have the same key as their next.
    fn keep_last(&mut self, node: usize, key: impl Fn(&T) -> u32) {
        let mut kept = 0;
        let items = self.of_mut(node);
        for at in 0..items.len() {
            if at + 1 == items.len() || key(&items[at]) != key(&items[at + 1]) {
                items[kept] = items[at];
                kept += 1;
            }
        }
        self.places[node].1 = kept as u32;
    }
}

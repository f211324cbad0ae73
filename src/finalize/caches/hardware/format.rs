//! The bytes of `hwdb.bin` (systemd `src/libsystemd/sd-hwdb/hwdb-internal.h`). A change here breaks the
//! format: udev maps this file into memory.
//!
//! All numbers are little-endian; offsets count from the start of the file. Header of 80 bytes; nodes, each
//! behind all its children; strings. A node has 24 bytes (prefix, number of children, number of values), then
//! a child 16 bytes (byte, offset), then a value 32 bytes (key, value, file, line, priority).

use super::trie::{Node, Trie};

const SIGNATURE: &[u8; 8] = b"KSLPHHRH";
const HEADER_BYTES: usize = 80;
const NODE_BYTES: usize = 24;
const CHILD_BYTES: usize = 16;
const VALUE_BYTES: usize = 32;

/// Writes a trie. `release` is that of systemd.
pub(super) fn encode(trie: &Trie, release: u64) -> Vec<u8> {
    let order = post_order(trie);
    let mut offsets = vec![0u64; trie.nodes.len()];
    let mut end = HEADER_BYTES;
    for &(position, _) in &order {
        offsets[position] = end as u64;
        end += size(&trie.nodes[position]);
    }
    let strings = end as u64;
    let size = end + trie.strings.bytes().len();
    let mut bytes = Vec::with_capacity(size);
    bytes.extend_from_slice(SIGNATURE);
    let header = [
        release,
        size as u64,
        HEADER_BYTES as u64,
        NODE_BYTES as u64,
        CHILD_BYTES as u64,
        VALUE_BYTES as u64,
        offsets[0],
        (end - HEADER_BYTES) as u64,
        trie.strings.bytes().len() as u64,
    ];
    bytes.extend(header.iter().flat_map(|number| number.to_le_bytes()));
    for (position, children) in &order {
        write_node(&mut bytes, &trie.nodes[*position], children, strings, &offsets);
    }
    bytes.extend_from_slice(trie.strings.bytes());
    bytes
}

fn size(node: &Node) -> usize {
    NODE_BYTES + node.children.len() * CHILD_BYTES + node.values.len() * VALUE_BYTES
}

/// Returns the positions of nodes in the order of the file, each with its children sorted by byte.
fn post_order(trie: &Trie) -> Vec<(usize, Vec<(u8, u32)>)> {
    let mut order = Vec::with_capacity(trie.nodes.len());
    let mut waiting = vec![0];
    while let Some(position) = waiting.pop() {
        let mut children = trie.nodes[position].children.clone();
        children.sort_unstable();
        waiting.extend(children.iter().map(|child| child.1 as usize));
        order.push((position, children));
    }
    order.reverse();
    order
}

fn write_node(bytes: &mut Vec<u8>, node: &Node, children: &[(u8, u32)], strings: u64, offsets: &[u64]) {
    bytes.extend((strings + u64::from(node.prefix)).to_le_bytes());
    bytes.extend([children.len() as u8, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend((node.values.len() as u64).to_le_bytes());
    for &(byte, child) in children {
        bytes.extend([byte, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(offsets[child as usize].to_le_bytes());
    }
    for value in &node.values {
        for text in [value.key, value.value, value.file] {
            bytes.extend((strings + u64::from(text)).to_le_bytes());
        }
        bytes.extend(value.line.to_le_bytes());
        bytes.extend(value.priority.to_le_bytes());
        bytes.extend([0, 0]);
    }
}

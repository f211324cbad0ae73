//! The binary form of an index: a trie over keys of 7-bit bytes (kmod `libkmod/libkmod-index.c`). A change
//! here breaks the format: modprobe and udev map these files into memory.
//!
//! All numbers are big-endian. A file is magic, version, offset of the root; then nodes: a parent before its
//! children since kmod 34, behind them in older releases. A node is, each part only where its flag in the node's offset says so: the prefix with a NUL;
//! first and last child as bytes, then an offset for each byte from first to last, 0 for none; number of
//! values, then each with its priority, its text and a NUL.

use super::Release;

/// Since when kmod writes a parent before its children.
const PARENTS_FIRST: Release = Release(34);
const MAGIC: u32 = 0xb007_f457;
const VERSION: u32 = 0x0002_0001;
const HEADER_BYTES: usize = 12;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;
/// Offsets are below this.
const OFFSET_LIMIT: usize = 0x1000_0000;

/// An index under construction.
pub(super) struct Index {
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    prefix: Vec<u8>,
    /// By byte, sorted: positions in [`Index::nodes`].
    children: Vec<(u8, usize)>,
    /// Priority and text, the smallest priority first.
    values: Vec<(u32, Vec<u8>)>,
}

impl Index {
    pub fn new() -> Self {
        Index { nodes: vec![Node::default()] }
    }

    /// Adds a value to a key. Of two with one priority the later comes first. Fails on keys and values that
    /// modprobe could not look up.
    pub fn insert(&mut self, key: &[u8], value: &[u8], priority: u32) -> Result<(), String> {
        if key.iter().chain(value).any(|byte| !byte.is_ascii() || *byte == 0) {
            let key = String::from_utf8_lossy(key);
            return Err(format!("{key:?} for {:?} is not ASCII", String::from_utf8_lossy(value)));
        }
        let (mut node, mut rest) = (0, key);
        loop {
            let common = common(&self.nodes[node].prefix, rest);
            if common < self.nodes[node].prefix.len() {
                self.split(node, common);
            }
            let Some((&byte, behind)) = rest[common..].split_first() else { break };
            rest = behind;
            match self.nodes[node].children.binary_search_by_key(&byte, |child| child.0) {
                Ok(place) => node = self.nodes[node].children[place].1,
                Err(place) => {
                    let child = self.nodes.len();
                    self.nodes.push(Node { prefix: rest.to_vec(), ..Node::default() });
                    self.nodes[node].children.insert(place, (byte, child));
                    node = child;
                    break;
                }
            }
        }
        let values = &mut self.nodes[node].values;
        let place = values.iter().position(|other| other.0 >= priority).unwrap_or(values.len());
        values.insert(place, (priority, value.to_vec()));
        Ok(())
    }

    /// Leaves a node with the first bytes of its prefix; all else goes into a child.
    fn split(&mut self, node: usize, length: usize) {
        let child = self.nodes.len();
        let mut old = std::mem::take(&mut self.nodes[node]);
        let tail = old.prefix.split_off(length);
        let head = std::mem::replace(&mut old.prefix, tail[1..].to_vec());
        self.nodes[node] = Node { prefix: head, children: vec![(tail[0], child)], values: Vec::new() };
        self.nodes.push(old);
    }

    /// Writes the file as a release of kmod does. Fails where it would be too large for its offsets.
    pub fn write(&self, release: Release) -> Result<Vec<u8>, String> {
        let order = self.order(release >= PARENTS_FIRST);
        let mut offsets = vec![0; self.nodes.len()];
        let mut end = HEADER_BYTES;
        for &position in &order {
            offsets[position] = end;
            end += self.nodes[position].size();
        }
        if end >= OFFSET_LIMIT {
            return Err("the index would have more than 256 MiB".into());
        }
        let reference = |node: usize| (offsets[node] as u32 | self.nodes[node].flags()).to_be_bytes();
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_be_bytes());
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(reference(0));
        for node in order.into_iter().map(|position| &self.nodes[position]) {
            if !node.prefix.is_empty() {
                bytes.extend_from_slice(&node.prefix);
                bytes.push(0);
            }
            if let Some((first, last)) = node.range() {
                bytes.extend([first, last]);
                let start = bytes.len();
                bytes.resize(start + (usize::from(last - first) + 1) * 4, 0);
                for &(byte, child) in &node.children {
                    let at = start + usize::from(byte - first) * 4;
                    bytes[at..at + 4].copy_from_slice(&reference(child));
                }
            }
            if !node.values.is_empty() {
                bytes.extend((node.values.len() as u32).to_be_bytes());
            }
            for (priority, value) in &node.values {
                bytes.extend(priority.to_be_bytes());
                bytes.extend_from_slice(value);
                bytes.push(0);
            }
        }
        Ok(bytes)
    }

    /// Returns the positions of nodes in the order of the file.
    fn order(&self, parents_first: bool) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut waiting = vec![0];
        while let Some(position) = waiting.pop() {
            order.push(position);
            let children = self.nodes[position].children.iter().map(|child| child.1);
            match parents_first {
                true => waiting.extend(children.rev()),
                false => waiting.extend(children),
            }
        }
        if !parents_first {
            order.reverse();
        }
        order
    }
}

impl Node {
    fn range(&self) -> Option<(u8, u8)> {
        Some((self.children.first()?.0, self.children.last()?.0))
    }

    fn flags(&self) -> u32 {
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        flag(!self.prefix.is_empty(), HAS_PREFIX)
            | flag(!self.values.is_empty(), HAS_VALUES)
            | flag(!self.children.is_empty(), HAS_CHILDREN)
    }

    fn size(&self) -> usize {
        let prefix = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
        let children = self.range().map_or(0, |(first, last)| 2 + (usize::from(last - first) + 1) * 4);
        let texts: usize = self.values.iter().map(|value| 4 + value.1.len() + 1).sum();
        prefix + children + texts + if self.values.is_empty() { 0 } else { 4 }
    }
}

fn common(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(a, b)| a == b).count()
}

//! A table of strings as systemd writes them into its databases: each with a NUL behind it, and one that
//! ends an earlier one takes no room. The first that ends so counts. Offset 0 is the empty string.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// The strings, and how to find one by its tail.
pub(super) struct Strings {
    bytes: Vec<u8>,
    /// Nodes of a trie over reversed strings. A node stands for a string; those below it end like it as far
    /// as the path goes.
    nodes: Vec<Node>,
    /// By position of a node and byte: the node below it.
    children: HashMap<u64, u32, BuildHasherDefault<Mix>>,
}

#[derive(Clone, Copy)]
struct Node {
    offset: u32,
    length: u32,
}

impl Strings {
    pub fn new() -> Self {
        let nodes = vec![Node { offset: 0, length: 0 }];
        Strings { bytes: vec![0], nodes, children: HashMap::default() }
    }

    /// Returns all strings.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the byte at an offset.
    pub fn byte(&self, offset: u32) -> u8 {
        self.bytes[offset as usize]
    }

    /// Returns the string at an offset.
    pub fn at(&self, offset: u32) -> &[u8] {
        self.bytes[offset as usize..].split(|&byte| byte == 0).next().unwrap_or_default()
    }

    /// Adds a string without NUL, and returns its offset.
    pub fn add(&mut self, text: &[u8]) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let mut at = 0u32;
        for &byte in text.iter().rev() {
            if let Some(offset) = self.ends_with(at, text) {
                return offset;
            }
            match self.children.get(&key(at, byte)) {
                Some(&child) => at = child,
                None => return self.append(at, byte, text),
            }
        }
        let node = self.nodes[at as usize];
        node.offset + node.length - text.len() as u32
    }

    /// Returns where a text stands that ends the string of a node.
    fn ends_with(&self, node: u32, text: &[u8]) -> Option<u32> {
        let node = self.nodes[node as usize];
        let offset = (node.offset + node.length).checked_sub(text.len() as u32)?;
        let start = offset as usize;
        (node.length as usize >= text.len() && &self.bytes[start..start + text.len()] == text)
            .then_some(offset)
    }

    fn append(&mut self, above: u32, byte: u8, text: &[u8]) -> u32 {
        let node = Node { offset: self.bytes.len() as u32, length: text.len() as u32 };
        self.children.insert(key(above, byte), self.nodes.len() as u32);
        self.nodes.push(node);
        self.bytes.extend_from_slice(text);
        self.bytes.push(0);
        node.offset
    }
}

fn key(node: u32, byte: u8) -> u64 {
    u64::from(node) << 8 | u64::from(byte)
}

/// Hashes small numbers by one multiplication. Collisions only cost time, and the numbers are our own.
#[derive(Default)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::Strings;

    #[test]
    fn what_ends_an_earlier_string_takes_no_room() {
        let mut strings = Strings::new();
        assert_eq!(strings.add(b""), 0);
        assert_eq!(strings.add(b"waldo"), 1);
        assert_eq!(strings.add(b"foo"), 7);
        assert_eq!(strings.add(b"aldo"), 2);
        assert_eq!(strings.add(b"o"), 5);
        assert_eq!(strings.add(b"barfoo"), 11);
        assert_eq!(strings.add(b"foo"), 7);
        assert_eq!(strings.add(b"rfoo"), 13);
        assert_eq!(strings.bytes(), b"\0waldo\0foo\0barfoo\0");
        assert_eq!(strings.at(13), b"rfoo");
    }
}

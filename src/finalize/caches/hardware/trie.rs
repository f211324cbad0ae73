//! The database in memory: a trie over patterns, in which a node holds the properties of the pattern that ends
//! there. Strings come into being in the order of the sources and of the trie's growth, which decides on the
//! file's bytes.

use std::collections::HashMap;

use super::super::edges::{Edges, NODES_MAX};
use super::super::strings::Strings;

/// Most properties, counted once a pattern: fifty times what Debian has.
const VALUES_MAX: usize = 16 << 20;

/// Where a property was written.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    /// Path of the source inside the tree.
    pub file: &'a [u8],
    /// Its number, from 1 on.
    pub priority: u16,
    pub line: u32,
}

/// Patterns and their properties.
pub(super) struct Trie {
    pub strings: Strings,
    pub edges: Edges,
    /// By node: offset of what is common to all below.
    pub prefixes: Vec<u32>,
    /// By node, in the order in which they came; of two with one key the later counts.
    pub values: Vec<(u32, Value)>,
    pub root: u32,
    /// Offsets of keys, which come again and again.
    keys: HashMap<Vec<u8>, u32>,
    last_key: (Vec<u8>, u32),
    last_file: (Vec<u8>, u32),
}

/// A property of a pattern; texts are offsets.
#[derive(Clone, Copy, Default)]
pub(super) struct Value {
    pub key: u32,
    pub value: u32,
    pub file: u32,
    pub line: u32,
    pub priority: u16,
}

impl Trie {
    pub fn new() -> Self {
        Trie {
            strings: Strings::new(),
            edges: Edges::new(),
            prefixes: vec![0],
            values: Vec::new(),
            root: 0,
            keys: HashMap::new(),
            last_key: (Vec::new(), 0),
            last_file: (Vec::new(), 0),
        }
    }

    /// Adds a property to a pattern. `false` says that there are too many.
    pub fn insert(&mut self, pattern: &[u8], key: &[u8], value: &[u8], origin: Origin<'_>) -> bool {
        if self.values.len() >= VALUES_MAX || self.prefixes.len() + 2 >= NODES_MAX {
            return false;
        }
        let node = self.find(pattern);
        let key = self.key(key);
        let value = self.strings.add(value);
        if self.last_file.0 != origin.file {
            self.last_file = (origin.file.to_vec(), self.strings.add(origin.file));
        }
        let file = self.last_file.1;
        self.values.push((node, Value { key, value, file, line: origin.line, priority: origin.priority }));
        true
    }

    /// Returns the node of a pattern, made where there is none.
    fn find(&mut self, pattern: &[u8]) -> u32 {
        let (mut node, mut rest) = (self.root, pattern);
        let mut above = None;
        loop {
            let prefix = self.prefixes[node as usize];
            let stored = &self.strings.bytes()[prefix as usize..];
            let common = stored.iter().zip(rest).take_while(|(a, b)| a == b).count();
            if stored[common] != 0 {
                node = self.split(node, common as u32, above);
            }
            let Some((&byte, behind)) = rest[common..].split_first() else { return node };
            rest = behind;
            match self.edges.get(node, byte) {
                Some(below) => {
                    above = Some((node, byte));
                    node = below;
                }
                None => {
                    let prefix = self.strings.add(rest);
                    let below = self.add_node(prefix);
                    self.edges.set(node, byte, below);
                    return below;
                }
            }
        }
    }

    /// Puts a node with the first bytes of a node's prefix above it. The node keeps its number, so that its
    /// edges and values stay where they are.
    fn split(&mut self, node: u32, length: u32, above: Option<(u32, u8)>) -> u32 {
        let prefix = self.prefixes[node as usize];
        let byte = self.strings.byte(prefix + length);
        let head = self.strings.bytes()[prefix as usize..(prefix + length) as usize].to_vec();
        let head = self.strings.add(&head);
        let upper = self.add_node(head);
        self.prefixes[node as usize] = prefix + length + 1;
        self.edges.set(upper, byte, node);
        match above {
            Some((above, byte)) => self.edges.set(above, byte, upper),
            None => self.root = upper,
        }
        upper
    }

    fn add_node(&mut self, prefix: u32) -> u32 {
        self.prefixes.push(prefix);
        self.prefixes.len() as u32 - 1
    }

    /// Adds a key. Its offset never changes, as the first string that ends so counts.
    fn key(&mut self, text: &[u8]) -> u32 {
        if self.last_key.0 == text {
            return self.last_key.1;
        }
        let offset = match self.keys.get(text) {
            Some(&offset) => offset,
            None => {
                let offset = self.strings.add(text);
                self.keys.insert(text.to_vec(), offset);
                offset
            }
        };
        self.last_key = (text.to_vec(), offset);
        offset
    }
}

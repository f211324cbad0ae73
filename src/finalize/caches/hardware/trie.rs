//! The database in memory: a trie over patterns, in which a node holds the properties of the pattern that ends
//! there. Nodes and strings come into being in the order of the sources, which decides on the file's bytes.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::super::strings::{Mix, Strings};

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
    pub nodes: Vec<Node>,
    pub strings: Strings,
    /// Offsets of keys and paths, which come again and again.
    known: HashMap<Vec<u8>, u32>,
    /// By position of a node and byte: the node below it.
    children: HashMap<u64, u32, BuildHasherDefault<Mix>>,
}

/// A place in the trie.
#[derive(Default)]
pub(super) struct Node {
    /// Offset of what is common to all below.
    pub prefix: u32,
    /// By byte: positions of nodes. Sorted when the trie is written.
    pub children: Vec<(u8, u32)>,
    /// Sorted by key.
    pub values: Vec<Value>,
}

/// A property of a pattern; texts are offsets.
#[derive(Clone, Copy)]
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
            nodes: vec![Node::default()],
            strings: Strings::new(),
            known: HashMap::new(),
            children: HashMap::default(),
        }
    }

    /// Adds a property to a pattern; a later one with the same key replaces it.
    pub fn insert(&mut self, pattern: &[u8], key: &[u8], value: &[u8], origin: Origin<'_>) {
        let (mut node, mut rest) = (0u32, pattern);
        loop {
            let prefix = self.nodes[node as usize].prefix;
            let common = self.common(prefix, rest);
            if self.strings.byte(prefix + common) != 0 {
                self.split(node, common);
            }
            let Some((&byte, behind)) = rest[common as usize..].split_first() else { break };
            rest = behind;
            match self.children.get(&child_key(node, byte)) {
                Some(&child) => node = child,
                None => {
                    let prefix = self.strings.add(rest);
                    node = self.add_child(node, byte, Node { prefix, ..Node::default() });
                    break;
                }
            }
        }
        self.add_value(node, key, value, origin);
    }

    /// Counts how many bytes of a stored string a text begins with.
    fn common(&self, prefix: u32, text: &[u8]) -> u32 {
        let stored = &self.strings.bytes()[prefix as usize..];
        stored.iter().zip(text).take_while(|(a, b)| a == b).count() as u32
    }

    /// Leaves a node with the first bytes of its prefix; all else goes into a child.
    fn split(&mut self, node: u32, length: u32) {
        let old = std::mem::take(&mut self.nodes[node as usize]);
        let byte = self.strings.byte(old.prefix + length);
        let start = old.prefix as usize;
        let head = self.strings.bytes()[start..start + length as usize].to_vec();
        self.nodes[node as usize].prefix = self.strings.add(&head);
        let below: Vec<(u8, u32)> = old.children.clone();
        below.iter().for_each(|child| drop(self.children.remove(&child_key(node, child.0))));
        let child = self.add_child(node, byte, Node { prefix: old.prefix + length + 1, ..old });
        self.children.extend(below.iter().map(|&(byte, below)| (child_key(child, byte), below)));
    }

    fn add_child(&mut self, node: u32, byte: u8, child: Node) -> u32 {
        let position = self.nodes.len() as u32;
        self.nodes.push(child);
        self.nodes[node as usize].children.push((byte, position));
        self.children.insert(child_key(node, byte), position);
        position
    }

    fn add_value(&mut self, node: u32, key: &[u8], value: &[u8], origin: Origin<'_>) {
        let key = self.remember(key);
        let value = self.strings.add(value);
        let file = self.remember(origin.file);
        let new = Value { key, value, file, line: origin.line, priority: origin.priority };
        let text = self.strings.at(key);
        let values = &self.nodes[node as usize].values;
        let place = values.binary_search_by(|other| self.strings.at(other.key).cmp(text));
        let values = &mut self.nodes[node as usize].values;
        match place {
            Ok(place) => values[place] = Value { key: values[place].key, ..new },
            Err(place) => values.insert(place, new),
        }
    }

    /// Adds a string that comes often. Its offset never changes, as the first that ends so counts.
    fn remember(&mut self, text: &[u8]) -> u32 {
        if let Some(&offset) = self.known.get(text) {
            return offset;
        }
        let offset = self.strings.add(text);
        self.known.insert(text.to_vec(), offset);
        offset
    }
}

fn child_key(node: u32, byte: u8) -> u64 {
    u64::from(node) << 8 | u64::from(byte)
}

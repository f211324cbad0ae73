//! A table of strings as systemd writes them into its databases: each with a NUL behind it, and one that
//! ends an earlier one takes no room. The first that ends so counts. Offset 0 is the empty string.

use super::edges::Edges;

/// The strings, and how to find one by its tail.
pub(super) struct Strings {
    bytes: Vec<u8>,
    /// Nodes of a trie over reversed strings. A node stands for a string; those below it end like it as far
    /// as the path goes.
    nodes: Vec<Node>,
    edges: Edges,
}

#[derive(Clone, Copy)]
struct Node {
    offset: u32,
    length: u32,
    /// The byte of the string before those that the path to the node tells; 0 where there is none.
    before: u8,
}

impl Strings {
    pub fn new() -> Self {
        Strings { bytes: vec![0], nodes: vec![Node { offset: 0, length: 0, before: 0 }], edges: Edges::new() }
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

    /// Adds a string without NUL, and returns its offset. All strings together must stay below 4 GiB.
    pub fn add(&mut self, text: &[u8]) -> u32 {
        let mut at = 0u32;
        for (depth, &byte) in text.iter().rev().enumerate() {
            let node = self.nodes[at as usize];
            if node.before == byte && self.ends_with(node, text) {
                return node.offset + node.length - text.len() as u32;
            }
            match self.edges.get(at, byte) {
                Some(below) => at = below,
                None => return self.append(at, depth, text),
            }
        }
        let node = self.nodes[at as usize];
        node.offset + node.length - text.len() as u32
    }

    fn ends_with(&self, node: Node, text: &[u8]) -> bool {
        let start = node.offset as usize;
        self.bytes[start..start + node.length as usize].ends_with(text)
    }

    fn append(&mut self, above: u32, depth: usize, text: &[u8]) -> u32 {
        let offset = self.bytes.len() as u32;
        let before = text.iter().rev().nth(depth + 1).copied().unwrap_or(0);
        self.edges.set(above, text[text.len() - 1 - depth], self.nodes.len() as u32);
        self.nodes.push(Node { offset, length: text.len() as u32, before });
        self.bytes.extend_from_slice(text);
        self.bytes.push(0);
        offset
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

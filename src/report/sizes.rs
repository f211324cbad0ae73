//! What takes the space, seen three ways: by path, by package, by line of the recipe. Each view is a tree of names with
//! the bytes below them, cut where it would grow too large: the largest are kept, the rest is summed up beside them.

use std::collections::{BTreeMap, BinaryHeap};

use serde_json::{Value, json};

use super::bill::{Bill, BilledFile};
use crate::base::path::escaped;

/// Most nodes of a view.
pub const NODES_MAX: usize = 3000;
/// Deepest nesting of a view: what lies deeper stands under its joined names.
const DEPTH_MAX: usize = 48;

/// What a view groups files by first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    Path,
    Package,
    Recipe,
}

/// What belongs to no package, and to no line of the recipe that is known.
const MADE: &str = "made while finishing the tree";

/// Returns a view: `[name, bytes, files, children, left out]`, children by size, the largest first.
pub fn view(bill: &Bill, by: By) -> Value {
    let mut tree = Tree::default();
    for file in bill.files.iter().filter(|file| !file.is_link) {
        tree.add(keys(bill, file, by), file.content.size);
    }
    tree.cut();
    tree.value(0, "/", by == By::Path)
}

fn keys(bill: &Bill, file: &BilledFile, by: By) -> Vec<String> {
    let package = file.component.map(|index| bill.components[index].name.clone());
    let line = file.line.map(|index| bill.lines[index].as_slice()).unwrap_or_default();
    let mut keys = match by {
        By::Path => Vec::new(),
        By::Package => vec![package.or(line.first().cloned()).unwrap_or_else(|| MADE.to_owned())],
        By::Recipe if line.is_empty() => {
            vec![package.map_or_else(|| MADE.to_owned(), |package| format!("package {package}"))]
        }
        By::Recipe => line.to_vec(),
    };
    let names: Vec<&[u8]> = file.path.names().collect();
    let room = DEPTH_MAX - keys.len();
    let (shallow, deep) = names.split_at(names.len().min(room));
    keys.extend(shallow.iter().map(|name| escaped(name)));
    if !deep.is_empty() {
        let last = keys.pop().unwrap_or_default();
        keys.push(format!("{last}/{}", escaped(&deep.join(&b'/'))));
    }
    keys
}

#[derive(Default)]
struct Node {
    bytes: u64,
    files: u64,
    children: BTreeMap<String, usize>,
    kept: bool,
}

struct Tree {
    nodes: Vec<Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree { nodes: vec![Node::default()] }
    }
}

impl Tree {
    fn add(&mut self, keys: Vec<String>, bytes: u64) {
        let mut at = 0;
        self.count(at, bytes);
        for key in keys {
            let next = self.nodes.len();
            let child = *self.nodes[at].children.entry(key).or_insert(next);
            if child == next {
                self.nodes.push(Node::default());
            }
            at = child;
            self.count(at, bytes);
        }
    }

    fn count(&mut self, at: usize, bytes: u64) {
        self.nodes[at].bytes += bytes;
        self.nodes[at].files += 1;
    }

    /// Keeps the largest nodes, each with all above it.
    fn cut(&mut self) {
        let mut waiting = BinaryHeap::from([(self.nodes[0].bytes, std::cmp::Reverse(0))]);
        let mut room = NODES_MAX;
        while let Some((_, std::cmp::Reverse(at))) = waiting.pop().filter(|_| room > 0) {
            room -= 1;
            self.nodes[at].kept = true;
            let children = self.nodes[at].children.values();
            waiting.extend(children.map(|child| (self.nodes[*child].bytes, std::cmp::Reverse(*child))));
        }
    }

    /// Depth is bounded by [`DEPTH_MAX`].
    fn value(&self, at: usize, name: &str, join: bool) -> Value {
        let node = &self.nodes[at];
        if let (true, Some((only, child)), 1) =
            (join && at != 0, node.children.first_key_value(), node.children.len())
            && self.nodes[*child].kept
            && !self.nodes[*child].children.is_empty()
        {
            return self.value(*child, &format!("{name}/{only}"), join);
        }
        let mut kept: Vec<(&String, usize)> = node
            .children
            .iter()
            .map(|(name, child)| (name, *child))
            .filter(|(_, child)| self.nodes[*child].kept)
            .collect();
        kept.sort_by_key(|(name, child)| (std::cmp::Reverse(self.nodes[*child].bytes), *name));
        let left_out = node.children.len() - kept.len();
        let children: Vec<Value> =
            kept.into_iter().map(|(name, child)| self.value(child, name, join)).collect();
        json!([name, node.bytes, node.files, children, left_out])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(path: &str) -> Vec<String> {
        path.split('/').map(str::to_owned).collect()
    }

    #[test]
    fn sums_hold_and_chains_are_joined() {
        let mut tree = Tree::default();
        for (path, bytes) in [("usr/lib/x/a", 5), ("usr/lib/x/b", 7), ("etc/c", 1)] {
            tree.add(keys(path), bytes);
        }
        tree.cut();
        let expected = json!([
            "/",
            13,
            3,
            [
                ["usr/lib/x", 12, 2, [["b", 7, 1, [], 0], ["a", 5, 1, [], 0]], 0],
                ["etc", 1, 1, [["c", 1, 1, [], 0]], 0],
            ],
            0
        ]);
        assert_eq!(tree.value(0, "/", true), expected);
    }

    #[test]
    fn what_is_cut_is_counted_and_the_largest_stay() {
        let mut tree = Tree::default();
        for number in 0..NODES_MAX as u64 + 500 {
            tree.add(keys(&format!("d/{number}")), number);
        }
        tree.cut();
        let value = tree.value(0, "/", false);
        let folder = &value[3][0];
        let kept = folder[3].as_array().expect("children");
        assert_eq!(kept.len() as u64 + folder[4].as_u64().expect("a count"), NODES_MAX as u64 + 500);
        assert_eq!(kept.len(), NODES_MAX - 2);
        assert_eq!(kept[0][0], format!("{}", NODES_MAX + 499));
        let sum: u64 = (0..NODES_MAX as u64 + 500).sum();
        assert_eq!(folder[1], sum);
    }
}

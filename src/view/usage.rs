//! What takes the space of a tree.

use crate::base::ImagePath;
use crate::tree::{Directory, Node};

/// What a directory or file takes, with all below.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    pub path: ImagePath,
    /// Bytes of the files; further names of a file count nothing.
    pub bytes: u64,
    pub entries: u64,
    /// How many names the path has.
    pub depth: usize,
}

/// Measures a tree: a row for the tree itself and for each entry down to `depth`, the largest first, those of one
/// size by path. Paths begin with `at`.
pub fn measure(tree: &Directory, at: &ImagePath, depth: usize) -> Vec<Usage> {
    let root = Usage { path: at.clone(), bytes: 0, entries: 0, depth: 0 };
    let mut rows = vec![root];
    // The rows of the directories above an entry, each with its position in the walk.
    let mut above: Vec<(usize, Option<usize>)> = vec![(0, Some(0))];
    for visit in tree.walk() {
        while above.last().is_some_and(|(position, _)| *position != visit.parent) {
            above.pop();
        }
        let bytes = match visit.node {
            Node::File(file) => file.content.size,
            _ => 0,
        };
        for row in above.iter().filter_map(|(_, row)| *row) {
            rows[row].bytes += bytes;
            rows[row].entries += 1;
        }
        let own = (above.len() <= depth).then_some(rows.len());
        if own.is_some() {
            let parent = above.last().and_then(|(_, row)| *row).unwrap_or(0);
            let path = rows[parent].path.join(visit.name);
            rows.push(Usage { path, bytes, entries: 1, depth: above.len() });
        }
        if let Node::Directory(_) = visit.node {
            above.push((visit.position, own));
        }
    }
    rows.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.names().cmp(b.path.names())));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, File, Metadata};

    #[test]
    fn the_largest_stands_first_and_links_count_once() {
        let path = |text: &str| ImagePath::new(text.as_bytes()).expect("a path");
        let file = |bytes: usize| {
            Node::File(File { metadata: Metadata::root(0o644), content: Content::of(&vec![1; bytes]) })
        };
        let mut root = Directory::default();
        for (at, node) in [
            ("/a/x", file(10)),
            ("/a/y/deep", file(7)),
            ("/b/z", file(20)),
            ("/b/link", Node::HardLink(path("/b/z"))),
            ("/small", file(1)),
        ] {
            root.insert(&path(at), node).expect("inserted");
        }
        let shown = |depth| -> Vec<String> {
            let rows = measure(&root, &ImagePath::root(), depth);
            rows.iter().map(|row| format!("{} {} {}", row.bytes, row.path, row.entries)).collect()
        };
        assert_eq!(shown(0), ["38 / 8"]);
        assert_eq!(shown(1), ["38 / 8", "20 /b 3", "17 /a 4", "1 /small 1"]);
        assert_eq!(shown(9).len(), 9);
        assert!(
            shown(2).contains(&"7 /a/y 2".to_owned()) && !shown(2).iter().any(|row| row.contains("deep"))
        );
        assert_eq!(measure(&root, &path("/at"), 1)[1].path, path("/at/b"));
    }
}

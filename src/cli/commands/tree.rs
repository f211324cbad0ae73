use std::process::ExitCode;

use clap::Args;

use super::super::text::plural;
use super::look::{Stores, facts};
use super::{Context, Done};
use crate::base::path::escaped;
use crate::tree::{Directory, Node};

/// `mkimage tree`: draws what lies below a path.
#[derive(Args, Debug)]
pub struct Tree {
    /// Ref, REF~N, id or IMAGE, IMAGE:slot-b; with :/PATH what lies there
    #[arg(value_name = "REV")]
    pub place: String,
    /// Path inside the tree [default: /]
    #[arg(value_name = "PATH")]
    pub path: Option<String>,
    /// Go down no further than this
    #[arg(long, short, value_name = "LEVELS", default_value_t = 64)]
    pub depth: usize,
}

pub fn run(context: &Context, arguments: &Tree) -> Done {
    let stores = Stores::default();
    let (view, path) = stores.place(context, &arguments.place, arguments.path.as_deref())?;
    let tree = view.below(&path, &context.job)?;
    if context.printer.wants_json() {
        let rows: Vec<_> = tree
            .paths()
            .filter(|(at, _)| at.names().count() <= arguments.depth)
            .map(|(at, node)| serde_json::json!({ "path": at, "kind": node.kind(), "target": facts(node)["target"] }))
            .collect();
        context.printer.data(&rows, String::new)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("{path}\n");
    let mut counts = [0u64; 2];
    draw(&tree, arguments.depth, &mut text, &mut counts);
    let [directories, others] = counts;
    let directories =
        if directories == 1 { "1 directory".to_owned() } else { format!("{directories} directories") };
    text.push_str(&format!("{directories}, {}\n", plural(others, "file")));
    context.printer.bytes(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Draws entries with lines to their directories. Directories that are too deep are named, and not opened.
fn draw(root: &Directory, depth: usize, text: &mut String, counts: &mut [u64; 2]) {
    // What is left of each directory on the way down, and the lines before its entries.
    let mut stack = vec![(root.entries.iter().peekable(), String::new())];
    while let Some((rest, before)) = stack.last_mut() {
        let Some((name, node)) = rest.next() else {
            stack.pop();
            continue;
        };
        let is_last = rest.peek().is_none();
        let branch = if is_last { "└── " } else { "├── " };
        let target = match node {
            Node::Symlink(link) => format!(" -> {}", escaped(&link.target)),
            Node::HardLink(target) => format!(" = {target}"),
            Node::Directory(_) => "/".to_owned(),
            _ => String::new(),
        };
        text.push_str(&format!("{before}{branch}{name}{target}\n"));
        let below = format!("{before}{}", if is_last { "    " } else { "│   " });
        match node {
            Node::Directory(directory) => {
                counts[0] += 1;
                if stack.len() < depth {
                    stack.push((directory.entries.iter().peekable(), below));
                }
            }
            _ => counts[1] += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ImagePath;
    use crate::tree::{Metadata, Symlink};

    #[test]
    fn lines_lead_from_each_entry_to_its_directory() {
        let path = |text: &str| ImagePath::new(text.as_bytes()).expect("a path");
        let mut root = Directory::default();
        root.insert(&path("/a/b/c"), Node::Fifo(Metadata::root(0o600))).expect("inserted");
        root.insert(&path("/a/d"), Node::Fifo(Metadata::root(0o600))).expect("inserted");
        let link = Symlink { metadata: Metadata::root(0o777), target: b"a/d"[..].into() };
        root.insert(&path("/z"), Node::Symlink(link)).expect("inserted");
        let mut counts = [0; 2];
        let mut text = String::new();
        draw(&root, 9, &mut text, &mut counts);
        assert_eq!(text, "├── a/\n│   ├── b/\n│   │   └── c\n│   └── d\n└── z -> a/d\n");
        assert_eq!(counts, [2, 3]);
        text.clear();
        draw(&root, 1, &mut text, &mut [0; 2]);
        assert_eq!(text, "├── a/\n└── z -> a/d\n");
    }
}

use std::fmt::Write;
use std::io::Read;
use std::process::ExitCode;

use super::super::args::{Cat, Checkout, List};
use super::super::failure::{Failure, Kind};
use super::super::printer::Reader;
use super::{Context, Done};
use crate::base::ImagePath;
use crate::base::path::escaped;
use crate::store::{Found, Objects, Store, TreeRef};
use crate::tree::content::ContentReader;
use crate::tree::{Directory, Metadata, Node};

fn tree(store: &Store, commit: &str) -> Result<TreeRef, Failure> {
    let id = store.resolve(commit).map_err(Failure::from)?;
    Ok(store.read_commit(&id).map_err(Failure::from)?.tree)
}

fn path(text: &str) -> Result<ImagePath, Failure> {
    let absolute = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
    ImagePath::new(absolute.as_bytes()).map_err(|error| Failure::new(Kind::Usage, error.to_string()))
}

/// `mkimage ls`: lists what stands at a path.
pub fn ls(context: &Context, arguments: &List) -> Done {
    let store = context.store()?;
    let tree = tree(&store, &arguments.commit)?;
    let at = path(&arguments.path)?;
    let mut rows = Vec::new();
    match store.find(&tree, &at, true).map_err(Failure::from)? {
        Found::Directory(found, _) if arguments.recursive => {
            let directory = store.read_tree(&context.job, &found).map_err(Failure::from)?;
            rows.extend(directory.paths().map(|(below, node)| row(&below.to_string()[1..], node)));
        }
        Found::Directory(_, directory) => {
            for (name, node) in &directory.entries {
                rows.push(match node {
                    crate::store::StoredNode::Directory(below) => {
                        let metadata = store.read_directory(below).map_err(Failure::from)?.metadata;
                        row(
                            &name.to_string(),
                            &Node::Directory(Directory { metadata, ..Directory::default() }),
                        )
                    }
                    crate::store::StoredNode::Leaf(leaf) => row(&name.to_string(), leaf),
                });
            }
        }
        Found::Leaf(node) => rows.push(row(&at.to_string(), &node)),
    }
    let data: Vec<_> = rows.iter().map(|row| &row.0).collect();
    context.printer.data(&data, || rows.iter().map(|row| row.1.as_str()).collect())?;
    Ok(ExitCode::SUCCESS)
}

/// One entry, for programs and for people.
fn row(name: &str, node: &Node) -> (serde_json::Value, String) {
    let none = Metadata::default();
    let metadata = node.metadata().unwrap_or(&none);
    let (letter, size, target) = match node {
        Node::Directory(_) => ('d', None, None),
        Node::File(file) => ('-', Some(file.content.size), None),
        Node::Symlink(link) => ('l', None, Some(format!("-> {}", escaped(&link.target)))),
        Node::Device(device) => {
            let letter = if device.kind == crate::tree::DeviceKind::Block { 'b' } else { 'c' };
            (letter, None, Some(format!("{}:{}", device.major, device.minor)))
        }
        Node::Fifo(_) => ('p', None, None),
        Node::Socket(_) => ('s', None, None),
        Node::HardLink(target) => ('h', None, Some(format!("= {target}"))),
    };
    let id = match node {
        Node::File(file) => Some(file.content.id),
        _ => None,
    };
    let value = serde_json::json!({
        "name": name, "kind": node.kind(), "mode": format!("{:04o}", metadata.mode), "uid": metadata.uid,
        "gid": metadata.gid, "size": size, "id": id, "target": target,
    });
    let mut text = String::new();
    let size = size.map(|size| size.to_string()).unwrap_or_default();
    let target = target.map(|target| format!(" {target}")).unwrap_or_default();
    let (mode, uid, gid) = (metadata.mode, metadata.uid, metadata.gid);
    let _ = writeln!(text, "{letter} {mode:04o} {uid:>5} {gid:>5} {size:>10} {name}{target}");
    (value, text)
}

/// `mkimage cat`: prints a file.
pub fn cat(context: &Context, arguments: &Cat) -> Done {
    let store = context.store()?;
    let tree = tree(&store, &arguments.commit)?;
    let at = path(&arguments.path)?;
    let node = match store.find(&tree, &at, true).map_err(Failure::from)? {
        Found::Leaf(node) => node,
        Found::Directory(..) => {
            return Err(Failure::new(Kind::NotFound, format!("{at} is a directory, not a file")));
        }
    };
    let Node::File(file) = node else {
        return Err(Failure::new(Kind::NotFound, format!("{at} is a {}, not a file", node.kind())));
    };
    let mut reader = ContentReader::new(&store, file.content);
    let mut piece = vec![0; 1 << 20];
    loop {
        context.job.check().map_err(|error| Failure::of(Kind::Interrupted, &error))?;
        let length = reader.read(&mut piece).map_err(|error| Failure::of(Kind::Damaged, &error))?;
        if length == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        if context.printer.bytes(&piece[..length])? == Reader::Gone {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// `mkimage checkout`: writes a tree into a directory.
pub fn checkout(context: &Context, arguments: &Checkout) -> Done {
    let store = context.store()?;
    let tree = tree(&store, &arguments.commit)?;
    let report = store.checkout(&context.job, &tree, &arguments.directory).map_err(Failure::from)?;
    for skipped in &report.skipped {
        context.printer.warn(&format!("{}: {}", skipped.path, skipped.what));
    }
    let value = serde_json::json!({
        "directory": arguments.directory, "entries": report.entries, "bytes": report.bytes, "skipped": report.skipped,
    });
    if context.printer.wants_json() {
        context.printer.data(&value, String::new)?;
    } else {
        let directory = arguments.directory.display();
        context
            .printer
            .say(&format!("checked out {} entries, {} bytes into {directory}", report.entries, report.bytes));
    }
    Ok(ExitCode::SUCCESS)
}

//! A tree as text, one line an entry: for people, and the golden format of tests.

use std::fmt::Write;

use super::node::{DeviceKind, Directory, Metadata, Node};
use crate::base::path::escaped;

/// Writes one line for the root and each entry, in tree order:
/// `path kind mode uid:gid [size id | -> target | major:minor | = path] [name=hex]…`.
pub fn dump(root: &Directory) -> String {
    let mut text = String::new();
    line(&mut text, "/", 'd', Some(&root.metadata), "");
    for (path, node) in root.paths() {
        let (kind, rest) = match node {
            Node::Directory(_) => ('d', String::new()),
            Node::File(file) => ('f', format!(" {} {}", file.content.size, file.content.id)),
            Node::Symlink(symlink) => ('l', format!(" -> {}", escaped(&symlink.target))),
            Node::Device(device) => {
                let kind = if device.kind == DeviceKind::Block { 'b' } else { 'c' };
                (kind, format!(" {}:{}", device.major, device.minor))
            }
            Node::Fifo(_) => ('p', String::new()),
            Node::Socket(_) => ('s', String::new()),
            Node::HardLink(target) => ('h', format!(" = {target}")),
        };
        line(&mut text, &path.to_string(), kind, node.metadata(), &rest);
    }
    text
}

fn line(text: &mut String, path: &str, kind: char, metadata: Option<&Metadata>, rest: &str) {
    let _ = write!(text, "{path} {kind}");
    if let Some(metadata) = metadata {
        let _ = write!(text, " {:04o} {}:{}", metadata.mode, metadata.uid, metadata.gid);
    }
    text.push_str(rest);
    if let Some(metadata) = metadata {
        for (name, value) in &metadata.xattrs {
            let _ = write!(text, " {}={}", escaped(name), crate::base::id::hex(value));
        }
    }
    text.push('\n');
}

//! What of a tree an OSTree repository cannot hold.

use crate::base::ImagePath;
use crate::base::path::escaped;
use crate::tree::{Directory, Metadata, Node};

/// Something that stays behind, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Loss {
    pub path: ImagePath,
    /// "a character device", "a name that is not UTF-8".
    pub what: String,
}

/// Deepest directory that libostree reads (`OSTREE_MAX_RECURSION`), less one for safety.
const DEPTH_MAX: usize = 255;
/// How many losses a message spells out.
const SHOWN: usize = 20;

/// What became of a tree that was made fit.
#[derive(Debug, Default)]
pub(super) struct Fit {
    /// In tree order.
    pub losses: Vec<Loss>,
    /// Paths that were one file with another: each, and where the file stands.
    pub hard_links: Vec<(ImagePath, ImagePath)>,
}

/// What is to be done with an entry.
enum Change {
    Remove(String),
    /// A name of the file at this path becomes this file.
    Copy(ImagePath, Node),
}

/// Makes a sealed tree into one that OSTree holds: takes away what it can't, and makes of each further name
/// of a file a file of its own.
pub(super) fn fit(tree: &mut Directory) -> Fit {
    let mut fit = Fit { losses: strip(tree), ..Fit::default() };
    for (path, change) in changes(tree) {
        match change {
            Change::Remove(what) => {
                tree.remove(&path);
                fit.losses.push(Loss { path, what });
            }
            Change::Copy(target, node) => {
                tree.replace(&path, node).expect("because the link stands in a directory");
                // A group's node stands at its first path: what becomes of that is decided by now.
                if tree.get(&target).is_some() {
                    fit.hard_links.push((path, target));
                }
            }
        }
    }
    fit.losses.sort_by(|a, b| a.path.names().cmp(b.path.names()));
    fit
}

/// Takes away attributes without a value: libostree overlooks them in repositories of plain files, where the
/// checksums of what has one are wrong ever after.
fn strip(tree: &mut Directory) -> Vec<Loss> {
    let is_empty = |metadata: &Metadata| metadata.xattrs.values().any(|value| value.is_empty());
    let with = tree.paths().filter(|(_, node)| node.metadata().is_some_and(is_empty));
    let mut paths: Vec<ImagePath> = with.map(|(path, _)| path).collect();
    if is_empty(&tree.metadata) {
        paths.push(ImagePath::root());
    }
    let mut losses = Vec::new();
    for path in paths {
        let metadata = match tree.get_mut(&path) {
            Some(node) => node.metadata_mut().expect("because it was looked at"),
            None => &mut tree.metadata,
        };
        metadata.xattrs.retain(|name, value| {
            if value.is_empty() {
                let what = format!("the attribute {}, which has no value", escaped(name));
                losses.push(Loss { path: path.clone(), what });
            }
            !value.is_empty()
        });
    }
    losses
}

fn changes(tree: &Directory) -> Vec<(ImagePath, Change)> {
    let mut changes: Vec<(ImagePath, Change)> = Vec::new();
    for (path, node) in tree.paths() {
        let is_gone = |(gone, change): &(ImagePath, Change)| {
            matches!(change, Change::Remove(_)) && path.is_within(gone)
        };
        if changes.last().is_some_and(is_gone) {
            continue;
        }
        let target = match node {
            Node::HardLink(target) => tree.get(target).map(|node| (target, node)),
            _ => None,
        };
        let shown = target.map(|(target, _)| format!("another name of {target}: ")).unwrap_or_default();
        match (unfit(&path, target.map_or(node, |(_, node)| node)), target) {
            (Some(what), _) => changes.push((path, Change::Remove(format!("{shown}{what}")))),
            (None, Some((target, node))) => {
                changes.push((path, Change::Copy(target.clone(), node.clone())));
            }
            (None, None) => {}
        }
    }
    changes
}

/// Says why OSTree can't hold an entry.
fn unfit(path: &ImagePath, node: &Node) -> Option<String> {
    let name = path.names().next_back().unwrap_or_default();
    let all = if matches!(node, Node::Directory(_)) { ", with all that it holds" } else { "" };
    match node {
        _ if std::str::from_utf8(name).is_err() => Some(format!("a name that is not UTF-8{all}")),
        Node::Symlink(symlink) if std::str::from_utf8(&symlink.target).is_err() => {
            Some("a symlink whose target is not UTF-8".to_owned())
        }
        Node::Directory(_) if path.names().count() > DEPTH_MAX => {
            Some(format!("deeper than {DEPTH_MAX} directories{all}"))
        }
        Node::Device(_) | Node::Fifo(_) | Node::Socket(_) => Some(format!("a {}", node.kind())),
        _ => None,
    }
}

pub(super) fn count(losses: &[Loss]) -> String {
    if losses.len() == 1 { "one thing".to_owned() } else { format!("{} things", losses.len()) }
}

/// Lists losses for people, a line each.
pub(super) fn list(losses: &[Loss]) -> String {
    let line = |loss: &Loss| format!("\n  {}: {}", loss.path, loss.what);
    let mut text: String = losses.iter().take(SHOWN).map(line).collect();
    if losses.len() > SHOWN {
        text.push_str(&format!("\n  … and {} more", losses.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Device, DeviceKind, File, Symlink};

    fn path(text: &[u8]) -> ImagePath {
        ImagePath::new(text).expect("a path")
    }

    fn file() -> Node {
        Node::File(File { metadata: Metadata::root(0o644), content: Content::of(b"x") })
    }

    #[test]
    fn what_can_not_be_held_is_named_once_and_the_rest_stays() {
        let device = Device { metadata: Metadata::root(0o600), kind: DeviceKind::Block, major: 8, minor: 1 };
        let target = b"\xfe"[..].into();
        let symlink = Symlink { metadata: Metadata::root(0o777), target };
        let mut tree = Directory::default();
        for (at, node) in [
            (&b"/a\xff/one"[..], file()),
            (b"/a\xff/two", file()),
            (b"/b", Node::HardLink(path(b"/a\xff/two"))),
            (b"/d/file", file()),
            (b"/d/link", Node::HardLink(path(b"/d/file"))),
            (b"/dev/sda", Node::Device(device)),
            (b"/dev/sdb", Node::HardLink(path(b"/dev/sda"))),
            (b"/pipe", Node::Fifo(Metadata::root(0o600))),
            (b"/socket", Node::Socket(Metadata::root(0o600))),
            (b"/symlink", Node::Symlink(symlink)),
        ] {
            tree.insert(&path(at), node).expect("inserted");
        }
        let empty = |metadata: &mut Metadata| {
            metadata.xattrs.insert(b"user.empty"[..].into(), b""[..].into());
            metadata.xattrs.insert(b"user.full"[..].into(), b"x"[..].into());
        };
        empty(&mut tree.metadata);
        empty(tree.get_mut(&path(b"/d/file")).and_then(Node::metadata_mut).expect("a file"));
        let mut tree = (*tree.seal().expect("sealed")).clone();
        let fit = fit(&mut tree);
        let lost: Vec<String> =
            fit.losses.iter().map(|loss| format!("{}: {}", loss.path, loss.what)).collect();
        assert_eq!(
            lost,
            [
                "/: the attribute user.empty, which has no value",
                "/a\\xff: a name that is not UTF-8, with all that it holds",
                "/d/file: the attribute user.empty, which has no value",
                "/dev/sda: a block device",
                "/dev/sdb: another name of /dev/sda: a block device",
                "/pipe: a fifo",
                "/socket: a socket",
                "/symlink: a symlink whose target is not UTF-8",
            ]
        );
        assert_eq!(fit.hard_links, [(path(b"/d/link"), path(b"/d/file"))]);
        assert_eq!(tree.get(&path(b"/d/link")), tree.get(&path(b"/d/file")));
        let names = |metadata: &Metadata| metadata.xattrs.keys().cloned().collect::<Vec<_>>();
        let link = tree.get(&path(b"/d/link")).and_then(Node::metadata).expect("a file");
        assert_eq!(
            [names(&tree.metadata), names(link)],
            [[Box::from(&b"user.full"[..])], [Box::from(&b"user.full"[..])]]
        );
        assert_eq!(tree.get(&path(b"/b")), Some(&file()), "the file has a name that can be held");
        assert_eq!(tree.paths().count(), 5);
    }

    #[test]
    fn a_tree_deeper_than_libostree_reads_is_cut_where_it_gets_too_deep() {
        let mut tree = Directory::default();
        tree.insert(&path("/d".repeat(300).as_bytes()), file()).expect("inserted");
        let fit = fit(&mut tree);
        assert_eq!(fit.losses.len(), 1);
        assert_eq!(fit.losses[0].path.names().count(), 256);
    }
}

use std::io::Read;
use std::process::ExitCode;

use super::super::args::{Cat, Checkout, List};
use super::super::failure::{Failure, Kind};
use super::super::printer::Reader;
use super::{Context, Done};
use crate::base::path::escaped;
use crate::base::{CommitId, ImagePath, Name};
use crate::store::{Found, Named, Objects, Store, StoreError, StoredDirectory, TreeRef};
use crate::tree::content::ContentReader;
use crate::tree::{DeviceKind, Directory, File, Metadata, Node};

/// A place that was named on the command line: an object, and a path inside where it is a tree.
pub struct Place {
    root: Found,
    pub path: ImagePath,
    /// The commit, where one was named without a path.
    pub commit: Option<CommitId>,
}

impl Place {
    /// Finds what stands there; `None` where nothing does.
    pub fn found(&self, store: &Store) -> Result<Option<Found>, Failure> {
        match &self.root {
            Found::Directory(tree, _) => match store.find(tree, &self.path, false) {
                Ok(found) => Ok(Some(found)),
                Err(StoreError::Path { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            },
            leaf => Ok(self.path.is_root().then(|| leaf.clone())),
        }
    }

    /// Finds what stands there, symbolic links followed; nothing is an error.
    fn find(&self, store: &Store) -> Result<Found, Failure> {
        match &self.root {
            Found::Directory(tree, _) => store.find(tree, &self.path, true).map_err(Failure::from),
            leaf => Ok(leaf.clone()),
        }
    }

    /// Returns what stands there as one entry.
    pub fn node(&self, store: &Store) -> Result<Node, Failure> {
        Ok(match self.find(store)? {
            Found::Leaf(node) => node,
            Found::Directory(_, StoredDirectory { metadata, .. }) => {
                Node::Directory(Directory { metadata, ..Directory::default() })
            }
        })
    }

    /// Returns the place at a path below.
    pub fn join(&self, path: &ImagePath) -> Place {
        let mut joined = self.path.clone();
        for name in path.names() {
            joined = joined.join(&Name::new(name).expect("because it is part of a path"));
        }
        Place { root: self.root.clone(), path: joined, commit: None }
    }
}

/// Finds the place that `REV`, `REV:PATH`, or `REV` and `PATH` name. `REV` may be the id of a tree or file too.
pub fn place(store: &Store, revision: &str, at: Option<&str>) -> Result<Place, Failure> {
    let (named, inside) = store.resolve_any(revision).map_err(Failure::from)?;
    let path = match (inside, at) {
        (Some(_), Some(at)) => {
            let problem = format!("{revision} names a path already, and {at} is another one");
            return Err(Failure::new(Kind::Usage, problem).hint("write REV:PATH, or REV and PATH"));
        }
        (Some(inside), None) => Some(inside),
        (None, at) => at.map(path).transpose()?,
    };
    let (root, commit) = match named {
        Named::Commit(id) => {
            (directory(store, &store.read_commit(&id).map_err(Failure::from)?.tree)?, Some(id))
        }
        Named::Tree(tree) => (directory(store, &tree)?, None),
        Named::Blob(content) => {
            (Found::Leaf(Node::File(File { metadata: Metadata::root(0o644), content })), None)
        }
    };
    if let (Found::Leaf(_), Some(path)) = (&root, &path) {
        return Err(Failure::new(
            Kind::NotFound,
            format!("{revision} is a file, so there is no {path} inside"),
        ));
    }
    let commit = commit.filter(|_| path.is_none());
    Ok(Place { root, path: path.unwrap_or_else(ImagePath::root), commit })
}

fn directory(store: &Store, tree: &TreeRef) -> Result<Found, Failure> {
    Ok(Found::Directory(*tree, store.read_directory(tree).map_err(Failure::from)?))
}

/// Reads a path inside a tree; a leading `/` may be left out.
pub fn path(text: &str) -> Result<ImagePath, Failure> {
    let absolute = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
    ImagePath::new(absolute.as_bytes()).map_err(|error| Failure::new(Kind::Usage, error.to_string()))
}

/// `mkimage ls`: lists what stands at a path.
pub fn ls(context: &Context, arguments: &List) -> Done {
    let store = context.store()?;
    let place = place(&store, &arguments.commit, arguments.path.as_deref())?;
    let mut rows = Vec::new();
    match place.find(&store)? {
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
        Found::Leaf(node) => rows.push(row(&place.path.to_string(), &node)),
    }
    let data: Vec<_> = rows.iter().map(|row| &row.0).collect();
    context.printer.data(&data, || rows.iter().map(|row| row.1.as_str()).collect())?;
    Ok(ExitCode::SUCCESS)
}

/// One entry, for programs and for people.
pub fn row(name: &str, node: &Node) -> (serde_json::Value, String) {
    let mut value = serde_json::json!({ "name": name });
    let facts = facts(node);
    let letter = match node {
        Node::Directory(_) => 'd',
        Node::File(_) => '-',
        Node::Symlink(_) => 'l',
        Node::Device(device) if device.kind == DeviceKind::Block => 'b',
        Node::Device(_) => 'c',
        Node::Fifo(_) => 'p',
        Node::Socket(_) => 's',
        Node::HardLink(_) => 'h',
    };
    let none = Metadata::default();
    let Metadata { mode, uid, gid, .. } = node.metadata().unwrap_or(&none);
    let size = facts["size"].as_u64().map(|size| size.to_string()).unwrap_or_default();
    let target = facts["target"].as_str().map(|target| format!(" {target}")).unwrap_or_default();
    let text = format!("{letter} {mode:04o} {uid:>5} {gid:>5} {size:>10} {name}{target}\n");
    if let (Some(value), serde_json::Value::Object(facts)) = (value.as_object_mut(), facts) {
        value.extend(facts);
    }
    (value, text)
}

/// What is to be said of a node, for programs.
pub fn facts(node: &Node) -> serde_json::Value {
    let none = Metadata::default();
    let metadata = node.metadata().unwrap_or(&none);
    let target = match node {
        Node::Symlink(link) => Some(format!("-> {}", escaped(&link.target))),
        Node::Device(device) => Some(format!("{}:{}", device.major, device.minor)),
        Node::HardLink(target) => Some(format!("= {target}")),
        _ => None,
    };
    let content = match node {
        Node::File(file) => Some(file.content),
        _ => None,
    };
    serde_json::json!({
        "kind": node.kind(), "mode": format!("{:04o}", metadata.mode), "uid": metadata.uid, "gid": metadata.gid,
        "size": content.map(|content| content.size), "id": content.map(|content| content.id), "target": target,
    })
}

/// `mkimage cat`: prints a file.
pub fn cat(context: &Context, arguments: &Cat) -> Done {
    let store = context.store()?;
    let place = place(&store, &arguments.commit, arguments.path.as_deref())?;
    let at = &place.path;
    let node = match place.find(&store)? {
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
    let place = place(&store, &arguments.commit, None)?;
    let Found::Directory(tree, _) = place.find(&store)? else {
        return Err(Failure::new(Kind::NotFound, format!("{} is a file, not a directory", place.path))
            .hint("`mkimage cat` prints files"));
    };
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

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::Args;

use super::super::failure::{Failure, Kind};
use super::super::printer::Reader;
use super::{Context, Done};
use crate::base::path::escaped;
use crate::base::{CommitId, ImagePath, Job};
use crate::confine::Term;
use crate::store::{Found, Named, Objects, Store, StoreError, StoredDirectory, TreeRef};
use crate::tree::content::ContentReader;
use crate::tree::{DeviceKind, Directory, File, Metadata, Node};
use crate::view::{self, View, ViewError};

/// `mkimage ls`: lists what stands at a path.
#[derive(Args, Debug)]
pub struct List {
    /// Ref, REF~N, id of a commit or tree; or IMAGE, IMAGE:slot-b, a filesystem in a file; with :/PATH what stands there
    #[arg(value_name = "REV")]
    pub place: String,
    /// Path inside the tree [default: /]
    #[arg(value_name = "PATH")]
    pub path: Option<String>,
    /// Show kind, mode, owner, group and size, too
    #[arg(long, short)]
    pub long: bool,
    /// List what lies below, too
    #[arg(long, short = 'R', short_alias = 'r')]
    pub recursive: bool,
}

/// `mkimage cat`: prints a file.
#[derive(Args, Debug)]
pub struct Cat {
    /// Ref, REF~N, id or IMAGE, with :/PATH or PATH behind it; or the id of a file
    #[arg(value_name = "REV")]
    pub place: String,
    /// Path inside the tree
    #[arg(value_name = "PATH")]
    pub path: Option<String>,
}

/// `mkimage checkout`: writes a tree into a directory.
#[derive(Args, Debug)]
pub struct Checkout {
    /// Ref, REF~N, id or IMAGE; with :/PATH only what lies there
    #[arg(value_name = "REV")]
    pub place: String,
    /// Directory to make
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// The store of the command line, opened when something is looked for in it: files need none.
#[derive(Default)]
pub struct Stores(OnceLock<Store>);

impl Stores {
    /// Returns the store.
    pub fn get(&self, context: &Context) -> Result<&Store, Failure> {
        if let Some(store) = self.0.get() {
            return Ok(store);
        }
        let store = context.store()?;
        Ok(self.0.get_or_init(|| store))
    }

    /// Opens what a text names: a commit, an image, a partition.
    pub fn view(&self, context: &Context, text: &str) -> Result<View<'_>, Failure> {
        let store = if view::needs_store(text) { Some(self.get(context)?) } else { None };
        let opened = view::open(text, store, Term::Short, &context.job);
        opened.map_err(|error| match error {
            ViewError::Store(error @ StoreError::Unknown { .. }) => unknown(text, error),
            error => error.into(),
        })
    }

    /// Opens what a text names, and returns the path that stands behind it or beside it; the root for none.
    pub fn place(
        &self,
        context: &Context,
        text: &str,
        at: Option<&str>,
    ) -> Result<(View<'_>, ImagePath), Failure> {
        let view = self.view(context, text)?;
        let path = match (view.path().cloned(), at) {
            (Some(_), Some(at)) => {
                let problem = format!("{text} names a path already, and {at} is another one");
                return Err(Failure::new(Kind::Usage, problem).hint("write REV:PATH, or REV and PATH"));
            }
            (Some(inside), None) => inside,
            (None, at) => at.map(path).transpose()?.unwrap_or_else(ImagePath::root),
        };
        Ok((view, path))
    }
}

/// Says that a text names neither a commit nor a file, and why a file of this name was not taken for one.
fn unknown(text: &str, error: StoreError) -> Failure {
    let failure = Failure::from(error);
    let name = text.split(':').next().unwrap_or(text);
    match std::path::Path::new(name).is_file() {
        true => failure
            .hint(format!("{name} is a file, but does not begin like an image: ./{name} has it read as one")),
        false if name.contains(['/', '.']) => {
            failure.hint("there is no file of this name; `mkimage refs` lists the refs of the store")
        }
        false => failure,
    }
}

/// A place in a store that was named on the command line: an object, and a path inside where it is a tree.
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

    /// Returns what stands there as one entry.
    pub fn node(&self, store: &Store) -> Result<Node, Failure> {
        let found = match &self.root {
            Found::Directory(tree, _) => store.find(tree, &self.path, true).map_err(Failure::from)?,
            leaf => leaf.clone(),
        };
        Ok(match found {
            Found::Leaf(node) => node,
            Found::Directory(_, StoredDirectory { metadata, .. }) => {
                Node::Directory(Directory { metadata, ..Directory::default() })
            }
        })
    }

    /// Returns the place at a path below.
    pub fn join(&self, path: &ImagePath) -> Place {
        Place { root: self.root.clone(), path: joined(&self.path, path), commit: None }
    }
}

/// Returns a path below another one.
pub fn joined(above: &ImagePath, below: &ImagePath) -> ImagePath {
    let name = |name: &[u8]| crate::base::Name::new(name).expect("because it is part of a path");
    below.names().fold(above.clone(), |path, part| path.join(&name(part)))
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
    let stores = Stores::default();
    let (view, path) = stores.place(context, &arguments.place, arguments.path.as_deref())?;
    let found = view.find(&path, true)?;
    let mut nodes: Vec<(String, Node)> = Vec::new();
    match &found.node {
        Node::Directory(_) if arguments.recursive => {
            let below = view.below(&path, &context.job)?;
            nodes.extend(below.paths().map(|(at, node)| (at.to_string()[1..].to_owned(), node.clone())));
        }
        Node::Directory(_) => {
            nodes.extend(view.entries(&path)?.into_iter().map(|(name, node)| (name.to_string(), node)));
        }
        _ => nodes.push((path.to_string(), found.node)),
    }
    if context.printer.wants_json() {
        let rows = nodes.iter().map(|(name, node)| Ok(row(name, &view.identified(node)?).0));
        let rows = rows.collect::<Result<Vec<_>, Failure>>()?;
        context.printer.data(&rows, String::new)?;
        return Ok(ExitCode::SUCCESS);
    }
    let line = |(name, node): &(String, Node)| match (arguments.long, node) {
        (true, node) => row(name, node).1,
        (false, Node::Directory(_)) => format!("{name}/\n"),
        (false, _) => format!("{name}\n"),
    };
    context.printer.bytes(nodes.iter().map(line).collect::<String>().as_bytes())?;
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
    let stores = Stores::default();
    let (view, at) = stores.place(context, &arguments.place, arguments.path.as_deref())?;
    let Node::File(file) = view.find(&at, true)?.node else {
        let kind = view.find(&at, true)?.node.kind();
        return Err(Failure::new(Kind::NotFound, format!("{at} is a {kind}, not a file")));
    };
    let mut reader = ContentReader::new(&view, file.content);
    let mut piece = vec![0; 1 << 20];
    loop {
        check(&context.job)?;
        let length = reader.read(&mut piece).map_err(|error| Failure::of(Kind::Damaged, &error))?;
        if length == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        if context.printer.bytes(&piece[..length])? == Reader::Gone {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn check(job: &Job) -> Result<(), Failure> {
    job.check().map_err(|error| Failure::of(Kind::Interrupted, &error))
}

/// `mkimage checkout`: writes a tree into a directory.
pub fn checkout(context: &Context, arguments: &Checkout) -> Done {
    let stores = Stores::default();
    let (view, path) = stores.place(context, &arguments.place, None)?;
    if !matches!(view.find(&path, true)?.node, Node::Directory(_)) {
        return Err(Failure::new(Kind::NotFound, format!("{path} is a file, not a directory"))
            .hint("`mkimage cat` prints files, `mkimage cp` copies them"));
    }
    let tree = view.below(&path, &context.job)?;
    let report = crate::store::check_out(&tree, &view, &arguments.directory, &context.job);
    let report = report.map_err(Failure::from)?;
    say_copied(context, &arguments.directory, "checked out", &report)
}

/// Says what was written to the host, and what of it the host refused.
pub fn say_copied(
    context: &Context,
    to: &std::path::Path,
    what: &str,
    report: &crate::store::CheckoutReport,
) -> Done {
    for skipped in &report.skipped {
        context.printer.warn(&format!("{}: {}", skipped.path, skipped.what));
    }
    if context.printer.wants_json() {
        let value = serde_json::json!({
            "directory": to, "entries": report.entries, "bytes": report.bytes, "skipped": report.skipped,
        });
        context.printer.data(&value, String::new)?;
    } else {
        let (entries, bytes) = (report.entries, report.bytes);
        context.printer.say(&format!("{what} {entries} entries, {bytes} bytes into {}", to.display()));
    }
    Ok(ExitCode::SUCCESS)
}

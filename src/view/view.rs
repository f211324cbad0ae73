//! The view itself.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::error::{Result, ViewError};
use super::location::Location;
use super::outline::{self, Outline};
use super::stranger::{self, Stranger};
use super::{contents, subtree};
use crate::base::nearest::closest;
use crate::base::{CommitId, ImagePath, Job, Name};
use crate::boot::origin::Origin;
use crate::confine::Term;
use crate::store::{self, Commit, Named, Objects, Store, StoreError, StoredNode, TreeRef};
use crate::tree::{Content, Directory, File, Metadata, Node, follow};

/// A tree to look into, with the bytes of its files.
pub struct View<'s> {
    name: String,
    path: Option<ImagePath>,
    commit: Option<(CommitId, Commit)>,
    pub(super) source: Source<'s>,
    /// The whole tree with digests, once somebody asked for it.
    whole: OnceLock<Directory>,
    /// Where its files lie in an image.
    places: OnceLock<HashMap<Content, u32>>,
}

/// Where the tree comes from.
pub(super) enum Source<'s> {
    Tree {
        store: &'s Store,
        tree: TreeRef,
    },
    /// One file of a store.
    Blob {
        store: &'s Store,
        content: Content,
    },
    /// A filesystem of an image, which a confined child reads.
    Image {
        stranger: Stranger,
        outline: Outline,
    },
}

/// What stands at a path: directories come without what they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub node: Node,
    /// Further names of the directory's entries are read with [`View::entries`] at this path.
    pub path: ImagePath,
}

/// Opens what a text names (see the card of this room). A text that names no file needs the store.
///
/// A file is read by a confined child for as long as the view is there: as far as its tables, its slot sector and the
/// inodes of one filesystem, some 300 bytes of memory for each. Nothing else of it is read before it is asked for.
pub fn open<'s>(text: &str, store: Option<&'s Store>, term: Term, job: &Job) -> Result<View<'s>> {
    match Location::parse(text)? {
        Location::File { file, part, path } => {
            let opened = stranger::open(&file, part.as_deref(), term, job)?;
            let source = Source::Image { stranger: opened.stranger, outline: opened.outline };
            let part = part.map(|part| format!(":{part}")).unwrap_or_default();
            let name = format!("{}{part}", file.display());
            Ok(View::new(name, path, opened.commit.map(|commit| (commit.id(), commit)), source))
        }
        Location::Revision(text) => {
            let store = store.ok_or_else(|| ViewError::NoStore { text: text.clone() })?;
            of_revision(&text, store)
        }
    }
}

fn of_revision<'s>(text: &str, store: &'s Store) -> Result<View<'s>> {
    let (named, path) = store.resolve_any(text)?;
    let name = text.split(':').next().unwrap_or(text).to_owned();
    let (source, commit) = match named {
        Named::Commit(id) => {
            let commit = store.read_commit(&id)?;
            (Source::Tree { store, tree: commit.tree }, Some((id, commit)))
        }
        Named::Tree(tree) => (Source::Tree { store, tree }, None),
        Named::Blob(content) => (Source::Blob { store, content }, None),
    };
    if let (Source::Blob { .. }, Some(path)) = (&source, &path) {
        let problem = format!("{name} is a file, so there is nothing inside");
        return Err(ViewError::Path { path: path.clone(), problem, near: None });
    }
    Ok(View::new(name, path, commit, source))
}

impl<'s> View<'s> {
    fn new(
        name: String,
        path: Option<ImagePath>,
        commit: Option<(CommitId, Commit)>,
        source: Source<'s>,
    ) -> View<'s> {
        View { name, path, commit, source, whole: OnceLock::new(), places: OnceLock::new() }
    }

    /// Makes a view of a stored commit.
    pub fn of_commit(store: &'s Store, id: CommitId) -> Result<View<'s>> {
        let commit = store.read_commit(&id)?;
        let source = Source::Tree { store, tree: commit.tree };
        Ok(View::new(id.to_string(), None, Some((id, commit)), source))
    }

    /// Returns the text that was opened, without the path behind it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the path that was named behind the colon.
    pub fn path(&self) -> Option<&ImagePath> {
        self.path.as_ref()
    }

    /// Returns the commit: of an image, what the UKI of the slot says, which nobody has checked here.
    pub fn commit(&self) -> Option<&Commit> {
        self.commit.as_ref().map(|(_, commit)| commit)
    }

    pub fn commit_id(&self) -> Option<CommitId> {
        self.commit.as_ref().map(|(id, _)| *id)
    }

    /// Returns what an image carries of its own provenance: recipe texts and the lock. Nobody has checked it here.
    pub fn carried(&self) -> Option<Origin> {
        match &self.source {
            Source::Image { stranger, .. } => stranger.origin(),
            _ => None,
        }
    }

    /// Returns the stored tree; `None` for what is in no store.
    pub fn stored(&self) -> Option<(&'s Store, TreeRef)> {
        match &self.source {
            Source::Tree { store, tree } => Some((store, *tree)),
            _ => None,
        }
    }

    /// Returns when an entry was changed, in seconds since 1970: of a commit, its epoch.
    pub fn modified(&self, path: &ImagePath) -> i64 {
        match &self.source {
            Source::Image { outline, .. } => {
                outline.modified_otherwise.get(path).copied().unwrap_or(outline.modified)
            }
            _ => self.commit().map_or(0, |commit| i64::try_from(commit.epoch).unwrap_or(i64::MAX)),
        }
    }

    /// Finds what stands at a path, links on the way followed within the tree, the last one where `follow` says
    /// so; a hard link is what it leads to. The id of a file may be that of its place only: see
    /// [`View::identified`].
    pub fn find(&self, path: &ImagePath, follow: bool) -> Result<Found> {
        match &self.source {
            Source::Tree { store, tree } => Ok(found_in_store(path, store.find(tree, path, follow)?)),
            Source::Blob { content, .. } if path.is_root() => {
                let node = Node::File(File { metadata: Metadata::root(0o644), content: *content });
                Ok(Found { node, path: path.clone() })
            }
            Source::Blob { .. } => Err(missing(path, None)),
            Source::Image { outline, .. } => find(&outline.root, path, follow),
        }
    }

    /// Lists a directory by name; directories in it come without what they hold.
    pub fn entries(&self, path: &ImagePath) -> Result<Vec<(Name, Node)>> {
        let shown = |(name, node): (&Name, &Node)| (name.clone(), without_entries(node));
        match &self.source {
            Source::Tree { store, tree } => match store.find(tree, path, true)? {
                store::Found::Directory(_, directory) => stored_entries(store, &directory),
                store::Found::Leaf(node) => Err(no_directory(path, &node)),
            },
            Source::Blob { .. } => {
                Err(ViewError::Kind { path: path.clone(), kind: "file", wanted: "directory" })
            }
            Source::Image { outline, .. } => {
                let found = find(&outline.root, path, true)?;
                match outline.root.directory(&found.path) {
                    Some(directory) => Ok(directory.entries.iter().map(shown).collect()),
                    None => Err(no_directory(path, &found.node)),
                }
            }
        }
    }

    /// Returns what lies below a directory as a tree of its own, whose files can be read through this view: of an
    /// image without having read any. Links at the path's end are followed.
    pub fn below(&self, path: &ImagePath, job: &Job) -> Result<Directory> {
        let found = self.find(path, true)?;
        if !matches!(found.node, Node::Directory(_)) {
            return Err(no_directory(path, &found.node));
        }
        let whole;
        let root = match &self.source {
            Source::Image { outline, .. } => &outline.root,
            _ => {
                whole = self.tree(job)?;
                whole
            }
        };
        let at = follow::follow(root, path).unwrap_or(found.path);
        subtree::subtree(root, &at).ok_or_else(|| missing(path, None))
    }

    /// Returns the whole tree, each file under its digest. Of an image it reads every file, once.
    pub fn tree(&self, job: &Job) -> Result<&Directory> {
        if let Some(whole) = self.whole.get() {
            return Ok(whole);
        }
        let whole = match &self.source {
            Source::Tree { store, tree } => store.read_tree(job, tree)?,
            Source::Blob { .. } => {
                return Err(ViewError::Kind { path: ImagePath::root(), kind: "file", wanted: "directory" });
            }
            Source::Image { outline, .. } => self.identify(&outline.root, job)?,
        };
        Ok(self.whole.get_or_init(|| whole))
    }

    /// Returns where the files of an image lie, by digest; nothing is known before [`View::tree`] was asked for.
    pub(super) fn places(&self) -> &HashMap<Content, u32> {
        static NONE: OnceLock<HashMap<Content, u32>> = OnceLock::new();
        match (&self.source, self.whole.get()) {
            (Source::Image { outline, .. }, Some(whole)) => {
                self.places.get_or_init(|| contents::places(&outline.root, whole))
            }
            _ => NONE.get_or_init(HashMap::new),
        }
    }

    /// Returns an entry with the digest of its file, which is read for that in an image.
    pub fn identified(&self, node: &Node) -> Result<Node> {
        match node {
            Node::File(file) if outline::place(&file.content).is_some() => {
                let content = self.digests(&[file.content])?[0];
                Ok(Node::File(File { content, ..file.clone() }))
            }
            node => Ok(node.clone()),
        }
    }
}

fn find(root: &Directory, path: &ImagePath, follow: bool) -> Result<Found> {
    let at = match (follow, path.parent().zip(path.name())) {
        (true, _) | (_, None) => follow::resolve(root, path).map(|(at, _)| at),
        (false, Some((parent, name))) => follow::follow(root, &parent).map(|parent| parent.join(&name)),
    };
    let at = at.ok_or_else(|| missing(path, near(root, path)))?;
    let node = match root.get(&at) {
        None if at.is_root() => Some(root_without_entries(root)),
        Some(Node::HardLink(target)) => root.get(target).map(without_entries),
        node => node.map(without_entries),
    };
    node.map(|node| Found { node, path: at }).ok_or_else(|| missing(path, near(root, path)))
}

fn missing(path: &ImagePath, near: Option<ImagePath>) -> ViewError {
    ViewError::Path { path: path.clone(), problem: "nothing stands there".to_owned(), near }
}

/// Returns what a misspelt last name may have been.
fn near(root: &Directory, path: &ImagePath) -> Option<ImagePath> {
    let (parent, name) = (follow::follow(root, &path.parent()?)?, path.name()?.to_string());
    let names: Vec<String> = root.directory(&parent)?.entries.keys().map(Name::to_string).collect();
    let found = closest(&name, names.iter().map(String::as_str))?;
    Some(parent.join(&Name::new(found.as_bytes()).ok()?))
}

fn no_directory(path: &ImagePath, node: &Node) -> ViewError {
    ViewError::Kind { path: path.clone(), kind: node.kind(), wanted: "directory" }
}

fn root_without_entries(directory: &Directory) -> Node {
    Node::Directory(Directory { metadata: directory.metadata.clone(), ..Directory::default() })
}

/// Returns a node, a directory without what it holds.
pub(super) fn without_entries(node: &Node) -> Node {
    match node {
        Node::Directory(directory) => root_without_entries(directory),
        other => other.clone(),
    }
}

fn found_in_store(path: &ImagePath, found: store::Found) -> Found {
    let node = match found {
        store::Found::Leaf(node) => node,
        store::Found::Directory(_, directory) => {
            Node::Directory(Directory { metadata: directory.metadata, ..Directory::default() })
        }
    };
    Found { node, path: path.clone() }
}

fn stored_entries(store: &Store, directory: &store::StoredDirectory) -> Result<Vec<(Name, Node)>> {
    let read = |(name, node): (&Name, &StoredNode)| {
        let node = match node {
            StoredNode::Leaf(node) => node.clone(),
            StoredNode::Directory(tree) => {
                let metadata = store.read_directory(tree)?.metadata;
                Node::Directory(Directory { metadata, ..Directory::default() })
            }
        };
        Ok((name.clone(), node))
    };
    directory
        .entries
        .iter()
        .map(read)
        .collect::<std::result::Result<_, StoreError>>()
        .map_err(ViewError::from)
}

//! From the bytes of a package to a tree. Contents go straight into the caller's sink.
//!
//! A locked package stands in an index that the distribution signed, so its setuid and setgid bits and its
//! file capabilities come in as they are. Device nodes and `trusted.*` attributes do not: no package of a
//! distribution has any, and an image that wants one names it in the recipe.

use std::sync::Mutex;

use super::deb::archive::{self as deb_archive, DebError};
use super::digest::Sha256;
use super::error::PackagesError;
use super::fetch::Fetcher;
use super::lock::{LockedPackage, Wanted};
use crate::archive::{ArchiveError, Limits, Options as ArchiveOptions};
use crate::base::job::Unit;
use crate::base::{Digest, ImagePath, Job, Name, StepKey};
use crate::tree::{ContentSink, Directory, Node, Special};

/// Names what this file does with a package's bytes. Raise it whenever the same bytes give another tree.
const UNPACK_CONTEXT: &str = "mkimage 2026 unpack deb v1";

/// Top-level directories that are links into `/usr` where a suite has merged the two.
const MERGED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32"];

/// Says how a package is laid into a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// `/bin`, `/sbin` and `/lib*` become `/usr/bin`, `/usr/sbin` and `/usr/lib*`, as if they were links to
    /// these when the package is unpacked.
    pub usr_merge: bool,
}

/// Holds a package's fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Control {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// Every field as it stands in the control file, in its order.
    pub fields: Vec<(String, String)>,
}

/// Holds what a package brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unpacked {
    pub tree: Directory,
    pub control: Control,
    /// Files that an administrator may change, as the package spells their paths.
    pub conffiles: Vec<ImagePath>,
    /// Maintainer scripts by name (`postinst`); nothing runs them here.
    pub scripts: std::collections::BTreeMap<String, Vec<u8>>,
}

/// Returns the key of unpacking a package: equal keys, equal trees.
pub fn unpack_key(sha256: &Sha256, options: &Options) -> StepKey {
    let mut bytes = sha256.0.to_vec();
    bytes.push(u8::from(options.usr_merge));
    StepKey(Digest::derive(UNPACK_CONTEXT, &bytes))
}

/// Unpacks the bytes of one package. They must have been checked against a digest that is trusted; their form
/// is not trusted. Costs the decompression, one thread.
pub fn deb(bytes: &[u8], options: &Options, sink: &dyn ContentSink, job: &Job) -> Result<Unpacked, DebError> {
    let archive_options = ArchiveOptions {
        label: "unpack".to_owned(),
        policy: &is_allowed,
        limits: Limits::default(),
        ..ArchiveOptions::default()
    };
    let (files, mut tree) = deb_archive::read(bytes, &archive_options, sink, job)?;
    if options.usr_merge {
        merge_usr(&mut tree)?;
    }
    Ok(Unpacked { tree, control: files.control, conffiles: files.conffiles, scripts: files.scripts })
}

/// Unpacks locked packages, the largest first, on all workers; the results come in the order of `wanted`.
/// What is not in the cache is fetched.
pub fn locked(
    wanted: &[Wanted<'_>],
    options: &Options,
    fetcher: &Fetcher<'_>,
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<Vec<Unpacked>, PackagesError> {
    fetcher.fetch(wanted, job)?;
    let total = wanted.iter().map(|wanted| wanted.package.size_bytes).sum();
    let step = job.step("unpack packages", Some(total), Unit::Bytes);
    let mut order: Vec<(usize, &Wanted<'_>)> = wanted.iter().enumerate().collect();
    order.sort_by_key(|(index, wanted)| (std::cmp::Reverse(wanted.package.size_bytes), *index));
    let results = Mutex::new(Vec::new());
    job.workers.for_each(order.into_iter(), |(index, wanted)| {
        let bytes = fetcher.read(wanted, job)?;
        let unpacked = locked_deb(&bytes, wanted.package, options, sink, job)?;
        step.advance(wanted.package.size_bytes);
        results.lock().expect("because no worker panics while it adds a result").push((index, unpacked));
        Ok::<_, PackagesError>(())
    })?;
    let mut results = results.into_inner().expect("because no worker panics while it adds a result");
    results.sort_by_key(|result| result.0);
    Ok(results.into_iter().map(|result| result.1).collect())
}

/// Unpacks the bytes of one locked package, and checks that it is the one that was locked.
pub fn locked_deb(
    bytes: &[u8],
    package: &LockedPackage,
    options: &Options,
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<Unpacked, PackagesError> {
    let failed = |problem: DebError| match problem {
        DebError::Inner { problem: ArchiveError::Cancelled(cancelled), .. } => cancelled.into(),
        problem => PackagesError::Unpack { package: package.to_string(), problem: Box::new(problem) },
    };
    let unpacked = deb(bytes, options, sink, job).map_err(failed)?;
    let Control { name, version, architecture, .. } = &unpacked.control;
    if (name, version, architecture) != (&package.name, &package.version, &package.architecture) {
        let found = format!("{name} {version} {architecture}");
        let expected = format!("{package} {}", package.architecture);
        return Err(failed(DebError::OtherPackage { found, expected }));
    }
    Ok(unpacked)
}

fn is_allowed(_: &ImagePath, special: Special) -> bool {
    matches!(special, Special::SetUid | Special::SetGid | Special::Capability)
}

/// Moves what lies in the top-level directories under `/usr`. Links keep their targets, as they do where a
/// package manager unpacks through a link; the names that hard links lead to move along.
fn merge_usr(tree: &mut Directory) -> Result<(), DebError> {
    for name in MERGED {
        let Some(Node::Directory(moved)) = tree.entries.get(name.as_bytes()) else { continue };
        let moved = moved.clone();
        tree.entries.remove(name.as_bytes());
        let usr = Name::new(b"usr").expect("because it is a name");
        let usr = tree.entries.entry(usr).or_insert_with(|| Node::Directory(Directory::default()));
        let (from, to) = (top(name), ImagePath::new(format!("/usr/{name}").as_bytes()));
        let to = to.expect("because it is a path");
        let Node::Directory(usr) = usr else {
            return Err(DebError::UsrMerge { path: from, other: to });
        };
        unite(usr, name, moved, &from, &to)?;
    }
    redirect_links(tree)
}

fn top(name: &str) -> ImagePath {
    ImagePath::new(format!("/{name}").as_bytes()).expect("because it is a path")
}

/// Puts a directory into another under a name. Directories unite; what is there already stays if it is equal.
fn unite(
    into: &mut Directory,
    name: &str,
    moved: Directory,
    from: &ImagePath,
    to: &ImagePath,
) -> Result<(), DebError> {
    let name = Name::new(name.as_bytes()).expect("because it is a name");
    let mut waiting = vec![(vec![name], Node::Directory(moved))];
    while let Some((names, node)) = waiting.pop() {
        let (last, parents) = names.split_last().expect("because every entry has a name");
        let mut parent = &mut *into;
        for name in parents {
            let Some(Node::Directory(next)) = parent.entries.get_mut(name) else {
                unreachable!("because parents are united before what they hold");
            };
            parent = next;
        }
        match (parent.entries.get_mut(last), node) {
            (None, node) => {
                parent.entries.insert(last.clone(), node);
            }
            (Some(Node::Directory(_)), Node::Directory(mut moved)) => {
                for (name, node) in std::mem::take(&mut moved.entries) {
                    waiting.push(([&names[..], &[name]].concat(), node));
                }
            }
            (Some(there), node) if *there == node => {}
            (Some(_), _) => {
                let join =
                    |root: &ImagePath| names[1..].iter().fold(root.clone(), |path, name| path.join(name));
                return Err(DebError::UsrMerge { path: join(from), other: join(to) });
            }
        }
    }
    Ok(())
}

/// Lets hard links lead to where their targets went.
fn redirect_links(tree: &mut Directory) -> Result<(), DebError> {
    let merged = |target: &ImagePath| {
        let first = target.names().next()?;
        let is_merged = MERGED.iter().any(|name| name.as_bytes() == first);
        is_merged.then(|| ImagePath::new(&[b"/usr", target.as_bytes()].concat()).ok())?
    };
    let links: Vec<(ImagePath, ImagePath)> = tree
        .paths()
        .filter_map(|(path, node)| match node {
            Node::HardLink(target) => Some((path, merged(target)?)),
            _ => None,
        })
        .collect();
    for (path, target) in links {
        if let Some(node) = tree.get_mut(&path) {
            *node = Node::HardLink(target);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, File, Metadata, Symlink};

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text.as_bytes()).expect("a path")
    }

    fn file(text: &str) -> Node {
        Node::File(File { metadata: Metadata::root(0o644), content: Content::of(text.as_bytes()) })
    }

    #[test]
    fn what_lies_beside_usr_moves_into_it() {
        let mut tree = Directory::default();
        tree.insert(&path("/lib/modules/m.ko"), file("m")).expect("inserted");
        tree.insert(&path("/usr/lib/modules/n.ko"), file("n")).expect("inserted");
        tree.insert(&path("/bin/a"), file("a")).expect("inserted");
        tree.insert(&path("/sbin/b"), Node::HardLink(path("/bin/a"))).expect("inserted");
        tree.insert(&path("/library"), file("x")).expect("inserted");
        merge_usr(&mut tree).expect("merged");
        for moved in ["/usr/lib/modules/m.ko", "/usr/lib/modules/n.ko", "/usr/bin/a", "/library"] {
            assert!(tree.get(&path(moved)).is_some(), "{moved}");
        }
        assert_eq!(tree.get(&path("/usr/sbin/b")), Some(&Node::HardLink(path("/usr/bin/a"))));
        assert!(tree.get(&path("/lib")).is_none() && tree.get(&path("/bin")).is_none());
        assert!(tree.seal().is_ok());
    }

    #[test]
    fn links_stay_links_and_differences_are_errors() {
        let mut tree = Directory::default();
        let link = Symlink { metadata: Metadata::root(0o777), target: b"usr/bin"[..].into() };
        tree.insert(&path("/bin"), Node::Symlink(link.clone())).expect("inserted");
        tree.insert(&path("/lib/x/y"), file("1")).expect("inserted");
        tree.insert(&path("/usr/lib/x/y"), file("2")).expect("inserted");
        let error = merge_usr(&mut tree).expect_err("differs");
        assert_eq!(tree.get(&path("/bin")), Some(&Node::Symlink(link)));
        assert!(
            error.to_string().contains("/lib/x/y") && error.to_string().contains("/usr/lib/x/y"),
            "{error}"
        );
    }

    #[test]
    fn the_key_tells_options_apart() {
        let sha256 = Sha256::of(b"x");
        let merged = Options { usr_merge: true };
        assert_ne!(unpack_key(&sha256, &Options::default()), unpack_key(&sha256, &merged));
    }
}

//! `closure = "elf"`: what a dynamic app needs comes along.
//!
//! Where the recipe has a `packages` block, the libraries are the packages' affair, and nothing of this machine
//! is mixed in: the finished tree is checked, so that a missing library is an error of the build. Otherwise
//! they are taken from this machine, each file by its hash, as an input of the image like any other.
//!
//! What is taken, by these rules and no others
//! - The loader and the libraries that the app's ELF files name, at the paths where the loader looks for them.
//!   What only `/etc/ld.so.conf` of this machine leads to goes into the loader's own directory.
//! - With glibc: `libnss_files.so.2`, `libnss_dns.so.2` and `libgcc_s.so.1` beside it, which it opens by name.
//! - The CA roots (`/etc/ssl/certs/ca-certificates.crt`), where a file of the app or a library that it needs
//!   holds the path `/etc/ssl/` or that of OpenSSL's directory; then also a link from OpenSSL's own place.
//! - The time zone that the app's variable `TZ` names; without one all zones, where a file of the app itself
//!   holds the path `/usr/share/zoneinfo`.
//!
//! `/etc/nsswitch.conf` comes with the finished tree. Libraries that an app opens by name while it runs, no
//! file tells of: bring them with a `file` block or in a package.

mod look;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(super) use look::ElfSink;
use look::{Finished, Layered, Mentions, Seen};

use super::contribute::Context;
use super::error::Problem;
use crate::archive::{Digesting, Inputs, Limits, read_host_file, scan};
use crate::base::{BlobId, ImagePath, Job, Name};
use crate::elf::{self, ElfError, HostLibrary, Library, TreeLibrary};
use crate::recipe::plan::AppPlan;
use crate::tree::follow::resolve;
use crate::tree::{ContentSink, ContentSource, Directory, File, Metadata, Node, Symlink};

const CA_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Where OpenSSL looks for CA roots: in Debian's build, and as it comes.
const OPENSSL_ROOTS: [&str; 2] = ["/usr/lib/ssl/cert.pem", "/etc/ssl/cert.pem"];
const ZONES: &str = "/usr/share/zoneinfo";
/// What glibc opens by name.
const BESIDE_LIBC: [&str; 3] = ["libnss_files.so.2", "libnss_dns.so.2", "libgcc_s.so.1"];

/// A file or directory of this machine that an app takes along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Where it goes.
    pub at: ImagePath,
    pub inputs: Inputs,
}

/// What an app takes along, digested.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Along {
    pub taken: Vec<Taken>,
    /// Links to the CA roots.
    pub links: Vec<ImagePath>,
}

fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("because it is a path of this program")
}

/// Digests what an app takes from a root of the host. `tree` is the app's, read through `seen`.
pub(super) fn digest(
    app: &AppPlan,
    tree: &Directory,
    seen: &ElfSink,
    root: &Path,
    limits: &Limits,
    job: &Job,
) -> Result<Along, Vec<Problem>> {
    let elves = seen.elves.lock().expect("because no worker panics while it holds the table");
    let host = HostLibrary::new(root);
    let own = own_files(tree, &elves);
    let look = Layered { tree, elves: &elves, host: &host, first: search_first(app, &own, &elves) };
    let libraries = libraries(&own, &elves, &look)?;
    let mut mentions = Mentions::default();
    for (_, id) in &own {
        mentions.add(elves[id].mentions);
    }
    let mut zones = mentions.zones.then(|| path(ZONES));
    let mut places: BTreeMap<ImagePath, ImagePath> = BTreeMap::new();
    for library in libraries {
        if let Some(bytes) = Library::read(&host, &library) {
            mentions.add(Mentions::of(&bytes));
        }
        places.insert(placed(&library, &look), library);
    }
    if let Some(zone) = app.environment.get("TZ") {
        let zone = ImagePath::new(format!("{ZONES}/{}", zone.trim_start_matches(':')).as_bytes()).ok();
        zones = zone.filter(|zone| host.follow(zone).is_some());
    }
    places.extend(zones.map(|zones| (zones.clone(), zones)));
    if mentions.roots {
        match host.follow(&path(CA_ROOTS)) {
            Some(_) => drop(places.insert(path(CA_ROOTS), path(CA_ROOTS))),
            None => job.warn(format!("{}: this machine has no CA roots ({CA_ROOTS}) for it", app.origin)),
        }
    }
    let is_there = places.contains_key(&path(CA_ROOTS));
    let links = OPENSSL_ROOTS.iter().zip(mentions.openssl).filter(|(_, holds)| *holds && is_there);
    let mut along = Along { taken: Vec::new(), links: links.map(|(link, _)| path(link)).collect() };
    for (at, from) in places {
        let from = host_path(root, &host.follow(&from).unwrap_or(from));
        along.taken.push(Taken { at, inputs: read(&from, &Digesting, limits, job)?.1 });
    }
    Ok(along)
}

fn host_path(root: &Path, path: &ImagePath) -> PathBuf {
    root.join(std::ffi::OsStr::from_bytes(&path.as_bytes()[1..]))
}

/// Reads a file or directory of the host.
fn read(
    from: &Path,
    sink: &dyn ContentSink,
    limits: &Limits,
    job: &Job,
) -> Result<(Option<Directory>, Inputs), Vec<Problem>> {
    let failed = |source| Problem::Source { path: from.to_owned(), source };
    if from.is_dir() {
        let (tree, inputs) = scan(from, limits, sink, job)
            .map_err(|errors| errors.into_iter().map(failed).collect::<Vec<_>>())?;
        return Ok((Some(tree), inputs));
    }
    read_host_file(from, sink, job).map(|inputs| (None, inputs)).map_err(|error| vec![failed(error)])
}

/// Adds what was digested to the app's tree.
pub(super) fn add(along: &Along, tree: &mut Directory, context: &Context<'_>) -> Result<(), Vec<Problem>> {
    for taken in &along.taken {
        let from = &taken.inputs.root;
        let (directory, inputs) = read(from, context.sink, context.limits, context.job)?;
        if inputs.digest() != taken.inputs.digest() {
            return Err(vec![Problem::Changed { path: from.clone() }]);
        }
        let node = match (directory, inputs.entries.first().map(|input| &input.kind)) {
            (Some(directory), _) => Node::Directory(directory),
            (None, Some(crate::archive::InputKind::File { content, executable })) => {
                let mode = if *executable { 0o755 } else { 0o644 };
                Node::File(File { metadata: Metadata::root(mode), content: *content })
            }
            _ => return Err(vec![Problem::Changed { path: from.clone() }]),
        };
        place(tree, &taken.at, node).map_err(|problem| vec![problem])?;
    }
    for link in &along.links {
        let target = CA_ROOTS.as_bytes().into();
        let link_node = Node::Symlink(Symlink { metadata: Metadata::root(0o777), target });
        place(tree, link, link_node).map_err(|problem| vec![problem])?;
    }
    Ok(())
}

/// Puts a node where the app's own tree has nothing.
fn place(tree: &mut Directory, at: &ImagePath, node: Node) -> Result<(), Problem> {
    if resolve(tree, at).is_none() {
        tree.insert(at, node)?;
    }
    Ok(())
}

/// Checks that every library that the app's programs name is in the finished tree.
pub(super) fn check(app: &AppPlan, tree: &Directory, source: &dyn ContentSource) -> Result<(), Vec<Problem>> {
    let look = &Finished { look: TreeLibrary::new(tree, source), first: listed(app) };
    let program = app.command.first().and_then(|program| ImagePath::new(program.as_bytes()).ok());
    let top = &app.source.target;
    let below: Vec<ImagePath> = match tree.get(top) {
        Some(Node::Directory(directory)) => {
            let inside = directory.paths().filter(|(_, node)| matches!(node, Node::File(_)));
            inside.map(|(path, _)| path.names().fold(top.clone(), |at, name| join(&at, name))).collect()
        }
        _ => Vec::new(),
    };
    let is_program = |path: &ImagePath| match look.image(path) {
        Some(Ok(image)) => image.interpreter.is_some(),
        _ => false,
    };
    let mut roots: Vec<ImagePath> = program.into_iter().chain(below).filter(is_program).collect();
    roots.sort();
    roots.dedup();
    elf::closure(&roots, look).map(drop).map_err(problems)
}

/// Tells whether glibc lies where its loader looks.
pub(super) fn has_glibc(tree: &Directory) -> bool {
    let machines = [(62, elf::Class::Bits64), (183, elf::Class::Bits64)];
    let directories = machines.map(|(number, class)| elf::Machine { number, class }.trusted_directories());
    directories.concat().iter().any(|directory| resolve(tree, &join(directory, b"libc.so.6")).is_some())
}

fn join(path: &ImagePath, name: &[u8]) -> ImagePath {
    path.join(&Name::new(name).expect("because a path holds valid names"))
}

fn problems(errors: Vec<ElfError>) -> Vec<Problem> {
    errors.into_iter().map(Problem::Library).collect()
}

/// Lists the app's ELF files that are loaded: programs and libraries.
fn own_files(tree: &Directory, elves: &HashMap<BlobId, Seen>) -> Vec<(ImagePath, BlobId)> {
    let files = tree.paths().filter_map(|(path, node)| match node {
        Node::File(file) => Some((path, file.content.id)),
        _ => None,
    });
    files.filter(|(_, id)| elves.contains_key(id)).collect()
}

/// Returns where the app's environment and its own libraries let the loader look first.
fn search_first(
    app: &AppPlan,
    own: &[(ImagePath, BlobId)],
    elves: &HashMap<BlobId, Seen>,
) -> (Vec<ImagePath>, Vec<ImagePath>) {
    let is_library = |id: &BlobId| matches!(&elves[id].image, Ok(image) if image.interpreter.is_none());
    let libraries = own.iter().filter(|(_, id)| is_library(id)).filter_map(|(path, _)| path.parent());
    let own: BTreeSet<ImagePath> = libraries.collect();
    (listed(app), own.into_iter().collect())
}

/// Returns the directories of the app's variable LD_LIBRARY_PATH.
fn listed(app: &AppPlan) -> Vec<ImagePath> {
    let listed = app.environment.get("LD_LIBRARY_PATH").map(String::as_str).unwrap_or_default();
    listed.split([':', ';']).filter_map(|path| ImagePath::new(path.as_bytes()).ok()).collect()
}

/// Returns what is to be taken: the closure of the app's files, and what libc opens by name.
fn libraries(
    own: &[(ImagePath, BlobId)],
    elves: &HashMap<BlobId, Seen>,
    look: &Layered<'_>,
) -> Result<BTreeSet<ImagePath>, Vec<Problem>> {
    let mut programs = Vec::new();
    let mut others = Vec::new();
    for (path, id) in own {
        match &elves[id].image {
            Ok(image) if image.interpreter.is_some() => programs.push(path.clone()),
            Ok(image) if image.dynamic => others.push(path.clone()),
            _ => {}
        }
    }
    let mut found: BTreeSet<ImagePath> =
        elf::closure(&programs, look).map_err(problems)?.into_iter().collect();
    // A library of the app's is loaded by a program, which has the directory of its others in its path.
    let with_own = Layered { first: ([&look.first.0[..], &look.first.1].concat(), Vec::new()), ..*look };
    found.extend(elf::closure(&others, &with_own).map_err(problems)?);
    let libc = found.iter().find(|path| path.name().is_some_and(|name| name.as_bytes() == b"libc.so.6"));
    if let Some(directory) = libc.and_then(ImagePath::parent) {
        let beside = BESIDE_LIBC.iter().map(|name| join(&directory, name.as_bytes()));
        let beside: Vec<ImagePath> = beside.filter(|path| look.follow(path).is_some()).collect();
        found.extend(elf::closure(&beside, look).map_err(problems)?);
        found.extend(beside);
    }
    found.retain(|path| look.own(path).is_none());
    Ok(found)
}

/// Returns where a library goes: where it lies, or into the loader's own directory where the image's loader
/// would not look for it.
fn placed(library: &ImagePath, look: &Layered<'_>) -> ImagePath {
    let (Some(parent), Some(name)) = (library.parent(), library.name()) else { return library.clone() };
    let Some(Ok(image)) = look.host.image(library) else { return library.clone() };
    let trusted = image.machine.trusted_directories();
    let is_configured = look.host.directories().contains(&parent);
    let is_found = trusted.contains(&parent) || look.first.0.contains(&parent);
    match trusted.first() {
        Some(directory) if is_configured && !is_found => directory.join(&name),
        _ => library.clone(),
    }
}

//! Debian's own packages: the essential set, fetched once, laid as `dpkg-deb` and `tar` unpack it.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mkimage::packages::install::{Layout, lay};
use mkimage::tree::{Content, Node};

use super::*;
use crate::tool;

/// Fetches the packages that a set of names needs on an empty root, once; returns them in byte order.
fn debs(folder: &Path, names: &[&str]) -> Vec<PathBuf> {
    let status = folder.join("status");
    std::fs::create_dir_all(folder.join("archives/partial")).expect("a folder");
    std::fs::write(&status, b"").expect("written");
    let option = |name: &str, path: &Path| format!("{name}={}", path.display());
    let mut command =
        tool::tool("apt-get", ["install", "--download-only", "--no-install-recommends", "-y", "-qq"]);
    command.args(["-o", "Debug::NoLocking=1", "-o", &option("Dir::State::status", &status)]);
    command.args(["-o", &option("Dir::Cache::archives", &folder.join("archives"))]);
    command.args(["-o", &option("Dir::Cache::pkgcache", &folder.join("pkgcache.bin"))]);
    command.args(["-o", &option("Dir::Cache::srcpkgcache", &folder.join("srcpkgcache.bin"))]);
    command.args(["-o", "APT::Sandbox::User=root"]).args(names);
    tool::succeed(&mut command);
    let mut found: Vec<PathBuf> = walkdir::WalkDir::new(folder.join("archives"))
        .max_depth(1)
        .into_iter()
        .map(|entry| entry.expect("an entry").into_path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    found.sort();
    found
}

fn essential() -> Vec<String> {
    let listed = tool::succeed(&mut tool::tool("apt-cache", ["dumpavail"]));
    let mut name = "";
    let mut names = Vec::new();
    for line in listed.lines() {
        name = line.strip_prefix("Package: ").unwrap_or(name);
        if line == "Essential: yes" {
            names.push(name.to_owned());
        }
    }
    names.sort();
    names.dedup();
    names
}

/// One line an entry: what can be seen of it without being root.
type Listing = BTreeMap<Vec<u8>, String>;

fn listed_tree(tree: &mkimage::tree::Directory) -> Listing {
    let sealed = tree.clone().seal().expect("sealed");
    let mut listing = Listing::new();
    let mut links: BTreeMap<ImagePath, u64> = BTreeMap::new();
    for (_, node) in sealed.paths() {
        if let Node::HardLink(target) = node {
            *links.entry(target.clone()).or_insert(1) += 1;
        }
    }
    for (at, node) in sealed.paths() {
        let (at, node) = match node {
            Node::HardLink(target) => (at, sealed.get(target).expect("a node")),
            node => (at, node),
        };
        let named = match sealed.get(&at) {
            Some(Node::HardLink(target)) => links.get(target),
            _ => links.get(&at),
        };
        let names = named.copied().unwrap_or(1);
        let line = match node {
            Node::Directory(directory) => format!("d {:o}", directory.metadata.mode),
            Node::File(file) => format!("f {:o} {names} {}", file.metadata.mode, file.content.id),
            Node::Symlink(link) => format!("l {}", String::from_utf8_lossy(&link.target)),
            other => panic!("{at}: a {}", other.kind()),
        };
        listing.insert(at.as_bytes().to_vec(), line);
    }
    listing
}

fn listed_folder(root: &Path) -> Listing {
    let mut listing = Listing::new();
    for entry in walkdir::WalkDir::new(root).min_depth(1) {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("metadata");
        let mode = metadata.permissions().mode() & 0o7777;
        let line = match metadata.file_type() {
            kind if kind.is_dir() => format!("d {mode:o}"),
            kind if kind.is_symlink() => {
                format!("l {}", std::fs::read_link(entry.path()).expect("a target").display())
            }
            _ => {
                let content = Content::of(&std::fs::read(entry.path()).expect("read"));
                format!("f {mode:o} {} {}", metadata.nlink(), content.id)
            }
        };
        let path = entry.path().strip_prefix(root).expect("below");
        listing.insert([b"/", path.as_os_str().as_bytes()].concat(), line);
    }
    listing
}

/// Unpacks packages as Debian's tools do, into a folder where `/usr` is merged.
fn unpacked_by_tools(debs: &[PathBuf], root: &Path) {
    for name in ["bin", "sbin", "lib", "lib64"] {
        std::fs::create_dir_all(root.join("usr").join(name)).expect("made");
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name)).expect("a link");
    }
    for deb in debs {
        let mut tar = tool::tool("dpkg-deb", ["--fsys-tarfile".as_ref(), deb.as_os_str()]);
        let mut tar = tar.stdout(Stdio::piped()).spawn().expect("dpkg-deb: install dpkg");
        let mut unpack = Command::new("tar");
        unpack.args(["-xp", "--no-same-owner", "--keep-directory-symlink", "-C"]).arg(root);
        unpack.stdin(tar.stdout.take().expect("a pipe"));
        tool::succeed(&mut unpack);
        assert!(tar.wait().expect("dpkg-deb ends").success(), "{}", deb.display());
    }
}

#[test]
fn the_essential_set_lies_as_the_tools_of_debian_unpack_it() {
    let names = essential();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let debs = debs(&tool::kept("essential"), &names);
    assert!(debs.len() > 40, "{} packages", debs.len());
    let contents = MemoryContents::default();
    let job = Job::quiet(0);
    let size = |deb: &PathBuf| deb.metadata().expect("metadata").len();
    let unpacked = unpack::largest_first(debs.clone(), size, &job, |deb, share| {
        let reader = std::fs::File::open(&deb).expect("opened");
        unpack::deb(reader, share, &contents, &job)
            .map_err(|error| format!("{}: {}", deb.display(), whole(&error)))
    });
    let unpacked = unpacked.unwrap_or_else(|errors| panic!("{}", errors.join("\n")));
    let layout = Layout { usr_merge: true, architecture: "amd64", ..Layout::default() };
    let (tree, owners) = lay(&unpacked, &layout, &contents, &job).unwrap_or_else(|errors| {
        panic!("{}", errors.iter().map(|error| whole(error)).collect::<Vec<_>>().join("\n"))
    });
    let folder = tempfile::tempdir().expect("a folder");
    unpacked_by_tools(&debs, folder.path());
    let (ours, theirs) = (listed_tree(&tree), listed_folder(folder.path()));
    let different: Vec<String> = ours
        .keys()
        .chain(theirs.keys())
        .filter(|at| ours.get(*at) != theirs.get(*at))
        .map(|at| format!("{}: {:?}, tools {:?}", String::from_utf8_lossy(at), ours.get(at), theirs.get(at)))
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(ours.len() > 3000, "{} entries", ours.len());
    assert_eq!(owners.of(&path("/bin/ls")), Some("coreutils"));
    assert_eq!(owners.packages()[0], "base-files");
}

//! Our tree of a set of packages beside mmdebstrap's: the same paths, kinds, modes, owners by name, targets,
//! contents and attributes, but for what `fixtures/packages/tolerated-differences.txt` lists with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::Read;
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use mkimage::archive::{Options, allow_all, read_tar};
use mkimage::base::Job;
use mkimage::store::{Objects, Store};
use mkimage::tree::{ContentSource, Directory, Metadata, Node};

use super::reference;
use crate::tool::kept;

const TOLERATED: &str = include_str!("../../../fixtures/packages/tolerated-differences.txt");

/// What stands at a path, each side in the same words. A hard link has the words of its first name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    kind: &'static str,
    mode: u32,
    owner: String,
    target: String,
    /// BLAKE3 of a file's bytes.
    content: String,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

type Tree = BTreeMap<String, Entry>;

/// One difference: what kind, where, and both sides.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    what: &'static str,
    path: String,
    sides: String,
}

fn differences(reference: &Tree, ours: &Tree) -> Vec<Difference> {
    let mut found = Vec::new();
    for path in reference.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
        let mut add = |what, sides| found.push(Difference { what, path: path.clone(), sides });
        match (reference.get(path), ours.get(path)) {
            (Some(theirs), None) => add("missing", format!("a {} of {}", theirs.kind, theirs.owner)),
            (None, Some(ours)) => add("extra", format!("a {} of {}", ours.kind, ours.owner)),
            (Some(theirs), Some(ours)) if theirs.kind != ours.kind => {
                add("kind", format!("{} there, {} here", theirs.kind, ours.kind));
            }
            (Some(theirs), Some(ours)) => {
                let mut compare = |what, theirs: String, ours: String| {
                    if theirs != ours {
                        add(what, format!("{theirs} there, {ours} here"));
                    }
                };
                compare("mode", format!("{:04o}", theirs.mode), format!("{:04o}", ours.mode));
                compare("owner", theirs.owner.clone(), ours.owner.clone());
                compare("target", theirs.target.clone(), ours.target.clone());
                compare("content", theirs.content.clone(), ours.content.clone());
                compare("attributes", format!("{:?}", theirs.attributes), format!("{:?}", ours.attributes));
            }
            (None, None) => {}
        }
    }
    found
}

/// A line of the list: kinds of differences, a pattern of paths, the reason.
struct Tolerated<'a> {
    line: &'a str,
    what: Vec<&'a str>,
    paths: GlobMatcher,
    used: bool,
}

impl<'a> Tolerated<'a> {
    fn parse(line: &'a str) -> Self {
        let mut words = line.split_whitespace();
        let (what, pattern) = (words.next().expect("a kind"), words.next().expect("a pattern"));
        assert!(words.next().is_some(), "{line:?} has no reason");
        let glob = GlobBuilder::new(pattern).literal_separator(true).empty_alternates(true).build();
        let paths = glob.unwrap_or_else(|error| panic!("{line:?}: {error}")).compile_matcher();
        Tolerated { line, what: what.split(',').collect(), paths, used: false }
    }

    fn takes(&mut self, difference: &Difference) -> bool {
        let takes = self.what.contains(&difference.what) && self.paths.is_match(&difference.path);
        self.used |= takes;
        takes
    }
}

/// Says which differences are in no line, and which lines tolerate nothing.
fn judge(differences: &[Difference], list: &str) -> Result<(), String> {
    let lines = list.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let mut tolerated: Vec<Tolerated<'_>> = lines.map(Tolerated::parse).collect();
    let mut complaint = String::new();
    for difference in differences {
        // Every line that fits counts as used, whichever is first.
        let taken = tolerated.iter_mut().map(|line| line.takes(difference)).fold(false, |any, one| any | one);
        if !taken {
            let Difference { what, path, sides } = difference;
            let _ = writeln!(complaint, "{what} {path}: {sides}");
        }
    }
    for line in tolerated.iter().filter(|line| !line.used) {
        let _ = writeln!(complaint, "tolerates nothing any more: {}", line.line);
    }
    if complaint.is_empty() { Ok(()) } else { Err(complaint) }
}

/// A path as it is: shown to people, a backslash would stand there twice.
fn plain(path: &mkimage::base::ImagePath) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}

/// Names of accounts by number, from a tree's own files.
struct Names {
    users: BTreeMap<u64, String>,
    groups: BTreeMap<u64, String>,
}

impl Names {
    fn read(passwd: &[u8], group: &[u8]) -> Names {
        let table = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
            fields.map(|fields| (fields[2].parse().expect("a number"), fields[0].to_owned())).collect()
        };
        Names { users: table(passwd), groups: table(group) }
    }

    fn owner(&self, user: u64, group: u64) -> String {
        let name = |table: &BTreeMap<u64, String>, id: u64| {
            table.get(&id).cloned().unwrap_or_else(|| id.to_string())
        };
        format!("{}:{}", name(&self.users, user), name(&self.groups, group))
    }
}

/// Reads the tree in a tar of mmdebstrap's.
fn of_tar(path: &Path) -> Tree {
    let mut archive = tar::Archive::new(std::fs::File::open(path).expect("the reference"));
    let (mut tree, mut owners, mut links) = (Tree::new(), BTreeMap::new(), Vec::new());
    let (mut passwd, mut group) = (Vec::new(), Vec::new());
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let path = normal(&entry.path_bytes());
        let mut described = Entry::default();
        for extension in entry.pax_extensions().expect("extensions").into_iter().flatten() {
            let extension = extension.expect("an extension");
            if let Some(name) = extension.key_bytes().strip_prefix(b"SCHILY.xattr.") {
                described.attributes.insert(name.to_owned(), extension.value_bytes().to_owned());
            }
        }
        let header = entry.header().clone();
        let link = entry.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
        described.kind = match header.entry_type() {
            tar::EntryType::Directory => "directory",
            tar::EntryType::Symlink => "symlink",
            tar::EntryType::Char | tar::EntryType::Block => "device",
            tar::EntryType::Fifo => "fifo",
            tar::EntryType::Link => {
                links.push((path, normal(&link)));
                continue;
            }
            _ => "file",
        };
        described.mode =
            if described.kind == "symlink" { 0 } else { header.mode().expect("a mode") & 0o7777 };
        if described.kind == "symlink" {
            described.target = String::from_utf8_lossy(&link).into_owned();
        }
        if described.kind == "file" {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("bytes");
            described.content = blake3::hash(&bytes).to_string();
            match path.as_str() {
                "/etc/passwd" => passwd = bytes,
                "/etc/group" => group = bytes,
                _ => {}
            }
        }
        owners.insert(path.clone(), (header.uid().expect("an id"), header.gid().expect("an id")));
        tree.insert(path, described);
    }
    let names = Names::read(&passwd, &group);
    for (path, entry) in &mut tree {
        let (user, group) = owners[path];
        entry.owner = names.owner(user, group);
    }
    for (path, target) in links {
        let entry = tree.get(&target).expect("the target of a link").clone();
        tree.insert(path, entry);
    }
    tree
}

fn normal(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path).into_owned();
    format!("/{}", text.trim_start_matches("./").trim_end_matches('/'))
}

/// Describes a tree of ours.
fn of_tree(root: &Directory, source: &dyn ContentSource) -> Tree {
    let read = |path: &str| {
        let path = mkimage::base::ImagePath::new(path.as_bytes()).expect("a path");
        match root.get(&path) {
            Some(Node::File(file)) => source.read_all(&file.content).expect("bytes"),
            other => panic!("{path} is {other:?}"),
        }
    };
    let names = Names::read(&read("/etc/passwd"), &read("/etc/group"));
    let mut tree = Tree::from([("/".to_owned(), entry(&names, "directory", &root.metadata))]);
    let mut links = Vec::new();
    for (path, node) in root.paths() {
        let described = match node {
            Node::HardLink(target) => {
                links.push((plain(&path), plain(target)));
                continue;
            }
            Node::File(file) => {
                Entry { content: file.content.id.to_string(), ..entry(&names, "file", &file.metadata) }
            }
            Node::Symlink(link) => {
                let target = String::from_utf8_lossy(&link.target).into_owned();
                Entry { target, mode: 0, ..entry(&names, "symlink", &link.metadata) }
            }
            Node::Directory(directory) => entry(&names, "directory", &directory.metadata),
            Node::Device(device) => entry(&names, "device", &device.metadata),
            Node::Fifo(metadata) => entry(&names, "fifo", metadata),
            Node::Socket(metadata) => entry(&names, "socket", metadata),
        };
        tree.insert(plain(&path), described);
    }
    for (path, target) in links {
        let entry = tree.get(&target).expect("the target of a link").clone();
        tree.insert(path, entry);
    }
    tree
}

fn entry(names: &Names, kind: &'static str, metadata: &Metadata) -> Entry {
    let attributes = metadata.xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    let owner = names.owner(metadata.uid.into(), metadata.gid.into());
    Entry { kind, mode: metadata.mode.into(), owner, attributes, ..Entry::default() }
}

/// Reads the tree of a commit in the tests' store.
fn of_commit(name: &str) -> (Tree, String) {
    let store = Store::open(kept("store")).expect("the store");
    let commit = store.read_commit(&store.resolve(name).expect("a commit")).expect("the commit");
    let root = store.read_tree(&Job::quiet(2), &commit.tree).expect("the tree");
    let status = mkimage::base::ImagePath::new(b"/var/lib/dpkg/status").expect("a path");
    let status = match root.get(&status) {
        Some(Node::File(file)) => store.read_all(&file.content).expect("bytes"),
        other => panic!("the package database is {other:?}"),
    };
    (of_tree(&root, &store), String::from_utf8_lossy(&status).into_owned())
}

/// Compares mmdebstrap's tree with what we read of the tar that it came in: the two readers must agree.
pub fn read_by_both() {
    let tar = reference::rootfs();
    let contents = mkimage::tree::MemoryContents::default();
    let file = std::fs::File::open(&tar).expect("the reference");
    let options = Options { policy: &allow_all, ..Options::default() };
    let root = read_tar(file, &options, &contents, &Job::quiet(2)).expect("a tree");
    let found = differences(&of_tar(&tar), &of_tree(&root, &contents));
    judge(&found, "").unwrap_or_else(|complaint| panic!("\n{complaint}"));
}

#[test]
fn our_tree_of_147_packages_is_mmdebstraps_but_for_a_list_with_reasons() {
    let (ours, status) = of_commit(reference::ours());
    let reference = of_tar(&reference::rootfs_of(&reference::versions(&status)));
    assert!(reference.len() > 9_000, "the reference has {} paths", reference.len());
    let found = differences(&reference, &ours);
    judge(&found, TOLERATED).unwrap_or_else(|complaint| panic!("\n{complaint}"));
}

#[test]
fn the_comparison_sees_every_kind_of_difference() {
    let file = Entry {
        kind: "file",
        mode: 0o644,
        owner: "root:root".into(),
        content: "1".into(),
        ..Entry::default()
    };
    let reference = Tree::from([("/a".to_owned(), file.clone()), ("/b".to_owned(), file.clone())]);
    assert_eq!(differences(&reference, &reference), []);
    let changed = Entry {
        mode: 0o600,
        owner: "root:adm".into(),
        target: "x".into(),
        content: "2".into(),
        attributes: BTreeMap::from([(b"user.a".to_vec(), Vec::new())]),
        ..file.clone()
    };
    let ours = Tree::from([("/a".to_owned(), changed), ("/c".to_owned(), file.clone())]);
    let seen: Vec<&str> = differences(&reference, &ours).iter().map(|difference| difference.what).collect();
    assert_eq!(seen, ["mode", "owner", "target", "content", "attributes", "missing", "extra"]);
    let link = Entry { kind: "symlink", ..file };
    let ours = Tree::from([("/a".to_owned(), link.clone()), ("/b".to_owned(), link)]);
    assert_eq!(differences(&reference, &ours)[0].what, "kind");
}

#[test]
fn a_line_that_tolerates_nothing_fails_as_a_difference_without_a_line_does() {
    let found = [Difference { what: "missing", path: "/var/cache/apt/lists".into(), sides: "a file".into() }];
    assert_eq!(judge(&found, "# a comment\n\nmissing,mode /var/cache/apt{,/**} no apt\n"), Ok(()));
    let complaint = judge(&found, "mode /var/cache/apt/** no apt\n").expect_err("refused");
    assert!(complaint.contains("missing /var/cache/apt/lists"), "{complaint}");
    assert!(complaint.contains("tolerates nothing any more: mode"), "{complaint}");
    judge(&found, "missing /var/* one level only\n").expect_err("refused");
}

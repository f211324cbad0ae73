//! Debian's own maintainer scripts, by dpkg itself.

use std::collections::BTreeMap;

use mkimage::archive::{Options, allow_all, read_archive};
use mkimage::base::{ImagePath, Job};
use mkimage::sandbox::{Limits, Outcome, Request, run};
use mkimage::tree::dump::dump;
use mkimage::tree::{ContentSink, ContentSource, Directory, File, MemoryContents, Metadata, Node};

use super::super::tool;
use super::support::{EPOCH, path, program};

/// Returns the essential packages of bookworm and a few more, installed by mmdebstrap, made once and kept.
fn essential(contents: &MemoryContents, job: &Job) -> Directory {
    let tar = tool::kept("sandbox-debian").join("essential-dbus.tar");
    if !tar.exists() {
        let half = tar.with_extension("half.tar");
        tool::succeed(
            tool::tool("mmdebstrap", ["--quiet", "--variant=essential", "--include=passwd,dbus", "bookworm"])
                .arg(&half),
        );
        mkimage::base::fs::rename(&half, &tar).expect("renamed");
    }
    let options = Options { policy: &allow_all, ..Options::default() };
    let tar = std::fs::File::open(tar).expect("a tar archive");
    read_archive(tar, &options, contents, job).expect("a tree")
}

fn configure(tree: &Directory, contents: &MemoryContents, job: &Job) -> Outcome {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let request = Request {
        tree,
        source: contents,
        commands: vec![words(&["dpkg", "--configure", "--pending"]), words(&["dpkg", "--audit"])],
        environment: BTreeMap::new(),
        working_directory: ImagePath::root(),
        inputs: Vec::new(),
        epoch: EPOCH,
        limits: Limits::default(),
        scratch: &tool::kept("sandbox"),
        label: "configure".to_owned(),
        program: Some(program()),
    };
    run(&request, contents, job).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn dpkg_configures_the_essential_packages_and_twice_the_same() {
    let (contents, job) = (MemoryContents::default(), Job::quiet(2));
    let mut tree = essential(&contents, &job);
    let status = path("/var/lib/dpkg/status");
    let text = |tree: &Directory| match tree.get(&status) {
        Some(Node::File(file)) => {
            String::from_utf8(contents.read_all(&file.content).expect("a content")).expect("text")
        }
        other => panic!("{other:?}"),
    };
    let installed = text(&tree);
    let unpacked = installed.replace("install ok installed", "install ok unpacked");
    let Some(Node::File(file)) = tree.get_mut(&status) else { panic!("no status") };
    file.content = contents.put(unpacked.as_bytes()).expect("put");
    // What only scripts make: they must make it again.
    for gone in [
        "/etc/shadow",
        "/etc/gshadow",
        "/var/lib/dpkg/statoverride",
        "/etc/alternatives/awk",
        "/var/lib/dpkg/alternatives/awk",
        "/etc/pam.d/common-auth",
    ] {
        assert!(tree.remove(&path(gone)).is_some(), "{gone}");
    }
    let helper = path("/usr/lib/dbus-1.0/dbus-daemon-launch-helper");
    *tree.get_mut(&helper).and_then(Node::metadata_mut).expect("a helper") = Metadata::root(0o755);
    tree.insert(&path("/var/lib/dpkg/statoverride"), {
        let content = contents.put(b"").expect("put");
        Node::File(File { metadata: Metadata::root(0o644), content })
    })
    .expect("inserted");
    let first = configure(&tree, &contents, &job);
    let log = String::from_utf8_lossy(&first.log).into_owned();
    assert!(log.contains("Setting up libc-bin"), "{log}");
    assert_eq!(
        text(&first.tree).matches("Status: install ok installed").count(),
        installed.matches("Status: ").count()
    );
    assert!(!text(&first.tree).contains("ok unpacked"), "{log}");
    let dumped = dump(&first.tree);
    let line = |start: &str| dumped.lines().find(|line| line.starts_with(start)).unwrap_or("none").to_owned();
    assert!(line("/etc/shadow ").starts_with("/etc/shadow f 0640 0:42 "), "{}", line("/etc/shadow "));
    assert!(
        line("/usr/bin/chage ").starts_with("/usr/bin/chage f 2755 0:42 "),
        "{}",
        line("/usr/bin/chage ")
    );
    assert!(line("/var/mail ").starts_with("/var/mail d 2775 0:8"), "{}", line("/var/mail "));
    assert!(
        line("/etc/alternatives/awk ").ends_with("-> /usr/bin/mawk"),
        "{}",
        line("/etc/alternatives/awk ")
    );
    let group = |name: &str| {
        let Some(Node::File(file)) = first.tree.get(&path("/etc/group")) else { panic!("no groups") };
        let text = String::from_utf8(contents.read_all(&file.content).expect("a content")).expect("text");
        let line =
            text.lines().find(|line| line.starts_with(&format!("{name}:"))).expect("a group").to_owned();
        line.split(':').nth(2).expect("a number").to_owned()
    };
    let given = format!("{helper} f 4754 0:{} ", group("messagebus"));
    let helper = line(&format!("{helper} "));
    assert!(helper.starts_with(&given), "{helper}");
    let second = configure(&tree, &contents, &Job::quiet(1));
    assert_eq!(dumped, dump(&second.tree));
}
